"""Goal: messages between nodes survive encoding, and nothing but a right message is ever decoded.

Method: round trips of every kind; truncation at every byte and a flip of every byte of real messages; hypothesis' garbage."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastzk._core.blocks import make_entry, seal
from fastzk.config import Address
from fastzk.raft.membership import Membership
from fastzk.raft.messages import Append, AppendReply, Range, TimeoutNow, Vote, VoteReply
from fastzk.state.formation import SoundState
from fastzk.state.members import Members
from fastzk.wire.blocks import range_of
from fastzk.wire.care import Ask, Offer, Piece, Rejoin, Sample
from fastzk.wire.ensemble import EnsembleMessage, Forward, Present, Resend, Touch, WireError, decode, encode

ENTRIES = [make_entry(5, b"body" * number, session_id=7, attach_zxid=1, serial=number + 1) for number in range(3)]


def batch(first_index: int, counter: int) -> Range:
    zxid = 3 << 32 | counter
    block = seal(ENTRIES, 3, first_index=first_index, first_zxid=zxid, time_ms=1000, previous=99)
    return Range(first_index, first_index + 2, 3, zxid, block)


MESSAGES: list[EnsembleMessage] = [
    Vote(2, 3, 10, 2, True),
    Vote(2, 2**31 - 1, 2**63, 0, False),
    Vote(2, 3, 10, 2, False, True),
    TimeoutNow(2, 3),
    VoteReply(2, 3, True, False),
    Append(2, 3, 6, 2, (batch(7, 1), batch(10, 4)), 6, 55),
    Append(2, 3, 6, 3, (), 6, 56),
    AppendReply(2, 3, False, 12, 0, 0, 55),
    AppendReply(2, 3, True, 12, 4, 2, 2**64 - 1),
    AppendReply(2, 3, False, 12, 0, 0, 55, False),
    Forward(3, b"".join(ENTRIES), 7),
    Touch(b"\1\2\3\4\5\6\7\0" * 3),
    Touch(b""),
    Resend(),
    Present(),
    Present("127.0.0.1:2181"),
    Present("127.0.0.1:2181", "127.0.0.1:2881", 1 << 63, SoundState.NEW, ((1, 7), (254, 1 << 63))),
    Rejoin(1 << 63),
    Sample(128, (1 << 128) - 2, 1 << 63),
    Offer(1, 2, 1 << 63),
    Ask(5, 6, 7),
    Piece(5, 6, b"some bytes"),
    Piece(5, 6, b""),
]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_round_trip(message: EnsembleMessage) -> None:
    assert decode(encode(message), 2) == message


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_truncated_messages_are_refused(message: EnsembleMessage) -> None:
    parts = encode(message)
    for number, part in enumerate(parts):
        for size in range(len(part)):
            cut = [*parts[:number], part[:size], *parts[number + 1 :]]
            if isinstance(message, Touch) and number == 1 and size % 8 == 0:
                assert decode(cut, 2) == Touch(part[:size])
            elif isinstance(message, Present) and number == 1:
                assert decode(cut, 2) == replace(message, client_address=part[:size].decode()), "an address is text of any length"
            elif isinstance(message, Present) and number == 2:
                assert decode(cut, 2) == replace(message, address=part[:size].decode())
            elif isinstance(message, Piece) and number == 1:
                assert decode(cut, 2) == Piece(5, 6, part[:size]), "a piece is bytes of any length; the snapshot knows better"
            else:
                with pytest.raises(WireError):
                    decode(cut, 2)
    with pytest.raises(WireError):
        decode([*parts, b"one too many"], 2)


def test_every_flipped_byte_of_a_block_is_found() -> None:
    head, block = encode(Append(2, 3, 6, 2, (batch(7, 1),), 6, 55))
    for place in range(len(block)):
        damaged = bytearray(block)
        damaged[place] ^= 0x40
        with pytest.raises(WireError):
            decode([head, bytes(damaged)], 2)


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_garbage_is_refused_or_is_a_message(parts: list[bytes]) -> None:
    try:
        message = decode(parts, 2)
    except WireError:
        return
    assert encode(message)[1:] == parts[1:]


@pytest.mark.parametrize("part", [b"a" * 301, b"line\n", b"\xff", b"\0"])
def test_an_address_is_printable_and_short(part: bytes) -> None:
    with pytest.raises(WireError):
        decode([encode(Present())[0], part], 2)


def members_block(text: bytes) -> bytes:
    return seal([make_entry(-15, text), *ENTRIES], 4, first_index=7, first_zxid=3 << 32 | 1, time_ms=1000, previous=99, kind=1)


def test_a_block_of_members_is_a_range_with_a_membership() -> None:
    members = Members.from_peers({1: Address("a", 1), 2: Address("b", 1), 3: Address("c", 1)}, observers=[3])
    message = decode(encode(Append(2, 3, 6, 2, (range_of(members_block(members.encode())),), 6, 55)), 2)
    assert isinstance(message, Append)
    assert message.ranges[0].membership == Membership((1, 2), (3,))
    assert batch(7, 1).membership is None


def test_members_that_cannot_be_are_refused() -> None:
    head = encode(Append(2, 3, 6, 2, (), 6, 55))[0]
    with pytest.raises(WireError):
        decode([head, members_block(b"nobody")], 2)


@pytest.mark.parametrize("message", [Vote(2, 3, 10, 2, True), AppendReply(2, 3, True, 12, 4, 2, 9)])
def test_flags_that_nobody_knows_are_refused(message: EnsembleMessage) -> None:
    part = bytearray(encode(message)[0])
    part[1] |= 4
    with pytest.raises(WireError, match="flags"):
        decode([bytes(part)], 2)
