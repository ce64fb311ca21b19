"""A node in one process, without processes, sockets and clocks: one Machine, its arena, and several Servers over it.

Whoever drives it decides when anything happens: when entries leave a worker, get lost, are applied, when each worker hears
of which part of it, when bytes leave and in which pieces.  `clients` check what they receive against the model: ClientTwin."""

import os
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import entries, make_entry, seal
from fastzk._core.serve import Server
from fastzk._core.tree import format_tree
from fastzk.testing.items import Item, parse_items
from fastzk.testing.model import Model, Outcome, packed

NODE_ID = 1
EPOCH = 3
TIME_MS = 1_700_000_000_000
TIMEOUT_MS_MIN, TIMEOUT_MS_MAX = 4000, 40000
EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2 = 3, 4, 8, 12
READS = (EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2)
PING, CLOSE = 11, -11
OPEN_ACL = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
KINDS_OF_EVENT = {1: ("data",), 2: ("data", "child"), 3: ("data",), 4: ("child",)}
OPEN_STATE = 3
SEQUENCE_OFFSET = 64  # of the arena's sequence counter


def sorted_names(op: int, body: bytes) -> bytes:
    """A reply's names in the order of their bytes; the rest as it is."""
    if op not in (GET_CHILDREN, GET_CHILDREN2) or not body:
        return body
    (count,) = struct.unpack_from(">i", body)
    names, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from(">i", body, at)
        names.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return body[:4] + b"".join(packed(name) for name in sorted(names)) + body[at:]


def framed(payload: bytes) -> bytes:
    """The payload as one frame."""
    return struct.pack(">i", len(payload)) + payload


def connect_request(
    session_id: int = 0,
    password: bytes | None = bytes(16),
    *,
    timeout_ms: int = 10000,
    last_zxid_seen: int = 0,
    read_only: bool | None = False,
) -> bytes:
    """A ConnectRequest's frame; read_only None is a client older than 3.4."""
    body = struct.pack(">iqiQ", 0, last_zxid_seen, timeout_ms, session_id) + packed(password)
    return framed(body + (b"" if read_only is None else bytes([read_only])))


@dataclass
class Asked:
    """A request on its way."""

    xid: int
    op: int
    path: bytes | None = None
    is_watching: bool = False


@dataclass
class Frame:
    """One frame as a client gets it after its ConnectResponse."""

    xid: int
    zxid: int
    err: int
    body: bytes


class History:
    """What the model says of each zxid: results of writes, reads of the given paths, changes."""

    def __init__(self, paths: tuple[bytes, ...]) -> None:
        self.paths = paths
        self.model = Model()
        self.results: dict[int, tuple[int, int, Outcome]] = {}  # zxid -> session_id, cxid, outcome
        self.reads: dict[int, dict[tuple[int, bytes], tuple[int, bytes]]] = {}
        self.changes: list[tuple[int, int, bytes]] = []  # zxid, event, path
        self.applied_zxid = 0
        self._keep(0)

    def _keep(self, zxid: int) -> None:
        self.reads[zxid] = {(op, path): self.model.read(op, path) for op in READS for path in self.paths}

    def apply(self, block: bytes, first_zxid: int) -> None:
        """Follows one block."""
        for zxid, entry in enumerate(entries(block), first_zxid):
            outcome = self.model.apply(entry, zxid, TIME_MS)
            if outcome.err is not None:
                self.results[zxid] = (entry.session_id, entry.cxid, outcome)
                self.changes += [(zxid, event, path) for event, path, _ in outcome.changes]
            self._keep(zxid)
            self.applied_zxid = zxid


