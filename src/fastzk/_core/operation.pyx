"""One operation that changes the tree, in the stages that operation.pxd tells; and how a write ends.

    delete   2               string path, int version                           -> nothing
    setData  5               string path, buffer data, int version              -> Stat
    setACL   7               string path, vector acl, int aversion              -> Stat
    check    13              string path, int version                           -> nothing

Errors, in ZooKeeper's order (PrepRequestProcessor); the creates have theirs in creates.pyx:

    delete   MarshallingError (path is null), BadArguments (no slash, NUL, too long, one of ZooKeeper's own znodes),
             NoNode (parent), NoAuth (DELETE on the parent), NoNode, BadVersion, NotEmpty
    setData  BadArguments (path, null too), NoNode, NoAuth (WRITE), QuotaExceeded, BadVersion
    setACL   BadArguments (path, null too), InvalidACL, NoNode, NoAuth (ADMIN), BadVersion
    check    BadArguments (path), NoNode, NoAuth (READ), BadVersion"""

from fastzk._core.acl cimport acl_permits, acl_take
from fastzk._core.acl_table cimport acl_intern
from fastzk._core.arena cimport arena_change, arena_own, arena_use_reserve, arena_write_begin, arena_write_end
from fastzk._core.changes cimport change_data, change_delete
from fastzk._core.codes cimport (
    ERR_BAD_ARGUMENTS,
    ERR_BAD_VERSION,
    ERR_MARSHALLING,
    ERR_NO_AUTH,
    ERR_NO_NODE,
    ERR_OK,
    ERR_SYSTEM,
    OPCODE_DELETE,
    OPCODE_SET_ACL,
    OPCODE_SET_DATA,
    PERM_ADMIN,
    PERM_DELETE,
    PERM_READ,
    PERM_WRITE,
)
from fastzk._core.creates cimport create_is, create_judge, create_perform, create_take
from fastzk._core.items cimport answer_open, item_close, outbox_of, outbox_result
from fastzk._core.jute cimport jute_bytes, jute_int
from fastzk._core.layout cimport FZ_ASSERT, ITEM_RESULT, NULL_DATA, buffer_append, session_t, znode_t
from fastzk._core.paths cimport path_is_valid, path_last_slash, path_parent_size
from fastzk._core.quota cimport quota_judge
from fastzk._core.room cimport room_is_left
from fastzk._core.tree cimport tree_find, tree_judge_delete, tree_set_acl, tree_stat
from libc.string cimport memcmp


