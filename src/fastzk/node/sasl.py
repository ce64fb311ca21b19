"""SASL DIGEST-MD5 (RFC 2831), the server's side: what Java's DigestLoginModule and kazoo with pure-sasl speak to a ZooKeeper.

    client                                      server
      empty token                                 realm="zk-sasl-md5",nonce="...",charset=utf-8,algorithm=md5-sess
      username="bob",realm=...,nonce=...,
      nc=00000001,cnonce=...,digest-uri=
      "zookeeper/zk-sasl-md5",response=...        rspauth=...            the client is bob

Rules: sans-IO; nonces come from the caller.  An exchange is for one answer: after a wrong one it is over.  A user who is not
there costs as much time as a wrong password.  Protocol and realm are ZooKeeper's own, which clients have built in.
The mechanism is old: MD5 keeps nobody out who listens, so it belongs behind TLS.  It is here because clients exist that know
nothing else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

REALM = "zk-sasl-md5"
DIGEST_URI = "zookeeper/zk-sasl-md5"
NONCE_BYTES = 30
# RFC 2831, 2.1.2: a response is to be smaller than this.
RESPONSE_BYTES_MAX = 4096

_NO_PASSWORD = "\0"  # no password of the file is this: its lines are printable


class SaslFailed(Exception):  # noqa: N818 - RFC 4422 speaks of failure
    """The client is not who it says, or its token makes no sense.  The text is for the node's log."""


class DigestServer:
    """One exchange.  `users` are passwords by name; `nonce` is random and printable without quotes."""

    def __init__(self, users: Mapping[str, str], nonce: str) -> None:
        self._users = users
        self._nonce = nonce

    def challenge(self) -> bytes:
        """The first token to the client."""
        return f'realm="{REALM}",nonce="{self._nonce}",charset=utf-8,algorithm=md5-sess'.encode()

    def answer(self, token: bytes) -> tuple[str, bytes]:
        """Judges the client's response: who it is, and the last token to it.  Raises SaslFailed."""
        said = parse_directives(token)
        for name, expected in (("nonce", self._nonce), ("realm", REALM), ("nc", "00000001")):
            if said.get(name) != expected:
                raise SaslFailed(f"{name} {said.get(name)!r} where {expected!r} belongs")
        if said.get("digest-uri", "").lower() != DIGEST_URI:
            raise SaslFailed(f"digest-uri {said.get('digest-uri')!r} where {DIGEST_URI!r} belongs")
        if said.get("qop", "auth") != "auth":
            raise SaslFailed(f"qop {said['qop']!r} was not offered")
        user, cnonce, response = said.get("username", ""), said.get("cnonce", ""), said.get("response", "")
        if not user or not cnonce:
            raise SaslFailed("no username or no cnonce")
        password = self._users.get(user, _NO_PASSWORD)
        is_right, reply = False, b""
        for encoding in ("latin-1", "utf-8"):  # the RFC wants the first where it can; not every client cares
            secret = _secret(user, password, encoding)
            if secret is None:
                continue
            if hmac.compare_digest(_response(secret, said, "AUTHENTICATE:").encode(), response.encode()):
                is_right, reply = True, b"rspauth=" + _response(secret, said, ":").encode()
        if not is_right or user not in self._users:
            raise SaslFailed(f"user {user!r} is not there or gave a wrong password")
        return user, reply


def parse_directives(token: bytes) -> dict[str, str]:
    """`name=value,name="value",...` by name.  Raises SaslFailed; a name that stands there twice is a failure too."""
    if len(token) > RESPONSE_BYTES_MAX:
        raise SaslFailed(f"a response of {len(token)} bytes")
    try:
        text = token.decode()
    except UnicodeDecodeError:
        text = token.decode("latin-1")
    said: dict[str, str] = {}
    at = 0
    while at < len(text):
        equals = text.find("=", at)
        if equals < 0:
            raise SaslFailed("a directive without a value")
        name = text[at:equals].strip(" \t,").lower()
        value, at = _value(text, equals + 1)
        if name in said or not name:
            raise SaslFailed(f"directive {name!r} stands there twice or has no name")
        said[name] = value
    return said


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at `at`, and the position behind it and its comma."""
    if text[at : at + 1] != '"':
        end = text.find(",", at)
        end = len(text) if end < 0 else end
        return text[at:end].strip(), end + 1
    value = []
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        value.append(text[at : at + 1])
        at += 1
    if at >= len(text):
        raise SaslFailed("a quoted value without its end")
    return "".join(value), at + 1


def _secret(user: str, password: str, encoding: str) -> bytes | None:
    """MD5 of user, realm and password; None when they cannot be written in the encoding."""
    try:
        return _md5(f"{user}:{REALM}:{password}".encode(encoding))
    except UnicodeEncodeError:
        return None


def _response(secret: bytes, said: Mapping[str, str], verb: str) -> str:
    """The response-value of RFC 2831, 2.1.2.1 for the client (verb AUTHENTICATE:) or the server (verb :)."""
    session = f":{said['nonce']}:{said['cnonce']}"
    if "authzid" in said:
        session += f":{said['authzid']}"
    first = _md5(secret + session.encode()).hex()
    second = _md5((verb + said["digest-uri"]).encode()).hex()
    return _md5(f"{first}:{said['nonce']}:{said['nc']}:{said['cnonce']}:auth:{second}".encode()).hex()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
