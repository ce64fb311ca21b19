"""Changes of the members, between the engine's decisions (core.py) and the leader's driver of them (reconfig.py).

Rule: nothing is decided here: what the driver asks about is looked up, what it asks for is done by the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastzk._core.apply import Machine
from fastzk._core.blocks import Entry, take_reconfigs
from fastzk.config import Address, NodeConfig
from fastzk.node.reconfig import ReconfigDriver
from fastzk.node.roster import Roster
from fastzk.node.upkeep import Upkeep
from fastzk.raft.peer import Peer, Role
from fastzk.state.members import Members


@dataclass(frozen=True, slots=True)
class Deeds:
    """What the core does for a change."""

    propose_members: Callable[[Members, Sequence[bytes]], bool]
    propose: Callable[[bytes], None]
    ask_again: Callable[[int], bool]


class Changes:
    """One node's; it is the Ensemble of its driver."""

    def __init__(self, config: NodeConfig, peer: Peer, machine: Machine, roster: Roster, upkeep: Upkeep, deeds: Deeds) -> None:
        self._config = config
        self._peer = peer
        self._machine = machine
        self._roster = roster
        self._upkeep = upkeep
        self._deeds = deeds
        self._driver = ReconfigDriver(self, is_enabled=config.is_reconfig_enabled)

    # --- for the core

    def take(self, entries: Sequence[Entry], behind_index: int) -> None:
        """Requests that were taken out of a batch, whose rest is in the log up to `behind_index`."""
        if entries:
            self._driver.take(entries, behind_index)

    def step(self, now_ms: int) -> None:
        """Once a turn: what a leader has to do for them, or that it is none."""
        if self._peer.role is Role.LEADER:
            self._driver.step(now_ms)
        else:
            self._driver.end()

    # --- for the driver

    @property
    def node_id(self) -> int:
        return self._config.node_id

    @property
    def epoch(self) -> int:
        return self._peer.epoch

    @property
    def members(self) -> Members | None:
        return self._roster.in_force if self._config.peers else None

    @property
    def is_free(self) -> bool:
        peer, machine = self._peer, self._machine
        is_begun = peer.role is Role.LEADER and machine.applied_zxid >> 32 == peer.epoch
        return is_begun and peer.membership_index <= machine.applied_index and not peer.is_transferring

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
            return self._peer.last_index
        return self._peer.counted().get(node_id, -1) if node_id in self._peer.streaming() else -1

    def clients(self) -> Mapping[int, Address]:
        return self._upkeep.clients()

    def judge(self, entry: Entry) -> int:
        return self._machine.judge_reconfig(entry.session_id, entry.attach_zxid, entry.serial, entry.cxid)

    def propose_members(self, members: Members, entries: Sequence[bytes]) -> bool:
        return self._deeds.propose_members(members, entries)

    def propose(self, entry: bytes) -> None:
        self._deeds.propose(entry)

    def transfer(self, node_id: int) -> None:
        self._peer.transfer(node_id)

    def ask_again(self, node_id: int) -> bool:
        return self._deeds.ask_again(node_id)


def take_out(batches: Sequence[tuple[int, bytes]]) -> tuple[list[tuple[int, bytes]], list[Entry]]:
    """Takes the reconfigs out of batches (count, entries): what is left of these, and the requests."""
    rest, taken = [], []
    for count, entries in batches:
        kept, left, found = take_reconfigs(entries, count)
        if left:
            rest.append((left, kept))
        taken += found
    return rest, taken
