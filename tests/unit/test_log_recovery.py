"""Goal: recovery tells a torn tail from damage, byte by byte.

Method: small logs of several segments on the simulated disk.  Cut at every offset, zeroed at every sector, and with
every byte changed, one at a time; what must come out follows from docs/internals/log-format.md."""

from random import Random

import pytest

from fastzk._core.blocks import check, make_entry, seal
from fastzk.config import Address
from fastzk.raft.membership import Membership
from fastzk.raft.messages import Range
from fastzk.state.members import Members
from fastzk.storage.log import LogDamaged, LogWriter, SegmentLog
from fastzk.storage.segments import (
    HEADER_SIZE,
    MARK_SIZE,
    SECTOR,
    End,
    pack_header,
    pack_mark,
    unpack_header,
    unpack_mark,
)
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import next_range, random_ranges, same
from fastzk.testing.disk import SimulatedDisk
from fastzk.wire.blocks import range_of

DIRECTORY = "log"


def make_log(
    batches: list[int], *, is_closed: bool = False, segment_bytes_max: int = 4000, has_zeros: bool = False
) -> tuple[SimulatedDisk, list[Range]]:
    """A log of so many ranges in each batch, the process killed after the last sync."""
    disk, end, random = SimulatedDisk(), End(), Random(7)
    log = SegmentLog.open(disk, DIRECTORY)
    appender = SimulatedAppender.after(log, segment_bytes_max)
    appender.zeros_ahead = 8192 if has_zeros else 1 << 30
    writer = LogWriter(log, appender=appender)
    ranges: list[Range] = []
    for count in batches:
        more = random_ranges(random, end, count)
        writer.append(more)
        while appender.step():
            pass
        ranges += more
    if is_closed:
        writer.close()
    return disk, ranges


def last_path(disk: SimulatedDisk) -> str:
    return f"{DIRECTORY}/{disk.list(DIRECTORY)[-1]}"


def recovered(disk: SimulatedDisk) -> list[Range]:
    """What is left, which is then found again without a tear."""
    log = SegmentLog.open(disk, DIRECTORY)
    ranges = list(log.ranges(log.first_index))
    again = SegmentLog.open(disk, DIRECTORY)
    assert again.cut is None
    assert same(again.ranges(again.first_index), ranges)
    return ranges


def ends_of_blocks(disk: SimulatedDisk) -> list[int]:
    """Offsets in the last segment at which a block ends."""
    log = SegmentLog.open(disk, DIRECTORY)
    at = [place for place in range(len(log.blocks)) if log.blocks.segment[place] == log.segments[-1]]
    return [log.blocks.offset[place] + log.blocks.size[place] for place in at]


@pytest.mark.parametrize("batches", [[3, 2, 4, 3], [9], [4, 1, 1, 1, 1]])
def test_a_file_cut_anywhere_leaves_exactly_the_whole_blocks_before_the_cut(batches: list[int]) -> None:
    disk, ranges = make_log(batches)
    path = last_path(disk)
    content = disk.content(path)
    ends = ends_of_blocks(disk)
    older = len(ranges) - len(ends)
    for size in range(len(content)):
        disk.put(path, content[:size])
        expected = older + sum(end <= size for end in ends)
        assert same(recovered(disk), ranges[:expected]), f"cut at {size} of {len(content)}"


