"""Goal: whatever happens to the disk in a crash, and wherever the crash comes, the log that is recovered is one that
was written, holds all that was reported done, and is never called damaged; and a byte that changes is never served.

Method: random programs of appends, syncs, truncations, restarts and crashes (in the middle of a write, of a
truncation, of a recovery) on the simulated disk, beside a plain list.  A crash may leave any state the list had since
the last one, or the beginning of it, if that holds everything that was acknowledged and not truncated since."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastzk.raft.messages import Range
from fastzk.storage.log import LogDamaged, LogFailed, LogWriter, SegmentLog
from fastzk.storage.segments import End, scan
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import random_ranges, same
from fastzk.testing.disk import CrashMode, SimulatedDisk, Stopped

DIRECTORY = "data/log"


class Program:
    """One log, its plain twin, and a random program over both."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.disk = SimulatedDisk()
        self.segment_bytes_max = random.choice((700, 3000, 20_000))
        # What is queued; every state that had since the last crash; how many of the ranges must survive one.
        self.ranges: list[Range] = []
        self.states: list[list[Range]] = [[]]
        self.kept = 0
        self.start = End()
        self.cuts = 0
        self.open()

    def open(self) -> None:
        """Recovers, perhaps with more crashes on the way, and compares."""
        while self.random.random() < 0.2:
            self.disk.stop_at(self.random.randint(1, 6))
            try:
                SegmentLog.open(self.disk, DIRECTORY)
            except Stopped:
                self.disk.crash(self.random)
        self.disk.crash(self.random, "all")
        self.log = SegmentLog.open(self.disk, DIRECTORY)
        self.cuts += self.log.cut is not None
        found = list(self.log.ranges(self.log.first_index))
        assert len(found) >= self.kept, f"{len(found)} ranges are left, {self.kept} were acknowledged"
        assert same(found[: self.kept], self.ranges[: self.kept])
        assert any(same(found, state[: len(found)]) for state in self.states), "these ranges were never written"
        assert self.log.start == self.start
        self.ranges, self.states, self.kept = found, [found], len(found)
        appender = SimulatedAppender.after(self.log, self.segment_bytes_max)
        appender.zeros_ahead = 8192
        self.appender, self.writer = appender, LogWriter(self.log, appender=appender)

    def end(self) -> End:
        """Where the twin ends."""
        end = replace(self.writer._queued_end)
        assert end.last_index == (self.ranges[-1].last_index if self.ranges else self.start.last_index)
        return end

    def append(self) -> None:
        more = random_ranges(self.random, self.end(), self.random.randint(1, 6))
        self.writer.append(more)
        self.ranges = self.ranges + more
        self.states.append(self.ranges)

    def truncate(self) -> None:
        place = self.random.randint(0, len(self.ranges))
        self.ranges = self.ranges[:place]
        self.kept = min(self.kept, place)
        self.states.append(self.ranges)
        self.writer.truncate_after(self.ranges[-1].last_index if self.ranges else self.start.last_index)

    def take_done(self) -> None:
        done = self.writer.take_done()
        if done is not None:
            last = [place for place, r in enumerate(self.ranges, 1) if r.last_index == done.last_index]
            assert last or done.last_index == self.start.last_index
            self.kept = max(self.kept, *last) if last else self.kept
            assert not last or self.ranges[last[0] - 1].epoch == done.epoch

    def read(self) -> None:
        last = [place for place, r in enumerate(self.ranges, 1) if r.last_index == self.log.last_index]
        if last and self.ranges is self.states[-1] and not self.writer._in_flight:
            first = self.random.choice(self.ranges[: last[0]]).first_index
            found = self.log.read(first, self.random.choice((0, 1000, 100_000)))
            expected = [r for r in self.ranges[: last[0]] if r.first_index >= first][: len(found)]
            assert found
            assert same(found, expected)
            assert all(self.log.epoch_at(r.last_index) == r.epoch for r in expected)

    def crash(self) -> None:
        self.disk.crash(self.random)
        self.open()

    def reopen(self) -> None:
        self.writer.close()
        assert self.log.last_index == self.end().last_index
        self.kept = len(self.ranges)
        self.open()
        assert self.log.cut is None

    def run(self, steps: int) -> None:
        actions = [self.append] * 4 + [self.step] * 5 + [self.take_done] * 4 + [self.truncate, self.read, self.reopen]
        for _ in range(steps):
            if self.random.random() < 0.15:
                self.disk.stop_at(self.random.randint(1, 12))
            try:
                self.random.choice(actions)()
                if self.random.random() < 0.05:
                    self.crash()
            except Stopped:
                self.crash()

    def step(self) -> None:
        self.appender.step(self.random.choice((1, 2, 1000)))


