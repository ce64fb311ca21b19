"""The state machine, told plainly: dicts, byte strings and the rules.  The judge of the compiled one.

Rule: no code is shared with fastzk._core; where both are wrong in the same way, two people have to be.
Rule: naive on purpose: every rule stands where ZooKeeper's documentation would have it, whatever it costs.

`apply` takes one entry (anything with the fields of an entry_t) and gives an Outcome: the error code, or None for an
entry that is ignored; the body of the result; and the changes that watches may wait for, in order, each with the ACL
vector a watcher needs READ in (empty: anyone may know).  `read` answers the four reads.

A multi that fails is taken back: `_keep` notes how a znode was before a multi changes it.

What the words mean is in model_rules.py, quotas are in model_quota.py."""

import struct
from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from fastzk.testing import model_quota as quota
from fastzk.testing.model_rules import (
    PATH_SIZE_MAX,
    SUFFIX_SIZE_MAX,
    Acl,
    GivenAcl,
    Id,
    Reader,
    WriteError,
    is_valid_path,
    judged_acl,
    may_be_looked_up,
    name_of,
    packed,
    packed_acl,
    parent_of,
    permits,
    wrapped,
)

__all__ = ["PATH_SIZE_MAX", "SUFFIX_SIZE_MAX", "Model", "Outcome", "Reader", "WriteError", "is_valid_path", "judged_acl", "packed"]

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, SET_ACL, GET_CHILDREN, SYNC, GET_CHILDREN2 = 1, 2, 3, 4, 5, 7, 8, 9, 12
CHECK, MULTI, CREATE2, CREATE_CONTAINER, CREATE_TTL = 13, 14, 15, 19, 21
CREATES = (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL)
EPOCH, CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION, IDENTIFY, CONFIG, RECONFIGURED, REAP = 0, -10, -11, -12, -13, -14, -17, 20
OK, SYSTEM_ERROR, RUNTIME_INCONSISTENCY, CONNECTION_LOSS, MARSHALLING_ERROR = 0, -1, -2, -4, -5
UNIMPLEMENTED, BAD_ARGUMENTS = -6, -8
NO_NODE, NO_AUTH, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS = -101, -102, -103, -108, -110
NOT_EMPTY, SESSION_EXPIRED, INVALID_ACL, SESSION_MOVED = -111, -112, -114, -118
PERM_READ, PERM_WRITE, PERM_CREATE, PERM_DELETE, PERM_ADMIN = 1, 2, 4, 8, 16
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4

OWN_PATHS = (b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config")
CONTAINER_OWNER = 1 << 63
TTL_OWNER = 0xFF << 56
TTL_MAX = (1 << 40) - 1
REMEMBER = 1  # cxid of a create whose session's results are remembered, and of an attach that goes on so
RESULTS_MAX, RESULT_SIZE_MAX = 128, 16384
XID_COUNT = 1 << 31
TERMINATOR = struct.pack(">i?i", -1, True, -1)

Change = tuple[int, bytes, bytes]


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
    @property
    def cxid(self) -> int: ...


class Outcome(NamedTuple):
    err: int | None
    body: bytes = b""
    changes: tuple[Change, ...] = ()
    is_repeat: bool = False  # answered with what it was answered the first time, and not done again


IGNORED = Outcome(None)


class Moment(NamedTuple):
    zxid: int
    time_ms: int


@dataclass
class Znode:
    data: bytes | None
    acl: tuple[Acl, ...]
    czxid: int
    mzxid: int
    pzxid: int
    ctime_ms: int
    mtime_ms: int
    owner: int = 0  # as stored: a session's id, or a container's or TTL's mark
    version: int = 0
    children_made: int = 0
    aversion: int = 0
    made: int = 0  # its number among all that were ever made: a session's end takes its youngest first
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
            wrapped(self.owner, 64) if self.is_ephemeral() else 0,
            len(self.data or b""),
            len(self.children),
            self.pzxid,
        )

    def __deepcopy__(self, memo: dict[int, object]) -> "Znode":
        return replace(self, children=set(self.children))

    def is_ephemeral(self) -> bool:
        return self.owner not in (0, CONTAINER_OWNER) and self.owner >> 56 != 0xFF

    def guard(self) -> bytes:
        """The ACL vector that says who may know of a change; empty when anyone may."""
        return b"" if permits(self.acl, PERM_READ, ()) else packed_acl(self.acl)


