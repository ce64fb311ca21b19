"""The read path: one read request answered from the arena at one zxid, by a worker (lock-free) or by the engine."""

from fastzk._core.acl cimport caller_t
from fastzk._core.arena cimport arena_t
from fastzk._core.codes cimport (
    OPCODE_EXISTS,
    OPCODE_GET_ACL,
    OPCODE_GET_ALL_CHILDREN_NUMBER,
    OPCODE_GET_CHILDREN,
    OPCODE_GET_CHILDREN2,
    OPCODE_GET_DATA,
    OPCODE_GET_EPHEMERALS,
    OPCODE_MULTI_READ,
    OPCODE_SET_WATCHES,
    OPCODE_SET_WATCHES2,
    OPCODE_WHO_AM_I,
)
from fastzk._core.layout cimport buffer_t
from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef enum:
    READ_LOST = -1000           # the writer won every try: hand the read over to the engine


ctypedef struct read_t:         # a request, taken apart; everything is lent
    int32_t op
    bint is_of_znode            # it asks for one znode, that of `path`
    bint is_watching            # exists, getData, getChildren: the client wants to hear of the next change
    const char *path            # the first field of most; may be NULL only of getEphemerals
    uint32_t path_size
    const char *body            # all of it
    uint32_t size
    uint64_t session_id         # who asks
    caller_t who


cdef inline bint is_read(int32_t op) noexcept nogil:
    """True for every operation that read_answer knows."""
    return (op == OPCODE_EXISTS or op == OPCODE_GET_DATA or op == OPCODE_GET_ACL or op == OPCODE_GET_CHILDREN
            or op == OPCODE_GET_CHILDREN2 or op == OPCODE_MULTI_READ or op == OPCODE_WHO_AM_I
            or op == OPCODE_SET_WATCHES or op == OPCODE_SET_WATCHES2 or op == OPCODE_GET_EPHEMERALS
            or op == OPCODE_GET_ALL_CHILDREN_NUMBER)


# Takes a request of such an operation apart; who asks is left to the caller.  0, or MarshallingError.
cdef int read_decode(read_t *read, int32_t op, const char *body, size_t size) noexcept nogil
# Answers it: appends the reply's body to `out` and puts the zxid it was answered at into `zxid`.  Gives a ZooKeeper error code
# (then nothing was appended), or READ_LOST.  What it gives for setWatches is no reply but verdicts: see rewatch.pxd.
cdef int read_answer(arena_t *a, const read_t *read, buffer_t *out, uint64_t *zxid) noexcept nogil
