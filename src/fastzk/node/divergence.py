"""What a node remembers of having had another tree than the others: DATA/diverged, two numbers, while that is not over.

A first difference may be an accident of this machine's memory, and an older snapshot with the log applied again heals it.  The
same again is none: the node ends, with all that it holds, for people to look at."""

from __future__ import annotations

from fastzk.storage.checked import CheckedText, TextDamaged
from fastzk.storage.disk import Disk

DIVERGED_NAME = "diverged"


class Diverged(Exception):  # noqa: N818
    """This node's tree is not the others', and a fresh one was not either.  Nothing was removed."""


class DivergenceFile:
    """One node's."""

    def __init__(self, disk: Disk, directory: str, node_id: int, uid: int) -> None:
        self._disk = disk
        self._directory = directory
        self._file = CheckedText(disk, directory, DIVERGED_NAME, node_id, uid)
        try:
            text = self._file.load()
        except TextDamaged:
            text = b"1"  # that it was there is what counts: whatever the index, agreeing with the others ends it
        self._differed_index = int(text) if text else 0

    def agreed(self, index: int) -> None:
        """Our tree was like the others' at that entry: what was is over, if that is later."""
        if self._differed_index and index >= self._differed_index:
            self._differed_index = 0
            self._disk.remove(self._file.path)
            self._disk.sync_dir(self._directory)

    def note(self, agreed_index: int, differed_index: int) -> None:
        """Our tree is another one.  Raises Diverged when it was so before, from the same entries."""
        if self._differed_index:
            raise Diverged(
                f"the tree differs from the other nodes' at entry {differed_index}, after it did so at {self._differed_index} and "
                f"was made anew; it agreed up to {agreed_index}. Keep the data directory for whoever is to find out why, remove "
                f"{self._file.path} to try again, or give the node a new --data-dir"
            )
        self._differed_index = differed_index
        self._file.save(str(differed_index).encode())
