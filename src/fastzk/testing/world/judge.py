"""What must be true of an ensemble, checked while it runs: the log, what it means, and what clients were told.

    C1   each block that a node applies is the canonical one of its index: the one that was applied first, by anybody
    C3   the model (testing/model.py) replays each canonical block once; every answer to a write is the model's
    C5   every answer to a read is what the model had at exactly the answer's zxid
    C14  after each block every node has the digest and the sessions that the first one had
    C2   what was answered stands in the log, once; nothing stands there that no client asked for
    C10  session ids are never given twice

Rule: the judge sees everything and changes nothing.  C4, C6, C7 and C9 are checked where a client hears its answer: clients.py,
watching.py."""

import struct
from bisect import bisect_right
from typing import NamedTuple

from fastzk._core.apply import Machine
from fastzk._core.blocks import Entry, entries
from fastzk.raft.messages import Payload
from fastzk.testing.checkers import ensure
from fastzk.testing.model import Model, Outcome
from fastzk.testing.world.frames import EXISTS, GET_CHILDREN2, GET_DATA, SET_ACL, packed

RECONFIGURED = -17  # the leader's verdict, in the place of the request
CREATE_SESSION, CLOSE_SESSION, SYSTEM_OPS = -10, -11, frozenset((0, -10, -11, -12, -13, -14, -15, -16, 20))
_BLOCK = struct.Struct("<IIQQQqQ")
MISSING = -101
# Sessions are compared at indexes that this divides, and at the end: digests tell of znodes only.
SESSIONS_EVERY = 4


class State(NamedTuple):
    """What there is of a znode at some zxid."""

    stat: bytes
    data: bytes | None
    names: frozenset[bytes]
    mzxid: int
    pzxid: int


class Result(NamedTuple):
    """What became of a client's write."""

    session_id: int
    xid: int
    err: int
    body: bytes


class _Block(NamedTuple):
    last_index: int
    checksum: int
    digest: int
    sessions: int


