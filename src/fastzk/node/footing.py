"""Whether this node counts: its soundness, how it comes by it, and how it helps others to theirs (state/formation.py).

    NEW          it tells the others each tick what it has seen, until all have seen the same, or somebody knows better
    REJOINING    it asks the leader, once in ASK_TICKS, for an entry with its nonce; when that is applied here it is sound again
    SOUND        as a leader it proposes such entries for others

Rule: it is written down before it is acted on.  Why an entry proves a node level: docs/internals/consensus.md."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Sequence

from fastzk._core.blocks import make_entry
from fastzk.raft.peer import Peer
from fastzk.state.formation import Formation, SoundState
from fastzk.storage.soundness import Soundness, SoundnessFile
from fastzk.wire.ensemble import Present

OP_REJOIN = -16
ASK_TICKS = 10
# A node that asks again is proposed for again only after so many ticks.
PROPOSE_TICKS = 20

_BODY = struct.Struct("<HQ")

logger = logging.getLogger("fastzk.engine")


class Footing:
    """One node's."""

    def __init__(self, node_id: int, uid: int, voters: Sequence[int], file: SoundnessFile, now: Soundness) -> None:
        self._node_id = node_id
        self._uid = uid
        self._file = file
        self.soundness = now
        self._formation = Formation(node_id, uid, voters) if now.state is SoundState.NEW else None
        # Index and epoch of the batch that holds our entry: applied, but perhaps not on our own disk yet.
        self._proof: tuple[int, int] | None = None
        # When a rejoin of each node was proposed last, in ticks.
        self._proposed: dict[int, int] = {}
        self._ticks = 0

    @property
    def is_sound(self) -> bool:
        return self.soundness.is_sound

    def present(self, client_address: str, address: str) -> Present:
        """What the others are told of us."""
        uids = self._formation.seen if self._formation is not None else self.soundness.founding
        return Present(client_address, address, self._uid, self.soundness.state, tuple(sorted(uids.items())))

    def hear(self, sender: int, present: Present, nonce: int, peer: Peer) -> None:
        """Another node tells what it is.  `nonce` is random, for the case that we have to rejoin.  Raises OSError."""
        formation = self._formation
        if formation is None:
            return
        formation.hear(sender, present.uid, present.state, dict(present.uids))
        if formation.state is SoundState.SOUND:
            logger.info("node %d is one of those that found the ensemble: %s", self._node_id, sorted(formation.seen))
            self._become_sound(Soundness.sound(formation.seen), 0, peer.epoch, peer)
        elif formation.state is SoundState.REJOINING:
            logger.info("node %d is new to an ensemble that has been in use: it decides nothing until it is level", self._node_id)
            self._formation = None
            self.soundness = self.soundness.rejoining("its data directory was new, and the ensemble was not", nonce)
            self._file.save(self.soundness)

    def tick(self, peer: Peer) -> bool:
        """One unit of time has passed.  True when the leader is to be asked for a rejoin now.  Raises OSError."""
        self._ticks += 1
        if self._proof is not None and self._proof[0] <= min(peer.synced_index, peer.applied_index):
            logger.info("node %d is level: it counts again", self._node_id)
            self._become_sound(self.soundness.proven(), *self._proof, peer)
            self._proof = None
        return self.soundness.state is SoundState.REJOINING and self._ticks % ASK_TICKS == 0

    @property
    def is_new(self) -> bool:
        """Whether the others are to be told of us each tick."""
        return self._formation is not None

    def missing(self) -> list[int]:
        """The nodes that must be heard before a new ensemble can begin."""
        return self._formation.missing() if self._formation is not None else []

    def entry_for(self, node_id: int, nonce: int) -> bytes | None:
        """The leader's: the entry that another node asks for; None when one was proposed just now."""
        if self._ticks - self._proposed.get(node_id, -PROPOSE_TICKS) < PROPOSE_TICKS:
            return None
        self._proposed[node_id] = self._ticks
        return make_entry(OP_REJOIN, _BODY.pack(node_id, nonce))

    def applied(self, rejoins: Iterable[tuple[int, int]], index: int, epoch: int) -> None:
        """Entries of this kind were applied, in the batch that ends at `index`, of that epoch."""
        for node_id, nonce in rejoins:
            is_ours = node_id == self._node_id and self.soundness.state is SoundState.REJOINING
            if is_ours and nonce == self.soundness.nonce:
                self._proof = (index, epoch)

    def _become_sound(self, soundness: Soundness, index: int, epoch: int, peer: Peer) -> None:
        self._file.save(soundness)
        self.soundness = soundness
        self._formation = None
        peer.become_sound(index, epoch)
