"""Goal: the consensus keeps Z1 to Z4, election safety and liveness in worlds that break in every way we could think of.

Method: each seed draws a world and its faults and runs the real peers in it, every step judged by the checkers
(fastzk/testing/checkers.py).  A failure names its seed and how to run it again.  The seeds are fixed, so a red run is
red again; tools/sim.py runs fresh ones.  That the checkers can fail is shown by mutants: see test_raft_mutants.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastzk.testing.simulation import Simulation

ROOT = Path(__file__).resolve().parents[2]
SEED_COUNT = 300
CHUNK = 30


def past_seeds() -> list[int]:
    """Those of seeds.txt."""
    lines = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("first", range(0, SEED_COUNT, CHUNK))
def test_no_seed_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + CHUNK):
        simulation = Simulation(seed)
        simulation.run()
        is_idle = simulation.checker.committed_index == 0 and not simulation.world.is_beyond
        assert not is_idle, f"seed {seed} commits nothing and so shows nothing"


@pytest.mark.parametrize("seed", past_seeds())
def test_what_a_seed_once_found_stays_fixed(seed: int) -> None:
    Simulation(seed).run()


def test_the_seeds_meet_what_they_are_for() -> None:
    """A swarm that never truncates, never splits a vote or never fills an epoch would prove little."""
    lines: list[str] = []
    for seed in range(30):
        Simulation(seed, lines.append).run()
    trace = "\n".join(lines)
    for event in (
        "truncates after",
        "crashes",
        "refuses: epoch",
        "stands still",
        "cut both",
        "refuses 1",
        "lost its link",
        "hands over to",
        "TimeoutNow",
        "compacts up to",
        "installs a snapshot",
        "gets a new disk",
        "is sound, by",
        " from 1,2,3",
    ):
        assert event in trace, f"thirty seeds, and none has {event!r}"


def test_a_seed_gives_the_same_run_whatever_the_hash_seed() -> None:
    """The order of a set of strings changes with PYTHONHASHSEED; nothing that decides may depend on it."""
    command = [sys.executable, str(ROOT / "tools" / "sim.py"), "--raft", "--seeds", "0:6", "--digests"]
    runs = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
        runs.append([line for line in result.stdout.splitlines() if line.startswith("seed ")])
    assert len(runs[0]) == 6
    assert runs[0] == runs[1]
