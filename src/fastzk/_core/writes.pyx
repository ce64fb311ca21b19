"""The operations of clients that change the tree.

    create   1, 15, 19, 21   creates.pyx
    delete 2, setData 5, setACL 7    operation.pyx
    multi    14              multi.pyx
    sync     9               string path                                        -> path
    reconfigured -17         int err: what the leader made of a reconfig                -> the data of /zookeeper/config, Stat
    identify -13             vector of Id                                       -> nothing

MarshallingError: the body is no such record (bytes behind it are ignored, as ZooKeeper does).  Unimplemented: not known.
SystemError: the arena is full, but for what it keeps in reserve.

Rule: what a request asks is judged before arena_write_begin, so that readers are disturbed only by what changes; but for
multi, whose operations see each other.
Rule: a failed write is applied too: it has a zxid, counts as its session's last write, and has a result."""

from fastzk._core.acl cimport acl_permits, caller_t
from fastzk._core.arena cimport arena_own, arena_use_reserve, arena_write_begin
from fastzk._core.codes cimport (
    ERR_MARSHALLING,
    ERR_NO_AUTH,
    ERR_OK,
    ERR_SYSTEM,
    ERR_UNIMPLEMENTED,
    OPCODE_DELETE,
    OPCODE_MULTI,
    OPCODE_SET_ACL,
    OPCODE_SET_DATA,
    OPCODE_SYNC,
    PERM_WRITE,
)
from fastzk._core.creates cimport create_is
from fastzk._core.items cimport outbox_of, outbox_result
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.layout cimport (
    FZ_ASSERT,
    OP_IDENTIFY,
    OP_RECONFIGURED,
    buffer_append,
    buffer_be32,
    buffer_clear,
    buffer_t,
    znode_t,
)
from fastzk._core.multi cimport multi_apply
from fastzk._core.operation cimport (
    operation_judge,
    operation_perform,
    operation_t,
    operation_take,
    write_answer,
    write_end,
    write_fail,
)
from fastzk._core.session_table cimport identities_are_valid, session_caller, session_identify
from fastzk._core.tree cimport tree_data, tree_find, tree_stat
from libc.stdint cimport int32_t, uint32_t


cdef int write_apply(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                     const moment_t *now) noexcept nogil:
    if create_is(entry.op) or entry.op == OPCODE_SET_DATA or entry.op == OPCODE_DELETE or entry.op == OPCODE_SET_ACL:
        return apply_one(a, out, scratch, session, entry, now)
    if entry.op == OPCODE_MULTI:
        return multi_apply(a, out, scratch, session, entry, now)
    if entry.op == OPCODE_SYNC:
        return sync(a, out, scratch, session, entry, now)
    if entry.op == OP_IDENTIFY:
        return identify(a, out, session, entry, now)
    if entry.op == OP_RECONFIGURED:
        return reconfigured(a, out, scratch, session, entry, now)
    return write_fail(a, out, session, entry, now, ERR_UNIMPLEMENTED)


cdef int apply_one(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                   const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef caller_t who = session_caller(a, session)
    cdef buffer_t *reply = NULL
    cdef operation_t o
    cdef int err
    o.op = entry.op
    operation_take(&r, &o, scratch, &who)
    if r.failed:
        return write_fail(a, out, session, entry, now, ERR_MARSHALLING)
    err = operation_judge(a, &o, scratch, &who)
    if err:
        return write_fail(a, out, session, entry, now, err)
    if outbox_of(out, entry) is not NULL:
        reply = &scratch.body
        buffer_clear(reply)
    arena_write_begin(a)
    err = operation_perform(a, out, &o, scratch, now, entry.session_id, reply)
    write_end(a, session, entry, now)
    if err:
        outbox_result(out, entry, now.zxid, err)
    elif reply is not NULL:
        write_answer(out, entry, now, reply)
    return err


cdef int reconfigured(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                      const moment_t *now) noexcept nogil:
    """The members are changed, or will not be: the client is told.  What the leader decided is not judged again."""
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef int32_t verdict = jute_int(&r)
    cdef const znode_t *znode
    cdef int err
    if r.failed or entry.body_size != sizeof(verdict):
        return write_fail(a, out, session, entry, now, ERR_MARSHALLING)
    if verdict < 0:
        return write_fail(a, out, session, entry, now, verdict)
    arena_write_begin(a)
    write_end(a, session, entry, now)
    znode = <const znode_t *>arena_own(a, config_znode(a))
    buffer_clear(&scratch.body)
    err = tree_data(a, znode, &scratch.body)
    FZ_ASSERT(err == 0)                             # we are the writer
    tree_stat(znode, &scratch.body)
    write_answer(out, entry, now, &scratch.body)
    return ERR_OK


cdef int reconfig_judge(arena_t *a, ref_t session) noexcept nogil:
    cdef caller_t who = session_caller(a, session)
    cdef const znode_t *znode = <const znode_t *>arena_own(a, config_znode(a))
    return ERR_OK if acl_permits(a, znode.acl, PERM_WRITE, &who) else ERR_NO_AUTH


cdef inline ref_t config_znode(arena_t *a) noexcept nogil:
    cdef ref_t ref = tree_find(a, b"/zookeeper/config", 17)
    FZ_ASSERT(ref != 0)                             # nobody can delete it
    return ref


cdef int sync(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
              const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef int32_t path_size = 0
    cdef const char *path = jute_bytes(&r, &path_size)
    if r.failed:
        return write_fail(a, out, session, entry, now, ERR_MARSHALLING)
    arena_write_begin(a)
    write_end(a, session, entry, now)
    buffer_clear(&scratch.body)
    buffer_be32(&scratch.body, <uint32_t>path_size)      # null is size -1
    if path_size > 0:
        buffer_append(&scratch.body, path, path_size)
    write_answer(out, entry, now, &scratch.body)
    return ERR_OK


cdef int identify(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
    """Who the session's connection is from now on."""
    cdef int err
    if not identities_are_valid(entry.body, entry.body_size):
        return write_fail(a, out, session, entry, now, ERR_MARSHALLING)
    arena_write_begin(a)
    arena_use_reserve(a)
    err = ERR_OK if session_identify(a, session, entry.body, entry.body_size) else ERR_SYSTEM
    write_end(a, session, entry, now)
    outbox_result(out, entry, now.zxid, err)
    return err
