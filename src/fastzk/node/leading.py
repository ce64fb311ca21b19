"""What a leader does besides ordering writes: it ends sessions whose time is over, keeps up what nobody asked for (upkeep.py), and
changes the members (reconfig.py).

Rule: it begins when the entry that opens the epoch is applied, and ends with the reign.
Rule: the members that an ensemble was founded with are the log's first membership, so that every node has them from there and
not from what it was started with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from fastzk._core.apply import Machine
from fastzk._core.blocks import Entry, make_entry
from fastzk.config import Address, NodeConfig
from fastzk.node.contacts import Contacts
from fastzk.node.leases import Leases
from fastzk.node.reconfig import ReconfigDriver
from fastzk.node.upkeep import Upkeep
from fastzk.raft.peer import Busy, ChangePending, EpochFull, NotLeader, Peer, Role
from fastzk.state.members import Members

OP_CLOSE_SESSION, OP_CONFIG, OP_MEMBERS = -11, -14, -15
BLOCK_MEMBERS = 1

logger = logging.getLogger("fastzk.engine")


class Desk(Protocol):
    """Where a leader's own entries go (node/core.py)."""

    def add(self, entries: bytes, count: int) -> None:
        """Into one of the next blocks."""

    def drop(self, op: int) -> None:
        """Takes back what was added of an operation, as far as it is in no block."""

    def seal(self, entries: list[bytes], count: int, kind: int = 0) -> bytes:
        """A block that is next in the log.  Raises NotLeader."""

    def ask_again(self, node_id: int) -> bool:
        """Has a node's workers send again what is unanswered.  False when it could not be told."""

    @property
    def is_idle(self) -> bool:
        """Whether all that was added is in the log."""


class Leading:
    """One node's; it acts only while the node leads.  It is the Ensemble that reconfig.py asks for."""

    def __init__(
        self,
        config: NodeConfig,
        desk: Desk,
        peer: Peer,
        machine: Machine,
        leases: Leases,
        contacts: Contacts,
        upkeep: Upkeep,
        is_sound: Callable[[], bool],
    ) -> None:
        self._config = config
        self._desk = desk
        self._peer = peer
        self._machine = machine
        self._leases = leases
        self._contacts = contacts
        self._is_sound = is_sound
        self.upkeep = upkeep
        self.reconfig = ReconfigDriver(self, is_enabled=config.is_reconfig_enabled)

    def end(self) -> None:
        """The node does not lead."""
        self._leases.end()
        self.reconfig.end()

    def step(self, now_ms: int) -> None:
        """A turn in which the node leads and its epoch has begun."""
        if not self.reconfig.is_idle:
            self.reconfig.step(now_ms)

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """The same, and a tick has passed; the wall clock is the leader's stamp."""
        if self._peer.membership_index == 0 or self._is_address_new():
            self._propose_own_members()
        self.reconfig.step(now_ms)
        due = self._leases.due()
        if due:
            logger.info("%d session(s) expire, the first of them %#x", len(due), due[0][0])
        is_idle = self._desk.is_idle
        for session_id, attach_zxid in due:
            self._desk.add(make_entry(OP_CLOSE_SESSION, b"", session_id=session_id, attach_zxid=attach_zxid), 1)
        members = self.members if self.is_free and self._contacts.members.is_settled else None
        for entry in self.upkeep.due(self._peer.epoch, now_ms, wall_ms, self._peer.last_index, members, is_idle=is_idle):
            self._desk.add(entry, 1)

    def _is_address_new(self) -> bool:
        """Whether this node, which decides alone, was given another address than the log knows."""
        known = self._contacts.members.get(self._config.node_id)
        own = self._contacts.own
        is_alone = self._peer.membership.voters == (self.node_id,)
        return is_alone and own is not None and known is not None and known.address != own

    def _propose_own_members(self) -> None:
        own, members = self._contacts.own, self._contacts.members
        if own is not None:
            every = [replace(each, address=own) if each.node_id == self._config.node_id else each for each in members.members]
            members = replace(members, members=tuple(every))
        self.propose_members(members, [])

    # --- what reconfig.py asks for

    @property
    def node_id(self) -> int:
        return self._config.node_id

    @property
    def epoch(self) -> int:
        return self._peer.epoch

    @property
    def members(self) -> Members | None:
        return self._contacts.members if self._contacts.own is not None else None

    @property
    def is_free(self) -> bool:
        peer = self._peer
        has_begun = peer.role is Role.LEADER and self._leases.is_kept_in(peer.epoch)
        # Applied, and not only committed: a request that is answered in that block must be known as answered.
        is_applied = peer.membership_index <= self._machine.applied_index
        # Who is to be joined must be reachable first, or whoever joins loses it with the members that tell so.
        return has_begun and is_applied and not peer.is_transferring and not self._is_address_new()

    @property
    def last_index(self) -> int:
        return self._peer.last_index

    @property
    def applied_index(self) -> int:
        return self._machine.applied_index

    def matched(self, node_id: int) -> int:
        return self._peer.last_index if node_id == self.node_id else self._peer.matched().get(node_id, 0)

    def counted(self, node_id: int) -> int:
        if node_id == self.node_id:
            return self._peer.last_index if self._is_sound() else -1
        return self._peer.counted().get(node_id, -1) if node_id in self._peer.streaming() else -1

    def clients(self) -> Mapping[int, Address]:
        return self.upkeep.clients()

    def judge(self, entry: Entry) -> int:
        return self._machine.judge_reconfig(entry.session_id, entry.attach_zxid, entry.serial, entry.cxid)

    def propose_members(self, members: Members, entries: Sequence[bytes]) -> bool:
        try:
            count = 1 + len(entries)
            block = self._desk.seal([make_entry(OP_MEMBERS, members.encode()), *entries], count, BLOCK_MEMBERS)
            self._peer.propose_membership(block, count, members.membership)
        except (NotLeader, Busy, EpochFull, ChangePending):
            return False
        # What was to tell clients of the members before must not come behind what tells them of these.
        self._desk.drop(OP_CONFIG)
        return True

    def propose(self, entry: bytes) -> None:
        self._desk.add(entry, 1)

    def transfer(self, node_id: int) -> None:
        self._peer.transfer(node_id)

    def ask_again(self, node_id: int) -> bool:
        return self._desk.ask_again(node_id)
