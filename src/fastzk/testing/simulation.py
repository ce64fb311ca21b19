"""A whole ensemble in one process and in simulated time, run from one number.

Rule: the number and the code fix the run, byte for byte.  Each concern draws from a generator of its own, so that a
change in one does not move the others' chances.  Rule: the peers are the real ones; only the world around is simulated.

A run first draws what kind of world it is (a swarm: no two seeds have the same faults), then has two phases.  Safety:
clients propose while nodes crash, stall and lose each other; the checkers watch every step.  Liveness: everything is
healed; within a bounded time there must be one leader, equal logs, and a fresh proposal must be committed.
"""

from collections.abc import Callable
from random import Random

from fastzk.raft.peer import (
    Busy,
    ChangePending,
    EpochFull,
    Membership,
    Message,
    NotLeader,
    Peer,
    Range,
    Ready,
    Role,
)
from fastzk.testing.checkers import RaftChecker, Violation, ensure
from fastzk.testing.events import EventHeap, Trace
from fastzk.testing.network import SimNetwork
from fastzk.testing.raft_words import short
from fastzk.testing.raft_world import World, add_upheaval, draw_world
from fastzk.testing.range_disk import RangeDisk, Report
from fastzk.testing.upheaval import Upheaval

TICK_US = 10_000
SAFETY_US = 4_000_000
# Enough for several elections in a row and for the longest catch-up.
LIVENESS_US = 6_000_000
LIVENESS_POLL_US = 100_000


class SimulationFailed(AssertionError):  # noqa: N818
    """A seed broke an invariant.  Says which, how to run it again, and what happened last."""


class SimNode:
    """One node: a peer while it is up, and the disk that stays."""

    def __init__(self, node_id: int, disk: RangeDisk) -> None:
        self.node_id = node_id
        self.disk = disk
        self.peer: Peer | None = None
        self.incarnation = 0
        self.resumes_us = 0
        self.is_turn_planned = False
        # What this incarnation proposed and has not seen committed: last index -> range.
        self.proposed: dict[int, Range] = {}
        # Disks it has had before this one.
        self.life = 0
        # Where the entry of its rejoining stands, once this incarnation has applied it: index and epoch.
        self.rejoined: tuple[int, int] | None = None
        # The epoch that it leads, and how far it has committed in it.
        self.counted = (0, 0)


