"""fastzk's figures, beside Apache ZooKeeper's: `make bench-vs`; with --alone, without them.

Rules: both get the same load from the same generator on the same machine and file system, in turns (A B A B...), so
that what else the machine does falls on both.  The median of the turns is the figure, the extremes are printed with
it, and a turn with an error or a reply out of order ends the run.  Each server is warmed up first, for Java's sake."""

import argparse
import contextlib
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zookeeper
from fastzk.bench.load import Address, Result, Workload, run
from fastzk.testing.ensemble import Ensemble, file_system_of

DIRECTORY = Path("build/bench")
OPS = {"getData": (100, 0), "setData": (0, 0), "create": (0, 100), "90/10": (90, 0), "50/50": (50, 0)}
WARM_UP_S = 8.0


@dataclass
class Row:
    """One kind of load on one kind of server: a result per turn."""

    turns: list[Result] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Operations per second."""
        return statistics.median(turn.per_second for turn in self.turns)

    def describe(self) -> str:
        """Median, extremes, and the latency of the median turn."""
        rates = sorted(turn.per_second for turn in self.turns)
        middle = sorted(self.turns, key=lambda turn: turn.per_second)[len(self.turns) // 2]
        latency = middle.read_us or middle.write_us
        return (
            f"{self.median:10,.0f}/s  ({rates[0]:,.0f} to {rates[-1]:,.0f})  "
            f"p50 {latency['p50'] / 1000:.2f} ms, p99 {latency['p99'] / 1000:.2f} ms"
        )


@contextlib.contextmanager
def servers(names: Sequence[str], size: int, options: Sequence[str]) -> Iterator[dict[str, list[Address]]]:
    """Both kinds of server, all running at once; whose turn it is not is idle."""
    with contextlib.ExitStack() as stack:
        hosts: dict[str, list[Address]] = {}
        if "fastzk" in names:
            ensemble = stack.enter_context(Ensemble(size, DIRECTORY, ["--max-client-cnxns", "0", *options]))
            hosts["fastzk"] = [node.zk for node in ensemble.nodes]
        if "zookeeper" in names:
            hosts["zookeeper"] = stack.enter_context(zookeeper.running(size, DIRECTORY))
        yield hosts


def measure(hosts: list[Address], op: str, connections: int, window: int, seconds: float) -> Result:
    """One turn.  Raises RuntimeError when it is worth nothing."""
    get_percent, create_percent = OPS[op]
    result = run(
        hosts,
        Workload(
            connections=connections,
            window=window,
            get_percent=get_percent,
            create_percent=create_percent,
            duration_s=seconds,
        ),
    )
    if not result.is_clean:
        raise RuntimeError(f"{op}: {result.errors} errors ({result.first_error}), {result.disorders} out of order")
    return result


def compare(size: int, names: Sequence[str], options: argparse.Namespace) -> None:
    """All loads on ensembles of one size, in turns; prints a line for each."""
    with servers(names, size, options.node_options) as hosts:
        for name in names:
            measure(hosts[name], "50/50", options.connections, options.window, WARM_UP_S)
        for op in options.ops:
            rows = {name: Row() for name in names}
            for _ in range(options.turns):
                for name in names:
                    result = measure(hosts[name], op, options.connections, options.window, options.seconds)
                    rows[name].turns.append(result)
            for name in names:
                print(f"{size} node{'s' * (size > 1)}  {op:8}  {name:10} {rows[name].describe()}", flush=True)
            if len(names) > 1:
                ratio = rows["fastzk"].median / rows["zookeeper"].median
                print(f"{'':19}  ratio      {ratio:10.1f}", flush=True)


def machine() -> str:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    count = sum(line.startswith("processor") for line in lines)
    return f"{count} x {model}, Linux {platform.release()}, {file_system_of(DIRECTORY)}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="fastzk's figures, beside Apache ZooKeeper's")
    parser.add_argument("--alone", action="store_true", help="fastzk only")
    parser.add_argument("--only", choices=["fastzk", "zookeeper"], help="one of them")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3], help="nodes")
    parser.add_argument("--ops", nargs="+", choices=list(OPS), default=["getData", "setData"])
    parser.add_argument("--connections", type=int, default=30)
    parser.add_argument("--window", type=int, default=50, help="requests under way on each connection")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, help="of each fastzk node; its own choice when not given")
    options = parser.parse_args()
    options.node_options = ["--workers", str(options.workers)] if options.workers else []
    names = ["fastzk"] if options.alone else [options.only] if options.only else ["fastzk", "zookeeper"]
    if "zookeeper" in names and not zookeeper.is_installed():
        print("bench: no Apache ZooKeeper here; `apt-get install zookeeper` brings it", file=sys.stderr)
        return 2
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}\n{options.connections} connections, window {options.window}, values of 100 bytes", flush=True)
    for size in options.sizes:
        compare(size, names, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
