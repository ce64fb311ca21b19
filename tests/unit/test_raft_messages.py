"""Goal: what no correct node sends is refused before anything acts on it, and a range knows its own ends.

Method: one message of every wrong form, and the right forms beside them."""

import pytest

from fastzk.raft.messages import EPOCH_MAX, Append, AppendReply, ProtocolError, Range, Vote, VoteReply, check_message


def append(*ranges: Range, epoch: int = 3, previous: tuple[int, int] = (4, 2), committed: int = 0) -> Append:
    return Append(1, epoch, previous[0], previous[1], ranges, committed, 1)


def entries(first: int, last: int, epoch: int, counter: int) -> Range:
    return Range(first, last, epoch, epoch << 32 | counter, b"payload")


def test_a_range_knows_its_ends() -> None:
    found = entries(5, 9, 2, 10)
    assert (found.count, found.last_zxid, found.size) == (5, 2 << 32 | 14, 7)


@pytest.mark.parametrize(
    "message",
    [
        append(),
        append(entries(5, 9, 2, 7), entries(10, 10, 2, 12)),
        append(entries(5, 9, 2, 7), entries(10, 10, 3, 0), entries(11, 12, 3, 1)),
        append(entries(1, 1, 1, 0), previous=(0, 0)),
        Vote(1, 3, 4, 2, True),
        VoteReply(1, EPOCH_MAX, True, False),
        AppendReply(1, 3, True, 4, 2, 1, 9),
    ],
)
def test_what_is_right_passes(message: Append) -> None:
    check_message(message)


@pytest.mark.parametrize(
    "message",
    [
        append(entries(6, 9, 2, 7)),  # a hole before it
        append(entries(5, 4, 2, 7)),  # nothing in it
        append(entries(5, 9, 2, 7), entries(11, 11, 2, 12)),  # a hole inside
        append(entries(5, 9, 2, 7), entries(10, 10, 2, 13)),  # a hole in the zxids
        append(entries(5, 9, 2, 7), entries(10, 10, 3, 1)),  # an epoch that does not begin at 0
        append(entries(5, 9, 1, 7)),  # an epoch that falls
        append(entries(5, 9, 4, 0)),  # an epoch above the sender's
        append(Range(5, 9, 2, 3 << 32, b"")),  # a zxid of another epoch
        append(entries(5, 9, 2, 0xFFFFFFFE)),  # a counter that passes the end of its epoch
        append(previous=(4, 5)),
        append(previous=(-1, 0)),
        append(committed=-1),
        append(epoch=EPOCH_MAX + 1),
        Vote(1, 3, -1, 2, True),
        Vote(1, 3, 4, 4, True),  # a log of a later epoch than the one it asks for
        AppendReply(1, 3, False, -1, 0, 0, 0),
        AppendReply(1, 3, True, 1, -1, 0, 0),
        VoteReply(1, -1, True, False),
    ],
)
def test_what_is_wrong_is_refused(message: Append) -> None:
    with pytest.raises(ProtocolError, match="node 1"):
        check_message(message)
