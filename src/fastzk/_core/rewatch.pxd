"""setWatches 101 and setWatches2 105: the watches of a client that was away, on another connection of its own.

It is answered in two steps, the first by whoever can read, the second by the worker that holds the watches:
    1. a verdict on each path, all at one zxid: the event that the client has missed, or 0
    2. each missed event is replayed, each other watch armed as of that zxid"""

from fastzk._core.arena cimport arena_t
from fastzk._core.jute cimport jute_t
from fastzk._core.layout cimport buffer_t
from fastzk._core.reads cimport read_t
from libc.stdint cimport int32_t, uint32_t, uint64_t


ctypedef struct rewatch_t:      # a walk over the paths of a request
    jute_t r
    uint64_t seen_zxid          # what the client has seen
    int list                    # which list it is in: data, exist, child, persistent, recursive
    int lists                   # how many there are
    int32_t left                # paths of this list yet to come


# Begins a walk; rewatch_next gives the next path with its kind of watch in `kind`, NULL at the end.
cdef rewatch_t rewatch_begin(const read_t *read) noexcept nogil
cdef const char *rewatch_next(rewatch_t *walk, uint32_t *size, int *kind) noexcept nogil
# 0, or MarshallingError: the body is no such request, or has a null in it.
cdef int rewatch_check(const read_t *read) noexcept nogil
# The first step, within a try: appends one byte for each path.  False: the try is lost.
cdef bint rewatch_judge(arena_t *a, const read_t *read, uint64_t sequence, buffer_t *out) noexcept nogil
