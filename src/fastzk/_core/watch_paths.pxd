"""The paths that somebody watches: a hash table of records, each the head of its path's lists of watches.

A record is named by a ref of 4 bytes, 0 is none: slab number and place in the slab.  Slabs never move, so a pointer to a
record is good as long as the record is."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef enum:
    SLAB_UNIT = 4               # bytes; records stand at multiples of it
    SLAB_UNIT_BITS = 14         # a ref is slab << 14 | unit: 2^18 slabs of 64 KiB
    SLAB_BYTES = 65536
    PATH_HEAD = 22              # where watched_path_t.text begins
    RECORD_CLASSES = 1032       # records of 4, 8 ... bytes up to the longest path's; given back, they wait by size


ctypedef struct watched_path_t:
    uint32_t next               # ref of the next record of the same bucket; of a free record the next free one
    uint32_t first[4]           # its watches, by kind: data, child, persistent, recursive
    uint16_t size
    char text[0]


ctypedef struct path_table_t:
    uint64_t seed
    uint64_t count
    uint32_t *buckets
    uint64_t mask
    char **slabs
    uint32_t slab_count
    uint32_t slab_room          # of the array `slabs`
    uint32_t slab_used          # bytes of the newest slab
    uint32_t free_records[1032]


cdef inline watched_path_t *path_at(const path_table_t *t, uint32_t ref) noexcept nogil:
    return <watched_path_t *>(t.slabs[ref >> SLAB_UNIT_BITS]
                              + <size_t>(ref & ((1 << SLAB_UNIT_BITS) - 1)) * <size_t>SLAB_UNIT)


cdef inline bint path_is_watched(const watched_path_t *path) noexcept nogil:
    return (path.first[0] | path.first[1] | path.first[2] | path.first[3]) != 0


# False: no memory.  A table that is all zero may be freed.
cdef bint paths_init(path_table_t *t, uint64_t seed) noexcept nogil
cdef void paths_free(path_table_t *t) noexcept nogil
# The record of a path, or 0.
cdef uint32_t path_find(const path_table_t *t, const char *path, uint32_t size) noexcept nogil
# A new record without watches for a path that has none, of at most PATH_SIZE_MAX bytes; 0: no memory.
cdef uint32_t path_add(path_table_t *t, const char *path, uint32_t size) noexcept nogil
cdef void path_remove(path_table_t *t, uint32_t ref) noexcept nogil
# All the memory the table holds, itself apart, in bytes.
cdef uint64_t paths_bytes(const path_table_t *t) noexcept nogil
