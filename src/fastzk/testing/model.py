"""The state machine, told plainly: dicts, byte strings and the rules.  The judge of the compiled one.

Rule: no code is shared with fastzk._core; where both are wrong in the same way, two people have to be.
Rule: naive on purpose: every rule stands where ZooKeeper's documentation would have it, whatever it costs.

`apply` takes one entry (anything with the fields of an entry_t) and gives an Outcome: the error code, or None for an
entry that is ignored; the body of the result; and the changes that watches may wait for, in order.  `read` answers
the four reads."""

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_CHILDREN, SYNC, GET_CHILDREN2, CREATE2 = 1, 2, 3, 4, 5, 8, 9, 12, 15
EPOCH, CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION = 0, -10, -11, -12
OK, SYSTEM_ERROR, MARSHALLING_ERROR, UNIMPLEMENTED, BAD_ARGUMENTS = 0, -1, -5, -6, -8
NO_NODE, NO_AUTH, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS = -101, -102, -103, -108, -110
NOT_EMPTY, SESSION_EXPIRED, INVALID_ACL, SESSION_MOVED = -111, -112, -114, -118
PERM_READ, PERM_WRITE, PERM_CREATE, PERM_DELETE = 1, 2, 4, 8
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4

PATH_SIZE_MAX = 4096
SUFFIX_SIZE_MAX = 11
ACL_COUNT_MAX = 256
OWN_PATHS = (b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config")

Acl = tuple[int, bytes, bytes]
Change = tuple[int, bytes]


class EntryLike(Protocol):
    """What the model looks at of an entry."""

    @property
    def op(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def session_id(self) -> int: ...
    @property
    def attach_zxid(self) -> int: ...
    @property
    def serial(self) -> int: ...


class Outcome(NamedTuple):
    err: int | None
    body: bytes = b""
    changes: tuple[Change, ...] = ()


IGNORED = Outcome(None)


class WriteError(Exception):
    """A write that fails with this error code."""

    def __init__(self, err: int) -> None:
        super().__init__(err)
        self.err = err


@dataclass
class Znode:
    data: bytes | None
    acl: tuple[Acl, ...]
    czxid: int
    mzxid: int
    pzxid: int
    ctime_ms: int
    mtime_ms: int
    owner: int = 0
    version: int = 0
    children_made: int = 0
    aversion: int = 0
    children: set[bytes] = field(default_factory=set)

    def stat(self) -> bytes:
        """The 68 bytes a client sees."""
        return struct.pack(
            ">qqqqiiiqiiq",
            self.czxid,
            self.mzxid,
            self.ctime_ms,
            self.mtime_ms,
            self.version,
            wrapped(2 * self.children_made - len(self.children)),
            self.aversion,
            wrapped(self.owner, 64),
            len(self.data or b""),
            len(self.children),
            self.pzxid,
        )

    def permits(self, perm: int) -> bool:
        """World:anyone is the only id that is matched."""
        return any(perms & perm and (scheme, name) == (b"world", b"anyone") for perms, scheme, name in self.acl)


@dataclass
class Session:
    password: bytes
    timeout_ms: int
    attach_zxid: int
    nonce: int
    last_serial: int = 0


class Model:
    """The namespace and its sessions after the entries applied so far."""

    def __init__(self) -> None:
        self.znodes: dict[bytes, Znode] = {}
        self.sessions: dict[int, Session] = {}
        for path in OWN_PATHS:
            perms = PERM_READ if path == b"/zookeeper/config" else 31
            self.znodes[path] = Znode(b"", ((perms, b"world", b"anyone"),), 0, 0, 0, 0, 0)
        for path in OWN_PATHS[1:]:
            self.znodes[parent_of(path)].children.add(name_of(path))

    def apply(self, entry: EntryLike, zxid: int, time_ms: int) -> Outcome:
        """Applies one entry."""
        if entry.op == EPOCH:
            return Outcome(OK)
        if entry.op == CREATE_SESSION:
            return self._create_session(entry, zxid)
        if entry.op == ATTACH_SESSION:
            return self._attach_session(entry, zxid)
        session = self.sessions.get(entry.session_id)
        is_expiry = entry.op == CLOSE_SESSION and entry.serial == 0
        if session is None:
            return IGNORED if is_expiry else Outcome(SESSION_EXPIRED)
        if entry.attach_zxid != session.attach_zxid:
            return IGNORED if is_expiry else Outcome(SESSION_MOVED)
        if is_expiry:
            return self._close_session(entry, zxid)
        if entry.serial != session.last_serial + 1:
            return IGNORED
        if entry.op == CLOSE_SESSION:
            return self._close_session(entry, zxid)
        session.last_serial = entry.serial
        try:
            return self._write(entry, zxid, time_ms)
        except WriteError as refused:
            return Outcome(refused.err)

    def read(self, op: int, path: bytes) -> tuple[int, bytes]:
        """Answers exists, getData, getChildren or getChildren2; names are in the order of the bytes."""
        if op == EXISTS and 0 in path and len(path) <= PATH_SIZE_MAX:
            return BAD_ARGUMENTS, b""
        znode = self.znodes.get(path)
        if znode is None:
            return NO_NODE, b""
        if not znode.permits(PERM_READ):
            return NO_AUTH, b""
        if op == EXISTS:
            return OK, znode.stat()
        if op == GET_DATA:
            return OK, packed(znode.data) + znode.stat()
        names = struct.pack(">i", len(znode.children)) + b"".join(packed(name) for name in sorted(znode.children))
        return OK, names + (znode.stat() if op == GET_CHILDREN2 else b"")

    def _create_session(self, entry: EntryLike, zxid: int) -> Outcome:
        if len(entry.body) < 20:
            return Outcome(MARSHALLING_ERROR)
        if entry.session_id in self.sessions:
            return IGNORED
        if entry.session_id == 0 or entry.session_id == 1 << 63 or entry.session_id >> 56 == 0xFF:
            return Outcome(SYSTEM_ERROR)
        timeout_ms = int.from_bytes(entry.body[:4], "big")
        self.sessions[entry.session_id] = Session(entry.body[4:20], timeout_ms, zxid, entry.serial)
        return Outcome(OK, entry.body[:20])

    def _attach_session(self, entry: EntryLike, zxid: int) -> Outcome:
        if len(entry.body) < 20:
            return Outcome(MARSHALLING_ERROR)
        session = self.sessions.get(entry.session_id)
        if session is None or session.password != entry.body[4:20]:
            return Outcome(SESSION_EXPIRED)
        if session.nonce == entry.serial:
            return IGNORED
        session.timeout_ms = int.from_bytes(entry.body[:4], "big")
        session.attach_zxid = zxid
        session.nonce = entry.serial
        session.last_serial = 0
        return Outcome(OK, entry.body[:20])

    def _close_session(self, entry: EntryLike, zxid: int) -> Outcome:
        del self.sessions[entry.session_id]
        changes: list[Change] = []
        for path in [path for path, znode in self.znodes.items() if znode.owner == entry.session_id]:
            changes += self._remove(path, zxid)
        return Outcome(OK, b"", tuple(changes))

    def _write(self, entry: EntryLike, zxid: int, time_ms: int) -> Outcome:
        reader = Reader(entry.body)
        if entry.op in (CREATE, CREATE2):
            path, data, acl, flags = reader.string(), reader.string(), reader.acl(), reader.number()
            made = self._create(path, data, acl, flags, entry.session_id, zxid, time_ms)
            stat = self.znodes[made].stat() if entry.op == CREATE2 else b""
            return Outcome(OK, packed(made) + stat, ((CREATED, made), (CHILDREN_CHANGED, parent_of(made))))
        if entry.op == DELETE:
            path, version = reader.string(), reader.number()
            return Outcome(OK, b"", tuple(self._delete(path, version, zxid)))
        if entry.op == SET_DATA:
            path, data, version = reader.string(), reader.string(), reader.number()
            znode = self._set_data(path, data, version, zxid, time_ms)
            assert path is not None
            return Outcome(OK, znode.stat(), ((DATA_CHANGED, path),))
        if entry.op == SYNC:
            return Outcome(OK, packed(reader.string()))
        raise WriteError(UNIMPLEMENTED)

    def _create(
        self,
        path: bytes | None,
        data: bytes | None,
        acl: list[tuple[int, bytes | None, bytes | None]],
        flags: int,
        session_id: int,
        zxid: int,
        time_ms: int,
    ) -> bytes:
        if flags in (4, 5, 6):
            raise WriteError(UNIMPLEMENTED)
        if flags not in (0, 1, 2, 3):
            raise WriteError(BAD_ARGUMENTS)
        if path is None:
            raise WriteError(MARSHALLING_ERROR)
        if not may_be_looked_up(path):
            raise WriteError(BAD_ARGUMENTS)
        stored_acl = judged_acl(acl)
        parent = self._permitted_parent(path, PERM_CREATE)
        if flags & 2:
            if len(path) + SUFFIX_SIZE_MAX > PATH_SIZE_MAX:
                raise WriteError(BAD_ARGUMENTS)
            path += b"%010d" % parent.children_made
        if not is_valid_path(path):
            raise WriteError(BAD_ARGUMENTS)
        if path in self.znodes:
            raise WriteError(NODE_EXISTS)
        if parent.owner:
            raise WriteError(NO_CHILDREN_FOR_EPHEMERALS)
        owner = session_id if flags & 1 else 0
        self.znodes[path] = Znode(data, stored_acl, zxid, zxid, zxid, time_ms, time_ms, owner)
        parent.children.add(name_of(path))
        parent.children_made += 1
        parent.pzxid = zxid
        return path

    def _delete(self, path: bytes | None, version: int, zxid: int) -> list[Change]:
        if path is None:
            raise WriteError(MARSHALLING_ERROR)
        if not may_be_looked_up(path) or path in OWN_PATHS:
            raise WriteError(BAD_ARGUMENTS)
        self._permitted_parent(path, PERM_DELETE)
        znode = self.znodes.get(path)
        if znode is None:
            raise WriteError(NO_NODE)
        if version not in (-1, znode.version):
            raise WriteError(BAD_VERSION)
        if znode.children:
            raise WriteError(NOT_EMPTY)
        return self._remove(path, zxid)

    def _remove(self, path: bytes, zxid: int) -> list[Change]:
        del self.znodes[path]
        parent = self.znodes[parent_of(path)]
        parent.children.remove(name_of(path))
        parent.pzxid = zxid
        return [(DELETED, path), (CHILDREN_CHANGED, parent_of(path))]

    def _set_data(self, path: bytes | None, data: bytes | None, version: int, zxid: int, time_ms: int) -> Znode:
        if path is None or not is_valid_path(path):
            raise WriteError(BAD_ARGUMENTS)
        znode = self.znodes.get(path)
        if znode is None:
            raise WriteError(NO_NODE)
        if not znode.permits(PERM_WRITE):
            raise WriteError(NO_AUTH)
        if version not in (-1, znode.version):
            raise WriteError(BAD_VERSION)
        znode.data = data
        znode.version = wrapped(znode.version + 1)
        if znode.version == -1:
            znode.version = 0
        znode.mzxid = zxid
        znode.mtime_ms = time_ms
        return znode

    def _permitted_parent(self, path: bytes, perm: int) -> Znode:
        parent = self.znodes.get(parent_of(path))
        if parent is None:
            raise WriteError(NO_NODE)
        if not parent.permits(perm):
            raise WriteError(NO_AUTH)
        return parent


class Reader:
    """Reads jute; whatever is not there is a MarshallingError."""

    def __init__(self, body: bytes) -> None:
        self.rest = body

    def number(self) -> int:
        if len(self.rest) < 4:
            raise WriteError(MARSHALLING_ERROR)
        taken, self.rest = self.rest[:4], self.rest[4:]
        return int.from_bytes(taken, "big", signed=True)

    def string(self) -> bytes | None:
        size = self.number()
        if size == -1:
            return None
        if size < 0 or size > len(self.rest):
            raise WriteError(MARSHALLING_ERROR)
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def acl(self) -> list[tuple[int, bytes | None, bytes | None]]:
        count = self.number()
        found = []
        for _ in range(count):
            found.append((self.number(), self.string(), self.string()))
        return found


def judged_acl(acl: list[tuple[int, bytes | None, bytes | None]]) -> tuple[Acl, ...]:
    """The ACL as it is stored: without duplicates.  Raises WriteError(InvalidACL)."""
    stored: list[Acl] = []
    for perms, scheme, name in acl:
        if scheme is None or name is None or not is_valid_id(scheme, name):
            raise WriteError(INVALID_ACL)
        if (perms, scheme, name) not in stored:
            stored.append((perms, scheme, name))
    if not stored or len(acl) > ACL_COUNT_MAX:
        raise WriteError(INVALID_ACL)
    return tuple(stored)


def is_valid_id(scheme: bytes, name: bytes) -> bool:
    if scheme == b"digest":
        return name.rstrip(b":").count(b":") == 1
    if scheme == b"ip":
        address, slash, bits = name.partition(b"/")
        try:
            text = address.decode("ascii")
            known = ipaddress.ip_address(text)
        except ValueError:
            return False
        if "%" in text:
            return False
        return not slash or (bits.isdigit() and len(bits) <= 3 and int(bits) <= known.max_prefixlen)
    return (scheme, name) == (b"world", b"anyone")


def may_be_looked_up(path: bytes) -> bool:
    return b"/" in path and 0 not in path and len(path) <= PATH_SIZE_MAX


def is_valid_path(path: bytes) -> bool:
    """The rules for a znode's path, on characters."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if len(path) > PATH_SIZE_MAX or not text.startswith("/"):
        return False
    if any(is_forbidden(ord(character)) for character in text):
        return False
    return text == "/" or all(element not in ("", ".", "..") for element in text[1:].split("/"))


def is_forbidden(point: int) -> bool:
    return point <= 0x1F or 0x7F <= point <= 0x9F or 0xD800 <= point <= 0xF8FF or point >= 0xFFF0


def parent_of(path: bytes) -> bytes:
    return path[: path.rindex(b"/")] or b"/"


def name_of(path: bytes) -> bytes:
    return path[path.rindex(b"/") + 1 :]


def packed(data: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if data is None else struct.pack(">i", len(data)) + data


def wrapped(value: int, bits: int = 32) -> int:
    """The value as a signed integer of so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
