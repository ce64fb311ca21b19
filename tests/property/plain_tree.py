"""The tree's plain twin: one dict, no trick anywhere.

It is what the compiled tree is compared with, so it is written from ZooKeeper's rules and not from the compiled code; only
the digest repeats it, in Python's unbounded integers."""

from dataclasses import dataclass, field
from struct import pack

OPEN_ACL = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
READ_ACL = b"\0\0\0\1\0\0\0\x01\0\0\0\5world\0\0\0\6anyone"

OK, SYSTEM_ERROR, BAD_ARGUMENTS = 0, -1, -8
NO_NODE, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS = -101, -103, -108
NODE_EXISTS, NOT_EMPTY, SESSION_EXPIRED = -110, -111, -112
EPHEMERAL, SEQUENTIAL = 1, 2


def as_int(value: int) -> int:
    """Java's int."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


@dataclass
class PlainZnode:
    """One znode; `created` counts the children it ever had (the stored cversion)."""

    data: bytes | None
    acl: bytes
    czxid: int
    mzxid: int
    pzxid: int
    ctime_ms: int
    mtime_ms: int
    owner: int = 0
    version: int = 0
    aversion: int = 0
    created: int = 0


@dataclass
class PlainSession:
    timeout_ms: int
    password: bytes
    attach_zxid: int
    nonce: int
    ephemerals: list[bytes] = field(default_factory=list)  # newest first


def parent_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


class PlainTree:
    def __init__(self) -> None:
        system = dict.fromkeys((b"/", b"/zookeeper", b"/zookeeper/quota"), OPEN_ACL) | {b"/zookeeper/config": READ_ACL}
        self.znodes = {path: PlainZnode(b"", acl, 0, 0, 0, 0, 0) for path, acl in system.items()}
        self.znodes[b"/zookeeper/config"].aversion = -1
        self.sessions: dict[int, PlainSession] = {}

    def children(self, path: bytes) -> set[bytes]:
        return {p.rpartition(b"/")[2] for p in self.znodes if p != b"/" and parent_of(p) == path}

    def create(
        self, path: bytes, data: bytes | None, acl: bytes, flags: int, owner: int, zxid: int, time_ms: int
    ) -> tuple[int, bytes | None]:
        parent_path = parent_of(path)
        parent = self.znodes.get(parent_path)
        if parent is None:
            return NO_NODE, None
        if parent.owner:
            return NO_CHILDREN_FOR_EPHEMERALS, None
        if flags & SEQUENTIAL:
            path += b"%010d" % parent.created
        if path.endswith(b"/"):
            return BAD_ARGUMENTS, None
        if path in self.znodes:
            return NODE_EXISTS, None
        if flags & EPHEMERAL and owner not in self.sessions:
            return SESSION_EXPIRED, None
        self.znodes[path] = PlainZnode(data, acl, zxid, zxid, zxid, time_ms, time_ms)
        if flags & EPHEMERAL:
            self.znodes[path].owner = owner
            self.sessions[owner].ephemerals.insert(0, path)
        parent.created = as_int(parent.created + 1)
        parent.pzxid = zxid
        return OK, path

    def delete(self, path: bytes, version: int, zxid: int) -> int:
        znode = self.znodes.get(path)
        if znode is None:
            return NO_NODE
        if path == b"/":
            return BAD_ARGUMENTS
        if version not in (-1, znode.version):
            return BAD_VERSION
        if self.children(path):
            return NOT_EMPTY
        del self.znodes[path]
        self.znodes[parent_of(path)].pzxid = zxid
        if znode.owner:
            self.sessions[znode.owner].ephemerals.remove(path)
        return OK

    def set_data(self, path: bytes, data: bytes | None, version: int, zxid: int, time_ms: int) -> int:
        znode = self.znodes.get(path)
        if znode is None:
            return NO_NODE
        if version not in (-1, znode.version):
            return BAD_VERSION
        znode.data, znode.mzxid, znode.mtime_ms = data, zxid, time_ms
        znode.version += 1
        return OK

    def set_acl(self, path: bytes, acl: bytes, version: int) -> int:
        znode = self.znodes.get(path)
        if znode is None:
            return NO_NODE
        if version not in (-1, znode.aversion):
            return BAD_VERSION
        znode.acl = acl
        znode.aversion += 1
        return OK

    def create_session(self, session_id: int, timeout_ms: int, password: bytes, zxid: int, nonce: int) -> None:
        self.sessions[session_id] = PlainSession(timeout_ms, password, zxid, nonce)

    def close_session(self, session_id: int, zxid: int) -> int:
        if session_id not in self.sessions:
            return -1
        paths = list(self.sessions[session_id].ephemerals)
        for path in paths:
            self.delete(path, -1, zxid)
        del self.sessions[session_id]
        return len(paths)

    def stat(self, path: bytes) -> bytes:
        """As a client gets it."""
        znode = self.znodes[path]
        count = len(self.children(path))
        return pack(
            ">qqqqiiiQiiq",
            znode.czxid,
            znode.mzxid,
            znode.ctime_ms,
            znode.mtime_ms,
            znode.version,
            as_int(2 * znode.created - count),
            znode.aversion,
            znode.owner,
            len(znode.data or b""),
            count,
            znode.pzxid,
        )

    def acl_references(self, acl: bytes) -> int:
        """Of the znodes, and one of the tree's own to the open ACL."""
        return sum(znode.acl == acl for znode in self.znodes.values()) + (acl == OPEN_ACL)

    def counters(self) -> dict[str, int]:
        return {
            "znode_count": len(self.znodes),
            "ephemeral_count": sum(znode.owner != 0 for znode in self.znodes.values()),
            "session_count": len(self.sessions),
            "data_bytes": sum(len(path) + len(znode.data or b"") for path, znode in self.znodes.items()),
            "acl_count": len({znode.acl for znode in self.znodes.values()} | {OPEN_ACL}),
            "digest": self.digest(),
        }

    def digest(self) -> int:
        return sum(self.znode_digest(path) for path in self.znodes) % (1 << 128)

    def znode_digest(self, path: bytes) -> int:
        znode = self.znodes[path]
        size = 0xFFFFFFFF if znode.data is None else len(znode.data)
        words = pack(
            "<QQQqqQiiIiII",
            znode.czxid,
            znode.mzxid,
            znode.pzxid,
            znode.ctime_ms,
            znode.mtime_ms,
            znode.owner,
            znode.created,
            znode.version,
            len(self.children(path)),
            znode.aversion,
            size,
            hash_bytes(znode.acl, PATH_SEED) % (1 << 32),
        )
        path_hash = hash_bytes(path, PATH_SEED)
        total = hash_bytes(words, path_hash) + (hash_bytes(words, path_hash ^ HIGH_SEED) << 64)
        if znode.data:
            content = hash_bytes(znode.data, path_hash ^ DATA_SEED)
            total += mix64(content ^ HIGH_SEED, path_hash ^ PATH_SEED)
            total += mix64(content ^ PATH_SEED, path_hash ^ HIGH_SEED) << 64
        return total


PATH_SEED = 0x9AE16A3B2F90404F
HIGH_SEED = 0xB492B66FBE98F273
DATA_SEED = 0x9FB21C651E98DF25


def mix64(a: int, b: int) -> int:
    product = a * b
    return product % (1 << 64) ^ product >> 64


def hash_bytes(data: bytes, seed: int) -> int:
    """bytes.h's hash."""
    k0, k1, k2 = 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3
    state = seed ^ mix64(seed ^ k0, len(data) ^ k1)
    while len(data) > 16:
        state = mix64(word(data[:8]) ^ k1, word(data[8:16]) ^ state)
        data = data[16:]
    if len(data) >= 8:
        a, b = word(data[:8]), word(data[-8:])
    elif len(data) >= 4:
        a, b = word(data[:4]), word(data[-4:])
    elif data:
        a, b = data[0] << 16 | data[len(data) >> 1] << 8 | data[-1], 0
    else:
        a = b = 0
    return mix64(a ^ k2 ^ len(data), b ^ state ^ k0)


def word(data: bytes) -> int:
    return int.from_bytes(data, "little")
