"""Where nodes spend their time: flame graphs of all their processes, and tables.

    tools/profile.sh PID|DATA_DIR [SECONDS] [DIRECTORY]     a running node: its supervisor, or its data directory, stands for all
                                                            its processes; any other process for itself
    tools/profile.sh --load getData|setData|create [--nodes 3] [--seconds 5]     nodes started for it, under that load

In DIRECTORY (build/profile): perf.svg, what runs, to the last instruction of the kernel; python.svg, what runs in Python and in
the compiled core together; the stacks of both as .folded, input of any other tool; perf.data, for `perf report -i`.
docs/internals/profiling.md says how to read them and what the samplers cost.

First perf samples everything, then py-spy one process after the other: it stops them, which perf's shares must not show."""

import argparse
import contextlib
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sampling
from fastzk.bench.load import Address, Result, Workload, run
from fastzk.testing.ensemble import Ensemble, Node, process_name
from flamegraph import Stack, flame_graph, folded, shown
from sampling import Missing, Samples

DIRECTORY = Path("build/profile")
LOADS = {"getData": (100, 0), "setData": (0, 0), "create": (0, 100)}
SPY_MORE_S = 6.0  # what py-spy takes besides: it reads all symbols first
ROWS = 16  # of a table
SHARE_MIN = 0.5  # percent; below that a row says nothing


@dataclass(frozen=True)
class Process:
    """One that is sampled, and how it is called in graphs and tables."""

    pid: int
    name: str


def parents() -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def processes_of(pid: int, above: str = "") -> list[Process]:
    """A process and its children, which are all of a node when it is the supervisor.  Raises LookupError."""
    if not process_name(pid):
        raise LookupError(f"there is no process {pid}")
    children = sorted(child for child, parent in parents().items() if parent == pid)
    found = [Process(each, f"{above}{process_name(each)} {each}") for each in children if process_name(each).startswith("fzk")]
    return [Process(pid, f"{above}{'supervisor' if found else process_name(pid)} {pid}"), *found]


def supervisor_of(directory: Path) -> int:
    """The first process of the node that holds a data directory's lock.  Raises LookupError."""
    lock = (directory / "lock").resolve()
    holders = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if fd.readlink() == lock:
                holders.add(int(fd.parts[2]))
    above = parents()
    first = [pid for pid in holders if above.get(pid) not in holders]
    if not first:
        raise LookupError(f"no running node has the data directory {directory}, or it belongs to somebody else")
    return min(first)


class Report:
    """What is found, gathered for one directory."""

    def __init__(self, directory: Path, seconds: float) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.seconds = seconds
        self.missing: list[str] = []
        self.graphs = 0

    def perf(self, processes: Sequence[Process], title: str) -> None:
        """One graph of all of them, and a table of each."""
        try:
            found = sampling.perf([each.pid for each in processes], self.seconds, self.directory / "perf.data")
        except Missing as missing:
            self._miss(missing)
            return
        stacks: Counter[Stack] = Counter()
        for process in processes:
            samples = found.get(process.pid, Samples())
            self._table(process, samples)
            stacks.update({(process.name, *stack): count for stack, count in samples.running.items()})
        self._draw(stacks, "perf", f"{title}: what runs (perf, {self.seconds:g} s at {sampling.PERF_HZ} Hz)")

    def python(self, processes: Sequence[Process], title: str, loaded: "Load | None") -> None:
        """One graph of all of them, of Python and compiled code."""
        stacks: Counter[Stack] = Counter()
        for process in processes:
            try:
                with loaded.under_way(self.seconds + SPY_MORE_S) if loaded else contextlib.nullcontext():
                    samples = sampling.spy(process.pid, self.seconds)
            except Missing as missing:
                self._miss(missing)
                return
            running = samples.running.total()
            print(f"\n== {process.name}, by py-spy: {running} samples running, {samples.waiting} waiting")
            rows("Python function, with what it calls", sampling.python_shares(samples.running), running)
            stacks.update({(process.name, *stack): count for stack, count in samples.running.items()})
        self._draw(stacks, "python", f"{title}: Python and compiled code (py-spy, {self.seconds:g} s each at {sampling.SPY_HZ} Hz)")

    def _miss(self, missing: Missing) -> None:
        print(f"profile: {missing}", file=sys.stderr, flush=True)
        self.missing.append(str(missing))

    def _table(self, process: Process, samples: Samples) -> None:
        count = samples.running.total()
        core = 100 * count / (sampling.PERF_HZ * self.seconds)
        print(f"\n== {process.name}: {count} samples in {self.seconds:g} s, {core:.0f} % of one core")
        rows("thread", sampling.thread_shares(samples.running), count)
        rows("binary", samples.binaries, count)
        rows("function (its own time)", sampling.own_shares(samples.running), count)
        rows("what the interpreter called, with all below", sampling.called_shares(samples.running), count)

    def _draw(self, stacks: Counter[Stack], name: str, title: str) -> None:
        base = self.directory / name
        base.with_suffix(".folded").write_text(folded(stacks), encoding="utf-8")
        if not stacks:
            print(f"profile: {title}: nothing ran, so there is nothing to draw", file=sys.stderr)
            return
        base.with_suffix(".svg").write_text(flame_graph(stacks, title), encoding="utf-8")
        self.graphs += 1
        print(f"\n-- flame graph: {base.with_suffix('.svg')}", flush=True)


