"""Whether a node may vote: a node that has lost what it promised must not, and one with an empty directory may be such a node.

    NEW        the directory is empty.  Is the ensemble new, too, or has this node lost what it once held?
    REJOINING  it has lost something, or never had it: it holds what it gets from the leader, and does not count
    SOUND      it holds all that it ever promised

    NEW -> SOUND      all voters are new: each has said that it has seen the very same uids (directories) of all of them;
                      or a sound node says that ours was among the founding uids
    NEW -> REJOINING  a sound node knows of another uid under our number, or of none
    REJOINING -> SOUND   this node has applied an entry that was proposed after its new life began (node/core.py)

Why all must say the same: a node may lose its directory while the ensemble is being founded.  Of two different sets of uids, each
seen by all of its own, none can hold a node that is in both, since a sound one keeps to the set it was founded with.
Why a word of who is rejoining changes nothing: a founder that has not heard the last echo may hear it before a sound node's word,
and if enough of them took it for the sign of a past nobody could ever lead.
Rule: values in, state out; it is written down (storage/soundness.py) before it is acted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum


class SoundState(Enum):
    """How far a node may be counted on."""

    NEW = "new"
    REJOINING = "rejoining"
    SOUND = "sound"


class Formation:
    """One node that does not know yet whether its ensemble is new.  Of use only while it is NEW."""

    def __init__(self, node_id: int, uid: int, voters: Sequence[int]) -> None:
        self._node_id = node_id
        self._uid = uid
        self._voters = frozenset(voters)
        # uids of the nodes that have said that they are new, ours among them.
        self.seen: dict[int, int] = {node_id: uid}
        # What each of them has said to have seen.
        self._echoes: dict[int, Mapping[int, int]] = {}
        self.state = SoundState.NEW
        self._decide()

    def hear(self, sender: int, uid: int, state: SoundState, uids: Mapping[int, int]) -> None:
        """Another node says what it is: with the uids it has seen, or those it was founded with."""
        if self.state is not SoundState.NEW:
            return
        if state is SoundState.NEW:
            if sender in self._voters:
                self.seen[sender] = uid
                self._echoes[sender] = uids
                self._decide()
        elif state is SoundState.SOUND:
            is_founder = uids.get(self._node_id) == self._uid
            self.seen = dict(uids) if is_founder else self.seen
            self.state = SoundState.SOUND if is_founder else SoundState.REJOINING

    def missing(self) -> list[int]:
        """The voters that have not said yet that they are new."""
        return sorted(self._voters - set(self.seen))

    def _decide(self) -> None:
        if self._voters != set(self.seen):
            return
        if all(self._echoes.get(voter) == self.seen for voter in self._voters if voter != self._node_id):
            self.state = SoundState.SOUND
