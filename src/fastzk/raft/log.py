"""The log as one peer sees it: what is durable, what is on its way to the disk, what is committed.

Rule: only peer.py and leader.py call this.  Rule: no range at or below committed_index is ever truncated.
Rule: the reader is asked only for what is durable and was not truncated, so it may lag behind the truncation.

    reader (durable)                       window (in memory)
    first_index ........ window_first - 1 | window_first ............ synced_index ........ last_index
                                            recent, kept for learners | must be here: not yet synced

The window holds everything unsynced and as much of the recent past as its limit allows; what is older is read again
through the LogReader.  Ranges go to the log thread in order, once, by take_unhanded(); its reports return to synced().

Why the generation: a range can be handed out, truncated, and handed out again when a later leader has it after all.
The report of the first writing, still on its way, would then vouch for the second one, which may not be on the disk:
an acknowledgement before its promise (Z2).  So each truncation of handed-out ranges begins a new generation, and a
report of an older one counts for nothing.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

from fastzk.raft.membership import Membership
from fastzk.raft.messages import COUNTER_BITS, Range

# What a range costs beside its payload, so that many small ones are limited too.
RANGE_BYTES_OVERHEAD = 128


class LogReader(Protocol):
    """The durable log, as recovered and as synced since."""

    @property
    def first_index(self) -> int:
        """The first index still held: 1, or one above the snapshot that replaced what came before."""

    @property
    def last_index(self) -> int:
        """The last durable index, first_index - 1 when nothing is held.  Asked once, at the start."""

    def epoch_at(self, index: int) -> int | None:
        """The epoch of an index from first_index - 1 to last_index; None outside."""

    def read(self, first_index: int, bytes_max: int) -> list[Range]:
        """Whole ranges from the one that holds first_index on: at least one, and others while they fit."""

    def memberships(self) -> Sequence[tuple[int, Membership]]:
        """Last index and membership of each range held that brings one, oldest first.  Asked once, at the start."""


class RaftLog:
    """Ranges by index, and how far each stage has come."""

    __slots__ = (
        "_base",
        "_firsts",
        "_handed_index",
        "_memberships",
        "_reader",
        "_truncate_after",
        "_window",
        "_window_bytes",
        "_window_bytes_max",
        "committed_index",
        "delivered_index",
        "generation",
        "last_epoch",
        "last_index",
        "synced_index",
    )

    def __init__(self, reader: LogReader, base: Membership, window_bytes_max: int, applied_index: int = 0) -> None:
        """base is the membership in force where the reader begins: of its snapshot, or the first there was.

        applied_index is the end of a snapshot that the caller has loaded: committed, and not to be given out again."""
        self._reader = reader
        # Where the held log begins, and the memberships that stand in it, oldest first.
        self._base = (reader.first_index - 1, base)
        self._memberships = [held for held in reader.memberships() if held[0] >= reader.first_index]
        self._window: list[Range] = []
        # first_index of each range of the window, for bisection.
        self._firsts: list[int] = []
        self._window_bytes = 0
        self._window_bytes_max = window_bytes_max
        # The end of the log, durable or not.  Falls only by truncation.
        self.last_index = reader.last_index
        self.last_epoch = reader.epoch_at(reader.last_index) or 0
        # Everything up to here is on this node's disk.  Moves by synced(), falls by truncation.
        self.synced_index = reader.last_index
        # Everything up to here is on a quorum's disks.  Never falls.
        self.committed_index = max(reader.first_index - 1, applied_index)
        assert self.committed_index <= self.last_index, f"Z4: applied {applied_index}, the log ends at {self.last_index}"
        # Everything up to here was given out to be applied.  delivered <= committed (Z4).
        self.delivered_index = self.committed_index
        # Everything up to here was given to the log thread.  synced <= handed <= last.
        self._handed_index = reader.last_index
        # The log thread must cut the log after this index before it writes what comes next.
        self._truncate_after: int | None = None
        self.generation = 0

    @property
    def first_index(self) -> int:
        """The first index that can still be read; the epoch of the index before it is known."""
        return self._reader.first_index

    @property
    def membership(self) -> tuple[int, Membership]:
        """What is in force: where its range ends, and what it says.  In force as soon as it is appended."""
        return self._memberships[-1] if self._memberships else self._base

    @property
    def committed_membership(self) -> tuple[int, Membership]:
        """The newest membership that is committed, and where its range ends."""
        return next((held for held in reversed(self._memberships) if held[0] <= self.committed_index), self._base)

    def may_decide(self, node_id: int) -> bool:
        """Whether a node is a voter of what is in force, or of a membership that this may still fall back to."""
        for index, membership in reversed(self._memberships):
            if membership.has_voter(node_id):
                return True
            if index <= self.committed_index:
                return False
        return self._base[1].has_voter(node_id)

    @property
    def _window_first(self) -> int:
        return self._firsts[0] if self._firsts else self.last_index + 1

    def epoch_at(self, index: int) -> int | None:
        """The epoch of an index, None where the log ends or was replaced by a snapshot."""
        if not 0 <= index <= self.last_index:
            return None
        if index == self.last_index:
            return self.last_epoch
        if index >= self._window_first:
            return self._window[bisect_right(self._firsts, index) - 1].epoch
        return 0 if index == 0 else self._reader.epoch_at(index)

    def last_not_above(self, index: int, epoch: int) -> tuple[int, int]:
        """The last place at or before index whose epoch is at most epoch, with its epoch.  Epochs never fall (Z1)."""
        low, high = self.first_index - 1, min(index, self.last_index)
        if high <= low:
            return low, self.epoch_at(low) or 0
        while low < high:
            middle = (low + high + 1) // 2
            found = self.epoch_at(middle)
            assert found is not None, f"no epoch at {middle}, between {low} and {high}"
            if found <= epoch:
                low = middle
            else:
                high = middle - 1
        return low, self.epoch_at(low) or 0

    def range_start(self, index: int) -> int | None:
        """The first index of the range that holds index; index itself past the end; None if it is no longer held."""
        if index > self.last_index:
            return self.last_index + 1
        found = self.read(index, 1)
        return found[0].first_index if found else None

    def read(self, first_index: int, bytes_max: int) -> list[Range]:
        """Whole ranges from the one that holds first_index on, at least one if any is there and held."""
        if first_index > self.last_index or first_index < self.first_index:
            return []
        if first_index < self._window_first:
            durable = self._reader.read(first_index, bytes_max)
            return [entries for entries in durable if entries.last_index < self._window_first]
        start = bisect_right(self._firsts, first_index) - 1
        end, size = start, 0
        while end < len(self._window):
            size += self._window[end].size + RANGE_BYTES_OVERHEAD
            if size > bytes_max and end > start:
                break
            end += 1
        return self._window[start:end]

    def append(self, entries: Range) -> None:
        """Takes the next range; it goes to the log thread with the next take_unhanded()."""
        assert entries.first_index == self.last_index + 1, f"a hole: {entries.first_index} after {self.last_index}"
        assert entries.epoch >= self.last_epoch, f"Z1: epoch {entries.epoch} after {self.last_epoch}"
        assert entries.first_zxid >> COUNTER_BITS == entries.epoch, f"Z1: {entries.first_zxid:#x} in {entries.epoch}"
        if self._window:
            previous = self._window[-1].last_zxid
            assert entries.first_zxid > previous, f"Z1: {entries.first_zxid:#x} after {previous:#x}"
        self._window.append(entries)
        self._firsts.append(entries.first_index)
        self._window_bytes += entries.size + RANGE_BYTES_OVERHEAD
        self.last_index = entries.last_index
        self.last_epoch = entries.epoch
        if entries.membership is not None:
            self._memberships.append((entries.last_index, entries.membership))

    def truncate(self, index: int) -> None:
        """Cuts everything after index, which conflicts with the leader's log.  index ends a range."""
        assert index >= self.committed_index, f"Z3: truncation after {index}, committed {self.committed_index}"
        if index >= self.last_index:
            return
        epoch = self.epoch_at(index)
        assert epoch is not None, f"truncation after {index}, where the log has nothing"
        keep = bisect_right(self._firsts, index)
        assert not keep or self._window[keep - 1].last_index <= index, f"truncation inside a range, after {index}"
        for entries in self._window[keep:]:
            self._window_bytes -= entries.size + RANGE_BYTES_OVERHEAD
        del self._window[keep:], self._firsts[keep:]
        while self._memberships and self._memberships[-1][0] > index:
            self._memberships.pop()
        self.last_index = index
        self.last_epoch = epoch
        self.synced_index = min(self.synced_index, index)
        if index < self._handed_index:
            self._handed_index = index
            self._truncate_after = index if self._truncate_after is None else min(index, self._truncate_after)
            self.generation += 1

    def synced(self, last_index: int, epoch: int, generation: int) -> bool:
        """The log thread's report: all up to last_index, of that epoch, is durable.  False if it says nothing new."""
        assert generation <= self.generation, f"generation {generation} is reported, {self.generation} is the newest"
        if generation < self.generation or last_index <= self.synced_index:
            return False
        assert last_index <= self._handed_index, f"Z2: {last_index} is reported, {self._handed_index} was handed out"
        held = self.epoch_at(last_index)
        assert held == epoch, f"Z2: {last_index} is reported in epoch {epoch}, it is of epoch {held}"
        self.synced_index = last_index
        self._evict()
        return True

    def commit(self, index: int) -> None:
        """A quorum holds everything up to index."""
        assert index <= self.last_index, f"Z4: commit of {index}, the log ends at {self.last_index}"
        self.committed_index = max(self.committed_index, index)

    def take_unhanded(self) -> tuple[int | None, tuple[Range, ...]]:
        """What the log thread must do next: cut after an index, then write ranges.  Each is given once."""
        truncate_after, self._truncate_after = self._truncate_after, None
        if self._handed_index == self.last_index:
            return truncate_after, ()
        ranges = tuple(self._window[bisect_right(self._firsts, self._handed_index) :])
        assert ranges[0].first_index == self._handed_index + 1, f"{ranges[0].first_index} after {self._handed_index}"
        self._handed_index = self.last_index
        return truncate_after, ranges

    def take_committed(self, bytes_max: int) -> tuple[Range, ...]:
        """The next committed ranges to apply, each once and in order; no more than bytes_max but at least one."""
        if self.delivered_index >= self.committed_index:
            return ()
        found = self.read(self.delivered_index + 1, bytes_max)
        assert found, f"{self.delivered_index + 1} is committed and cannot be read"
        assert found[0].first_index == self.delivered_index + 1, f"apply would split {found[0].first_index}"
        ranges = tuple(entries for entries in found if entries.last_index <= self.committed_index)
        if ranges:
            self.delivered_index = ranges[-1].last_index
        return ranges

    def purged(self) -> None:
        """The reader begins later now: what a snapshot covers is forgotten here, too."""
        edge = self._reader.first_index - 1
        assert edge <= self.delivered_index, f"the log begins behind {edge}, and {self.delivered_index} is delivered"
        while self._memberships and self._memberships[0][0] <= edge:
            self._base = self._memberships.pop(0)
        keep = bisect_right(self._firsts, edge)
        self._window_bytes -= sum(entries.size + RANGE_BYTES_OVERHEAD for entries in self._window[:keep])
        del self._window[:keep], self._firsts[:keep]

    def _evict(self) -> None:
        """Forgets the oldest synced ranges when the window is too big; an eighth at a time, so it is cheap."""
        if self._window_bytes <= self._window_bytes_max:
            return
        target = self._window_bytes_max - self._window_bytes_max // 8
        count = 0
        while self._window_bytes > target and self._window[count].last_index <= self.synced_index:
            self._window_bytes -= self._window[count].size + RANGE_BYTES_OVERHEAD
            count += 1
            if count == len(self._window):
                break
        del self._window[:count], self._firsts[:count]
