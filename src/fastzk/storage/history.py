"""Which history a node's log belongs to: DATA/history, 16 hex digits under storage/checked.py's line.

A history is known by the checksum of its first block, which holds random bytes, so that no two ensembles have the same.  It
is written once, when that block is known to be committed: before that the log may still be given up for another node's.
Nodes of different histories do not listen to each other (transport/links.py): equal index and epoch would otherwise make
logs of two ensembles look alike.  Earlier versions wrote the 16 digits alone."""

import re

from fastzk.storage.checked import CheckedText, TextDamaged, read_file
from fastzk.storage.disk import Disk

HISTORY_NAME = "history"
_DIGITS = re.compile(rb"[0-9a-f]{16}\n")


class HistoryFile:
    """DATA/history.  A failed save ends the process, like one of the log."""

    def __init__(self, disk: Disk, directory: str, node_id: int, uid: int) -> None:
        self._file = CheckedText(disk, directory, HISTORY_NAME, node_id, uid)
        self.path = self._file.path
        self._disk = disk
        self._directory = directory

    def load(self) -> int:
        """The history, 0 when it is not known yet.  Raises TextDamaged for a file that says something else."""
        if not self._disk.exists(self.path):
            return 0
        line = read_file(self._disk, self.path)
        if not line.strip(b"\0"):
            return 0  # of an earlier version, whose making a crash cut short
        text = line if _DIGITS.fullmatch(line) else self._file.load()
        if text is None or _DIGITS.fullmatch(text) is None:
            raise TextDamaged(self.path, f"is not a history: {text!r}")
        return int(text, 16)

    def save(self, history: int) -> None:
        """Writes it down for good."""
        assert history != 0, "history 0 is an unknown one"
        self._file.save(f"{history:016x}\n".encode())

    def remove(self) -> None:
        """Takes a file that says nothing right out of the way: the history is not known."""
        self._disk.remove(self.path)
        self._disk.sync_dir(self._directory)
