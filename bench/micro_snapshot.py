"""What a snapshot costs: `PYTHONPATH=src python bench/micro_snapshot.py [znodes] [directory]`.

A tree of so many znodes (a million) of 100 bytes.  Writing it to the directory alone, at full speed; loading it; and what a
write waits while a thread writes it beside: blocks of 16 writes all over the tree, one every millisecond, each timed from when
it was due until it is applied.  Last: the copies of pages, and how long the unpinning took the writer."""

import argparse
import mmap
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import format_tree
from fastzk.storage.disk import RealDisk
from fastzk.storage.segments import End
from fastzk.storage.snapshot_thread import SnapshotThread
from fastzk.storage.snapshots import SnapshotJob, SnapshotStore, meta_of
from fastzk.testing.model import packed

SESSION_ID = 1 << 56
OPEN = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
CREATE, SET_DATA, CREATE_SESSION = 1, 5, -10
BLOCK_ENTRIES = 16
INTERVAL_S = 0.001
ARENA_BYTES = 4 << 30


class Bench:
    """A Machine, and blocks for it."""

    def __init__(self, count: int) -> None:
        self.arena = Arena.create(mmap.mmap(-1, ARENA_BYTES))
        format_tree(self.arena)
        self.machine = Machine(self.arena, 1)
        self.index = self.serial = 0
        self.random = Random(1)
        self.paths = [packed(b"/d%03d/znode-%07d" % (i % 100, i)) for i in range(count)]
        self.machine.apply(self.seal([make_entry(CREATE_SESSION, struct.pack(">i", 4000) + bytes(16), SESSION_ID)]))
        bodies = [packed(b"/d%03d" % i) for i in range(100)] + self.paths
        creates = [path + packed(b"x" * 100) + OPEN + bytes(4) for path in bodies]
        for at in range(0, len(creates), 1000):
            self.machine.apply(self.writes(CREATE, creates[at : at + 1000]))

    def seal(self, entries: list[bytes]) -> bytes:
        block = seal(entries, len(entries), self.index + 1, (1 << 32) + self.index, 1, 0)
        self.index += len(entries)
        return block

    def writes(self, op: int, bodies: list[bytes]) -> bytes:
        entries = []
        for body in bodies:
            self.serial += 1
            entries.append(make_entry(op, body, SESSION_ID, 1 << 32, self.serial, 1, 1))
        return self.seal(entries)

    def some_writes(self) -> bytes:
        return self.writes(
            SET_DATA, [self.random.choice(self.paths) + packed(b"y" * 100) + b"\xff" * 4 for _ in range(BLOCK_ENTRIES)]
        )

    def begin(self, store: SnapshotStore) -> SnapshotJob:
        self.arena.pin()
        encoder = SnapshotEncoder(self.arena, limits.SNAPSHOT_CHUNK_BYTES)
        end = End(self.arena.applied_index, self.arena.applied_zxid, self.arena.applied_time_ms)
        return store.begin(meta_of(encoder, end), encoder)

    def apply_while(self, goes_on: Callable[[], bool]) -> list[float]:
        """Microseconds each block waited and took, while goes_on()."""
        took_us = []
        due = time.perf_counter()
        while goes_on():
            block = self.some_writes()
            due += INTERVAL_S
            time.sleep(max(0.0, due - time.perf_counter()))
            begin = max(due, time.perf_counter() - INTERVAL_S)
            self.machine.apply(block)
            now = time.perf_counter()
            took_us.append((now - begin) * 1e6)
            due = max(due, now - INTERVAL_S)  # what was late does not make all that follows late
        return took_us


def percentiles(values: list[float]) -> str:
    values = sorted(values)
    return "  ".join(f"p{part} {values[int(len(values) * part / 100)]:8.0f}" for part in (50, 99)) + f"  most {values[-1]:8.0f}"


def memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def write_and_load(bench: Bench, store: SnapshotStore) -> None:
    job = bench.begin(store)
    begin, cpu = time.perf_counter(), time.process_time()
    while job.step():
        pass
    took_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    job.release()
    print(f"write alone     {took_s:6.2f} s   {cpu_s:6.2f} s of CPU   {job.size / 1e6:6.1f} MB")
    for what in ("verify", "load"):
        arena = Arena.create(mmap.mmap(-1, ARENA_BYTES))
        begin, cpu = time.perf_counter(), time.process_time()
        if what == "verify":
            store.verify(job.meta.index)
        else:
            store.load(job.meta.index, arena)
        print(f"{what:15} {time.perf_counter() - begin:6.2f} s   {time.process_time() - cpu:6.2f} s of CPU")


def write_beside(bench: Bench, store: SnapshotStore) -> None:
    until = time.perf_counter() + 3
    print(f"writes, without a snapshot, us:   {percentiles(bench.apply_while(lambda: time.perf_counter() < until))}")
    before_mb = memory_mb("VmRSS")
    begin = time.perf_counter()
    thread = SnapshotThread(bench.begin(store))
    pinned = time.perf_counter()
    thread.start()
    took_us = bench.apply_while(lambda: not thread.is_done)
    done = time.perf_counter()
    copies_mb, peak_mb = bench.arena.saved_count * 4096 / 1e6, memory_mb("VmRSS")
    thread.release()
    released = time.perf_counter()
    print(f"writes, beside a snapshot, us:    {percentiles(took_us)}")
    took_us = bench.apply_while(thread._thread.is_alive)
    thread.join()
    if took_us:
        print(f"writes, while memory is freed:    {percentiles(took_us)}")
    if thread.error is not None:
        raise thread.error
    print(
        f"written beside  {done - begin:6.2f} s; pin {(pinned - begin) * 1e6:.0f} us, unpin {(released - done) * 1e6:.0f} us; "
        f"copies of pages {copies_mb:.0f} MB; memory {before_mb:.0f} MB, then {peak_mb:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("znodes", type=int, nargs="?", default=1_000_000)
    parser.add_argument("directory", nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        store = SnapshotStore(RealDisk(), f"{directory}/snapshots")
        bench = Bench(options.znodes)
        print(f"{options.znodes} znodes, {bench.machine.counts['data_bytes'] / 1e6:.1f} MB of paths and data")
        write_and_load(bench, store)
        write_beside(bench, store)


if __name__ == "__main__":
    main()
