"""The arguments and bodies of requests, drawn: mostly sensible and few, so that they meet; now and then anything else.

Rules: everything comes from one random.Random, so a seed is a conversation.  All znodes lie below /t, but for the reserved
ones and a few that the tree's root gets; who cleans up deletes all that it finds.

How it works: Bodies has a method per operation.  What would end ZooKeeper's own server is never drawn
(docs/compatibility.md lists it)."""

import contextlib
import random
from collections.abc import Iterator

from fastzk.data import make_digest_acl_credential
from fastzk.defs import OpCode, Perms, WatcherType
from fastzk.testing.differential.steps import (
    MULTI_END,
    acl_entry,
    boolean,
    buffer,
    integer,
    long,
    multi,
    string,
    vector,
)

QUOTA = "/zookeeper/quota"
NAMES = ["/t", "/t/a", "/t/a/b", "/t/a/b/c", "/t/b", "/t/b/x", "/t/e", "/t/e/y", "/t/ab", "/t/q"]
# What sequential znodes come to be called.
COUNTED = [f"/t/s{n:010d}" for n in range(4)] + [f"/t/a/{n:010d}" for n in range(3)] + [f"/t/a/s{n:010d}" for n in range(3)]
RESERVED = ["/", "/zookeeper", QUOTA, "/zookeeper/config", "/zookeeper/x", "/t-root"]
ODD_NAMES: list[str | bytes | None] = [
    None, "", "t", "t/a", "/t/", "//t", "/t//a", "/t/.", "/t/..", "/t/./a", "/t/a/../b", "/t/..a", "/t/a.", "/t/.a", "/t/...",
    "/t/\x00", "/t/a\x00b", "\x00", "/t/\x01", "/t/\x1f", "/t/ ", "/t/\x7f", "/t/\x9f", "/t/\xa0", "/t/é", "/t/\u2028",
    "/t/鍵", "/t/\ud7ff", "/t/\ue000", "/t/\uf8ff", "/t/\uf900", "/t/\uffef", "/t/\ufff0", "/t/\U0001f511",
    b"/t/\xff", b"/t/\xed\xa0\x80", b"/t/\xc3", "/t" + "/d" * 40, "/t/" + "n" * 300, "/none/a", "a", "/zookeeper/quota/t/x",
]  # fmt: skip
CREDENTIALS = [b"ann:secret", b"bob:secret", b"ann:other"]
SUPER = b"super:secret"
LIMITS: list[bytes | None] = [
    b"count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=3", b"count=2,bytes=5", b"count=-1,bytes=-1=;countHardLimit=2", b"",
    b"byteHardLimit=6", b"count=1;bytes=2", b"a=1", b"garbage", b"count=", None, b"count=-1,bytes=-1=;byteHardLimit=0",
]  # fmt: skip
STATISTICS = [b"count=0,bytes=0", b"count=1,bytes=100", b"", b"count=2,bytes=3=;countHardLimit=1"]

_WORLD = acl_entry(Perms.ALL, "world", "anyone")


def _digest(credential: bytes) -> str:
    user, _, password = credential.decode().partition(":")
    return make_digest_acl_credential(user, password)


ACL_ENTRIES = [
    _WORLD,
    *(acl_entry(perms, "world", "anyone") for perms in (1, 2, 4, 8, 16, 3, 9, 12, 15, 17, 30)),
    *(acl_entry(perms, "digest", _digest(who)) for who in CREDENTIALS[:2] for perms in (31, 1, 15, 29)),
    acl_entry(31, "auth", ""),
    acl_entry(5, "auth", "whoever"),
    acl_entry(31, "ip", "127.0.0.1"),
    acl_entry(31, "ip", "127.0.0.0/8"),
    acl_entry(31, "ip", "10.0.0.1"),
    acl_entry(1, "ip", "::1"),
    acl_entry(31, "ip", "128.0.0.0/0"),
]
ODD_ACL_ENTRIES = [
    *(acl_entry(perms, "world", "anyone") for perms in (0, 32, 63, -1, 1 << 20)),
    *(acl_entry(31, "world", name) for name in ("", "any", "Anyone", None)),
    *(acl_entry(31, "digest", name) for name in ("a:b", "a", "a:", ":b", ":", "", "a:b:c", "a:b:", "a::b", "::a", None)),
    *(
        acl_entry(31, "ip", name)
        for name in (
            "", "x", "1.2.3", "1.2.3.4.5", "1.2.3.400", "1.2.3.-4", "010.0.0.1", "+1.2.3.4", "1.2.3.4/", "1.2.3.4/33",
            "1.2.3.4/32", "1.2.3.4/-1", "1.2.3.4/08", "1.2.3.4/a", "1.2.3.4/1/2", "::", "::1/128", "::1/129", "1::2::3",
            "fe80::1%lo", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "12345::", "::ffff:1.2.3.4", None,
        )
    ),
    *(acl_entry(31, scheme, "x") for scheme in ("", "super", "nobody", "World", None, "sasl", "x509")),
]  # fmt: skip
_OPS_OF_CREATE = (OpCode.CREATE, OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL)


