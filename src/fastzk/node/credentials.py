"""Who a connection is: judges the credentials that clients send, `auth` (op 100) and `sasl` (op 102), as ZooKeeper 3.9 does.

    auth    int type, string scheme, buffer auth     digest: user:password -> digest:user:base64(sha1(user:password))
                                                     ip: every connection has its address already
                                                     anything else: AuthFailed
    sasl    buffer token -> buffer token             sasl.py; -> sasl:user

Rules: sans-IO.  It tells what to answer and which identities the connection has gained; the caller does both.  Passwords and
digests never go into a log or an error.  A digest is no password check: whoever says a password is who has that digest, and
ACLs tell what that is worth.  Only the operator's own digest is compared, in constant time, and makes `super`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastzk.data import Id
from fastzk.defs import OpCode
from fastzk.errors import ErrorCode
from fastzk.node.sasl import NONCE_BYTES, DigestServer, SaslFailed
from fastzk.wire.jute import BUFFER, INT, RecordError, decode_fields

# Exchanges of SASL that are begun and not answered; the oldest is forgotten, so that hanging clients cost nothing.
EXCHANGES_MAX = 4096

logger = logging.getLogger("fastzk.worker")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a client is answered, and who it has proved to be."""

    err: int  # 0, or what closes the connection after the answer
    identities: tuple[Id, ...] = ()
    token: bytes | None = None  # of sasl


class Credentials:
    """The judge of one worker.  `super_digest` is `user:base64(sha1(user:password))` or empty; without `users` there is no SASL."""

    def __init__(self, super_digest: str, users: Mapping[str, str], random_bytes: Callable[[int], bytes]) -> None:
        self._super_digest = super_digest
        self._users = users
        self._random_bytes = random_bytes
        # By slot.  A slot's next owner may find the exchange of one before it; whatever it answers, it does not know the nonce.
        self._exchanges: dict[int, DigestServer] = {}
        # Credentials that were refused since the start.
        self.failed_count = 0
        self._complained = 0

    def judge(self, connection: int, op: int, body: bytes) -> Verdict:
        """Judges one request of a connection, whose number no other one ever has."""
        try:
            verdict = self._auth(body) if op == OpCode.AUTH else self._sasl(connection, body)
        except RecordError:
            verdict = Verdict(ErrorCode.MARSHALLING_ERROR)
        self.failed_count += verdict.err == ErrorCode.AUTH_FAILED
        return verdict

    def _auth(self, body: bytes) -> Verdict:
        # A scheme that is null or no text is one that nobody knows.
        (_, scheme, secret), _ = decode_fields([INT, BUFFER, BUFFER], body)
        if scheme == b"ip":
            return Verdict(ErrorCode.OK)
        if scheme != b"digest" or secret is None:
            return Verdict(ErrorCode.AUTH_FAILED)
        digest = digest_of(secret.decode(errors="replace"))
        identities = [Id("digest", digest)]
        if self._super_digest and hmac.compare_digest(digest.encode(), self._super_digest.encode()):
            identities.append(Id("super", ""))
        return Verdict(ErrorCode.OK, tuple(identities))

    def _sasl(self, connection: int, body: bytes) -> Verdict:
        (token,), _ = decode_fields([BUFFER], body)
        if not self._users:
            return Verdict(ErrorCode.OK)  # the token is null, as ZooKeeper without a section for its server
        exchange = self._exchanges.pop(connection, None)
        if not token or exchange is None:
            # Java's server answers whatever comes first with its challenge, too.
            exchange = DigestServer(self._users, base64.b64encode(self._random_bytes(NONCE_BYTES)).decode())
            while len(self._exchanges) >= EXCHANGES_MAX:
                del self._exchanges[next(iter(self._exchanges))]
            self._exchanges[connection] = exchange
            return Verdict(ErrorCode.OK, (), exchange.challenge())
        try:
            user, answer = exchange.answer(token)
        except SaslFailed as failure:
            self._complain(failure)
            return Verdict(ErrorCode.AUTH_FAILED)
        return Verdict(ErrorCode.OK, (Id("sasl", user),), answer)

    def _complain(self, failure: SaslFailed) -> None:
        """Logs a login that failed, cut short: the first ten, then each thousandth.  Anyone can fail as often as he likes."""
        self._complained += 1
        if self._complained <= 10 or self._complained % 1000 == 0:
            logger.warning("a client failed to authenticate over SASL: %.200s (%d so far)", failure, self._complained)


def digest_of(user_and_password: str) -> str:
    """What ACLs know a `user:password` by."""
    user = user_and_password.partition(":")[0]
    digest = hashlib.sha1(user_and_password.encode(), usedforsecurity=False).digest()
    return f"{user}:{base64.b64encode(digest).decode()}"
