"""The operations of clients that change the tree, judged in ZooKeeper's order (PrepRequestProcessor).

    create   1, create2 15   string path, buffer data, vector acl, int flags    -> path (create2: path, Stat)
    delete   2               string path, int version                           -> nothing
    setData  5               string path, buffer data, int version              -> Stat
    sync     9               string path                                        -> path

    MarshallingError   the body is no such record (bytes behind it are ignored, as ZooKeeper does), or a path is null
    create   Unimplemented (container, TTL), BadArguments (flags, no slash, NUL, too long), InvalidACL, NoNode (parent),
             NoAuth (CREATE on the parent), BadArguments (path), NodeExists, NoChildrenForEphemerals
    delete   BadArguments (no slash, NUL, too long, one of ZooKeeper's own znodes), NoNode (parent),
             NoAuth (DELETE on the parent), NoNode, BadVersion, NotEmpty
    setData  BadArguments (path), NoNode, NoAuth (WRITE), BadVersion
    any      Unimplemented: not yet known; SystemError: the arena is full

Rule: what a request asks is judged before arena_write_begin, so that readers are disturbed only by what changes.
Rule: a failed write is applied too: it has a zxid, counts as its session's last write, and has a result."""

from fastzk._core.acl cimport acl_permits, acl_take, caller_t
from fastzk._core.arena cimport arena_change, arena_write_begin, arena_write_end
from fastzk._core.codes cimport (
    CREATE_EPHEMERAL,
    CREATE_SEQUENTIAL,
    ERR_BAD_ARGUMENTS,
    ERR_MARSHALLING,
    ERR_NO_AUTH,
    ERR_NODE_EXISTS,
    ERR_NO_NODE,
    ERR_OK,
    ERR_SYSTEM,
    ERR_UNIMPLEMENTED,
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    OPCODE_CREATE,
    OPCODE_CREATE2,
    OPCODE_DELETE,
    OPCODE_SET_DATA,
    OPCODE_SYNC,
    PERM_CREATE,
    PERM_DELETE,
    PERM_WRITE,
)
from fastzk._core.items cimport answer_open, item_close, outbox_change, outbox_of, outbox_result
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.layout cimport (
    FZ_ASSERT,
    ITEM_RESULT,
    NULL_DATA,
    buffer_append,
    buffer_be32,
    session_t,
    znode_t,
)
from fastzk._core.paths cimport path_is_valid, path_last_slash, path_parent_size
from fastzk._core.session_table cimport session_caller
from fastzk._core.tree cimport (
    acl_intern,
    acl_release,
    tree_create,
    tree_delete,
    tree_find,
    tree_see,
    tree_set_data,
    tree_stat,
)
from libc.stdint cimport int32_t
from libc.string cimport memcmp


cdef enum:
    FLAGS_MADE = 3              # ephemeral, sequential and both are what can be made
    FLAGS_KNOWN = 6             # container 4, TTL 5, sequential TTL 6: known to ZooKeeper, not made here


cdef int write_apply(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                     const moment_t *now) noexcept nogil:
    if entry.op == OPCODE_CREATE or entry.op == OPCODE_CREATE2:
        return create(a, out, scratch, session, entry, now)
    if entry.op == OPCODE_SET_DATA:
        return set_data(a, out, session, entry, now)
    if entry.op == OPCODE_DELETE:
        return delete(a, out, session, entry, now)
    if entry.op == OPCODE_SYNC:
        return sync(a, out, session, entry, now)
    return fail(a, out, session, entry, now, ERR_UNIMPLEMENTED)


