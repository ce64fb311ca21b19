"""The bytes of a segment file, and the judgement over a log directory.  docs/internals/log-format.md is the contract.

    0        64     104                                             end of file
    | header | mark | block | block | mark | block | ... | zeros |

Rule: scan() only reads; whatever it raises, nothing has changed.
Rule: a torn tail is what a crash can have left of the last batch, and nothing else.  Everything else is damage and
raises LogDamaged with its file and offset; examine() gives what is right before it instead.

A mark is written only after all before it is synced, so it proves what stands before it; and what a crash leaves of a
batch is, sector by sector, the new bytes or the zeros that were there before."""

import errno
import struct
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field, replace

from fastzk._core.blocks import BlockDamaged, BlockInfo, check
from fastzk.storage._scan import take_records
from fastzk.storage._tail import fnv1a
from fastzk.storage.disk import Disk, File
from fastzk.wire.blocks import BLOCK_MEMBERS

SECTOR = 512  # a disk writes this much, aligned, wholly or not at all
READ_BYTES = 1 << 20  # a scan holds this much of a file, or one block if that is larger

HEADER_MAGIC = 0x6753_7A46
HEADER_VERSION = 1
HEADER_SIZE = 64
MARK_MAGIC = 0x316B_724D
MARK_SIZE = 40
BLOCK_MAGIC = 0x316B_6C42
BLOCK_HEAD = 64
# Where the checksummed part of a header and a mark begins.
CHECKED_FROM = 16

_HEADER = struct.Struct("<IIQQQQqQQ")
_MARK = struct.Struct("<IIQQQQ")
assert (_HEADER.size, _MARK.size) == (HEADER_SIZE, MARK_SIZE)

_NAME_PREFIX = "log."


class LogDamaged(Exception):  # noqa: N818
    """The log says something that no crash can have left behind.  Nothing has been changed."""

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"{file}: offset {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


@dataclass(slots=True)
class End:
    """Where a log ends: what the next block must follow."""

    last_index: int = 0
    last_zxid: int = 0
    last_time_ms: int = 0
    # Checksum of the last block: the next one's `previous`.
    last_checksum: int = 0

    @classmethod
    def after(cls, block: BlockInfo) -> "End":
        return cls(block.last_index, block.last_zxid, block.time_ms, block.checksum)

    def as_tuple(self) -> tuple[int, int, int, int]:
        return self.last_index, self.last_zxid, self.last_time_ms, self.last_checksum

    def why_not_next(self, block: BlockInfo) -> str | None:
        """What keeps the block from following here; None if it follows."""
        if block.first_index != self.last_index + 1:
            return f"index {block.first_index} after {self.last_index}"
        # Within an epoch the counter goes on; a new epoch begins with counter 0 (Z1).
        if block.first_zxid >> 32 == self.last_zxid >> 32:
            is_rising = block.first_zxid == self.last_zxid + 1
        else:
            is_rising = block.first_zxid > self.last_zxid and block.first_zxid & 0xFFFFFFFF == 0
        if not is_rising:
            return f"zxid {block.first_zxid:#x} after {self.last_zxid:#x} (Z1)"
        if block.previous != self.last_checksum:
            return f"a block after {block.previous:#018x}, not after {self.last_checksum:#018x}"
        return None

    def advance(self, block: BlockInfo) -> None:
        """Moves behind the block."""
        self.last_index = block.last_index
        self.last_zxid = block.last_zxid
        self.last_time_ms = block.time_ms
        self.last_checksum = block.checksum


def segment_name(first_index: int) -> str:
    return f"{_NAME_PREFIX}{first_index:016x}"


def pack_header(end: End) -> bytes:
    """The header of the segment that goes on from `end`."""
    fields = (end.last_index + 1, end.last_checksum, end.last_zxid, end.last_time_ms, 0, 0)
    checksum = fnv1a(_HEADER.pack(0, 0, 0, *fields)[CHECKED_FROM:])
    return _HEADER.pack(HEADER_MAGIC, HEADER_VERSION, checksum, *fields)


def unpack_header(data: bytes) -> End | None:
    """What the segment goes on from; None if this is no right header."""
    if len(data) < HEADER_SIZE:
        return None
    magic, version, checksum, first_index, previous, zxid, time_ms, _, _ = _HEADER.unpack_from(data)
    if magic != HEADER_MAGIC or version != HEADER_VERSION or not first_index:
        return None
    if fnv1a(data[CHECKED_FROM:HEADER_SIZE]) != checksum:
        return None
    return End(first_index - 1, zxid, time_ms, previous)


def pack_mark(offset: int, previous: int, batch_size: int) -> bytes:
    """The mark at offset of a batch with so many bytes of blocks; 0 makes it a seal."""
    fields = (offset, previous, offset + MARK_SIZE + batch_size)
    checksum = fnv1a(_MARK.pack(0, 0, 0, *fields)[CHECKED_FROM:])
    return _MARK.pack(MARK_MAGIC, MARK_SIZE, checksum, *fields)


