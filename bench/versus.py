"""fastzk's figures at a glance: `make bench-vs` (beside Apache ZooKeeper), or with --alone, without it.

It measures as the scenarios do (turns.py, scenarios/versus.py), with any number of nodes and any load, and prints instead of
noting: for each system the median of the turns with the extremes, and fastzk's ratio to each other, taken turn by turn."""

import argparse
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from fastzk.testing.ensemble import file_system_of
from scenarios.versus import SYSTEMS, running, warm_up
from turns import DIRECTORY, MIXES, Load, Outcome, Pace, in_turns

WARM_UP_S = 4.0  # reads, and as long writes


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the extremes behind it."""
    return f"{format(statistics.median(values), form):>11}  ({format(min(values), form)} to {format(max(values), form)})"


def describe(turns: Sequence[Outcome]) -> str:
    """Rates, and the latencies of the median turn."""
    middle = sorted(turns, key=lambda turn: turn.per_second)[len(turns) // 2]
    text = f"{spread([turn.per_second for turn in turns], ',.0f')} per second"
    if middle.p50_us is not None and middle.p99_us is not None:
        text += f"  p50 {middle.p50_us / 1000:.3f} ms, p99 {middle.p99_us / 1000:.3f} ms"
    return text


def compare(size: int, names: Sequence[str], options: argparse.Namespace) -> bool:
    """All loads on ensembles of one size, in turns; prints a line for each.  False when a system was not to be had."""
    more = ["--workers", str(options.workers)] if options.workers else []
    pace = Pace(options.seconds, turns=options.turns)
    with running(names, size, DIRECTORY, more) as (systems, missing):
        if not systems:
            return False
        warm_up(systems, WARM_UP_S)
        for op in options.ops:
            rows: dict[str, list[Outcome]] = {name: [] for name in systems}
            for _, name, outcome in in_turns(systems, Load(op, options.connections, options.window), pace):
                rows[name].append(outcome)
            about = f"{size} node{'s' * (size > 1)}  {op:8}"
            for name, turns in rows.items():
                print(f"{about}  {name:10} {describe(turns)}", flush=True)
            for name in [name for name in rows if name != "fastzk" and "fastzk" in rows]:
                ratios = [ours.per_second / theirs.per_second for ours, theirs in zip(rows["fastzk"], rows[name], strict=True)]
                print(f"{about}  {'ratio':10} {spread(ratios, '.1f')} to {name}", flush=True)
    return not missing


def machine() -> str:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    count = sum(line.startswith("processor") for line in lines)
    return f"{count} x {model}, Linux {platform.release()}, {file_system_of(DIRECTORY)}"


def main() -> int:
    """The command line; exit status 2 when a system could not be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["fastzk", "zookeeper"])
    parser.add_argument("--alone", action="store_true", help="fastzk only")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3], help="nodes")
    parser.add_argument("--ops", nargs="+", choices=list(MIXES), default=["getData", "setData"])
    parser.add_argument("--connections", type=int, default=30)
    parser.add_argument("--window", type=int, default=50, help="requests under way on each connection")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, help="of each fastzk node; its own choice when not given")
    options = parser.parse_args()
    names = ["fastzk"] if options.alone else options.systems
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}\n{options.connections} connections, window {options.window}, values of 100 bytes", flush=True)
    are_whole = [compare(size, names, options) for size in options.sizes]
    return 0 if all(are_whole) else 2


if __name__ == "__main__":
    sys.exit(main())
