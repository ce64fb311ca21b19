"""The torture of the arena: one writer that never rests, several readers that check every word they are given.

Goal: no read that arena_read_valid lets through is torn, and none reads out of the region, however the processes are
scheduled.  Method: real processes over one memfd, mapped read-only by the readers; everything stored follows from something
else that is read with it (_testing_torture.pyx says how), so that a mixture of two states shows.  A round is one fresh
arena, because its index only splits while it grows.  The run fails on a wrong read, on a process that dies, and also when no
read that lost its race was torn: then nothing was tested.

    python tests/crash/torture_arena.py --reads 100000000 --readers 3
    python tests/crash/torture_arena.py --reads 200000 --unchecked       # must fail: it shows that the checks can
"""

import argparse
import json
import mmap
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fastzk._core import tree
from fastzk._core._testing_torture import Writer, read_many
from fastzk._core.arena import Arena

REGION_BYTES = 1 << 30
READS_PER_ROUND = 4_000_000
FILLERS_MAX = 400_000
PAUSE_TURNS = 64


@dataclass
class Outcome:
    """What a run has seen."""

    reads: int = 0
    writes: int = 0
    lost: int = 0
    waited: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    torn: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, answer: dict[str, Any]) -> None:
        self.reads += answer["reads"]
        self.lost += answer["lost"]
        self.waited += answer["waited"]
        self.wrong.update(answer["wrong"])
        self.torn.update(answer["torn"])

    @property
    def is_good(self) -> bool:
        """Nothing wrong was believed, nothing died, and lost reads had been torn, so the checks had work to do."""
        return not self.wrong and not self.failures and sum(self.torn.values()) > 0


def write(region: int, stop: int, seed: int, pause_turns: int) -> dict[str, Any]:
    """The writer's process: prepares the tree, says so, and writes until it is stopped."""
    arena = Arena.create(mmap.mmap(region, REGION_BYTES))
    tree.format_tree(arena)
    writer = Writer(arena, seed, FILLERS_MAX)
    writer.prepare()
    print("ready", flush=True)
    writes = writer.run(mmap.mmap(stop, mmap.PAGESIZE), pause_turns)
    counters = arena.counters()
    return {"writes": writes, "is_digest_right": counters["digest"] == tree.digest(arena), "counters": counters}


def read(region: int, reads: int, seed: int, is_checked: bool) -> dict[str, Any]:
    """A reader's process."""
    arena = Arena.open(mmap.mmap(region, REGION_BYTES, prot=mmap.PROT_READ))
    return read_many(arena, reads, seed, is_checked)


def start(role: str, descriptors: tuple[int, ...], *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--role", role, *map(str, (*descriptors, *arguments))]
    return subprocess.Popen(command, pass_fds=descriptors, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], outcome: Outcome) -> dict[str, Any] | None:
    """A process's answer; a process that died of anything is a failure."""
    text, _ = process.communicate()
    if process.returncode:
        outcome.failures.append(f"a process ended with {process.returncode}")
        return None
    answer: dict[str, Any] = json.loads(text)
    return answer


def play_round(outcome: Outcome, reads: int, readers: int, seed: int, is_checked: bool, pause_turns: int) -> None:
    """One arena's life, from its format to the check of its digest."""
    region, stop = os.memfd_create("torture"), os.memfd_create("stop")
    try:
        os.ftruncate(region, REGION_BYTES)
        os.ftruncate(stop, mmap.PAGESIZE)
        writer = start("writer", (region, stop), seed, pause_turns)
        assert writer.stdout is not None
        if writer.stdout.readline() == "ready\n":
            share = -(-reads // readers)
            for process in [start("reader", (region,), share, seed * 1000 + i, int(is_checked)) for i in range(1, readers + 1)]:
                answer = ended(process, outcome)
                if answer is not None:
                    outcome.add(answer)
        os.pwrite(stop, b"\1", 0)
        answer = ended(writer, outcome)
        if answer is not None:
            outcome.writes += answer["writes"]
            if not answer["is_digest_right"]:
                outcome.failures.append("the writer's digest is not the tree's")
    finally:
        os.close(region)
        os.close(stop)


def torture(reads: int, readers: int = 2, seed: int = 1, is_checked: bool = True, pause_turns: int = PAUSE_TURNS) -> Outcome:
    """Plays rounds until so many reads were made."""
    outcome = Outcome()
    while outcome.reads < reads and not outcome.failures:
        left = reads - outcome.reads
        play_round(outcome, min(left, READS_PER_ROUND), readers, seed, is_checked, pause_turns)
        seed += 1
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=2_000_000, help="checked reads that won their race, of all readers")
    parser.add_argument("--readers", type=int, default=2, help="reading processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=int, default=PAUSE_TURNS, help="turns the writer rests at most between two writes")
    parser.add_argument("--unchecked", action="store_true", help="believe every read: the run must then fail")
    parser.add_argument("--role", choices=("writer", "reader"), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "writer":
        region, stop, seed, pause_turns = options.arguments
        print(json.dumps(write(region, stop, seed, pause_turns)))
        return 0
    if options.role == "reader":
        region, reads, seed, is_checked = options.arguments
        print(json.dumps(read(region, reads, seed, bool(is_checked))))
        return 0
    begin = time.monotonic()
    outcome = torture(options.reads, options.readers, options.seed, not options.unchecked, options.pause)
    seconds = time.monotonic() - begin
    print(f"{outcome.reads} reads beside {outcome.writes} writes in {seconds:.1f} s with seed {options.seed}")
    print(f"lost races: {outcome.lost}, of which torn: {dict(outcome.torn)}; found the writer inside: {outcome.waited}")
    print(f"wrong: {dict(outcome.wrong)}; failures: {outcome.failures}")
    print("good" if outcome.is_good else "BAD")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