def unpack_mark(data: bytes, offset: int) -> tuple[int, int] | None:
    """(previous, batch_end) of the mark that stands at offset; None if this is no right mark."""
    if len(data) < MARK_SIZE:
        return None
    magic, size, checksum, place, previous, batch_end = _MARK.unpack_from(data)
    if magic != MARK_MAGIC or size != MARK_SIZE or place != offset or fnv1a(data[CHECKED_FROM:MARK_SIZE]) != checksum:
        return None
    return previous, batch_end


class BlockIndex:
    """Where each block of the log is: 28 bytes for a block."""

    def __init__(self) -> None:
        self.first_index = array("Q")
        self.first_zxid = array("Q")
        self.segment = array("Q")  # its first index
        self.offset = array("I")
        self.size = array("I")

    def __len__(self) -> int:
        return len(self.first_index)

    def append(self, first_index: int, first_zxid: int, segment: int, offset: int, size: int) -> None:
        self.first_index.append(first_index)
        self.first_zxid.append(first_zxid)
        self.segment.append(segment)
        self.offset.append(offset)
        self.size.append(size)

    def find(self, index: int) -> int:
        """The place of the last block that begins at or before index; -1 if none does."""
        return bisect_right(self.first_index, index) - 1

    def keep(self, start: int, stop: int) -> None:
        """Forgets all but the blocks at places start to stop."""
        for column in (self.first_index, self.first_zxid, self.segment, self.offset, self.size):
            del column[stop:]
            del column[:start]


@dataclass(slots=True)
class Cut:
    """A torn tail: what recovery takes away."""

    file: str
    offset: int
    size: int
    reason: str
    # The segment itself never came to be; the file goes.
    is_removed: bool = False

    def __str__(self) -> str:
        what = "removed" if self.is_removed else "cut"
        tail = f"torn tail of {self.size} bytes {what}" if self.size else "torn tail"
        return f"{self.file}: offset {self.offset}: {tail}: {self.reason}"


@dataclass(slots=True)
class Scan:
    """What a log directory holds."""

    # What the first segment goes on from, and what the last block leaves.
    start: End = field(default_factory=End)
    end: End = field(default_factory=End)
    # First indexes of the segments, oldest first, without one that is to be removed.
    segments: list[int] = field(default_factory=list)
    blocks: BlockIndex = field(default_factory=BlockIndex)
    # First indexes of the blocks that bring a membership.
    memberships: list[int] = field(default_factory=list)
    # Of the last segment: where its last right record ends, and whether that is a seal.
    offset: int = 0
    is_sealed: bool = False
    cut: Cut | None = None
    # What ends the right part before the log ends, in a file whose segment is not among `segments` if it has no right header.
    damage: LogDamaged | None = None


def segment_names(disk: Disk, directory: str) -> list[str]:
    """The segment files, oldest first.  Raises LogDamaged for a name that none can have."""
    names = [name for name in disk.list(directory) if name.startswith(_NAME_PREFIX)]
    for name in names:
        digits = name.removeprefix(_NAME_PREFIX)
        if len(digits) != 16 or set(digits) - set("0123456789abcdef") or not int(digits, 16):
            raise LogDamaged(f"{directory}/{name}", 0, "no segment is named like this")
    return names


def scan(disk: Disk, directory: str) -> Scan:
    """Reads and checks the whole log.  Raises LogDamaged; changes nothing."""
    found = examine(disk, directory, segment_names(disk, directory))
    if found.damage is not None:
        raise found.damage
    return found


def examine(disk: Disk, directory: str, names: list[str]) -> Scan:
    """Reads and checks these segments, oldest first, up to the first damage, of which it tells; changes nothing."""
    found = Scan()
    for place, name in enumerate(names):
        file = disk.open(f"{directory}/{name}")
        try:
            _SegmentScan(found, file, int(name[4:], 16), is_last=place == len(names) - 1).run()
        except LogDamaged as damage:
            found.damage = damage
            break
        finally:
            file.close()
    return found


