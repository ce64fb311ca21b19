"""What kind of world a seed draws for the simulator of the consensus.

Rule: a swarm: each fault is in some of the worlds only, at a rate of its own, so no two seeds have the same ones."""

from dataclasses import dataclass, replace
from random import Random

from fastzk.raft.settings import Limits
from fastzk.testing.network import NetworkFaults


@dataclass(slots=True)
class World:
    """What a seed has drawn.  Rates are chances per second unless they say otherwise."""

    voters: int
    observers: int
    network: NetworkFaults
    limits: Limits
    election_ticks: int
    sync_us: int
    slow_sync: float
    # A report of the log thread may come this late.
    report_us: int
    proposals_per_second: int
    # Proposals that reach one node at once.
    burst: int
    crash: float
    crash_all: float
    pause: float
    partition: float
    hole: float
    reset: float
    # The longest time that a node is down or still, or a link is cut.
    outage_us: int
    # Chance that something befalls a candidate or a new leader: what it could not finish is what hurts later.
    ambush: float
    # Chance that a turn is cut short by a crash, and that the end of a node's link is noticed.
    turn_crash: float
    notice: float
    # What changes the ensemble itself; see upheaval.py.  Spares are nodes that are not of it at first.
    spares: int = 0
    change: float = 0.0
    transfer: float = 0.0
    compact: float = 0.0
    wipe: float = 0.0
    # More disks may be wiped than a minority: then nobody may ever be told anything wrong, and no more is asked.
    is_beyond: bool = False


def draw_world(random: Random) -> World:
    """Each fault is in about half of the worlds, at a rate of its own."""

    def maybe(low: float, high: float, chance: float = 0.5) -> float:
        return random.uniform(low, high) if random.random() < chance else 0.0

    network = NetworkFaults(
        delay_us=random.choice((100, 300, 2_000)),
        jitter_us=random.choice((0, 300, 5_000)),
        loss=maybe(0.001, 0.2),
        repeat=maybe(0.001, 0.2),
        reorder=maybe(0.001, 0.3),
        late_us=random.choice((5_000, 50_000, 500_000)),
        is_cut_holding=random.random() < 0.5,
    )
    limits = Limits(
        window_bytes_max=random.choice((0, 1_000, 64 << 20)),
        append_bytes_max=random.choice((1, 300, 1 << 20)),
        probe_bytes_max=random.choice((1, 200, 1 << 16)),
        inflight_bytes_max=random.choice((100, 1_000, 16 << 20)),
        inflight_count_max=random.choice((1, 4, 1024)),
        uncommitted_bytes_max=random.choice((500, 128 << 20)),
        apply_bytes_max=random.choice((1, 500, 16 << 20)),
        counter_max=random.choice((30, 200, (1 << 32) - 1)),
    )
    world = World(
        voters=random.choice((1, 2, 3, 3, 3, 3, 4, 5, 5)),
        observers=random.choice((0, 0, 0, 1)),
        network=network,
        limits=limits,
        election_ticks=random.choice((3, 5, 10)),
        sync_us=random.choice((50, 500, 5_000)),
        slow_sync=maybe(0.01, 0.2),
        report_us=random.choice((100, 3_000, 100_000)),
        proposals_per_second=random.choice((50, 200, 500)),
        burst=random.choice((1, 1, 5, 20)),
        crash=maybe(0.3, 4.0),
        crash_all=maybe(0.2, 1.0, 0.3),
        pause=maybe(0.3, 3.0),
        partition=maybe(0.3, 3.0),
        hole=maybe(0.5, 10.0),
        reset=maybe(0.5, 5.0),
        outage_us=random.choice((100_000, 900_000)),
        ambush=maybe(0.1, 0.9),
        turn_crash=maybe(0.0005, 0.01, 0.4),
        notice=random.choice((0.0, 0.5, 1.0)),
    )
    return _feuding(world, random) if random.random() < 0.3 else world


def add_upheaval(world: World, random: Random) -> None:
    """Half of the worlds stay what they are; in the others the ensemble itself changes."""
    if random.random() < 0.5:
        return

    def maybe(low: float, high: float, chance: float = 0.6) -> float:
        return random.uniform(low, high) if random.random() < chance else 0.0

    world.change = maybe(1.0, 15.0)
    world.spares = random.choice((1, 2, 3)) if world.change else 0
    world.transfer = maybe(0.5, 8.0)
    world.compact = maybe(1.0, 20.0)
    world.wipe = maybe(0.3, 4.0)
    world.is_beyond = random.random() < 0.1
    if world.is_beyond:
        world.wipe = random.uniform(1.0, 6.0)


def _feuding(world: World, random: Random) -> World:
    """A world of many short reigns, each of which leaves something half done: where histories part most often."""
    network = replace(world.network, delay_us=random.choice((1_000, 5_000)), loss=0.0, late_us=50_000)
    return replace(
        world,
        network=network,
        voters=random.choice((3, 3, 5)),
        limits=replace(world.limits, append_bytes_max=1, inflight_count_max=random.choice((1, 1024))),
        election_ticks=3,
        sync_us=random.choice((50, 500)),
        slow_sync=0.0,
        report_us=random.choice((100, 100, 100_000)),
        proposals_per_second=100,
        crash=world.crash / 2,
        crash_all=0.0,
        outage_us=80_000,
        ambush=random.uniform(0.7, 1.0),
    )
