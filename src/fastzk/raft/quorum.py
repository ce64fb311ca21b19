"""The arithmetic of quorums: any two of one membership share a voter.

Rule: pure; what is counted (indexes, ticks, votes) is the caller's business.
A joint membership decides by a majority of its old voters and a majority of its new ones, both.
"""

from collections.abc import Mapping
from enum import Enum

from fastzk.raft.membership import Membership


class Tally(Enum):
    """Where an election stands."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class Quorum:
    """The majorities that a membership needs."""

    __slots__ = ("_groups", "voters")

    def __init__(self, membership: Membership) -> None:
        # Whoever counts at all.
        self.voters = tuple(sorted({*membership.voters, *membership.old_voters}))
        # The voters of each group, and how many of them are more than half.
        groups = [group for group in (membership.voters, membership.old_voters) if group]
        self._groups = tuple((group, len(group) // 2 + 1) for group in groups)

    def reached(self, values: Mapping[int, int]) -> int:
        """The highest value that a quorum has reached.  A voter without a value has reached 0."""
        return min(sorted([values.get(voter, 0) for voter in group], reverse=True)[size - 1] for group, size in self._groups)

    def tally(self, votes: Mapping[int, bool]) -> Tally:
        """Where an election with these votes stands; others than voters are not counted."""
        is_won = True
        for group, size in self._groups:
            granted = sum(votes.get(voter) is True for voter in group)
            refused = sum(votes.get(voter) is False for voter in group)
            if len(group) - refused < size:
                return Tally.LOST
            is_won = is_won and granted >= size
        return Tally.WON if is_won else Tally.OPEN
