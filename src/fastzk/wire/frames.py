"""Frames: each record of a connection behind its size, an int of four bytes.

Rule: a size beyond the limit, or a negative one, is refused before anything is kept for it."""

import struct

from fastzk.wire.jute import RecordError

_SIZE = struct.Struct("!i")


def frame(record: bytes) -> bytes:
    """A record behind its size."""
    return _SIZE.pack(len(record)) + record


def split_message(message: bytes, frame_bytes_max: int) -> list[bytes]:
    """The records of a message that holds whole frames, as every ZeroMQ message does.  Raises RecordError."""
    records = []
    at = 0
    while at < len(message):
        record, at = split_first(message, at, frame_bytes_max)
        records.append(record)
    return records


def split_first(message: bytes, at: int, frame_bytes_max: int) -> tuple[bytes, int]:
    """The record of the frame at a position of such a message, and the position behind it.  Raises RecordError."""
    left = len(message) - at
    if left < 4:
        raise RecordError(f"{left} bytes are left over")
    size = _checked_size(message, at, frame_bytes_max)
    at += 4
    if size > left - 4:
        raise RecordError(f"a frame of {size} bytes with {left - 4} in the message")
    return message[at : at + size], at + size


class FrameSplitter:
    """The records of a stream of bytes, as TCP gives it."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        # What came in and is not a whole frame yet.
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes; gives the records that are whole now.  Raises RecordError."""
        rest = self._rest
        rest += data
        records = []
        at = 0
        while len(rest) - at >= 4:
            size = _checked_size(rest, at, self._frame_bytes_max)
            if len(rest) - at - 4 < size:
                break
            records.append(bytes(rest[at + 4 : at + 4 + size]))
            at += 4 + size
        del rest[:at]
        return records


def _checked_size(data: bytes | bytearray, at: int, frame_bytes_max: int) -> int:
    size: int = _SIZE.unpack_from(data, at)[0]
    if not 0 <= size <= frame_bytes_max:
        raise RecordError(f"a frame of {size} bytes; at most {frame_bytes_max} are allowed")
    return size