class Simulation:
    """One run.  run() returns the digest of its trace, or raises SimulationFailed."""

    def __init__(self, seed: int, print_line: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.heap = EventHeap()
        self.trace = Trace(self.heap, print_line)
        self.world = draw_world(Random(f"{seed}/world"))
        add_upheaval(self.world, Random(f"{seed}/upheaval of the world"))
        self._faults = Random(f"{seed}/faults")
        self._disk_chance = Random(f"{seed}/disk")
        self._client_chance = Random(f"{seed}/clients")
        self._turn_chance = Random(f"{seed}/turns")
        self.is_healed = False
        self._proposal_count = 0
        self.network = SimNetwork(self.heap, Random(f"{seed}/network"), self.world.network, self._deliver)
        ids = range(1, self.world.voters + self.world.observers + 1)
        self.base = Membership(tuple(ids[: self.world.voters]), tuple(ids[self.world.voters :]))
        self.nodes: dict[int, SimNode] = {}
        for node_id in range(1, len(ids) + self.world.spares + 1):
            self.nodes[node_id] = SimNode(node_id, RangeDisk(self.base))
            # A node that was not there at the founding has promised nothing, but nobody can know that.
            self.nodes[node_id].disk.is_sound = node_id in ids
        self.checker = RaftChecker(self.base, {node_id: node.disk for node_id, node in self.nodes.items()})
        self.upheaval = Upheaval(self, Random(f"{seed}/upheaval"))

    # The run.

    def run(self) -> str:
        """Both phases.  Raises SimulationFailed."""
        try:
            self.trace.line(f"world {self.world}")
            for node in self.nodes.values():
                self.start(node)
            self._plan_client()
            self._plan_fault()
            self.upheaval.plan()
            self.heap.run_until(SAFETY_US)
            self._heal()
            if self.world.is_beyond:
                self.heap.run_until(self.heap.now_us + LIVENESS_US // 4)
            else:
                self._await_liveness()
                self.checker.on_end(self.members())
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

    def members(self) -> tuple[int, ...]:
        """The nodes that are of the ensemble, as whoever leads it knows them."""
        leader = self.leader()
        return leader.peer.membership.ids if leader is not None and leader.peer is not None else ()

    def _heal(self) -> None:
        self.trace.line("heal")
        self.is_healed = True
        self.network.heal()
        self.world.slow_sync = self.world.turn_crash = 0.0
        self.world.sync_us = self.world.report_us = 100
        for node in self.nodes.values():
            node.resumes_us = 0
            self.start(node)

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
        end, membership = leader.peer.last_index, leader.peer.membership
        if membership.is_joint or not membership.has_voter(leader.node_id):
            return False
        return all(
            node.peer is not None
            and node.peer.is_sound
            and node.peer.leader_id == leader.node_id
            and node.peer.last_index == node.peer.synced_index == node.peer.applied_index == end
            for node in (self.nodes[node_id] for node_id in membership.ids)
        )

    # One node.

    def start(self, node: SimNode) -> None:
        """The node begins again with what its disk holds, unless it runs."""
        if node.peer is not None:
            return
        node.incarnation += 1
        node.rejoined = None
        node.counted = (0, 0)
        epoch, vote = node.disk.hard_state
        random = Random(f"{self.seed}/peer/{node.node_id}/{node.incarnation}")
        self.trace.line(f"{node.node_id} starts, epoch {epoch}, vote {vote}, last {node.disk.last_index}")
        node.peer = Peer(
            node.node_id,
            node.disk.start.membership,
            log=node.disk,
            epoch=epoch,
            vote=vote,
            is_sound=node.disk.is_sound,
            random=random,
            election_ticks=self.world.election_ticks,
            limits=self.world.limits,
        )
        self.checker.on_start(node.node_id)
        period_us = TICK_US + random.randint(-TICK_US // 10, TICK_US // 10)
        self.heap.after(random.randint(0, period_us), self._tick, node, node.incarnation, period_us)
        self.plan_turn(node)

    def crash(self, node: SimNode) -> None:
        """The process of a node ends; it comes back after a while."""
        if node.peer is None:
            return
        self.stop(node)
        if self.is_healed:
            self.start(node)
        else:
            self.heap.after(self._outage_us(), self.start, node)

    def stop(self, node: SimNode) -> None:
        """The process of a node ends."""
        node.peer = None
        node.proposed.clear()
        lost = node.disk.crash(self._disk_chance)
        self.trace.line(f"{node.node_id} crashes, {lost} orders lost, last {node.disk.last_index}")
        for other in self.nodes.values():
            if self._faults.random() < self.world.notice:
                self.heap.after(self._faults.randint(50, 2_000), self._notice_loss, other, node.node_id)

    def _tick(self, node: SimNode, incarnation: int, period_us: int) -> None:
        if node.peer is None or node.incarnation != incarnation:
            return
        if self.is_running(node):
            node.peer.tick()
            self.plan_turn(node)
        self.heap.after(period_us, self._tick, node, incarnation, period_us)

    def is_running(self, node: SimNode) -> bool:
        """Whether the node is up and does not stand still."""
        return node.peer is not None and node.resumes_us <= self.heap.now_us

    def plan_turn(self, node: SimNode) -> None:
        """A turn comes a little after what caused it, so that several causes share one."""
        if not node.is_turn_planned:
            node.is_turn_planned = True
            self.heap.after(self._turn_chance.choice((0, 0, 30, 200)), self._turn, node, node.incarnation)

    def _turn(self, node: SimNode, incarnation: int) -> None:
        node.is_turn_planned = False
        if node.incarnation != incarnation or not self.is_running(node):
            if node.peer is not None:
                self.heap.after(max(0, node.resumes_us - self.heap.now_us), self.plan_turn, node)
            return
        while node.peer is not None:
            ready = node.peer.ready()
            if ready is None:
                break
            self._obey(node, node.peer, ready)
        if node.peer is not None:
            self._become_sound(node, node.peer)
            self.checker.on_turn(node.node_id, node.peer)

    def _become_sound(self, node: SimNode, peer: Peer) -> None:
        """A node that has rejoined writes it down when its own disk holds the entry that says so."""
        if node.rejoined is None or peer.synced_index < node.rejoined[0]:
            return
        index, epoch = node.rejoined
        node.rejoined = None
        node.disk.is_sound = True
        self.trace.line(f"{node.node_id} is sound, by {index}@{epoch}")
        self.checker.on_sound(node.node_id, epoch)
        peer.become_sound(index, epoch)
        self.plan_turn(node)

    def rejoining(self, node: SimNode) -> bytes:
        """The entry by which a node rejoins: nobody can have proposed it before this life of its disk began."""
        return b"rejoin %d %d" % (node.node_id, node.life)

    def _note_commit(self, node: SimNode, peer: Peer) -> None:
        """A leader that has just committed did so by counting."""
        if peer.role is not Role.LEADER:
            return
        epoch, committed_index = node.counted
        if epoch == peer.epoch and peer.committed_index > committed_index:
            node.counted = (epoch, peer.committed_index)
            self.checker.on_counted(node.node_id, peer)

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
            node.counted = (peer.epoch, peer.committed_index)
            self._propose(node, 1)
            self._maybe_ambush(node)
        node.disk.order(ready.truncate_after, ready.append, ready.generation)
        if ready.truncate_after is not None:
            self.trace.line(f"{node.node_id} truncates after {ready.truncate_after}")
            self.checker.on_cut(node.node_id, peer)
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
            self.crash(node)
            return True
        return False

    def _apply(self, node: SimNode, peer: Peer, entries: Range) -> None:
        self.trace.line(f"{node.node_id} applies {short(entries)}")
        if not peer.is_sound and entries.payload == self.rejoining(node):
            node.rejoined = (entries.last_index, entries.epoch)
        self.checker.on_committed(node.node_id, peer, entries)
        proposed = node.proposed.pop(entries.last_index, None)
        if proposed is not None and proposed.epoch == entries.epoch:
            self.checker.on_acknowledged(proposed)
        peer.applied(entries.last_index)

    def _deliver(self, sender: int, receiver: int, message: Message) -> None:
        node = self.nodes[receiver]
        if node.peer is None:
            return
        if not self.is_running(node):
            self.heap.after(node.resumes_us - self.heap.now_us, self._deliver, sender, receiver, message)
            return
        self.trace.line(f"{receiver} gets {short(message)}")
        self.checker.on_asked(receiver, node.peer, message)
        node.peer.step(message)
        self._note_commit(node, node.peer)
        self.plan_turn(node)

    def _notice_loss(self, node: SimNode, lost: int) -> None:
        if node.peer is not None and node.node_id != lost:
            self.trace.line(f"{node.node_id} lost its link to {lost}")
            node.peer.peer_lost(lost)
            self.plan_turn(node)

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
        if not self.is_running(node):
            self.heap.after(node.resumes_us - self.heap.now_us, self._report, node, incarnation, report)
            return
        self.trace.line(f"{node.node_id} synced {report}")
        node.peer.synced(*report)
        self._note_commit(node, node.peer)
        self.plan_turn(node)

    # The clients.

    def _plan_client(self) -> None:
        mean_us = 1_000_000 * self.world.burst // self.world.proposals_per_second
        self.heap.after(self._client_chance.randint(0, 2 * mean_us), self._client)

    def _client(self) -> None:
        if self.is_healed:
            return
        node = self.nodes[self._client_chance.randint(1, len(self.nodes))]
        for _ in range(self._client_chance.randint(1, self.world.burst)):
            if self.is_running(node):
                self._propose(node, self._client_chance.choice((1, 1, 2, 7)))
        self._plan_client()

    def _propose(self, node: SimNode, count: int) -> int | None:
        self._proposal_count += 1
        return self.propose(node, count, b"%d." % self._proposal_count * self._client_chance.choice((1, 5, 40)))

    def propose(self, node: SimNode, count: int, payload: bytes, membership: Membership | None = None) -> int | None:
        """Proposes at this node; returns the last index, or None if it was refused."""
        assert node.peer is not None, f"node {node.node_id} is down"
        try:
            if membership is None:
                entries = node.peer.propose(count, payload)
            else:
                entries = node.peer.propose_membership(payload, count, membership)
        except (NotLeader, Busy, EpochFull, ChangePending) as refusal:
            if not isinstance(refusal, NotLeader):
                self.trace.line(f"{node.node_id} refuses: {refusal}")
            self.plan_turn(node)
            return None
        self.trace.line(f"{node.node_id} proposes {short(entries)}")
        node.proposed[entries.last_index] = entries
        if membership is not None:
            self.checker.on_membership(entries, node.peer.epoch)
        self.plan_turn(node)
        return entries.last_index

    # The faults.

    def _plan_fault(self) -> None:
        self.heap.after(self._faults.randint(1_000, 40_000), self._fault)

    def _fault(self) -> None:
        """Every 20 ms on average; each kind comes with its own rate."""
        if self.is_healed:
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

    def any_node(self) -> SimNode:
        """One of them, by chance."""
        return self.nodes[self._faults.randint(1, len(self.nodes))]

    def _crash_one(self) -> None:
        leader = self.leader()
        self.crash(leader if leader is not None and self._faults.random() < 0.5 else self.any_node())

    def _crash_all(self) -> None:
        self.trace.line("all crash")
        for node in self.nodes.values():
            self.crash(node)

    def _pause_one(self) -> None:
        self._pause(self.any_node())

    def _pause(self, node: SimNode) -> None:
        node.resumes_us = self.heap.now_us + self._outage_us()
        self.trace.line(f"{node.node_id} stands still until {node.resumes_us}")

    def _partition(self) -> None:
        """Cuts all links between two random sides, in both directions or in one."""
        self._cut_around([node_id for node_id in self.nodes if self._faults.random() < 0.5])

    def _maybe_ambush(self, node: SimNode) -> None:
        if not self.is_healed and self._faults.random() < self.world.ambush:
            self.heap.after(self._faults.choice((0, self._faults.randint(0, 30_000))), self._ambush, node)

    def _ambush(self, node: SimNode) -> None:
        """The node crashes, stands still, or is left alone or with one other."""
        if self.is_healed:
            return
        kind = self._faults.choice(("crash", "pause", "alone", "with one"))
        if kind == "crash":
            self.crash(node)
        elif kind == "pause":
            self._pause(node)
        else:
            side = [node.node_id] if kind == "alone" else sorted({node.node_id, self.any_node().node_id})
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
        first, second = self.any_node().node_id, self.any_node().node_id
        self.trace.line(f"hole from {first} to {second}")
        self.network.break_link(first, second)

    def _reset_link(self) -> None:
        first, second = self.any_node(), self.any_node()
        if first is second:
            return
        self.trace.line(f"link {first.node_id} - {second.node_id} is closed")
        for one, other in ((first, second), (second, first)):
            self.network.break_link(one.node_id, other.node_id)
            if self.is_running(one):
                self._notice_loss(one, other.node_id)


__all__ = ["SimNode", "Simulation", "SimulationFailed", "Violation", "World", "draw_world", "short"]
