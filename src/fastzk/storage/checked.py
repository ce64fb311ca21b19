"""Small files of text that say what is wrong with them: one line of whose they are, under a checksum, then the text.

    fastzk <kind> 1 node <node id> uid <16 hex digits> check <16 hex digits>
    <text>

node and uid are the data directory's, so that a file of another directory is told from one that was changed.  check is xxh3-64
over the first line without its last two words, and the text.

Rule: a file is replaced as a whole: written under another name, synced, renamed, the directory synced.  A crash leaves the
old one or the new one."""

import errno
import re

import xxhash

from fastzk.storage.disk import Disk

NEW_SUFFIX = ".new"  # of a file that is being written; one that is left over means nothing
SIZE_MAX = 1 << 20
_LINE = re.compile(rb"(fastzk ([a-z]+) (\d{1,9}) node (\d{1,9}) uid ([0-9a-f]{16})) check ([0-9a-f]{16})\n")
_VERSION = 1


class TextDamaged(Exception):  # noqa: N818
    """A file does not say what was written into it, or was written elsewhere."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def read_file(disk: Disk, path: str, size_max: int = SIZE_MAX) -> bytes:
    """A small file.  Raises TextDamaged when the medium does not give it back."""
    file = disk.open(path)
    try:
        return file.read(0, size_max + 1)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise TextDamaged(path, "cannot be read from the disk (EIO)") from error
    finally:
        file.close()


def replace_file(disk: Disk, directory: str, name: str, data: bytes) -> None:
    """Makes a file hold `data`, or leaves it as it was.  Raises OSError: the process must end."""
    new = f"{directory}/{name}{NEW_SUFFIX}"
    if disk.exists(new):
        disk.remove(new)
    file = disk.open(new, create=True)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    disk.rename(new, f"{directory}/{name}")
    disk.sync_dir(directory)


def checksum(head: bytes, text: bytes) -> bytes:
    """16 hex digits over the words of a first line and what stands below it."""
    return b"%016x" % xxhash.xxh3_64_intdigest(head + b"\n" + text)


class CheckedText:
    """DATA/<kind>, of one data directory.  A failed save ends the process."""

    def __init__(self, disk: Disk, directory: str, kind: str, node_id: int, uid: int) -> None:
        self.path = f"{directory}/{kind}"
        self._disk = disk
        self._directory = directory
        self._kind = kind
        self._node_id = node_id
        self._uid = uid

    def load(self) -> bytes | None:
        """The text; None if there is no such file.  Raises TextDamaged."""
        if not self._disk.exists(self.path):
            return None
        data = read_file(self._disk, self.path)
        match = _LINE.match(data)
        if match is None or checksum(match[1], data[match.end() :]) != match[6]:
            raise TextDamaged(self.path, "was changed since it was written: its checksum is not right")
        kind, version, node_id, uid = match[2].decode(), int(match[3]), int(match[4]), int(match[5], 16)
        if kind != self._kind:
            raise TextDamaged(self.path, f"holds what belongs into the file {kind!r}")
        if version != _VERSION:
            raise TextDamaged(self.path, f"is of format {version}, not of format {_VERSION}")
        if node_id != self._node_id:
            raise TextDamaged(self.path, f"is of node {node_id}, not of node {self._node_id}")
        if uid != self._uid:
            raise TextDamaged(self.path, f"is of another data directory of node {node_id} (uid {uid:016x})")
        return data[match.end() :]

    def save(self, text: bytes) -> None:
        """Returns when it is on the disk."""
        head = f"fastzk {self._kind} {_VERSION} node {self._node_id} uid {self._uid:016x}".encode()
        replace_file(self._disk, self._directory, self._kind, head + b" check " + checksum(head, text) + b"\n" + text)
