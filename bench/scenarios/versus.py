"""fastzk beside Apache ZooKeeper and etcd: three nodes each, on the same disk, in turns (A B C A B C).

  throughput    30 connections: getData and setData with a window of 50, create and the mix (90 % getData, the rest setData) with 20
  synchronous   one connection, one request after the other: getData and setData.  The turns go round the nodes, with the leader
                first, so that of three turns one is at the leader and two, the median among them, are at followers

All run at one time and whose turn it is not is idle; each is warmed up first, for Java's sake.  Values have 100 bytes.  fastzk
and ZooKeeper get the very same load (fastzk.bench.load), etcd one of its own kind (bench/etcd/load): get and put stand for getData
and setData, a transaction for create.  Its get is serializable, answered by the member that is asked, as the others' getData are;
`getData linearizable` is etcd's alone.

Then the synchronous setData of fastzk and ZooKeeper once more on tmpfs (condition `file_system`), where a sync costs nothing: what
is left is what the programs do.  What is not on this machine is told at the end, and how to get it; the rest is measured."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import etcd
import zookeeper
from fastzk.testing.ensemble import Address, Ensemble, file_system_of
from fastzk.testing.maven import Unavailable
from figures import Book
from turns import DIRECTORY, Load, Measure, Noter, Outcome, Pace, over_tcp, rotated

NODES = 3
SYSTEMS = ("fastzk", "zookeeper", "etcd")
# What creates comes last: it leaves a larger tree behind.
LOADS = [
    Load("getData"),
    Load("setData"),
    Load("90/10", window=20),
    Load("getData", connections=1, window=1),
    Load("setData", connections=1, window=1),
    Load("create", window=20),
]
ETCD_ALONE = [Load("getData linearizable"), Load("getData linearizable", connections=1, window=1)]
ON_TMPFS = Load("setData", connections=1, window=1)
ETCD_OPS = {"getData": "get", "getData linearizable": "lget", "setData": "put", "create": "create", "90/10": "mix"}
WARM_UP = [Load("getData"), Load("setData")]
WARM_UP_S = 4.0  # of each
TMPFS = Path("/dev/shm")
NO_DISKS = ("tmpfs", "ramfs")


def over_grpc(hosts: list[Address]) -> Measure:
    """etcd, under its own load."""

    def measure(load: Load, pace: Pace, turn: int) -> Outcome:
        got = etcd.load(rotated(hosts, turn), ETCD_OPS[load.op], load.connections, load.window, pace.warm_up_s, pace.seconds)
        is_mixed = load.op == "90/10"
        return Outcome(got.per_second, None if is_mixed else got.p50_us, None if is_mixed else got.p99_us)

    return measure


@contextlib.contextmanager
def fastzk_running(size: int, directory: Path, options: Sequence[str] = ()) -> Iterator[list[Address]]:
    """Nodes of fastzk, with more options, the leader first, as the others' modules start theirs."""
    with Ensemble(size, directory, ["--max-client-cnxns", "0", *options]) as ensemble:
        leader = ensemble.leader()
        yield [leader.zk, *(node.zk for node in ensemble.nodes if node is not leader)]


@contextlib.contextmanager
def running(
    names: Sequence[str], size: int, directory: Path, options: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Measure], dict[str, str]]]:
    """The systems that can be had, all running, and why the others cannot.  `options` are more of each fastzk node's."""
    systems: dict[str, Measure] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            try:
                if name == "fastzk":
                    systems[name] = over_tcp(stack.enter_context(fastzk_running(size, directory, options)))
                elif name == "zookeeper":
                    print(zookeeper.describe(), flush=True)
                    systems[name] = over_tcp(stack.enter_context(zookeeper.running(size, directory)))
                else:
                    print(etcd.describe(), flush=True)
                    systems[name] = over_grpc(stack.enter_context(etcd.running(size, directory)))
            except Unavailable as why:
                missing[name] = str(why)
                print(f"NOT MEASURED: {name}: {why}", file=sys.stderr, flush=True)
        yield systems, missing


def warm_up(systems: dict[str, Measure], seconds: float) -> None:
    """Reads and writes at each system, for so long each."""
    for name, measure in systems.items():
        print(f"warming up {name}", flush=True)
        for load in WARM_UP:
            measure(load, Pace(seconds, 0.0, 1), 1)


def on_disk(noter: Noter, names: Sequence[str], warm_up_s: float) -> dict[str, str]:
    """All loads, on the disk that holds the build directory; gives what could not be measured, and why."""
    about = {"nodes": NODES, "file_system": "disk"}
    with running(names, NODES, DIRECTORY) as (systems, missing):
        warm_up(systems, warm_up_s)
        for load in LOADS:
            noter.note_turns(systems, load, about)
        if "etcd" in systems:
            for load in ETCD_ALONE:
                noter.note_turns({"etcd": systems["etcd"]}, load, about)
    return missing


def on_tmpfs(noter: Noter, names: Sequence[str], warm_up_s: float) -> None:
    """One write after the other, without a disk."""
    names = [name for name in names if name != "etcd"]
    with (
        tempfile.TemporaryDirectory(prefix="fastzk-bench-", dir=TMPFS) as directory,
        running(names, NODES, Path(directory)) as (systems, _),
    ):
        warm_up(systems, warm_up_s)
        noter.note_turns(systems, ON_TMPFS, {"nodes": NODES, "file_system": "tmpfs"})


def measure(book: Book, scale: float, names: Sequence[str] = SYSTEMS) -> None:
    """Both parts, of these systems.  Raises RuntimeError: a turn is worth nothing, or something could not be measured."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if file_system_of(DIRECTORY) in NO_DISKS:
        raise RuntimeError(f"{DIRECTORY} is on {file_system_of(DIRECTORY)}, and no disk is measured there; put the sources on one")
    noter = Noter(book, "versus", Pace.at(scale))
    missing = on_disk(noter, names, WARM_UP_S * scale)
    if file_system_of(TMPFS) in NO_DISKS:
        on_tmpfs(noter, names, WARM_UP_S * scale)
    else:
        missing["tmpfs"] = f"{TMPFS} is on {file_system_of(TMPFS)}; `mount -t tmpfs tmpfs {TMPFS}` brings it"
    if missing:
        raise RuntimeError("not measured: " + "; ".join(f"{name}: {why}" for name, why in missing.items()))


def run(book: Book, scale: float) -> None:
    """All systems.  Raises RuntimeError: a turn is worth nothing, or something could not be measured."""
    measure(book, scale)


if __name__ == "__main__":
    with Book(DIRECTORY / "figures.jsonl") as open_book:
        run(open_book, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
