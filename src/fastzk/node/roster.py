"""Who the members are, as this node's log has it: with the addresses that the consensus does not know.

    base        of the snapshot, else DATA/members: what stands before the log
    in force    the newest that the log brings, committed or not (Ongaro's dissertation, 4.1)
    applied     the newest that is committed and applied; DATA/members holds it, for the next start

Rule: it follows the log entry by entry: what is appended is pushed, what is cut off is popped."""

from __future__ import annotations

from fastzk.config import Address, NodeConfig
from fastzk.raft.messages import Range
from fastzk.state.members import Members
from fastzk.storage.log import SegmentLog
from fastzk.wire.blocks import members_of

# Where a node that stands alone is reached by others: nowhere, until it is given an address by --peers (RFC 2606).
NOWHERE = Address("nowhere.invalid", 1)


def first_members(config: NodeConfig) -> Members:
    """The members of an ensemble that begins: those of --peers."""
    return Members.from_peers(config.peers or {config.node_id: NOWHERE}, config.observers)


class Roster:
    """The memberships of a log that may still count, oldest first."""

    def __init__(self, base: Members, log: SegmentLog) -> None:
        self._stack: list[tuple[int, Members]] = [(0, base)]
        for last_index, _ in log.memberships():
            self.append(log.read(last_index, 1)[0])
        self.applied = base

    @property
    def base(self) -> Members:
        return self._stack[0][1]

    @property
    def in_force(self) -> Members:
        """The newest, whether committed or not."""
        return self._stack[-1][1]

    def append(self, batch: Range) -> None:
        """The log has grown by a batch."""
        if batch.membership is not None:
            self._stack.append((batch.last_index, members_of(batch.payload)))

    def cut(self, index: int) -> None:
        """The log ends with `index` now."""
        while self._stack[-1][0] > index:
            self._stack.pop()

    def apply(self, batch: Range) -> bool:
        """A batch was applied.  True when it brought a membership."""
        if batch.membership is None:
            return False
        while len(self._stack) > 1 and self._stack[1][0] <= batch.last_index:
            self._stack.pop(0)
        self.applied = members_of(batch.payload)
        return True
