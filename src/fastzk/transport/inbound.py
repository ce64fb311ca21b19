"""What a node takes in of another's link, by the numbers in the head of each message: sans-IO, so a simulation runs it, too.

    uid          of the sender's data directory: while one node of a number is alive, another that calls itself so is not heard
    incarnation  random for each process: what comes of an older one is an echo, and dropped
    sequence     1, 2, 3... of one incarnation: a hole is seen, what is repeated or late is dropped

Rule: which of two incarnations is the older one is not known, only which was heard first, and that may have been the newer one:
a node that has just started may hear the new process before the last words of the old.  So a replaced incarnation is heard
again when the one that replaced it has said nothing for HEARD_S; the living goes on, an echo does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

# So long must a node be silent, or have closed its link, before one with another data directory may take its number.
SUCCESSION_S = 10.0
HEARD_S = 2.0
RETIRED_MAX = 64


class Heard(Enum):
    """What a message is."""

    NEXT = "next"
    BEHIND_A_HOLE = "behind a hole"  # new, and something before it was lost
    ECHO = "echo"  # known or of an older process: to be dropped
    STRANGER = "stranger"  # of another node with the same number: to be dropped


@dataclass(slots=True)
class Inbound:
    """One other node's link to this one."""

    uid: int = 0
    heard_s: float = 0.0  # when it last said something
    _incarnation: int = 0
    _sequence: int = 0
    _taken_s: float = 0.0  # when something was last taken in
    _retired: list[int] = field(default_factory=list)  # incarnations that were replaced

    def close(self) -> None:
        """Its process is gone: one with another directory may take its place."""
        self.heard_s = -SUCCESSION_S

    def hear(self, uid: int, incarnation: int, sequence: int, now_s: float) -> Heard:
        """Judges the head of a message."""
        if self.uid and uid != self.uid and now_s - self.heard_s < SUCCESSION_S:
            return Heard.STRANGER
        self.uid, self.heard_s = uid, now_s
        is_back = False
        if incarnation != self._incarnation:
            is_back = incarnation in self._retired
            if is_back and now_s - self._taken_s < HEARD_S:
                return Heard.ECHO
            self._retired = [each for each in self._retired if each != incarnation][1 - RETIRED_MAX :]
            if self._incarnation:
                self._retired.append(self._incarnation)
            self._incarnation, self._sequence = incarnation, sequence - 1
        if sequence <= self._sequence:
            return Heard.ECHO
        is_next = sequence == self._sequence + 1 and not is_back
        self._sequence, self._taken_s = sequence, now_s
        return Heard.NEXT if is_next else Heard.BEHIND_A_HOLE
