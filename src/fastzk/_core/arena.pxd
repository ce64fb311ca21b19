"""The arena: one memory region with one writer and any number of lock-free readers.

Reading (a worker):
    while True:
        seq = arena_read_begin(a)              # waits out a writer that is inside, for a bounded number of turns
        ... follow refs through arena_see(), copy what is needed, take a.header.applied_zxid ...
        if arena_read_valid(a, seq): break     # else all that was copied is worthless: drop it and go again
Rule: between begin and valid nothing that was read is trusted: every ref goes through arena_see(), every loop is bounded,
and every size is taken by peek and checked before it is copied by (Z8).
Writing (the engine): arena_write_begin(a); change blocks through arena_change(); arena_write_end(a, zxid, index, time_ms).
Rule: a block is changed only through the pointer that arena_change() returned in the same write, and only in the bytes it
was asked for: it is the write barrier, and what snapshots and the undoing of a write go by."""

from cpython.buffer cimport Py_buffer
from fastzk._core.layout cimport FZ_ASSERT, FZ_DEBUG, GRANULE, PAGE, arena_header_t, buffer_t, ref_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "atomics.h" nogil:
    uint16_t peek16(const uint16_t *at)
    uint32_t peek32(const uint32_t *at)
    uint64_t peek64(const uint64_t *at)
    uint64_t peek64_acquire(const uint64_t *at)
    void poke64_release(uint64_t *at, uint64_t value)
    void poke64(uint64_t *at, uint64_t value)
    char *peek_pointer(char **at)
    void poke_pointer(char **at, char *value)
    void owners_add(uint32_t *owners)
    uint32_t owners_drop(uint32_t *owners)
    void fence_acquire()
    void fence_release()
    void spin_pause()
    void prefetch(const void *at)
    uint32_t highest_bit(uint64_t value)


cdef enum:
    SPIN_TURNS_MAX = 512        # of a reader that finds the writer inside: some ten microseconds, longer than a write
    READ_LOOK_EVERY = 256       # steps of a reader's walk between two looks at the sequence
    SLAB_PAGES = 256            # copies of pages in one piece of memory: one request to the system for a megabyte of them


# The arena as of one moment, for a thread that encodes it while the writer goes on.  The writer makes it and copies each page
# before its first change; it is freed when the arena and every encoder have let go of it.
ctypedef struct pin_t:
    char *base                  # the arena's
    uint64_t used               # bytes; the arena's `used` at the pin, up to the end of its page: pages above are no part of it
    char **saved                # of each page its copy as of the pin, or NULL while unchanged; by peek_pointer, poke_pointer
    uint64_t saved_count        # the writer's
    buffer_t slabs              # the writer's: char *, each SLAB_PAGES copies
    uint32_t owners


ctypedef struct arena_t:
    char *base                  # where the region is mapped in this process
    arena_header_t *header      # = base
    uint64_t capacity           # bytes; from the header, checked at open
    uint8_t is_writer
    # From the header, checked at open, so that a reader need not trust the header's own.
    uint64_t index_offset
    uint64_t index_capacity
    uint64_t session_offset
    uint64_t session_buckets
    uint64_t heap_offset
    uint64_t alloc_end          # bytes: where arena_alloc stops; the capacity, or less while some is kept back
    uint64_t reserve            # bytes kept back for what must not fail: closing, deleting, coming in
    # What the barrier keeps before it lets a change pass: pages for a snapshot, bytes for undoing the write.
    uint64_t kept_below         # bytes: changes at or above need not be kept; 0 while nothing is
    # Copy-on-write for snapshots.
    pin_t *pin                  # NULL: none is being taken
    uint64_t pinned_used        # bytes; the pin's `used`, or 0
    # The write that may be undone; none is while undo_used is 0.
    uint64_t undo_used          # bytes; `used` when it began: what lies above was nothing then
    arena_header_t undo_header  # the header as it was
    buffer_t undo_log           # old bytes, uint64 offset, uint64 size; once more from the last to the first


cdef class Arena:
    """A region (memfd, mmap or bytearray) as an arena.  Raises ValueError when it holds no arena of this version."""
    cdef arena_t arena
    cdef object _region         # keeps the memory alive
    cdef Py_buffer _view        # and in its place
    cdef bint _is_open

    cdef int _attach(self, object region, bint is_writer) except -1
    cdef int _format(self) except -1
    cdef int _adopt(self) except -1


# Readers.  arena_read_begin gives an even sequence, or an odd one when the writer stayed inside for too long.
cdef inline uint64_t arena_read_begin(arena_t *a) noexcept nogil:
    cdef uint64_t sequence = peek64_acquire(&a.header.sequence)
    cdef int turns = 0
    while sequence & 1 and turns < SPIN_TURNS_MAX:
        spin_pause()
        turns += 1
        sequence = peek64_acquire(&a.header.sequence)
    return sequence


cdef inline bint arena_read_valid(arena_t *a, uint64_t sequence) noexcept nogil:
    fence_acquire()
    return not sequence & 1 and peek64(&a.header.sequence) == sequence


# The block at ref if [ref, ref + size) lies in the used heap, else NULL.
cdef inline const void *arena_see(arena_t *a, ref_t ref, uint64_t size) noexcept nogil:
    cdef uint64_t offset = <uint64_t>ref * GRANULE
    cdef uint64_t used = peek64(&a.header.used)
    if used > a.capacity:
        used = a.capacity
    if offset < a.heap_offset or offset > used or size > used - offset:
        return NULL
    return a.base + offset


