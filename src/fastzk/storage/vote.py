"""The epoch this node is in and whom it voted for in it: two numbers that must never be forgotten.

    offset 0                 4096                8192
    | slot of even sequences | slot of odd ones | end           a slot: 64 bytes, then zeros

Rule: save() has returned before anything that rests on it leaves the node (Z2).  Rule: the epoch never falls.
Rule: what is not right is refused.  A node that forgot a vote may vote twice, and then two leaders share an epoch; one
that does not vote is merely missed.  So the older slot never stands in for a newer one that cannot be read: a save is
one sector and cannot tear, hence a slot that is wrong was changed later.

Beside them stands an index that was known to be committed and was on this disk when the vote was saved: a log that ends before
it has lost something, however right it looks (storage/recovery.py)."""

import struct

import xxhash

from fastzk.storage.checked import TextDamaged, read_file, replace_file
from fastzk.storage.disk import Disk

SLOT_MAGIC = 0x3174_6F56
SLOT_VERSION = 1
SLOT_DISTANCE = 4096
FILE_SIZE = 2 * SLOT_DISTANCE
VOTE_NAME = "vote"

_SLOT = struct.Struct("<IIQQQQQQ8x")
_CHECKED_FROM = 16


class VoteDamaged(Exception):  # noqa: N818
    """The vote file does not say what was voted.  The node must not vote."""

    def __init__(self, file: str, reason: str, epoch: int = 0) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason
        # The node was in this epoch or in a later one, as far as the file still tells.
        self.epoch = epoch


_Slot = tuple[int, int, int, int, int]  # sequence, epoch, vote, committed index, uid


def _pack(slot: _Slot) -> bytes:
    checked = _SLOT.pack(0, 0, 0, *slot)[_CHECKED_FROM:]
    return _SLOT.pack(SLOT_MAGIC, SLOT_VERSION, xxhash.xxh3_64_intdigest(checked), *slot)


def _unpack(data: bytes, sequence_parity: int) -> _Slot | None:
    """What a slot says, or None: not right."""
    slot: _Slot = _SLOT.unpack(data)[3:]
    is_right = data == _pack(slot) and slot[0] & 1 == sequence_parity
    return slot if is_right else None


def _slots(epoch: int, uid: int) -> bytes:
    """A file that says: in this epoch, without a vote."""
    return b"".join(_pack((sequence, epoch, 0, 0, uid)).ljust(SLOT_DISTANCE, b"\0") for sequence in (0, 1))


class VoteFile:
    """DATA/vote.  load() before anything else.  A failed save is never repeated: the process must end.

    uid: the data directory's; 0 says nothing.  A file of another directory is refused."""

    def __init__(self, disk: Disk, directory: str, uid: int = 0) -> None:
        self.path = f"{directory}/{VOTE_NAME}"
        self._disk = disk
        self._directory = directory
        self._uid = uid
        self._sequence = -1
        self._epoch = 0
        # Known committed, and on this disk, when the vote was saved last.  Never falls.
        self.committed_index = 0

    def load(self, *, is_new: bool = False) -> tuple[int, int]:
        """(epoch, vote), vote 0 = none.  Raises VoteDamaged.

        is_new: nothing was ever promised from this directory, so a file that is missing or unfinished is made."""
        if is_new and not self._is_finished():
            self._write(0)
        if not self._disk.exists(self.path):
            raise VoteDamaged(self.path, "missing, though this node has been in use")
        try:
            data = read_file(self._disk, self.path, FILE_SIZE)
        except TextDamaged as damaged:
            raise VoteDamaged(self.path, damaged.reason) from damaged
        slots = [_unpack(data[at : at + _SLOT.size].ljust(_SLOT.size, b"\0"), at and 1) for at in (0, SLOT_DISTANCE)]
        known = max((slot[1] for slot in slots if slot), default=0)
        if len(data) != FILE_SIZE:
            size = "more" if len(data) > FILE_SIZE else str(len(data))
            raise VoteDamaged(self.path, f"{size} bytes, not {FILE_SIZE}", known)
        even, odd = slots
        if even is None or odd is None:
            offset = 0 if even is None else SLOT_DISTANCE
            raise VoteDamaged(self.path, f"the slot at {offset} is not right", known)
        if any(data[_SLOT.size : SLOT_DISTANCE]) or any(data[SLOT_DISTANCE + _SLOT.size :]):
            raise VoteDamaged(self.path, "something stands where zeros were written", known)
        older, newer = sorted((even, odd))
        if newer[0] != older[0] + 1 or newer[1] < older[1] or newer[3] < older[3]:
            raise VoteDamaged(self.path, f"the slots do not belong together: {older}, {newer}", known)
        if self._uid and newer[4] not in (0, self._uid):
            raise VoteDamaged(self.path, f"is of another data directory (uid {newer[4]:016x})")
        self._sequence, self._epoch, vote, self.committed_index, _ = newer
        return self._epoch, vote

    def settle(self) -> None:
        """Syncs what load() gave: a process that was killed may have written it and no more.  Before anything rests on it."""
        file = self._disk.open(self.path)
        try:
            file.sync()
        finally:
            file.close()

    def save(self, epoch: int, vote: int, committed_index: int = 0) -> None:
        """Returns when it is on the disk.  Raises OSError: the process must end.

        committed_index: an entry known to be committed that is synced in the log here, or covered by a snapshot here."""
        assert self._sequence >= 0, "a save without a load, or after one that failed"
        assert epoch >= self._epoch, f"Z1: epoch {epoch} after {self._epoch}"
        sequence, self._sequence = self._sequence + 1, -1
        committed_index = max(committed_index, self.committed_index)
        file = self._disk.open(self.path)
        try:
            file.write(sequence % 2 * SLOT_DISTANCE, _pack((sequence, epoch, vote, committed_index, self._uid)))
            file.sync()
        finally:
            file.close()
        self._sequence, self._epoch, self.committed_index = sequence, epoch, committed_index

    def create(self) -> None:
        """Makes the file at the first use of a directory, from which nothing was ever promised."""
        self._write(0)

    def renew(self, epoch: int) -> None:
        """Puts a file without a vote in the place of one that is damaged; only on a node that is not sound, and so never votes."""
        self._write(epoch)
        self.load()

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

    def _write(self, epoch: int) -> None:
        self.committed_index = 0
        replace_file(self._disk, self._directory, VOTE_NAME, _slots(epoch, self._uid))