class Judge:
    """Of one world."""

    def __init__(self) -> None:
        self.model = Model()
        self.last_index = 0
        self.last_zxid = 0
        self.results: dict[int, Result] = {}
        # (zxid, type, path) of everything that watches may wait for, in order.
        self.changes: list[tuple[int, int, bytes]] = []
        # Ids of sessions that are over, and when: zxid.
        self.closed: dict[int, int] = {}
        # Expiries among them that the world has not looked at yet.
        self.expired: list[int] = []
        self._blocks: dict[int, _Block] = {}
        self._versions: dict[bytes, tuple[list[int], list[State | None]]] = {}
        self._sessions_made: set[int] = set()
        self._asked: dict[tuple[int, int], bytes] = {}
        self._done: set[tuple[int, int]] = set()
        # The highest zxid of a write that anybody was told is done (C4, C7).
        self.told_zxid = 0
        self.counts = {"blocks": 0, "writes": 0, "failed": 0, "reads": 0, "watch events": 0, "sessions": 0, "expired": 0}
        for path in self.model.znodes:
            self._keep(path, 0)

    # --- the log

    def on_applied(self, node_id: int, block: Payload, machine: Machine) -> bool:
        """A node has applied a block.  True when nobody had before."""
        _, _, checksum, first_index, first_zxid, time_ms, _ = _BLOCK.unpack_from(block)
        known = self._blocks.get(first_index)
        if known is None:
            state = _Block(0, checksum, machine.digest, hash(tuple(sorted(machine.sessions()))))
            self._extend(node_id, first_index, first_zxid, time_ms, bytes(block), state)
            return True
        ensure(known.checksum == checksum, "C1", f"node {node_id} applies another block at {first_index} than others did")
        ensure(known.digest == machine.digest, "C14", f"node {node_id} has another tree after entry {known.last_index}")
        if first_index % SESSIONS_EVERY == 0:
            sessions = hash(tuple(sorted(machine.sessions())))
            ensure(known.sessions == sessions, "C14", f"node {node_id} has other sessions after entry {known.last_index}")
        return False

    def on_start(self, node_id: int, machine: Machine) -> None:
        """A node begins with a snapshot, or is compared at the end."""
        index = machine.applied_index
        known = next((block for block in self._blocks.values() if block.last_index == index), None)
        ensure(known is not None, "C1", f"node {node_id} stands at {index}, where no block ends")
        assert known is not None
        ensure(known.digest == machine.digest, "C14", f"node {node_id} has another tree than there was at {index}")
        sessions = hash(tuple(sorted(machine.sessions())))
        ensure(known.sessions == sessions, "C14", f"node {node_id} has other sessions than there were at {index}")

    def _extend(self, node_id: int, first_index: int, first_zxid: int, time_ms: int, block: bytes, state: _Block) -> None:
        what = f"node {node_id} applies {first_index} at {first_zxid:#x}"
        ensure(first_index == self.last_index + 1, "C1", f"{what} after {self.last_index}")
        ensure(first_zxid > self.last_zxid, "C1", f"{what} after {self.last_zxid:#x}")
        if self.last_zxid >> 32 == first_zxid >> 32:
            ensure(first_zxid == self.last_zxid + 1, "C1", f"{what}: a gap after {self.last_zxid:#x}")
        zxid = first_zxid
        for zxid, entry in enumerate(entries(block), first_zxid):
            self._replay(entry, zxid, time_ms)
            self.last_index += 1
        self.last_zxid = zxid
        self._blocks[first_index] = state._replace(last_index=self.last_index)
        self.counts["blocks"] += 1

    def _replay(self, entry: Entry, zxid: int, time_ms: int) -> None:
        model = self.model
        outcome = model.apply(entry, zxid, time_ms)
        if entry.op == CREATE_SESSION and outcome.err == 0:
            ensure(entry.session_id not in self._sessions_made, "C10", f"session {entry.session_id:#x} is made twice")
            self._sessions_made.add(entry.session_id)
            self.counts["sessions"] += 1
        elif entry.op == CLOSE_SESSION and outcome.err == 0:
            self.closed[entry.session_id] = zxid
            if entry.serial == 0:
                self.expired.append(entry.session_id)
                self.counts["expired"] += 1
        if entry.op not in SYSTEM_OPS or (entry.op == CLOSE_SESSION and entry.serial):
            self._take_write(entry, zxid, outcome)
        if outcome.err is None:
            return
        touched = {path: None for _, path, _ in outcome.changes}
        if entry.op == SET_ACL and outcome.err == 0:
            touched[entry.body[4 : 4 + int.from_bytes(entry.body[:4], "big")]] = None
        for path in touched:
            self._keep(path, zxid)
        self.changes.extend((zxid, event, path) for event, path, _ in outcome.changes)

    def _take_write(self, entry: Entry, zxid: int, outcome: Outcome) -> None:
        key = (entry.session_id, entry.cxid)
        what = f"{zxid:#x}: request {entry.cxid} of session {entry.session_id:#x}"
        asked = self._asked.get(key)
        is_asked = asked is not None if entry.op == RECONFIGURED else asked == entry.body
        ensure(is_asked, "C2", f"{what} is in the log, and no client has asked it")
        if outcome.err is None:
            return
        if outcome.err not in (-112, -118):  # not done: the session is over, or speaks through another connection
            ensure(key not in self._done, "C2", f"{what} is done twice")
            self._done.add(key)
        self.results[zxid] = Result(*key, outcome.err, outcome.body if outcome.err == 0 else b"")
        self.counts["writes"] += 1
        self.counts["failed"] += outcome.err != 0
        if entry.op == RECONFIGURED and outcome.err == 0:
            self.counts["members changed"] = self.counts.get("members changed", 0) + 1

    def _keep(self, path: bytes, zxid: int) -> None:
        znode = self.model.znodes.get(path)
        state = None
        if znode is not None:
            state = State(znode.stat(), znode.data, frozenset(znode.children), znode.mzxid, znode.pzxid)
        zxids, states = self._versions.setdefault(path, ([], []))
        zxids.append(zxid)
        states.append(state)

    # --- what clients are told

    def asked(self, session_id: int, xid: int, body: bytes) -> None:
        """A client sends a write."""
        self._asked[session_id, xid] = body

    def write_answered(self, session_id: int, xid: int, zxid: int, err: int, body: bytes) -> None:
        """A client hears what became of its write (C2, C3)."""
        found = self.results.get(zxid)
        heard = Result(session_id, xid, err, body)
        ensure(found == heard, "C3", f"at {zxid:#x} a client was told {heard}, the log says {found}")
        self.told_zxid = max(self.told_zxid, zxid)

    def read_answered(self, op: int, path: bytes, zxid: int, err: int, body: bytes) -> None:
        """A client hears the answer to a read, its names in order (C5)."""
        self.counts["reads"] += 1
        expected = self.read(op, path, zxid)
        ensure((err, body) == expected, "C5", f"op {op} of {path!r} at {zxid:#x}: a client was told {err, body}, it is {expected}")

    def state(self, path: bytes, zxid: int) -> State | None:
        """What there was of a znode at a zxid."""
        zxids, states = self._versions.get(path, ([], []))
        place = bisect_right(zxids, zxid)
        return states[place - 1] if place else None

    def read(self, op: int, path: bytes, zxid: int) -> tuple[int, bytes]:
        """(err, body) of a read at a zxid, names in the order of their bytes."""
        ensure(zxid <= self.last_zxid, "C5", f"an answer at {zxid:#x}, where nothing is committed yet")
        state = self.state(path, zxid)
        if state is None:
            return MISSING, b""
        if op == EXISTS:
            return 0, state.stat
        if op == GET_DATA:
            return 0, (b"\xff\xff\xff\xff" if state.data is None else packed(state.data)) + state.stat
        names = struct.pack(">i", len(state.names)) + b"".join(map(packed, sorted(state.names)))
        return 0, names + (state.stat if op == GET_CHILDREN2 else b"")
