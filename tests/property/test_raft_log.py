"""Goal: the log of a peer says at every moment what a plain list would, whatever is appended, truncated or evicted.

Method: hypothesis drives a RaftLog over a simulated disk and, beside it, a list of all its ranges; after each step
every question is asked of both.  Some ranges bring a membership, and now and then the log is compacted.  The quorum's
arithmetic is compared with counting by hand.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastzk.raft.log import RaftLog
from fastzk.raft.membership import Membership
from fastzk.raft.messages import Range
from fastzk.raft.quorum import Quorum, Tally
from fastzk.testing.range_disk import RangeDisk


class LogMachine(RuleBasedStateMachine):
    """A RaftLog and its plain twin."""

    @initialize(window_bytes_max=st.sampled_from([0, 400, 1 << 20]))
    def begin(self, window_bytes_max: int) -> None:
        self.disk = RangeDisk()
        self.log = RaftLog(self.disk, Membership((1,)), window_bytes_max)
        self.ranges: list[Range] = []
        self.epoch = 1
        self.counter = 0
        self.delivered: list[Range] = []
        self.base = Membership((1,))
        self.reports: list[tuple[int, int, int]] = []

    @property
    def last_index(self) -> int:
        return self.ranges[-1].last_index if self.ranges else 0

    @rule(count=st.integers(1, 4), size=st.integers(0, 100), is_new_epoch=st.booleans(), voter=st.integers(-9, 9))
    def append(self, count: int, size: int, is_new_epoch: bool, voter: int) -> None:
        if is_new_epoch:
            self.epoch, self.counter = self.epoch + 1, 0
        first_zxid = self.epoch << 32 | self.counter
        membership = Membership((voter,)) if voter > 0 else None
        entries = Range(self.last_index + 1, self.last_index + count, self.epoch, first_zxid, bytes(size), membership)
        self.counter += count
        self.log.append(entries)
        self.ranges.append(entries)

    @precondition(lambda self: self.ranges and self.last_index > self.log.committed_index)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        ends = [0, *(entries.last_index for entries in self.ranges)]
        index = data.draw(st.sampled_from([end for end in ends if end >= self.log.committed_index]))
        self.log.truncate(index)
        self.ranges = [entries for entries in self.ranges if entries.last_index <= index]
        self.epoch, self.counter = self.epoch + 1, 0

    @rule()
    def hand_out(self) -> None:
        truncate_after, ranges = self.log.take_unhanded()
        self.disk.order(truncate_after, ranges, self.log.generation)

    @rule()
    def sync(self) -> None:
        if self.disk.begin_sync():
            report = self.disk.end_sync()
            if report is not None:
                self.reports.append(report)

    @precondition(lambda self: self.reports)
    @rule(is_first=st.booleans())
    def report(self, is_first: bool) -> None:
        self.log.synced(*self.reports.pop(0 if is_first else -1))

    @precondition(lambda self: self.log.synced_index > self.log.committed_index)
    @rule()
    def commit(self) -> None:
        self.log.commit(self.log.synced_index)

    @rule(bytes_max=st.sampled_from([1, 100, 1 << 20]))
    def deliver(self, bytes_max: int) -> None:
        self.delivered.extend(self.log.take_committed(bytes_max))

    @precondition(lambda self: min(self.log.delivered_index, self.log.synced_index) >= self.log.first_index)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.log.first_index, min(self.log.delivered_index, self.log.synced_index)))
        self.disk.compact(index)
        self.log.purged()
        assert self.log.first_index > index

    @precondition(lambda self: self.last_index >= self.log.first_index)
    @rule(bytes_max=st.sampled_from([1, 100, 1 << 20]), data=st.data())
    def read(self, bytes_max: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.log.first_index, self.last_index))
        found = self.log.read(index, bytes_max)
        start = next(place for place, entries in enumerate(self.ranges) if entries.last_index >= index)
        assert found
        assert found == self.ranges[start : start + len(found)]
        assert self.log.range_start(index) == found[0].first_index

    @rule(index=st.integers(0, 60), epoch=st.integers(0, 30))
    def last_not_above(self, index: int, epoch: int) -> None:
        places = [(0, 0)]
        places += [(at, entries.epoch) for entries in self.ranges for at in range(entries.first_index, entries.last_index + 1)]
        edge = self.log.first_index - 1
        held = [place for place in places if edge <= place[0] <= index and place[1] <= epoch]
        expected = held[-1] if held else places[edge]
        assert self.log.last_not_above(index, epoch) == expected

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "log"):
            return
        assert self.log.last_index == self.last_index
        assert self.log.synced_index <= self.last_index
        newest, committed = [(0, self.base)], [(0, self.base)]
        for entries in self.ranges:
            if entries.membership is not None:
                newest.append((entries.last_index, entries.membership))
                if entries.last_index <= self.log.committed_index:
                    committed.append(newest[-1])
        assert self.log.membership[1] == newest[-1][1]
        assert self.log.committed_membership[1] == committed[-1][1]
        for entries in self.ranges:
            if entries.first_index < self.log.first_index:
                assert self.log.read(entries.first_index, 1) == []
                continue
            assert self.log.epoch_at(entries.first_index) == self.log.epoch_at(entries.last_index) == entries.epoch
        assert self.log.epoch_at(self.last_index + 1) is None
        synced = [entries for entries in self.ranges if self.log.first_index <= entries.last_index <= self.log.synced_index]
        assert list(self.disk.ranges()[: len(synced)]) == synced, "what counts as synced is on the disk"
        assert self.delivered == self.ranges[: len(self.delivered)]


TestRaftLog = LogMachine.TestCase
TestRaftLog.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.dictionaries(st.integers(1, 9), st.integers(0, 20), min_size=1), st.integers(1, 9))
def test_what_a_quorum_has_reached_is_what_counting_says(values: dict[int, int], count: int) -> None:
    quorum = Quorum(Membership(tuple(range(1, count + 1))))
    reached = quorum.reached(values)
    holders = [voter for voter in quorum.voters if values.get(voter, 0) >= reached]
    above = [voter for voter in quorum.voters if values.get(voter, 0) > reached]
    assert 2 * len(holders) > count >= 2 * len(above)


@given(st.dictionaries(st.integers(1, 9), st.booleans()), st.integers(1, 9))
def test_an_election_is_won_by_more_than_half_and_lost_when_that_is_impossible(votes: dict[int, bool], count: int) -> None:
    granted = [voter for voter in range(1, count + 1) if votes.get(voter) is True]
    possible = [voter for voter in range(1, count + 1) if votes.get(voter) is not False]
    expected = Tally.WON if 2 * len(granted) > count else Tally.OPEN if 2 * len(possible) > count else Tally.LOST
    assert Quorum(Membership(tuple(range(1, count + 1)))).tally(votes) is expected
