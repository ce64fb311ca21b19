"""Entries and blocks: walking them without trusting a size.  Layout: layout.h; drawn in docs/internals/records.md."""

from fastzk._core.layout cimport entry_t
from libc.stdint cimport int64_t


cdef enum:
    # One block is one write of the log and one message between nodes; far above any batch, far below 32 bits.
    BLOCK_SIZE_MAX = 1 << 28


# The entry at `at` if it lies before `end` with a head, body and zero padding that agree, else NULL.
cdef const entry_t *entry_see(const char *at, const char *end) noexcept nogil
# Entries in [at, at + size), or -1 when they are not entries, one after the other, to the end.
cdef int64_t entries_walk(const char *at, size_t size) noexcept nogil
