"""A seed -> a conversation of several connections, which uses every operation of the protocol.

Rules: the same seed and length give the same steps, always.  Nothing depends on what a server answered, so that steps can
be left out and the rest still be played.

How it works: each conversation has a temper (TEMPERS) that says how often which operation comes, how often an argument
is odd and how often an ACL is not open to everybody.  Bodies (bodies.py) draws the arguments."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from fastzk.defs import OpCode, Xid
from fastzk.testing.differential import steps
from fastzk.testing.differential.bodies import CREDENTIALS, SUPER, Bodies
from fastzk.testing.differential.player import SLOTS
from fastzk.testing.differential.steps import Burst, Bytes, Connect, Drop, Request, Resume, Step

_TIMEOUT_MS = 30_000

# Beside the operations: a request of the quotas, a damaged body, bytes that are no request, what becomes of connections,
# several requests at once.
QUOTA, DAMAGED, NO_REQUEST, SESSION, BURST = 1001, 1002, 1003, 1004, 1005
# What ZooKeeper answers in the order in which it came: not auth, and not what it does not know.  Nor setACL: while one is
# under way, ZooKeeper judges what comes behind it by the ACL before, or not (docs/compatibility.md).
_IN_A_BURST = (
    OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.DELETE, OpCode.SET_DATA,
    OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_ACL, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2, OpCode.SYNC, OpCode.MULTI,
    OpCode.MULTI_READ, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES, OpCode.ADD_WATCH, OpCode.GET_EPHEMERALS, OpCode.WHO_AM_I,
    OpCode.GET_ALL_CHILDREN_NUMBER,
)  # fmt: skip

# How often each comes, beside the others, in a conversation without a temper.
_WEIGHTS: dict[int, float] = {
    OpCode.CREATE: 14, OpCode.CREATE2: 7, OpCode.CREATE_CONTAINER: 2, OpCode.CREATE_TTL: 3, OpCode.DELETE: 9, OpCode.SET_DATA: 9,
    OpCode.EXISTS: 6, OpCode.GET_DATA: 6, OpCode.GET_ACL: 3, OpCode.SET_ACL: 4, OpCode.GET_CHILDREN: 4, OpCode.GET_CHILDREN2: 4,
    OpCode.SYNC: 2, OpCode.MULTI: 8, OpCode.MULTI_READ: 3, OpCode.CHECK_WATCHES: 2, OpCode.REMOVE_WATCHES: 2,
    OpCode.SET_WATCHES: 1.5, OpCode.SET_WATCHES2: 1.5, OpCode.ADD_WATCH: 4, OpCode.GET_EPHEMERALS: 2, OpCode.PING: 0.5,
    OpCode.GET_ALL_CHILDREN_NUMBER: 2, OpCode.WHO_AM_I: 1, OpCode.AUTH: 2, OpCode.RECONFIG: 0.3, OpCode.SASL: 0.2,
    OpCode.CHECK: 0.1, OpCode.DELETE_CONTAINER: 0.1, OpCode.CREATE_SESSION: 0.1, OpCode.NOTIFICATION: 0.1, 99: 0.1, -7: 0.1,
    OpCode.CLOSE_SESSION: 0.7, QUOTA: 0.5, DAMAGED: 1, NO_REQUEST: 0.2, SESSION: 2, BURST: 4,
}  # fmt: skip


_NO_REQUESTS = (b"\xff\xff\xff\xff", b"\x00\x10\x00\x00", b"GET ", b"\0\0\0\0", b"\0\0\0\x07" + bytes(7))


class Temper(NamedTuple):
    """What a conversation is about: operations that come more often than usual, and how odd and how locked it is."""

    more: dict[int, float]
    oddity: float
    locking: float


_READS = (OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2)
TEMPERS: dict[str, Temper] = {
    "mixed": Temper({}, 0.04, 0.15),
    "plain": Temper({}, 0.0, 0.0),
    "odd": Temper({DAMAGED: 6, NO_REQUEST: 1}, 0.3, 0.2),
    "watches": Temper(
        {**dict.fromkeys(_READS, 10), OpCode.ADD_WATCH: 12, OpCode.SET_WATCHES: 5, OpCode.SET_WATCHES2: 5, OpCode.REMOVE_WATCHES: 5,
         OpCode.CHECK_WATCHES: 4}, 0.02, 0.1,
    ),
    "acl": Temper({OpCode.AUTH: 8, OpCode.SET_ACL: 10, OpCode.GET_ACL: 8, OpCode.WHO_AM_I: 2, OpCode.ADD_WATCH: 5}, 0.06, 0.7),
    "multi": Temper({OpCode.MULTI: 50, OpCode.MULTI_READ: 12}, 0.08, 0.2),
    "sessions": Temper({SESSION: 16, OpCode.CLOSE_SESSION: 4, OpCode.GET_EPHEMERALS: 6, OpCode.SET_WATCHES2: 5}, 0.02, 0.1),
    "quota": Temper({QUOTA: 40, OpCode.SET_DATA: 16}, 0.02, 0.0),
}  # fmt: skip


def conversation(seed: int, length: int) -> list[Step]:
    """The conversation of a seed: so many steps, and the few that open it."""
    return list(_Conversation(seed).steps(length))


class _Conversation:
    def __init__(self, seed: int) -> None:
        self._rng = rng = random.Random(seed)
        self.temper = rng.choice(list(TEMPERS))
        temper = TEMPERS[self.temper]
        weights = {**_WEIGHTS, **temper.more}
        self._weight_of = weights
        self._kinds = list(weights)
        self._weights = list(weights.values())
        self._bodies = Bodies(rng, temper.oddity, temper.locking)
        # Slot -> its session; those that nobody holds any more can be resumed.
        self._held: dict[int, int] = {}
        self._sessions = 0
        self._xid = 0
        # Quotas count differently inside a multi (rules.py).
        self._has_quotas = False

    def steps(self, length: int) -> Iterator[Step]:
        for slot in range(self._rng.choice((2, 3, 3, SLOTS))):
            yield self._connect(slot)
        for body in self._bodies.scaffold():
            self._xid += 1
            yield Request(0, OpCode.CREATE, self._xid, body)
        if self._rng.random() < 0.08:
            yield self._request(0, OpCode.AUTH, steps.integer(0) + steps.string("digest") + steps.buffer(SUPER))
        for slot in self._held:
            if self._bodies._locking and self._rng.random() < 0.4:
                credential = self._rng.choice(CREDENTIALS)
                yield self._request(slot, OpCode.AUTH, steps.integer(0) + steps.string("digest") + steps.buffer(credential))
        for _ in range(length):
            yield self._step()

    def _step(self) -> Step:
        kind = self._rng.choices(self._kinds, self._weights)[0]
        if kind == SESSION or not self._held:
            return self._session_step()
        slot = self._rng.choice(list(self._held))
        if kind == NO_REQUEST:
            return self._no_request(slot)
        if kind == BURST:
            return self._burst(slot)
        if kind == QUOTA:
            self._has_quotas = True
            return self._request(slot, *self._bodies.quota_request())
        if kind == DAMAGED:
            op = self._rng.choice([op for op in self._kinds if op < QUOTA])
            return self._request(slot, op, self._damaged(op, self._body(op)))
        return self._request(slot, kind, self._body(kind))

    def _request(self, slot: int, op: int, body: bytes) -> Request:
        self._xid += 1
        xid = self._xid
        if op == OpCode.AUTH and self._rng.random() < 0.7:
            xid = Xid.AUTH
        elif op == OpCode.PING and self._rng.random() < 0.7:
            xid = Xid.PING
        elif self._bodies.is_odd(0.2):
            xid = self._rng.choice((0, -2, -4, -8, -(2**31), 2**31 - 1))
        relative = None
        if op in (OpCode.SET_WATCHES, OpCode.SET_WATCHES2) and body:
            relative = self._rng.choice((0, 0, 1, 1, 2, 3, 5, 8, steps.ZXID_ZERO, steps.ZXID_NEGATIVE, steps.ZXID_AHEAD))
        if op == OpCode.CLOSE_SESSION:
            self._held.pop(slot, None)
        return Request(slot, op, xid, body, relative)

    def _burst(self, slot: int) -> Burst:
        ops = [op for op in _IN_A_BURST if op != OpCode.MULTI or not self._has_quotas]
        with self._bodies.sober():
            chosen = self._rng.choices(ops, [self._weight_of[op] for op in ops], k=self._rng.randint(2, 8))
            return Burst(slot, tuple(self._request(slot, op, self._body(op)) for op in chosen))

    def _body(self, op: int) -> bytes:
        """A body for an operation; ping, closeSession, whoAmI and unknown operations have none."""
        bodies = self._bodies
        if op in (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL):
            return bodies.create(op)
        if op in (OpCode.SET_WATCHES, OpCode.SET_WATCHES2):
            return bodies.set_watches(op)
        if op in _READS:
            return bodies.read(op)
        drawn = {
            OpCode.DELETE: bodies.delete, OpCode.CHECK: bodies.check, OpCode.SET_DATA: bodies.set_data,
            OpCode.SET_ACL: bodies.set_acl, OpCode.GET_ACL: bodies.path, OpCode.SYNC: bodies.path,
            OpCode.GET_ALL_CHILDREN_NUMBER: bodies.path, OpCode.DELETE_CONTAINER: bodies.path, OpCode.MULTI: bodies.multi,
            OpCode.MULTI_READ: bodies.multi_read, OpCode.CHECK_WATCHES: bodies.watches_of,
            OpCode.REMOVE_WATCHES: bodies.watches_of, OpCode.ADD_WATCH: bodies.add_watch,
            OpCode.GET_EPHEMERALS: bodies.prefix, OpCode.AUTH: bodies.auth, OpCode.RECONFIG: bodies.reconfig,
        }  # fmt: skip
        if op == OpCode.SASL:
            return steps.buffer(self._rng.choice((b"", b"token", None)))
        if op == OpCode.CREATE_SESSION:
            return steps.integer(_TIMEOUT_MS)
        return drawn[OpCode(op)]() if op in drawn else b""

    def _damaged(self, op: int, body: bytes) -> bytes:
        """A body that is cut, or has a strange size somewhere.  Not a createTTL: a negative time would end ZooKeeper."""
        if not body:
            return b""
        if op == OpCode.CREATE_TTL or self._rng.random() < 0.5:
            return body[: self._rng.randrange(len(body))]
        at = self._rng.randrange(len(body))
        return body[:at] + steps.integer(self._rng.choice((-1, -2, 1 << 30, 3))) + body[at + 4 :]

    # ---- connections

    def _connect(self, slot: int) -> Connect:
        self._sessions += 1
        self._held[slot] = self._sessions
        rng = self._rng
        timeout_ms = rng.choice((0, -1, 1, 3999, 40_001, 2**31 - 1)) if self._bodies.is_odd() else _TIMEOUT_MS
        password = rng.choice((b"", None, b"short", bytes(16))) if self._bodies.is_odd() else bytes(16)
        zxid = rng.choice((0, 2)) if rng.random() < 0.2 else steps.ZXID_ZERO
        return Connect(slot, self._sessions, timeout_ms, password, rng.choice((None, False, False, True)), zxid)

    def _session_step(self) -> Step:
        rng = self._rng
        slot = rng.randrange(SLOTS)
        draw = rng.random()
        if draw < 0.25 or not self._sessions:
            return self._connect(slot)
        if draw < 0.4:
            self._held.pop(slot, None)
            return Drop(slot)
        session = rng.randint(max(1, self._sessions - 4), self._sessions)
        if draw < 0.8:
            self._forget(session)
            self._held[slot] = session
            zxid = rng.choice((steps.ZXID_ZERO, 0, 1))
            return Resume(slot, session, rng.choice((_TIMEOUT_MS, 10_000)), None, rng.choice((None, False, True)), zxid)
        self._held.pop(slot, None)
        if draw < 0.9:
            if session in self._held.values() and rng.random() < 0.8:
                # A stranger at a session in use ends the conversation (rules.py).
                return self._connect(slot)
            self._forget(session)
            return Resume(slot, session, _TIMEOUT_MS, rng.choice((bytes(16), b"", b"x" * 16, b"short")), False)
        zxid = steps.ZXID_AHEAD
        return rng.choice((Resume(slot, session, _TIMEOUT_MS, None, False, zxid), Connect(slot, 0, _TIMEOUT_MS, b"", False, zxid)))

    def _forget(self, session: int) -> None:
        """The slot that holds a session loses it."""
        for slot in [slot for slot, held in self._held.items() if held == session]:
            del self._held[slot]

    def _no_request(self, slot: int) -> Bytes:
        """A frame of an impossible size, or one too short for a request."""
        self._held.pop(slot, None)
        return Bytes(slot, self._rng.choice(_NO_REQUESTS))
