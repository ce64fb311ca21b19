"""The arena: one memory region with one writer and any number of lock-free readers.

Reading (a worker):
    while True:
        seq = arena_read_begin(a)              # waits out a writer that is inside, for a bounded number of turns
        ... follow refs through arena_see(), copy what is needed, take a.header.applied_zxid ...
        if arena_read_valid(a, seq): break     # else all that was copied is worthless: drop it and go again
Rule: between begin and valid nothing that was read is trusted: every ref goes through arena_see(), every loop is bounded,
and every size is checked before it is copied by (Z8).
Writing (the engine): arena_write_begin(a); change blocks through arena_change(); arena_write_end(a, zxid, index).
Rule: a block is changed only through the pointer that arena_change() returned in the same write: it is the write barrier."""

from fastzk._core.layout cimport arena_header_t, ref_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


ctypedef struct arena_t:
    char *base                  # where the region is mapped in this process
    arena_header_t *header      # = base
    uint64_t capacity           # bytes; from the header, checked at open
    uint8_t is_writer
    # Copy-on-write for snapshots; none is being taken while saved_pages is NULL.
    char **saved_pages          # of each page below pinned_used: its copy as of the pin, or NULL when not yet changed
    uint64_t pinned_used        # bytes; `used` at the pin: pages above are not part of it
    uint64_t saved_count


cdef class Arena:
    """A region (memfd, mmap or bytearray) as an arena.  Raises ValueError when it holds no arena of this version."""
    cdef arena_t arena
    cdef object _region         # keeps the memory alive
    cdef Py_ssize_t _view_shape


# Readers.  arena_read_begin gives an even sequence, or an odd one when the writer stayed inside for too long.
cdef uint64_t arena_read_begin(arena_t *a) noexcept nogil
cdef bint arena_read_valid(arena_t *a, uint64_t sequence) noexcept nogil
# The block at ref if [ref, ref + size) lies in the used heap, else NULL.
cdef const void *arena_see(arena_t *a, ref_t ref, uint64_t size) noexcept nogil

# The writer.
cdef void arena_write_begin(arena_t *a) noexcept nogil
cdef void arena_write_end(arena_t *a, uint64_t zxid, uint64_t index, uint64_t time_ms) noexcept nogil
cdef void *arena_change(arena_t *a, ref_t ref, uint64_t size) noexcept nogil
cdef arena_header_t *arena_change_header(arena_t *a) noexcept nogil
cdef ref_t *arena_change_bucket(arena_t *a, uint64_t bucket) noexcept nogil
# A block of at least `size` bytes (0 when the arena is full); its size class; giving one back with the size it was asked for.
cdef ref_t arena_alloc(arena_t *a, uint64_t size) noexcept nogil
cdef void arena_free(arena_t *a, ref_t ref, uint64_t size) noexcept nogil
cdef uint64_t arena_block_size(uint64_t size) noexcept nogil

# Snapshots (the writer only): from pin to unpin, arena_pinned_page gives each page as it was at the pin.
cdef int arena_pin(arena_t *a) except -1
cdef void arena_unpin(arena_t *a) noexcept
cdef const char *arena_pinned_page(arena_t *a, uint64_t page) noexcept nogil
