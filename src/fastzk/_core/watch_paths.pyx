"""The paths that somebody watches.

    buckets -> record -> record ...     chained by hash; as many buckets as records, within a factor of two
    slabs                               64 KiB each; a record and its text are one piece of one
    free_records                        by size: what was given back

Rule: the hash of a path is seeded, so no client can choose paths that meet in one bucket.  Rule: memory that was given
back is used again for records of the same size and never returned to the system."""

from fastzk._core.layout cimport FZ_ASSERT, hash_bytes
from fastzk._core.paths cimport PATH_SIZE_MAX
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset


cdef enum:
    BUCKETS_FIRST = 64
    PER_BUCKET_MAX = 2
    SLABS_MAX = 1 << 18


cdef bint paths_init(path_table_t *t, uint64_t seed) noexcept nogil:
    memset(t, 0, sizeof(path_table_t))
    t.seed = seed
    t.slab_used = SLAB_BYTES
    t.mask = BUCKETS_FIRST - 1
    t.buckets = <uint32_t *>calloc(BUCKETS_FIRST, sizeof(uint32_t))
    return t.buckets != NULL


cdef void paths_free(path_table_t *t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.slab_count):
        free(t.slabs[i])
    free(t.slabs)
    free(t.buckets)


cdef inline uint32_t record_units(uint32_t size) noexcept nogil:
    """Of the record of a path of `size` bytes."""
    return (PATH_HEAD + size + SLAB_UNIT - 1) // SLAB_UNIT


cdef uint32_t record_alloc(path_table_t *t, uint32_t size) noexcept nogil:
    cdef uint32_t units = record_units(size)
    cdef uint32_t ref = t.free_records[units]
    cdef char **slabs
    cdef char *slab
    if ref:
        t.free_records[units] = path_at(t, ref).next
        return ref
    if t.slab_used + units * SLAB_UNIT > SLAB_BYTES:
        if t.slab_count == SLABS_MAX:
            return 0
        if t.slab_count == t.slab_room:
            slabs = <char **>realloc(t.slabs, (t.slab_room * 2 + 8) * sizeof(char *))
            if slabs == NULL:
                return 0
            t.slabs = slabs
            t.slab_room = t.slab_room * 2 + 8
        slab = <char *>malloc(SLAB_BYTES)
        if slab == NULL:
            return 0
        t.slabs[t.slab_count] = slab
        t.slab_used = 0 if t.slab_count else SLAB_UNIT  # ref 0 is none
        t.slab_count += 1
    ref = (t.slab_count - 1) << SLAB_UNIT_BITS | t.slab_used // SLAB_UNIT
    t.slab_used += units * SLAB_UNIT
    return ref


cdef inline uint32_t *path_bucket(const path_table_t *t, const char *path, uint32_t size) noexcept nogil:
    return &t.buckets[hash_bytes(path, size, t.seed) & t.mask]


cdef uint32_t path_find(const path_table_t *t, const char *path, uint32_t size) noexcept nogil:
    cdef uint32_t ref = path_bucket(t, path, size)[0]
    cdef const watched_path_t *found
    while ref:
        found = path_at(t, ref)
        if found.size == size and memcmp(found.text, path, size) == 0:
            return ref
        ref = found.next
    return 0


cdef uint32_t path_add(path_table_t *t, const char *path, uint32_t size) noexcept nogil:
    cdef uint32_t ref
    cdef uint32_t *bucket
    cdef watched_path_t *made
    FZ_ASSERT(size <= PATH_SIZE_MAX)
    ref = record_alloc(t, size)
    if ref == 0:
        return 0
    if t.count > PER_BUCKET_MAX * (t.mask + 1):
        buckets_grow(t)
    bucket = path_bucket(t, path, size)
    made = path_at(t, ref)
    memset(made.first, 0, sizeof(made.first))
    made.size = <uint16_t>size
    memcpy(made.text, path, size)
    made.next = bucket[0]
    bucket[0] = ref
    t.count += 1
    return ref


cdef void path_remove(path_table_t *t, uint32_t ref) noexcept nogil:
    cdef watched_path_t *path = path_at(t, ref)
    cdef uint32_t *link = path_bucket(t, path.text, path.size)
    cdef uint32_t units = record_units(path.size)
    FZ_ASSERT(not path_is_watched(path))
    while link[0] != ref:
        FZ_ASSERT(link[0] != 0)
        link = &path_at(t, link[0]).next
    link[0] = path.next
    t.count -= 1
    path.next = t.free_records[units]
    t.free_records[units] = ref


cdef void buckets_grow(path_table_t *t) noexcept nogil:
    """Doubles the buckets; without memory they stay, and only get slower."""
    cdef uint64_t size = (t.mask + 1) * 2
    cdef uint32_t *old = t.buckets
    cdef uint32_t *buckets = <uint32_t *>calloc(size, sizeof(uint32_t))
    cdef uint32_t *bucket
    cdef uint32_t ref, following
    cdef watched_path_t *path
    cdef uint64_t i
    if buckets == NULL:
        return
    t.buckets = buckets
    t.mask = size - 1
    for i in range(size // 2):
        ref = old[i]
        while ref:
            path = path_at(t, ref)
            following = path.next
            bucket = path_bucket(t, path.text, path.size)
            path.next = bucket[0]
            bucket[0] = ref
            ref = following
    free(old)


cdef uint64_t paths_bytes(const path_table_t *t) noexcept nogil:
    return ((t.mask + 1) * sizeof(uint32_t) + <uint64_t>t.slab_count * <uint64_t>SLAB_BYTES
            + t.slab_room * sizeof(char *))


cdef watched_path_t _drawn
assert <char *>_drawn.text - <char *>&_drawn == PATH_HEAD, "the text of a path begins at PATH_HEAD"
assert record_units(PATH_SIZE_MAX) < RECORD_CLASSES, "there is a class for the longest path"
assert SLAB_BYTES == SLAB_UNIT << SLAB_UNIT_BITS, "a ref names every unit of a slab"
