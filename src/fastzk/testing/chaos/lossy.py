"""A disk that forgets what was not synced, and fails when told: the shim lossy.c in a node, and its undoing after a kill.

    disk = LossyDisk(data_dir, notes_dir)           both on the same file system
    subprocess.Popen(..., env=os.environ | disk.environment)
    disk.control.fail_sync(errno.EIO)               the next sync of a watched file
    ... SIGKILL to every process of the node ...
    lost = disk.lose(random)                        before it is started again

Rules: lose() only when no process of the node lives.  What a sync covered is kept, byte for byte.  What none covered is lost,
all of it or any part: names are kept in the order in which a directory's were changed, bytes by sectors in any order.
An orderly end loses nothing: forget() then, for a kernel that goes on writes everything some day.

How it works: see lossy.c.  The journals of all processes are one history, in the order of CLOCK_MONOTONIC."""

import contextlib
import errno
import functools
import itertools
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

_SOURCE = Path(__file__).with_name("lossy.c")
_RECORD = struct.Struct("<IIQQQQQIIQ")
_MAGIC = 0x59534C46
_WRITE, _SIZE, _CREATE, _REMOVE, _RENAME, _SYNC, _FAILED = range(1, 8)
SECTOR = 512
_FIELDS = (
    *("clock_offset_ns", "is_lying", "sync_countdown", "write_countdown", "failure", "sync_delay_us"),
    *("syncs", "writes", "failures"),
)


class ShimUnavailable(Exception):  # noqa: N818
    """This machine cannot build the shim; says why."""


@functools.cache
def shim_path() -> Path:
    """The shim, built on first use; it stays for as long as this process lives.  Raises ShimUnavailable."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ShimUnavailable("no C compiler for the lossy disk: install gcc")
    path = Path(_temporary().name) / "lossy.so"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(path), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ShimUnavailable(f"the lossy disk cannot be built: {done.stderr}")
    return path


@functools.cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="fastzk-lossy-")


class Control:
    """What the shim is told while the node runs, and what it has counted: a page that both map."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(mmap.PAGESIZE))
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._page = mmap.mmap(self._fd, mmap.PAGESIZE)
        self._words = memoryview(self._page).cast("q")

    def get(self, name: str) -> int:
        """A field of control_t."""
        return self._words[_FIELDS.index(name)]

    def set(self, name: str, value: int) -> None:
        """The same, from now on."""
        self._words[_FIELDS.index(name)] = value

    def fail_sync(self, code: int = errno.EIO, number: int = 1) -> None:
        """The number-th sync from now fails."""
        self.set("failure", code)
        self.set("sync_countdown", number)

    def fail_write(self, code: int = errno.EIO, number: int = 1) -> None:
        """The number-th write from now fails; with code 0 it is cut short."""
        self.set("failure", code)
        self.set("write_countdown", number)

    def heal(self) -> None:
        """No failure, no delay, no lie, and the true time again."""
        for name in _FIELDS[:6]:
            self.set(name, 0)

    def close(self) -> None:
        self._words.release()
        self._page.close()
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Change:
    """A record of the journal, as lossy.c says."""

    kind: int
    time_ns: int
    inode: int
    offset: int
    size: int
    old_size: int
    path: str
    shadow: str
    old: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """How much lose() took back."""

    writes: int = 0
    names: int = 0
    bytes: int = 0


def read_journal(data: bytes) -> Iterator[Change]:
    """The whole records; the last one may have been cut off by the kill, and then its change was not made."""
    at = 0
    while at + _RECORD.size <= len(data):
        magic, kind, time_ns, inode, offset, size, old_size, path_size, shadow_size, old_bytes = _RECORD.unpack_from(data, at)
        assert magic == _MAGIC, f"no record at {at} of the journal"
        at += _RECORD.size
        if at + path_size + shadow_size + old_bytes > len(data):
            return
        path = os.fsdecode(data[at : at + path_size])
        shadow = os.fsdecode(data[at + path_size : at + path_size + shadow_size])
        at += path_size + shadow_size
        yield Change(kind, time_ns, inode, offset, size, old_size, path, shadow, data[at : at + old_bytes])
        at += old_bytes


