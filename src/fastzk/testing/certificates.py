"""Real certificates for tests, made by the openssl command: an authority, and certificates that it has signed.

Rule: elliptic curves, since a key of RSA takes a tenth of a second and tests make many."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8"]


def has_openssl() -> bool:
    """False when the openssl command is not installed; a test then skips and says so."""
    return shutil.which("openssl") is not None


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """An authority whose files lie in a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self.own = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
        self._openssl(
            "req", "-x509", *_KEY, "-days", "2", "-keyout", self.own.key, "-out", self.own.certificate, "-subj", f"/CN={name}"
        )

    def issue(self, name: str, subject: str, *, days: int = 2) -> Certificate:
        """A certificate for localhost and 127.0.0.1; `subject` as openssl writes it, `/O=Acme/CN=somebody`."""
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._openssl("req", *_KEY, "-keyout", made.key, "-out", request, "-subj", subject)
        signed_by = ["-CA", self.own.certificate, "-CAkey", self.own.key, "-CAcreateserial"]
        self._openssl(
            "x509", "-req", "-in", request, *signed_by, "-days", str(days), "-extfile", extensions, "-out", made.certificate
        )
        return made

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *(str(argument) for argument in arguments)], check=True, capture_output=True)