def rows(title: str, shares: Counter[str], total: int) -> None:
    """A table: the largest shares."""
    wanted = [(name, count) for name, count in shares.most_common(ROWS) if 100 * count >= SHARE_MIN * total]
    if wanted:
        print(f"-- by {title}")
    for name, count in wanted:
        print(f"   {100 * count / total:5.1f} %  {shown(name)[0]}")


class Load:
    """A load that runs while something is sampled."""

    def __init__(self, hosts: Sequence[Address], op: str, options: argparse.Namespace) -> None:
        self.hosts = hosts
        self.op = op
        self.connections, self.window = options.connections, options.window

    def _run(self, seconds: float) -> Result:
        get_percent, create_percent = LOADS[self.op]
        workload = Workload(
            connections=self.connections,
            window=self.window,
            get_percent=get_percent,
            create_percent=create_percent,
            duration_s=seconds,
        )
        return run(self.hosts, workload)

    @contextlib.contextmanager
    def under_way(self, seconds: float) -> Iterator[None]:
        """The load, for so many seconds from the beginning of the `with` on; its end waits for the load's."""
        results: list[Result] = []
        running = threading.Thread(target=lambda: results.append(self._run(seconds)))
        running.start()
        try:
            yield
        finally:
            running.join()
        if not results:
            raise RuntimeError(f"the load of {self.op} failed, as said above")
        clean = "" if results[0].is_clean else f", {results[0].errors} ERRORS, {results[0].disorders} OUT OF ORDER"
        print(f"\n-- {self.op}: {results[0].per_second:,.0f}/s meanwhile{clean}", flush=True)


def node_processes(node: Node, role: str) -> list[Process]:
    """All of a node; its role is told before each name."""
    assert node.process is not None, "Ensemble has started it"
    return processes_of(node.process.pid, f"{role}: ")


def under_load(options: argparse.Namespace) -> int:
    """Starts nodes and samples them under a load."""
    with Ensemble(options.nodes, DIRECTORY, ["--max-client-cnxns", "0"]) as ensemble:
        leader = ensemble.leader()
        followers = ensemble.followers()
        nodes = [node_processes(leader, "leader" if followers else "node")]
        nodes += [node_processes(node, f"follower {number}") for number, node in enumerate(followers, 1)]
        load = Load([node.zk for node in ensemble.nodes], options.load, options)
        report = Report(options.directory or DIRECTORY / options.load, options.seconds)
        title = f"{options.load}, {options.nodes} node{'s' * (options.nodes > 1)}"
        with load.under_way(options.seconds + 1.5):
            report.perf([each for processes in nodes for each in processes], title)
        # The leader's and one follower's tell what the others do.
        wanted = [each for processes in nodes[:2] for each in processes if re.search("-(engine|worker1) ", each.name)]
        report.python(wanted, title, load)
    return 0 if report.graphs else 2


def attached(options: argparse.Namespace) -> int:
    """Samples what runs already."""
    pid = int(options.target) if options.target.isdigit() else supervisor_of(Path(options.target))
    processes = processes_of(pid)
    report = Report(options.directory or DIRECTORY, options.seconds)
    title = f"{processes[0].name} and its children" if len(processes) > 1 else processes[0].name
    report.perf(processes, title)
    report.python(processes, title, None)
    return 0 if report.graphs else 2


def main() -> int:
    """The command line.  Status 2: no graph could be drawn, and why is said."""
    parser = argparse.ArgumentParser("tools/profile.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", metavar="PID|DATA_DIR")
    parser.add_argument("seconds_given", nargs="?", type=float, metavar="SECONDS")
    parser.add_argument("directory_given", nargs="?", type=Path, metavar="DIRECTORY")
    parser.add_argument("--load", choices=list(LOADS), help="start nodes, and load them with this")
    parser.add_argument("--nodes", type=int, default=1, help="that many; all are sampled")
    parser.add_argument("--connections", type=int, default=30, help="of the load, over all nodes in turn")
    parser.add_argument("--window", type=int, default=50, help="requests under way on each connection")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    if (options.target is None) == (options.load is None):
        parser.error("either a PID or data directory, or --load")
    options.seconds = options.seconds_given or options.seconds
    options.directory = options.directory_given or options.directory
    try:
        return under_load(options) if options.load else attached(options)
    except LookupError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
