"""One worker's watches: who waits for which path, in compiled hash tables.

A watch is armed "as of" the zxid its read was answered at: a change at or below that zxid does not fire it."""

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef enum:
    WATCH_DATA = 1              # getData, exists: fires on created 1, deleted 2, data changed 3
    WATCH_CHILD = 2             # getChildren: fires on deleted 2, children changed 4


ctypedef struct watches_t       # defined in watches.pyx


cdef watches_t *watches_new(uint64_t seed) except NULL
cdef void watches_delete(watches_t *w) noexcept nogil
# Arms a one-shot watch; a connection holds at most one of a kind on a path (arming it again keeps the older zxid). 0, or -1: no memory.
cdef int watches_arm(watches_t *w, const char *path, uint32_t size, int kind, int32_t connection, uint64_t zxid) noexcept nogil
# Fires: takes out the watches that wait for `event` on `path` and were armed below `zxid`, and puts their connections into
# `fired`, each once (a connection that waits in both tables gets one event).  Gives their number; the memory is the table's
# own and stays valid until the next call.
cdef int32_t watches_fire(watches_t *w, const char *path, uint32_t size, int event, uint64_t zxid, const int32_t **fired) noexcept nogil
# Forgets a connection's watches, in time that grows with their number only.
cdef void watches_drop(watches_t *w, int32_t connection) noexcept nogil
cdef uint64_t watches_count(const watches_t *w) noexcept nogil
