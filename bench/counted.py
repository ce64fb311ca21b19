"""What bench/instructions.py counts: each row does its operation so many times in one compiled call.

Rule: a row's numbers depend on nothing but the code: no clock, no chance, no thread, no socket; the same paths, the same sessions,
the same random bytes in every run.
Rule: preparing stands outside the marks.  What is between them is one call from Python, so the cost of two counts of operations
differs by that of the operations only.

How it works: one Machine and one Server over its arena, as in a node; entries and items are handed from one to the other
here.  A second worker, which is no more than a number, writes what the first one only hears of.

Alone it shows that every row does what it says, without counting: `PYTHONPATH=src python bench/counted.py`."""

import ctypes
import gc
import struct
import sys
from collections.abc import Callable, Iterator

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import check, make_entry, seal
from fastzk._core.serve import Server
from fastzk._core.tree import format_tree

CREATE, EXISTS, GET_DATA, SET_DATA, CREATE_SESSION = 1, 3, 4, 5, -10
NODE_ID, EPOCH, TIME_MS, NOW_MS = 1, 1, 1_700_000_000_000, 1
WIRE_TCP, WIRE_NATIVE = 0, 1
SERVING, WRITING = 0, 1  # the worker that is counted, and the one that writes
SESSION_ID = 7 << 56
VALUE = b"x" * 100
OPEN_ACL = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")
REPLY_HEAD = 20  # size, xid, zxid, err
STAT = 68

Work = Callable[[], object]


def text(value: bytes) -> bytes:
    """A jute string or buffer."""
    return struct.pack(">i", len(value)) + value


def path(number: int) -> bytes:
    """Of one of the znodes that are there."""
    return text(b"/counted/z%08d" % number)


class Bench:
    """A node without processes, with `count` znodes of 100 bytes."""

    def __init__(self, count: int) -> None:
        region = bytearray(64 << 20)
        arena = Arena.create(region)
        format_tree(arena)
        self.machine = Machine(arena, NODE_ID)
        self.machine.add_worker(SERVING)
        self.machine.add_worker(WRITING)
        self.zxid = EPOCH << 32
        self.serial = 0
        self.xid = 0
        self.server = Server(
            Arena.open(region),
            node_id=NODE_ID,
            worker=SERVING,
            incarnation=7,
            timeout_min_ms=1000,
            timeout_max_ms=40_000,
            connections_max=8,
            start_zxid=0,
            session_seed=TIME_MS,
            hash_seed=99,
        )
        self.server.add_entropy(bytes(range(1, 241)))
        self.apply(self.sealed([make_entry(CREATE_SESSION, struct.pack(">i", 4000) + bytes(16), SESSION_ID, worker=WRITING)]))
        self.attach_zxid = self.zxid - 1
        self.apply(self.sealed(self.entries(CREATE, [text(b"/counted") + text(b"") + OPEN_ACL + bytes(4)])))
        self.apply(self.sealed(self.entries(CREATE, [path(n) + text(VALUE) + OPEN_ACL + bytes(4) for n in range(count)])))
        self.slots = {wire: self.connected(wire) for wire in (WIRE_TCP, WIRE_NATIVE)}

    # --- the engine's side

    def entries(self, op: int, bodies: list[bytes]) -> list[bytes]:
        """Writes of the other worker's session."""
        made = []
        for body in bodies:
            self.serial += 1
            made.append(make_entry(op, body, SESSION_ID, self.attach_zxid, self.serial, NODE_ID, WRITING))
        return made

    def sealed(self, entries: list[bytes], count: int = 0) -> bytes:
        """The next block."""
        count = count or len(entries)
        block = seal(entries, count, self.zxid - (EPOCH << 32) + 1, self.zxid, TIME_MS, 0)
        self.zxid += count
        return block

    def apply(self, block: bytes) -> None:
        """A block, and all hear of it."""
        self.machine.apply(block)
        self.hear()

    def hear(self) -> None:
        """What the machine tells the workers."""
        self.machine.take_items(WRITING)
        assert self.server.commit_items(self.machine.take_items(SERVING), self.machine.applied_zxid, NOW_MS)

    # --- the client's side

    def connected(self, wire: int) -> int:
        """A connection with a new session."""
        slot = self.server.open_slot(wire, NOW_MS)
        request = struct.pack(">iqiQ", 0, 0, 10_000, 0) + text(bytes(16)) + b"\0"
        self.server.take_bytes(slot, text(request), NOW_MS)
        self.apply_writes()
        assert self.server.state(slot) == 3, "the session is open"
        self.drained(slot)
        return slot

    def frames(self, op: int, bodies: list[bytes]) -> bytes:
        """Requests."""
        made = []
        for body in bodies:
            self.xid += 1
            made.append(text(struct.pack(">ii", self.xid, op) + body))
        return b"".join(made)

    def take(self, slot: int, frames: bytes) -> Work:
        """The work of a worker that gets these requests."""
        return lambda: self.server.take_bytes(slot, frames, NOW_MS)

    def apply_writes(self) -> None:
        """What the worker has passed on becomes a block, is applied and answered."""
        count, entries = self.server.take_writes()
        self.apply(self.sealed([entries], count))

    def drained(self, slot: int) -> bytes:
        """What the client is sent."""
        output = self.server.output(slot)
        self.server.output_sent(slot, len(output))
        return output


# --- the rows: each gives the work, and then what must have come of it

Row = Callable[[Bench, int], Iterator[Work]]


def values(bench: Bench, count: int) -> list[bytes]:
    """The bodies of setData."""
    return [path(n) + text(VALUE) + b"\xff" * 4 for n in range(count)]


