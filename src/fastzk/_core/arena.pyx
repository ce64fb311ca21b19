"""The arena: formatting and opening a region, the allocator, the sequence lock's writer side, what is kept
for a snapshot and for undoing a write.

    0          header_t                  one page
    PAGE       buckets of the path index a power of two of refs, about 1/32 of the region; used up to 2^level + split
               buckets of the sessions   a power of two of refs
    heap       blocks                    from heap_offset up to `used`; nothing above is looked at

Rules: only what is used is ever touched, so a region may be a large sparse reservation; the header, the buckets and each
block are written to only behind arena_barrier().

The allocator has no block headers: who frees a block says the size it asked for.  A size belongs to a class: 16 to 512
bytes in steps of 16, then four steps to each doubling up to 4 MiB, then powers of two up to 2 GiB.  A block comes from its
class's free list, last in first out, threaded through the blocks' first four bytes, else from the top of the heap.
Blocks are neither split nor joined.

Undoing goes by bytes: the barrier appends what is about to be overwritten to a log, and arena_undo_back copies it back from
the last to the first.  So it needs no inverse of any operation, and leaves no trace, in the free lists neither.
docs/internals/arena.md tells why all this is so."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from fastzk._core.layout cimport (
    ARENA_MAGIC,
    ARENA_VERSION,
    FZ_ASSERT,
    FZ_DEBUG,
    GRANULE,
    PAGE,
    SIZE_CLASSES,
    arena_header_t,
    buffer_append,
    buffer_clear,
    buffer_free,
    ref_t,
)
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset


cdef enum:
    SMALL_SIZE_MAX = 512        # steps of one granule up to here
    SMALL_CLASSES = 32
    MEDIUM_BITS = 22            # four steps to each doubling up to 2^22
    MEDIUM_CLASSES = 52
    LARGE_BITS = 31             # doublings up to 2^31
    INDEX_LEVEL_FIRST = 3       # a new index has 2^3 buckets
    UNDO_KEPT_MAX = 1 << 20     # bytes of the undo log that are kept for the next write

cdef uint64_t REGION_BYTES_MIN = 65536
cdef uint64_t REGION_BYTES_MAX = <uint64_t>1 << 36       # a ref is 32 bits of granules
cdef uint64_t SESSION_BUCKETS_MAX = <uint64_t>1 << 20

FZ_ASSERT(SMALL_CLASSES + MEDIUM_CLASSES + LARGE_BITS - MEDIUM_BITS <= SIZE_CLASSES)
FZ_ASSERT(sizeof(arena_header_t) <= PAGE)


@cython.no_gc_clear                              # the buffer's owner must not be let go before the buffer is
cdef class Arena:
    """One memory region as an arena.  Made by `Arena.create` or `Arena.open`; keeps the region's buffer until it goes."""

    def __init__(self) -> None:
        raise TypeError("use Arena.create(region) or Arena.open(region)")

    def __dealloc__(self):
        arena_unpin(&self.arena)
        buffer_free(&self.arena.undo_log)
        if self._is_open:
            PyBuffer_Release(&self._view)

    @staticmethod
    def create(region) -> Arena:
        """Formats a region of zeros (a new memfd, mmap or bytearray) and gives its writer.

        Raises ValueError when the region is too small, misaligned or not new."""
        cdef Arena arena = Arena.__new__(Arena)
        arena._attach(region, True)
        arena._format()
        arena._adopt()
        return arena

    @staticmethod
    def open(region, *, bint writer=False) -> Arena:
        """Opens a formatted region, to read it or as its one writer.

        Raises ValueError when it holds no arena of this version, a damaged one, or (for a writer) an unfinished write."""
        cdef Arena arena = Arena.__new__(Arena)
        arena._attach(region, writer)
        arena._adopt()
        return arena

    cdef int _attach(self, object region, bint is_writer) except -1:
        PyObject_GetBuffer(region, &self._view, PyBUF_WRITABLE if is_writer else PyBUF_SIMPLE)
        self._is_open = True
        self._region = region
        self.arena.base = <char *>self._view.buf
        self.arena.header = <arena_header_t *>self._view.buf
        self.arena.is_writer = is_writer
        if <uint64_t>self._view.len < REGION_BYTES_MIN:
            raise ValueError(f"the region has {self._view.len} bytes; an arena needs {REGION_BYTES_MIN}")
        if <size_t>self._view.buf % GRANULE:
            raise ValueError(f"the region does not begin at a multiple of {GRANULE}")
        return 0

    cdef int _format(self) except -1:
        """Writes the header, and nothing but the first page."""
        cdef arena_header_t *header = self.arena.header
        cdef uint64_t capacity = min(<uint64_t>self._view.len, REGION_BYTES_MAX) & ~<uint64_t>(PAGE - 1)
        cdef uint64_t buckets = <uint64_t>1 << highest_bit(capacity // 32 // sizeof(ref_t))
        cdef uint64_t session_buckets = min(<uint64_t>1 << highest_bit(capacity // PAGE), SESSION_BUCKETS_MAX)
        cdef uint64_t at
        for at in range(<uint64_t>PAGE):
            if self.arena.base[at]:
                raise ValueError("the region is not new: its first page is not all zeros")
        header.magic = ARENA_MAGIC
        header.version = ARENA_VERSION
        header.header_size = sizeof(arena_header_t)
        header.capacity = capacity
        header.index_offset = PAGE
        header.index_capacity = buckets
        header.session_offset = header.index_offset + page_up(buckets * sizeof(ref_t))
        header.session_buckets = session_buckets
        header.heap_offset = header.session_offset + page_up(session_buckets * sizeof(ref_t))
        header.used = header.heap_offset
        header.index_level = INDEX_LEVEL_FIRST
        return 0

    cdef int _adopt(self) except -1:
        """Checks the header against the region, and takes from it what never changes."""
        cdef arena_t *a = &self.arena
        cdef arena_header_t *header = a.header
        if header.magic != ARENA_MAGIC:
            raise ValueError(f"the region is no arena: its magic is {header.magic:#018x}, not {ARENA_MAGIC:#018x}")
        if header.version != ARENA_VERSION:
            raise ValueError(f"the arena has version {header.version}; this program reads version {ARENA_VERSION}")
        if header.header_size != sizeof(arena_header_t):
            raise ValueError(f"the arena's header has {header.header_size} bytes, not {sizeof(arena_header_t)}")
        a.capacity = header.capacity
        a.index_offset = header.index_offset
        a.index_capacity = header.index_capacity
        a.session_offset = header.session_offset
        a.session_buckets = header.session_buckets
        a.heap_offset = header.heap_offset
        a.alloc_end = header.capacity
        if a.capacity > <uint64_t>self._view.len or a.capacity > REGION_BYTES_MAX or a.capacity % PAGE:
            raise ValueError(f"the arena's capacity of {a.capacity} bytes does not fit its region of {self._view.len}")
        if not self._is_laid_out():
            raise ValueError("the arena's header is damaged: its regions overlap or leave the capacity")
        if a.is_writer and peek64(&header.sequence) & 1:
            raise ValueError("the arena holds an unfinished write: its writer died inside it")
        return 0

    def _is_laid_out(self) -> bool:
        cdef arena_t *a = &self.arena
        cdef uint64_t used = peek64(&a.header.used)
        return (
            a.index_offset == PAGE
            and is_power_of_two(a.index_capacity) and a.index_capacity <= a.capacity // sizeof(ref_t)
            and a.index_capacity >= 1 << INDEX_LEVEL_FIRST
            and is_power_of_two(a.session_buckets) and a.session_buckets <= a.capacity // sizeof(ref_t)
            and a.session_offset == a.index_offset + page_up(a.index_capacity * sizeof(ref_t))
            and a.heap_offset == a.session_offset + page_up(a.session_buckets * sizeof(ref_t))
            and a.heap_offset <= used <= a.capacity
        )

    @property
    def is_writer(self) -> bool:
        return bool(self.arena.is_writer)

    @property
    def capacity(self) -> int:
        """Bytes reserved."""
        return self.arena.capacity

    @property
    def used(self) -> int:
        """Bytes up to the heap's high-water mark, the reserved buckets included."""
        return peek64(&self.arena.header.used)

    @property
    def heap_offset(self) -> int:
        """Where the heap begins: used - heap_offset bytes were ever given out as blocks."""
        return self.arena.heap_offset

    @property
    def applied_zxid(self) -> int:
        return peek64(&self.arena.header.applied_zxid)

    @property
    def applied_index(self) -> int:
        return peek64(&self.arena.header.applied_index)

    @property
    def applied_time_ms(self) -> int:
        return peek64(&self.arena.header.applied_time_ms)

    def counters(self) -> dict[str, int]:
        """What the header counts, all as of one zxid; or, where the writer never stands still, each as it is at the moment."""
        cdef arena_header_t copy
        cdef uint64_t sequence
        for _ in range(1000):
            sequence = arena_read_begin(&self.arena)
            memcpy(&copy, self.arena.header, sizeof(arena_header_t))
            if arena_read_valid(&self.arena, sequence):
                break
        return {
            "applied_zxid": copy.applied_zxid,
            "applied_index": copy.applied_index,
            "applied_time_ms": copy.applied_time_ms,
            "znode_count": copy.znode_count,
            "ephemeral_count": copy.ephemeral_count,
            "session_count": copy.session_count,
            "data_bytes": copy.data_bytes,
            "acl_count": copy.acl_count,
            "used": copy.used,
            "digest": <object>copy.digest_high << 64 | copy.digest_low,
        }

    @property
    def is_pinned(self) -> bool:
        return self.arena.pin != NULL

    @property
    def saved_count(self) -> int:
        """Pages copied because they were changed since the pin."""
        return self.arena.pin.saved_count if self.arena.pin != NULL else 0

    def pin(self) -> None:
        """From now until unpin() every page as it is now can be had by pinned_pages(), while writes go on."""
        arena_pin(&self.arena)

    def unpin(self) -> None:
        """Ends what pin() began; without a pin it does nothing.

        While an encoder still holds the pin this costs nothing: the copies are freed by the encoder's close()."""
        arena_unpin(&self.arena)

    def pinned_pages(self, uint64_t first, uint64_t end) -> bytes:
        """The pages [first, end) as they were at the pin.  Raises IndexError when one is not part of it."""
        cdef bytes copy
        if self.arena.pin == NULL or first >= end or end > self.arena.pinned_used // PAGE:
            raise IndexError(f"the pages {first} to {end} are not all pinned")
        copy = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>((end - first) * PAGE))
        pin_read(self.arena.pin, first * PAGE, PyBytes_AS_STRING(copy), (end - first) * PAGE)
        return copy

    def pinned_ranges(self) -> list[tuple[int, int]]:
        """The ranges of pages, [first, end), that were in use at the pin; the others are zeros and may be left out."""
        cdef arena_header_t header
        if self.arena.pin == NULL:
            raise IndexError("the arena is not pinned")
        pin_read(self.arena.pin, 0, &header, sizeof(header))
        buckets = (1 << header.index_level) + header.index_split
        index_end = page_up(header.index_offset + buckets * sizeof(ref_t)) // PAGE
        return [(0, index_end), (header.session_offset // PAGE, page_up(header.used) // PAGE)]


cdef inline uint64_t page_up(uint64_t size) noexcept nogil:
    return (size + PAGE - 1) & ~<uint64_t>(PAGE - 1)


cdef inline bint is_power_of_two(uint64_t value) noexcept nogil:
    return value != 0 and not value & (value - 1)


cdef void arena_write_begin(arena_t *a) noexcept nogil:
    cdef uint64_t sequence = a.header.sequence
    FZ_ASSERT(a.is_writer)
    FZ_ASSERT(not sequence & 1)
    arena_keep_reserve(a)
    if a.pin != NULL:
        arena_save(a, 0, PAGE)
    poke64(&a.header.sequence, sequence + 1)
    fence_release()             # no change becomes visible before the odd sequence


cdef void arena_write_end(arena_t *a, uint64_t zxid, uint64_t index, uint64_t time_ms) noexcept nogil:
    cdef arena_header_t *header = a.header
    FZ_ASSERT(header.sequence & 1)
    FZ_ASSERT(zxid >= header.applied_zxid)
    header.applied_zxid = zxid
    header.applied_index = index
    header.applied_time_ms = time_ms
    poke64_release(&header.sequence, header.sequence + 1)


cdef inline uint32_t size_class(uint64_t size) noexcept nogil:
    """The class of a size; SIZE_CLASSES when no block is that large."""
    cdef uint32_t bits
    if size <= SMALL_SIZE_MAX:
        return <uint32_t>(size + (not size) - 1) // GRANULE
    if size > <uint64_t>1 << LARGE_BITS:
        return SIZE_CLASSES
    bits = highest_bit(size - 1)                 # 2^bits < size <= 2^(bits + 1)
    if bits < MEDIUM_BITS:
        return SMALL_CLASSES + (bits - 9) * 4 + <uint32_t>((size - 1) >> (bits - 2) & 3)
    return SMALL_CLASSES + MEDIUM_CLASSES + bits - MEDIUM_BITS


cdef inline uint64_t class_size(uint32_t number) noexcept nogil:
    """The bytes of the blocks of a class."""
    if number < SMALL_CLASSES:
        return <uint64_t>(number + 1) * GRANULE
    number -= SMALL_CLASSES
    if number < MEDIUM_CLASSES:
        return <uint64_t>(5 + number % 4) << (number // 4 + 7)
    return <uint64_t>1 << (number - MEDIUM_CLASSES + MEDIUM_BITS + 1)


cdef uint64_t arena_block_size(uint64_t size) noexcept nogil:
    cdef uint32_t number = size_class(size)
    return class_size(number) if number < SIZE_CLASSES else 0


cdef ref_t arena_alloc(arena_t *a, uint64_t size) noexcept nogil:
    cdef uint32_t number = size_class(size)
    cdef arena_header_t *header
    cdef uint64_t offset
    cdef ref_t ref
    if number >= SIZE_CLASSES:
        return 0
    size = class_size(number)
    header = arena_change_header(a)
    ref = header.free_blocks[number]
    if ref:
        offset = <uint64_t>ref * GRANULE
        FZ_ASSERT(offset >= a.heap_offset and offset + size <= header.used)
        header.free_blocks[number] = (<ref_t *>(a.base + offset))[0]
        return ref
    offset = header.used
    if offset + size > a.alloc_end:
        return 0
    header.used = offset + size
    return <ref_t>(offset // GRANULE)


cdef void arena_free(arena_t *a, ref_t ref, uint64_t size) noexcept nogil:
    cdef uint32_t number = size_class(size)
    cdef arena_header_t *header = arena_change_header(a)
    cdef char *block
    FZ_ASSERT(number < SIZE_CLASSES)
    if FZ_DEBUG:                                 # who still trusts this block shall notice
        block = <char *>arena_change(a, ref, class_size(number))
        memset(block, 0xdd, class_size(number))
    else:
        block = <char *>arena_change(a, ref, sizeof(ref_t))
    (<ref_t *>block)[0] = header.free_blocks[number]
    header.free_blocks[number] = ref


cdef int arena_pin(arena_t *a) except -1:
    """Raises RuntimeError when the arena is pinned already, is not the writer's, or a write is going on."""
    cdef pin_t *pin
    if a.pin != NULL or not a.is_writer or a.header.sequence & 1:
        raise RuntimeError("an arena is pinned by its writer, once at a time and between writes")
    pin = <pin_t *>calloc(1, sizeof(pin_t))
    if pin == NULL:
        raise MemoryError("no memory for a pin")
    pin.base = a.base
    pin.used = page_up(a.header.used)            # a block given out later may begin on the last page
    pin.saved = <char **>calloc(pin.used // PAGE, sizeof(char *))     # so large that the system gives zeros as they are used
    pin.owners = 1
    if pin.saved == NULL:
        free(pin)
        raise MemoryError("no memory for the table of pinned pages")
    a.pin = pin
    a.pinned_used = a.kept_below = pin.used
    return 0


cdef void arena_unpin(arena_t *a) noexcept nogil:
    if a.pin == NULL:
        return
    pin_let_go(a.pin)
    a.pin = NULL
    a.pinned_used = 0
    a.kept_below = a.undo_used


cdef void pin_let_go(pin_t *pin) noexcept nogil:
    cdef size_t place
    if owners_drop(&pin.owners):
        return
    for place in range(pin.slabs.size // sizeof(char *)):
        free((<char **>pin.slabs.data)[place])
    buffer_free(&pin.slabs)
    free(pin.saved)
    free(pin)


cdef void arena_keep(arena_t *a, uint64_t offset, uint64_t size) noexcept nogil:
    if a.pin != NULL and offset < a.pinned_used:
        arena_save(a, offset, size)
    if PAGE <= offset < a.undo_used:             # the header is kept as a whole
        size = min(size, a.undo_used - offset)
        buffer_append(&a.undo_log, a.base + offset, size)
        buffer_append(&a.undo_log, &offset, sizeof(offset))
        buffer_append(&a.undo_log, &size, sizeof(size))


cdef void arena_save(arena_t *a, uint64_t offset, uint64_t size) noexcept nogil:
    """Copies the pages that [offset, offset + size) touches and that are not copied yet."""
    cdef pin_t *pin = a.pin
    cdef uint64_t page = offset // PAGE
    cdef uint64_t end = page_up(min(offset + size, a.pinned_used)) // PAGE
    cdef char *copy
    while page < end:
        if pin.saved[page] == NULL:
            copy = new_copy(pin)
            memcpy(copy, a.base + page * PAGE, PAGE)
            poke_pointer(&pin.saved[page], copy)
            fence_release()                      # whoever reads the change that follows sees the copy too
        page += 1


cdef char *new_copy(pin_t *pin) noexcept nogil:
    """Room for the next copy of a page."""
    cdef uint64_t place = pin.saved_count % SLAB_PAGES
    cdef char *slab
    if place == 0:
        slab = <char *>malloc(SLAB_PAGES * PAGE)
        FZ_ASSERT(slab != NULL)
        buffer_append(&pin.slabs, &slab, sizeof(slab))
    pin.saved_count += 1
    return (<char **>pin.slabs.data)[pin.slabs.size // sizeof(slab) - 1] + place * PAGE


cdef void arena_undo_begin(arena_t *a) noexcept nogil:
    FZ_ASSERT(a.header.sequence & 1 and a.undo_used == 0)
    memcpy(&a.undo_header, a.header, sizeof(arena_header_t))
    a.undo_used = a.header.used
    a.kept_below = max(a.undo_used, a.pinned_used)


cdef void arena_undo_end(arena_t *a) noexcept nogil:
    FZ_ASSERT(a.undo_used != 0)
    a.undo_used = 0
    a.kept_below = a.pinned_used
    if a.undo_log.capacity > UNDO_KEPT_MAX:
        buffer_free(&a.undo_log)
    buffer_clear(&a.undo_log)


cdef void arena_undo_back(arena_t *a) noexcept nogil:
    cdef buffer_t *log = &a.undo_log
    cdef uint64_t offset
    cdef uint64_t size
    FZ_ASSERT(a.undo_used != 0)
    while log.size:
        memcpy(&size, log.data + log.size - sizeof(size), sizeof(size))
        memcpy(&offset, log.data + log.size - sizeof(size) - sizeof(offset), sizeof(offset))
        log.size -= size + sizeof(size) + sizeof(offset)
        memcpy(a.base + offset, log.data + log.size, size)
    memcpy(a.header, &a.undo_header, sizeof(arena_header_t))
    arena_undo_end(a)
