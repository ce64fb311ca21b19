"""Messages between nodes as bytes: lists of message parts, the first of fixed form, then one part for each block.

Part 0, little-endian:    kind u8, then
    VOTE          flags u8 (1 pre-vote, 2 transfer), epoch u64, last_index u64, last_epoch u64
    VOTE_REPLY    is_pre u8, is_granted u8, epoch u64
    APPEND        epoch u64, previous_index u64, previous_epoch u64, committed_index u64, probe u64
                  further parts: the blocks, whole, in order
    APPEND_REPLY  flags u8 (1 rejected, 2 sound), epoch u64, index u64, hint_index u64, hint_epoch u64, probe u64
    FORWARD       count u32, epoch u64; one further part: that many entries for the leader of that epoch
    TOUCH         one further part: u64 ids of sessions a node has heard of
    RESEND        nothing: "writes you forwarded have been lost, send all that are unanswered again"
    PRESENT       state u8, uid u64, count u8, then of so many nodes, seen or founded with (state/formation.py): id u16, uid u64
                  two further parts: text, `host:port` where its clients of ZooKeeper's protocol go, and where nodes reach it
                  "I am there", once a second to everyone, so that all know whose number is taken
    TIMEOUT_NOW   epoch u64
    from 64 on    messages of care.py

Who sent a message is not in it: the link knows (transport/links.py).  Rule: whatever arrives is checked here, blocks with their
checksums; what does not make sense raises WireError and changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from fastzk._core.blocks import BlockDamaged, count_entries
from fastzk.raft.messages import Append, AppendReply, Message, TimeoutNow, Vote, VoteReply
from fastzk.state.formation import SoundState
from fastzk.wire.blocks import range_of
from fastzk.wire.care import CARE_FIRST, CareMessage, decode_care, encode_care

VOTE, VOTE_REPLY, APPEND, APPEND_REPLY, FORWARD, TOUCH, RESEND, PRESENT, TIMEOUT_NOW = range(1, 10)

ADDRESS_BYTES_MAX = 300  # a host's name has 253 at most

_VOTE = struct.Struct("<BBQQQ")
_VOTE_REPLY = struct.Struct("<BBBQ")
_APPEND = struct.Struct("<BQQQQQ")
_APPEND_REPLY = struct.Struct("<BBQQQQQ")
_FORWARD = struct.Struct("<BIQ")
_TIMEOUT_NOW = struct.Struct("<BQ")
_BARE = struct.Struct("<B")
_PRESENT = struct.Struct("<BBQB")
_UID = struct.Struct("<HQ")
_STATES = (SoundState.NEW, SoundState.REJOINING, SoundState.SOUND)


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
    address: str = ""  # host:port where other nodes reach it
    uid: int = 0  # of its data directory
    state: SoundState = SoundState.SOUND
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
                    message.is_rejected | message.is_sound << 1,
                    message.epoch,
                    message.index,
                    message.hint_index,
                    message.hint_epoch,
                    message.probe,
                )
            ]
        case Vote():
            flags = message.is_pre | message.is_transfer << 1
            return [_VOTE.pack(VOTE, flags, message.epoch, message.last_index, message.last_epoch)]
        case VoteReply():
            return [_VOTE_REPLY.pack(VOTE_REPLY, message.is_pre, message.is_granted, message.epoch)]
        case TimeoutNow():
            return [_TIMEOUT_NOW.pack(TIMEOUT_NOW, message.epoch)]
        case Forward():
            return [_FORWARD.pack(FORWARD, message.count, message.epoch), message.entries]
        case Touch():
            return [_BARE.pack(TOUCH), message.session_ids]
        case Resend():
            return [_BARE.pack(RESEND)]
        case Present():
            head = _PRESENT.pack(PRESENT, _STATES.index(message.state), message.uid, len(message.uids))
            return [
                head + b"".join(_UID.pack(*each) for each in message.uids),
                message.client_address.encode(),
                message.address.encode(),
            ]
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
                ranges = tuple(map(range_of, rest))
                return Append(sender, epoch, previous_index, previous_epoch, ranges, committed_index, probe)
            case 4:
                _expect_parts(rest, 0)
                _, flags, epoch, index, hint_index, hint_epoch, probe = _APPEND_REPLY.unpack(head)
                is_rejected, is_sound = _two_flags(flags)
                return AppendReply(sender, epoch, is_rejected, index, hint_index, hint_epoch, probe, is_sound)
            case 1:
                _expect_parts(rest, 0)
                _, flags, epoch, last_index, last_epoch = _VOTE.unpack(head)
                return Vote(sender, epoch, last_index, last_epoch, *_two_flags(flags))
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
                _expect_parts(rest, 2)
                _, state, uid, count = _PRESENT.unpack_from(head)
                uids = tuple(_UID.iter_unpack(head[_PRESENT.size :]))
                if len(uids) != count or state >= len(_STATES):
                    raise WireError(f"PRESENT announces {count} nodes and tells of {len(uids)}")
                return Present(_text(rest[0]), _text(rest[1]), uid, _STATES[state], uids)
            case 9:
                _expect_parts(rest, 0)
                _, epoch = _TIMEOUT_NOW.unpack(head)
                return TimeoutNow(sender, epoch)
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


def _two_flags(flags: int) -> tuple[bool, bool]:
    if flags > 3:
        raise WireError(f"flags {flags:#x}")
    return bool(flags & 1), bool(flags & 2)


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
