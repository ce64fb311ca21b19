"""What was found damaged is kept for people: DATA/damaged/<occasion>.<name of the file>.

Rule: nothing here is ever read back by a node.  Rule: a file is renamed, so its bytes are the ones that were found, also those
that cannot be read; small files, whose place is taken by a new one at once, are copied.
Rule: the last EVIDENCE_KEPT occasions are kept; a disk must not fill up with what nobody looked at."""

import re

from fastzk.limits import EVIDENCE_KEPT
from fastzk.storage.checked import SIZE_MAX, TextDamaged, read_file
from fastzk.storage.disk import Disk

EVIDENCE_NAME = "damaged"
_NAME = re.compile(r"(\d{1,9})\..*")


class Evidence:
    """One occasion: what one start of a node sets aside.  Nothing is made before the first file comes."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.path = f"{directory}/{EVIDENCE_NAME}"
        self._disk = disk
        self._occasion = 0

    def move(self, path: str) -> str:
        """Takes a file away, for certain; gives its new path."""
        kept = self._place(path)
        self._disk.rename(path, kept)
        # In this order: after a crash the file has one name or both.
        self._disk.sync_dir(self.path)
        self._disk.sync_dir(path.rpartition("/")[0])
        return kept

    def copy(self, path: str) -> str:
        """Keeps what a small file says, as far as it can be read; gives the path of the copy, "" if there is none."""
        if not self._disk.exists(path):
            return ""
        try:
            data = read_file(self._disk, path)[:SIZE_MAX]
        except TextDamaged:
            return ""
        kept = self._place(path)
        file = self._disk.open(kept, create=True)
        try:
            file.write(0, data)
            file.sync()
        finally:
            file.close()
        self._disk.sync_dir(self.path)
        return kept

    def beside(self, path: str, suffix: str) -> str:
        """A path for what is to take a file's place."""
        return f"{self._place(path)}.{suffix}"

    def _place(self, path: str) -> str:
        if not self._occasion:
            self._begin()
        return f"{self.path}/{self._occasion}.{path.rpartition('/')[2]}"

    def _begin(self) -> None:
        if not self._disk.exists(self.path):
            self._disk.make_dir(self.path)
            self._disk.sync_dir(self.path.rpartition("/")[0])
        found: dict[int, list[str]] = {}
        for name in self._disk.list(self.path):
            if match := _NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(name)
        self._occasion = max(found, default=0) + 1
        for occasion in sorted(found)[: max(0, len(found) + 1 - EVIDENCE_KEPT)]:
            for name in found[occasion]:
                self._disk.remove(f"{self.path}/{name}")
        self._disk.sync_dir(self.path)
