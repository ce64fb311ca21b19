"""The disk as storage sees it: a small Protocol, and the real one.  The simulated twin is testing/disk.py.

Rules every Disk keeps:
  * Nothing written is on the disk before sync() of its file returned; no file exists, or is gone, for certain before
    sync_dir() of its directory returned.
  * write() writes all or raises; what was not yet written reads as zeros.
  * A failure is an OSError that names the file, and what was done with it where.  Whoever sees one from write, truncate or
    sync ends the process: what a failed sync left behind is unknown, and asking again would hide it.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class File(Protocol):
    """An open file."""

    path: str

    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from offset on; fewer only at the end of the file."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Writes all of data at offset, past the end if need be."""
        ...

    def truncate(self, size: int) -> None:
        """Cuts the file, or fills it up with zeros, to `size` bytes."""
        ...

    def sync(self) -> None:
        """Returns when everything written so far is on the disk, with all that is needed to read it back."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """Files by path."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Opens for reading and writing.  With create it makes a new file; FileExistsError if there is one."""
        ...

    def list(self, directory: str) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def remove(self, path: str) -> None: ...

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name, in one step; a file that had that name is gone.  Certain once sync_dir() of the
        new name's directory returned, and then of the old one's."""
        ...

    def sync_dir(self, directory: str) -> None:
        """Returns when every file made in, renamed into or removed from the directory is so on the disk."""
        ...

    def exists(self, path: str) -> bool: ...

    def make_dir(self, directory: str) -> None:
        """Makes a directory; none above it."""
        ...


@contextlib.contextmanager
def _told(path: str, what: str) -> Iterator[None]:
    """Calls on a descriptor fail without a name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what} failed: {error.strerror}", path) from error


class RealFile:
    """A file of the operating system."""

    def __init__(self, path: str, flags: int) -> None:
        self.path = path
        self._fd = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            with _told(self.path, f"read at offset {offset}"):
                piece = os.pread(self._fd, size, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        with _told(self.path, f"write at offset {offset}"):
            written = os.pwrite(self._fd, data, offset)
            if written != len(data):
                # The kernel stops early when the disk is full or the file may not grow; the next write would say so.
                raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes were written: {os.strerror(errno.ENOSPC)}")

    def truncate(self, size: int) -> None:
        with _told(self.path, f"truncate at offset {size}"):
            os.ftruncate(self._fd, size)

    def sync(self) -> None:
        with _told(self.path, "sync"):
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RealDisk:
    """The operating system's files."""

    def open(self, path: str, *, create: bool = False) -> RealFile:
        return RealFile(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0))

    def list(self, directory: str) -> list[str]:
        return sorted(os.listdir(directory))

    def remove(self, path: str) -> None:
        os.unlink(path)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def sync_dir(self, directory: str) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _told(directory, "sync of the directory"):
                os.fsync(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def make_dir(self, directory: str) -> None:
        Path(directory).mkdir(mode=DIRECTORY_MODE)
