"""Memory that processes of a node share: memfds, and their mappings."""

from __future__ import annotations

import mmap
import os

_MAP_NORESERVE = 0x4000  # Linux's; the module mmap names it only since Python 3.13


def create_shared(name: str, size: int) -> int:
    """A new memfd of `size` bytes that nothing has touched yet, so that it takes no memory.  Raises OSError."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def reopen_read_only(fd: int) -> int:
    """The same memory behind a descriptor through which nobody can write (Z7)."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def map_shared(fd: int, size: int, *, is_writable: bool) -> mmap.mmap:
    """Maps it.  Raises OSError when the address space is limited too far (ulimit -v)."""
    protection = mmap.PROT_READ | mmap.PROT_WRITE if is_writable else mmap.PROT_READ
    return mmap.mmap(fd, size, mmap.MAP_SHARED | _MAP_NORESERVE, protection)