_FLAGS_OF_CREATE: dict[int, tuple[int, ...]] = {OpCode.CREATE_CONTAINER: (4,), OpCode.CREATE_TTL: (5, 6)}
# What may not stand in a multi.
_STRANGERS = (OpCode.EXISTS, OpCode.GET_DATA, OpCode.SET_ACL, OpCode.SYNC, 99, 0, OpCode.MULTI, OpCode.DELETE_CONTAINER)
_ODD_ENDS = (b"", MULTI_END + b"x", integer(5) + boolean(2) + integer(0))


class Bodies:
    """Draws bodies.  oddity: how often (0 to 1) an argument is an odd one; locking: how often an ACL is not open to all."""

    def __init__(self, rng: random.Random, oddity: float, locking: float) -> None:
        self.rng = rng
        self._oddity = oddity
        self._locking = locking
        # Znodes that should be there by now if all went well, in the order they were made; and encoded paths with the
        # WatcherType of the watch that they should have.
        self._likely = ["/t"]
        self._armed: list[tuple[bytes, int]] = []

    def scaffold(self) -> list[bytes]:
        """Bodies of creates that make a part of the tree, open to everybody."""
        made = [name for name in ("/t/a", "/t/b", "/t/a/b") if self.rng.random() < 0.7]
        self._likely += made
        return [string(name) + buffer(b"") + vector([_WORLD]) + integer(0) for name in ("/t", *made)]

    @contextlib.contextmanager
    def sober(self) -> Iterator[None]:
        """No odd arguments as long as the `with` lasts."""
        oddity, self._oddity = self._oddity, 0.0
        yield
        self._oddity = oddity

    def is_odd(self, times: float = 1.0) -> bool:
        """True as often as an odd argument is wanted."""
        return self.rng.random() < self._oddity * times

    # ---- arguments

    def path(self) -> bytes:
        """A path, encoded; more often than not one that is there."""
        draw = self.rng.random()
        if self.is_odd():
            return string(self.rng.choice(ODD_NAMES))
        if draw < 0.05:
            return string(self.rng.choice(RESERVED))
        if draw < 0.7:
            return string(self.rng.choice(self._likely))
        return string(self.rng.choice(COUNTED if draw < 0.8 else NAMES))

    def new_path(self) -> bytes:
        """A path to create, encoded; more often than not one whose parent is there and which is not."""
        if self.is_odd() or self.rng.random() < 0.25:
            return self.path()
        fresh = [name for name in NAMES if name not in self._likely and name.rpartition("/")[0] in self._likely]
        if not fresh:
            return self.path()
        name = self.rng.choice(fresh)
        self._likely.append(name)
        return string(name)

    def old_path(self) -> bytes:
        """A path to delete, encoded; more often than not one that is there and has no children."""
        if self.is_odd() or self.rng.random() < 0.3:
            return self.path()
        name = self.rng.choice(self._likely)
        if any(other.startswith(name + "/") for other in self._likely):
            return string(name)
        self._likely = [other for other in self._likely if other != name] or ["/t"]
        return string(name)

    def data(self) -> bytes:
        """A znode's data, encoded."""
        draw = self.rng.random()
        if draw < 0.08:
            return buffer(None)
        if draw < 0.1:
            return buffer(self.rng.randbytes(3000))
        return buffer(self.rng.randbytes(self.rng.choice((0, 1, 2, 5, 9))))

    def version(self) -> bytes:
        """An expected version, encoded."""
        if self.is_odd():
            return integer(self.rng.choice((-2, 5, 2**31 - 1, -(2**31))))
        return integer(self.rng.choice((-1, -1, -1, -1, 0, 0, 1, 2)))

    def acl(self) -> bytes:
        """An ACL, encoded."""
        rng = self.rng
        if self.is_odd(0.5):
            return vector(rng.choice((None, [], [rng.choice(ODD_ACL_ENTRIES)], [_WORLD, rng.choice(ODD_ACL_ENTRIES)])))
        if rng.random() >= self._locking:
            return vector([_WORLD])
        if rng.random() < 0.25:
            # For everybody, and more for some: whoever is not one of them sees their ids masked.
            return vector(
                [acl_entry(rng.choice((1, 3, 7, 9)), "world", "anyone"), acl_entry(31, "digest", _digest(CREDENTIALS[0]))]
            )
        return vector(rng.choices(ACL_ENTRIES, k=rng.choice((1, 1, 1, 2, 3))))

    def watch(self) -> bytes:
        """A watch flag."""
        return boolean(self.rng.choice((0, 0, 1, 1, 2) if self.is_odd() else (0, 1)))

    # ---- bodies, by operation

    def create(self, op: int, is_in_multi: bool = False) -> bytes:
        """create, create2, createContainer, createTTL."""
        rng = self.rng
        flags = rng.choice(_FLAGS_OF_CREATE.get(op, (0, 0, 0, 1, 1, 2, 3)))
        if self.is_odd():
            flags = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, -1, 9))
        if is_in_multi and op == OpCode.CREATE_CONTAINER and flags in (1, 3):
            flags = 4  # what comes behind it in the multi is judged as if it were an ephemeral, which it is not
        path = self.new_path()
        if flags in (2, 3, 6):
            path = string(rng.choice(("/t/s", "/t/a/", "/t/a/s", "/t/b/s", "/t/e/s"))) if not self.is_odd() else path
        body = path + self.data() + self.acl() + integer(flags)
        return body + long(self._ttl(flags)) if op == OpCode.CREATE_TTL else body

    def _ttl(self, flags: int) -> int:
        if not self.is_odd():
            return self.rng.choice((1 << 30, (1 << 40) - 1))
        # A negative time to live of a znode that is to have none would end ZooKeeper.
        return self.rng.choice((0, 1 << 40, 1 << 62, -1, -5) if flags in (5, 6) else (0, 1, 1 << 62))

    def delete(self) -> bytes:
        """delete."""
        return self.old_path() + self.version()

    def check(self) -> bytes:
        """check."""
        return self.path() + self.version()

    def read(self, op: int = OpCode.GET_DATA) -> bytes:
        """exists, getData, getChildren, getChildren2."""
        path = self.path()
        watch = self.watch()
        if watch != b"\0":
            self._arm(path, WatcherType.DATA if op in (OpCode.EXISTS, OpCode.GET_DATA) else WatcherType.CHILDREN)
        return path + watch

    def set_data(self) -> bytes:
        """setData."""
        return self.path() + self.data() + self.version()

    def set_acl(self) -> bytes:
        """setACL."""
        return self.path() + self.acl() + self.version()

    def watches_of(self) -> bytes:
        """checkWatches, removeWatches."""
        rng = self.rng
        path, kind = self.path(), rng.choice(list(WatcherType))
        if self._armed and rng.random() < 0.8:
            path, armed = rng.choice(self._armed[-6:])
            kind = rng.choice((WatcherType(armed), WatcherType(armed), WatcherType.ANY, kind))
        return path + integer(rng.choice((0, 6, -1, 7)) if self.is_odd() else kind)

    def add_watch(self) -> bytes:
        """addWatch."""
        path = self.path()
        mode = self.rng.choice((2, -1)) if self.is_odd() else self.rng.choice((0, 1, 1))
        self._arm(path, WatcherType.PERSISTENT_RECURSIVE if mode else WatcherType.PERSISTENT)
        return path + integer(mode)

    def _arm(self, path: bytes, kind: int) -> None:
        if path != string(None):
            self._armed.append((path, kind))

    def set_watches(self, op: int) -> bytes:
        """setWatches, setWatches2, but for the zxid."""
        lists = []
        for _ in range(3 if op == OpCode.SET_WATCHES else 5):
            paths = [self.path() for _ in range(self.rng.choice((0, 0, 1, 2, 3)))]
            # Nulls end the conversation (rules.py), and are rare for that.
            if not self.is_odd(0.1):
                paths = [path for path in paths if path != string(None)]
            lists.append(vector(None if self.is_odd(0.02) else paths))
        return b"".join(lists)

    def prefix(self) -> bytes:
        """getEphemerals."""
        return string(self.rng.choice(("/", "/t", "/t/", "/t/a", "", None, " ", " /", "t", "/t/e")))

    def auth(self) -> bytes:
        """auth that fails or does not, odd ones included."""
        rng = self.rng
        schemes: list[tuple[str | None, bytes | None]] = [("digest", rng.choice(CREDENTIALS))]
        if self.is_odd():
            schemes = [
                ("digest", b"nocolon"), ("digest", b""), ("digest", b":x"), ("digest", b"a:b:c"), ("digest", None),
                ("ip", b"x"), ("digest", b"\xff:x"),
                ("world", b"anyone"), ("super", SUPER), ("none", b""), ("", b""), (None, b"x"), ("auth", b""),
            ]  # fmt: skip
        scheme, credential = rng.choice(schemes)
        return integer(rng.choice((0, 0, 7))) + string(scheme) + buffer(credential)

    def reconfig(self) -> bytes:
        """reconfig."""
        members = self.rng.choice((None, "", "server.1=127.0.0.1:1:2;3"))
        return string(members) + string(None) + string(None) + long(-1)

    def multi(self) -> bytes:
        """multi: mostly writes that could be done; a failure anywhere."""
        rng = self.rng
        parts = [self._part() for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 5)))]
        if self.is_odd():
            parts.insert(rng.randrange(len(parts) + 1), self._odd_part())
        if self.is_odd(0.3):
            parts = []
        return multi(parts, rng.choice(_ODD_ENDS) if self.is_odd(0.5) else MULTI_END)

    def _part(self) -> tuple[int, bytes]:
        op = self.rng.choices((OpCode.CREATE, OpCode.DELETE, OpCode.SET_DATA, OpCode.CHECK), (5, 2, 4, 3))[0]
        if op == OpCode.CREATE:
            op = self.rng.choice(_OPS_OF_CREATE)
            return op, self.create(op, is_in_multi=True)
        return op, {OpCode.DELETE: self.delete, OpCode.SET_DATA: self.set_data, OpCode.CHECK: self.check}[op]()

    def _odd_part(self) -> tuple[int, bytes]:
        return self.rng.choice(_STRANGERS), self.read()

    def multi_read(self) -> bytes:
        """multiRead."""
        rng = self.rng
        parts: list[tuple[int, bytes]] = [
            (rng.choice((OpCode.GET_DATA, OpCode.GET_CHILDREN)), self.read()) for _ in range(rng.choice((1, 2, 3)))
        ]
        if self.is_odd():
            parts.insert(rng.randrange(len(parts) + 1), self._part() if rng.random() < 0.5 else self._odd_part())
        return multi(parts if not self.is_odd(0.3) else [])

    # ---- quotas

    def quota_request(self) -> tuple[int, bytes]:
        """Something about the quotas of /t and /t/a: set, change, look, take away."""
        rng = self.rng
        home = QUOTA + rng.choice(("/t", "/t", "/t/a"))
        limits, statistics = string(home + "/zookeeper_limits"), string(home + "/zookeeper_stats")
        op = rng.choices((OpCode.CREATE, OpCode.SET_DATA, OpCode.GET_DATA, OpCode.DELETE), (3, 1, 2, 1))[0]
        if op == OpCode.CREATE:
            path, values = rng.choice(((string(home), [b""]), (limits, LIMITS), (statistics, [b"count=0,bytes=0", b"x", None])))
            return op, path + buffer(rng.choice(values)) + vector([_WORLD]) + integer(0)
        if op == OpCode.SET_DATA:
            path, values = rng.choice(((limits, LIMITS), (limits, LIMITS), (statistics, STATISTICS)))
            return op, path + buffer(rng.choice(values)) + integer(-1)
        path = rng.choice((limits, statistics, statistics))
        return op, path + (boolean(rng.randrange(2)) if op == OpCode.GET_DATA else integer(-1))
