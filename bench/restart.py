"""How long a node takes from its start to its first answer: `PYTHONPATH=src python bench/restart.py [--znodes N] [directory]`.

A node that stands alone, a million znodes of 100 bytes in a snapshot, and three logs: a short one; 150,000 blocks of one entry,
which three snapshots kept can leave; the same with 40,000 of them still to be applied.  The time is from the start of the
process to a getData answered over ZooKeeper's protocol.  The files are in the page cache.  The last lines: what the parts of it
take by themselves, without processes."""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import SegmentLog
from fastzk.storage.segments import scan
from fastzk.storage.shm import create_shared, map_shared
from fastzk.storage.snapshots import SnapshotStore
from fastzk.testing.aged import first_read, grow
from fastzk.testing.ensemble import Ensemble, Node

ROWS = [("short log", 100, 0), ("150,000 blocks", 150_000, 0), ("40,000 of them to be applied", 150_000, 40_000)]


def cpu_s(node: Node) -> float:
    """Processor time of all processes of the node."""
    ticks = 0
    for pid in node.pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(what: str, work: Callable[[], object]) -> None:
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    user_s, system_s = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(f"    {what:26} {time.perf_counter() - begin:6.3f} s   user {user_s:6.3f}   system {system_s:6.3f}")


def parts(data: Path) -> None:
    """What a start does, one after the other."""
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

    timed(f"apply {log.last_index - index} entries", replay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="build/bench", help="on the disk to be measured")
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--starts", type=int, default=3, help="of each row")
    options = parser.parse_args()
    Path(options.directory).mkdir(parents=True, exist_ok=True)
    for what, blocks, behind in ROWS:
        with Ensemble(1, Path(options.directory), ["--workers", "1"]) as ensemble:
            node = ensemble.nodes[0]
            assert node.stop() == 0
            grow(node.data_dir, options.znodes, blocks, behind)
            for _ in range(options.starts):
                took_s = first_read(node)
                print(f"{what:30} {took_s:6.3f} s   {cpu_s(node):6.2f} s of CPU", flush=True)
                node.kill9()
            parts(node.data_dir)


if __name__ == "__main__":
    main()