def test_a_batch_that_lost_any_of_its_sectors_leaves_the_blocks_before() -> None:
    disk, ranges = make_log([2, 5], segment_bytes_max=1 << 20, has_zeros=True)
    path = last_path(disk)
    content = disk.content(path)
    log = SegmentLog.open(disk, DIRECTORY)
    begin = log.blocks.offset[2] - MARK_SIZE
    for first in range(begin // SECTOR, log.offset // SECTOR):
        for last in range(first, log.offset // SECTOR):
            torn = bytearray(content)
            start = max(begin, first * SECTOR)
            torn[start : (last + 1) * SECTOR] = bytes((last + 1) * SECTOR - start)
            disk.put(path, bytes(torn))
            kept = sum(log.blocks.offset[at] + log.blocks.size[at] <= start for at in range(len(log.blocks)))
            assert same(recovered(disk), ranges[:kept]), f"sectors {first} to {last} are lost"


def test_zeros_behind_the_last_batch_are_no_tear() -> None:
    disk, ranges = make_log([2, 1], segment_bytes_max=1 << 20, has_zeros=True)
    log = SegmentLog.open(disk, DIRECTORY)
    assert log.cut is None
    assert len(disk.content(last_path(disk))) > log.offset
    assert same(log.ranges(1), ranges)


@pytest.mark.parametrize("is_closed", [True, False])
def test_every_changed_byte_is_found(is_closed: bool) -> None:
    """A byte of the last batch too: all its sectors are there, so it is no torn tail."""
    disk, ranges = make_log([3, 2, 4, 3, 2], is_closed=is_closed, segment_bytes_max=2500)
    paths = [f"{DIRECTORY}/{name}" for name in disk.list(DIRECTORY)]
    assert len(paths) > 2
    for path in paths:
        content = disk.content(path)
        for offset in range(len(content)):
            changed = bytearray(content)
            changed[offset] ^= 1 << offset % 8
            disk.put(path, bytes(changed))
            with pytest.raises(LogDamaged) as found:
                SegmentLog.open(disk, DIRECTORY)
            assert found.value.file == path
            assert found.value.offset <= offset
            assert disk.content(path) == changed, "nothing may be changed"
        disk.put(path, content)
    assert same(recovered(disk), ranges)


def test_a_changed_byte_is_found_although_a_later_batch_is_torn() -> None:
    disk, _ = make_log([2, 2, 2], segment_bytes_max=1 << 20)
    path = last_path(disk)
    content = bytearray(disk.content(path))
    content[HEADER_SIZE + MARK_SIZE + 20] ^= 1
    disk.put(path, bytes(content[:-9]))
    with pytest.raises(LogDamaged, match="was synced before"):
        SegmentLog.open(disk, DIRECTORY)


def test_a_hole_in_a_synced_batch_is_damage() -> None:
    """A whole sector that became zeros looks like a torn write, but a later mark says that it was synced."""
    disk, _ = make_log([5, 1], segment_bytes_max=1 << 20)
    path = last_path(disk)
    content = bytearray(disk.content(path))
    content[SECTOR : 2 * SECTOR] = bytes(SECTOR)
    disk.put(path, bytes(content))
    with pytest.raises(LogDamaged, match="was synced before"):
        SegmentLog.open(disk, DIRECTORY)


def test_a_missing_segment_is_damage() -> None:
    for place in (1, 2):
        disk, _ = make_log([3] * 8, segment_bytes_max=2500)
        names = disk.list(DIRECTORY)
        assert len(names) > 3
        disk.remove(f"{DIRECTORY}/{names[place]}")
        with pytest.raises(LogDamaged, match="goes on from") as found:
            SegmentLog.open(disk, DIRECTORY)
        assert found.value.file.endswith(names[place + 1])


def test_a_shorter_segment_before_the_last_is_damage() -> None:
    disk, _ = make_log([3] * 6, segment_bytes_max=2500)
    path = f"{DIRECTORY}/{disk.list(DIRECTORY)[0]}"
    content = disk.content(path)
    for size in range(len(content)):
        disk.put(path, content[:size])
        with pytest.raises(LogDamaged):
            SegmentLog.open(disk, DIRECTORY)


def test_right_blocks_in_the_wrong_order_are_damage() -> None:
    """Each is right in itself; the chain says that they do not follow."""
    end = End()
    first, second = next_range(end), next_range(end)
    other = End()
    stranger = next_range(other, b"another history")
    batch = [first, second]
    header = pack_header(End())
    for wrong in ([second], [first, first], [stranger, second]):
        disk = SimulatedDisk()
        payload = b"".join(bytes(r.payload) for r in wrong)
        disk.put(f"{DIRECTORY}/log.{1:016x}", header + pack_mark(HEADER_SIZE, 0, len(payload)) + payload)
        with pytest.raises(LogDamaged, match="does not follow"):
            SegmentLog.open(disk, DIRECTORY)
    disk = SimulatedDisk()
    payload = b"".join(bytes(r.payload) for r in batch)
    disk.put(f"{DIRECTORY}/log.{1:016x}", header + pack_mark(HEADER_SIZE, 0, len(payload)) + payload)
    assert same(recovered(disk), batch)


@pytest.mark.parametrize("name", ["log.1", "log.000000000000000G", "log.0000000000000000", "log.0000000000000001.bak"])
def test_a_file_that_is_named_like_no_segment_is_said(name: str) -> None:
    disk, _ = make_log([1])
    disk.put(f"{DIRECTORY}/{name}", b"")
    with pytest.raises(LogDamaged, match="named like this"):
        SegmentLog.open(disk, DIRECTORY)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 5000])
