"""A whole ensemble in one process and in simulated time, run from one number.

Rule: the number and the code fix the run, byte for byte.  Each concern draws from a generator of its own, so that a
change in one does not move the others' chances.  Rule: the peers are the real ones; only the world around is simulated.

A run first draws what kind of world it is (a swarm: no two seeds have the same faults), then has two phases.  Safety:
clients propose while nodes crash, stall and lose each other; the checkers watch every step.  Liveness: everything is
healed; within a bounded time there must be one leader, equal logs, and a fresh proposal must be committed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from fastzk.raft.peer import (
    Append,
    AppendReply,
    Busy,
    EpochFull,
    Limits,
    Membership,
    Message,
    NotLeader,
    Peer,
    Range,
    Ready,
    Role,
    TimeoutNow,
    Vote,
)
from fastzk.testing.checkers import RaftChecker, Violation, ensure
from fastzk.testing.events import EventHeap, Trace
from fastzk.testing.network import NetworkFaults, SimNetwork
from fastzk.testing.range_disk import RangeDisk, Report

TICK_US = 10_000
SAFETY_US = 4_000_000
# Enough for several elections in a row and for the longest catch-up.
LIVENESS_US = 6_000_000
LIVENESS_POLL_US = 100_000


class SimulationFailed(AssertionError):  # noqa: N818
    """A seed broke an invariant.  Says which, how to run it again, and what happened last."""


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


class SimNode:
    """One node: a peer while it is up, and the disk that stays."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.disk = RangeDisk()
        self.peer: Peer | None = None
        self.incarnation = 0
        self.resumes_us = 0
        self.is_turn_planned = False
        # What this incarnation proposed and has not seen committed: last index -> range.
        self.proposed: dict[int, Range] = {}


