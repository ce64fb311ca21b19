"""Readers over an arena of garbage.

Goal: whatever stands in the region, a reader function comes back, with an answer or without, and reads nothing outside
(Z8).  Method: a good arena of a few hundred blocks, hypothesis overwrites words of it with values that hurt (refs, sizes,
ends of ranges) or with noise, and every reader function is called on every path and on arbitrary refs.  The region is a
bytearray of its own, so that the asan build sees any step over its end; what comes back is limited by the region's size."""

import mmap
import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastzk._core import _testing_tree as probe
from fastzk._core import tree
from fastzk._core._testing_torture import Writer, read_many
from fastzk._core.arena import Arena

REGION_BYTES = 1 << 20
HURTFUL = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@pytest.fixture(scope="module")
def image() -> bytes:
    """What the torture's writer prepares: 400 pairs with data, and beside it sessions with ephemerals."""
    region = bytearray(REGION_BYTES)
    arena = Arena.create(region)
    tree.format_tree(arena)
    Writer(arena, 1, 0).prepare()
    for session_id in range(1, 9):
        probe.create_session(arena, session_id, 1, bytes(16), 10**6, 1)
        probe.create(arena, b"/e%d" % session_id, b"x", b"\0\0\0\1abcd", 1, session_id, 10**6, 1)
    return bytes(region)


def ask_everything(arena: Arena, paths: list[bytes], refs: list[int]) -> None:
    """Calls every reader function; the answers do not matter, but none is larger than the arena."""
    for ref in [probe.find(arena, path) for path in paths] + refs:
        answers = [
            probe.stat(arena, ref),
            probe.data(arena, ref),
            probe.children(arena, ref, 0),
            probe.children(arena, ref, probe.read_begin(arena)),
            probe.weigh_below(arena, ref, probe.read_begin(arena)),
            probe.count_below(arena, ref, probe.read_begin(arena)),
            probe.ephemerals(arena, ref, b"/", probe.read_begin(arena)),
        ]
        vector = probe.acl(arena, ref)
        answers.append(vector and vector[0])
        assert all(len(answer) <= REGION_BYTES for answer in answers if isinstance(answer, bytes))
    for session_id in range(1, 9):
        probe.find_session(arena, session_id)
    assert read_many(arena, 400, 1, False)["reads"] == 400


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4000), st.booleans())
@example(0, 4000, True)
def test_no_garbage_leads_a_reader_astray(image: bytes, seed: int, count: int, is_noise: bool) -> None:
    chance = random.Random(seed)
    region = bytearray(image)
    heap = int.from_bytes(image[56:64], "little")
    used = int.from_bytes(image[80:88], "little")
    spans = [(64, 128), (4096, heap), (heap, used)]  # the header's fields below 64 are checked when it is opened
    for _ in range(count):
        first, end = chance.choice(spans)
        at = chance.randrange(first // 4, end // 4) * 4
        value = chance.randrange(2**32) if is_noise or chance.random() < 0.2 else hurt(chance, heap, used)
        region[at : at + 4] = value.to_bytes(4, "little")
    # A used below the heap is refused at open; afterwards the readers see it change, as here.
    damaged = region[80:88]
    region[80:88] = image[80:88]
    arena = Arena.open(region)
    region[80:88] = damaged
    paths = [b"/", b"/t", b"/t/l", b"/t/r", b"/zookeeper", b"/e1", *(b"/t/l/%d" % i for i in range(0, 400, 37))]
    refs = [chance.randrange(heap // 16, used // 16) for _ in range(40)] + [0, 1, 2**32 - 1, used // 16, used // 16 - 1]
    ask_everything(arena, paths, refs)


def hurt(chance: random.Random, heap: int, used: int) -> int:
    """A ref near the ends of the heap or to some block, or an extreme size."""
    if chance.random() < 0.5:
        return chance.choice(HURTFUL)
    return chance.choice([heap, used, REGION_BYTES, chance.randrange(heap, used)]) // 16 + chance.randrange(-1, 2)


def test_a_listing_counts_no_block_twice(image: bytes) -> None:
    """All places of a child list name one znode: taken at its word, a listing could be far larger than the arena."""
    region = bytearray(image)
    arena = Arena.open(region)
    parent = probe.find(arena, b"/t/l")
    assert probe.children(arena, parent, 0) is not None
    refs = probe.child_refs_at(arena, parent)
    region[refs + 4 : refs + 8] = region[refs : refs + 4]
    assert probe.children(arena, parent, 0) is None


def test_a_child_of_another_parent_is_not_listed(image: bytes) -> None:
    region = bytearray(image)
    arena = Arena.open(region)
    left, right = (probe.child_refs_at(arena, probe.find(arena, path)) for path in (b"/t/l", b"/t/r"))
    region[left : left + 4] = region[right : right + 4]
    assert probe.children(arena, probe.find(arena, b"/t/l"), 0) is None


def test_a_name_that_begins_behind_its_path_is_not_listed(image: bytes) -> None:
    """Its size would be negative, which is a copy of four gigabytes."""
    region = bytearray(image)
    arena = Arena.open(region)
    znode = probe.find(arena, b"/t/l") * 16
    region[znode + 98 : znode + 100] = (65535).to_bytes(2, "little")  # its name_offset
    assert probe.children(arena, probe.find(arena, b"/t"), 0) is None


def test_data_larger_than_any_is_not_copied(image: bytes) -> None:
    """A misread size between the limit and the end of a large heap passes the bounds, and would be copied in vain."""
    region = mmap.mmap(-1, 1 << 26)
    arena = Arena.create(region)
    tree.format_tree(arena)
    filler = probe.alloc(arena, 1 << 25)
    znode = probe.find(arena, b"/zookeeper") * 16
    region[znode + 80 : znode + 88] = struct.pack("<II", filler, 1 << 24)
    assert probe.data(arena, probe.find(arena, b"/zookeeper")) == struct.pack(">I", 1 << 24) + bytes(1 << 24)
    region[znode + 84 : znode + 88] = struct.pack("<I", (1 << 24) + 1)
    assert probe.data(arena, probe.find(arena, b"/zookeeper")) is None


def test_an_index_larger_than_its_buckets_finds_nothing(image: bytes) -> None:
    region = bytearray(image)
    arena = Arena.open(region)
    region[88:104] = struct.pack("<QQ", 31, 2**31 - 1)
    assert not any(probe.find(arena, b"/%d" % i) for i in range(1000))
    region[88:104] = struct.pack("<QQ", 64, 0)
    assert not probe.find(arena, b"/t")


def test_a_circle_of_znodes_ends(image: bytes) -> None:
    """Every bucket leads into a chain that bites its own tail."""
    region = bytearray(image)
    arena = Arena.open(region)
    ref = probe.find(arena, b"/t")
    at = ref * 16 + 64  # its hash_next
    region[at : at + 4] = ref.to_bytes(4, "little")
    for bucket in range(4096, 4096 + 4 * 8192, 4):
        region[bucket : bucket + 4] = ref.to_bytes(4, "little")
    assert probe.find(arena, b"/nothing") == 0
    assert probe.find(arena, b"/t") == ref
