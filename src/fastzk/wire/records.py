"""The records of ZooKeeper's client protocol, encoded and decoded; the client's side of it, and the other for tests.

    request = RequestHeader + the request's fields      reply = ReplyHeader + the reply's fields (none when err != 0)
    the first of a connection: ConnectRequest without header, answered by ConnectResponse without header

Rule: a request is a tuple of its fields in wire order, its class knows its operation and the kinds of the fields.
Rule: decoding takes a record whole; bytes that are left over are an error.
How: one table, REQUESTS, by operation; and one, _REPLIES, with the kinds of each operation's reply."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

from fastzk.data import ACL
from fastzk.defs import EventType, KeeperState, OpCode
from fastzk.wire import jute
from fastzk.wire.jute import Kind, RecordError

_REQUEST_HEADER = struct.Struct("!ii")
_REPLY_HEADER = struct.Struct("!iqi")
_MULTI_HEADER = struct.Struct("!iBi")
_CONNECT_REQUEST = (jute.INT, jute.LONG, jute.INT, jute.LONG, jute.BUFFER)
_CONNECT_RESPONSE = (jute.INT, jute.INT, jute.LONG, jute.BUFFER)
_MULTI_END = _MULTI_HEADER.pack(-1, 1, -1)

REPLY_HEADER_SIZE = _REPLY_HEADER.size
REQUEST_HEADER_SIZE = _REQUEST_HEADER.size


# ---- connecting


class ConnectRequest(NamedTuple):
    """A client's first record.  is_read_only None: the client is too old to have the field."""

    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes | None
    is_read_only: bool | None = False
    protocol_version: int = 0

    def encode(self) -> bytes:
        """The record's bytes."""
        fields = (self.protocol_version, self.last_zxid_seen, self.timeout_ms, self.session_id, self.password)
        encoded = jute.encode_fields(_CONNECT_REQUEST, fields)
        return encoded if self.is_read_only is None else encoded + jute.BOOL.encode(self.is_read_only)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record in the bytes.  Raises RecordError."""
        (version, last_zxid, timeout_ms, session_id, password), at = jute.decode_fields(_CONNECT_REQUEST, data)
        return cls(last_zxid, timeout_ms, session_id, password, _last_bool(data, at), version)


class ConnectResponse(NamedTuple):
    """The answer to ConnectRequest.  timeout_ms 0: the session is over.  is_read_only None: the field was not sent."""

    timeout_ms: int
    session_id: int
    password: bytes | None
    is_read_only: bool | None = False
    protocol_version: int = 0

    def encode(self) -> bytes:
        """The record's bytes."""
        fields = (self.protocol_version, self.timeout_ms, self.session_id, self.password)
        encoded = jute.encode_fields(_CONNECT_RESPONSE, fields)
        return encoded if self.is_read_only is None else encoded + jute.BOOL.encode(self.is_read_only)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record in the bytes.  Raises RecordError."""
        (version, timeout_ms, session_id, password), at = jute.decode_fields(_CONNECT_RESPONSE, data)
        return cls(timeout_ms, session_id, password, _last_bool(data, at), version)


def _last_bool(data: bytes, at: int) -> bool | None:
    """The optional field at the end of both."""
    if at == len(data):
        return None
    value, at = jute.BOOL.decode(data, at)
    _check_end(data, at)
    return bool(value)


# ---- headers


class RequestHeader(NamedTuple):
    """What every request but the first begins with."""

    xid: int
    op: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _REQUEST_HEADER.pack(*self)


class ReplyHeader(NamedTuple):
    """What every reply and event begins with; zxid is the state it was answered at."""

    xid: int
    zxid: int
    err: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _REPLY_HEADER.pack(*self)


def decode_request_header(data: bytes) -> RequestHeader:
    """The header that the bytes begin with.  Raises RecordError."""
    if len(data) < _REQUEST_HEADER.size:
        raise RecordError(f"{len(data)} bytes are no request")
    return RequestHeader._make(_REQUEST_HEADER.unpack_from(data))


def decode_reply_header(data: bytes) -> ReplyHeader:
    """The header that the bytes begin with.  Raises RecordError."""
    if len(data) < _REPLY_HEADER.size:
        raise RecordError(f"{len(data)} bytes are no reply")
    return ReplyHeader._make(_REPLY_HEADER.unpack_from(data))


# ---- requests


class Request(Protocol):
    """What the classes below have in common: a tuple of fields, its operation, and the kinds of the fields."""

    @property
    def op(self) -> OpCode: ...
    @property
    def kinds(self) -> tuple[Kind, ...]: ...
    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...


def encode_request(request: Request) -> bytes:
    """A request's fields, without header."""
    return jute.encode_fields(request.kinds, request)


