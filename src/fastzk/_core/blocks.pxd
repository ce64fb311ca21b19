"""Entries and blocks: walking them without trusting a size.  Layout: layout.h; drawn in docs/internals/records.md."""

from fastzk._core.layout cimport block_t, entry_t
from libc.stdint cimport int64_t, uint64_t


cdef enum:
    # One block is one write of the log and one message between nodes; far above any batch, far below 32 bits.
    BLOCK_SIZE_MAX = 1 << 28
    CHECKED_FROM = 16           # a block's checksum covers it from here


# The entry at `at` if it lies before `end` with a head, body and zero padding that agree, else NULL.
cdef const entry_t *entry_see(const char *at, const char *end) noexcept nogil
# Entries in [at, at + size), or -1 when they are not entries, one after the other, to the end.
cdef int64_t entries_walk(const char *at, size_t size) noexcept nogil
# What keeps `size` bytes, the head's at least, from being a block, in a word or two; NULL if they are one.
# checksum: what that of these bytes is, from CHECKED_FROM on.
cdef const char *why_no_block(const block_t *head, size_t size, uint64_t checksum) noexcept nogil
