"""The arena: formatting, opening, bounds, the sequence lock, pins.

Goal: a region that is no sound arena is refused with a word that says why, only touched pages take memory, and a reader is
shown nothing outside the used heap.  Method: small regions in bytearrays, damaged on purpose, and a memfd as in life."""

import mmap
import os
import struct

import pytest

from fastzk._core import _testing_tree as probe
from fastzk._core import tree
from fastzk._core.arena import Arena

GRANULE = 16
PAGE = 4096


def new_arena(region_bytes: int = 1 << 20) -> Arena:
    arena = Arena.create(bytearray(region_bytes))
    tree.format_tree(arena)
    return arena


def test_an_arena_is_made_by_create_or_open_only() -> None:
    with pytest.raises(TypeError, match=r"Arena\.create"):
        Arena()


def test_what_was_created_can_be_opened() -> None:
    region = bytearray(1 << 20)
    arena = Arena.create(region)
    assert arena.is_writer
    assert arena.used == arena.heap_offset
    probe.write_begin(arena)
    probe.write_end(arena, 5 << 32 | 7, 11, 13)
    reader = Arena.open(region)
    assert not reader.is_writer
    assert (reader.applied_zxid, reader.applied_index, reader.applied_time_ms) == (5 << 32 | 7, 11, 13)
    assert reader.capacity == 1 << 20


def test_a_reader_takes_a_region_that_it_cannot_write_to() -> None:
    region = bytearray(1 << 16)
    Arena.create(region)
    assert Arena.open(bytes(region)).capacity == 1 << 16
    with pytest.raises(BufferError):
        Arena.open(bytes(region), writer=True)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, b"\0" * 8, "no arena: its magic"),
        (8, struct.pack("<I", 3), "has version 3; this program reads version 2"),
        (12, struct.pack("<I", 4000), "header has 4000 bytes"),
        (16, struct.pack("<Q", 1 << 30), "does not fit its region"),
        (16, struct.pack("<Q", (1 << 16) - 1), "does not fit its region"),
        (24, struct.pack("<Q", 1 << 62), "damaged"),
        (32, struct.pack("<Q", 3), "damaged"),
        (32, struct.pack("<Q", 1 << 62), "damaged"),
        (40, struct.pack("<Q", 0), "damaged"),
        (48, struct.pack("<Q", 0), "damaged"),
        (56, struct.pack("<Q", 1 << 63), "damaged"),
        (80, struct.pack("<Q", 1 << 63), "damaged"),
        (64, struct.pack("<Q", 3), "unfinished write"),
    ],
)
def test_a_damaged_header_is_refused(offset: int, value: bytes, message: str) -> None:
    region = bytearray(1 << 16)
    Arena.create(region)
    image = bytearray(region)
    image[offset : offset + len(value)] = value
    with pytest.raises(ValueError, match=message):
        Arena.open(image, writer=True)


def test_a_reader_may_open_while_the_writer_is_inside() -> None:
    region = bytearray(1 << 16)
    arena = Arena.create(region)
    probe.write_begin(arena)
    assert Arena.open(region).capacity == 1 << 16


def test_a_region_is_refused_that_is_small_or_used_or_crooked() -> None:
    with pytest.raises(ValueError, match="needs 65536"):
        Arena.create(bytearray(65535))
    with pytest.raises(ValueError, match="not new"):
        Arena.create(bytearray(b"\1" * 65536))
    with pytest.raises(ValueError, match="multiple of 16"):
        Arena.create(memoryview(bytearray(65544))[8:])


def test_a_region_stays_while_its_arena_lives() -> None:
    region = mmap.mmap(-1, 1 << 16)
    arena = Arena.create(region)
    with pytest.raises(BufferError):
        region.close()
    del arena
    region.close()


