"""The arithmetic of quorums: any two of them share a voter.

Rule: pure; what is counted (indexes, ticks, votes) is the caller's business.
"""

from collections.abc import Mapping, Sequence
from enum import Enum


class Tally(Enum):
    """Where an election stands."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class Quorum:
    """A majority of a fixed set of voters."""

    __slots__ = ("size", "voters")

    def __init__(self, voters: Sequence[int]) -> None:
        assert voters, "a quorum of nobody decides nothing"
        assert len(set(voters)) == len(voters), f"a voter is named twice in {voters}"
        self.voters = tuple(sorted(voters))
        self.size = len(voters) // 2 + 1

    def reached(self, values: Mapping[int, int]) -> int:
        """The highest value that a quorum has reached.  A voter without a value has reached 0."""
        return sorted((values.get(voter, 0) for voter in self.voters), reverse=True)[self.size - 1]

    def tally(self, votes: Mapping[int, bool]) -> Tally:
        """Where an election with these votes stands; others than voters are not counted."""
        granted = sum(votes.get(voter) is True for voter in self.voters)
        refused = sum(votes.get(voter) is False for voter in self.voters)
        if granted >= self.size:
            return Tally.WON
        if len(self.voters) - refused < self.size:
            return Tally.LOST
        return Tally.OPEN
