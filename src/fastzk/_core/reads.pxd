"""The read path: one read request answered from the arena at one zxid, by a worker (lock-free) or by the engine."""

from fastzk._core.acl cimport caller_t
from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport buffer_t
from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef enum:
    READ_LOST = -1000           # the writer won every try: hand the read over to the engine


# Answers exists 3, getData 4, getChildren 8 or getChildren2 12 of `path` to `who`: appends the reply's body to `out` and puts the
# zxid it was answered at into `zxid`.  Gives a ZooKeeper error code (then nothing was appended), or READ_LOST.
cdef int read_answer(arena_t *a, int32_t op, const char *path, uint32_t path_size, const caller_t *who, buffer_t *out,
                     uint64_t *zxid) noexcept nogil
# True for the four operations above.
cdef bint is_read(int32_t op) noexcept nogil
