"""One worker's watches: who waits for which path, in compiled hash tables.

| kind | armed by | on created, deleted, data changed of the path | on its children changed | of a path below it | fired |
|---|---|---|---|---|---|
| WATCH_DATA | getData, exists | yes | | | once |
| WATCH_CHILD | getChildren | deleted only | yes | | once |
| WATCH_PERSISTENT | addWatch, mode 0 | yes | yes | | always |
| WATCH_RECURSIVE | addWatch, mode 1 | yes | | created, deleted, data changed | always |

A watch is armed "as of" the zxid its request was answered at: a change at or below that zxid does not fire it.  A request
may be answered ahead of the commit batches handled so far, so a connection that asks twice may hold, for a moment, two
one-shot watches of one kind on one path, as of different zxids: the change between them fires the first and must leave the
second.  Of a lasting kind the earlier one is enough.

ZooKeeper keeps two tables, and its numbers are of those: the data table holds all but WATCH_CHILD, the child table
WATCH_CHILD and WATCH_PERSISTENT; in each a connection counts once for a path, whatever it holds there."""

from fastzk._core.watch_paths cimport path_table_t
from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef enum:
    WATCH_DATA = 1
    WATCH_CHILD = 2
    WATCH_PERSISTENT = 3
    WATCH_RECURSIVE = 4

    # What checkWatches and removeWatches may ask for (ZooKeeper's WatcherType).
    WATCHES_CHILDREN = 1        # WATCH_CHILD
    WATCHES_DATA = 2            # WATCH_DATA
    WATCHES_ANY = 3             # all that the connection has on the path
    WATCHES_PERSISTENT = 4
    WATCHES_RECURSIVE = 5

    EVENT_CREATED = 1
    EVENT_DELETED = 2
    EVENT_DATA_CHANGED = 3
    EVENT_CHILDREN_CHANGED = 4

    TABLE_DATA = 0
    TABLE_CHILD = 1


ctypedef struct watch_t:        # one watch; links are its numbers, 0 is none
    uint64_t zxid               # armed as of
    uint32_t path               # ref of its record; 0: the watch is free
    uint32_t owner              # connection << 2 | kind - 1
    uint32_t hash_next          # same bucket; of a free watch the next free one
    uint32_t path_next
    uint32_t path_previous
    uint32_t connection_next
    uint32_t connection_previous


ctypedef struct watch_owner_t:  # one connection
    uint32_t first
    uint32_t data_paths         # paths it has in the data table
    uint32_t is_fired           # already in `fired`; 0 outside watches_fire


ctypedef struct watches_t:
    path_table_t paths
    uint64_t kind_counts[4]     # watches, by kind
    uint64_t pairs[2]           # (connection, path), by table
    uint64_t data_paths         # paths in the data table
    uint64_t data_connections   # connections in it
    uint32_t recursive_size_max  # no path with a recursive watch is longer
    uint32_t *buckets           # watches by path and connection
    uint64_t mask
    watch_t **chunks            # the watches, 1024 to a chunk: they never move
    uint32_t chunk_count
    uint32_t chunk_room         # of the array `chunks`
    uint32_t first_free
    watch_owner_t *owners       # by connection
    int32_t *fired              # room for each connection once
    uint32_t owner_room


cdef watches_t *watches_new(uint64_t seed) except NULL
cdef void watches_delete(watches_t *w) noexcept nogil
# Arms a watch as of `zxid`; `handled` says up to where all changes have been fired: of a connection's one-shot watches of a
# kind on a path, those at or below it are one and the same.  A path longer than any znode's is ignored: nothing can
# ever change there.  0, or -1: no memory (nothing is armed).
cdef int watches_arm(watches_t *w, const char *path, uint32_t size, int kind, int32_t connection, uint64_t zxid,
                     uint64_t handled) noexcept nogil
# True if the connection has a watch of that WATCHES_* type on the path; watches_remove takes them away.  False for a type
# that does not exist.  They are of the present: whoever answers such a request sees to it that what is to be sent before
# the answer has been fired.
cdef bint watches_check(const watches_t *w, const char *path, uint32_t size, int type, int32_t connection) noexcept nogil
cdef bint watches_remove(watches_t *w, const char *path, uint32_t size, int type, int32_t connection) noexcept nogil
# Fires: takes out the one-shot watches that wait for `event` on `path` and were armed below `zxid`, and puts their
# connections, and those of the lasting ones, into `fired`, each once.  Gives their number; the memory is the table's own and
# stays valid until the next call.
cdef int32_t watches_fire(watches_t *w, const char *path, uint32_t size, int event, uint64_t zxid,
                          const int32_t **fired) noexcept nogil
# Forgets a connection's watches, in time that grows with their number only.
cdef void watches_drop(watches_t *w, int32_t connection) noexcept nogil
# The (connection, path) pairs of both tables: what ZooKeeper calls the number of watches.
cdef uint64_t watches_count(const watches_t *w) noexcept nogil
cdef uint64_t watches_count_of(const watches_t *w, int kind) noexcept nogil
# All the memory the tables hold, in bytes.
cdef uint64_t watches_bytes(const watches_t *w) noexcept nogil
# For Python: connections, paths, and pairs of both in the data table.
cdef tuple watches_summary(const watches_t *w)
# For Python.  The pairs of the data table, some at a time: those of `count` watches from number `first` (begin with 1), and
# the number to go on with, 0 at the end.  What is armed or fired in between may be listed or not.
cdef tuple watches_list(const watches_t *w, uint32_t first, uint32_t count=*)


cdef class Watches:
    """The tables as Python sees them."""
    cdef watches_t *watches
