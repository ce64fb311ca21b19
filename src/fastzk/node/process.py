"""What a child process does first: die with its parent, run on its cores, and be found in a process list."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def die_with_parent(parent_pid: int) -> None:
    """Asks the kernel to kill this process when its parent ends, so that a killed supervisor leaves nothing behind."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)  # it ended before the request was made


def set_name(name: str) -> None:
    """Names this process (15 bytes are kept) for ps, top and perf."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def raise_descriptor_limit() -> None:
    """As many descriptors as the system allows, for this process and its children: the soft limit of a shell is 1024, and the
    engine needs one for its log when strangers have taken the others."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(cpus: Sequence[int]) -> None:
    """Lets this process and its future threads run on these cores only."""
    os.sched_setaffinity(0, cpus)


def share_cores(cpus: Sequence[int], processes: int, is_pinned: bool) -> list[list[int]]:
    """The cores of each process: one each where there are enough and it is wanted, else all of them for everyone."""
    if is_pinned and processes <= len(cpus):
        return [[cpus[number]] for number in range(processes)]
    return [list(cpus) for _ in range(processes)]
