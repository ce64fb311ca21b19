"""Who decides, as the consensus sees it: ids only.  Addresses and roles are the business of state/members.py.

Rule: values only.  A membership with `old_voters` is joint: to decide anything it takes a majority of both, the old voters and
the new (Ongaro's dissertation, 4.3)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Membership:
    """The nodes of an ensemble by what they may do; each tuple in rising order."""

    voters: tuple[int, ...]
    # They get the log and decide nothing.
    observers: tuple[int, ...] = ()
    # Of the membership that is being left; empty when it is not joint.
    old_voters: tuple[int, ...] = ()