def unsynced(changes: list[Change]) -> list[Change]:
    """The changes that no sync made last, in order."""
    waiting: list[Change] = []
    doomed: list[Change] = []
    for change in changes:
        if change.kind == _SYNC:
            waiting = [each for each in waiting if each.inode != change.inode or each.time_ns > change.time_ns]
        elif change.kind == _FAILED:
            # What it was to sync is lost, whatever is synced later.
            doomed += [each for each in waiting if each.inode == change.inode]
            waiting = [each for each in waiting if each.inode != change.inode]
        else:
            waiting.append(change)
    return sorted(doomed + waiting, key=lambda change: change.time_ns)


class LossyDisk:
    """The disk of one node."""

    def __init__(self, data_dir: Path, notes: Path) -> None:
        notes.mkdir(parents=True, exist_ok=True)
        self._data_dir = data_dir
        self._journal = notes / "journal"
        self._journal.mkdir(exist_ok=True)
        self.control = Control(notes / "control")
        self.environment = {
            "LD_PRELOAD": str(shim_path()),
            "FASTZK_LOSSY_DATA": str(data_dir),
            "FASTZK_LOSSY_JOURNAL": str(self._journal),
            "FASTZK_LOSSY_CONTROL": str(notes / "control"),
        }

    def changes(self) -> list[Change]:
        """What the journals hold, in order."""
        found = [change for path in self._journal.glob("*.journal") for change in read_journal(path.read_bytes())]
        return sorted(found, key=lambda change: change.time_ns)

    def lose(self, random: Random | None = None) -> Lost:
        """Takes back what was not synced: everything, or with a random a part.  Says how much was lost."""
        left = unsynced(self.changes())
        bytes_lost = 0
        data = [change for change in left if change.kind in (_WRITE, _SIZE)]
        files = self._files({change.inode for change in data})
        for inode, path in files.items():
            bytes_lost += _undo_bytes(path, [change for change in data if change.inode == inode], random)
        names = [change for change in left if change.kind in (_CREATE, _REMOVE, _RENAME)]
        for directory in sorted({change.inode for change in names}):
            count = sum(change.inode == directory for change in names)
            kept = random.randint(0, count) if random is not None else 0
            first = [change for change in names if change.inode == directory][:kept]
            names = [change for change in names if change not in first]
        for change in reversed(names):
            _undo_name(change)
        self.forget()
        return Lost(len(data), len(names), bytes_lost)

    def forget(self) -> None:
        """Nothing will be lost of what was done so far."""
        for path in self._journal.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _files(self, inodes: set[int]) -> dict[int, Path]:
        """Where the files of these inodes are now."""
        found: dict[int, Path] = {}
        for root in (self._data_dir, self._journal):
            for parent, _, names in os.walk(root):
                for name in names:
                    path = Path(parent, name)
                    inode = path.lstat().st_ino
                    if inode in inodes:
                        found[inode] = path
        return found


def _undo_bytes(path: Path, changes: list[Change], random: Random | None) -> int:
    """Takes back changes of one file's bytes, in place, and writes some sectors again."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        written = [(change.offset, os.pread(fd, change.size, change.offset)) for change in changes if change.kind == _WRITE]
        for change in reversed(changes):
            os.ftruncate(fd, change.old_size)
            os.pwrite(fd, change.old, change.offset)
        if random is not None:
            for offset, data in written:
                _write_some(fd, offset, data, random)
        return sum(len(data) for _, data in written)
    finally:
        os.close(fd)


def _write_some(fd: int, offset: int, data: bytes, random: Random) -> None:
    """Any of a write's sectors: none, all, the first ones, or one by one as the dice fall."""
    end = offset + len(data)
    cuts = [offset, *range((offset // SECTOR + 1) * SECTOR, end, SECTOR), end]
    pieces = list(itertools.pairwise(cuts))
    how = random.randrange(4)
    count = random.randint(0, len(pieces))
    for number, (start, stop) in enumerate(pieces):
        if how == 1 or (how == 2 and number < count) or (how == 3 and random.random() < 0.5):
            os.pwrite(fd, data[start - offset : stop - offset], start)


def _undo_name(change: Change) -> None:
    """Takes back a name that was made, moved or removed; the kill may have come before it was."""
    path, shadow = Path(change.path), Path(change.shadow)
    if change.kind == _CREATE:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    elif change.kind == _RENAME:
        if not os.path.lexists(path) and os.path.lexists(shadow):
            shadow.rename(path)
    elif not os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            shadow.rename(path)
