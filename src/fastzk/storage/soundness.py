"""Whether a node still holds all that it ever promised: DATA/soundness.

    new         first use: nothing was promised yet, and whether the ensemble has a history without this node is unknown
    rejoining   it has lost something (a damaged log, a vote, its directory), or came later than the ensemble
    sound       it holds everything it acknowledged, and remembers each vote

Rule: only a sound node votes, campaigns, or is counted for a commit.
Rule: `rejoining` is written before anything is repaired, so a crash in the middle never leaves `sound` beside a loss.
Rule: only a node whose state is `new` may become sound by being named among the founding uids: one that is rejoining kept its
uid and lost what it had promised under it.

The text, under storage/checked.py's line, one fact a line:

    state rejoining
    nonce 0123456789abcdef                              of the entry that will prove it level
    reason DATA/log/log.0000000000000001: offset 104: ...
    founding 1=0123456789abcdef,2=...                   uids of the directories that began the ensemble, when it was there"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastzk.state.formation import SoundState
from fastzk.storage.checked import CheckedText, TextDamaged
from fastzk.storage.disk import Disk

__all__ = ["SOUNDNESS_NAME", "SoundState", "Soundness", "SoundnessFile"]

SOUNDNESS_NAME = "soundness"
REASON_CHARACTERS_MAX = 2000
_FACTS = re.compile(
    r"state (new|rejoining|sound)\n(?:nonce ([0-9a-f]{16})\n)?(?:reason ([^\n]*)\n)?"
    r"(?:founding ((?:\d{1,3}=[0-9a-f]{16})(?:,\d{1,3}=[0-9a-f]{16})*)\n)?"
)


@dataclass(frozen=True, slots=True)
class Soundness:
    """What DATA/soundness says."""

    state: SoundState
    # While rejoining: what was lost, in words for people, and the nonce of the proof.
    reason: str = ""
    nonce: int = 0
    # Directories that began the ensemble, by node id; empty when this one was not among them.
    founding: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return self.state is SoundState.SOUND

    @classmethod
    def new(cls) -> "Soundness":
        return cls(SoundState.NEW)

    @classmethod
    def sound(cls, founding: Mapping[int, int] | None = None) -> "Soundness":
        """One that holds everything; founding: the uids it was begun with, by node id, if it was there."""
        return cls(SoundState.SOUND, founding=dict(founding or {}))

    def rejoining(self, reason: str, nonce: int) -> "Soundness":
        """What it becomes when something is lost."""
        assert nonce, "nonce 0 is none"
        return Soundness(SoundState.REJOINING, " ".join(reason.split())[:REASON_CHARACTERS_MAX], nonce, self.founding)

    def proven(self) -> "Soundness":
        """What a node that is rejoining becomes once it has applied the entry of its nonce."""
        assert self.state is SoundState.REJOINING, f"a node that is {self.state.value} has nothing to prove"
        return Soundness.sound(self.founding)


class SoundnessFile:
    """DATA/soundness.  A failed save ends the process."""

    def __init__(self, disk: Disk, directory: str, node_id: int, uid: int) -> None:
        self._file = CheckedText(disk, directory, SOUNDNESS_NAME, node_id, uid)
        self.path = self._file.path

    def load(self) -> Soundness | None:
        """None if there is no such file.  Raises TextDamaged."""
        text = self._file.load()
        if text is None:
            return None
        match = _FACTS.fullmatch(text.decode("utf-8", "replace"))
        if match is None:
            raise TextDamaged(self.path, f"says nothing that makes sense: {text[:60]!r}")
        pairs = (pair.split("=") for pair in (match[4] or "").split(",") if pair)
        founding = {int(node_id): int(uid, 16) for node_id, uid in pairs}
        return Soundness(SoundState(match[1]), match[3] or "", int(match[2] or "0", 16), founding)

    def save(self, soundness: Soundness) -> None:
        """Returns when it is on the disk."""
        lines = [f"state {soundness.state.value}"]
        if soundness.state is SoundState.REJOINING:
            lines += [f"nonce {soundness.nonce:016x}", f"reason {soundness.reason}"]
        if soundness.founding:
            pairs = sorted(soundness.founding.items())
            lines.append("founding " + ",".join(f"{node_id}={uid:016x}" for node_id, uid in pairs))
        self._file.save("".join(f"{line}\n" for line in lines).encode())