cdef void write_end(arena_t *a, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef session_t *changed = <session_t *>arena_change(a, session, sizeof(session_t))
    changed.last_serial = entry.serial
    arena_write_end(a, now.zxid, now.index, now.time_ms)


cdef int fail(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now,
              int err) noexcept nogil:
    """Applies a write that was judged to fail."""
    arena_write_begin(a)
    write_end(a, session, entry, now)
    outbox_result(out, entry, now.zxid, err)
    return err


cdef void announce(outbox_t *out, int event, const moment_t *now, const char *path, uint32_t path_size) noexcept nogil:
    outbox_change(out, event, now.zxid, path, path_size, NULL, 0)
    if event != EVENT_DATA_CHANGED:
        outbox_change(out, EVENT_CHILDREN_CHANGED, now.zxid, path,
                      path_parent_size(path_last_slash(path, path_size)), NULL, 0)


cdef int parent_permits(arena_t *a, const char *path, int32_t last_slash, int32_t perm,
                        const caller_t *who) noexcept nogil:
    """Gives 0 if the parent is there and permits it, else NoNode or NoAuth."""
    cdef ref_t parent = tree_find(a, path, path_parent_size(last_slash)) if last_slash else a.header.root
    if parent == 0:
        return ERR_NO_NODE
    return permits(a, parent, perm, who)


cdef int permits(arena_t *a, ref_t ref, int32_t perm, const caller_t *who) noexcept nogil:
    cdef const znode_t *znode = tree_see(a, ref)
    FZ_ASSERT(znode is not NULL)                    # the writer's own look at its own tree
    return ERR_OK if acl_permits(a, znode.acl, perm, who) else ERR_NO_AUTH


cdef int create(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef const char *path
    cdef const char *data
    cdef int32_t path_size = 0
    cdef int32_t data_size = 0
    cdef int32_t flags
    cdef uint32_t made_size = 0
    cdef uint64_t owner
    cdef ref_t acl
    cdef caller_t who = session_caller(a, session)
    cdef int acl_err
    cdef int err
    path = jute_bytes(&r, &path_size)
    data = jute_bytes(&r, &data_size)
    acl_err = acl_take(&r, &scratch.acl, &who)
    flags = jute_int(&r)
    if r.failed:
        return fail(a, out, session, entry, now, ERR_MARSHALLING)
    err = judge_create(a, path, path_size, acl_err, flags, &who)
    if err:
        return fail(a, out, session, entry, now, err)
    owner = entry.session_id if flags & CREATE_EPHEMERAL else 0
    arena_write_begin(a)
    acl = acl_intern(a, scratch.acl.data, <uint32_t>scratch.acl.size)
    if acl == 0:
        err = ERR_SYSTEM
    else:
        err = tree_create(a, path, path_size, data, NULL_DATA if data is NULL else <uint32_t>data_size, acl, flags,
                          owner, now.zxid, now.time_ms, scratch.made, &made_size)
        if err:
            acl_release(a, acl)
    write_end(a, session, entry, now)
    if err:
        outbox_result(out, entry, now.zxid, err)
        return err
    announce(out, EVENT_CREATED, now, scratch.made, made_size)
    answer(a, out, entry, now, scratch.made, made_size, True, entry.op == OPCODE_CREATE2)
    return ERR_OK


cdef int judge_create(arena_t *a, const char *path, int32_t path_size, int acl_err, int32_t flags,
                      const caller_t *who) noexcept nogil:
    cdef int32_t slash
    cdef int err
    if flags < 0 or flags > FLAGS_KNOWN:
        return ERR_BAD_ARGUMENTS
    if flags > FLAGS_MADE:
        return ERR_UNIMPLEMENTED
    if path is NULL:
        return ERR_MARSHALLING
    slash = path_last_slash(path, path_size)
    if slash < 0:
        return ERR_BAD_ARGUMENTS
    if acl_err:
        return acl_err
    err = parent_permits(a, path, slash, PERM_CREATE, who)
    if err:
        return err
    if not path_is_valid(path, path_size, flags & CREATE_SEQUENTIAL):
        return ERR_BAD_ARGUMENTS
    if path_size == 1 and not flags & CREATE_SEQUENTIAL:
        return ERR_NODE_EXISTS                      # the root has no name, and is always there
    return ERR_OK


cdef int delete(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef int32_t path_size = 0
    cdef const char *path = jute_bytes(&r, &path_size)
    cdef int32_t version = jute_int(&r)
    cdef caller_t who = session_caller(a, session)
    cdef int32_t slash
    cdef int err
    if r.failed or path is NULL:
        return fail(a, out, session, entry, now, ERR_MARSHALLING)
    slash = path_last_slash(path, path_size)
    if slash < 0 or is_own(path, path_size):
        return fail(a, out, session, entry, now, ERR_BAD_ARGUMENTS)
    err = parent_permits(a, path, slash, PERM_DELETE, &who)
    if err:
        return fail(a, out, session, entry, now, err)
    arena_write_begin(a)
    err = tree_delete(a, path, path_size, version, now.zxid)
    write_end(a, session, entry, now)
    if err == ERR_OK:
        announce(out, EVENT_DELETED, now, path, path_size)
    outbox_result(out, entry, now.zxid, err)
    return err


cdef bint is_own(const char *path, int32_t size) noexcept nogil:
    """True for the znodes that are the service's own and stay."""
    if size == 1:
        return path[0] == c'/'
    if size == 10:
        return memcmp(path, b"/zookeeper", 10) == 0
    if size == 16:
        return memcmp(path, b"/zookeeper/quota", 16) == 0
    return size == 17 and memcmp(path, b"/zookeeper/config", 17) == 0


cdef int set_data(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef int32_t path_size = 0
    cdef int32_t data_size = 0
    cdef const char *path = jute_bytes(&r, &path_size)
    cdef const char *data = jute_bytes(&r, &data_size)
    cdef int32_t version = jute_int(&r)
    cdef caller_t who = session_caller(a, session)
    cdef ref_t ref
    cdef int err
    if r.failed:
        return fail(a, out, session, entry, now, ERR_MARSHALLING)
    if path is NULL or not path_is_valid(path, path_size, False):
        return fail(a, out, session, entry, now, ERR_BAD_ARGUMENTS)
    ref = tree_find(a, path, path_size)
    err = permits(a, ref, PERM_WRITE, &who) if ref else ERR_NO_NODE
    if err:
        return fail(a, out, session, entry, now, err)
    arena_write_begin(a)
    err = tree_set_data(a, path, path_size, data, NULL_DATA if data is NULL else <uint32_t>data_size, version,
                        now.zxid, now.time_ms)
    write_end(a, session, entry, now)
    if err:
        outbox_result(out, entry, now.zxid, err)
        return err
    announce(out, EVENT_DATA_CHANGED, now, path, path_size)
    answer(a, out, entry, now, path, path_size, False, True)
    return ERR_OK


cdef int sync(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef int32_t path_size = 0
    cdef const char *path = jute_bytes(&r, &path_size)
    if r.failed:
        return fail(a, out, session, entry, now, ERR_MARSHALLING)
    arena_write_begin(a)
    write_end(a, session, entry, now)
    answer(a, out, entry, now, path, path_size, True, False)
    return ERR_OK


cdef void answer(arena_t *a, outbox_t *out, const entry_t *entry, const moment_t *now, const char *path,
                 int32_t path_size, bint has_path, bint has_stat) noexcept nogil:
    """The result of a write that succeeded, with the path and the Stat of its znode as asked."""
    cdef buffer_t *items = outbox_of(out, entry)
    cdef const znode_t *znode
    cdef size_t place
    if items is NULL:
        return
    place = answer_open(items, ITEM_RESULT, now.zxid, entry, ERR_OK)
    if has_path:
        buffer_be32(items, <uint32_t>path_size)     # null is size -1
        if path_size > 0:
            buffer_append(items, path, path_size)
    if has_stat:
        znode = tree_see(a, tree_find(a, path, path_size))
        FZ_ASSERT(znode is not NULL)
        tree_stat(znode, items)
    item_close(items, place)
