"""The certificates of --zk-tls: files to a context of ssl, again whenever they change.

Rules: TLS 1.2 and newer.  Files that cannot be used are one clear error: at the start it ends the node, later it is logged and the
context that was in use stays.  A key that needs a password is refused: there is nobody to ask."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from fastzk.config import ConfigError, TlsConfig

_VERIFY = {"none": ssl.CERT_NONE, "want": ssl.CERT_OPTIONAL, "need": ssl.CERT_REQUIRED}

_HINTS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
}

logger = logging.getLogger("fastzk.gate")


class CertificateFiles:
    """The files, and the context made of them last.  Raises ConfigError when they cannot be used at the start."""

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        self._paths = [path for path in (tls.certificate, tls.key, tls.authorities) if path is not None]
        self._seen = self._marks()
        # For new connections.
        self.context = make_context(tls)

    def look(self) -> bool:
        """Reads the files anew if they have changed; True when there is a new context."""
        marks = self._marks()
        if marks == self._seen:
            return False
        self._seen = marks
        try:
            self.context = make_context(self._tls)
        except ConfigError as error:
            logger.error("the certificates have changed and cannot be used, those from before stay in use: %s", error)
            return False
        logger.info("the certificates have changed and are in use for new connections")
        return True

    def _marks(self) -> list[tuple[int, int, int] | None]:
        """What tells one state of the files from another."""
        return [_mark(path) for path in self._paths]


def make_context(tls: TlsConfig) -> ssl.SSLContext:
    """A server's context.  Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = _VERIFY[tls.client_auth]
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"--tls-cert {tls.certificate}, --tls-key {tls.key}: {_reason(error)}") from error
    if tls.authorities is not None:
        try:
            context.load_verify_locations(tls.authorities)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--tls-ca {tls.authorities}: {_reason(error)}") from error
    return context


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    hint = _HINTS.get(reason, "PEM files are needed, and a key without a password") if isinstance(error, ssl.SSLError) else ""
    return f"{reason} ({hint})" if hint else str(reason)
