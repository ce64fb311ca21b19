"""A twin of the node that leads, for whoever tests changes of the members without nodes: a log of memberships and answers, and
what each node holds of it.

Rule: it keeps the consensus's own rules (one uncommitted membership at a time; only legal steps) and asserts that they are kept."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastzk._core.blocks import Entry, entries, make_entry, seal
from fastzk.config import Address
from fastzk.raft.membership import Membership
from fastzk.state.members import Members

OP_CONFIG, OP_RECONFIGURED = -14, -17
OVER = 1  # of judge(): it has been answered


@dataclass(frozen=True)
class Logged:
    """One block of the twin's log."""

    members: Members | None
    config: str | None
    answers: tuple[Entry, ...]


@dataclass
class ChangeTwin:
    """The node that leads, and what it believes of the others."""

    members: Members | None
    node_id: int = 1
    epoch: int = 1
    log: list[Logged] = field(default_factory=list)
    committed_index: int = 0
    # What other nodes hold of the log, and which of them are sound and follow.
    held: dict[int, int] = field(default_factory=dict)
    following: set[int] = field(default_factory=set)
    # What judge() says by session, of requests that are not answered; 0 unless it is here.
    verdicts: dict[int, int] = field(default_factory=dict)
    asked_again: list[int] = field(default_factory=list)
    transfers: list[int] = field(default_factory=list)
    is_busy: bool = False
    pending: list[bytes] = field(default_factory=list)

    @property
    def last_index(self) -> int:
        return len(self.log)

    @property
    def applied_index(self) -> int:
        return self.committed_index

    @property
    def is_free(self) -> bool:
        newest = max((at for at, block in enumerate(self.log, 1) if block.members is not None), default=0)
        return self.committed_index >= newest

    def matched(self, node_id: int) -> int:
        return self.last_index if node_id == self.node_id else self.held.get(node_id, 0)

    def counted(self, node_id: int) -> int:
        return self.matched(node_id) if node_id == self.node_id or node_id in self.following else -1

    def clients(self) -> Mapping[int, Address]:
        return {self.node_id: Address("127.0.0.1", 2180 + self.node_id)}

    def judge(self, entry: Entry) -> int:
        for block in self.log[: self.committed_index]:
            if any((answer.session_id, answer.serial) == (entry.session_id, entry.serial) for answer in block.answers):
                return OVER
        return self.verdicts.get(entry.session_id, 0)

    def propose_members(self, members: Members, entries: Sequence[bytes]) -> bool:
        assert self.is_free, "a membership is proposed while another one is not committed"
        assert self.members is not None
        assert is_step(self.members.membership, members.membership), f"{self.members} -> {members}"
        if self.is_busy:
            return False
        self.flush()
        self._append(members, entries)
        self.members = members
        return True

    def propose(self, entry: bytes) -> None:
        self.pending.append(entry)

    def transfer(self, node_id: int) -> None:
        self.transfers.append(node_id)

    def ask_again(self, node_id: int) -> bool:
        if not self.is_busy:
            self.asked_again.append(node_id)
        return not self.is_busy

    def flush(self) -> None:
        """What was proposed gets into the log."""
        if self.pending:
            self._append(None, self.pending)
            self.pending = []

    def _append(self, members: Members | None, made: Sequence[bytes]) -> None:
        taken = entries(seal(list(made), len(made), 1, 1 << 32, 1, 0)) if made else []
        config = next((entry.body.decode() for entry in taken if entry.op == OP_CONFIG), None)
        answers = tuple(entry for entry in taken if entry.op == OP_RECONFIGURED)
        assert len(taken) == len(answers) + (config is not None), "something else is proposed"
        self.log.append(Logged(members, config, answers))

    def commit(self) -> None:
        """All of the log is committed and applied."""
        self.flush()
        self.committed_index = self.last_index

    @property
    def answers(self) -> list[tuple[int, int]]:
        """(session, error) of all requests that are answered; of two answers the second is a repeat and is ignored (Z10)."""
        found: dict[tuple[int, int], int] = {}
        for block in self.log:
            for answer in block.answers:
                found.setdefault((answer.session_id, answer.serial), struct.unpack(">i", answer.body)[0])
        return [(session_id, err) for (session_id, _), err in found.items()]


def is_step(now: Membership, following: Membership) -> bool:
    """Whether no quorum of the one can decide without one of the other (docs/internals/membership.md)."""
    if now.old_voters:
        return not following.old_voters and following.voters == now.voters
    return (following.old_voters or following.voters) == now.voters


def reconfig_entry(body: bytes, session_id: int = 7, serial: int = 3, node_id: int = 1, cxid: int = 5) -> Entry:
    """A client's request as it reaches the leader."""
    made = make_entry(16, body, session_id, 11, serial, node_id, 2, 40, cxid)
    return entries(seal([made], 1, 1, 1 << 32, 1, 0))[0]
