"""The bytes of a snapshot file: its header, the frames of its chunks, and the judgement over them.

    | header | membership | chain | chunk 0 | chunk 1 | ... | end chunk |

Rule: every byte is under a checksum that binds its place: a chunk's is seeded with the header's, and covers its number.
Rule: nothing but the state at the index stands in it, no clock and no node, so all nodes write the same file.
What is in a chunk, _core/snapshot_write.pyx and _core/snapshot_load.pyx know.  docs/internals/snapshot-format.md is the
contract."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from xxhash import xxh3_64, xxh3_64_intdigest

from fastzk import limits
from fastzk._core.snapshot_write import SnapshotState
from fastzk.storage.disk import File
from fastzk.storage.segments import End

MAGIC = b"FzSnap\r\n"  # a transfer as text, which would spoil it, is seen here
VERSION = 1
CHUNK_MAGIC = 0x6B6E_6843  # "Chnk"
END_MAGIC = 0x2153_6E45  # "EnS!"

# magic, version, size of the header with what follows it, checksum of all of that but itself
_HEAD = struct.Struct("<8sIIQ")
# index, zxid, time_ms, block checksum, history, digest low and high, seven counts, sizes of membership and chain
_FIELDS = struct.Struct("<QQQQQQQ7QII")
# checksum, magic, number, payload size
_CHUNK = struct.Struct("<QIII")
# chunks, bytes of all payloads, checksum of all chunks' checksums
_TOTALS = struct.Struct("<QQQ")
HEADER_SIZE = _HEAD.size + _FIELDS.size
CHUNK_HEAD_SIZE = _CHUNK.size
assert (HEADER_SIZE, CHUNK_HEAD_SIZE, _TOTALS.size) == (144, 20, 24)

_MASK = (1 << 64) - 1


class SnapshotDamaged(Exception):  # noqa: N818
    """A snapshot file is not what its checksums or its own words say; what stands before `offset` is right."""

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"{file}: offset {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot's header says."""

    state: SnapshotState
    # Checksum of the last block it covers: the `previous` of the block that follows.
    checksum: int = 0
    # Which history it is of.
    history: int = 0
    # The membership in force, and what is chained to the digest: bytes of whoever has use for them.
    membership: bytes = field(default=b"", repr=False)
    chain: bytes = field(default=b"", repr=False)

    @property
    def index(self) -> int:
        return self.state.last_index

    @property
    def end(self) -> End:
        """What the log goes on from."""
        return End(self.state.last_index, self.state.last_zxid, self.state.last_time_ms, self.checksum)

    def encode(self) -> bytes:
        """The header with membership and chain.  Raises ValueError when one of them is too large."""
        if len(self.membership) > limits.SNAPSHOT_MEMBERSHIP_BYTES_MAX or len(self.chain) > limits.SNAPSHOT_CHAIN_BYTES_MAX:
            raise ValueError(f"a membership of {len(self.membership)} bytes, a chain of {len(self.chain)}")
        state = self.state
        fields = _FIELDS.pack(
            *(state.last_index, state.last_zxid, state.last_time_ms, self.checksum, self.history),
            *(state.digest & _MASK, state.digest >> 64),
            *(state.znodes, state.ephemerals, state.sessions, state.vectors, state.data_bytes, state.quotas, state.reapables),
            *(len(self.membership), len(self.chain)),
        )
        body = fields + self.membership + self.chain
        head = _HEAD.pack(MAGIC, VERSION, _HEAD.size + len(body), 0)[:16]
        return head + struct.pack("<Q", xxh3_64_intdigest(head + body)) + body

    @property
    def identity(self) -> int:
        """The header's checksum: two snapshots with the same are the same."""
        return header_checksum(self.encode())


def header_checksum(header: bytes) -> int:
    """The checksum that stands in a header."""
    return int.from_bytes(header[16:24], "little")


class ChunkWriter:
    """Frames payloads, one after the other, of the snapshot with this identity."""

    def __init__(self, identity: int) -> None:
        self._identity = identity
        self._count = 0
        self._bytes = 0
        self._checksums = xxh3_64(seed=identity)

    def frame(self, payload: bytes) -> bytes:
        """The chunk's head, which the payload follows."""
        if len(payload) > limits.SNAPSHOT_CHUNK_BYTES_MAX:
            raise ValueError(f"a chunk of {len(payload)} bytes")
        head = _chunk_head(self._identity, CHUNK_MAGIC, self._count, payload)
        self._count += 1
        self._bytes += len(payload)
        self._checksums.update(head[:8])
        return head

    def end(self) -> bytes:
        """The last chunk."""
        totals = _TOTALS.pack(self._count, self._bytes, self._checksums.intdigest())
        return _chunk_head(self._identity, END_MAGIC, self._count, totals) + totals


