"""A node's disk and its log thread, simulated: what was asked for, what is durable, what a crash leaves.

Rule: implements raft's LogReader.  Rule: only what has been synced survives a crash for certain.

The log thread takes all the work that waits as one group, is busy for a while, and then all of it is durable at once;
its report reaches the node a little later, as it does from a real thread, and so may come when the node has already
decided to truncate.  A crash leaves a prefix of the unsynced work, none and all of it included.

A snapshot is only where it stands: compact() lets the log begin behind one of this node's own, install() behind another
node's.  wiped() is an empty disk in its place.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from fastzk.raft.peer import Membership, Range

# One order to the log thread: cut after an index, or write a range; and the generation it was given in.
Order = tuple[int | Range, int]
Report = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a snapshot stands, and the membership that is in force there."""

    index: int
    epoch: int
    zxid: int
    membership: Membership


class RangeDisk:
    """Survives the crashes of its node."""

    def __init__(self, membership: Membership | None = None) -> None:
        self.hard_state: tuple[int, int | None] = (0, None)
        # What the node has written down about itself; an empty disk has lost what was promised on it.
        self.is_sound = True
        # What the log goes on from.
        self.start = Snapshot(0, 0, -1, membership or Membership((1,)))
        self._durable: list[Range] = []
        self._firsts: list[int] = []
        self._waiting: deque[Order] = deque()
        self._group: list[Order] = []
        # Counts the crashes, so that a sync that was under way in a crash is forgotten.
        self.incarnation = 0

    # LogReader

    @property
    def first_index(self) -> int:
        return self.start.index + 1

    @property
    def last_index(self) -> int:
        return self._durable[-1].last_index if self._durable else self.start.index

    def epoch_at(self, index: int) -> int | None:
        if index == self.start.index:
            return self.start.epoch
        found = self.range_at(index)
        return found.epoch if found is not None else None

    def read(self, first_index: int, bytes_max: int) -> list[Range]:
        start = bisect_right(self._firsts, first_index) - 1
        assert start >= 0, f"read from {first_index} of a log that begins at {self.first_index}"
        ranges, size = [self._durable[start]], self._durable[start].size
        for entries in self._durable[start + 1 :]:
            size += entries.size
            if size > bytes_max:
                break
            ranges.append(entries)
        return ranges

    def memberships(self) -> Sequence[tuple[int, Membership]]:
        return [(entries.last_index, entries.membership) for entries in self._durable if entries.membership is not None]

    # What the node asks for.

    def order(self, truncate_after: int | None, ranges: tuple[Range, ...], generation: int) -> None:
        """Queues work for the log thread."""
        if truncate_after is not None:
            self._waiting.append((truncate_after, generation))
        self._waiting.extend((entries, generation) for entries in ranges)

    def begin_sync(self) -> bool:
        """The log thread takes what waits.  False if it is busy or nothing waits."""
        if self._group or not self._waiting:
            return False
        self._group = list(self._waiting)
        self._waiting.clear()
        return True

    def end_sync(self) -> Report | None:
        """The group is durable; returns what to report: last index, its epoch, its generation."""
        report = None
        for order in self._group:
            self._perform(order)
            what, generation = order
            if isinstance(what, Range):
                report = (what.last_index, what.epoch, generation)
        self._group = []
        return report

    # What the world does and sees.

    def crash(self, random: Random | None) -> int:
        """Loses all unsynced work but a random prefix, or all of it without random; returns how many orders were lost."""
        unsynced = [*self._group, *self._waiting]
        kept = 0 if random is None else random.choice((0, len(unsynced), random.randint(0, len(unsynced))))
        for order in unsynced[:kept]:
            self._perform(order)
        self._group = []
        self._waiting.clear()
        self.incarnation += 1
        return len(unsynced) - kept

    def range_at(self, index: int) -> Range | None:
        """The durable range that holds index."""
        if not self.start.index < index <= self.last_index:
            return None
        return self._durable[bisect_right(self._firsts, index) - 1]

    def ranges(self) -> tuple[Range, ...]:
        """All that is durable."""
        return tuple(self._durable)

    def snapshot_at(self, index: int) -> Snapshot | None:
        """A snapshot of what is durable up to the end of the range that holds index; None if that is not held."""
        entries = self.range_at(index)
        if entries is None:
            return None
        held = [membership for at, membership in self.memberships() if at <= entries.last_index]
        return Snapshot(entries.last_index, entries.epoch, entries.last_zxid, [self.start.membership, *held][-1])

    def compact(self, index: int) -> None:
        """The log begins behind the range that holds index from now on."""
        start = self.snapshot_at(index)
        if start is not None:
            self._drop_to(start)

    def install(self, snapshot: Snapshot) -> None:
        """Another node's snapshot stands here now.  Nothing may be under way: the node restarts with it."""
        assert not self._group, "a snapshot is installed while the log thread works"
        assert not self._waiting, "a snapshot is installed while the log thread has work"
        if snapshot.index <= self.start.index:
            return
        if self.epoch_at(snapshot.index) != snapshot.epoch:
            # What is here is not what the snapshot covers: nothing of it goes on behind it.
            self._durable.clear()
            self._firsts.clear()
        self._drop_to(snapshot)

    def wiped(self, membership: Membership) -> "RangeDisk":
        """The new disk that stands in the place of this one."""
        disk = RangeDisk(membership)
        disk.incarnation, disk.is_sound = self.incarnation + 1, False
        return disk

    def _drop_to(self, start: Snapshot) -> None:
        keep = bisect_right(self._firsts, start.index)
        del self._durable[:keep], self._firsts[:keep]
        self.start = start

    def _perform(self, order: Order) -> None:
        what, _ = order
        if isinstance(what, Range):
            last_zxid = self._durable[-1].last_zxid if self._durable else self.start.zxid
            assert what.first_index == self.last_index + 1, f"log: {what.first_index} is written after {self.last_index}"
            assert what.first_zxid > last_zxid, f"Z1: {what.first_zxid:#x} is logged after {last_zxid:#x}"
            self._durable.append(what)
            self._firsts.append(what.first_index)
            return
        keep = bisect_right(self._firsts, what)
        del self._durable[keep:], self._firsts[keep:]
        assert self.last_index <= what, f"log: cut after {what}, inside the range that ends at {self.last_index}"
