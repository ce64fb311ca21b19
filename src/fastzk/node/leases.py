"""The sessions' time, which only the leader keeps: who was heard of, and whose time is over.

Rule: it begins anew with each epoch this node leads, when the entry that opens it is applied (state/expiry.py says why).
Rule: session time is monotonic, but a stretch in which this process did not run counts as SESSION_STEP_MS_MAX at most: a leader
that was stopped did not hear its clients."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk.state.expiry import ExpiryTable


class Leases:
    """The expiry table of an engine, and the clock that it goes by."""

    def __init__(self, tick_time_ms: int, now_ms: int) -> None:
        self.table = ExpiryTable(tick_time_ms // 4, limits.TOUCH_GRACE_MS)
        # The epoch that the table was begun in; it counts only in this one.
        self._epoch = -1
        self._now_ms = now_ms
        self.session_ms = 0

    def advance(self, now_ms: int) -> None:
        """The clock shows now_ms."""
        self.session_ms += min(now_ms - self._now_ms, limits.SESSION_STEP_MS_MAX)
        self._now_ms = now_ms

    def is_kept_in(self, epoch: int) -> bool:
        """Whether this node keeps the sessions' time in that epoch."""
        return self._epoch == epoch

    def end(self) -> None:
        """This node no longer leads."""
        self._epoch = -1

    def applied(self, epoch: int, changes: Iterable[tuple[str, int, int, int]], batch_epoch: int, machine: Machine) -> None:
        """The leader of `epoch` has applied a batch of `batch_epoch`, with these changes of sessions."""
        if self._epoch == epoch:
            for kind, session_id, attach_zxid, timeout_ms in changes:
                if kind == "closed":
                    self.table.remove(session_id)
                else:
                    self.table.put(session_id, attach_zxid, timeout_ms, self.session_ms)
        elif batch_epoch == epoch:
            self.table.begin(machine.sessions(), self.session_ms)
            self._epoch = epoch

    def touch(self, session_ids: bytes) -> None:
        """These sessions (u64 ids) were heard of just now."""
        self.table.touch(array("Q", session_ids), self.session_ms)

    def due(self) -> list[tuple[int, int]]:
        """(session_id, attach_zxid) of those whose time is over."""
        return self.table.due(self.session_ms)
