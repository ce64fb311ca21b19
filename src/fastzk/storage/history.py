"""Which history a node's log belongs to: DATA/history, one line of 16 hex digits.

A history is known by the checksum of its first block, which holds random bytes, so that no two ensembles have the same.  It
is written once, when that block is known to be committed: before that the log may still be given up for another node's.
Nodes of different histories do not listen to each other (transport/links.py): equal index and epoch would otherwise make
logs of two ensembles look alike."""

import re

from fastzk.storage.disk import Disk
from fastzk.storage.identity import IdentityError

HISTORY_NAME = "history"
_LINE = re.compile(rb"[0-9a-f]{16}\n")


class HistoryFile:
    """DATA/history.  A failed save ends the process, like one of the log."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.path = f"{directory}/{HISTORY_NAME}"
        self._disk = disk
        self._directory = directory

    def load(self) -> int:
        """The history, 0 when it is not known yet.  Raises IdentityError for a file that says something else."""
        if not self._disk.exists(self.path):
            return 0
        file = self._disk.open(self.path)
        try:
            line = file.read(0, 64)
        finally:
            file.close()
        if not line.strip(b"\0"):
            return 0  # a crash came between its making and its sync
        if _LINE.fullmatch(line) is None:
            raise IdentityError(f"{self.path}: is not a history: {line[:40]!r}")
        return int(line, 16)

    def save(self, history: int) -> None:
        """Writes it down for good."""
        assert history != 0, "history 0 is an unknown one"
        # A crash may have left it without its line; it is then written now.
        file = self._disk.open(self.path, create=not self._disk.exists(self.path))
        try:
            file.write(0, f"{history:016x}\n".encode())
            file.sync()
        finally:
            file.close()
        self._disk.sync_dir(self._directory)
