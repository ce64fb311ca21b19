"""The records of a segment that are right, many in one call: a log of any length is read at each start.

Rule: it takes what is right beyond doubt, and stops at anything else, which is for segments.py to judge; what it takes, and what
it leaves in the Scan, is what segments.py would for record after record."""

from xxhash import xxh3_64_intdigest

from cpython.array cimport array, extend_buffer
from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from fastzk._core.blocks cimport CHECKED_FROM, why_no_block
from fastzk._core.layout cimport BLOCK_MAGIC, BLOCK_MEMBERS, block_t
from fastzk.storage._tail cimport MARK_SIZE, end_t, mark_is_right, mark_t
from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t


def take_records(found, uint64_t segment, chunk, uint64_t chunk_offset, uint64_t batch_end) -> int:
    """Takes the records from found.offset on that lie whole in the chunk, a piece of the segment that holds that offset.

    batch_end: where the batch ends according to its mark, 0 before the first; gives it back as of the last record taken."""
    cdef const unsigned char[::1] view = chunk
    cdef array first_indexes = found.blocks.first_index
    cdef array first_zxids = found.blocks.first_zxid
    cdef array segments = found.blocks.segment
    cdef array offsets = found.blocks.offset
    cdef array sizes = found.blocks.size
    cdef uint64_t offset = found.offset
    cdef bint is_sealed = found.is_sealed
    cdef end_t end
    cdef const char *at
    cdef const block_t *block
    cdef uint64_t left = chunk_offset + <uint64_t>view.shape[0] - offset
    cdef uint32_t offset32
    end.last_index, end.last_zxid, end.last_time_ms, end.last_checksum = found.end.as_tuple()
    if left == 0:
        return batch_end
    at = <const char *>&view[offset - chunk_offset]
    if <size_t>at & 7 or offset + left > UINT32_MAX:    # as all records stand in a file, and as BlockIndex has room for
        return batch_end
    while left >= MARK_SIZE:
        if mark_is_right(<const mark_t *>at, offset):
            if not mark_belongs(<const mark_t *>at, offset, batch_end, end.last_checksum):
                break
            batch_end = (<const mark_t *>at).batch_end
            offset, at, left = offset + MARK_SIZE, at + MARK_SIZE, left - MARK_SIZE
            is_sealed = batch_end == offset
            continue
        block = <const block_t *>at
        if left < sizeof(block_t) or offset >= batch_end or block.magic != BLOCK_MAGIC or not follows(block, &end):
            break
        if not sizeof(block_t) <= block.size <= min(left, batch_end - offset):
            break
        checksum = xxh3_64_intdigest(
            PyMemoryView_FromMemory(<char *>at + CHECKED_FROM, block.size - CHECKED_FROM, PyBUF_READ))
        if why_no_block(block, block.size, checksum) is not NULL:
            break
        offset32 = <uint32_t>offset
        extend_buffer(first_indexes, <char *>&block.first_index, 1)
        extend_buffer(first_zxids, <char *>&block.first_zxid, 1)
        extend_buffer(segments, <char *>&segment, 1)
        extend_buffer(offsets, <char *>&offset32, 1)
        extend_buffer(sizes, <char *>&block.size, 1)
        if block.kind == BLOCK_MEMBERS:
            found.memberships.append(block.first_index)
        end.last_index = block.first_index + block.count - 1
        end.last_zxid = block.first_zxid + block.count - 1
        end.last_time_ms = block.time_ms
        end.last_checksum = block.checksum
        offset, at, left = offset + block.size, at + block.size, left - block.size
        is_sealed = False
    found.offset, found.is_sealed = offset, is_sealed
    found.end.last_index, found.end.last_zxid = end.last_index, end.last_zxid
    found.end.last_time_ms, found.end.last_checksum = end.last_time_ms, end.last_checksum
    return batch_end


cdef bint mark_belongs(const mark_t *mark, uint64_t offset, uint64_t batch_end, uint64_t previous) noexcept nogil:
    """Whether a right mark may stand here: not before the first batch's has been seen, or not behind the batch."""
    return (batch_end == 0 or offset <= batch_end) and mark.previous == previous and mark.batch_end >= offset + MARK_SIZE


cdef bint follows(const block_t *block, const end_t *end) noexcept nogil:
    """As End.why_not_next says."""
    if block.first_index == 0 or block.first_index != end.last_index + 1 or block.previous != end.last_checksum:
        return False
    if block.first_zxid >> 32 == end.last_zxid >> 32:
        return block.first_zxid == end.last_zxid + 1
    return block.first_zxid > end.last_zxid and <uint32_t>block.first_zxid == 0
