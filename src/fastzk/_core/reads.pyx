"""The read path: one read request answered from the arena at one zxid.

Rule: nothing that a try appended to `out` stays unless the sequence says that the writer was not in between.
Rule: no permission, no znode and no data reaches a client but through a try that was valid.

    exists        3   NoNode, NoAuth (READ)   Stat
    getData       4   NoNode, NoAuth (READ)   buffer data (null stays null), Stat
    getChildren   8   NoNode, NoAuth (READ)   vector of names
    getChildren2 12   NoNode, NoAuth (READ)   vector of names, Stat

Paths are not judged here, as in ZooKeeper: one that no znode can have finds none.  Only exists minds a NUL byte."""

from fastzk._core.acl cimport acl_permits
from fastzk._core.arena cimport Arena, arena_read_begin, arena_read_valid
from fastzk._core.codes cimport (
    ERR_BAD_ARGUMENTS,
    ERR_NO_AUTH,
    ERR_NO_NODE,
    ERR_OK,
    ERR_UNIMPLEMENTED,
    OPCODE_EXISTS,
    OPCODE_GET_CHILDREN,
    OPCODE_GET_CHILDREN2,
    OPCODE_GET_DATA,
    PERM_READ,
)
from fastzk._core.layout cimport FZ_ASSERT, buffer_free, buffer_live, ref_t, znode_t
from fastzk._core.paths cimport PATH_SIZE_MAX
from fastzk._core.tree cimport tree_children, tree_data, tree_find, tree_see, tree_stat
from libc.string cimport memchr, memset


cdef enum:
    # A short read loses to the writer with a chance of perhaps one in four under the heaviest writing, so sixteen tries
    # lose once in billions; a long listing loses nearly always, and soon (at its first look), so its tries cost little.
    READ_TRIES = 16
    TORN = -1001                # within a try: what was seen makes no sense, so the writer must have been in between


cdef bint is_read(int32_t op) noexcept nogil:
    return op == OPCODE_EXISTS or op == OPCODE_GET_DATA or op == OPCODE_GET_CHILDREN or op == OPCODE_GET_CHILDREN2


cdef int read_answer(arena_t *a, int32_t op, const char *path, uint32_t path_size, const caller_t *who, buffer_t *out,
                     uint64_t *zxid) noexcept nogil:
    cdef size_t kept = buffer_live(out)
    cdef uint64_t sequence
    cdef uint64_t seen_zxid
    cdef int err
    cdef int _i
    for _i in range(READ_TRIES):
        sequence = arena_read_begin(a)
        if sequence & 1:
            continue                                # still inside: a try now would be worth nothing
        err = answer_once(a, op, path, path_size, who, sequence, out)
        seen_zxid = a.header.applied_zxid
        if arena_read_valid(a, sequence):
            FZ_ASSERT(err != TORN)                  # nobody was in between: the arena itself is damaged
            zxid[0] = seen_zxid
            return err
        out.size = out.start + kept
    return READ_LOST


cdef inline int answer_once(arena_t *a, int32_t op, const char *path, uint32_t path_size, const caller_t *who,
                            uint64_t sequence, buffer_t *out) noexcept nogil:
    """One try, worth nothing unless the sequence is still the same afterwards.  An error is found before an append."""
    cdef ref_t ref
    cdef const znode_t *znode
    if path_size == 0 or path_size > PATH_SIZE_MAX:
        return ERR_NO_NODE
    if op == OPCODE_EXISTS and memchr(path, 0, path_size) is not NULL:
        return ERR_BAD_ARGUMENTS
    ref = tree_find(a, path, path_size)
    if ref == 0:
        return ERR_NO_NODE
    znode = tree_see(a, ref)
    if znode is NULL:
        return TORN
    if not acl_permits(a, znode.acl, PERM_READ, who):
        return ERR_NO_AUTH
    if op == OPCODE_GET_DATA:
        if tree_data(a, znode, out):
            return TORN
    elif op == OPCODE_GET_CHILDREN or op == OPCODE_GET_CHILDREN2:
        if tree_children(a, znode, sequence, out):
            return TORN
    elif op != OPCODE_EXISTS:
        return ERR_UNIMPLEMENTED
    if op != OPCODE_GET_CHILDREN:
        tree_stat(znode, out)
    return ERR_OK


def answer(Arena arena not None, int32_t op, bytes path not None) -> tuple[int, int, bytes]:
    """Answers one read: (error code, zxid, reply body).  Raises BlockingIOError when the writer won every try."""
    cdef buffer_t out
    cdef caller_t who
    cdef uint64_t zxid = 0
    memset(&out, 0, sizeof(out))
    memset(&who, 0, sizeof(who))
    try:
        err = read_answer(&arena.arena, op, path, len(path), &who, &out, &zxid)
        if err == READ_LOST:
            raise BlockingIOError("the writer won every try")
        return err, zxid, out.data[:out.size] if out.size else b""
    finally:
        buffer_free(&out)