@dataclass
class Session:
    password: bytes
    timeout_ms: int
    attach_zxid: int
    nonce: int
    last_serial: int = 0
    identities: tuple[Id, ...] = ()
    identities_vector: bytes = b""
    results: deque[tuple[int, int, bytes]] | None = None  # cxid, error, body of the last writes; None: not remembered


@dataclass
class Create:
    """What a create asks for."""

    op: int
    path: bytes | None
    data: bytes | None
    acl: GivenAcl | None
    flags: int
    ttl: int


class Model:
    """The namespace and its sessions after the entries applied so far."""

    def __init__(self) -> None:
        self.znodes: dict[bytes, Znode] = {}
        self.sessions: dict[int, Session] = {}
        for path in OWN_PATHS:
            perms = PERM_READ if path == b"/zookeeper/config" else 31
            self.znodes[path] = Znode(b"", ((perms, b"world", b"anyone"),), 0, 0, 0, 0, 0)
        self.znodes[b"/zookeeper/config"].aversion = -1
        for path in OWN_PATHS[1:]:
            self.znodes[parent_of(path)].children.add(name_of(path))
        # How many znodes clients have made, those of multis that failed with them.
        self._made = 0
        # While a multi is done: each znode that it has changed, as it was before; None: it was not there.
        self._before: dict[bytes, Znode | None] | None = None

    def apply(self, entry: EntryLike, zxid: int, time_ms: int) -> Outcome:
        """Applies one entry."""
        now = Moment(zxid, time_ms)
        if entry.op == EPOCH:
            return Outcome(OK)
        if entry.op == CREATE_SESSION:
            return self._create_session(entry, zxid)
        if entry.op == ATTACH_SESSION:
            return self._attach_session(entry, zxid)
        if entry.op == CONFIG:
            return self._config(entry.body, now)
        if entry.op == REAP:
            return self._reap(entry.body, now)
        session = self.sessions.get(entry.session_id)
        is_expiry = entry.op == CLOSE_SESSION and entry.serial == 0
        if session is None:
            return IGNORED if is_expiry else Outcome(SESSION_EXPIRED)
        if entry.attach_zxid != session.attach_zxid:
            return IGNORED if is_expiry else Outcome(SESSION_MOVED)
        if is_expiry:
            return self._close_session(entry, now)
        if entry.serial != session.last_serial + 1:
            return IGNORED
        if entry.op == CLOSE_SESSION:
            return self._close_session(entry, now)
        session.last_serial = entry.serial
        if session.results is None or entry.cxid <= 0:
            return self._tried(entry, session, now)
        known = remembered(session.results, entry.cxid)
        if known is not None:
            return Outcome(known[1], known[2], (), True)
        outcome = self._tried(entry, session, now)
        assert outcome.err is not None, "a write has a result"
        body = outcome.body if outcome.err == OK else b""
        is_kept = len(body) <= RESULT_SIZE_MAX
        session.results.append((entry.cxid, outcome.err if is_kept else CONNECTION_LOSS, body if is_kept else b""))
        return outcome

    def read(self, op: int, path: bytes, who: tuple[Id, ...] = ()) -> tuple[int, bytes]:
        """Answers exists, getData, getChildren or getChildren2; names are in the order of the bytes.

        The empty path is another name of the root, as it is in ZooKeeper."""
        if op == EXISTS and 0 in path and len(path) <= PATH_SIZE_MAX:
            return BAD_ARGUMENTS, b""
        znode = self.znodes.get(path or b"/")
        if znode is None:
            return NO_NODE, b""
        if not permits(znode.acl, PERM_READ, who):
            return NO_AUTH, b""
        if op == EXISTS:
            return OK, znode.stat()
        if op == GET_DATA:
            return OK, packed(znode.data) + znode.stat()
        names = struct.pack(">i", len(znode.children)) + b"".join(packed(name) for name in sorted(znode.children))
        return OK, names + (znode.stat() if op == GET_CHILDREN2 else b"")

    def reapable(self, path: bytes, now_ms: int) -> bool:
        """A container that had children and has none, or a TTL znode without children and older than its ttl."""
        znode = self.znodes.get(path)
        if znode is None or znode.children:
            return False
        if znode.owner == CONTAINER_OWNER:
            return wrapped(znode.children_made) > 0
        return znode.owner >> 56 == 0xFF and now_ms - znode.mtime_ms > znode.owner & TTL_MAX

    def _create_session(self, entry: EntryLike, zxid: int) -> Outcome:
        identities = session_identities(entry.body)
        if identities is None:
            return Outcome(MARSHALLING_ERROR)
        if entry.session_id in self.sessions:
            return IGNORED
        if entry.session_id == 0 or entry.session_id == 1 << 63 or entry.session_id >> 56 == 0xFF:
            return Outcome(SYSTEM_ERROR)
        timeout_ms = int.from_bytes(entry.body[:4], "big")
        session = Session(entry.body[4:20], timeout_ms, zxid, entry.serial)
        session.identities, session.identities_vector = identities, entry.body[20:]
        session.results = deque(maxlen=RESULTS_MAX) if entry.cxid == REMEMBER else None
        self.sessions[entry.session_id] = session
        return Outcome(OK, entry.body[:20])

    def _attach_session(self, entry: EntryLike, zxid: int) -> Outcome:
        identities = session_identities(entry.body)
        if identities is None:
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
        if entry.cxid != REMEMBER:
            session.results = None
        session.identities, session.identities_vector = identities, entry.body[20:]
        return Outcome(OK, entry.body[:20])

    def _close_session(self, entry: EntryLike, now: Moment) -> Outcome:
        del self.sessions[entry.session_id]
        changes: list[Change] = []
        owned = [(znode.made, path) for path, znode in self.znodes.items() if znode.owner == entry.session_id]
        for _, path in sorted(owned, reverse=True):
            changes += self._remove(path, now)
        return Outcome(OK, b"", tuple(changes))

    def _config(self, data: bytes, now: Moment) -> Outcome:
        path = b"/zookeeper/config"
        if self.znodes[path].data == data:
            return IGNORED
        return Outcome(OK, b"", tuple(self._replace(path, data, now)[1]))

    def _reap(self, body: bytes, now: Moment) -> Outcome:
        try:
            path = Reader(body).string()
        except WriteError:
            return IGNORED
        if path is None or not self.reapable(path, now.time_ms):
            return IGNORED
        return Outcome(OK, b"", tuple(self._remove(path, now)))

    def _tried(self, entry: EntryLike, session: Session, now: Moment) -> Outcome:
        try:
            return self._write(entry, session, now)
        except WriteError as refused:
            return Outcome(refused.err)

    def _write(self, entry: EntryLike, session: Session, now: Moment) -> Outcome:
        reader = Reader(entry.body)
        if entry.op == MULTI:
            return self._multi(reader, entry.session_id, session, now)
        if entry.op == SYNC:
            return Outcome(OK, packed(reader.string()))
        if entry.op == IDENTIFY:
            session.identities, session.identities_vector = reader.identities(), entry.body
            return Outcome(OK)
        if entry.op == RECONFIGURED:
            if len(entry.body) != 4:
                raise WriteError(MARSHALLING_ERROR)
            verdict = int.from_bytes(entry.body, "big", signed=True)
            if verdict < 0:
                raise WriteError(verdict)
            config = self.znodes[b"/zookeeper/config"]
            return Outcome(OK, packed(config.data) + config.stat())
        if entry.op in (*CREATES, DELETE, SET_DATA, SET_ACL):
            body, changes = self._operation(taken(entry.op, reader), entry.session_id, session.identities, now)
            return Outcome(OK, body, tuple(changes))
        raise WriteError(UNIMPLEMENTED)

    def _multi(self, reader: Reader, session_id: int, session: Session, now: Moment) -> Outcome:
        operations = [settled(operation) for operation in iterate(reader)]
        self._before = {}
        body, changes = b"", []
        for place, operation in enumerate(operations):
            op = operation.op if isinstance(operation, Create) else operation[0]
            try:
                reply, more = self._operation(operation, session_id, session.identities, now)
            except WriteError as refused:
                self._take_back()
                errs = [OK] * place + [refused.err] + [RUNTIME_INCONSISTENCY] * (len(operations) - place - 1)
                return Outcome(OK, b"".join(struct.pack(">i?ii", -1, False, err, err) for err in errs) + TERMINATOR)
            body += struct.pack(">i?i", CREATE2 if op in CREATES and op != CREATE else op, False, OK) + reply
            changes += more
        self._before = None
        return Outcome(OK, body + TERMINATOR, tuple(changes))

    def _keep(self, path: bytes) -> None:
        """The znode of this path is about to change."""
        if self._before is not None and path not in self._before:
            znode = self.znodes.get(path)
            self._before[path] = replace(znode, children=set(znode.children)) if znode is not None else None

    def _take_back(self) -> None:
        """All is as it was before the multi."""
        assert self._before is not None, "only a multi is taken back"
        for path, znode in self._before.items():
            if znode is None:
                self.znodes.pop(path, None)
            else:
                self.znodes[path] = znode
        self._before = None

    def _operation(self, asked: "Create | Other", session_id: int, who: tuple[Id, ...], now: Moment) -> tuple[bytes, list[Change]]:
        """Does one operation; gives its reply's body and the changes."""
        if isinstance(asked, Create):
            return self._create(asked, session_id, who, now)
        op, path, value, version = asked
        if op == DELETE:
            return b"", self._delete(path, version, who, now)
        if path is None or not is_valid_path(path):
            raise WriteError(BAD_ARGUMENTS)
        if op == SET_ACL:
            assert value is None or isinstance(value, list)
            stored_acl = judged_acl(value, who)
            znode = self._permitted(path, PERM_ADMIN, who)
            expect(version, znode.aversion)
            znode.acl = stored_acl
            znode.aversion = wrapped(znode.aversion + 1)
            return znode.stat(), []
        znode = self._permitted(path, PERM_READ if op == CHECK else PERM_WRITE, who)
        if op == CHECK:
            expect(version, znode.version)
            return b"", []
        assert value is None or isinstance(value, bytes)
        quota.judge(self.znodes, path, 0, len(value or b"") - len(znode.data or b""))
        expect(version, znode.version)
        return self._replace(path, value, now)

    def _create(self, asked: Create, session_id: int, who: tuple[Id, ...], now: Moment) -> tuple[bytes, list[Change]]:
        has_ttl = asked.flags in (5, 6)
        if asked.flags not in range(7) or (asked.op == CREATE_TTL) != has_ttl or (has_ttl and not 1 <= asked.ttl <= TTL_MAX):
            raise WriteError(BAD_ARGUMENTS)
        path = asked.path
        if path is None:
            raise WriteError(MARSHALLING_ERROR)
        if not may_be_looked_up(path):
            raise WriteError(BAD_ARGUMENTS)
        stored_acl = judged_acl(asked.acl, who)
        parent = self.znodes.get(parent_of(path))
        if parent is None:
            raise WriteError(NO_NODE)
        if not permits(parent.acl, PERM_CREATE, who):
            raise WriteError(NO_AUTH)
        if asked.flags in (2, 3, 6):
            if len(path) + SUFFIX_SIZE_MAX > PATH_SIZE_MAX:
                raise WriteError(BAD_ARGUMENTS)
            path += b"%010d" % parent.children_made
        if not is_valid_path(path):
            raise WriteError(BAD_ARGUMENTS)
        if path in self.znodes:
            raise WriteError(NODE_EXISTS)
        if parent.is_ephemeral():
            raise WriteError(NO_CHILDREN_FOR_EPHEMERALS)
        quota.judge(self.znodes, path, 1, len(asked.data or b""))
        owner = session_id if asked.flags in (1, 3) else 0
        if asked.op == CREATE_CONTAINER:
            owner = CONTAINER_OWNER
        elif has_ttl:
            owner = TTL_OWNER | asked.ttl
        self._keep(path)
        self._keep(parent_of(path))
        znode = Znode(asked.data, stored_acl, now.zxid, now.zxid, now.zxid, now.time_ms, now.time_ms, owner)
        znode.made = self._made = self._made + 1
        self.znodes[path] = znode
        parent.children.add(name_of(path))
        parent.children_made += 1
        parent.pzxid = now.zxid
        reply = packed(path) + (znode.stat() if asked.op != CREATE else b"")
        if path.startswith(quota.HOME + b"/") and path.endswith(quota.STATS):
            self._count_again(path)
        self._move_quota(path, 1, len(asked.data or b""))
        return reply, [(CREATED, path, znode.guard()), (CHILDREN_CHANGED, parent_of(path), parent.guard())]

    def _delete(self, path: bytes | None, version: int, who: tuple[Id, ...], now: Moment) -> list[Change]:
        if path is None:
            raise WriteError(MARSHALLING_ERROR)
        if not may_be_looked_up(path) or path in OWN_PATHS:
            raise WriteError(BAD_ARGUMENTS)
        self._permitted(parent_of(path), PERM_DELETE, who)
        znode = self.znodes.get(path)
        if znode is None:
            raise WriteError(NO_NODE)
        expect(version, znode.version)
        if znode.children:
            raise WriteError(NOT_EMPTY)
        return self._remove(path, now)

    def _remove(self, path: bytes, now: Moment) -> list[Change]:
        self._keep(path)
        self._keep(parent_of(path))
        znode = self.znodes.pop(path)
        parent = self.znodes[parent_of(path)]
        parent.children.remove(name_of(path))
        parent.pzxid = now.zxid
        self._move_quota(path, -1, -len(znode.data or b""))
        return [(DELETED, path, znode.guard()), (CHILDREN_CHANGED, parent_of(path), parent.guard())]

    def _replace(self, path: bytes, data: bytes | None, now: Moment) -> tuple[bytes, list[Change]]:
        self._keep(path)
        znode = self.znodes[path]
        grown = len(data or b"") - len(znode.data or b"")
        znode.data = data
        znode.version = wrapped(znode.version + 1)
        znode.mzxid = now.zxid
        znode.mtime_ms = now.time_ms
        reply = znode.stat()
        self._move_quota(path, 0, grown)
        return reply, [(DATA_CHANGED, path, znode.guard())]

    def _permitted(self, path: bytes, perm: int, who: tuple[Id, ...]) -> Znode:
        znode = self.znodes.get(path)
        if znode is None:
            raise WriteError(NO_NODE)
        if not permits(znode.acl, perm, who):
            raise WriteError(NO_AUTH)
        return znode

    # Quotas.

    def _move_quota(self, path: bytes, count: int, size: int) -> None:
        prefix = quota.quota_of(self.znodes, path)
        stats_path = quota.HOME + (prefix or b"") + quota.STATS
        stats = self.znodes.get(stats_path)
        if prefix is not None and stats is not None:
            self._keep(stats_path)
            stats.data = quota.moved(stats.data, count, size)

    def _count_again(self, stats_path: bytes) -> None:
        """New statistics say what there is at and below their path."""
        top = stats_path[len(quota.HOME) : -len(quota.STATS)]
        there = [znode for path, znode in self.znodes.items() if path == top or path.startswith(top + b"/")]
        if top and top not in self.znodes:
            there = []
        self._keep(stats_path)
        self.znodes[stats_path].data = b"count=%d,bytes=%d" % (len(there), sum(len(znode.data or b"") for znode in there))


