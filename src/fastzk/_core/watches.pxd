"""One worker's watches: who waits for which path, in compiled hash tables.

A watch is armed "as of" the zxid its read was answered at: a change at or below that zxid does not fire it.  A read may be
answered ahead of the commit batches handled so far, so a connection that asks twice may hold, for a moment, two watches of
one kind on one path, as of different zxids: the change between them fires the first and must leave the second."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t


cdef enum:
    WATCH_DATA = 1              # getData, exists: fires on created 1, deleted 2, data changed 3
    WATCH_CHILD = 2             # getChildren: fires on deleted 2, children changed 4

    EVENT_CREATED = 1
    EVENT_DELETED = 2
    EVENT_DATA_CHANGED = 3
    EVENT_CHILDREN_CHANGED = 4

    SLAB_CLASSES = 33           # path records of 8, 16 ... 256 bytes come from slabs, larger ones from malloc


ctypedef struct watched_path_t:  # one path that somebody waits for
    watched_path_t *next        # same bucket
    uint32_t first[2]           # watches: data, child
    uint16_t size
    char text[0]


ctypedef struct watch_t:        # one watch; links are its numbers, 0 is none
    uint64_t zxid               # armed as of
    watched_path_t *path
    uint32_t owner              # connection << 1 | is_child
    uint32_t hash_next          # same bucket; of a free record the next free one
    uint32_t path_next
    uint32_t path_previous
    uint32_t connection_next
    uint32_t connection_previous


ctypedef struct watch_owner_t:  # one connection
    uint32_t first
    uint32_t is_fired           # already in `fired`; 0 outside watches_fire


ctypedef struct watches_t:
    uint64_t seed
    uint64_t count
    uint64_t path_count
    watched_path_t **path_buckets
    uint64_t path_mask
    uint32_t *watch_buckets
    uint64_t watch_mask
    watch_t **chunks            # the watches, 1024 to a chunk: they never move
    uint32_t chunk_count
    uint32_t chunk_room         # of the array `chunks`
    uint32_t first_free
    watch_owner_t *owners       # by connection
    int32_t *fired              # room for each connection once
    uint32_t owner_room
    char *free_texts[33]        # path records given back, by size class
    char **slabs
    uint32_t slab_count
    uint32_t slab_room
    uint64_t slab_used          # bytes of the newest slab
    uint64_t large_bytes        # path records from malloc


cdef watches_t *watches_new(uint64_t seed) except NULL
cdef void watches_delete(watches_t *w) noexcept nogil
# Arms a one-shot watch as of `zxid`; `handled` says up to where all changes have been fired: of a connection's watches of a
# kind on a path, those at or below it are one and the same.  A path longer than any znode's is ignored: nothing can
# ever change there.  0, or -1: no memory (nothing is armed).
cdef int watches_arm(watches_t *w, const char *path, uint32_t size, int kind, int32_t connection, uint64_t zxid,
                     uint64_t handled) noexcept nogil
# Fires: takes out the watches that wait for `event` on `path` and were armed below `zxid`, and puts their connections into
# `fired`, each once (a connection that waits in both tables gets one event).  Gives their number; the memory is the table's
# own and stays valid until the next call.
cdef int32_t watches_fire(watches_t *w, const char *path, uint32_t size, int event, uint64_t zxid,
                          const int32_t **fired) noexcept nogil
# Forgets a connection's watches, in time that grows with their number only.
cdef void watches_drop(watches_t *w, int32_t connection) noexcept nogil
cdef uint64_t watches_count(const watches_t *w) noexcept nogil
# All the memory the tables hold, in bytes.
cdef uint64_t watches_bytes(const watches_t *w) noexcept nogil


cdef class Watches:
    """The tables as Python sees them."""
    cdef watches_t *watches