def creations(bench: Bench, count: int) -> list[bytes]:
    """The bodies of create, below /counted, of what is not there."""
    first = bench.serial
    return [text(b"/counted/c%08d" % (first + n)) + text(VALUE) + OPEN_ACL + bytes(4) for n in range(count)]


def served(wire: int, op: int, reply_size: int) -> Row:
    """Reads that a worker answers."""

    def row(bench: Bench, count: int) -> Iterator[Work]:
        yield bench.take(bench.slots[wire], bench.frames(op, [path(n) + b"\0" for n in range(count)]))
        output = bench.drained(bench.slots[wire])
        assert len(output) == count * reply_size, f"{count} replies in {len(output)} bytes"

    return row


def passed_on(bench: Bench, count: int) -> Iterator[Work]:
    """setData, from a client's bytes to an entry for the engine."""
    slot = bench.slots[WIRE_TCP]
    yield bench.take(slot, bench.frames(SET_DATA, values(bench, count)))
    bench.apply_writes()
    assert len(bench.drained(slot)) == count * (REPLY_HEAD + STAT)


def answered(bench: Bench, count: int) -> Iterator[Work]:
    """The result of a setData, from the engine's item to the client's reply."""
    slot = bench.slots[WIRE_TCP]
    bench.take(slot, bench.frames(SET_DATA, values(bench, count)))()
    passed, entries = bench.server.take_writes()
    assert passed == count
    bench.machine.apply(bench.sealed([entries], passed))
    bench.machine.take_items(WRITING)
    items = bench.machine.take_items(SERVING)
    yield lambda: bench.server.commit_items(items, bench.machine.applied_zxid, NOW_MS)
    assert len(bench.drained(slot)) == count * (REPLY_HEAD + STAT)


def fired(bench: Bench, count: int) -> Iterator[Work]:
    """A watch of one connection, from the engine's item to the event."""
    slot = bench.slots[WIRE_TCP]
    bench.take(slot, bench.frames(EXISTS, [path(n) + b"\1" for n in range(count)]))()
    bench.drained(slot)
    bench.machine.apply(bench.sealed(bench.entries(SET_DATA, values(bench, count))))
    bench.machine.take_items(WRITING)
    items = bench.machine.take_items(SERVING)
    yield lambda: bench.server.commit_items(items, bench.machine.applied_zxid, NOW_MS)
    assert len(bench.drained(slot)) == count * (REPLY_HEAD + 8 + len(path(0)))


def applied(op: int, bodies: Callable[[Bench, int], list[bytes]]) -> Row:
    """Writes that the state machine applies."""

    def row(bench: Bench, count: int) -> Iterator[Work]:
        block = bench.sealed(bench.entries(op, bodies(bench, count)))
        yield lambda: bench.machine.apply(block)
        assert bench.machine.applied_zxid == bench.zxid - 1
        bench.hear()

    return row


def logged(bench: Bench, count: int) -> Iterator[Work]:
    """The block of these entries: copied, walked through, and its checksum; what the log writes as it is."""
    entries = b"".join(bench.entries(SET_DATA, values(bench, count)))
    bench.serial -= count  # they are not applied
    blocks: list[bytes] = []
    yield lambda: blocks.append(seal([entries], count, 1, 1 << 32, TIME_MS, 0))
    assert check(blocks[0]).count == count


def checked(bench: Bench, count: int) -> Iterator[Work]:
    """A block from a peer or the disk: its checksum, and each entry's bounds."""
    block = seal(bench.entries(SET_DATA, values(bench, count)), count, 1, 1 << 32, TIME_MS, 0)
    bench.serial -= count  # they are not applied
    yield lambda: check(block)


ROWS: dict[str, Row] = {
    "getData served by a worker": served(WIRE_TCP, GET_DATA, REPLY_HEAD + 4 + len(VALUE) + STAT),
    "exists served by a worker": served(WIRE_TCP, EXISTS, REPLY_HEAD + STAT),
    "getData served by a worker, native": served(WIRE_NATIVE, GET_DATA, REPLY_HEAD + 4 + len(VALUE) + STAT),
    "setData passed on by a worker": passed_on,
    "setData's result turned into a reply": answered,
    "watch fired": fired,
    "setData applied": applied(SET_DATA, values),
    "create applied": applied(CREATE, creations),
    "entry sealed into a block": logged,
    "entry of a block checked": checked,
}


def each(name: str, bench: Bench, count: int, begin: Callable[[], None], end: Callable[[bytes], None]) -> None:
    """Does one row once, between the marks."""
    row = ROWS[name](bench, count)
    work = next(row)
    begin()
    work()
    end(f"{name} x {count}".encode())
    for _ in row:
        raise AssertionError(f"{name} has more than one part to be counted")


def uncounted(name: bytes = b"") -> None:
    """A mark where nothing counts."""


def main(shim: str | None, count: int) -> None:
    """All rows: once to grow what grows and to load what is loaded at its first use, then so often and twice as often."""
    library = ctypes.CDLL(shim) if shim else None
    begin, end = (library.count_begin, library.count_end) if library else (uncounted, uncounted)
    bench = Bench(2 * count)
    for name in ROWS:
        each(name, bench, 2 * count, uncounted, uncounted)
        for times in (count, 2 * count):
            each(name, bench, times, begin, end)


if __name__ == "__main__":
    gc.disable()  # it would come now and then, and its instructions are not the rows'
    main(sys.argv[2] if len(sys.argv) > 2 else None, int(sys.argv[1]) if len(sys.argv) > 1 else 300)