def test_a_segment_that_was_being_created_goes(size: int) -> None:
    disk, ranges = make_log([3])
    disk.put(f"{DIRECTORY}/log.{ranges[-1].last_index + 1:016x}", bytes(size))
    log = SegmentLog.open(disk, DIRECTORY)
    assert log.cut is not None
    assert "being created" in str(log.cut)
    assert len(log.segments) == 1
    assert same(log.ranges(1), ranges)
    assert SegmentLog.open(disk, DIRECTORY).cut is None


def test_an_empty_directory_is_an_empty_log() -> None:
    log = SegmentLog.open(SimulatedDisk(), DIRECTORY)
    assert (log.first_index, log.last_index, log.last_zxid, log.last_checksum) == (1, 0, 0, 0)
    assert log.epoch_at(0) == 0
    assert log.epoch_at(1) is None
    assert log.read(1, 1000) == []
    assert list(log.ranges(1)) == []


def test_the_bytes_are_those_of_the_document() -> None:
    """Golden bytes, computed by hand from docs/internals/log-format.md: a change of them is a change of the format."""
    end = End(0x1122, 0x5_0000_0007, 1_700_000_000_000, 0x0123456789ABCDEF)
    header = pack_header(end)
    assert header[:8].hex() == "467a536701000000"
    assert header[16:].hex() == ("2311000000000000efcdab896745230107000000050000000068e5cf8b01000000000000000000000000000000000000")
    assert unpack_header(header) == end
    mark = pack_mark(0x400, 0x0123456789ABCDEF, 96)
    assert mark[:8].hex() == "4d726b3128000000"
    assert mark[16:].hex() == "0004000000000000efcdab89674523018804000000000000"
    assert unpack_mark(mark, 0x400) == (0x0123456789ABCDEF, 0x488)
    assert unpack_mark(mark, 0x408) is None
    for data in (header, mark):
        value = 0xCBF29CE484222325
        for byte in data[16:]:
            value = (value ^ byte) * 0x100000001B3 % 2**64
        assert int.from_bytes(data[8:16], "little") == value


def test_the_memberships_of_a_log_are_found_again() -> None:
    disk, end, random = SimulatedDisk(), End(), Random(7)
    log = SegmentLog.open(disk, DIRECTORY)
    appender = SimulatedAppender.after(log, 4000)
    writer = LogWriter(log, appender=appender)
    expected: list[tuple[int, Membership]] = []
    for voters in ((1, 2), (1, 2, 3)):
        writer.append(random_ranges(random, end, 9))
        body = Members.from_peers({node_id: Address("host", node_id) for node_id in voters}).encode()
        entry = make_entry(-15, body)
        zxid, time_ms = end.last_zxid + 1, end.last_time_ms
        block = seal([entry], 1, end.last_index + 1, zxid, time_ms, end.last_checksum, kind=1)
        end.advance(check(block))
        writer.append([range_of(block)])
        expected.append((end.last_index, Membership(voters)))
        while appender.step():
            pass
    found = SegmentLog.open(disk, DIRECTORY)
    assert len(found.segments) > 1
    assert found.memberships() == expected
    assert [entries.membership for entries in found.ranges(1) if entries.membership is not None] == [m for _, m in expected]
