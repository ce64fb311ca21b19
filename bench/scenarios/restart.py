"""How long a node takes from its start to its first answer, with a million znodes.

A node that stands alone, a million znodes of 100 bytes in a snapshot, and three logs: a short one; 150,000 blocks of one entry,
which three snapshots kept can leave; the same with 40,000 of them still to be applied.  `first_read_s` is from the start of the
process to a getData answered over ZooKeeper's protocol, `cpu_s` the processor time of all its processes until then.  The files
are in the page cache.  `part_s`: what the parts of it take by themselves, without processes."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import stage
from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import SegmentLog
from fastzk.storage.segments import scan
from fastzk.storage.shm import create_shared, map_shared
from fastzk.storage.snapshots import SnapshotStore
from fastzk.testing.aged import first_read, grow
from figures import Book, Condition, Figure

ZNODES = 1_000_000
BLOCKS, BEHIND = 150_000, 40_000
STARTS = 5


def run(book: Book, scale: float) -> None:
    """The three logs, one after the other."""
    znodes, blocks, behind = (stage.scaled(count, scale, 100) for count in (ZNODES, BLOCKS, BEHIND))
    starts = stage.scaled(STARTS, scale)
    for log, logged, unapplied in (("short", 100, 0), ("long", blocks, 0), ("long, not all applied", blocks, behind)):
        measure(book, {"log": log, "znodes": znodes, "blocks": logged, "to_apply": unapplied}, starts)


def measure(book: Book, conditions: Mapping[str, Condition], starts: int) -> None:
    """One log: so many starts with it, then their parts."""
    znodes, blocks, behind = (int(conditions[name]) for name in ("znodes", "blocks", "to_apply"))
    with stage.nodes(1, ["--workers", "1"]) as ensemble:
        node = ensemble.node(1)
        if node.stop() != 0:
            raise RuntimeError(f"the node did not end well\n{node.log_tail()}")
        stage.say(f"restart: making {znodes:,} znodes and {blocks:,} blocks of log, {behind:,} of them to be applied")
        grow(node.data_dir, znodes, blocks, behind)
        for turn in range(1, starts + 1):
            took_s = first_read(node)
            book.note(Figure("restart", "fastzk", "first_read_s", took_s, "s", conditions, turn))
            book.note(Figure("restart", "fastzk", "cpu_s", stage.cpu_s(node.pids()), "s", conditions, turn))
            node.kill9()
        note_parts(book, node.data_dir, conditions)


def note_parts(book: Book, data: Path, conditions: Mapping[str, Condition]) -> None:
    """What a start does, one after the other."""

    def timed(part: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        took_s = time.perf_counter() - began
        book.note(Figure("restart", "fastzk", "part_s", took_s, "s", {**conditions, "part": part}))

    command = [sys.executable, "-c", "import fastzk.node.main"]
    timed("python with its modules", lambda: subprocess.run(command, check=True))
    disk = RealDisk()
    timed("scan of the log", lambda: scan(disk, f"{data}/log"))
    store = SnapshotStore(disk, f"{data}/snapshots")
    index = store.list()[-1]
    timed("verify", lambda: store.verify(index))
    arena = Arena.create(map_shared(create_shared("bench", limits.ARENA_BYTES), limits.ARENA_BYTES, is_writable=True))
    timed("load", lambda: store.load(index, arena))
    log, machine = SegmentLog(disk, f"{data}/log", scan(disk, f"{data}/log")), Machine(arena, 1)

    def replay() -> None:
        for entries in log.ranges(index + 1):
            machine.apply(entries.payload)

    timed("apply", replay)


if __name__ == "__main__":
    stage.main(run, __doc__)
