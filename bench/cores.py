"""The core of a node in one process, to be measured alone: a Machine, and a worker's Server over the same arena.

Rules: what is measured is prepared beforehand (blocks, frames), so that only the core's own work is timed.  Whatever was asked is
looked at afterwards: a round whose work was not done is no measurement."""

import struct
from collections.abc import Sequence

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.serve import Server
from fastzk._core.tree import format_tree

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, CREATE_SESSION = 1, 2, 3, 4, 5, -10
ARENA_BYTES = 512 << 20
BLOCK_ENTRIES = 250
EPOCH, SESSION_ID, NOW_MS = 1, 1 << 56, 1
SERVING, WRITING = 0, 1  # the worker that is measured, and the one that writes
ANY_VERSION = struct.pack(">i", -1)
VALUE = b"x" * 100
REPLY_HEAD_BYTES, STAT_BYTES = 20, 68


def text(value: bytes) -> bytes:
    """A string or a buffer, as jute writes it."""
    return struct.pack(">i", len(value)) + value


OPEN_ACL = struct.pack(">ii", 1, 31) + text(b"world") + text(b"anyone")


class Core:
    """So many znodes of 100 bytes, and one client's connection."""

    def __init__(self, znodes: int) -> None:
        region = bytearray(ARENA_BYTES)
        self.arena = Arena.create(region)
        format_tree(self.arena)
        self.machine = Machine(self.arena, 1)
        self.machine.add_worker(SERVING)
        self.machine.add_worker(WRITING)
        self.zxid = EPOCH << 32
        self.serial = self.xid = 0
        self.server = Server(
            Arena.open(region),
            node_id=1,
            worker=SERVING,
            incarnation=1,
            timeout_min_ms=1000,
            timeout_max_ms=40_000,
            connections_max=2,
            start_zxid=0,
            session_seed=1,
            hash_seed=1,
        )
        self.server.add_entropy(bytes(range(240)))
        self.apply(self.seal([make_entry(CREATE_SESSION, struct.pack(">i", 4000) + bytes(16), SESSION_ID, worker=WRITING)]))
        self.znodes = [b"/znode-%09d" % number for number in range(znodes)]
        self.apply_all(self.blocks(CREATE, [creation(path) for path in self.znodes]))
        self.slot = self._connected()

    # ---- the engine's side

    def seal(self, entries: Sequence[bytes], count: int = 0) -> bytes:
        """The next block."""
        count = count or len(entries)
        block = seal(list(entries), count, self.zxid - (EPOCH << 32) + 1, self.zxid, 1, 0)
        self.zxid += count
        return block

    def blocks(self, op: int, bodies: Sequence[bytes], step: int = 1) -> list[bytes]:
        """Writes of the other worker's session, in blocks; with step 0 they are repeats of the last."""
        entries = []
        for body in bodies:
            self.serial += step
            entries.append(make_entry(op, body, SESSION_ID, EPOCH << 32, self.serial, 1, WRITING))
        return [self.seal(entries[at : at + BLOCK_ENTRIES]) for at in range(0, len(entries), BLOCK_ENTRIES)]

    def apply(self, block: bytes) -> None:
        """A block, and the workers hear of it."""
        self.machine.apply(block)
        self.machine.take_items(WRITING)
        assert self.server.commit_items(self.machine.take_items(SERVING), self.machine.applied_zxid, NOW_MS)

    def apply_all(self, blocks: Sequence[bytes]) -> None:
        """Block after block."""
        for block in blocks:
            self.apply(block)

    # ---- the client's side

    def _connected(self) -> int:
        """A connection with a session."""
        slot: int = self.server.open_slot(0, NOW_MS)
        self.server.take_bytes(slot, text(struct.pack(">iqiQ", 0, 0, 10_000, 0) + text(bytes(16)) + b"\0"), NOW_MS)
        self.apply_passed_on()
        self.slot = slot
        assert self.taken()
        return slot

    def apply_passed_on(self) -> None:
        """What the worker has passed on to the engine is applied and answered."""
        count, entries = self.server.take_writes()
        self.apply(self.seal([entries], count))

    def frames(self, op: int, bodies: Sequence[bytes]) -> bytes:
        """Requests."""
        made = []
        for body in bodies:
            self.xid += 1
            made.append(text(struct.pack(">ii", self.xid, op) + body))
        return b"".join(made)

    def serve(self, frames: bytes) -> None:
        """The worker gets these requests."""
        self.server.take_bytes(self.slot, frames, NOW_MS)

    def taken(self) -> int:
        """Bytes for the client, taken away."""
        size = len(self.server.output(self.slot))
        self.server.output_sent(self.slot, size)
        return size


def creation(path: bytes) -> bytes:
    """The body of a create."""
    return text(path) + text(VALUE) + OPEN_ACL + bytes(4)


def change(path: bytes) -> bytes:
    """The body of a setData."""
    return text(path) + text(VALUE) + ANY_VERSION
