"""Goal: the log thread writes what the format says, in order, and reports it once it is synced; its errors are final.

Method: real files.  The bytes are compared with those of the simulated twin, which the crash tests have shown to be
safe; errors come from limits of the operating system, in child processes."""

import errno
import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fastzk.raft.messages import Range
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import Done, LogDamaged, LogFailed, LogWriter, SegmentLog
from fastzk.storage.segments import End
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import next_range, random_ranges, same
from fastzk.testing.disk import SimulatedDisk

SMALL = 4000


@pytest.fixture
def log(tmp_path: Path) -> SegmentLog:
    return SegmentLog.open(RealDisk(), str(tmp_path))


def wait_for(writer: LogWriter, index: int, epoch: int | None = None) -> Done:
    """Until index is on the disk, and nothing else is in flight."""
    last = None
    while last is None or writer.in_flight_count:
        assert select.select([writer.fd], [], [], 20)[0], "the log thread is silent"
        last = writer.take_done() or last
    assert last.last_index == index
    assert epoch is None or last.epoch == epoch
    return last


def reopened(log: SegmentLog) -> list[Range]:
    again = SegmentLog.open(RealDisk(), log.directory)
    assert again.cut is None
    ranges = list(again.ranges(again.first_index))
    again.close()
    return ranges


def test_what_is_appended_is_there_after_a_restart(log: SegmentLog) -> None:
    ranges = random_ranges(Random(1), End(), 200)
    writer = LogWriter(log, segment_bytes_max=SMALL)
    for entries in ranges:
        writer.append([entries])
    done = wait_for(writer, ranges[-1].last_index, ranges[-1].epoch)
    assert 1 <= done.syncs <= 200
    assert done.sync_ns > 0
    assert len(log.segments) > 10
    assert same(log.ranges(1), ranges)
    assert (log.last_index, log.last_zxid, log.last_epoch) == (
        ranges[-1].last_index,
        ranges[-1].last_zxid,
        ranges[-1].epoch,
    )
    writer.close()
    assert same(reopened(log), ranges)
    assert all(os.stat(path).st_mode & 0o777 == 0o600 for path in Path(log.directory).iterdir())
    assert sum(path.stat().st_size for path in Path(log.directory).iterdir()) < 200 * 3000, "zeros are left behind"


def test_many_appends_share_one_sync(log: SegmentLog) -> None:
    ranges = random_ranges(Random(2), End(), 3000, body_max=50)
    writer = LogWriter(log)
    writer.append(ranges)
    assert wait_for(writer, ranges[-1].last_index).syncs < 300
    writer.close()
    assert same(reopened(log), ranges)