Other = tuple[int, bytes | None, "bytes | GivenAcl | None", int]  # op, path, data or ACL, expected version


def session_identities(body: bytes) -> tuple[Id, ...] | None:
    """Of the body of a create or attach; None when it is malformed."""
    try:
        return () if len(body) == 20 else Reader(body[20:]).identities() if len(body) > 20 else None
    except WriteError:
        return None


def taken(op: int, reader: Reader) -> Create | Other:
    """The operation that the bytes ask for."""
    path = reader.string()
    if op in CREATES:
        data, acl, flags = reader.string(), reader.acl(), reader.number()
        return Create(op, path, data, acl, flags, reader.long() if op == CREATE_TTL else -1)
    value = reader.string() if op == SET_DATA else reader.acl() if op == SET_ACL else None
    return op, path, value, reader.number()


def iterate(reader: Reader) -> list[Create | Other]:
    """The operations of a multi.  Raises WriteError(MarshallingError)."""
    found: list[Create | Other] = []
    while True:
        op, is_done, _ = reader.number(), reader.boolean(), reader.number()
        if is_done:
            return found
        if op not in (*CREATES, DELETE, SET_DATA, CHECK):
            raise WriteError(MARSHALLING_ERROR)
        found.append(taken(op, reader))


def settled(asked: Create | Other) -> Create | Other:
    """What a multi makes of an operation.  Raises WriteError(MarshallingError): it refuses the whole."""
    if not isinstance(asked, Create):
        if asked[1] is None:
            raise WriteError(MARSHALLING_ERROR)
        return asked
    if asked.path is None:
        raise WriteError(MARSHALLING_ERROR)
    if asked.op != CREATE_TTL and (asked.flags not in range(5) or asked.acl is None):
        raise WriteError(MARSHALLING_ERROR)
    if asked.op == CREATE_TTL and asked.flags not in (5, 6):
        asked.op = CREATE
    if asked.flags == 4:
        asked.op = CREATE_CONTAINER
    return asked


def expect(version: int, found: int) -> None:
    if version not in (-1, found):
        raise WriteError(BAD_VERSION)


def remembered(results: deque[tuple[int, int, bytes]], cxid: int) -> tuple[int, int, bytes] | None:
    """The result of an earlier write with this xid; one that lies ahead of the last one's is new."""
    if not results or 0 < (cxid - results[-1][0]) % XID_COUNT < XID_COUNT >> 1:
        return None
    return next((result for result in results if result[0] == cxid), None)