def decode_request(op: int, data: bytes, at: int = 0) -> Any:
    """The request of an operation from its fields, without header.  Raises RecordError."""
    request, at = _decode_request(op, data, at)
    _check_end(data, at)
    return request


def _decode_request(op: int, data: bytes, at: int) -> tuple[Any, int]:
    cls = REQUESTS.get(op)
    if cls is None:
        raise RecordError(f"operation {op} is unknown")
    values, at = jute.decode_fields(cls.kinds, data, at)
    return cls(*values), at


class _Create(NamedTuple):
    path: str
    data: bytes | None
    acl: Sequence[ACL]
    flags: int


class Create(_Create):
    """Make a znode; the reply is its path."""

    op = OpCode.CREATE
    kinds = (jute.STRING, jute.BUFFER, jute.ACLS, jute.INT)


class Create2(_Create):
    """Make a znode; the reply is its path and Stat."""

    op = OpCode.CREATE2
    kinds = Create.kinds


class CreateContainer(_Create):
    """Make a znode that is removed when its last child is."""

    op = OpCode.CREATE_CONTAINER
    kinds = Create.kinds


class _CreateTtl(NamedTuple):
    path: str
    data: bytes | None
    acl: Sequence[ACL]
    flags: int
    ttl_ms: int


class CreateTtl(_CreateTtl):
    """Make a znode that is removed when it was childless and unchanged for so long."""

    op = OpCode.CREATE_TTL
    kinds = (*Create.kinds, jute.LONG)


class _PathVersion(NamedTuple):
    path: str
    version: int


class Delete(_PathVersion):
    """Remove a znode of a version, or any with -1."""

    op = OpCode.DELETE
    kinds = (jute.STRING, jute.INT)


class Check(_PathVersion):
    """Inside a multi: fail unless the znode has the version."""

    op = OpCode.CHECK
    kinds = (jute.STRING, jute.INT)


class _PathWatch(NamedTuple):
    path: str
    watch: bool


class Exists(_PathWatch):
    """A znode's Stat; a watch is set even when it does not exist."""

    op = OpCode.EXISTS
    kinds = (jute.STRING, jute.BOOL)


class GetData(_PathWatch):
    """A znode's data and Stat."""

    op = OpCode.GET_DATA
    kinds = (jute.STRING, jute.BOOL)


class GetChildren(_PathWatch):
    """The names of a znode's children."""

    op = OpCode.GET_CHILDREN
    kinds = (jute.STRING, jute.BOOL)


class GetChildren2(_PathWatch):
    """The names of a znode's children, and its Stat."""

    op = OpCode.GET_CHILDREN2
    kinds = (jute.STRING, jute.BOOL)


class _SetData(NamedTuple):
    path: str
    data: bytes | None
    version: int


class SetData(_SetData):
    """Change a znode's data; the reply is its Stat."""

    op = OpCode.SET_DATA
    kinds = (jute.STRING, jute.BUFFER, jute.INT)


class _Path(NamedTuple):
    path: str


class GetAcl(_Path):
    """A znode's ACL and Stat."""

    op = OpCode.GET_ACL
    kinds = (jute.STRING,)


class Sync(_Path):
    """Catch up with the leader; the reply is the path."""

    op = OpCode.SYNC
    kinds = (jute.STRING,)


class GetEphemerals(_Path):
    """The session's ephemeral znodes below a path."""

    op = OpCode.GET_EPHEMERALS
    kinds = (jute.STRING,)


class GetAllChildrenNumber(_Path):
    """How many descendants a znode has."""

    op = OpCode.GET_ALL_CHILDREN_NUMBER
    kinds = (jute.STRING,)


class _SetAcl(NamedTuple):
    path: str
    acl: Sequence[ACL]
    version: int


class SetAcl(_SetAcl):
    """Change a znode's ACL of an aversion, or any with -1; the reply is its Stat."""

    op = OpCode.SET_ACL
    kinds = (jute.STRING, jute.ACLS, jute.INT)


class _Empty(NamedTuple):
    pass


class Ping(_Empty):
    """I am alive."""

    op = OpCode.PING
    kinds = ()


class CloseSession(_Empty):
    """End the session and remove its ephemeral znodes."""

    op = OpCode.CLOSE_SESSION
    kinds = ()


class WhoAmI(_Empty):
    """The identities of this connection."""

    op = OpCode.WHO_AM_I
    kinds = ()


