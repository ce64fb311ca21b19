"""The page of counters that the processes of a node share: one slot for each worker, so that any worker can answer for all.

    slot 0                        slot 1                        ...     one per place of a worker
    | STAT_NAMES, u64 each | 0 |  | STAT_NAMES, u64 each | 0 |          SLOT_COUNTERS x 8 bytes

Rules: a slot is written by its worker only (by compiled code, which knows the same names) and read by everybody; a counter
is read and written whole, and nothing orders two counters.  A slot begins at a cache line of its own.  Counters start at 0
with their worker, so sums may fall when a worker is started anew."""

from __future__ import annotations

import mmap

from fastzk import limits
from fastzk.storage.shm import map_shared
from fastzk.transport._loop import SLOT_COUNTERS, STAT_NAMES

SLOTS = limits.WORKERS_MAX  # of SLOT_COUNTERS each: 512 bytes
STATS_BYTES = -(-SLOTS * SLOT_COUNTERS * 8 // mmap.PAGESIZE) * mmap.PAGESIZE

# How the counters of several workers become the node's; all others are added up.
_MAXIMA = frozenset({"latency_ms_max", "heartbeat_ms"})


class StatsPage:
    """One process's view of the page.  Raises OSError when it cannot be mapped."""

    def __init__(self, fd: int) -> None:
        self.counters = memoryview(map_shared(fd, STATS_BYTES, is_writable=True)).cast("Q")

    def claim(self, place: int) -> None:
        """Sets the slot of the worker at this place to zero; for the worker itself."""
        assert 0 <= place < SLOTS, f"place {place} of {SLOTS}"
        for index in range(place * SLOT_COUNTERS, (place + 1) * SLOT_COUNTERS):
            self.counters[index] = 0

    def worker(self, place: int) -> dict[str, int]:
        """The counters of one worker."""
        start = place * SLOT_COUNTERS
        return dict(zip(STAT_NAMES, self.counters[start : start + len(STAT_NAMES)].tolist(), strict=True))

    def total(self) -> dict[str, int]:
        """The node's counters: sums, but the largest of what is a maximum and the smallest latency that was measured."""
        workers = [counters for counters in map(self.worker, range(SLOTS)) if counters["heartbeat_ms"]]
        total = {}
        for name in STAT_NAMES:
            values = [counters[name] for counters in workers]
            total[name] = max(values, default=0) if name in _MAXIMA else sum(values)
        total["latency_ms_min"] = min((c["latency_ms_min"] for c in workers if c["latency_count"]), default=0)
        return total