def _chunk_head(identity: int, magic: int, number: int, payload: bytes) -> bytes:
    head = _CHUNK.pack(0, magic, number, len(payload))[8:]
    checksum = xxh3_64(head, seed=identity)
    checksum.update(payload)
    return struct.pack("<Q", checksum.intdigest()) + head


def read_header(file: File) -> tuple[SnapshotMeta, bytes]:
    """The header, checked: what it says, and its bytes.  Raises SnapshotDamaged."""
    head = file.read(0, HEADER_SIZE)
    if len(head) < HEADER_SIZE:
        raise SnapshotDamaged(file.path, 0, f"it ends after {len(head)} bytes, inside its header")
    magic, version, size, checksum = _HEAD.unpack_from(head)
    if magic != MAGIC:
        raise SnapshotDamaged(file.path, 0, "it does not begin as a snapshot does")
    if version != VERSION:
        raise SnapshotDamaged(file.path, 0, f"it has version {version}; this program reads version {VERSION}")
    fields = _FIELDS.unpack_from(head, _HEAD.size)
    membership_size, chain_size = fields[14:]
    if (
        membership_size > limits.SNAPSHOT_MEMBERSHIP_BYTES_MAX
        or chain_size > limits.SNAPSHOT_CHAIN_BYTES_MAX
        or size != HEADER_SIZE + membership_size + chain_size
    ):
        raise SnapshotDamaged(file.path, 0, "its header has an impossible size")
    header = file.read(0, size)
    if len(header) < size:
        raise SnapshotDamaged(file.path, 0, f"it ends after {len(header)} bytes, inside its header")
    if xxh3_64_intdigest(header[:16] + header[24:]) != checksum:
        raise SnapshotDamaged(file.path, 0, "the checksum of its header is wrong")
    index, zxid, time_ms, block_checksum, history, low, high = fields[:7]
    state = SnapshotState(index, zxid, time_ms, high << 64 | low, *fields[7:14])
    at = HEADER_SIZE + membership_size
    return SnapshotMeta(state, block_checksum, history, header[HEADER_SIZE:at], header[at:]), header


def read_chunks(file: File, header: bytes) -> Iterator[tuple[int, bytes]]:
    """Each chunk's payload with its place in the file, checked, to the end of the file.  Raises SnapshotDamaged, whose
    offset is where the right part of the file ends."""
    identity, offset, number, total = header_checksum(header), len(header), 0, 0
    checksums = xxh3_64(seed=identity)
    while True:
        magic, payload, head = _read_chunk(file, offset, number, identity)
        if magic == END_MAGIC:
            break
        yield offset + CHUNK_HEAD_SIZE, payload
        offset += CHUNK_HEAD_SIZE + len(payload)
        total += len(payload)
        number += 1
        checksums.update(head[:8])
    if payload != _TOTALS.pack(number, total, checksums.intdigest()):
        raise SnapshotDamaged(file.path, offset, "its end counts other chunks than there are")
    offset += CHUNK_HEAD_SIZE + len(payload)
    if file.size() != offset:
        raise SnapshotDamaged(file.path, offset, f"{file.size() - offset} bytes behind its end")


def _read_chunk(file: File, offset: int, number: int, identity: int) -> tuple[int, bytes, bytes]:
    """Magic, payload and head of the chunk at offset."""
    head = file.read(offset, CHUNK_HEAD_SIZE)
    if len(head) < CHUNK_HEAD_SIZE:
        raise SnapshotDamaged(file.path, offset, f"it ends {len(head)} bytes into a chunk")
    _, magic, found, size = _CHUNK.unpack(head)
    if magic not in (CHUNK_MAGIC, END_MAGIC):
        raise SnapshotDamaged(file.path, offset, "no chunk begins here")
    if found != number:
        raise SnapshotDamaged(file.path, offset, f"chunk {found} stands in the place of {number}")
    if size > limits.SNAPSHOT_CHUNK_BYTES_MAX or offset + CHUNK_HEAD_SIZE + size > file.size():
        raise SnapshotDamaged(file.path, offset, f"a chunk of {size} bytes goes on beyond the end of the file")
    payload = file.read(offset + CHUNK_HEAD_SIZE, size)
    if _chunk_head(identity, magic, number, payload) != head:
        raise SnapshotDamaged(file.path, offset, f"the checksum of chunk {number} is wrong")
    return magic, payload, head
