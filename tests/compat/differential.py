"""The differential test as a command: generated conversations with Apache ZooKeeper and with fastzk, answer by answer.

    make differential                                          20,000 conversations of 50 operations
    python tests/compat/differential.py --seed 4711            one conversation; a difference is printed, and shrunk
    python tests/compat/differential.py --seed 1 --sequences 500 --all     goes on after a difference: one of each kind
    python tests/compat/differential.py --self-check --sequences 500       two ZooKeepers, which must not differ

Exit status: 0 no difference, 1 a difference, 2 ZooKeeper could not be had.  What it does: fastzk.testing.differential."""

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from fastzk.testing import maven
from fastzk.testing.differential.bodies import SUPER
from fastzk.testing.differential.duel import Difference, Duel, shrink
from fastzk.testing.differential.generator import conversation
from fastzk.testing.differential.report import tell
from fastzk.testing.differential.servers import duellists

BUILD = Path(__file__).parents[2] / "build"
PROGRESS_S = 10.0


def main() -> int:
    """Runs the command."""
    options = _parse()
    if options.jobs > 1:
        return _share(options)
    try:
        with duellists(BUILD / "nodes", options.self_check) as addresses, Duel(*addresses, SUPER, options.self_check) as duel:
            return _run(duel, options)
    except maven.Unavailable as missing:
        print(f"ZooKeeper cannot be had: {missing}", file=sys.stderr)
        return 2


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares fastzk with Apache ZooKeeper by generated conversations.")
    parser.add_argument("--seed", type=int, default=1, help="of the first conversation (default 1); the next has the next seed")
    parser.add_argument("--sequences", type=int, default=1, help="how many conversations (default 1)")
    parser.add_argument("--operations", type=int, default=50, help="of each conversation (default 50)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with two servers and a part of the seeds (default 1)")
    parser.add_argument("--self-check", action="store_true", help="compare ZooKeeper with ZooKeeper")
    parser.add_argument("--all", action="store_true", help="go on after a difference, and print the first of each kind")
    parser.add_argument("--whole", action="store_true", help="print conversations as generated; do not shrink them")
    return parser.parse_args()


def _share(options: argparse.Namespace) -> int:
    """Gives each of several processes, with two servers of its own, a part of the seeds."""
    each = -(-options.sequences // options.jobs)
    flags = [
        f"--{name}"
        for name, is_set in (("self-check", options.self_check), ("all", options.all), ("whole", options.whole))
        if is_set
    ]
    jobs = []
    for first in range(0, options.sequences, each):
        numbers = {
            "seed": options.seed + first,
            "sequences": min(each, options.sequences - first),
            "operations": options.operations,
        }
        words = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
        jobs.append(subprocess.Popen([sys.executable, __file__, *words, *flags]))
    return max(job.wait() for job in jobs)


def _run(duel: Duel, options: argparse.Namespace) -> int:
    kinds: Counter[tuple[object, ...]] = Counter()
    began = told = time.monotonic()
    end = options.seed + options.sequences
    for seed in range(options.seed, end):
        difference = duel.judge(conversation(seed, options.operations))
        if difference is not None:
            kinds[difference.signature] += 1
            if kinds[difference.signature] == 1:
                _tell(duel, seed, difference, options)
            if not options.all:
                return 1
        if time.monotonic() - told > PROGRESS_S or seed == end - 1:
            told = time.monotonic()
            rate = duel.operations / (told - began)
            print(f"seed {seed} of {end - 1}: {duel.operations} operations, {rate:.0f}/s, {kinds.total()} differences", flush=True)
    for name, count in duel.allowed.most_common():
        print(f"{count:6} x intended: {name}")
    for signature, count in kinds.most_common():
        print(f"{count:6} x {signature}")
    return 1 if kinds else 0


def _tell(duel: Duel, seed: int, difference: Difference, options: argparse.Namespace) -> None:
    """Prints a conversation that ends with a difference, as short as it can be had."""
    exchanges = duel.exchanges
    if not options.whole:
        played = conversation(seed, options.operations)[: difference.number]

        def shows(fewer: object) -> bool:
            assert isinstance(fewer, list)
            again = duel.play(fewer)
            return again is not None and again.signature == difference.signature

        shortest = shrink(played, shows)
        # The last one played need not be the one that was kept.
        again = duel.play(shortest)
        if again is not None:
            difference, exchanges = again, duel.exchanges
    print(f"---- seed {seed}\n{tell(difference, exchanges)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