cdef void operation_take(jute_t *r, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil:
    cdef int32_t data_size = 0
    if create_is(o.op):
        create_take(r, o, scratch, who)
        return
    o.path = jute_bytes(r, &o.path_size)
    if o.op == OPCODE_SET_DATA:
        o.data = jute_bytes(r, &data_size)
        o.data_size = NULL_DATA if o.data is NULL else <uint32_t>data_size
    elif o.op == OPCODE_SET_ACL:
        o.acl_err = acl_take(r, &scratch.acl, who)
    o.version = jute_int(r)


cdef int operation_judge(arena_t *a, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil:
    if create_is(o.op):
        return create_judge(a, o, scratch, who)
    if o.op == OPCODE_DELETE:
        return judge_delete(a, o, who)
    if o.op == OPCODE_SET_DATA:
        return judge_set_data(a, o, scratch, who)
    if o.op == OPCODE_SET_ACL:
        return judge_set_acl(a, o, who)
    return judge_check(a, o, who)


cdef int operation_perform(arena_t *a, outbox_t *out, operation_t *o, scratch_t *scratch, const moment_t *now,
                           uint64_t session_id, buffer_t *reply) noexcept nogil:
    cdef int err = perform(a, out, o, scratch, now, session_id, reply)
    FZ_ASSERT(err != ERR_SYSTEM)                    # there was room by what the tree holds: the heap is in pieces (room.pxd)
    return err


cdef int perform(arena_t *a, outbox_t *out, operation_t *o, scratch_t *scratch, const moment_t *now,
                 uint64_t session_id, buffer_t *reply) noexcept nogil:
    cdef ref_t acl
    if create_is(o.op):
        return create_perform(a, out, o, scratch, now, session_id, reply)
    if o.op == OPCODE_SET_DATA:
        return change_data(a, out, now, o.ref, o.data, o.data_size, reply)
    if o.op == OPCODE_DELETE:
        arena_use_reserve(a)                        # a full arena must be let go of
        change_delete(a, out, now, o.ref)
    elif o.op == OPCODE_SET_ACL:
        acl = acl_intern(a, scratch.acl.data, <uint32_t>scratch.acl.size)
        if acl == 0:
            return ERR_SYSTEM
        tree_set_acl(a, o.ref, acl)                 # watches hear nothing of it
        if reply is not NULL:
            tree_stat(<const znode_t *>arena_own(a, o.ref), reply)
    return ERR_OK


cdef int judge_delete(arena_t *a, operation_t *o, const caller_t *who) noexcept nogil:
    cdef int32_t slash
    cdef ref_t parent
    if o.path is NULL:
        return ERR_MARSHALLING
    slash = path_last_slash(o.path, o.path_size)
    if slash < 0 or is_own(o.path, o.path_size):
        return ERR_BAD_ARGUMENTS
    parent = tree_find(a, o.path, path_parent_size(slash)) if slash else a.header.root
    if parent == 0:
        return ERR_NO_NODE
    if not acl_permits(a, (<const znode_t *>arena_own(a, parent)).acl, PERM_DELETE, who):
        return ERR_NO_AUTH
    o.ref = tree_find(a, o.path, <uint32_t>o.path_size)
    return tree_judge_delete(a, o.ref, o.version) if o.ref else ERR_NO_NODE


cdef bint is_own(const char *path, int32_t size) noexcept nogil:
    """True for the znodes that are the service's own and stay."""
    if size == 1:
        return path[0] == c'/'
    if size == 10:
        return memcmp(path, b"/zookeeper", 10) == 0
    if size == 16:
        return memcmp(path, b"/zookeeper/quota", 16) == 0
    return size == 17 and memcmp(path, b"/zookeeper/config", 17) == 0


cdef int judge_set_data(arena_t *a, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil:
    cdef const znode_t *znode
    cdef int64_t before
    cdef int err = find_permitted(a, o, PERM_WRITE, who)
    if err:
        return err
    znode = <const znode_t *>arena_own(a, o.ref)
    before = 0 if znode.data_size == NULL_DATA else znode.data_size
    if o.data is not NULL and o.data_size > before and not room_is_left(a, o.data_size - before):
        return ERR_SYSTEM
    if a.header.quota_count:
        err = quota_judge(a, o.path, <uint32_t>o.path_size, 0, (0 if o.data is NULL else <int64_t>o.data_size) - before,
                          &scratch.soft_breaches)
        if err:
            return err
    return ERR_BAD_VERSION if o.version != -1 and o.version != znode.version else ERR_OK


cdef int judge_set_acl(arena_t *a, operation_t *o, const caller_t *who) noexcept nogil:
    cdef int err
    if o.path is NULL or not path_is_valid(o.path, o.path_size, False):
        return ERR_BAD_ARGUMENTS
    if o.acl_err:
        return o.acl_err
    err = find_permitted(a, o, PERM_ADMIN, who)
    if err:
        return err
    if o.version != -1 and o.version != (<const znode_t *>arena_own(a, o.ref)).aversion:
        return ERR_BAD_VERSION
    return ERR_OK


cdef int judge_check(arena_t *a, operation_t *o, const caller_t *who) noexcept nogil:
    cdef int err = find_permitted(a, o, PERM_READ, who)
    if err:
        return err
    if o.version != -1 and o.version != (<const znode_t *>arena_own(a, o.ref)).version:
        return ERR_BAD_VERSION
    return ERR_OK


cdef inline int find_permitted(arena_t *a, operation_t *o, int32_t perm, const caller_t *who) noexcept nogil:
    """Finds the znode of a path, if the path is one and the caller may; else gives BadArguments, NoNode or NoAuth."""
    if o.path is NULL or not path_is_valid(o.path, o.path_size, False):
        return ERR_BAD_ARGUMENTS
    o.ref = tree_find(a, o.path, <uint32_t>o.path_size)
    if o.ref == 0:
        return ERR_NO_NODE
    return ERR_OK if acl_permits(a, (<const znode_t *>arena_own(a, o.ref)).acl, perm, who) else ERR_NO_AUTH


cdef void write_end(arena_t *a, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef session_t *changed = <session_t *>arena_change(a, session, sizeof(session_t))
    changed.last_serial = entry.serial
    arena_write_end(a, now.zxid, now.index, now.time_ms)


cdef int write_fail(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now,
                    int err) noexcept nogil:
    """Applies a write that was judged to fail."""
    arena_write_begin(a)
    write_end(a, session, entry, now)
    outbox_result(out, entry, now.zxid, err)
    return err


cdef void write_answer(outbox_t *out, const entry_t *entry, const moment_t *now, const buffer_t *body) noexcept nogil:
    cdef buffer_t *items = outbox_of(out, entry)
    cdef size_t place
    if items is NULL:
        return
    place = answer_open(items, ITEM_RESULT, now.zxid, entry, ERR_OK)
    buffer_append(items, body.data, body.size)
    item_close(items, place)