class Simulation:
    """One run.  run() returns the digest of its trace, or raises SimulationFailed."""

    def __init__(self, seed: int, print_line: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.heap = EventHeap()
        self.trace = Trace(self.heap, print_line)
        self.world = draw_world(Random(f"{seed}/world"))
        self._faults = Random(f"{seed}/faults")
        self._disk_chance = Random(f"{seed}/disk")
        self._client_chance = Random(f"{seed}/clients")
        self._turn_chance = Random(f"{seed}/turns")
        self._is_healed = False
        self._proposal_count = 0
        self.network = SimNetwork(self.heap, Random(f"{seed}/network"), self.world.network, self._deliver)
        count = self.world.voters + self.world.observers
        self.nodes = {node_id: SimNode(node_id) for node_id in range(1, count + 1)}
        self._voters = tuple(range(1, self.world.voters + 1))
        self._observers = tuple(range(self.world.voters + 1, count + 1))
        disks = {node_id: node.disk for node_id, node in self.nodes.items()}
        voter_disks = {node_id: disks[node_id] for node_id in self._voters}
        self.checker = RaftChecker(self.world.voters // 2 + 1, voter_disks, disks)

    # The run.

    def run(self) -> str:
        """Both phases.  Raises SimulationFailed."""
        try:
            self.trace.line(f"world {self.world}")
            for node in self.nodes.values():
                self._start(node)
            self._plan_client()
            self._plan_fault()
            self.heap.run_until(SAFETY_US)
            self._heal()
            self._await_liveness()
            self.checker.on_end({node_id: node.disk for node_id, node in self.nodes.items()})
        except Exception as error:
            tail = "\n".join(self.trace.last_lines)
            replay = f"python tools/sim.py --seed {self.seed} --trace"
            raise SimulationFailed(f"seed {self.seed}: {type(error).__name__}: {error}\n{tail}\nreplay: {replay}") from error
        self.trace.line(f"end after {self.heap.count} events, committed {self.checker.committed_index}")
        return self.trace.digest()

    def leader(self) -> SimNode | None:
        """The node that leads the highest epoch, if one does."""
        leading = [node for node in self.nodes.values() if node.peer is not None and node.peer.role is Role.LEADER]
        return max(leading, key=lambda node: node.peer.epoch if node.peer is not None else 0, default=None)

    def _heal(self) -> None:
        self.trace.line("heal")
        self._is_healed = True
        self.network.heal()
        self.world.slow_sync = self.world.turn_crash = 0.0
        self.world.sync_us = self.world.report_us = 100
        for node in self.nodes.values():
            node.resumes_us = 0
            self._start(node)

    def _await_liveness(self) -> None:
        end_us = self.heap.now_us + LIVENESS_US
        while not self._is_settled():
            ensure(self.heap.now_us < end_us, "liveness", f"no agreement {LIVENESS_US} us after the faults ended")
            self.heap.run_until(self.heap.now_us + LIVENESS_POLL_US)
        fresh_index = None
        while fresh_index is None or not self._is_settled() or self.checker.committed_index < fresh_index:
            ensure(self.heap.now_us < end_us, "liveness", f"fresh proposal at {fresh_index} is not committed")
            leader = self.leader()
            if fresh_index is None and leader is not None:
                fresh_index = self._propose(leader, 1)
            self.heap.run_until(self.heap.now_us + LIVENESS_POLL_US)

    def _is_settled(self) -> bool:
        """Whether one leads, all follow it, and all have delivered and synced the same to the end."""
        leader = self.leader()
        if leader is None or leader.peer is None:
            return False
        end = leader.peer.last_index
        return all(
            node.peer is not None
            and node.peer.leader_id == leader.node_id
            and node.peer.last_index == node.peer.synced_index == node.peer.applied_index == end
            for node in self.nodes.values()
        )

    # One node.

    def _start(self, node: SimNode) -> None:
        if node.peer is not None:
            return
        node.incarnation += 1
        epoch, vote = node.disk.hard_state
        random = Random(f"{self.seed}/peer/{node.node_id}/{node.incarnation}")
        self.trace.line(f"{node.node_id} starts, epoch {epoch}, vote {vote}, last {node.disk.last_index}")
        node.peer = Peer(
            node.node_id,
            Membership(self._voters, self._observers),
            log=node.disk,
            epoch=epoch,
            vote=vote,
            random=random,
            election_ticks=self.world.election_ticks,
            limits=self.world.limits,
        )
        self.checker.on_start(node.node_id)
        period_us = TICK_US + random.randint(-TICK_US // 10, TICK_US // 10)
        self.heap.after(random.randint(0, period_us), self._tick, node, node.incarnation, period_us)
        self._plan_turn(node)

    def _crash(self, node: SimNode) -> None:
        if node.peer is None:
            return
        node.peer = None
        node.proposed.clear()
        lost = node.disk.crash(self._disk_chance)
        self.trace.line(f"{node.node_id} crashes, {lost} orders lost, last {node.disk.last_index}")
        for other in self.nodes.values():
            if self._faults.random() < self.world.notice:
                self.heap.after(self._faults.randint(50, 2_000), self._notice_loss, other, node.node_id)
        if self._is_healed:
            self._start(node)
        else:
            self.heap.after(self._outage_us(), self._start, node)

    def _tick(self, node: SimNode, incarnation: int, period_us: int) -> None:
        if node.peer is None or node.incarnation != incarnation:
            return
        if self._is_running(node):
            node.peer.tick()
            self._plan_turn(node)
        self.heap.after(period_us, self._tick, node, incarnation, period_us)

    def _is_running(self, node: SimNode) -> bool:
        return node.peer is not None and node.resumes_us <= self.heap.now_us

    def _plan_turn(self, node: SimNode) -> None:
        """A turn comes a little after what caused it, so that several causes share one."""
        if not node.is_turn_planned:
            node.is_turn_planned = True
            self.heap.after(self._turn_chance.choice((0, 0, 30, 200)), self._turn, node, node.incarnation)

    def _turn(self, node: SimNode, incarnation: int) -> None:
        node.is_turn_planned = False
        if node.incarnation != incarnation or not self._is_running(node):
            if node.peer is not None:
                self.heap.after(max(0, node.resumes_us - self.heap.now_us), self._plan_turn, node)
            return
        while node.peer is not None:
            ready = node.peer.ready()
            if ready is None:
                break
            self._obey(node, node.peer, ready)
        if node.peer is not None:
            self.checker.on_turn(node.node_id, node.peer)

    def _obey(self, node: SimNode, peer: Peer, ready: Ready) -> None:
        """Does what a Ready says, in its order; a crash may come before each step."""
        if ready.soft is not None:
            self.trace.line(f"{node.node_id} is {ready.soft.role.value} in {ready.soft.epoch} of {ready.soft.leader_id}")
        if ready.hard_state is not None:
            if self._crashes_here(node):
                return
            node.disk.hard_state = ready.hard_state
            self.trace.line(f"{node.node_id} persists {ready.hard_state}")
            if peer.role is Role.CANDIDATE:
                self._maybe_ambush(node)
        if ready.is_new_leader:
            self.checker.on_leader(node.node_id, peer)
            self._propose(node, 1)
            self._maybe_ambush(node)
        node.disk.order(ready.truncate_after, ready.append, ready.generation)
        if ready.truncate_after is not None:
            self.trace.line(f"{node.node_id} truncates after {ready.truncate_after}")
        self._begin_sync(node)
        for receiver, message in ready.messages:
            if self._crashes_here(node):
                return
            self.checker.on_send(node.node_id, receiver, message)
            self.network.send(node.node_id, receiver, message)
        for entries in ready.committed:
            self._apply(node, peer, entries)

    def _crashes_here(self, node: SimNode) -> bool:
        if self.world.turn_crash and self._turn_chance.random() < self.world.turn_crash:
            self._crash(node)
            return True
        return False

    def _apply(self, node: SimNode, peer: Peer, entries: Range) -> None:
        self.trace.line(f"{node.node_id} applies {short(entries)}")
        self.checker.on_committed(node.node_id, peer, entries)
        proposed = node.proposed.pop(entries.last_index, None)
        if proposed is not None and proposed.epoch == entries.epoch:
            self.checker.on_acknowledged(proposed)
        peer.applied(entries.last_index)

    def _deliver(self, sender: int, receiver: int, message: Message) -> None:
        node = self.nodes[receiver]
        if node.peer is None:
            return
        if not self._is_running(node):
            self.heap.after(node.resumes_us - self.heap.now_us, self._deliver, sender, receiver, message)
            return
        self.trace.line(f"{receiver} gets {short(message)}")
        node.peer.step(message)
        self._plan_turn(node)

    def _notice_loss(self, node: SimNode, lost: int) -> None:
        if node.peer is not None and node.node_id != lost:
            self.trace.line(f"{node.node_id} lost its link to {lost}")
            node.peer.peer_lost(lost)
            self._plan_turn(node)

    # The disk.

    def _begin_sync(self, node: SimNode) -> None:
        if node.disk.begin_sync():
            duration_us = self._disk_chance.randint(self.world.sync_us // 2, self.world.sync_us)
            if self._disk_chance.random() < self.world.slow_sync:
                duration_us += self._disk_chance.randint(10_000, 400_000)
            self.heap.after(duration_us, self._end_sync, node, node.disk.incarnation)

    def _end_sync(self, node: SimNode, incarnation: int) -> None:
        if node.disk.incarnation != incarnation:
            return
        report = node.disk.end_sync()
        if report is not None:
            delay_us = self._disk_chance.choice((0, 100, self.world.report_us))
            self.heap.after(delay_us, self._report, node, node.incarnation, report)
        self._begin_sync(node)

    def _report(self, node: SimNode, incarnation: int, report: Report) -> None:
        if node.peer is None or node.incarnation != incarnation:
            return
        if not self._is_running(node):
            self.heap.after(node.resumes_us - self.heap.now_us, self._report, node, incarnation, report)
            return
        self.trace.line(f"{node.node_id} synced {report}")
        node.peer.synced(*report)
        self._plan_turn(node)

    # The clients.

    def _plan_client(self) -> None:
        mean_us = 1_000_000 * self.world.burst // self.world.proposals_per_second
        self.heap.after(self._client_chance.randint(0, 2 * mean_us), self._client)

    def _client(self) -> None:
        if self._is_healed:
            return
        node = self.nodes[self._client_chance.randint(1, len(self.nodes))]
        for _ in range(self._client_chance.randint(1, self.world.burst)):
            if self._is_running(node):
                self._propose(node, self._client_chance.choice((1, 1, 2, 7)))
        self._plan_client()

    def _propose(self, node: SimNode, count: int) -> int | None:
        """Proposes at this node; returns the last index, or None if it was refused."""
        assert node.peer is not None, f"node {node.node_id} is down"
        self._proposal_count += 1
        payload = b"%d." % self._proposal_count * self._client_chance.choice((1, 5, 40))
        try:
            entries = node.peer.propose(count, payload)
        except (NotLeader, Busy, EpochFull) as refusal:
            if not isinstance(refusal, NotLeader):
                self.trace.line(f"{node.node_id} refuses: {refusal}")
            self._plan_turn(node)
            return None
        self.trace.line(f"{node.node_id} proposes {short(entries)}")
        node.proposed[entries.last_index] = entries
        self._plan_turn(node)
        return entries.last_index

    # The faults.

    def _plan_fault(self) -> None:
        self.heap.after(self._faults.randint(1_000, 40_000), self._fault)

    def _fault(self) -> None:
        """Every 20 ms on average; each kind comes with its own rate."""
        if self._is_healed:
            return
        world = self.world
        for rate, happens in (
            (world.crash, self._crash_one),
            (world.crash_all, self._crash_all),
            (world.pause, self._pause_one),
            (world.partition, self._partition),
            (world.hole, self._make_hole),
            (world.reset, self._reset_link),
        ):
            if self._faults.random() < rate / 50:
                happens()
        self._plan_fault()

    def _outage_us(self) -> int:
        return self._faults.randint(1_000, self._faults.choice((10_000, self.world.outage_us)))

    def _any_node(self) -> SimNode:
        return self.nodes[self._faults.randint(1, len(self.nodes))]

    def _crash_one(self) -> None:
        leader = self.leader()
        self._crash(leader if leader is not None and self._faults.random() < 0.5 else self._any_node())

    def _crash_all(self) -> None:
        self.trace.line("all crash")
        for node in self.nodes.values():
            self._crash(node)

    def _pause_one(self) -> None:
        self._pause(self._any_node())

    def _pause(self, node: SimNode) -> None:
        node.resumes_us = self.heap.now_us + self._outage_us()
        self.trace.line(f"{node.node_id} stands still until {node.resumes_us}")

    def _partition(self) -> None:
        """Cuts all links between two random sides, in both directions or in one."""
        self._cut_around([node_id for node_id in self.nodes if self._faults.random() < 0.5])

    def _maybe_ambush(self, node: SimNode) -> None:
        if not self._is_healed and self._faults.random() < self.world.ambush:
            self.heap.after(self._faults.choice((0, self._faults.randint(0, 30_000))), self._ambush, node)

    def _ambush(self, node: SimNode) -> None:
        """The node crashes, stands still, or is left alone or with one other."""
        if self._is_healed:
            return
        kind = self._faults.choice(("crash", "pause", "alone", "with one"))
        if kind == "crash":
            self._crash(node)
        elif kind == "pause":
            self._pause(node)
        else:
            side = [node.node_id] if kind == "alone" else sorted({node.node_id, self._any_node().node_id})
            self._cut_around(side)

    def _cut_around(self, side: list[int]) -> None:
        ways = self._faults.choice(("both", "out", "in"))
        self.trace.line(f"cut {ways} around {side}")
        for inner in side:
            for outer in self.nodes:
                if outer not in side:
                    if ways != "in":
                        self.network.cut(inner, outer)
                    if ways != "out":
                        self.network.cut(outer, inner)
        self.heap.after(self._outage_us(), self.network.mend)

    def _make_hole(self) -> None:
        first, second = self._any_node().node_id, self._any_node().node_id
        self.trace.line(f"hole from {first} to {second}")
        self.network.break_link(first, second)

    def _reset_link(self) -> None:
        first, second = self._any_node(), self._any_node()
        if first is second:
            return
        self.trace.line(f"link {first.node_id} - {second.node_id} is closed")
        for one, other in ((first, second), (second, first)):
            self.network.break_link(one.node_id, other.node_id)
            if self._is_running(one):
                self._notice_loss(one, other.node_id)


def short(what: Message | Range) -> str:
    """One message or range, as a trace shows it."""
    if isinstance(what, Range):
        members = f" {short_membership(what.membership)}" if what.membership is not None else ""
        return f"{what.first_index}..{what.last_index}@{what.epoch} {what.first_zxid:#x}{members}"
    if isinstance(what, Append):
        ranges = " ".join(short(entries) for entries in what.ranges)
        after = f"after {what.previous_index}@{what.previous_epoch}"
        return f"Append {what.sender} e{what.epoch} {after} committed {what.committed_index} #{what.probe} [{ranges}]"
    if isinstance(what, AppendReply):
        verdict = f"refuses {what.index}, hint {what.hint_index}@{what.hint_epoch}" if what.is_rejected else f"has {what.index}"
        return f"AppendReply {what.sender} e{what.epoch} {verdict} #{what.probe}{'' if what.is_sound else ' unsound'}"
    if isinstance(what, TimeoutNow):
        return f"TimeoutNow {what.sender} e{what.epoch}"
    kind = "pre-vote" if what.is_pre else "vote"
    if isinstance(what, Vote):
        end = f"last {what.last_index}@{what.last_epoch}{' transfer' if what.is_transfer else ''}"
        return f"Vote {what.sender} e{what.epoch} {kind} {end}"
    return f"VoteReply {what.sender} e{what.epoch} {kind} {'granted' if what.is_granted else 'refused'}"


def short_membership(membership: Membership) -> str:
    """One membership, as a trace shows it: voters, old voters, observers."""
    voters, old, observers = (
        ",".join(map(str, nodes)) for nodes in (membership.voters, membership.old_voters, membership.observers)
    )
    return f"<{voters}{' from ' + old if old else ''}{' observers ' + observers if observers else ''}>"


__all__ = ["Simulation", "SimulationFailed", "Violation", "World", "draw_world", "short"]
