"""The page of counters that the processes of a node share: one slot for each worker, so that any worker can answer for all.

    slot 0                        slot 1                        ...     one per place of a worker; the engine's is behind them
    | STAT_NAMES, u64 each | 0 |  | STAT_NAMES, u64 each | 0 |          SLOT_COUNTERS x 8 bytes

Rules: a slot is written by its worker only (STAT_NAMES by compiled code, OWN_NAMES by Python), the last one by the engine
(ENGINE_NAMES) and by the TLS gate, and all are read by everybody; a counter
is read and written whole, and nothing orders two counters.  A slot begins at a cache line of its own.  Counters start at 0
with their worker, so sums may fall when a worker is started anew."""

from __future__ import annotations

import mmap
from collections.abc import Mapping

from fastzk import limits
from fastzk.storage.shm import map_shared
from fastzk.transport._loop import SLOT_COUNTERS, STAT_NAMES

SLOTS = limits.WORKERS_MAX  # of SLOT_COUNTERS each: 512 bytes
STATS_BYTES = -(-(SLOTS + 1) * SLOT_COUNTERS * 8 // mmap.PAGESIZE) * mmap.PAGESIZE

# What the engine tells; all is 0 on a node that does not lead, but for the first two.
ENGINE_NAMES = (
    "ticks",  # so often has it looked at the clock: workers see by it that it runs
    "uncommitted",  # blocks that are proposed and not committed
    "leader_since_ms",  # monotonic
    "learners",  # other nodes that were heard of
    "synced_followers",  # voters of them that follow closely
    "synced_observers",  # the same of observers
    "pending_syncs",
    "proposal_bytes_last",
    "proposal_bytes_min",
    "proposal_bytes_max",
    "proposals",
)
# What the TLS gate tells, at this place of the engine's slot: a cache line of its own.
GATE_NAMES = ("tls_handshakes", "tls_connections", "tls_refused")
_GATE_PLACE = 32
# What a worker's Python counts, at this place of its slot.
OWN_NAMES = ("auth_failed", "local_sessions")
_OWN_PLACE = 48
assert len(ENGINE_NAMES) <= _GATE_PLACE <= SLOT_COUNTERS - len(GATE_NAMES)
assert len(STAT_NAMES) <= _OWN_PLACE <= SLOT_COUNTERS - len(OWN_NAMES)

# How the counters of several workers become the node's; all others are added up.
_MAXIMA = frozenset({"latency_ms_max", "heartbeat_ms"})


class StatsPage:
    """One process's view of the page.  Raises OSError when it cannot be mapped."""

    def __init__(self, fd: int) -> None:
        page = memoryview(map_shared(fd, STATS_BYTES, is_writable=True)).cast("Q")
        # The workers' slots.
        self.counters = page[: SLOTS * SLOT_COUNTERS]
        last = page[SLOTS * SLOT_COUNTERS : (SLOTS + 1) * SLOT_COUNTERS]
        self._engine = last[: len(ENGINE_NAMES)]
        self._gate = last[_GATE_PLACE : _GATE_PLACE + len(GATE_NAMES)]

    def claim(self, place: int) -> None:
        """Sets the slot of the worker at this place to zero; for the worker itself."""
        assert 0 <= place < SLOTS, f"place {place} of {SLOTS}"
        for index in range(place * SLOT_COUNTERS, (place + 1) * SLOT_COUNTERS):
            self.counters[index] = 0

    def worker(self, place: int) -> dict[str, int]:
        """The counters of one worker."""
        start = place * SLOT_COUNTERS
        own = start + _OWN_PLACE
        values = self.counters[start : start + len(STAT_NAMES)].tolist() + self.counters[own : own + len(OWN_NAMES)].tolist()
        return dict(zip((*STAT_NAMES, *OWN_NAMES), values, strict=True))

    def count(self, place: int, name: str, value: int) -> None:
        """Writes one of OWN_NAMES; for the worker itself."""
        self.counters[place * SLOT_COUNTERS + _OWN_PLACE + OWN_NAMES.index(name)] = value

    def total(self) -> dict[str, int]:
        """The node's counters: sums, but the largest of what is a maximum and the smallest latency that was measured."""
        workers = [counters for counters in map(self.worker, range(SLOTS)) if counters["heartbeat_ms"]]
        total = {}
        for name in (*STAT_NAMES, *OWN_NAMES):
            values = [counters[name] for counters in workers]
            total[name] = max(values, default=0) if name in _MAXIMA else sum(values)
        total["latency_ms_min"] = min((c["latency_ms_min"] for c in workers if c["latency_count"]), default=0)
        return total

    def tell(self, values: Mapping[str, int]) -> None:
        """Writes what the engine tells; for the engine itself."""
        for index, name in enumerate(ENGINE_NAMES):
            self._engine[index] = values[name]

    def engine(self) -> dict[str, int]:
        """What the engine has told last."""
        return dict(zip(ENGINE_NAMES, self._engine.tolist(), strict=True))

    def engine_ticks(self) -> int:
        """How often the engine has ticked; 0 before it did."""
        return self._engine[ENGINE_NAMES.index("ticks")]

    def tell_gate(self, values: Mapping[str, int]) -> None:
        """Writes what the TLS gate tells; for the gate itself."""
        for index, name in enumerate(GATE_NAMES):
            self._gate[index] = values[name]

    def gate(self) -> dict[str, int]:
        """What the TLS gate has told last."""
        return dict(zip(GATE_NAMES, self._gate.tolist(), strict=True))
