"""Goal: whole nodes keep what they promise (C1 to C15) in worlds that break in every way we could think of.

Method: each seed draws a world and its faults, runs production nodes in it below the sockets, with clients that speak ZooKeeper's
protocol, and holds every block and every answer against the model (fastzk/testing/world).  500 seeds run here, of 5,000 events
each instead of 20,000, to be done in three minutes on two cores; `python tools/sim.py` runs fresh ones.  That the checks can fail
is shown by the bug zoo: test_world_zoo.py."""

import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fastzk.testing.world.world import Simulation

ROOT = Path(__file__).resolve().parents[2]
SEED_COUNT = 500
CHUNK = 20
EVENTS = 5_000


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Nodes warn of what befalls them; here that is what it is for."""
    logging.getLogger("fastzk.engine").setLevel(logging.CRITICAL)


def past_seeds() -> list[tuple[int, int]]:
    """Those of world_seeds.txt: (seed, events)."""
    lines = (Path(__file__).parent / "world_seeds.txt").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return [(int(seed), int(events)) for seed, events, *_ in words]


@pytest.mark.parametrize("first", range(0, SEED_COUNT, CHUNK))
def test_no_seed_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + CHUNK):
        simulation = Simulation(seed, events=EVENTS)
        simulation.run()
        assert simulation.events >= EVENTS or simulation.is_out_of_time, f"seed {seed} has only {simulation.events} events"
        assert simulation.judge.last_index > 0, f"seed {seed} commits nothing and so shows nothing"


@pytest.mark.parametrize(("seed", "events"), past_seeds())
def test_what_a_seed_once_found_stays_mended(seed: int, events: int) -> None:
    Simulation(seed, events=events).run()


def test_the_seeds_meet_what_they_are_for() -> None:
    """A swarm in which no session expires or no log is cut would prove little."""
    counts: Counter[str] = Counter()
    for seed in range(40):
        simulation = Simulation(seed, events=EVENTS)
        simulation.run()
        counts.update(simulation.counts)
        counts.update(simulation.judge.counts)
    for kind in (
        "all crash",
        "ambush",
        "bit flip",
        "blocks",
        "client breaks off",
        "client falls silent",
        "clients cut off",
        "clog",
        "crash",
        "disk error armed",
        "drift",
        "epoch full",
        "ends: LogFailed",
        "expired",
        "failed",
        "hand-over",
        "hole seen",
        "leader",
        "log cut",
        "made good",
        "members changed",
        "orderly end",
        "partition both",
        "partition in",
        "partition out",
        "pause",
        "power armed",
        "power gone at the disk",
        "reads",
        "reset",
        "session closed",
        "session expired",
        "session moved",
        "slow disk",
        "snapshot fetched",
        "snapshot loaded",
        "snapshot written",
        "torn tail cut",
        "wall clock step",
        "watch events",
        "wipe",
        "worker dies",
        "writes",
    ):
        assert counts[kind] > 0, f"forty seeds, and none has {kind!r}: {sorted(counts.items())}"


def test_a_seed_gives_the_same_run_whatever_the_hash_seed() -> None:
    """The order of a set of strings changes with PYTHONHASHSEED; nothing that decides may depend on it."""
    command = [sys.executable, str(ROOT / "tools" / "sim.py"), "--seeds", "0:8", "--events", "3000", "--digests"]
    runs = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
        runs.append([line for line in result.stdout.splitlines() if line.startswith("seed ")])
    assert len(runs[0]) == 8
    assert runs[0] == runs[1]