def test_the_bytes_are_those_of_the_simulated_twin(tmp_path: Path) -> None:
    """One batch at a time, so that both group alike: appends, rolls, zeros ahead, cuts, removals, restart, close."""
    disk, directory = SimulatedDisk(), str(tmp_path)
    real, twin = SegmentLog.open(RealDisk(), directory), SegmentLog.open(disk, directory)
    most = 600_000
    appender = SimulatedAppender.after(twin, most)
    writers = LogWriter(real, segment_bytes_max=most), LogWriter(twin, appender=appender)
    random, end = Random(3), End()
    ends = [End()]
    for turn in range(120):
        if turn == 110:
            end = End(5000, 77 << 32, 12345, 0xABCDEF)
            ends = [replace(end)]
            for writer in writers:
                writer.restart(end)
        elif turn % 10 == 9:
            end = replace(ends[len(ends) * 3 // 4])
            ends = ends[: len(ends) * 3 // 4 + 1]
            for writer in writers:
                writer.truncate_after(end.last_index)
        elif turn % 25 == 20:
            for writer in writers:
                writer.remove_before(end.last_index)
            ends = [e for e in ends if e.last_index >= real.start.last_index]
        else:
            more = random_ranges(random, end, random.choice((1, 2, 30)), body_max=random.choice((50, 5000, 50_000)))
            ends.append(replace(end))
            for writer in writers:
                writer.append(more)
        done = writers[0].take_done()
        while writers[0].in_flight_count:
            assert select.select([writers[0].fd], [], [], 20)[0]
            done = writers[0].take_done() or done
        while appender.step():
            pass
        twin_done = writers[1].take_done()
        assert (done and done[:2]) == (twin_done and twin_done[:2])
        assert (real.segments, real.start, real.end) == (twin.segments, twin.start, twin.end)
        assert same(real.ranges(real.first_index), twin.ranges(twin.first_index))
        names = disk.list(directory)
        assert names == sorted(path.name for path in tmp_path.iterdir())
        for name in names:
            assert (tmp_path / name).read_bytes() == disk.content(f"{directory}/{name}"), f"{name}, turn {turn}"
    for writer in writers:
        writer.close()
    for name in disk.list(directory):
        assert (tmp_path / name).read_bytes() == disk.content(f"{directory}/{name}")


def test_a_truncation_waits_for_what_is_in_flight_and_goes_before_what_follows(log: SegmentLog) -> None:
    random, end = Random(4), End()
    first = random_ranges(random, end, 50)
    middle = replace(end)
    second = random_ranges(random, end, 50)
    writer = LogWriter(log, segment_bytes_max=SMALL)
    writer.append(first + second)
    writer.truncate_after(middle.last_index)
    third = random_ranges(random, middle, 50)
    writer.append(third)
    last = None
    while last is None or last.last_index < third[-1].last_index:
        assert select.select([writer.fd], [], [], 20)[0]
        done = writer.take_done()
        # Between the two, nothing that is to go is ever reported.
        expected = [(r.last_index, r.epoch) for r in first + third]
        assert done is None or (done.last_index, done.epoch) in expected
        last = done or last
    assert same(log.ranges(1), first + third)
    writer.close()
    assert same(reopened(log), first + third)


def test_truncations_to_every_block(log: SegmentLog) -> None:
    ranges = random_ranges(Random(5), End(), 30)
    writer = LogWriter(log, segment_bytes_max=SMALL)
    writer.append(ranges)
    for place in range(len(ranges) - 1, -1, -1):
        index = ranges[place - 1].last_index if place else 0
        writer.truncate_after(index)
        wait_for(writer, index)
        assert log.last_index == index
        assert same(reopened(log), ranges[:place])
    writer.append(ranges)
    wait_for(writer, ranges[-1].last_index)
    assert same(log.ranges(1), ranges)
    writer.close()


def test_old_segments_are_removed_and_the_last_one_stays(log: SegmentLog) -> None:
    ranges = random_ranges(Random(6), End(), 60)
    writer = LogWriter(log, segment_bytes_max=SMALL)
    writer.append(ranges)
    wait_for(writer, ranges[-1].last_index)
    middle = ranges[30].first_index
    writer.remove_before(middle)
    wait_for(writer, ranges[-1].last_index)
    assert 1 < log.first_index <= middle
    kept = [r for r in ranges if r.first_index >= log.first_index]
    assert same(log.ranges(log.first_index), kept)
    assert log.epoch_at(log.first_index - 1) == ranges[len(ranges) - len(kept) - 1].epoch
    assert log.epoch_at(log.first_index - 2) is None
    with pytest.raises(ValueError, match="before the first"):
        log.read(log.first_index - 1, 1000)
    assert same(reopened(log), kept)
    writer.remove_before(10**9)
    wait_for(writer, ranges[-1].last_index)
    assert len(log.segments) == 1
    writer.close()


def test_a_block_larger_than_a_segment_has_one_of_its_own(log: SegmentLog) -> None:
    end = End()
    ranges = [next_range(end, bytes([n]) * (SMALL * 2)) for n in range(1, 5)]
    writer = LogWriter(log, segment_bytes_max=SMALL)
    writer.append(ranges)
    wait_for(writer, ranges[-1].last_index)
    assert log.segments == [r.first_index for r in ranges]
    writer.truncate_after(0)
    writer.append(ranges)
    wait_for(writer, ranges[-1].last_index)
    writer.close()
    assert same(reopened(log), ranges)


def test_reads_are_bounded_and_begin_at_the_range_that_holds_the_index(log: SegmentLog) -> None:
    end = End()
    ranges = [next_range(end, bytes(100), 3) for _ in range(40)]
    writer = LogWriter(log, segment_bytes_max=SMALL)
    writer.append(ranges)
    wait_for(writer, ranges[-1].last_index)
    size = ranges[0].size
    for index in range(1, 121):
        for count in (0, 1, 2, 7):
            found = log.read(index, size * count)
            assert len(found) == min(max(1, count), 40 - (index - 1) // 3)
            assert found[0].first_index <= index <= found[0].last_index
    assert log.read(121, size) == []
    writer.close()


def test_a_block_that_changed_since_it_was_checked_is_not_served(log: SegmentLog, tmp_path: Path) -> None:
    ranges = random_ranges(Random(8), End(), 3)
    writer = LogWriter(log)
    writer.append(ranges)
    wait_for(writer, ranges[-1].last_index)
    path = tmp_path / "log.0000000000000001"
    content = bytearray(path.read_bytes())
    content[log.blocks.offset[1] + 70] ^= 4
    path.write_bytes(content)
    assert same(log.read(1, 0), ranges[:1])
    with pytest.raises(LogDamaged, match="changed since it was written"):
        log.read(1, 10**6)
    writer.close()


def test_what_does_not_follow_is_refused(log: SegmentLog) -> None:
    end = End()
    first, second, third = (next_range(end) for _ in range(3))
    writer = LogWriter(log)
    for wrong in (
        second,
        replace(first, last_index=2),
        replace(first, first_zxid=7),
        replace(first, payload=b"x" * 64),
    ):
        with pytest.raises(ValueError, match=r"."):
            writer.append([wrong])
    writer.append([first])
    with pytest.raises(ValueError, match="index 3 after 1"):
        writer.append([third])
    with pytest.raises(AssertionError, match="behind the last"):
        writer.truncate_after(2)
    writer.append([second])
    wait_for(writer, 2)
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append([third])
    assert same(reopened(log), [first, second])


def test_a_writer_that_is_dropped_ends_its_thread(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/task"))
    for _ in range(20):
        log = SegmentLog.open(RealDisk(), str(tmp_path))
        writer = LogWriter(log)
        writer.append([next_range(replace(log.end))])
        del writer
    assert len(os.listdir("/proc/self/task")) == before
    assert len(reopened(log)) == 20


FAILING = """
import resource, select, sys
from random import Random
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import LogFailed, LogWriter, SegmentLog
from fastzk.storage.segments import End
from fastzk.testing.blocks import random_ranges

log = SegmentLog.open(RealDisk(), sys.argv[1])
writer = LogWriter(log, segment_bytes_max=1 << 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
random, end, done = Random(9), End(), 0
try:
    while True:
        writer.append(random_ranges(random, end, 1, body_max=5000))
        select.select([writer.fd], [], [])
        done = writer.take_done() or done
except LogFailed as e:
    # The limit is gone, the disk would take more; the writer must not.
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.append(random_ranges(random, end, 1))
    for again in range(3):
        try:
            writer.take_done()
        except LogFailed as same:
            assert str(same) == str(e)
        else:
            raise AssertionError("it went on")
    try:
        writer.close()
    except LogFailed:
        print(done.last_index if done else 0, e.code, e.offset, e.file)
"""


@pytest.mark.parametrize("limit", [0, 30, 64, 300_000, 1_000_000])
def test_a_full_disk_ends_the_writer_for_good(tmp_path: Path, limit: int) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    acknowledged, code, offset, file = child.stdout.split()
    assert int(code) in (errno.EFBIG, errno.ENOSPC)
    assert file == str(tmp_path / "log.0000000000000001")
    assert int(offset) <= limit
    log = SegmentLog.open(RealDisk(), str(tmp_path))
    assert log.last_index >= int(acknowledged)
    assert log.last_index - int(acknowledged) <= 3
    log.close()


def test_a_directory_that_is_gone_is_an_error_not_a_loss(log: SegmentLog, tmp_path: Path) -> None:
    writer = LogWriter(log)
    tmp_path.rmdir()
    writer.append([next_range(End())])
    with pytest.raises(LogFailed, match="create failed: ENOENT"):
        wait_for(writer, 1)
    assert writer.error is not None
    with pytest.raises(LogFailed):
        writer.close()