class _SegmentScan:
    """One segment being read."""

    def __init__(self, found: Scan, file: File, first_index: int, *, is_last: bool) -> None:
        self.found = found
        self.file = file
        self.first_index = first_index
        self.is_last = is_last
        self.size = file.size()
        # The piece of the file in memory.
        self.chunk = memoryview(b"")
        self.chunk_offset = 0
        # Where the last batch ends according to its mark; 0 before the first mark.
        self.batch_end = 0

    def peek(self, offset: int, size: int) -> memoryview:
        """Bytes of the file from offset on, fewer only at its end."""
        at = offset - self.chunk_offset
        if at < 0 or at + size > len(self.chunk):
            self.chunk = memoryview(self.read(offset, max(size, READ_BYTES)))
            self.chunk_offset, at = offset, 0
        return self.chunk[at : at + size]

    def read(self, offset: int, size: int) -> bytes:
        """Raises LogDamaged for what the medium does not give back."""
        try:
            return self.file.read(offset, size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise self.damaged(offset, "cannot be read from the disk (EIO)") from error

    def damaged(self, offset: int, reason: str) -> LogDamaged:
        return LogDamaged(self.file.path, offset, reason)

    def run(self) -> None:
        """Reads the segment to its end, which it leaves in `found`."""
        if not self._take_header():
            return
        found, end = self.found, self.found.end
        found.segments.append(self.first_index)
        offset = found.offset = HEADER_SIZE
        found.is_sealed = False
        while True:
            offset = self._take_right(offset)
            head = bytes(self.peek(offset, BLOCK_HEAD))
            mark = unpack_mark(head, offset)
            if mark is not None and (self.batch_end == 0 or offset <= self.batch_end):
                previous, self.batch_end = mark
                if previous != end.last_checksum or self.batch_end < offset + MARK_SIZE:
                    raise self.damaged(offset, "a mark that does not belong here")
                offset = found.offset = offset + MARK_SIZE
                found.is_sealed = self.batch_end == offset
                continue
            block = self._read_block(offset, head) if offset < self.batch_end else None
            if block is None:
                break
            reason = end.why_not_next(block)
            if reason is not None:
                raise self.damaged(offset, f"the block does not follow: {reason}")
            found.blocks.append(block.first_index, block.first_zxid, self.first_index, offset, block.size)
            if block.kind == BLOCK_MEMBERS:
                found.memberships.append(block.first_index)
            end.advance(block)
            offset = found.offset = offset + block.size
            found.is_sealed = False
        self._judge(offset)

    def _take_right(self, offset: int) -> int:
        """Takes the records that are right, chunk after chunk; gives the offset of the first other one."""
        while True:
            self.peek(offset, BLOCK_HEAD)
            self.batch_end = take_records(self.found, self.first_index, self.chunk, self.chunk_offset, self.batch_end)
            if self.found.offset == offset:
                return offset
            offset = self.found.offset

    def _take_header(self) -> bool:
        data = bytes(self.peek(0, HEADER_SIZE))
        start, found = unpack_header(data), self.found
        if start is None:
            is_torn = self.size < HEADER_SIZE or self._is_zero(0, self.size)
            if not (self.is_last and is_torn):
                raise self.damaged(0, "no right segment header")
            found.cut = Cut(self.file.path, 0, self.size, "the segment was being created", is_removed=True)
            return False
        if start.last_index + 1 != self.first_index:
            raise self.damaged(0, f"the segment begins with index {start.last_index + 1}, its name says otherwise")
        if found.segments and start != found.end:
            raise self.damaged(0, f"the segment goes on from {start}, the one before it ends at {found.end}")
        if self.first_index == 1 and start != End():
            raise self.damaged(0, f"the first segment of all goes on from {start}")
        if not found.segments:
            found.start = replace(start)
        found.end = start
        return True

    def _read_block(self, offset: int, head: bytes) -> BlockInfo | None:
        magic, size = struct.unpack_from("<II", head) if len(head) == BLOCK_HEAD else (0, 0)
        if magic != BLOCK_MAGIC or not BLOCK_HEAD <= size <= self.batch_end - offset:
            return None
        try:
            return check(self.peek(offset, size))
        except BlockDamaged:
            return None

    def _judge(self, offset: int) -> None:
        """No right record stands at offset: the end, a torn tail, or damage."""
        is_batch_whole = offset >= self.batch_end
        if not self.is_last:
            if offset != self.size or not is_batch_whole:
                raise self.damaged(offset, "no right record, and it is not the last segment")
            return
        if is_batch_whole and self._is_zero(offset, self.size):
            return
        behind = self._find_mark(offset + 8)
        if behind is not None:
            raise self.damaged(offset, f"no right record, though what stands here was synced before offset {behind}")
        record_end = offset + MARK_SIZE if is_batch_whole else self.batch_end
        reason = "no right mark" if is_batch_whole else f"the batch goes on to {self.batch_end}"
        if self.size < record_end:
            reason += f", the file ends at {self.size}"
        elif not self._has_zero_part(offset, record_end):
            raise self.damaged(offset, "no right record, though every sector of it was written")
        elif not is_batch_whole and not self._is_zero(record_end, self.size):
            raise self.damaged(record_end, "there is something behind the last batch")
        self.found.cut = Cut(self.file.path, offset, self.size - offset, reason)

    def _is_zero(self, start: int, stop: int) -> bool:
        while start < stop:
            size = min(READ_BYTES, stop - start)
            if any(self.peek(start, size)):
                return False
            start += size
        return True

    def _has_zero_part(self, start: int, stop: int) -> bool:
        """Whether what some sector has between start and stop is all zeros."""
        while start < stop:
            following = min(stop, (start // SECTOR + 1) * SECTOR)
            if not any(self.peek(start, following - start)):
                return True
            start = following
        return False

    def _find_mark(self, start: int) -> int | None:
        """The offset of a right mark at or behind start."""
        magic = struct.pack("<II", MARK_MAGIC, MARK_SIZE)
        while start < self.size:
            piece = self.read(start, READ_BYTES)
            at = piece.find(magic)
            while at >= 0:
                if unpack_mark(self.read(start + at, MARK_SIZE), start + at) is not None:
                    return start + at
                at = piece.find(magic, at + 1)
            if len(piece) < READ_BYTES:
                return None
            start += READ_BYTES - MARK_SIZE
        return None
