"""`python -m fastzk.testing.chaos`: the command line; see docs/internals/testing.md, "Real processes"."""

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from fastzk.testing.chaos.cycles import parse_cycles, run_cycles, run_lie
from fastzk.testing.chaos.lossy import ShimUnavailable, shim_path
from fastzk.testing.chaos.namespaces import Network, NoNamespaces, enter_own_network
from fastzk.testing.chaos.phases import run_phases
from fastzk.testing.chaos.run import Run, say
from fastzk.testing.ensemble import file_system_of

DIRECTORY = Path("build/chaos")
NODES = 3


def main() -> int:
    """Exit status 0: every promise was kept; 1: one was not, or something failed; 2: this machine cannot do it."""
    options = _parser().parse_args()
    logging.getLogger("fastzk").setLevel(logging.CRITICAL)  # a client tells of each lost connection, and here many are lost
    try:
        cycles = parse_cycles(options.cycles) if options.cycles else {}
        shim_path()
    except (ValueError, ShimUnavailable) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    options.directory.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}, below {options.directory} ({file_system_of(options.directory)})")
    with contextlib.ExitStack() as stack:
        network = None
        if not cycles and not options.loopback and not options.lying:
            try:
                enter_own_network()
                network = stack.enter_context(Network(NODES))
            except NoNamespaces as why:
                say(f"SKIPPED: all faults of the network: {why}")
        title = f"cycles {options.cycles}" if cycles else f"chaos for {options.minutes:g} minutes"
        run = stack.enter_context(Run(options.directory, options.seed, title, [], network=network, rate=options.rate, nodes=NODES))
        try:
            if options.lying:
                run_lie(run)
            elif cycles:
                run_cycles(run, cycles)
            else:
                run_phases(run, options.minutes * 60, set(options.only.split(",")) - {""})
        except KeyboardInterrupt:
            say("stopped: the verdict on what was done so far")
            run.site.heal()
        return report(run)


def report(run: Run) -> int:
    """Judges, and tells."""
    faults = ", ".join(f"{count} {name}" for name, count in sorted(run.faults.items()))
    verdict = run.judge()
    lost = [(node.kills, node.lost) for node in run.site.nodes]
    say(f"faults: {faults or 'none'}")
    say(
        f"{run.crowd.answered:,} answers, {run.crowd.writes:,} writes acknowledged, {run.crowd.unknown:,} unknown; "
        f"longest time without a write {run.gap.longest_s:.2f} s, {run.gap.longest_healed_s:.2f} s after all was healed"
    )
    say(
        f"{sum(kills for kills, _ in lost)} deaths took back {sum(each.writes for _, each in lost):,} writes and "
        f"{sum(each.names for _, each in lost):,} names that were not synced"
    )
    print(verdict, flush=True)
    return 0 if verdict.is_passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastzk.testing.chaos", description=__doc__)
    option = parser.add_argument
    option("--minutes", type=float, default=10.0, help="how long (default %(default)s)")
    option("--seed", type=int, default=1, help="of faults and workload (default %(default)s)")
    option(
        "--cycles", default="", metavar="KIND=N,...", help="kill -9 so often instead, as fast as it goes: kill, leader, all, lossy"
    )
    option("--lying", action="store_true", help="plant a defect instead: disks that lie about a sync; the judges must find it")
    option("--only", default="", metavar="FAULT,...", help="only these faults")
    option("--rate", type=float, default=300.0, help="requests per second, of all clients together (default %(default)s)")
    option("--loopback", action="store_true", help="all nodes on loopback: no faults of the network")
    option("--directory", type=Path, default=DIRECTORY, help="where nodes and histories are kept (default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
