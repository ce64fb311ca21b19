"""kill -9, again and again, as fast as the ensemble comes back: `--cycles kill=1000,leader=300,lossy=300,all=100`.

Rules: load goes on all the time.  A kill comes as soon as writes were acknowledged again after the last one, and, in most cycles,
all nodes serve; in the others a kill meets nodes that are still starting.

How it works: kill takes any node, leader the leader, all every node; lossy any node, too.  lossy and all wait until something is
between write and sync: a slow disk makes that likely.  After every kill the disk forgets what was not synced."""

import contextlib
import os
import signal
from collections.abc import Iterable
from random import Random

from fastzk.testing.chaos.nemesis import LEADER_S_MAX
from fastzk.testing.chaos.run import Run, say
from fastzk.testing.chaos.site import ChaosNode
from fastzk.testing.ensemble import POLL_S, wait_for

KINDS = ("kill", "leader", "all", "lossy")
WRITES_BETWEEN = 20  # acknowledged from one kill to the next, at least
BACK_S_MAX = 60.0
IMPATIENT_SHARE = 0.1  # of the cycles do not wait until all serve
SLOW_SYNC_US = 20_000
SAID_EVERY = 50


def parse_cycles(text: str) -> dict[str, int]:
    """kill=1000,all=100 to counts.  Raises ValueError."""
    found: dict[str, int] = {}
    for part in text.split(","):
        kind, _, count = part.partition("=")
        if kind not in KINDS or not count.isdigit():
            raise ValueError(f"--cycles {part!r}: must be one of {', '.join(KINDS)}, with a count as in kill=100")
        found[kind] = int(count)
    return found


def run_cycles(run: Run, counts: dict[str, int]) -> None:
    """All of them, shuffled by the run's seed."""
    random = Random(run.random.random())
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    random.shuffle(kinds)
    for number, kind in enumerate(kinds, 1):
        cycle(run, kind, random)
        if number % SAID_EVERY == 0 or number == len(kinds):
            lost = sum(node.lost.writes for node in run.site.nodes)
            say(
                f"{number} of {len(kinds)} kills; {run.crowd.answered:,} answers, {run.crowd.writes:,} writes acknowledged, "
                f"{run.crowd.unknown:,} unknown; {lost:,} writes not synced were lost; longest gap {run.gap.longest_s:.2f} s"
            )


def cycle(run: Run, kind: str, random: Random) -> None:
    """One kill, and what is needed until writes are acknowledged again."""
    site = run.site
    if kind == "all":
        victims = list(site.nodes)
    elif kind == "leader":
        victims = [wait_for(site.leads, LEADER_S_MAX, "a leader") or site.nodes[0]]
    else:
        victims = [random.choice(site.nodes)]
    if kind in ("lossy", "all"):
        _await_unsynced(victims)
    run.fault(f"kill-{kind}" if kind != "kill" else kind, target=",".join(node.name for node in victims))
    kill_at_once(victims)
    run.site.start_all()
    run.gap.healed()
    enough = run.crowd.writes + WRITES_BETWEEN
    is_patient = random.random() >= IMPATIENT_SHARE

    def is_back() -> bool:
        run.look()
        site._check_alive(site.nodes)
        return run.crowd.writes >= enough and (not is_patient or all(node.mode() for node in victims))

    wait_for(is_back, BACK_S_MAX, "the ensemble to write again after a kill")


def run_lie(run: Run) -> None:
    """The planted defect: disks that say that a sync is done and do nothing, and then lose their power.  The judges must see it."""
    await_writes(run, 10 * WRITES_BETWEEN)
    run.fault("lying-disk")
    for node in run.site.nodes:
        # All of it, or the nodes would see by themselves that their logs are not what they were.
        node.may_lose_parts = False
        node.disk.control.set("is_lying", 1)
    await_writes(run, 10 * WRITES_BETWEEN)
    run.fault("kill-all")
    kill_at_once(run.site.nodes)
    for node in run.site.nodes:
        node.disk.control.heal()
    run.site.start_all()
    await_writes(run, WRITES_BETWEEN)


def await_writes(run: Run, count: int) -> None:
    """Returns when so many more writes were acknowledged."""
    enough = run.crowd.writes + count

    def is_enough() -> bool:
        run.look()
        return run.crowd.writes >= enough

    wait_for(is_enough, BACK_S_MAX, f"{count} more writes")


def kill_at_once(nodes: Iterable[ChaosNode]) -> None:
    """SIGKILL to all processes of these nodes, and what was not synced is gone."""
    nodes = list(nodes)
    for pid in [pid for node in nodes for pid in node.pids()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for node in nodes:
        node.kill9()
        node.settle()


def _await_unsynced(nodes: Iterable[ChaosNode]) -> None:
    """Makes disks slow, and returns when each has something that is written and not synced."""
    controls = [node.disk.control for node in nodes]
    for control in controls:
        control.set("sync_delay_us", SLOW_SYNC_US)
    written = [control.get("writes") for control in controls]
    with contextlib.suppress(TimeoutError):  # a node that is out of work has nothing to lose
        wait_for(lambda: all(c.get("writes") > w for c, w in zip(controls, written, strict=True)), 20 * POLL_S, "writes")
    for control in controls:
        control.set("sync_delay_us", 0)
