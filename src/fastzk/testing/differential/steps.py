"""What a conversation consists of: steps, each of one connection, as plain values.

Rule: a step names connections by slot (0..) and sessions by number, never by anything a server chose; so the same steps
can be played with every server, and any of them can be left out.
Rule: bodies are bytes, made here: sense or nonsense, the null strings and vectors that no client sends included."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from fastzk.data import ACL
from fastzk.defs import OpCode
from fastzk.wire import jute, records

_INT = struct.Struct("!i")
_LONG = struct.Struct("!q")
_NULL = _INT.pack(-1)
MULTI_END = struct.pack("!iBi", -1, 1, -1)

# Where the zxid of a setWatches or ConnectRequest comes from, beside n >= 0: that of the n-th last write.
ZXID_ZERO, ZXID_NEGATIVE, ZXID_AHEAD = -1, -2, -3


class Request(NamedTuple):
    """A request; relative (setWatches) says which zxid stands before the body."""

    slot: int
    op: int
    xid: int
    body: bytes
    relative: int | None = None


class Bytes(NamedTuple):
    """Bytes as they are, frame or no frame; the server is expected to close the connection."""

    slot: int
    data: bytes


class Connect(NamedTuple):
    """A new TCP connection in the slot (whatever was there is dropped), and a session of that number."""

    slot: int
    session: int
    timeout_ms: int
    password: bytes | None
    is_read_only: bool | None
    zxid: int = ZXID_ZERO


class Resume(NamedTuple):
    """A new TCP connection in the slot, which goes on with a session; password None: the right one."""

    slot: int
    session: int
    timeout_ms: int
    password: bytes | None
    is_read_only: bool | None
    zxid: int = ZXID_ZERO


class Drop(NamedTuple):
    """Closes the TCP connection without a word."""

    slot: int


class Burst(NamedTuple):
    """Requests of one connection that are sent at once; all are answered, in order."""

    slot: int
    requests: tuple[Request, ...]


Step = Burst | Request | Bytes | Connect | Resume | Drop


# ---- encoding


def integer(value: int) -> bytes:
    """An int."""
    return _INT.pack(value)


def long(value: int) -> bytes:
    """A long."""
    return _LONG.pack(value)


def boolean(value: int) -> bytes:
    """A bool, or any other byte in its place."""
    return bytes((value,))


def buffer(value: bytes | None) -> bytes:
    """A buffer, null included."""
    return _NULL if value is None else _INT.pack(len(value)) + value


def string(value: str | bytes | None) -> bytes:
    """A string; bytes stand for one that need not be UTF-8."""
    return buffer(value.encode() if isinstance(value, str) else value)


def vector(items: Sequence[bytes] | None) -> bytes:
    """A vector of encoded items, null included."""
    return _NULL if items is None else _INT.pack(len(items)) + b"".join(items)


def acl_entry(perms: int, scheme: str | None, identity: str | None) -> bytes:
    """One entry of an ACL."""
    return _INT.pack(perms) + string(scheme) + string(identity)


def multi(parts: Sequence[tuple[int, bytes]], end: bytes = MULTI_END) -> bytes:
    """A multi's body from operations and their bodies."""
    return b"".join([struct.pack("!iBi", op, 0, -1) + body for op, body in parts]) + end


# ---- printing


def describe(step: Step) -> str:
    """A step as a line to read."""
    if isinstance(step, Request):
        return f"[{step.slot}] xid {step.xid} {op_name(step.op)} {_body_text(step)}"
    if isinstance(step, Burst):
        return f"[{step.slot}] at once: " + "; ".join(describe(request) for request in step.requests)
    if isinstance(step, Bytes):
        return f"[{step.slot}] bytes {step.data[:40].hex()}{'...' if len(step.data) > 40 else ''}"
    if isinstance(step, Drop):
        return f"[{step.slot}] drop the connection"
    verb = "connect" if isinstance(step, Connect) else "resume"
    zxid = f" zxid {zxid_name(step.zxid)}" if step.zxid != ZXID_ZERO else ""
    password = "" if isinstance(step, Resume) and step.password is None else f" password {step.password!r}"
    return f"[{step.slot}] {verb} session {step.session} timeout {step.timeout_ms}{password} ro {step.is_read_only}{zxid}"


def op_name(op: int) -> str:
    """An operation's name, or its number."""
    try:
        return OpCode(op).name.lower()
    except ValueError:
        return f"op {op}"


def zxid_name(zxid: int) -> str:
    """Where a zxid is taken from, in words."""
    return {ZXID_ZERO: "0", ZXID_NEGATIVE: "-1", ZXID_AHEAD: "ahead"}.get(zxid, f"of write -{zxid}")


def _body_text(step: Request) -> str:
    body = step.body if step.relative is None else _LONG.pack(0) + step.body
    text = ""
    try:
        request = records.decode_request(step.op, body)
        text = " ".join(f"{name}={_value_text(value)}" for name, value in request._asdict().items())
    except (jute.RecordError, ValueError, struct.error):
        text = body.hex() or "(no body)"
    return text if step.relative is None else f"{text} relative to the zxid {zxid_name(step.relative)}"


def _value_text(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], ACL):
        return "[" + ", ".join(f"{int(entry.perms)}:{entry.id.scheme}:{entry.id.id}" for entry in value) + "]"
    return repr(value)