# To be asked every READ_LOOK_EVERY steps of a walk along a chain, with the sequence as it was at the walk's begin: True
# when the writer came by, or when the heap has no room for so many blocks, so that it must be a circle.
cdef inline bint arena_walk_is_over(arena_t *a, uint64_t sequence, uint32_t steps, uint64_t block_size) noexcept nogil:
    return peek64(&a.header.sequence) != sequence or steps > (a.capacity - a.heap_offset) // block_size


# The writer.  arena_own: the block at a ref that is known to be good, to look at.
cdef inline void *arena_own(arena_t *a, ref_t ref) noexcept nogil:
    if FZ_DEBUG:
        FZ_ASSERT(arena_see(a, ref, GRANULE) != NULL)
    return a.base + <uint64_t>ref * GRANULE


cdef void arena_write_begin(arena_t *a) noexcept nogil
cdef void arena_write_end(arena_t *a, uint64_t zxid, uint64_t index, uint64_t time_ms) noexcept nogil


cdef inline void arena_barrier(arena_t *a, uint64_t offset, uint64_t size) noexcept nogil:
    """To be called before [offset, offset + size) is written to: keeps what a snapshot or an undoing still needs."""
    if FZ_DEBUG:
        FZ_ASSERT(a.is_writer and a.header.sequence & 1)
    if offset < a.kept_below:
        arena_keep(a, offset, size)


cdef inline void *arena_change(arena_t *a, ref_t ref, uint64_t size) noexcept nogil:
    cdef uint64_t offset = <uint64_t>ref * GRANULE
    FZ_ASSERT(offset >= a.heap_offset and offset + size <= a.header.used)
    arena_barrier(a, offset, size)
    return a.base + offset


cdef inline arena_header_t *arena_change_header(arena_t *a) noexcept nogil:
    arena_barrier(a, 0, PAGE)
    return a.header


cdef inline ref_t *arena_change_bucket(arena_t *a, uint64_t bucket) noexcept nogil:
    FZ_ASSERT(bucket < a.index_capacity)
    arena_barrier(a, a.index_offset + bucket * sizeof(ref_t), sizeof(ref_t))
    return <ref_t *>(a.base + a.index_offset) + bucket


cdef inline ref_t *arena_change_session_bucket(arena_t *a, uint64_t bucket) noexcept nogil:
    FZ_ASSERT(bucket < a.session_buckets)
    arena_barrier(a, a.session_offset + bucket * sizeof(ref_t), sizeof(ref_t))
    return <ref_t *>(a.base + a.session_offset) + bucket


# From now on arena_alloc keeps the reserve back, or may use it too.
cdef inline void arena_keep_reserve(arena_t *a) noexcept nogil:
    a.alloc_end = a.capacity - a.reserve


cdef inline void arena_use_reserve(arena_t *a) noexcept nogil:
    a.alloc_end = a.capacity


# A block of at least `size` bytes (0 when the arena is full); giving one back with the size it was asked for; the bytes a
# block of that size really takes (0: no block is that large).
cdef ref_t arena_alloc(arena_t *a, uint64_t size) noexcept nogil
cdef void arena_free(arena_t *a, ref_t ref, uint64_t size) noexcept nogil
cdef uint64_t arena_block_size(uint64_t size) noexcept nogil

# Snapshots.  The writer: from pin to unpin each page is copied before it changes; unpin lets go of the copies.
cdef int arena_pin(arena_t *a) except -1
cdef void arena_unpin(arena_t *a) noexcept nogil
# Lets go of a pin that was joined by owners_add; whoever is the last frees the copies, a quarter of a millisecond for each MiB.
cdef void pin_let_go(pin_t *pin) noexcept nogil


cdef inline bint pin_read(pin_t *pin, uint64_t offset, void *to, uint64_t size) noexcept nogil:
    """Copies [offset, offset + size) as it was at the pin; False when that is no part of it.  From any thread.

    A page that is not copied is read where it stands.  If the writer got at it meanwhile, its copy was there before the
    first change (the fences here and in arena_save), so it is seen by the second look, and read instead."""
    cdef char *out = <char *>to
    cdef char *saved
    cdef uint64_t piece
    if offset > pin.used or size > pin.used - offset:
        return False
    while size:
        piece = min(size, PAGE - offset % PAGE)
        saved = peek_pointer(&pin.saved[offset // PAGE])
        if saved is NULL:
            memcpy(out, pin.base + offset, piece)
            fence_acquire()
            saved = peek_pointer(&pin.saved[offset // PAGE])
        if saved is not NULL:
            memcpy(out, saved + offset % PAGE, piece)
        out += piece
        offset += piece
        size -= piece
    return True


# Only arena_barrier calls it.
cdef void arena_keep(arena_t *a, uint64_t offset, uint64_t size) noexcept nogil

# Undoing (between arena_write_begin and arena_write_end): from undo_begin on what is changed can be had back.  undo_end
# lets it stand; undo_back puts every byte below `used` back to what it was, the free lists and the digest with them.
cdef void arena_undo_begin(arena_t *a) noexcept nogil
cdef void arena_undo_end(arena_t *a) noexcept nogil
cdef void arena_undo_back(arena_t *a) noexcept nogil