class _Auth(NamedTuple):
    auth_type: int
    scheme: str
    credential: bytes | None


class Auth(_Auth):
    """Prove an identity."""

    op = OpCode.AUTH
    kinds = (jute.INT, jute.STRING, jute.BUFFER)


class _SetWatches(NamedTuple):
    relative_zxid: int
    data: Sequence[str]
    exist: Sequence[str]
    child: Sequence[str]


class SetWatches(_SetWatches):
    """Arm watches again after a reconnect; what they missed since the zxid is told at once."""

    op = OpCode.SET_WATCHES
    kinds = (jute.LONG, jute.STRINGS, jute.STRINGS, jute.STRINGS)


class _SetWatches2(NamedTuple):
    relative_zxid: int
    data: Sequence[str]
    exist: Sequence[str]
    child: Sequence[str]
    persistent: Sequence[str]
    persistent_recursive: Sequence[str]


class SetWatches2(_SetWatches2):
    """SetWatches with the persistent ones."""

    op = OpCode.SET_WATCHES2
    kinds = (*SetWatches.kinds, jute.STRINGS, jute.STRINGS)


class _PathKind(NamedTuple):
    path: str
    kind: int


class AddWatch(_PathKind):
    """Arm a persistent watch (AddWatchMode)."""

    op = OpCode.ADD_WATCH
    kinds = (jute.STRING, jute.INT)


class RemoveWatches(_PathKind):
    """Take watches of a WatcherType off."""

    op = OpCode.REMOVE_WATCHES
    kinds = (jute.STRING, jute.INT)


class CheckWatches(_PathKind):
    """Are there watches of a WatcherType?"""

    op = OpCode.CHECK_WATCHES
    kinds = (jute.STRING, jute.INT)


class _Reconfig(NamedTuple):
    joining: str | None
    leaving: str | None
    new_members: str | None
    version: int


class Reconfig(_Reconfig):
    """Change the members of the ensemble; the reply is the data and Stat of /zookeeper/config."""

    op = OpCode.RECONFIG
    kinds = (jute.STRING_OR_NULL, jute.STRING_OR_NULL, jute.STRING_OR_NULL, jute.LONG)


# ---- multi


class MultiResult(NamedTuple):
    """What became of one operation of a multi: its value, or why it was not done (then op is -1)."""

    op: int
    err: int
    value: Any


def _encode_operations(operations: Sequence[Request]) -> bytes:
    parts = []
    for operation in operations:
        parts.append(_MULTI_HEADER.pack(operation.op, 0, -1) + encode_request(operation))
    return b"".join(parts) + _MULTI_END


