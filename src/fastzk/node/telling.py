"""What an engine tells its workers: how its node stands to the ensemble, which round holds, and what was applied.

    status   changes of leader, epoch, role; whether clients are to be served (state/standing.py)
    round    begins anew whenever writes may have been lost on their way: workers then send again what is unanswered (Z10)
    commits  to each worker the items of its own clients, and the zxid up to which everything is told

Rule: whatever may have lost writes calls lose(); the round begins when there is a leader to send them to."""

from __future__ import annotations

import logging

from fastzk._core.apply import Machine
from fastzk.config import NodeConfig
from fastzk.node.footing import Footing
from fastzk.node.ports import Workers
from fastzk.node.workers import FOLLOWER, LEADER, LOOKING, OBSERVER, STANDALONE, NodeStatus
from fastzk.raft.peer import Peer, Role
from fastzk.state.standing import Standing

logger = logging.getLogger("fastzk.engine")


class Telling:
    """One node's."""

    def __init__(self, config: NodeConfig, peer: Peer, machine: Machine, footing: Footing, workers: Workers, now_ms: int) -> None:
        self._config = config
        self._peer = peer
        self._machine = machine
        self._footing = footing
        self._workers = workers
        self._standing = Standing(config.leaderless_ms_max, now_ms)
        self._has_said_alone = False
        # Writes of older rounds are dropped, since their workers send them again in this one.
        self.round = 1
        self._is_round_due = False
        # What workers were told last, and in which round.
        self.status: NodeStatus | None = None
        self._told_round = 0
        self._told_zxid = 0

    def lose(self) -> None:
        """Writes may have been lost."""
        self._is_round_due = True

    def hear_committed(self, index: int) -> None:
        """A leader has named its committed index."""
        self._standing.hear_committed(index)

    def tick(self) -> None:
        """Begins the round that is due, if there is a leader."""
        if self._is_round_due and self._peer.leader_id:
            self._begin_round()

    def came(self, number: int) -> None:
        """A worker is there from now on."""
        self._machine.add_worker(number)
        self._workers.welcome(number, self._machine.applied_zxid)
        if self.status is not None:
            self._workers.tell_status(number, self.status, self.round)

    def gone(self, number: int) -> None:
        """A worker is no longer there."""
        self._machine.remove_worker(number)

    def tell_status(self, now_ms: int) -> None:
        """Tells all workers how things are, if that has changed."""
        status = self._judge(now_ms)
        old = self.status
        if old is not None:
            if status == old and self._told_round == self.round:
                return
            if status.leader_id and (status.leader_id, status.epoch) != (old.leader_id, old.epoch):
                self._begin_round()
            if status.is_serving != old.is_serving:
                logger.info("node %d %s clients", self._config.node_id, "serves" if status.is_serving else "no longer serves")
        self.status, self._told_round = status, self.round
        for number in self._workers.numbers:
            self._workers.tell_status(number, status, self.round)

    def tell_commits(self) -> None:
        """Tells each worker what was applied since the last time."""
        zxid = self._machine.applied_zxid
        for number in self._workers.numbers:
            items = self._machine.take_items(number)
            if items or zxid != self._told_zxid:
                self._workers.commit(number, items, zxid)
        self._told_zxid = zxid

    def _judge(self, now_ms: int) -> NodeStatus:
        peer, standing = self._peer, self._standing
        leader_id = peer.leader_id or 0
        standing.update(
            now_ms,
            has_leader=leader_id != 0,
            applied_index=self._machine.applied_index,
            is_epoch_applied=self._machine.applied_zxid >> 32 == peer.epoch,
        )
        if standing.is_alone != self._has_said_alone:
            self._say_alone(leader_id)
        if not self._config.peers:
            role = STANDALONE
        elif peer.role is Role.LEADER:
            role = LEADER
        elif leader_id:
            role = FOLLOWER if peer.membership.has_voter(self._config.node_id) else OBSERVER
        else:
            role = LOOKING
        # What it has applied is old, and was the ensemble's once: good enough for who asks for no more than that.
        is_read_only = self._config.has_read_only_mode and standing.is_alone and self._machine.applied_index > 0
        return NodeStatus(peer.epoch, leader_id, role, standing.is_serving, is_read_only)

    def _say_alone(self, leader_id: int) -> None:
        """Tells people why a node does not serve, and when it can again."""
        self._has_said_alone = self._standing.is_alone
        node_id, voters = self._config.node_id, self._peer.membership.voters
        if not self._standing.is_alone:
            logger.info("node %d has a leader: node %d", node_id, leader_id)
        elif node_id not in self._peer.membership.ids and not self._footing.is_new:
            every = ", ".join(map(str, self._peer.membership.ids))
            logger.warning("node %d is no member of its ensemble (nodes %s): end it, or add it again by reconfig", node_id, every)
        elif self._footing.is_new:
            missing = ", ".join(map(str, self._footing.missing())) or "what the others have seen"
            logger.warning("node %d waits for %s: the first start of an ensemble needs all its nodes, once", node_id, missing)
        elif self._standing.is_stuck:
            logger.warning(
                "node %d does not get what is committed (applied %d of %d): do the other nodes listen to it?",
                node_id,
                self._machine.applied_index,
                self._standing.heard_committed_index,
            )
        else:
            most, every = len(voters) // 2 + 1, ", ".join(map(str, voters))
            logger.warning("node %d waits for a leader: %d of nodes %s must run and reach each other", node_id, most, every)
            if not self._footing.is_sound:
                logger.warning(
                    "node %d itself does not count, since it lost something: %s", node_id, self._footing.soundness.reason
                )

    def _begin_round(self) -> None:
        self.round += 1
        logger.debug("round %d: unanswered writes are sent again", self.round)
        self._is_round_due = False
