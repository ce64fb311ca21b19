"""Messages by which nodes care for one another, beside the consensus: is your tree like mine, here is a snapshot, count me again.

First byte: the kind, from CARE_FIRST on; then, little-endian:
    REJOIN   nonce u64                                       "propose that I am there again": an unsound node to the leader
    SAMPLE   index u64, digest 16 bytes, chain u64           the newest sample of the sender's digest
    OFFER    index u64, size u64, checksum u64               a snapshot that the receiver, which is behind, may fetch
    ASK      index u64, offset u64, size u32                 a piece of it, please
    PIECE    index u64, offset u64; one further part: bytes  here it is; without bytes: it is gone

Rule: whatever arrives is checked here; what does not make sense raises ValueError or struct.error and changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

CARE_FIRST = 64
REJOIN, SAMPLE, OFFER, ASK, PIECE = range(CARE_FIRST, CARE_FIRST + 5)

# The most that is asked for at once; LINK_MESSAGE_BYTES_MAX is far above it.
PIECE_BYTES_MAX = 1 << 20

_REJOIN = struct.Struct("<BQ")
_SAMPLE = struct.Struct("<BQ16sQ")
_OFFER = struct.Struct("<BQQQ")
_ASK = struct.Struct("<BQQI")
_PIECE = struct.Struct("<BQQ")


@dataclass(frozen=True, slots=True)
class Rejoin:
    """An unsound node asks the leader for an entry that proves it level."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of the sender's digest (_core/samples.pxd)."""

    index: int
    digest: int  # 128 bits
    chain: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A snapshot of the sender."""

    index: int
    size: int  # bytes
    checksum: int  # of its header: which snapshot it is


@dataclass(frozen=True, slots=True)
class Ask:
    """A piece of a snapshot is wanted."""

    index: int
    offset: int
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a snapshot; empty when the sender no longer has it."""

    index: int
    offset: int
    data: bytes


CareMessage = Rejoin | Sample | Offer | Ask | Piece


def encode_care(message: CareMessage) -> list[bytes]:
    """The parts of a message."""
    match message:
        case Rejoin():
            return [_REJOIN.pack(REJOIN, message.nonce)]
        case Sample():
            return [_SAMPLE.pack(SAMPLE, message.index, message.digest.to_bytes(16, "little"), message.chain)]
        case Offer():
            return [_OFFER.pack(OFFER, message.index, message.size, message.checksum)]
        case Ask():
            return [_ASK.pack(ASK, message.index, message.offset, message.size)]
        case Piece():
            return [_PIECE.pack(PIECE, message.index, message.offset), message.data]


def decode_care(part: bytes, rest: Sequence[bytes]) -> CareMessage:
    """The message of these parts.  Raises struct.error or ValueError."""
    if len(rest) != (part[0] == PIECE):
        raise ValueError(f"{len(rest)} further parts")
    match part[0]:
        case 64:
            return Rejoin(_REJOIN.unpack(part)[1])
        case 65:
            _, index, digest, chain = _SAMPLE.unpack(part)
            return Sample(index, int.from_bytes(digest, "little"), chain)
        case 66:
            return Offer(*_OFFER.unpack(part)[1:])
        case 67:
            ask = Ask(*_ASK.unpack(part)[1:])
            if not 0 < ask.size <= PIECE_BYTES_MAX:
                raise ValueError(f"{ask.size} bytes of a snapshot are asked for at once")
            return ask
        case 68:
            _, index, offset = _PIECE.unpack(part)
            if len(rest[0]) > PIECE_BYTES_MAX:
                raise ValueError(f"a piece of {len(rest[0])} bytes of a snapshot")
            return Piece(index, offset, rest[0])
        case kind:
            raise ValueError(f"message of unknown kind {kind}")