def _decode_operations(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
    operations: list[Any] = []
    while True:
        op, is_done, _ = _MULTI_HEADER.unpack_from(data, at)
        at += _MULTI_HEADER.size
        if is_done:
            return tuple(operations), at
        if op not in _MULTI_OPS:
            raise RecordError(f"operation {op} in a multi")
        operation, at = _decode_request(op, data, at)
        operations.append(operation)


def _encode_results(results: Sequence[MultiResult]) -> bytes:
    parts = []
    for op, err, value in results:
        body = jute.INT.encode(err) if op == OpCode.ERROR else encode_reply(op, value)
        parts.append(_MULTI_HEADER.pack(op, 0, err) + body)
    return b"".join(parts) + _MULTI_END


def _decode_results(data: bytes, at: int) -> tuple[tuple[MultiResult, ...], int]:
    results: list[MultiResult] = []
    while True:
        op, is_done, err = _MULTI_HEADER.unpack_from(data, at)
        at += _MULTI_HEADER.size
        if is_done:
            return tuple(results), at
        value: Any = None
        if op == OpCode.ERROR:
            (err,), at = jute.decode_fields((jute.INT,), data, at)
        elif op in _MULTI_OPS:
            value, at = _decode_reply(op, data, at)
        else:
            raise RecordError(f"result of operation {op} in a multi")
        results.append(MultiResult(op, err, value))


_OPERATIONS = Kind(_encode_operations, _decode_operations)
_RESULTS = Kind(_encode_results, _decode_results)


class _Multi(NamedTuple):
    operations: Sequence[Any]


class Multi(_Multi):
    """Writes and checks that are done together or not at all."""

    op = OpCode.MULTI
    kinds = (_OPERATIONS,)


class MultiRead(_Multi):
    """Reads that are answered together."""

    op = OpCode.MULTI_READ
    kinds = (_OPERATIONS,)


_REQUEST_CLASSES: tuple[Any, ...] = (
    Create, Create2, CreateContainer, CreateTtl, Delete, Check, Exists, GetData, GetChildren, GetChildren2, SetData,
    GetAcl, SetAcl, Sync, GetEphemerals, GetAllChildrenNumber, Ping, CloseSession, WhoAmI, Auth, SetWatches,
    SetWatches2, AddWatch, RemoveWatches, CheckWatches, Reconfig, Multi, MultiRead,
)  # fmt: skip
REQUESTS: dict[int, Any] = {int(cls.op): cls for cls in _REQUEST_CLASSES}
_MULTI_OPS = frozenset(
    int(cls.op) for cls in (Create, Create2, CreateContainer, CreateTtl, Delete, Check, SetData, GetData, GetChildren)
)


# ---- replies

# Kinds of the fields of each operation's reply.
_REPLIES: dict[int, tuple[Kind, ...]] = {
    OpCode.CREATE: (jute.STRING,),
    OpCode.CREATE2: (jute.STRING, jute.STAT),
    OpCode.CREATE_CONTAINER: (jute.STRING, jute.STAT),
    OpCode.CREATE_TTL: (jute.STRING, jute.STAT),
    OpCode.DELETE: (),
    OpCode.EXISTS: (jute.STAT,),
    OpCode.GET_DATA: (jute.BUFFER, jute.STAT),
    OpCode.SET_DATA: (jute.STAT,),
    OpCode.RECONFIG: (jute.BUFFER, jute.STAT),
    OpCode.GET_ACL: (jute.ACLS, jute.STAT),
    OpCode.SET_ACL: (jute.STAT,),
    OpCode.GET_CHILDREN: (jute.STRINGS,),
    OpCode.GET_CHILDREN2: (jute.STRINGS, jute.STAT),
    OpCode.SYNC: (jute.STRING,),
    OpCode.PING: (),
    OpCode.CHECK: (),
    OpCode.MULTI: (_RESULTS,),
    OpCode.MULTI_READ: (_RESULTS,),
    OpCode.AUTH: (),
    OpCode.SET_WATCHES: (),
    OpCode.SET_WATCHES2: (),
    OpCode.ADD_WATCH: (jute.INT,),
    OpCode.CHECK_WATCHES: (),
    OpCode.REMOVE_WATCHES: (),
    OpCode.GET_EPHEMERALS: (jute.STRINGS,),
    OpCode.GET_ALL_CHILDREN_NUMBER: (jute.INT,),
    OpCode.WHO_AM_I: (jute.IDS,),
    OpCode.CLOSE_SESSION: (),
}


def encode_reply(op: int, value: Any) -> bytes:
    """A reply's fields from their value: None for no field, the value of a single one, a tuple of several."""
    kinds = _REPLIES[op]
    if not kinds:
        assert value is None, f"operation {op} has an empty reply, not {value!r}"
        return b""
    return kinds[0].encode(value) if len(kinds) == 1 else jute.encode_fields(kinds, value)


def decode_reply(op: int, data: bytes, at: int = 0) -> Any:
    """The value of a reply's fields, as encode_reply takes it.  Raises RecordError."""
    value, at = _decode_reply(op, data, at)
    _check_end(data, at)
    return value


def _decode_reply(op: int, data: bytes, at: int) -> tuple[Any, int]:
    values, at = jute.decode_fields(_REPLIES[op], data, at)
    if not values:
        return None, at
    return (values[0] if len(values) == 1 else tuple(values)), at


class WatcherEvent(NamedTuple):
    """A watch has fired: what follows the header of xid -1."""

    type: int
    state: int
    path: str

    def encode(self) -> bytes:
        """The record's bytes."""
        return jute.encode_fields(_WATCHER_EVENT, self)

    @classmethod
    def decode(cls, data: bytes, at: int = 0) -> Self:
        """The record in the bytes.  Raises RecordError, also when type or state is none of ZooKeeper's."""
        values, at = jute.decode_fields(_WATCHER_EVENT, data, at)
        _check_end(data, at)
        if values[0] not in _EVENT_TYPES or values[1] not in _STATES:
            raise RecordError(f"event of type {values[0]} in state {values[1]}")
        return cls(*values)


_WATCHER_EVENT = (jute.INT, jute.INT, jute.STRING)
_EVENT_TYPES = frozenset(int(event) for event in EventType)
_STATES = frozenset(int(state) for state in KeeperState)


def _check_end(data: bytes, at: int) -> None:
    if at != len(data):
        raise RecordError(f"{len(data) - at} bytes are left over")
