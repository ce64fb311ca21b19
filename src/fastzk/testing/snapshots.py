"""What the tests of snapshots share: all that an arena holds, as values that can be compared; one snapshot from end to end."""

import mmap
from typing import Any

from fastzk import limits
from fastzk._core import _testing_snapshot as inside
from fastzk._core.arena import Arena
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk.storage.segments import End
from fastzk.storage.snapshots import SnapshotStore, meta_of

REGION_BYTES = 1 << 20


def new_arena(size: int = REGION_BYTES) -> Arena:
    """An arena without a tree."""
    return Arena.create(mmap.mmap(-1, size))


def contents(arena: Arena) -> dict[str, Any]:
    """Everything in an arena that a snapshot must bring back: each field of each znode and session, and their orders."""
    return {
        "header": inside.header(arena),
        "znodes": inside.znodes(arena),
        "sessions": inside.sessions(arena),
        "vectors": inside.vectors(arena),
    }


def end_of(arena: Arena, checksum: int = 0) -> End:
    return End(arena.applied_index, arena.applied_zxid, arena.applied_time_ms, checksum)


def encode(arena: Arena, chunk_bytes: int = limits.SNAPSHOT_CHUNK_BYTES) -> list[bytes]:
    """The chunks of an arena as it is now."""
    arena.pin()
    encoder = SnapshotEncoder(arena, chunk_bytes)
    try:
        return list(iter(encoder.next_chunk, None))
    finally:
        arena.unpin()
        encoder.close()


def write(store: SnapshotStore, arena: Arena, chunk_bytes: int = limits.SNAPSHOT_CHUNK_BYTES) -> int:
    """Writes a snapshot of an arena as it is now; gives its index."""
    arena.pin()
    encoder = SnapshotEncoder(arena, chunk_bytes)
    job = store.begin(meta_of(encoder, end_of(arena, 0xC0FFEE), history=7, membership=b"1,2,3", chain=b"link"), encoder)
    try:
        while job.step():
            pass
    finally:
        job.release()
    return job.meta.index
