"""Logs of small blocks, for tests of what stores them."""

from collections.abc import Iterable
from random import Random

from fastzk._core.blocks import check, make_entry, seal
from fastzk.raft.messages import Range
from fastzk.storage.segments import End

SET_DATA = 5


def next_range(end: End, body: bytes = b"", count: int = 1, epoch: int | None = None) -> Range:
    """A range of `count` entries that follows `end`, and moves it behind; a higher epoch begins with counter 0."""
    last_epoch = end.last_zxid >> 32
    epoch = max(1, last_epoch) if epoch is None else epoch
    zxid = end.last_zxid + 1 if epoch == last_epoch else epoch << 32
    entry = make_entry(SET_DATA, body, session_id=1, attach_zxid=1, serial=end.last_index + 1)
    first, time_ms = end.last_index + 1, end.last_time_ms + 1
    payload = seal([entry] * count, count, first, zxid, time_ms, end.last_checksum)
    end.advance(check(payload))
    return Range(first, first + count - 1, epoch, zxid, payload)


def random_ranges(random: Random, end: End, count: int, body_max: int = 600) -> list[Range]:
    """Ranges that follow `end`, of one to three entries and of random bodies, sometimes of a new epoch."""
    ranges = []
    for _ in range(count):
        body = random.randbytes(random.randint(0, body_max))
        epoch = max(1, end.last_zxid >> 32) + (random.random() < 0.1)
        ranges.append(next_range(end, body, random.randint(1, 3), epoch))
    return ranges


def same(left: Iterable[Range], right: Iterable[Range]) -> bool:
    """Whether two logs hold the same ranges."""
    return [bytes(r.payload) for r in left] == [bytes(r.payload) for r in right]
