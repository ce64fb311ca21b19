"""Who decides: the nodes of an ensemble as the consensus knows them, by their numbers.

Rule: values only.  Rule: a membership changes in steps, and two memberships that follow one another have no two disjoint
quorums; is_step() says which steps those are.

    voters --(a) observers change--> voters --(b)--> joint: old_voters and voters --(c)--> voters alone

While it is joint, whatever is decided needs a majority of the old voters and a majority of the new ones, so neither side
can decide without the other; the third membership begins when that is committed, and by then no old majority can decide
alone (Ongaro, 4.3).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Membership:
    """The nodes of an ensemble.  Raises ValueError for one that cannot be."""

    voters: tuple[int, ...]
    # They learn everything and count for nothing.
    observers: tuple[int, ...] = ()
    # The voters it comes from; empty unless it is joint.  One of them may be named as an observer: it will be one.
    old_voters: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("voters", "observers", "old_voters"):
            nodes = tuple(sorted(getattr(self, name)))
            if len(set(nodes)) != len(nodes):
                raise ValueError(f"a node is named twice in {name} {nodes}")
            object.__setattr__(self, name, nodes)
        if not self.voters:
            raise ValueError("an ensemble of no voters decides nothing")
        if set(self.voters) & set(self.observers):
            raise ValueError(f"voters {self.voters} and observers {self.observers} overlap")

    @property
    def is_joint(self) -> bool:
        """Whether it is on its way from old_voters to voters."""
        return bool(self.old_voters)

    @property
    def ids(self) -> tuple[int, ...]:
        """All nodes, whatever they are."""
        return tuple(sorted({*self.voters, *self.observers, *self.old_voters}))

    def has_voter(self, node_id: int) -> bool:
        """Whether a node counts, in the old or in the new ensemble."""
        return node_id in self.voters or node_id in self.old_voters

    def is_step(self, following: "Membership") -> bool:
        """Whether `following` may come next: a quorum of either then shares a voter with each quorum of the other."""
        if self.is_joint:
            return not following.is_joint and following.voters == self.voters
        if following.is_joint:
            return following.old_voters == self.voters
        return following.voters == self.voters
