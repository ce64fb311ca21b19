#!/usr/bin/env python3
"""Runs the simulator of the consensus: many seeds, or one with its trace.

python tools/sim.py --seeds 0:300            a range of seeds; stops at the first that fails
python tools/sim.py --seed 17 --trace        one seed, every event printed
python tools/sim.py --seeds 0:300 --digests  one line per seed: its digest, to compare two runs
"""

import argparse
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from fastzk.testing.simulation import Simulation, SimulationFailed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--seeds", default="0:300", help="run from:to, to excluded")
    parser.add_argument("--trace", action="store_true", help="print every event")
    parser.add_argument("--digests", action="store_true", help="print the digest of each seed's trace")
    options = parser.parse_args()
    # A reader that has seen enough, like head, ends the run quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    first, _, end = options.seeds.partition(":")
    seeds = range(int(first), int(end)) if options.seed is None else range(options.seed, options.seed + 1)
    started, events = time.monotonic(), 0
    for seed in seeds:
        simulation = Simulation(seed, print if options.trace else None)
        try:
            digest = simulation.run()
        except SimulationFailed as failure:
            print(failure)
            return 1
        events += simulation.heap.count
        if options.digests or options.seed is not None:
            committed = simulation.checker.committed_index
            print(f"seed {seed} {digest} {simulation.heap.count} events, {committed} committed")
    print(f"{len(seeds)} seeds, {events} events, {time.monotonic() - started:.1f} s, none failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
