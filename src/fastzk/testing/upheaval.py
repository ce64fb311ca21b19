"""What changes the ensemble itself in the simulator of the consensus: members, leaders, snapshots, new disks.

Rule: everything here comes from one generator of its own.  Rule: what a node's own software does, this does as it should:
one who leads finishes a joint membership, sends a snapshot to whoever is behind, lets a wiped node rejoin.  What operators
and disks do, it does at any moment, within what an ensemble survives: never are more disks wiped than a minority of any
voters that may decide, unless the world is beyond.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from fastzk.raft.membership import Membership
from fastzk.raft.peer import Peer, Role
from fastzk.testing.raft_words import short_membership
from fastzk.testing.range_disk import Snapshot

if TYPE_CHECKING:
    from fastzk.testing.simulation import SimNode, Simulation

CARE_US = 30_000
VOTERS_MAX = 5


class Upheaval:
    """Of one simulation."""

    def __init__(self, simulation: Simulation, random: Random) -> None:
        self._simulation = simulation
        self._random = random

    def plan(self) -> None:
        """Begins, if the world has any of it."""
        world = self._simulation.world
        if world.change or world.transfer or world.compact or world.wipe:
            self._simulation.heap.after(CARE_US, self._turn)

    def _turn(self) -> None:
        simulation, world = self._simulation, self._simulation.world
        simulation.heap.after(self._random.randint(1, 2 * CARE_US), self._turn)
        leader = simulation.leader()
        if leader is not None and leader.peer is not None and simulation.is_running(leader):
            self._care(leader, leader.peer)
        if simulation.is_healed:
            return
        for rate, happens in ((world.transfer, self._transfer), (world.compact, self._compact), (world.wipe, self._wipe)):
            if self._random.random() < rate * CARE_US / 1_000_000:
                happens()

    # What whoever leads does.

    def _care(self, leader: SimNode, peer: Peer) -> None:
        simulation = self._simulation
        if peer.membership.is_joint:
            if peer.membership_index <= peer.committed_index or self._random.random() < 0.5:
                self._propose(leader, self._final(peer.membership))
        elif not simulation.is_healed and self._random.random() < simulation.world.change * CARE_US / 1_000_000:
            self._change(leader, peer)
        for node in simulation.nodes.values():
            if node.peer is None or node.peer.leader_id != leader.node_id or node.peer.epoch != peer.epoch:
                continue
            # An offer may also come late, to one that needs it no more.
            is_offered = node.node_id in peer.behind() or self._random.random() < simulation.world.compact / 500
            if is_offered and node.node_id != leader.node_id and node.disk.hard_state[0] == peer.epoch:
                # Its hard state holds the epoch of whoever offers: see docs/internals/consensus.md.
                delay_us = self._random.randint(500, 50_000)
                simulation.heap.after(delay_us, self._install, node, node.incarnation, leader.disk.start)
            if not node.disk.is_sound and node.rejoined is None and self._random.random() < 0.3:
                delay_us = self._random.randint(200, 5_000)
                simulation.heap.after(delay_us, self._let_rejoin, leader, simulation.rejoining(node))

    def _let_rejoin(self, leader: SimNode, payload: bytes) -> None:
        if leader.peer is not None and leader.peer.role is Role.LEADER and self._simulation.is_running(leader):
            self._simulation.propose(leader, 1, payload)

    def _install(self, node: SimNode, incarnation: int, snapshot: Snapshot) -> None:
        """The node restarts itself with the snapshot."""
        if node.peer is None or node.incarnation != incarnation:
            return
        self._simulation.stop(node)
        self._simulation.trace.line(f"{node.node_id} installs a snapshot of {snapshot.index}@{snapshot.epoch}")
        node.disk.install(snapshot)
        self._simulation.heap.after(self._random.randint(500, 20_000), self._simulation.start, node)

    # Changes of the membership.

    def _propose(self, leader: SimNode, membership: Membership) -> None:
        self._simulation.trace.line(f"{leader.node_id} is to change to {short_membership(membership)}")
        self._simulation.propose(leader, 1, b"members", membership)

    def _final(self, joint: Membership) -> Membership:
        """Whoever is no voter any more observes, or goes."""
        stays = [node_id for node_id in joint.old_voters if node_id not in joint.voters and self._random.random() < 0.5]
        return Membership(joint.voters, tuple({*joint.observers, *stays}))

    def _change(self, leader: SimNode, peer: Peer) -> None:
        membership = peer.membership
        strangers = [node_id for node_id in self._simulation.nodes if node_id not in membership.ids]
        kind = self._random.choice(("observe", "observe", "dismiss", "promote", "replace", "shrink", "alone", "grow"))
        if kind == "observe" and strangers:
            found = (*membership.observers, self._random.choice(strangers))
            self._propose(leader, Membership(membership.voters, found))
        elif kind == "dismiss" and membership.observers:
            gone = self._random.choice(membership.observers)
            self._propose(leader, Membership(membership.voters, tuple(each for each in membership.observers if each != gone)))
        elif kind not in ("observe", "dismiss"):
            voters = self._new_voters(kind, peer)
            if voters and voters != membership.voters:
                observers = tuple(each for each in membership.observers if each not in voters)
                self._propose(leader, Membership(voters, observers, membership.voters))

    def _new_voters(self, kind: str, peer: Peer) -> tuple[int, ...]:
        """Nobody becomes a voter that has not caught up, and nobody stays one that is not sound."""
        counted, membership, nodes = peer.counted(), peer.membership, self._simulation.nodes
        ready = [
            node_id
            for node_id in membership.observers
            if counted.get(node_id, 0) >= peer.committed_index and nodes[node_id].disk.is_sound
        ]
        voters = [node_id for node_id in membership.voters if nodes[node_id].disk.is_sound]
        self._random.shuffle(ready)
        self._random.shuffle(voters)
        match kind:
            case "promote":
                voters += ready[:1]
            case "replace":
                voters = voters[len(ready[:1]) :] + ready[:1]
            case "shrink":
                voters = voters[1:]
            case "alone":
                voters = voters[:1]
            case _:
                voters += ready
        return tuple(sorted(voters[:VOTERS_MAX]))

    # What befalls them.

    def _transfer(self) -> None:
        leader = self._simulation.leader()
        if leader is None or leader.peer is None or not self._simulation.is_running(leader):
            return
        to = self._random.choice((None, self._random.choice([*self._simulation.nodes])))
        if leader.peer.transfer(to):
            self._simulation.trace.line(f"{leader.node_id} hands over to {to}")
            self._simulation.plan_turn(leader)

    def _compact(self) -> None:
        node = self._random.choice([*self._simulation.nodes.values()])
        if node.peer is None or not self._simulation.is_running(node):
            return
        edge = min(node.peer.applied_index, node.peer.synced_index)
        first = node.disk.first_index
        if edge >= first:
            node.disk.compact(self._random.choice((edge, self._random.randint(first, edge))))
            # The range that holds it may end behind it.
            node.peer.purged()
            self._simulation.trace.line(f"{node.node_id} compacts up to {node.disk.start.index}")
            self._simulation.plan_turn(node)

    def _wipe(self) -> None:
        simulation = self._simulation
        node = self._random.choice([*simulation.nodes.values()])
        if not simulation.world.is_beyond and not simulation.checker.may_wipe(node.node_id):
            return
        simulation.crash(node)
        simulation.trace.line(f"{node.node_id} gets a new disk")
        node.disk = node.disk.wiped(simulation.base)
        node.life += 1
        simulation.checker.on_wipe(node.node_id, node.disk)
