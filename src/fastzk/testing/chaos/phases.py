"""The long run: minute after minute a few faults at a time, then everything is healed and must come together again.

Rules: a phase ends with every node serving and the same digest on all; a node that has ended by itself without a reason that a
fault gave it ends the run.  Damage to files comes alone: it counts on the other nodes' disks."""

import time
from random import Random

from fastzk.testing.chaos.cycles import await_writes
from fastzk.testing.chaos.disk_faults import DAMAGE_FAULTS, DISK_FAULTS
from fastzk.testing.chaos.nemesis import FAULTS, Fault, heal
from fastzk.testing.chaos.run import Run, say

PHASE_S = 60.0
FAULT_S = (0.1, 10.0)
PAUSE_S = (0.5, 4.0)  # between two rounds of faults
WRITES_AFTER = 50


def faults_here(run: Run) -> list[type[Fault]]:
    """All that this machine allows."""
    return [fault for fault in (*FAULTS, *DISK_FAULTS, *DAMAGE_FAULTS) if run.site.network is not None or not fault.needs_network]


def run_phases(run: Run, seconds: float, only: set[str]) -> None:
    """Phases, until the time is up."""
    table = [fault for fault in faults_here(run) if not only or fault.name in only]
    random = Random(run.random.random())
    deck: list[type[Fault]] = []
    ends_s = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends_s:
        number += 1
        names = _phase(run, table, deck, random, min(time.monotonic() + PHASE_S, ends_s))
        digest = run.quiesce()
        say(
            f"phase {number}: {' '.join(names)}; {run.crowd.answered:,} answers, {run.crowd.unknown:,} unknown, "
            f"longest gap {run.gap.longest_s:.2f} s, healed {run.gap.longest_healed_s:.2f} s, digest {digest[:16]}"
        )
        run.crowd.resume()
        run.gap.begin()


def _phase(run: Run, table: list[type[Fault]], deck: list[type[Fault]], random: Random, ends_s: float) -> list[str]:
    """Rounds of one to three faults at a time; gives their names."""
    names: list[str] = []
    while time.monotonic() < ends_s:
        faults: list[Fault] = []
        for _ in range(random.choice((1, 1, 2, 3))):
            if not deck:
                deck += random.sample(table, len(table))
            kind = deck.pop()
            if kind.is_alone and faults:
                deck.insert(0, kind)
                continue
            faults.append(kind(run, random))
            if kind.is_alone:
                break
        names.append("+".join(fault.name for fault in faults))
        for fault in faults:
            fault.begin()
            let_pass(run, random.uniform(0.0, 1.0))
        let_pass(run, random.uniform(*FAULT_S) if random.random() < 0.5 else random.uniform(FAULT_S[0], 2.0))
        heal(run, faults)
        await_writes(run, WRITES_AFTER)
        let_pass(run, random.uniform(*PAUSE_S))
    return names


def let_pass(run: Run, seconds: float) -> None:
    """Time for a fault to be felt."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        run.look()
        time.sleep(0.02)
