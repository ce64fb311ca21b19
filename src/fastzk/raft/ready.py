"""What a peer gives to its caller: what a turn must do, what it is at the moment, and why it refuses a proposal.

Rule: values only; peer.py makes them.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from fastzk.raft.messages import Message, Range


class NotLeader(Exception):  # noqa: N818
    """Only the leader proposes; the caller forwards to leader_id, or waits for one."""


class Busy(Exception):  # noqa: N818
    """Too much is proposed and not committed, or another is to lead; try again when that is over."""


class ChangePending(Exception):  # noqa: N818
    """A membership is not committed yet, or nothing is of this epoch; try again when it is."""


class EpochFull(Exception):  # noqa: N818
    """The epoch has no zxids left.  The leader has stepped down and asks for the next epoch; nothing was proposed."""


class Chance(Protocol):
    """Where a peer's election timeouts get their randomness; a random.Random will do."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to stop - 1."""


class Role(Enum):
    """What this peer is at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class SoftState:
    """What the caller wants to know and need not store."""

    role: Role
    leader_id: int | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What a turn must do.  See the order at the top of peer.py."""

    hard_state: tuple[int, int | None] | None
    truncate_after: int | None
    append: tuple[Range, ...]
    generation: int
    messages: tuple[tuple[int, Message], ...]
    committed: tuple[Range, ...]
    # Committed ranges are left for another ready().
    is_more_committed: bool
    # Set when it has changed.
    soft: SoftState | None
    # This peer has just won its epoch: the caller's next proposal is the entry that opens it.
    is_new_leader: bool
