"""A disk in memory that can crash, fail and rot: the simulated twin of storage/disk.py.

    disk = SimulatedDisk()
    disk.crash(random)                  keeps what was synced, and of the rest whatever a crash might keep
    disk.stop_at(7); disk.fail_at(7)    power goes, or the operation fails, at the 7th operation from now
    disk.flip(path, 100)                a byte changes

Theory: a file is what is on the disk and the changes since the last sync.  A crash keeps of these changes what its mode
says: sector by sector, each wholly or not at all; a file may have grown and its new bytes be zeros; names appear and
vanish as far as sync_dir() said, and beyond that as chance says."""

import errno
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

from fastzk.storage.segments import SECTOR

CrashMode = Literal["none", "all", "prefix", "zeros", "scattered"]
_T = TypeVar("_T")

# none: nothing unsynced survives; all: everything; prefix: the changes up to some point, the last of them in part;
# zeros: the same, and files are as long as they were, filled up with zeros; scattered: any sectors of any changes.
CRASH_MODES: tuple[CrashMode, ...] = ("none", "all", "prefix", "zeros", "scattered")


class Stopped(Exception):  # noqa: N818
    """The power is gone; call crash() and open everything again."""


@dataclass(slots=True)
class _Change:
    """A write at offset, or, without data, a truncation to offset."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class _Inode:
    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    changes: list[_Change] = field(default_factory=list)


# A path and the inode that it stands for from now on, or None: the name is gone.
_Name = tuple[str, _Inode | None]


def _apply(content: bytearray, change: _Change) -> None:
    end = change.offset + len(change.data or b"")
    if change.data is None:
        del content[change.offset :]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.data is not None:
        content[change.offset : end] = change.data


def _sectors(change: _Change) -> list[_Change]:
    """A write as one change for each sector; a truncation is one change."""
    if change.data is None:
        return [change]
    pieces, at, data = [], change.offset, change.data
    while data:
        size = SECTOR - at % SECTOR
        pieces.append(_Change(at, data[:size]))
        at, data = at + size, data[size:]
    return pieces


class SimulatedFile:
    """An open file of a SimulatedDisk."""

    def __init__(self, disk: "SimulatedDisk", path: str, inode: _Inode) -> None:
        self.path = path
        self._disk = disk
        self._inode = inode
        self._boots = disk.boots

    def size(self) -> int:
        return len(self._inode.now)

    def read(self, offset: int, size: int) -> bytes:
        self._disk.check_readable(self.path)
        assert self._boots == self._disk.boots, f"{self.path} was opened before the crash"
        return bytes(self._inode.now[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        try:
            self._operation()
        except Exception:
            half = (offset + len(data) // 2) // SECTOR * SECTOR - offset
            if half > 0 and not self._disk.is_stopped:
                self._change(_Change(offset, data[:half]))
            raise
        self._change(_Change(offset, data))

    def truncate(self, size: int) -> None:
        self._operation()
        self._change(_Change(size, None))

    def sync(self) -> None:
        self._operation()
        self._inode.synced = bytes(self._inode.now)
        self._inode.changes.clear()

    def close(self) -> None:
        pass

    def _operation(self) -> None:
        assert self._boots == self._disk.boots, f"{self.path} was opened before the crash"
        self._disk.operation(self.path)

    def _change(self, change: _Change) -> None:
        self._inode.changes.append(change)
        _apply(self._inode.now, change)


class SimulatedDisk:
    """Files in memory.  Directories need not be made; those that were made survive every crash."""

    def __init__(self) -> None:
        # How often it has crashed; files opened before are dead.
        self.boots = 0
        # Operations that change or sync something, since the start.
        self.operations = 0
        self._files: dict[str, _Inode] = {}
        self._synced_files: dict[str, _Inode] = {}
        # Since the last sync of their directory, what became of names: made, removed, or, in one step, renamed.
        self._entries: list[list[_Name]] = []
        self._directories: set[str] = set()
        # Files that cannot be read.
        self._unreadable: set[str] = set()
        self._stop_at = self._fail_at = 0
        self._code = 0
        # The power is gone and this was not the operation during which it went: it has no effect at all.
        self.is_stopped = False

    def open(self, path: str, *, create: bool = False) -> SimulatedFile:
        if create:
            self.operation(path)
            if path in self._files:
                raise FileExistsError(errno.EEXIST, "it exists", path)
            self._files[path] = _Inode()
            self._entries.append([(path, self._files[path])])
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", path)
        return SimulatedFile(self, path, self._files[path])

    def list(self, directory: str) -> list[str]:
        inside = (path.removeprefix(f"{directory}/") for path in self._files if path.startswith(f"{directory}/"))
        return sorted({name.split("/")[0] for name in inside})

    def remove(self, path: str) -> None:
        self.operation(path)
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", path)
        del self._files[path]
        self._entries.append([(path, None)])

    def rename(self, old: str, new: str) -> None:
        self.operation(old)
        if old not in self._files:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", old)
        inode = self._files.pop(old)
        self._files[new] = inode
        self._unreadable.discard(new)
        if old in self._unreadable:
            self._unreadable.remove(old)
            self._unreadable.add(new)
        self._entries.append([(new, inode), (old, None)])

    def sync_dir(self, directory: str) -> None:
        self.operation(directory)
        kept = []
        for names in self._entries:
            left = []
            for path, inode in names:
                if path.rpartition("/")[0] == directory:
                    self._set_synced(path, inode)
                else:
                    left.append((path, inode))
            if left:
                kept.append(left)
        self._entries = kept

    def exists(self, path: str) -> bool:
        is_directory = path in self._directories or any(name.startswith(f"{path}/") for name in self._files)
        return path in self._files or is_directory

    def make_dir(self, directory: str) -> None:
        self._directories.add(directory)

    def operation(self, path: str) -> None:
        """Counts one operation; the one that is to fail or to be the last does so before it has an effect."""
        self.operations += 1
        if 0 < self._stop_at <= self.operations:
            self.is_stopped = self._stop_at < self.operations
            raise Stopped(path)
        if self.operations == self._fail_at:
            raise OSError(self._code, "simulated", path)

    def stop_at(self, operation: int) -> None:
        """The power goes at the n-th operation from now, 1 = the next."""
        self._stop_at = self.operations + operation

    def fail_at(self, operation: int, code: int = errno.EIO) -> None:
        """The n-th operation from now fails, 1 = the next.  A write that fails may have written some."""
        self._fail_at, self._code = self.operations + operation, code

    def crash(self, random: Random, mode: CrashMode | None = None) -> None:
        """The power goes and comes back.  Every open file is dead."""
        how = random.choice(CRASH_MODES) if mode is None else mode
        for names in _kept(self._entries, random, how):
            for path, inode in names:
                self._set_synced(path, inode)
        for file in self._synced_files.values():
            file.synced = _content_after_crash(file, random, how)
            file.now = bytearray(file.synced)
            file.changes.clear()
        self._files = dict(self._synced_files)
        self._entries.clear()
        self.boots += 1
        self._stop_at = self._fail_at = 0
        self.is_stopped = False

    def paths(self) -> tuple[str, ...]:
        """Of all files, sorted."""
        return tuple(sorted(self._files))

    def content(self, path: str) -> bytes:
        return bytes(self._files[path].now)

    def put(self, path: str, content: bytes) -> None:
        """Makes a file be on the disk with this content."""
        self._unreadable.discard(path)
        inode = _Inode(bytearray(content), bytes(content))
        self._files[path] = self._synced_files[path] = inode

    def flip(self, path: str, offset: int, mask: int = 1) -> None:
        """The medium changes bits of one byte."""
        inode = self._files[path]
        inode.now[offset] ^= mask
        inode.synced = bytes(inode.now)

    def spoil(self, path: str) -> None:
        """The medium no longer gives a file back: each read of it is an EIO."""
        self._unreadable.add(path)

    def check_readable(self, path: str) -> None:
        """Raises OSError for a file that was spoilt."""
        if path in self._unreadable:
            raise OSError(errno.EIO, "simulated", path)

    def _set_synced(self, path: str, inode: _Inode | None) -> None:
        if inode is None:
            self._synced_files.pop(path, None)
        else:
            self._synced_files[path] = inode


def _kept(changes: list[_T], random: Random, mode: CrashMode) -> list[_T]:
    """Which of these unsynced changes a crash keeps."""
    if mode == "none":
        return []
    if mode == "scattered":
        return [change for change in changes if random.random() < 0.5]
    return changes if mode == "all" else changes[: random.randint(0, len(changes))]


def _content_after_crash(file: _Inode, random: Random, mode: CrashMode) -> bytes:
    content = bytearray(file.synced)
    pieces = [piece for change in file.changes for piece in _sectors(change)]
    for piece in _kept(pieces, random, mode):
        _apply(content, piece)
    if mode == "zeros" and len(content) < len(file.now):
        content.extend(bytes(len(file.now) - len(content)))
    if mode in ("prefix", "scattered") and len(content) > len(file.synced) and random.random() < 0.5:
        # The bytes may be there while the size is not yet.
        del content[random.randint(len(file.synced), len(content)) :]
    return bytes(content)
