"""A node's disk and its log thread, simulated: what was asked for, what is durable, what a crash leaves.

Rule: implements raft's LogReader.  Rule: only what has been synced survives a crash for certain.

The log thread takes all the work that waits as one group, is busy for a while, and then all of it is durable at once;
its report reaches the node a little later, as it does from a real thread, and so may come when the node has already
decided to truncate.  A crash leaves a prefix of the unsynced work, none and all of it included.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from random import Random

from fastzk.raft.peer import Membership, Range

# One order to the log thread: cut after an index, or write a range; and the generation it was given in.
Order = tuple[int | Range, int]
Report = tuple[int, int, int]


class RangeDisk:
    """Survives the crashes of its node."""

    def __init__(self) -> None:
        self.hard_state: tuple[int, int | None] = (0, None)
        self._durable: list[Range] = []
        self._firsts: list[int] = []
        self._waiting: deque[Order] = deque()
        self._group: list[Order] = []
        # Counts the crashes, so that a sync that was under way in a crash is forgotten.
        self.incarnation = 0

    # LogReader

    @property
    def first_index(self) -> int:
        return 1

    @property
    def last_index(self) -> int:
        return self._durable[-1].last_index if self._durable else 0

    def epoch_at(self, index: int) -> int | None:
        if index == 0:
            return 0
        found = self.range_at(index)
        return found.epoch if found is not None else None

    def read(self, first_index: int, bytes_max: int) -> list[Range]:
        start = bisect_right(self._firsts, first_index) - 1
        assert start >= 0, f"read from {first_index} of a log that begins at 1"
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
        if not 0 < index <= self.last_index:
            return None
        return self._durable[bisect_right(self._firsts, index) - 1]

    def ranges(self) -> tuple[Range, ...]:
        """All that is durable."""
        return tuple(self._durable)

    def _perform(self, order: Order) -> None:
        what, _ = order
        if isinstance(what, Range):
            last_zxid = self._durable[-1].last_zxid if self._durable else -1
            assert what.first_index == self.last_index + 1, f"log: {what.first_index} is written after {self.last_index}"
            assert what.first_zxid > last_zxid, f"Z1: {what.first_zxid:#x} is logged after {last_zxid:#x}"
            self._durable.append(what)
            self._firsts.append(what.first_index)
            return
        keep = bisect_right(self._firsts, what)
        del self._durable[keep:], self._firsts[keep:]
        assert self.last_index <= what, f"log: cut after {what}, inside the range that ends at {self.last_index}"
