#!/usr/bin/env python3
"""Runs the simulators: whole nodes, or with --raft the consensus alone; many seeds, or one with its trace.

python tools/sim.py --seeds 0:300            a range of seeds; stops at the first that fails
python tools/sim.py --seeds 0: --jobs 2 --minutes 60    as many as there is time for, from 0 on, in two processes
python tools/sim.py --seed 17 --trace        one seed, told line by line
python tools/sim.py --shrink 17              the smallest world in which seed 17 fails as it does, and its command
python tools/sim.py --seeds 0:300 --digests  one line per seed: its digest, to compare two runs
python tools/sim.py --seed 17 --events 4000 --set crash=0.0    another length, another world
"""

import argparse
import ast
import logging
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from fastzk.testing import simulation as raft
from fastzk.testing.world import shrink, world
from fastzk.testing.world.draw import Draw

PROGRESS_S = 10.0
# seed, digest or "", events, committed entries, what happened how often, failure or ""
Outcome = tuple[int, str, int, int, dict[str, int], str]


def change_of(settings: Iterable[str]) -> Callable[[Draw], None] | None:
    """What --set asks for."""
    wanted = [text.partition("=")[::2] for text in settings]
    if not wanted:
        return None

    def change(draw: Draw) -> None:
        for name, value in wanted:
            assert hasattr(draw, name), f"--set {name}: a world has no such field"
            setattr(draw, name, ast.literal_eval(value))

    return change


def run_nodes(seed: int, events: int, settings: tuple[str, ...], printer: Callable[[str], None] | None = None) -> Outcome:
    """One seed of whole nodes."""
    logging.disable(logging.CRITICAL)
    simulation = world.Simulation(seed, printer, events=events, change=change_of(settings))
    digest, failure = "", ""
    try:
        digest = simulation.run()
    except world.SimulationFailed as failed:
        failure = str(failed)
    counts = {**simulation.judge.counts, **simulation.counts}
    return seed, digest, simulation.events, simulation.judge.last_index, counts, failure


def run_raft(seed: int, printer: Callable[[str], None] | None = None) -> Outcome:
    """One seed of the consensus alone."""
    simulation = raft.Simulation(seed, printer)
    digest, failure = "", ""
    try:
        digest = simulation.run()
    except raft.SimulationFailed as failed:
        failure = str(failed)
    return seed, digest, simulation.heap.count, simulation.checker.committed_index, {}, failure


def outcomes(run: Callable[[int], Outcome], seeds: Iterable[int], jobs: int, end_s: float) -> Iterator[Outcome]:
    """Runs seeds, in order or in several processes, until the time is over."""
    within = (seed for seed in seeds if time.monotonic() < end_s)
    if jobs == 1:
        yield from map(run, within)
        return
    with multiprocessing.Pool(jobs) as pool:
        # Handed out in pieces, so that the end of the time is seen.
        while piece := list(islice(within, 8 * jobs)):
            yield from pool.imap_unordered(run, piece)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raft", action="store_true", help="the consensus alone")
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--seeds", default="0:300", help="run from:to, to excluded; without to: until --minutes are over")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="find the smallest world in which it fails")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long")
    parser.add_argument("--events", type=int, default=world.EVENTS, help="of each seed, before it is healed")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the world, whatever is drawn")
    parser.add_argument("--trace", action="store_true", help="print what happens")
    parser.add_argument("--digests", action="store_true", help="print the digest of each seed's trace")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first that fails")
    options = parser.parse_args()
    # A reader that has seen enough, like head, ends the run quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if options.shrink is not None:
        print(shrink.shrink(options.shrink, options.events, print))
        return 1
    first, _, end = options.seeds.partition(":")
    seeds: Iterable[int] = range(int(first), int(end)) if end else count(int(first))
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    elif not end and not options.minutes:
        parser.error("--seeds without an end needs --minutes")
    printer = print if options.trace else None
    run: Callable[..., Outcome] = (
        run_raft if options.raft else partial(run_nodes, events=options.events, settings=tuple(options.set))
    )
    if printer is not None:
        run = partial(run, printer=printer)
    return report(run, seeds, options)


def report(run: Callable[[int], Outcome], seeds: Iterable[int], options: argparse.Namespace) -> int:
    """Runs them and says what became of it."""
    started = last = time.monotonic()
    end_s = started + 60 * options.minutes if options.minutes else float("inf")
    done = events = failed = 0
    counts: Counter[str] = Counter()
    for seed, digest, seed_events, committed, seed_counts, failure in outcomes(run, seeds, options.jobs, end_s):
        done, events = done + 1, events + seed_events
        counts.update(seed_counts)
        if failure:
            print(failure, flush=True)
            failed += 1
            if not options.keep_going:
                return 1
        elif options.digests or options.seed is not None:
            print(f"seed {seed} {digest} {seed_events} events, {committed} committed")
        if time.monotonic() - last > PROGRESS_S:
            last = time.monotonic()
            print(progress(done, events, failed, last - started), file=sys.stderr, flush=True)
    if options.seed is None and counts and not options.digests:
        print(", ".join(f"{kind} {number}" for kind, number in sorted(counts.items())))
    verdict = "none failed" if not failed else f"{failed} failed"
    print(f"{done} seeds, {events} events, {time.monotonic() - started:.1f} s, {verdict}")
    return 1 if failed else 0


def progress(done: int, events: int, failed: int, passed_s: float) -> str:
    """One line of how it goes."""
    return f"{done} seeds, {failed} failed, {events} events, {3600 * done / passed_s:,.0f} seeds an hour"


if __name__ == "__main__":
    sys.exit(main())
