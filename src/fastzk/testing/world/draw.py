"""What kind of world a seed draws: a swarm, in which no two seeds have the same faults.

Each fault is on in about half of the worlds, at a rate of its own; one world in six is calm, so that what only shows when
nothing interferes (an expiry that comes too early) is seen, too.  Rates are chances per second unless they say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from fastzk.node.snapshots import SnapshotPace
from fastzk.raft.settings import Limits
from fastzk.testing.disk import CRASH_MODES, CrashMode
from fastzk.testing.network import NetworkFaults

# What tools/sim.py --shrink may turn off, one after the other: the field's name and the value that is "off".
FAULTS: tuple[tuple[str, object], ...] = (
    ("crash", 0.0),
    ("crash_all", 0.0),
    ("crash_at_disk", 0.0),
    ("disk_error", 0.0),
    ("slow_sync", 0.0),
    ("pause", 0.0),
    ("partition", 0.0),
    ("clog", 0.0),
    ("hole", 0.0),
    ("reset", 0.0),
    ("worker_death", 0.0),
    ("client_cut", 0.0),
    ("drift", 0.0),
    ("wall_step", 0.0),
    ("wipe", 0.0),
    ("leave", 0.0),
    ("observers", 0),
    ("reconfig", 0.0),
    ("bit_flip", 0.0),
    ("ambush", 0.0),
    ("client_break", 0.0),
    ("client_silence", 0.0),
    ("client_close", 0.0),
    ("big_data", 0),
    ("is_numbered", True),
)


@dataclass(slots=True)
class Draw:
    """What a seed has drawn."""

    voters: int = 3
    workers: int = 1
    network: NetworkFaults = field(default_factory=NetworkFaults)
    # Links drop what their numbers show to be repeated or late, as the real ones do; else the consensus sees it.
    is_numbered: bool = True
    notice: float = 1.0  # that the end of a node's link is noticed
    sync_us: int = 500
    slow_sync: float = 0.0
    crash_modes: tuple[CrashMode, ...] = CRASH_MODES
    segment_bytes_max: int = 64 << 20
    peer_limits: Limits = field(default_factory=Limits)
    election_ticks: int = 16
    pace: SnapshotPace = field(default_factory=SnapshotPace)
    observers: int = 0
    turn_lags_us: tuple[int, ...] = (0, 0, 30, 200)
    worker_lags_us: tuple[int, ...] = (0, 0, 50)
    tick_time_ms: int = 2000
    timeouts_ms: tuple[int, ...] = (4000,)
    clients: int = 4
    client_pause_us: int = 30_000
    client_window: int = 4
    client_burst: int = 1
    client_delay_us: int = 300
    reads: float = 0.5
    big_data: int = 0
    client_break: float = 0.0  # of what a client does; so are the next two
    client_silence: float = 0.0
    client_close: float = 0.0
    crash: float = 0.0
    crash_all: float = 0.0
    crash_at_disk: float = 0.0  # the power goes at one of the next operations of a disk
    disk_error: float = 0.0
    pause: float = 0.0
    partition: float = 0.0
    clog: float = 0.0
    hole: float = 0.0
    reset: float = 0.0
    worker_death: float = 0.0
    client_cut: float = 0.0
    drift: float = 0.0  # of clocks, as a part of their rate
    wall_step: float = 0.0
    wipe: float = 0.0  # of a voter's whole disk; never more than a minority is without what it had
    bit_flip: float = 0.0  # of a byte in a stored file, within the same bound
    reconfig: float = 0.0  # that the operator, when it does something, changes the members
    leave: float = 0.0  # a node ends in order, a leader hands over before
    ambush: float = 0.0  # that something befalls a new leader
    # The longest time that a node is down or still, or a link is cut.
    outage_us: int = 500_000

    @property
    def is_calm(self) -> bool:
        """Whether sessions may only expire because their clients are silent."""
        return not (self.network.loss or self.network.reorder or self.network.repeat)


def draw_world(random: Random) -> Draw:
    """The world of a seed."""
    maybe = partial(_maybe, random)
    is_calm = random.random() < 0.17
    network = NetworkFaults(
        delay_us=random.choice((100, 300, 2_000)),
        jitter_us=random.choice((0, 300, 5_000)),
        loss=0.0 if is_calm else maybe(0.001, 0.2, 0.3),
        repeat=0.0 if is_calm else maybe(0.001, 0.2, 0.3),
        reorder=0.0 if is_calm else maybe(0.001, 0.2, 0.3),
        late_us=random.choice((5_000, 50_000, 500_000)),
        is_cut_holding=random.random() < 0.5,
    )
    drawn = Draw(
        voters=random.choice((1, 2, 3, 3, 3, 3, 5)),
        workers=random.choice((1, 1, 2)),
        network=network,
        is_numbered=random.random() < 0.7,
        notice=random.choice((0.0, 0.5, 1.0)),
        sync_us=random.choice((50, 500, 5_000)),
        slow_sync=maybe(0.01, 0.1),
        crash_modes=CRASH_MODES if random.random() < 0.7 else (random.choice(CRASH_MODES),),
        segment_bytes_max=random.choice((1_500, 6_000, 64 << 20)),
        peer_limits=_draw_limits(random),
        election_ticks=random.choice((5, 10, 16)),
        pace=SnapshotPace(entries=random.choice((20, 60, 300, 1_000_000)), kept=random.choice((1, 2, 3))),
        observers=random.choice((0, 0, 0, 1)),
        turn_lags_us=random.choice(((0,), (0, 0, 30, 200), (0, 1_000, 5_000))),
        worker_lags_us=random.choice(((0, 0, 50), (0, 300, 3_000), (0, 0, 20_000))),
        tick_time_ms=random.choice((1000, 2000)),
        clients=random.choice((2, 4, 6)),
        client_pause_us=random.choice((10_000, 30_000, 60_000)),
        client_window=random.choice((1, 4, 12)),
        client_burst=random.choice((1, 1, 4)),
        client_delay_us=random.choice((50, 300, 3_000)),
        reads=random.choice((0.2, 0.5, 0.7)),
        big_data=random.choice((0, 0, 3_000)),
        client_break=maybe(0.001, 0.01),
        client_silence=maybe(0.001, 0.01),
        client_close=maybe(0.001, 0.01),
        worker_death=maybe(0.05, 0.3),
        client_cut=maybe(0.05, 0.5),
        drift=maybe(0.01, 0.2),
        wall_step=maybe(0.05, 0.5),
        outage_us=random.choice((100_000, 900_000, 5_000_000)),
    )
    drawn.timeouts_ms = tuple(2 * drawn.tick_time_ms * factor for factor in (1, 2))
    if not is_calm:
        _draw_faults(drawn, random)
    if drawn.voters >= 3 and random.random() < 0.25:
        # Which disks may be lost is counted for the members of the beginning: here none are.
        drawn.reconfig = random.uniform(0.01, 0.1)
        drawn.wipe = drawn.bit_flip = 0.0
    return drawn


def _maybe(random: Random, low: float, high: float, chance: float = 0.5) -> float:
    """A rate, or none."""
    return random.uniform(low, high) if random.random() < chance else 0.0


def _draw_limits(random: Random) -> Limits:
    """Of the consensus: absurdly small, or as in real nodes."""
    return Limits(
        window_bytes_max=random.choice((0, 2_000, 64 << 20)),
        append_bytes_max=random.choice((1, 600, 1 << 20)),
        probe_bytes_max=random.choice((1, 400, 1 << 16)),
        inflight_bytes_max=random.choice((1_000, 16 << 20)),
        inflight_count_max=random.choice((1, 4, 1024)),
        uncommitted_bytes_max=random.choice((2_000, 128 << 20)),
        apply_bytes_max=random.choice((1, 1_000, 16 << 20)),
        counter_max=random.choice((60, 300, (1 << 32) - (1 << 16))),
    )


def _draw_faults(drawn: Draw, random: Random) -> None:
    """What befalls a world that is not calm."""
    maybe = partial(_maybe, random)
    drawn.crash = maybe(0.1, 1.0)
    drawn.crash_all = maybe(0.05, 0.3, 0.3)
    drawn.crash_at_disk = maybe(0.1, 1.0)
    drawn.disk_error = maybe(0.02, 0.2, 0.3)
    drawn.pause = maybe(0.1, 1.0)
    drawn.partition = maybe(0.1, 1.0)
    drawn.clog = maybe(0.05, 0.5, 0.3)
    drawn.hole = maybe(0.2, 3.0)
    drawn.reset = maybe(0.2, 2.0)
    drawn.ambush = maybe(0.1, 0.9, 0.3)
    drawn.wipe = maybe(0.05, 0.3, 0.3)
    drawn.bit_flip = maybe(0.05, 0.5, 0.3)
    drawn.leave = maybe(0.05, 0.5, 0.3)
    if random.random() < 0.3:
        _feud(drawn, random)


def _feud(drawn: Draw, random: Random) -> None:
    """A world of many short reigns, each of which leaves something half done: where histories part most often."""
    drawn.voters = random.choice((3, 3, 5))
    drawn.network.delay_us = random.choice((1_000, 5_000))
    drawn.network.loss = 0.0
    drawn.election_ticks = 3
    drawn.slow_sync = 0.0
    drawn.client_pause_us = 10_000
    drawn.peer_limits = replace(drawn.peer_limits, append_bytes_max=1, inflight_count_max=random.choice((1, 1024)))
    drawn.crash_all = 0.0
    drawn.outage_us = 400_000
    drawn.ambush = random.uniform(0.7, 1.0)
