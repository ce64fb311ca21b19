"""Jute, the encoding of ZooKeeper's records: each kind of field as a pair of functions.

    int, long       big-endian, 4 and 8 bytes              bool    one byte
    string, buffer  int size, then so many bytes           vector  int count, then the items
                    size -1 is null                                count -1 is null

Rule: nothing is read past the end; what does not fit raises RecordError.
Rule: null and empty are two things.  (A vector of null reads as an empty one: no record knows the difference.)
The compiled twin for the node is _core/jute.pxd; this one serves clients and tests."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from fastzk.data import ACL, Id, ZnodeStat

_INT = struct.Struct("!i")
_LONG = struct.Struct("!q")
_STAT = struct.Struct("!qqqqiiiqiiq")
_NULL = _INT.pack(-1)
_TRUE, _FALSE = b"\x01", b"\x00"


class RecordError(ValueError):
    """Bytes that are not the record they should be."""


class Kind(NamedTuple):
    """How one kind of field is written, and read at a position (giving the value and the position behind it)."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, int], tuple[Any, int]]


def decode_fields(kinds: Sequence[Kind], data: bytes, at: int = 0) -> tuple[list[Any], int]:
    """The values of fields that stand one after the other, and the position behind them.  Raises RecordError."""
    values = []
    try:
        for _, decode in kinds:
            value, at = decode(data, at)
            values.append(value)
    except (struct.error, UnicodeDecodeError) as error:
        raise RecordError(f"malformed at {at} of {len(data)}: {error}") from error
    return values, at


def encode_fields(kinds: Sequence[Kind], values: Iterable[Any]) -> bytes:
    """Fields one after the other."""
    return b"".join([encode(value) for (encode, _), value in zip(kinds, values, strict=True)])


def _decode_int(data: bytes, at: int) -> tuple[int, int]:
    return _INT.unpack_from(data, at)[0], at + 4


def _decode_long(data: bytes, at: int) -> tuple[int, int]:
    return _LONG.unpack_from(data, at)[0], at + 8


def _encode_bool(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def _decode_bool(data: bytes, at: int) -> tuple[bool, int]:
    if at >= len(data):
        raise RecordError(f"no bool at {at} of {len(data)}")
    return data[at] != 0, at + 1


def _encode_buffer(value: bytes | None) -> bytes:
    return _NULL if value is None else _INT.pack(len(value)) + value


def _decode_buffer(data: bytes, at: int) -> tuple[bytes | None, int]:
    size = _INT.unpack_from(data, at)[0]
    at += 4
    if size == -1:
        return None, at
    end = at + size
    if size < 0 or end > len(data):
        raise RecordError(f"size {size} at {at - 4} of {len(data)}")
    return data[at:end], end


def _encode_string(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return _INT.pack(len(encoded)) + encoded


def _decode_string(data: bytes, at: int) -> tuple[str | None, int]:
    value, end = _decode_buffer(data, at)
    return None if value is None else value.decode(), end


def _decode_required_string(data: bytes, at: int) -> tuple[str, int]:
    value, end = _decode_buffer(data, at)
    if value is None:
        raise RecordError(f"null string at {at}")
    return value.decode(), end


def _encode_acl(value: ACL) -> bytes:
    return _INT.pack(value.perms) + _encode_string(value.id.scheme) + _encode_string(value.id.id)


def _decode_acl(data: bytes, at: int) -> tuple[ACL, int]:
    perms, at = _decode_int(data, at)
    identity, at = _decode_id(data, at)
    return ACL(perms, identity), at


def _encode_id(value: Id) -> bytes:
    return _encode_string(value.scheme) + _encode_string(value.id)


def _decode_id(data: bytes, at: int) -> tuple[Id, int]:
    scheme, at = _decode_required_string(data, at)
    name, at = _decode_required_string(data, at)
    return Id(scheme, name), at


def _encode_stat(value: ZnodeStat) -> bytes:
    return _STAT.pack(*value)


def _decode_stat(data: bytes, at: int) -> tuple[ZnodeStat, int]:
    return ZnodeStat._make(_STAT.unpack_from(data, at)), at + _STAT.size


def vector_of(item: Kind) -> Kind:
    """The kind of a vector of items of one kind.  It reads into a tuple."""
    encode_item, decode_item = item

    def encode(values: Sequence[Any]) -> bytes:
        return _INT.pack(len(values)) + b"".join([encode_item(value) for value in values])

    def decode(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        count = _INT.unpack_from(data, at)[0]
        at += 4
        if count == -1:
            return (), at
        # An item has at least one byte: a count beyond that is refused before it costs memory.
        if count < 0 or count > len(data) - at:
            raise RecordError(f"count {count} at {at - 4} of {len(data)}")
        values = []
        for _ in range(count):
            value, at = decode_item(data, at)
            values.append(value)
        return tuple(values), at

    return Kind(encode, decode)


INT = Kind(_INT.pack, _decode_int)
LONG = Kind(_LONG.pack, _decode_long)
BOOL = Kind(_encode_bool, _decode_bool)
BUFFER = Kind(_encode_buffer, _decode_buffer)
STRING = Kind(_encode_string, _decode_required_string)
STRING_OR_NULL = Kind(_encode_string, _decode_string)
STAT = Kind(_encode_stat, _decode_stat)
ACL_ENTRY = Kind(_encode_acl, _decode_acl)
ID = Kind(_encode_id, _decode_id)
STRINGS = vector_of(STRING)
ACLS = vector_of(ACL_ENTRY)
IDS = vector_of(ID)