class Node:
    """One Machine and the Servers over it."""

    def __init__(
        self,
        paths: tuple[bytes, ...] = (),
        *,
        workers: int = 2,
        connections_max: int = 8,
        entropy: bytes | None = None,
        **limits: Any,
    ) -> None:
        self.region = bytearray(1 << 20)
        arena = Arena.create(self.region)
        format_tree(arena)
        self.machine_arena = arena
        self.machine = Machine(arena, NODE_ID)
        self.history = History(paths)
        self.proposed: list[tuple[int, bytes]] = []  # (count, entries) that are in no block yet
        self.now_ms = 1
        self.servers = []
        self.streams: list[deque[Item]] = []  # per worker: items it was not told yet
        for worker in range(workers):
            self.machine.add_worker(worker)
            self.streams.append(deque())
            self.servers.append(
                Server(
                    Arena.open(self.region),
                    node_id=NODE_ID,
                    worker=worker,
                    incarnation=7,
                    timeout_min_ms=TIMEOUT_MS_MIN,
                    timeout_max_ms=TIMEOUT_MS_MAX,
                    connections_max=connections_max,
                    start_zxid=0,
                    session_seed=TIME_MS,
                    hash_seed=99,
                    **limits,
                )
            )
            self.servers[worker].add_entropy(os.urandom(4096) if entropy is None else entropy)
        self.propose(make_entry(0))
        self.apply()
        self.deliver_all()

    def propose(self, *made: bytes) -> None:
        """Entries that come from nowhere: expiries, the first of an epoch."""
        self.proposed.append((len(made), b"".join(made)))

    def collect(self, worker: int) -> None:
        """Takes what a worker has for the engine."""
        count, taken = self.servers[worker].take_writes()
        if count:
            self.proposed.append((count, taken))
        count, taken = self.servers[worker].take_reads()
        if count:
            self.machine.read(taken)
            self._hear_machine()

    def lose(self) -> None:
        """A leader is gone with what it had not logged, and a new round begins."""
        self.proposed.clear()
        for server in self.servers:
            server.resend_all()

    def apply(self, batches: int = 1 << 30) -> None:
        """Seals so many of the proposed batches into a block and applies it."""
        taken, self.proposed = self.proposed[:batches], self.proposed[batches:]
        if not taken:
            return
        first_zxid = max((EPOCH << 32) + 0, self.machine.applied_zxid + 1)
        block = seal(
            [made for _, made in taken],
            sum(count for count, _ in taken),
            first_index=self.machine.applied_index + 1,
            first_zxid=first_zxid,
            time_ms=TIME_MS,
            previous=0,
        )
        self.machine.apply(block)
        self.history.apply(block, first_zxid)
        self._hear_machine()

    def _hear_machine(self) -> None:
        for worker, stream in enumerate(self.streams):
            stream.extend(parse_items(self.machine.take_items(worker)))

    def deliver(self, worker: int, count: int) -> None:
        """Tells a worker of so many items, and of the rest of the zxid that the last of them belongs to."""
        stream = self.streams[worker]
        if stream and count == 0:
            return
        batch: list[Item] = []
        while stream and (len(batch) < count or stream[0].zxid == batch[-1].zxid):
            batch.append(stream.popleft())
        zxid = batch[-1].zxid if stream else self.machine.applied_zxid
        assert self.servers[worker].commit_items(b"".join(item.pack() for item in batch), zxid, self.now_ms)

    def deliver_all(self) -> None:
        """Tells every worker everything."""
        for worker in range(len(self.servers)):
            self.deliver(worker, len(self.streams[worker]))

    def writer_is_inside(self, is_inside: bool) -> None:
        """Makes every read lose against the writer, or no longer."""
        (sequence,) = struct.unpack_from("<Q", self.region, SEQUENCE_OFFSET)
        assert sequence & 1 != is_inside
        struct.pack_into("<Q", self.region, SEQUENCE_OFFSET, sequence + (1 if is_inside else -1))


