"""Messages between nodes as bytes: lists of message parts, the first of fixed form, then one part for each block.

Part 0, little-endian:    kind u8, then
    VOTE          is_pre u8, epoch u64, last_index u64, last_epoch u64
    VOTE_REPLY    is_pre u8, is_granted u8, epoch u64
    APPEND        epoch u64, previous_index u64, previous_epoch u64, committed_index u64, probe u64
                  further parts: the blocks, whole, in order
    APPEND_REPLY  is_rejected u8, epoch u64, index u64, hint_index u64, hint_epoch u64, probe u64
    FORWARD       count u32, epoch u64; one further part: that many entries for the leader of that epoch
    TOUCH         one further part: u64 ids of sessions a node has heard of
    RESEND        nothing: "writes you forwarded have been lost, send all that are unanswered again"
    PRESENT       soundness u8, uid u64, count u8, then of so many nodes, seen or founded with (state/formation.py): id u16, uid u64
                  one further part: text, `host:port` where its clients of ZooKeeper's protocol go, or nothing
                  "I am there", once a second to everyone, so that all know whose number is taken
    from 64 on    messages of care.py

Who sent a message is not in it: the link knows (transport/links.py).  Rule: whatever arrives is checked here, blocks with their
checksums; what does not make sense raises WireError and changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from fastzk._core.blocks import BlockDamaged, check, count_entries
from fastzk.raft.messages import Append, AppendReply, Message, Range, Vote, VoteReply
from fastzk.state.formation import Soundness
from fastzk.wire.care import CARE_FIRST, CareMessage, decode_care, encode_care

VOTE, VOTE_REPLY, APPEND, APPEND_REPLY, FORWARD, TOUCH, RESEND, PRESENT = range(1, 9)

ADDRESS_BYTES_MAX = 300  # a host's name has 253 at most

_VOTE = struct.Struct("<BBQQQ")
_VOTE_REPLY = struct.Struct("<BBBQ")
_APPEND = struct.Struct("<BQQQQQ")
_APPEND_REPLY = struct.Struct("<BBQQQQQ")
_FORWARD = struct.Struct("<BIQ")
_BARE = struct.Struct("<B")
_PRESENT = struct.Struct("<BBQB")
_UID = struct.Struct("<HQ")


class WireError(ValueError):
    """Bytes from another node that make no sense."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Writes of a follower's clients, for the leader of this epoch and no other."""

    count: int
    entries: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Sessions that a node has heard of since it last said so."""

    session_ids: bytes  # u64 each


@dataclass(frozen=True, slots=True)
class Resend:
    """Forwarded writes were lost on the link."""


@dataclass(frozen=True, slots=True)
class Present:
    """The sender is there."""

    client_address: str = ""  # host:port where its clients of ZooKeeper's protocol go; empty: it does not tell
    uid: int = 0  # of its data directory
    soundness: Soundness = Soundness.SOUND
    uids: tuple[tuple[int, int], ...] = ()  # (node id, uid) of those that it has seen, or was founded with


EnsembleMessage = Message | Forward | Touch | Resend | Present | CareMessage


def encode(message: EnsembleMessage) -> list[bytes]:
    """The parts of a message."""
    match message:
        case Append():
            head = _APPEND.pack(
                APPEND,
                message.epoch,
                message.previous_index,
                message.previous_epoch,
                message.committed_index,
                message.probe,
            )
            return [head, *(bytes(batch.payload) for batch in message.ranges)]
        case AppendReply():
            return [
                _APPEND_REPLY.pack(
                    APPEND_REPLY,
                    message.is_rejected,
                    message.epoch,
                    message.index,
                    message.hint_index,
                    message.hint_epoch,
                    message.probe,
                )
            ]
        case Vote():
            return [_VOTE.pack(VOTE, message.is_pre, message.epoch, message.last_index, message.last_epoch)]
        case VoteReply():
            return [_VOTE_REPLY.pack(VOTE_REPLY, message.is_pre, message.is_granted, message.epoch)]
        case Forward():
            return [_FORWARD.pack(FORWARD, message.count, message.epoch), message.entries]
        case Touch():
            return [_BARE.pack(TOUCH), message.session_ids]
        case Resend():
            return [_BARE.pack(RESEND)]
        case Present():
            head = _PRESENT.pack(PRESENT, message.soundness, message.uid, len(message.uids))
            return [head + b"".join(_UID.pack(*each) for each in message.uids), message.client_address.encode()]
        case _:
            return encode_care(message)


def decode(parts: Sequence[bytes], sender: int) -> EnsembleMessage:
    """The message that node `sender` sent as these parts.  Raises WireError."""
    if not parts or not parts[0]:
        raise WireError("an empty message")
    head, rest = parts[0], parts[1:]
    try:
        match head[0]:
            case 3:
                _, epoch, previous_index, previous_epoch, committed_index, probe = _APPEND.unpack(head)
                ranges = tuple(map(_range_of, rest))
                return Append(sender, epoch, previous_index, previous_epoch, ranges, committed_index, probe)
            case 4:
                _expect_parts(rest, 0)
                _, is_rejected, epoch, index, hint_index, hint_epoch, probe = _APPEND_REPLY.unpack(head)
                return AppendReply(sender, epoch, bool(is_rejected), index, hint_index, hint_epoch, probe)
            case 1:
                _expect_parts(rest, 0)
                _, is_pre, epoch, last_index, last_epoch = _VOTE.unpack(head)
                return Vote(sender, epoch, last_index, last_epoch, bool(is_pre))
            case 2:
                _expect_parts(rest, 0)
                _, is_pre, is_granted, epoch = _VOTE_REPLY.unpack(head)
                return VoteReply(sender, epoch, bool(is_granted), bool(is_pre))
            case 5:
                _expect_parts(rest, 1)
                _, count, epoch = _FORWARD.unpack(head)
                if count_entries(rest[0]) != count:
                    raise WireError(f"FORWARD announces {count} entries and holds others")
                return Forward(count, rest[0], epoch)
            case 6:
                _expect_parts(rest, 1)
                if len(rest[0]) % 8:
                    raise WireError(f"TOUCH with {len(rest[0])} bytes of session ids, not a multiple of 8")
                return Touch(rest[0])
            case 7:
                _expect_parts(rest, 0)
                _BARE.unpack(head)
                return Resend()
            case 8:
                _expect_parts(rest, 1)
                _, soundness, uid, count = _PRESENT.unpack_from(head)
                uids = tuple(_UID.iter_unpack(head[_PRESENT.size :]))
                if len(uids) != count:
                    raise WireError(f"PRESENT announces {count} nodes and tells of {len(uids)}")
                return Present(_text(rest[0]), uid, Soundness(soundness), uids)
            case kind if kind >= CARE_FIRST:
                return decode_care(head, rest)
            case kind:
                raise WireError(f"message of unknown kind {kind}")
    except (struct.error, BlockDamaged) as error:
        raise WireError(f"message of kind {head[0]}: {error}") from error
    except WireError:
        raise
    except ValueError as error:
        raise WireError(f"message of kind {head[0]}: {error}") from error


def _range_of(block: bytes) -> Range:
    info = check(block)
    return Range(info.first_index, info.last_index, info.first_zxid >> 32, info.first_zxid, block)


def _text(part: bytes) -> str:
    if len(part) > ADDRESS_BYTES_MAX:
        raise WireError(f"an address of {len(part)} bytes")
    text = part.decode()  # UnicodeDecodeError is a ValueError
    if not text.isprintable():
        raise WireError("an address that is not printable")
    return text


def _expect_parts(rest: Sequence[bytes], count: int) -> None:
    if len(rest) != count:
        raise WireError(f"{len(rest)} parts after the first where {count} belong")
