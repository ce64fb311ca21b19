"""setWatches 101 and setWatches2 105; see rewatch.pxd.

    long relativeZxid | vector of path: data, exist, child | with 105: persistent, recursive

    list        there is no znode   there is one
    data        deleted             mzxid above relativeZxid: data changed        else armed
    exist       armed               created
    child       deleted             pzxid above relativeZxid: children changed    else armed
    persistent, recursive           armed

As in ZooKeeper no permission is asked, and what was made and deleted again while the client was away goes unnoticed."""

from fastzk._core.arena cimport arena_read_valid
from fastzk._core.codes cimport (
    ERR_MARSHALLING, ERR_OK, EVENT_CHILDREN_CHANGED, EVENT_CREATED, EVENT_DATA_CHANGED, EVENT_DELETED,
    OPCODE_SET_WATCHES2)
from fastzk._core.jute cimport jute_bytes, jute_int, jute_long, jute_over
from fastzk._core.layout cimport buffer_append, ref_t, znode_t
from fastzk._core.tree cimport tree_find, tree_see
from fastzk._core.watches cimport WATCH_CHILD, WATCH_DATA, WATCH_PERSISTENT, WATCH_RECURSIVE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    LIST_DATA = 0
    LIST_EXIST = 1
    LIST_CHILD = 2
    LIST_PERSISTENT = 3
    LISTS = 3                   # of setWatches
    LISTS2 = 5                  # of setWatches2
    LOOK_EVERY = 64             # paths between two looks at the sequence


cdef rewatch_t rewatch_begin(const read_t *read) noexcept nogil:
    cdef rewatch_t walk
    walk.r = jute_over(read.body, read.size)
    walk.seen_zxid = <uint64_t>jute_long(&walk.r)
    walk.list = -1
    walk.lists = LISTS2 if read.op == OPCODE_SET_WATCHES2 else LISTS
    walk.left = 0
    return walk


cdef const char *rewatch_next(rewatch_t *walk, uint32_t *size, int *kind) noexcept nogil:
    cdef const char *path
    cdef int32_t path_size = 0
    while walk.left <= 0:
        walk.list += 1
        if walk.list == walk.lists:
            return NULL
        walk.left = jute_int(&walk.r)
        if walk.left == -1:
            walk.r.failed = True
    walk.left -= 1
    path = jute_bytes(&walk.r, &path_size)
    if path is NULL:
        walk.r.failed = True
        return NULL
    size[0] = <uint32_t>path_size
    kind[0] = (WATCH_CHILD if walk.list == LIST_CHILD else WATCH_DATA if walk.list < LIST_CHILD
               else WATCH_PERSISTENT if walk.list == LIST_PERSISTENT else WATCH_RECURSIVE)
    return path


cdef int rewatch_check(const read_t *read) noexcept nogil:
    cdef rewatch_t walk = rewatch_begin(read)
    cdef uint32_t size = 0
    cdef int kind = 0
    while rewatch_next(&walk, &size, &kind) is not NULL:
        pass
    return ERR_MARSHALLING if walk.r.failed else ERR_OK


cdef bint rewatch_judge(arena_t *a, const read_t *read, uint64_t sequence, buffer_t *out) noexcept nogil:
    cdef rewatch_t walk = rewatch_begin(read)
    cdef const char *path
    cdef uint32_t size = 0
    cdef uint32_t count = 0
    cdef int kind = 0
    cdef ref_t ref
    cdef const znode_t *znode
    cdef uint8_t verdict
    while True:
        path = rewatch_next(&walk, &size, &kind)
        if path is NULL:
            return True
        count += 1
        if count % LOOK_EVERY == 0 and not arena_read_valid(a, sequence):
            return False
        verdict = 0
        if walk.list < LIST_PERSISTENT:
            znode = NULL
            ref = tree_find(a, path, size) if size else a.header.root
            if ref:
                znode = tree_see(a, ref)
                if znode is NULL:
                    return False
            verdict = verdict_on(walk.list, walk.seen_zxid, znode)
        buffer_append(out, &verdict, 1)


cdef inline uint8_t verdict_on(int which, uint64_t seen_zxid, const znode_t *znode) noexcept nogil:
    if which == LIST_EXIST:
        return EVENT_CREATED if znode is not NULL else 0
    if znode is NULL:
        return EVENT_DELETED
    if which == LIST_DATA:
        return EVENT_DATA_CHANGED if <int64_t>znode.mzxid > <int64_t>seen_zxid else 0
    return EVENT_CHILDREN_CHANGED if <int64_t>znode.pzxid > <int64_t>seen_zxid else 0
