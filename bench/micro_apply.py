"""Nanoseconds per operation of the core, in one process: create, setData, delete, repeated writes, getData, exists.

    python bench/micro_apply.py [operations]

Blocks of 256 entries are sealed beforehand; the processor time is that of Machine.apply with a worker taking its items,
and Machine.read for the reads (LINK_READ entries, which do all that a worker's read does, and make an item more)."""

import struct
import sys
import time
from collections.abc import Callable, Iterator

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.tree import format_tree
from fastzk.testing.model import packed

BLOCK_ENTRIES = 256
SESSION_ID = 1 << 56
OPEN = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, CREATE_SESSION = 1, 2, 3, 4, 5, -10
DATA = b"x" * 128


class Bench:
    """A Machine with a session and a worker, and what it takes to time operations on it."""

    def __init__(self) -> None:
        arena = Arena.create(memoryview(bytearray(2 << 30)))
        format_tree(arena)
        self.machine = Machine(arena, 1)
        self.machine.add_worker(1)
        self.zxid = 1 << 32
        self.serial = 0
        self.apply(self.seal([make_entry(CREATE_SESSION, struct.pack(">i", 4000) + bytes(16), SESSION_ID)]))

    def seal(self, entries: list[bytes]) -> bytes:
        block = seal(entries, len(entries), self.zxid - (1 << 32) + 1, self.zxid, 1, 0)
        self.zxid += len(entries)
        return block

    def apply(self, block: bytes) -> None:
        self.machine.apply(block)
        self.machine.take_items(1)

    def writes(self, op: int, bodies: list[bytes], step: int = 1) -> list[bytes]:
        entries = []
        for body in bodies:
            self.serial += step
            entries.append(make_entry(op, body, SESSION_ID, 1 << 32, self.serial, 1, 1))
        return [self.seal(each) for each in cut(entries)]


def cut(entries: list[bytes]) -> Iterator[list[bytes]]:
    for at in range(0, len(entries), BLOCK_ENTRIES):
        yield entries[at : at + BLOCK_ENTRIES]


def report(what: str, batches: list[bytes], count: int, work: Callable[[bytes], None]) -> None:
    begin = time.thread_time_ns()
    for batch in batches:
        work(batch)
    spent_ns = time.thread_time_ns() - begin
    print(f"{what:34} {spent_ns / count:8.0f} ns   {count / spent_ns * 1e9:12,.0f} per second")


def main(count: int) -> None:
    bench = Bench()
    paths = [packed(b"/bench-%09d" % i) for i in range(count)]
    version = struct.pack(">i", -1)

    def take_read(batch: bytes) -> None:
        bench.machine.read(batch)
        bench.machine.take_items(1)

    def reads(op: int) -> list[bytes]:
        return [b"".join(each) for each in cut([make_entry(op, path + b"\0", node_id=1, worker=1) for path in paths])]

    creates = bench.writes(CREATE, [path + packed(DATA) + OPEN + bytes(4) for path in paths])
    report("create, 128 bytes", creates, count, bench.apply)
    report("setData, 128 bytes", bench.writes(SET_DATA, [p + packed(DATA) + version for p in paths]), count, bench.apply)
    report("a repeat, ignored", bench.writes(SET_DATA, paths, step=0), count, bench.apply)
    report("create of what exists", bench.writes(CREATE, [p + packed(DATA) + OPEN + bytes(4) for p in paths]), count,
           bench.apply)  # fmt: skip
    report("getData, 128 bytes", reads(GET_DATA), count, take_read)
    report("exists", reads(EXISTS), count, take_read)
    report("delete", bench.writes(DELETE, [path + version for path in paths]), count, bench.apply)
    assert bench.machine.counts["znodes"] == 4


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
