"""A node in one process, without processes, sockets and clocks: one Machine, its arena, and several Servers over it.

Whoever drives it decides when anything happens: when entries leave a worker, get lost, are applied, when each worker hears
of which part of it, when bytes leave and in which pieces.  `clients` check what they receive against the model: twin.py."""

import os
import struct
from collections import deque
from typing import Any, NamedTuple

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import entries, make_entry, seal
from fastzk._core.serve import Server
from fastzk._core.tree import format_tree
from fastzk.testing.items import Item, parse_items
from fastzk.testing.model import UNIMPLEMENTED, Model, Outcome, packed
from fastzk.testing.twin import (
    CLOSE,
    EXISTS,
    GET_ALL_CHILDREN_NUMBER,
    GET_CHILDREN,
    GET_CHILDREN2,
    GET_DATA,
    PATH_READS,
    PING,
    READS,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
    ClientTwin,
    framed,
    is_within,
)

__all__ = [
    "CLOSE", "EXISTS", "GET_CHILDREN", "GET_CHILDREN2", "GET_DATA", "NODE_ID", "OPEN_ACL", "PING", "READS", "ClientTwin", "History",
    "Node", "connect_request", "connected", "framed", "heard", "make_create", "make_delete", "make_set", "move", "opened",
]  # fmt: skip

NODE_ID = 1
EPOCH = 3
TIME_MS = 1_700_000_000_000
IDENTIFY = -13
OPEN_ACL = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
OPEN_STATE = 3
SEQUENCE_OFFSET = 64  # of the arena's sequence counter


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


class State(NamedTuple):
    """What there was of a znode."""

    mzxid: int
    pzxid: int
    owner: int


class History:
    """What the model says of each zxid: results of writes, reads of the given paths, changes."""

    def __init__(self, paths: tuple[bytes, ...]) -> None:
        self.paths = paths
        self.model = Model()
        self.results: dict[int, tuple[int, int, Outcome]] = {}  # zxid -> session_id, cxid, outcome
        self.reads: dict[int, dict[tuple[int, bytes], tuple[int, bytes]]] = {}
        self.states: dict[int, dict[bytes, State]] = {}  # zxid -> every znode
        self.changes: list[tuple[int, int, bytes]] = []  # zxid, event, path
        self.applied_zxid = 0
        self._keep(0)

    def _keep(self, zxid: int) -> None:
        znodes = self.model.znodes
        self.states[zxid] = {path: State(znode.mzxid, znode.pzxid, znode.owner) for path, znode in znodes.items()}
        self.reads[zxid] = {(op, path): self._read(op, path) for op in PATH_READS for path in self.paths}

    def _read(self, op: int, path: bytes) -> tuple[int, bytes]:
        if op in READS:
            return self.model.read(op, path)
        err, stat = self.model.read(EXISTS, path)
        if err:
            return err, b""
        if op == GET_ALL_CHILDREN_NUMBER:
            return 0, struct.pack(">i", sum(other != path and is_within(other, path) for other in self.model.znodes))
        acl = self.model.znodes[path].acl
        entries = b"".join(struct.pack(">i", perms) + packed(scheme) + packed(name) for perms, scheme, name in acl)
        return 0, struct.pack(">i", len(acl)) + entries + stat

    def apply(self, block: bytes, first_zxid: int) -> None:
        """Follows one block."""
        for zxid, entry in enumerate(entries(block), first_zxid):
            outcome = self.model.apply(entry, zxid, TIME_MS)
            if entry.op == IDENTIFY and outcome.err is not None and outcome.err == UNIMPLEMENTED:
                outcome = Outcome(0)
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
