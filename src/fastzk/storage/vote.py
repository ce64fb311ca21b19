"""The epoch this node is in and whom it voted for in it: two numbers that must never be forgotten.

    offset 0                 4096                8192
    | slot of even sequences | slot of odd ones | end           a slot: 64 bytes, then zeros

Rule: save() has returned before anything that rests on it leaves the node (Z2).  Rule: the epoch never falls.
Rule: what is not right is refused.  A node that forgot a vote may vote twice, and then two leaders share an epoch; one
that does not vote is merely missed.  So the older slot never stands in for a newer one that cannot be read: a save is
one sector and cannot tear, hence a slot that is wrong was changed later."""

import struct

import xxhash

from fastzk.storage.disk import Disk

SLOT_MAGIC = 0x3174_6F56
SLOT_VERSION = 1
SLOT_DISTANCE = 4096
FILE_SIZE = 2 * SLOT_DISTANCE
VOTE_NAME = "vote"

_SLOT = struct.Struct("<IIQQQQ24x")
_CHECKED_FROM = 16


class VoteDamaged(Exception):  # noqa: N818
    """The vote file does not say what was voted.  The node must not vote."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file


def _pack(sequence: int, epoch: int, vote: int) -> bytes:
    checked = _SLOT.pack(0, 0, 0, sequence, epoch, vote)[_CHECKED_FROM:]
    return _SLOT.pack(SLOT_MAGIC, SLOT_VERSION, xxhash.xxh3_64_intdigest(checked), sequence, epoch, vote)


def _unpack(data: bytes, sequence_parity: int) -> tuple[int, int, int] | None:
    """(sequence, epoch, vote), or None: not right."""
    sequence, epoch, vote = _SLOT.unpack_from(data)[3:]
    is_right = data == _pack(sequence, epoch, vote) and sequence & 1 == sequence_parity
    return (sequence, epoch, vote) if is_right else None


class VoteFile:
    """DATA/vote.  load() before anything else.  A failed save is never repeated: the process must end."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.path = f"{directory}/{VOTE_NAME}"
        self._disk = disk
        self._directory = directory
        self._sequence = -1
        self._epoch = 0

    def load(self, *, is_new: bool = False) -> tuple[int, int]:
        """(epoch, vote), vote 0 = none.  Raises VoteDamaged.

        is_new: nothing was ever promised from this directory, so a file that is missing or unfinished is made."""
        if is_new and not self._is_finished():
            self._create()
        if not self._disk.exists(self.path):
            raise VoteDamaged(self.path, "missing, though this node has been in use")
        file = self._disk.open(self.path)
        try:
            data = file.read(0, FILE_SIZE + 1)
        finally:
            file.close()
        if len(data) != FILE_SIZE:
            raise VoteDamaged(self.path, f"{len(data)} bytes, not {FILE_SIZE}")
        even = _unpack(data[: _SLOT.size], 0)
        odd = _unpack(data[SLOT_DISTANCE : SLOT_DISTANCE + _SLOT.size], 1)
        if even is None or odd is None:
            offset = 0 if even is None else SLOT_DISTANCE
            raise VoteDamaged(self.path, f"the slot at {offset} is not right")
        older, newer = sorted((even, odd))
        if newer[0] != older[0] + 1 or newer[1] < older[1]:
            raise VoteDamaged(self.path, f"the slots do not belong together: {older}, {newer}")
        self._sequence, self._epoch, vote = newer
        return self._epoch, vote

    def save(self, epoch: int, vote: int) -> None:
        """Returns when it is on the disk.  Raises OSError: the process must end."""
        assert self._sequence >= 0, "a save without a load, or after one that failed"
        assert epoch >= self._epoch, f"Z1: epoch {epoch} after {self._epoch}"
        sequence, self._sequence = self._sequence + 1, -1
        file = self._disk.open(self.path)
        try:
            file.write(sequence % 2 * SLOT_DISTANCE, _pack(sequence, epoch, vote))
            file.sync()
        finally:
            file.close()
        self._sequence, self._epoch = sequence, epoch

    def _is_finished(self) -> bool:
        """Whether the file was made to its end: a crash may have come between."""
        if not self._disk.exists(self.path):
            return False
        file = self._disk.open(self.path)
        try:
            data = file.read(0, FILE_SIZE + 1)
        finally:
            file.close()
        return len(data) >= FILE_SIZE and (any(data[:SLOT_DISTANCE]) and any(data[SLOT_DISTANCE:]))

    def _create(self) -> None:
        is_there = self._disk.exists(self.path)
        file = self._disk.open(self.path, create=not is_there)
        try:
            file.write(0, _pack(0, 0, 0).ljust(SLOT_DISTANCE, b"\0") + _pack(1, 0, 0).ljust(SLOT_DISTANCE, b"\0"))
            file.sync()
        finally:
            file.close()
        self._disk.sync_dir(self._directory)
