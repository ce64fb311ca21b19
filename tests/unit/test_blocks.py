"""Goal: a block is what layout.h says, byte by byte, and no damage to one is believed.

Method: blocks are packed a second time with struct and compared; then every byte of one is damaged in turn, and heads
are changed under a checksum that is made right again, so that each check behind the checksum is seen to work."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from fastzk._core.blocks import (
    BlockDamaged,
    BlockInfo,
    Entry,
    block_checksum,
    check,
    count_entries,
    entries,
    make_entry,
    seal,
    take_reconfigs,
)

BLOCK_HEAD = struct.Struct("<IIQQQqQIIQ")
ENTRY_HEAD = struct.Struct("<IIiiQQQHHI")
CREATE_SESSION, CLOSE_SESSION, EPOCH = -10, -11, 0
CREATE, GET_DATA, CHECK, RECONFIG, DELETE_CONTAINER = 1, 4, 13, 16, 20

FIRST = make_entry(EPOCH)
WRITE = make_entry(CREATE, b"body!", 7, 8, 9, 1, 2, 3, 4)
CLOSE = make_entry(CLOSE_SESSION, b"", 7, 8, 10)
BLOCK = seal([FIRST, WRITE + CLOSE], 3, 41, 5 << 32, 1234, 77)


def resealed(block: bytes) -> bytes:
    """The block under a checksum that fits what it holds now."""
    return block[:8] + struct.pack("<Q", xxh3_64_intdigest(block[16:])) + block[16:]


def with_field(block: bytes, offset: int, form: str, value: int) -> bytes:
    return block[:offset] + struct.pack(form, value) + block[offset + struct.calcsize(form) :]


def test_entry_bytes() -> None:
    assert ENTRY_HEAD.pack(56, 5, CREATE, 4, 7, 8, 9, 1, 2, 3) + b"body!\0\0\0" == WRITE
    assert ENTRY_HEAD.size == 48
    assert len(FIRST) == 48


def test_block_bytes() -> None:
    body = FIRST + WRITE + CLOSE
    head = BLOCK_HEAD.pack(0x316B6C42, 64 + len(body), 0, 41, 5 << 32, 1234, 77, 3, 0, 0)
    assert resealed(head + body) == BLOCK
    assert BLOCK[:4] == b"Blk1"


def test_check_tells_what_seal_was_told() -> None:
    checksum = xxh3_64_intdigest(BLOCK[16:])
    info = BlockInfo(41, 43, 5 << 32, (5 << 32) + 2, 1234, 77, checksum, 3, len(BLOCK), 0)
    assert check(BLOCK) == info
    assert block_checksum(BLOCK) == checksum
    assert check(memoryview(b"." + BLOCK)[1:]) == info


def test_entries_come_back() -> None:
    assert entries(BLOCK) == [
        Entry(EPOCH, b"", 0, 0, 0, 0, 0, 0, 0),
        Entry(CREATE, b"body!", 7, 8, 9, 1, 2, 3, 4),
        Entry(CLOSE_SESSION, b"", 7, 8, 10, 0, 0, 0, 0),
    ]


def test_every_damaged_byte_is_found() -> None:
    for at in range(len(BLOCK)):
        damaged = bytearray(BLOCK)
        damaged[at] ^= 0x10
        with pytest.raises(BlockDamaged):
            check(damaged)


def test_every_truncation_is_found() -> None:
    for size in range(len(BLOCK)):
        with pytest.raises(BlockDamaged) as caught:
            check(BLOCK[:size])
        assert caught.value.reason == "size"
    with pytest.raises(BlockDamaged):
        check(BLOCK + bytes(8))


ENTRY_AT = 64 + 48  # the second entry of BLOCK


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (0, "<I", 0, "magic"),
        (4, "<I", 8, "size"),
        (4, "<I", 0xFFFFFFF8, "size"),
        (48, "<I", 2, "count"),
        (48, "<I", 4, "count"),
        (48, "<I", 0, "count"),
        (24, "<Q", (5 << 32) | 0xFFFFFFFE, "count"),
        (52, "<I", 1, "kind"),
        (52, "<I", 2, "kind"),
        (56, "<Q", 1, "spare fields"),
        (ENTRY_AT, "<I", 0, "entry"),
        (ENTRY_AT, "<I", 48, "entry"),
        (ENTRY_AT, "<I", 64, "entry"),
        (ENTRY_AT, "<I", 57, "entry"),
        (ENTRY_AT, "<I", 0xFFFFFFF8, "entry"),
        (ENTRY_AT + 4, "<I", 0, "entry"),
        (ENTRY_AT + 4, "<I", 9, "entry"),
        (ENTRY_AT + 4, "<I", 0xFFFFFFFF, "entry"),
        (ENTRY_AT + 55, "<B", 1, "entry"),
    ],
)
def test_damage_behind_the_checksum_is_named(offset: int, form: str, value: int, reason: str) -> None:
    with pytest.raises(BlockDamaged) as caught:
        check(resealed(with_field(BLOCK, offset, form, value)))
    assert caught.value.reason == reason


def test_seal_refuses() -> None:
    with pytest.raises(ValueError, match="not 2 entries"):
        seal([WRITE], 2, 1, 1, 0, 0)
    with pytest.raises(ValueError, match="not 0 entries"):
        seal([], 0, 1, 1, 0, 0)
    with pytest.raises(ValueError, match="not 1 entries"):
        seal([WRITE[:-8]], 1, 1, 1, 0, 0)
    with pytest.raises(ValueError, match="counter"):
        seal([WRITE, WRITE], 2, 1, 0xFFFFFFFF, 0, 0)
    assert check(seal([WRITE], 1, 1, 0xFFFFFFFF, 0, 0)).last_zxid == 0xFFFFFFFF
    with pytest.raises(ValueError, match="too large"):
        seal([bytes(1 << 27), bytes(1 << 27)], 1, 1, 1, 0, 0)


def test_count_entries() -> None:
    assert count_entries(b"") == 0
    assert count_entries(WRITE + CLOSE) == 2
    assert count_entries(memoryview(b"1234" + WRITE)[4:], node_id=1, worker=2) == 1
    assert count_entries(make_entry(GET_DATA), reads=True) == 1


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (WRITE[:-1], "sizes"),
        (WRITE + b"\0", "sizes"),
        (with_field(WRITE, 0, "<I", 0), "sizes"),
        (FIRST, "operation 0 "),
        (make_entry(CLOSE_SESSION), "operation -11 "),
        (make_entry(CLOSE_SESSION, b"body", serial=1), "operation -11 "),
        (make_entry(CREATE_SESSION, bytes(19)), "operation -10 "),
        (make_entry(CREATE, b""), "operation 1 "),
        (make_entry(CHECK, serial=1), "operation 13 "),
        (make_entry(DELETE_CONTAINER, serial=1), "operation 20 "),
        (make_entry(GET_DATA, serial=1), "operation 4 "),
    ],
)
def test_count_entries_refuses(stream: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        count_entries(stream)


def test_count_entries_looks_at_the_sender() -> None:
    with pytest.raises(ValueError, match="node 1 instead of 2"):
        count_entries(WRITE, node_id=2)
    with pytest.raises(ValueError, match="worker 2 instead of 1"):
        count_entries(WRITE, worker=1)
    with pytest.raises(ValueError, match="operation 1 "):
        count_entries(WRITE, reads=True)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(stream: bytes) -> None:
    with pytest.raises(BlockDamaged):
        check(stream)
    if stream:
        with pytest.raises(ValueError, match="entry 0"):
            count_entries(stream)


@given(st.lists(st.tuples(st.sampled_from([CREATE, RECONFIG]), st.binary(max_size=20)), max_size=12))
def test_reconfigs_are_taken_out_and_the_rest_stays_in_order(ops: list[tuple[int, bytes]]) -> None:
    made = [make_entry(op, body, 7, 8, serial, 1, 2, 3, 4) for serial, (op, body) in enumerate(ops, 1)]
    batch = b"".join(made)
    rest, count, taken = take_reconfigs(batch, len(made))
    assert rest == b"".join(entry for entry, (op, _) in zip(made, ops, strict=True) if op == CREATE)
    assert count == len(made) - len(taken)
    assert taken == [Entry(op, body, 7, 8, serial, 1, 2, 3, 4) for serial, (op, body) in enumerate(ops, 1) if op == RECONFIG]
    if not taken:
        assert rest is batch, "where there is none nothing is copied"


@pytest.mark.parametrize("batch", [WRITE[:-8], WRITE + b"x" * 48, struct.pack("<I", 0) + WRITE[4:]])
def test_what_are_no_entries_holds_no_reconfigs(batch: bytes) -> None:
    with pytest.raises(ValueError, match="not entries"):
        take_reconfigs(batch, 1)
