"""Goal: what a start finds in a log does not depend on how many records are taken in one call.

Method: logs of several segments on the simulated disk, damaged at random in all the ways of a disk, and right blocks and marks
put where they do not belong; each read as it is, in chunks of several sizes, and again with a take_records() that takes nothing,
so that each record is judged by itself.  All that is found must be the same."""

from random import Random
from typing import Any

import pytest

from fastzk.storage import segments
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.segments import MARK_SIZE, SECTOR, End, Scan, examine, pack_mark, segment_names
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import random_ranges
from fastzk.testing.disk import SimulatedDisk

DIRECTORY = "log"
LOGS, DAMAGES = 12, 60


def make_log(random: Random) -> SimulatedDisk:
    disk, end = SimulatedDisk(), End()
    appender = SimulatedAppender.after(log := SegmentLog.open(disk, DIRECTORY), random.choice((3000, 1 << 20)))
    appender.zeros_ahead = 4096
    writer = LogWriter(log, appender=appender)
    for _ in range(random.randint(2, 12)):
        writer.append(random_ranges(random, end, random.randint(1, 5)))
        while appender.step():
            pass
    if random.random() < 0.5:
        writer.close()
    return disk


def damage(random: Random, content: bytes, log: SegmentLog) -> bytes:
    """The content of one segment after something happened to it."""
    changed, at = bytearray(content), random.randrange(len(content))
    match random.randrange(6):
        case 0:
            changed[at] ^= 1 << random.randrange(8)
        case 1:
            del changed[at:]
        case 2:
            sector = at // SECTOR * SECTOR
            changed[sector : sector + SECTOR] = bytes(len(changed[sector : sector + SECTOR]))
        case 3:  # bytes of elsewhere, as records stand
            at, start = at // 8 * 8, random.randrange(len(content)) // 8 * 8
            changed[at : at + 700] = content[start : start + 700]
        case 4:  # a right mark, for here or for elsewhere
            place = random.choice(log.blocks.offset)
            of = random.choice((place, place - MARK_SIZE))
            changed[place : place + MARK_SIZE] = pack_mark(of, random.choice((log.last_checksum, 0)), random.randrange(500))
        case 5:
            start = random.choice(log.blocks.offset)
            del changed[start : start + random.choice(log.blocks.size)]
    return bytes(changed)


def told(found: Scan) -> dict[str, Any]:
    """All that a Scan says, as values that can be compared."""
    blocks = found.blocks
    columns = (blocks.first_index, blocks.first_zxid, blocks.segment, blocks.offset, blocks.size)
    return {
        "ends": (found.start, found.end, found.offset, found.is_sealed, str(found.cut), str(found.damage)),
        "segments": found.segments,
        "memberships": found.memberships,
        "blocks": [list(column) for column in columns],
    }


@pytest.mark.parametrize("seed", range(LOGS))
def test_a_scan_finds_the_same_as_record_after_record(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    disk = make_log(random)
    log = SegmentLog.open(disk, DIRECTORY)
    names = segment_names(disk, DIRECTORY)
    damages = 0
    for _ in range(DAMAGES):
        path = f"{DIRECTORY}/{random.choice(names)}"
        content = disk.content(path)
        if random.random() < 0.95:
            disk.put(path, damage(random, content, log))
        found = []
        for read_bytes in (1 << 20, random.choice((300, 1000, 2500))):
            with monkeypatch.context() as patch:
                patch.setattr(segments, "READ_BYTES", read_bytes)
                found.append(told(examine(disk, DIRECTORY, names)))
        with monkeypatch.context() as patch:
            patch.setattr(segments, "take_records", lambda found, segment, chunk, chunk_offset, batch_end: batch_end)
            expected = examine(disk, DIRECTORY, names)
        assert found == [told(expected)] * 2
        damages += expected.damage is not None
        disk.put(path, content)
    assert damages > DAMAGES // 4, "hardly anything was damaged"