@settings(max_examples=200, deadline=None)
@example(46483)  # a segment that was read last, removed by a cut to the log's very start, and made again under its name
@given(st.integers(0, 2**32))
def test_a_crash_loses_nothing_that_was_acknowledged(seed: int) -> None:
    Program(Random(seed)).run(60)


def test_the_programs_reach_torn_tails() -> None:
    """Otherwise the test above says nothing."""
    cuts = 0
    for seed in range(60):
        program = Program(Random(seed))
        program.run(60)
        cuts += program.cuts
    assert cuts > 30


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_failed_write_or_sync_ends_the_writer(seed: int) -> None:
    random = Random(seed)
    program = Program(random)
    program.disk.fail_at(random.randint(1, 20))
    for _ in range(40):
        program.append()
        program.step()
        if program.writer.error is not None:
            break
        program.take_done()
    with pytest.raises(LogFailed, match=DIRECTORY):
        program.writer.take_done()
    operations = program.disk.operations
    program.step()
    assert program.disk.operations == operations, "after an error nothing is tried again"
    program.crash()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_changed_byte_is_found_or_was_in_the_last_batch(seed: int) -> None:
    """After an orderly close everything is proven, so there every change of one byte must be found; the places whose
    bytes have no meaning (zeros behind the last seal) do not exist, since the file ends there."""
    random = Random(seed)
    program = Program(random)
    for _ in range(random.randint(1, 10)):
        program.append()
        program.step()
    program.writer.close()
    paths = [f"{DIRECTORY}/{name}" for name in program.disk.list(DIRECTORY)]
    path = random.choice(paths)
    offset = random.randrange(len(program.disk.content(path)))
    program.disk.flip(path, offset, 1 << random.randrange(8))
    is_last_seal = path == paths[-1] and offset >= len(program.disk.content(path)) - 40
    before = [program.disk.content(p) for p in paths]
    with pytest.raises(LogDamaged) as found:
        SegmentLog.open(program.disk, DIRECTORY)
    assert found.value.file == path
    assert found.value.offset <= offset
    assert before == [program.disk.content(p) for p in paths]
    assert is_last_seal or found.value.offset > offset - 10_000


class Prepared(Program):
    """A log of several segments whose last batch is on the disk, then one thing done to it with a crash inside."""

    def __init__(self, random: Random, is_torn: bool) -> None:
        super().__init__(random)
        self.segment_bytes_max = 1 << 20 if is_torn else 3000
        self.open_quietly()
        for _ in range(5):
            self.append()
            self.drain()
        self.take_done()
        if is_torn:
            self.append()
            self.disk.stop_at(2)
            with pytest.raises(Stopped):
                self.drain()
            self.disk.crash(random, "scattered")
            self.cuts = scan(self.disk, DIRECTORY).cut is not None

    def open_quietly(self) -> None:
        self.log = SegmentLog.open(self.disk, DIRECTORY)
        self.appender = SimulatedAppender.after(self.log, self.segment_bytes_max)
        self.appender.zeros_ahead = 8192
        self.writer = LogWriter(self.log, appender=self.appender)

    def drain(self) -> None:
        while self.appender.step():
            pass

    def truncate_all(self) -> None:
        self.truncate()
        self.drain()
        self.append()
        self.drain()

    def close(self) -> None:
        self.writer.close()

    def recover(self) -> None:
        SegmentLog.open(self.disk, DIRECTORY)


@pytest.mark.parametrize("what", ["truncate_all", "close", "recover"])
@pytest.mark.parametrize("mode", ["none", "prefix", "zeros", "scattered", "all"])
def test_a_crash_at_every_operation(what: str, mode: CrashMode) -> None:
    """The random programs come to the rarer moments too seldom: here each of them has its turn, several times."""
    torn = 0
    for seed in range(12):
        operation, is_stopped = 0, True
        while is_stopped:
            operation, is_stopped = operation + 1, False
            program = Prepared(Random(seed), is_torn=what == "recover")
            torn += program.cuts
            program.disk.stop_at(operation)
            try:
                getattr(program, what)()
            except Stopped:
                is_stopped = True
            program.disk.crash(Random(seed + 1000 * operation), mode)
            program.open()
        assert operation > 2
    assert what != "recover" or torn > 12