@dataclass
class ClientTwin:
    """One connection's client: asks, and holds every frame it gets against the history.

    Raises AssertionError when Z5, Z6 or a value is broken: replies in request order, zxids that never fall, reads equal to
    the model's at exactly their zxid, each write's own result, and of events: each one that is due, once, before any reply at
    or above its zxid and after the reply that armed its watch."""

    node: Node
    worker: int
    slot: int
    received: bytes = b""
    is_greeted: bool = False
    is_refused: bool = False
    is_over: bool = False
    session_id: int = 0
    password: bytes = b""
    has_read_only: bool = True
    last_zxid: int = 0
    next_xid: int = 1
    asked: deque[Asked] = field(default_factory=deque)
    pings: int = 0
    armed: dict[tuple[bytes, str], set[int]] = field(default_factory=dict)
    changes_seen: int = 0  # of history.changes
    events: int = 0

    @property
    def server(self) -> Server:
        """The worker it is connected to."""
        return self.node.servers[self.worker]

    # --- asking

    def request(self, op: int, body: bytes, path: bytes | None = None, is_watching: bool = False) -> bytes:
        """Notes a request and gives its frame."""
        self.asked.append(Asked(self.next_xid, op, path, is_watching))
        self.next_xid += 1
        return framed(struct.pack(">ii", self.next_xid - 1, op) + body)

    def read(self, op: int, path: bytes, is_watching: bool) -> bytes:
        """A read's frame."""
        return self.request(op, packed(path) + bytes([is_watching]), path, is_watching)

    def ping(self) -> bytes:
        """A ping's frame."""
        self.pings += 1
        return framed(struct.pack(">ii", -2, PING))

    def send(self, data: bytes) -> None:
        """Bytes to the server."""
        if not self.is_over:
            self.server.take_bytes(self.slot, data, self.node.now_ms)

    # --- hearing

    def hear(self, data: bytes) -> None:
        """Bytes from the server."""
        self.received += data
        while len(self.received) >= 4:
            (size,) = struct.unpack_from(">i", self.received)
            if len(self.received) < 4 + size:
                return
            frame, self.received = self.received[4 : 4 + size], self.received[4 + size :]
            if self.is_greeted:
                xid, zxid, err = struct.unpack_from(">iqi", frame)
                self.hear_frame(Frame(xid, zxid, err, frame[16:]))
            else:
                self.hear_greeting(frame)

    def hear_greeting(self, frame: bytes) -> None:
        """The ConnectResponse."""
        assert len(frame) == (37 if self.has_read_only else 36)
        version, timeout_ms, session_id = struct.unpack_from(">iiQ", frame)
        assert version == 0
        assert frame[16:20] == struct.pack(">i", 16)
        self.is_greeted = True
        if session_id == 0:
            assert timeout_ms == 0
            assert frame[20:36] == bytes(16)
            self.is_refused = True
            return
        assert TIMEOUT_MS_MIN <= timeout_ms <= TIMEOUT_MS_MAX
        assert self.session_id in (0, session_id)
        self.session_id, self.password = session_id, frame[20:36]

    def hear_frame(self, frame: Frame) -> None:
        """A reply or an event."""
        assert not self.is_refused
        assert frame.zxid >= self.last_zxid, f"Z5: zxid {frame.zxid:#x} after {self.last_zxid:#x}"
        self.last_zxid = frame.zxid
        if frame.xid == -1:
            self.hear_event(frame)
            return
        due = self.due_event(frame.zxid)
        assert due is None, f"Z6: reply {frame.xid} at {frame.zxid:#x} before the event {due}"
        if frame.xid == -2:
            assert self.pings > 0
            self.pings -= 1
            assert (frame.err, frame.body) == (0, b"")
            return
        assert self.asked, f"reply {frame.xid} to nothing"
        asked = self.asked.popleft()
        assert frame.xid == asked.xid, f"Z5: reply {frame.xid} when {asked.xid} was next"
        if asked.op in READS:
            self.hear_read(asked, frame)
        elif asked.op in (1, 2, 5, 9, 15, CLOSE):
            session_id, cxid, outcome = self.node.history.results[frame.zxid]
            assert (session_id, cxid) == (self.session_id, asked.xid)
            assert (frame.err, frame.body) == (outcome.err, outcome.body if outcome.err == 0 else b"")
        else:
            assert (frame.err, frame.body) == (-6, b"")

    def hear_read(self, asked: Asked, frame: Frame) -> None:
        """A read's reply: exactly what there was at its zxid."""
        assert asked.path is not None
        expected = self.node.history.reads[frame.zxid][asked.op, asked.path]
        assert (frame.err, sorted_names(asked.op, frame.body)) == expected
        if asked.is_watching and (frame.err == 0 or (frame.err == -101 and asked.op == EXISTS)):
            kind = "data" if asked.op in (EXISTS, GET_DATA) else "child"
            self.armed.setdefault((asked.path, kind), set()).add(frame.zxid)

    def due_event(self, zxid: int) -> tuple[int, int, bytes] | None:
        """The next event that must have been heard before anything at `zxid`."""
        changes = self.node.history.changes
        while self.changes_seen < len(changes) and changes[self.changes_seen][0] <= zxid:
            change_zxid, event, path = changes[self.changes_seen]
            for kind in KINDS_OF_EVENT[event]:
                if any(armed < change_zxid for armed in self.armed.get((path, kind), ())):
                    return changes[self.changes_seen]
            self.changes_seen += 1
        return None

    def hear_event(self, frame: Frame) -> None:
        """An event: exactly the next one that is due."""
        event, state, size = struct.unpack_from(">iii", frame.body)
        heard = (frame.zxid, event, frame.body[12:])
        assert (frame.err, state, size) == (0, 3, len(frame.body) - 12)
        assert heard == self.due_event(frame.zxid), f"Z6: {heard} when {self.due_event(frame.zxid)} is due"
        for kind in KINDS_OF_EVENT[event]:
            armed = self.armed.get((heard[2], kind), set())
            self.armed[heard[2], kind] = {zxid for zxid in armed if zxid >= frame.zxid}
        self.changes_seen += 1
        self.events += 1


def opened(node: Node, worker: int = 0, wire: int = 0) -> ClientTwin:
    """A connection that has said nothing."""
    slot = node.servers[worker].open_slot(wire, node.now_ms)
    assert slot >= 0
    return ClientTwin(node, worker, slot)


def move(node: Node) -> None:
    """What workers have for the engine is applied, and everybody hears of it."""
    for worker in range(len(node.servers)):
        node.collect(worker)
    node.apply()
    node.deliver_all()


def heard(client: ClientTwin) -> bytes:
    """Takes a connection's output, checks it, and gives it."""
    data = client.server.output(client.slot)
    client.server.output_sent(client.slot, len(data))
    client.hear(data)
    return data


def connected(node: Node, worker: int = 0, wire: int = 0, session: ClientTwin | None = None) -> ClientTwin:
    """A connection with an open session, a new one or that of another client."""
    client = opened(node, worker, wire)
    client.send(connect_request(session.session_id, session.password) if session else connect_request())
    move(node)
    heard(client)
    assert client.server.state(client.slot) == OPEN_STATE
    return client


def make_create(path: bytes, data: bytes = b"", flags: int = 0) -> bytes:
    """The body of a create with the open ACL."""
    return packed(path) + packed(data) + OPEN_ACL + struct.pack(">i", flags)


def make_set(path: bytes, data: bytes, version: int = -1) -> bytes:
    """The body of a setData."""
    return packed(path) + packed(data) + struct.pack(">i", version)


def make_delete(path: bytes, version: int = -1) -> bytes:
    """The body of a delete."""
    return packed(path) + struct.pack(">i", version)