def test_a_large_reservation_takes_only_the_pages_it_touches() -> None:
    region = os.memfd_create("arena")
    try:
        os.ftruncate(region, 64 << 30)
        arena = Arena.create(mmap.mmap(region, 64 << 30))
        tree.format_tree(arena)
        assert arena.capacity == 64 << 30
        assert os.fstat(region).st_blocks * 512 <= 4 * PAGE
        arena.pin()
        pages = sum(end - first for first, end in arena.pinned_ranges())
        assert pages * PAGE < 8 << 20, "a snapshot copies the reserved buckets, which nobody uses"
        del arena
    finally:
        os.close(region)


def test_readers_are_shown_the_used_heap_and_nothing_else() -> None:
    arena = new_arena()
    first, end = arena.heap_offset // GRANULE, arena.used // GRANULE
    assert probe.see(arena, 0, 16) is None
    assert probe.see(arena, first - 1, 16) is None
    assert probe.see(arena, first, 16) is not None
    assert probe.see(arena, first, arena.used - arena.heap_offset) is not None
    assert probe.see(arena, first, arena.used - arena.heap_offset + 1) is None
    assert probe.see(arena, first, 2**64 - 1) is None
    assert probe.see(arena, end - 1, 16) is not None
    assert probe.see(arena, end, 1) is None
    assert probe.see(arena, end, 0) == b""
    assert probe.see(arena, 2**32 - 1, 16) is None


def test_a_read_is_valid_exactly_when_no_write_touched_it() -> None:
    arena = new_arena()
    sequence = probe.read_begin(arena)
    assert sequence % 2 == 0
    assert probe.read_valid(arena, sequence)
    probe.write_begin(arena)
    assert not probe.read_valid(arena, sequence)
    inside = probe.read_begin(arena)
    assert inside % 2 == 1, "a reader gives up waiting after a bounded number of turns"
    assert not probe.read_valid(arena, inside)
    probe.write_end(arena, 9, 1, 1)
    assert not probe.read_valid(arena, sequence)
    assert not probe.read_valid(arena, inside)
    assert probe.read_valid(arena, probe.read_begin(arena))


def test_counters_are_told_even_while_the_writer_stays_inside() -> None:
    """Whoever asks a node how it is, while it applies a long log, once ended a worker."""
    arena = new_arena()
    probe.write_begin(arena)
    assert arena.counters()["applied_zxid"] == 0
    probe.write_end(arena, 1, 1, 1)
    assert arena.counters()["applied_zxid"] == 1


def test_pins_are_the_writers_one_at_a_time_between_writes() -> None:
    region = bytearray(1 << 16)
    arena = Arena.create(region)
    with pytest.raises(RuntimeError):
        Arena.open(region).pin()
    with pytest.raises(IndexError):
        arena.pinned_pages(0, 1)
    with pytest.raises(IndexError):
        arena.pinned_ranges()
    probe.write_begin(arena)
    with pytest.raises(RuntimeError):
        arena.pin()
    probe.write_end(arena, 1, 1, 1)
    arena.pin()
    with pytest.raises(RuntimeError):
        arena.pin()
    assert arena.is_pinned
    assert arena.pinned_pages(0, 2) == bytes(region[: 2 * PAGE])
    last = arena.used // PAGE
    for first, end in ((0, 0), (1, 0), (0, last + 2), (last + 1, last + 2), (0, 2**64 - 1)):
        with pytest.raises(IndexError):
            arena.pinned_pages(first, end)
    arena.unpin()
    arena.unpin()
    assert not arena.is_pinned


def test_a_pinned_page_is_copied_once_and_only_when_changed() -> None:
    arena = new_arena()
    arena.pin()
    assert arena.saved_count == 0
    probe.set_data(arena, b"/zookeeper", b"", -1, 1, 1)
    saved = arena.saved_count
    assert 1 < saved <= 3, "the header's page and that of the znode"
    probe.set_data(arena, b"/zookeeper", b"", -1, 2, 1)
    assert arena.saved_count == saved


def test_the_largest_block_is_two_gigabytes() -> None:
    assert probe.block_size(1 << 31) == 1 << 31
    assert probe.block_size((1 << 31) + 1) == 0
    arena = new_arena()
    assert probe.alloc(arena, (1 << 31) + 1) == 0
    assert probe.alloc(arena, 1 << 31) == 0, "larger than the region"
