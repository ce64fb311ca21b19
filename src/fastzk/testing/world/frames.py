"""What simulated clients say and hear: frames of ZooKeeper's protocol, made and taken apart with struct.

Rule: no code is shared with fastzk._core or wire: the client's side is written down a second time, from the protocol."""

import struct
from typing import NamedTuple

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN, SYNC, PING = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG, AUTH, SET_WATCHES2, ADD_WATCH, CLOSE = 12, 13, 14, 15, 16, 100, 105, 106, -11
READS = (EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2)
PING_XID, EVENT_XID, SET_WATCHES_XID, AUTH_XID = -2, -1, -8, -4
EPHEMERAL, SEQUENTIAL = 1, 2
PERSISTENT_MODE, RECURSIVE_MODE = 0, 1

_INT = struct.Struct(">i")
_HEAD = struct.Struct(">iii")  # size, xid, op
_REPLY = struct.Struct(">iqi")  # xid, zxid, err
_GREETING = struct.Struct(">iiQ")
OPEN_ACL = struct.pack(">ii", 1, 31) + _INT.pack(5) + b"world" + _INT.pack(6) + b"anyone"
PING_FRAME = _HEAD.pack(8, PING_XID, PING)


class Reply(NamedTuple):
    """A frame of the server, behind the first."""

    xid: int
    zxid: int
    err: int
    body: bytes


def packed(text: bytes) -> bytes:
    """A string or buffer."""
    return _INT.pack(len(text)) + text


def request(xid: int, op: int, body: bytes) -> bytes:
    """One request's frame."""
    return _HEAD.pack(8 + len(body), xid, op) + body


def connect(session_id: int, password: bytes, timeout_ms: int, last_zxid: int) -> bytes:
    """A ConnectRequest's frame."""
    return struct.pack(">iiQiQi16s?", 45, 0, last_zxid, timeout_ms, session_id, 16, password, False)


def greeting(frame: bytes) -> tuple[int, int, bytes]:
    """(timeout_ms, session_id, password) of a ConnectResponse; session 0 is a refusal."""
    version, timeout_ms, session_id = _GREETING.unpack_from(frame)
    assert (version, len(frame)) == (0, 37), f"a ConnectResponse of {len(frame)} bytes, version {version}"
    return timeout_ms, session_id, frame[20:36]


def reply(frame: bytes) -> Reply:
    """Any frame behind the ConnectResponse."""
    xid, zxid, err = _REPLY.unpack_from(frame)
    return Reply(xid, zxid, err, frame[16:])


def create(path: bytes, data: bytes, flags: int) -> bytes:
    """The body of a create with the open ACL."""
    return packed(path) + packed(data) + OPEN_ACL + _INT.pack(flags)


def set_data(path: bytes, data: bytes, version: int) -> bytes:
    """The body of a setData."""
    return packed(path) + packed(data) + _INT.pack(version)


def set_acl(path: bytes) -> bytes:
    """The body of a setACL with the open ACL."""
    return packed(path) + OPEN_ACL + _INT.pack(-1)


def versioned(path: bytes, version: int) -> bytes:
    """The body of a delete or check."""
    return packed(path) + _INT.pack(version)


def multi(operations: list[tuple[int, bytes]]) -> bytes:
    """The body of a multi: (op, body) of each part."""
    return b"".join(struct.pack(">i?i", op, False, -1) + body for op, body in operations) + struct.pack(">i?i", -1, True, -1)


def reconfig(joining: bytes | None, leaving: bytes | None, version: int) -> bytes:
    """The body of an incremental reconfig."""
    texts = b"".join(_INT.pack(-1) if text is None else packed(text) for text in (joining, leaving, None))
    return texts + struct.pack(">q", version)


def auth(secret: bytes) -> bytes:
    """The frame of digest credentials."""
    return request(AUTH_XID, AUTH, _INT.pack(0) + packed(b"digest") + packed(secret))


def read(path: bytes, is_watching: bool) -> bytes:
    """The body of exists, getData, getChildren or getChildren2."""
    return packed(path) + (b"\x01" if is_watching else b"\0")


def set_watches(seen_zxid: int, lists: list[list[bytes]]) -> bytes:
    """The body of setWatches2: data, exists, child, persistent, recursive."""
    body = b"".join(_INT.pack(len(paths)) + b"".join(map(packed, paths)) for paths in lists)
    return struct.pack(">q", seen_zxid) + body


def event(body: bytes) -> tuple[int, bytes]:
    """(type, path) of a watch event."""
    kind, _, size = struct.unpack_from(">iii", body)
    assert len(body) == 12 + size, f"an event of {len(body)} bytes with a path of {size}"
    return kind, body[12:]


def sorted_names(op: int, body: bytes) -> bytes:
    """The answer to a read with its names in the order of their bytes: the protocol has none."""
    if op not in (GET_CHILDREN, GET_CHILDREN2) or len(body) < 4:
        return body
    (count,), names, at = _INT.unpack_from(body), [], 4
    for _ in range(count):
        (size,) = _INT.unpack_from(body, at)
        names.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return body[:4] + b"".join(map(packed, sorted(names))) + body[at:]
