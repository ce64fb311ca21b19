"""The creates of clients: create 1, create2 15, createContainer 19, createTTL 21.

    string path | buffer data | vector acl | int flags | long ttl (createTTL only)       -> path, and but for create the Stat

    flags     0 persistent, 1 ephemeral, 2 sequential, 3 both, 4 container, 5 TTL, 6 sequential TTL
    19        a container whatever the flags 0 to 4 say; 2 and 3 make it sequential
    21        5 and 6 only, with a ttl of 1 to 2^40 - 1 ms
    1, 15     0 to 3; with 4, as in ZooKeeper, a plain persistent znode
    in multi  1 and 15 with 4 become 19; 21 with 0 to 3 becomes 1, with 4 it becomes 19

Stored as ephemeral owner: a session's id, a container's mark 1 << 63, a TTL's 0xff << 56 | ttl; none of the marks is shown.

Errors, in ZooKeeper's order: BadArguments (flags, ttl), MarshallingError (path is null), BadArguments (no slash, NUL, too
long), InvalidACL, NoNode (parent), NoAuth (CREATE on the parent), BadArguments (path), NoChildrenForEphemerals, NodeExists,
QuotaExceeded."""

from fastzk._core.acl cimport acl_permits, acl_take
from fastzk._core.acl_table cimport acl_intern, acl_release
from fastzk._core.arena cimport arena_own
from fastzk._core.changes cimport change_create
from fastzk._core.codes cimport (
    CREATE_CONTAINER,
    CREATE_EPHEMERAL,
    CREATE_PERSISTENT_SEQUENTIAL_WITH_TTL,
    CREATE_PERSISTENT_WITH_TTL,
    CREATE_SEQUENTIAL,
    ERR_BAD_ARGUMENTS,
    ERR_MARSHALLING,
    ERR_NODE_EXISTS,
    ERR_NO_AUTH,
    ERR_NO_NODE,
    ERR_OK,
    ERR_SYSTEM,
    OPCODE_CREATE,
    OPCODE_CREATE2,
    OPCODE_CREATE_CONTAINER,
    OPCODE_CREATE_TTL,
    PERM_CREATE,
)
from fastzk._core.jute cimport jute_bytes, jute_int, jute_long
from fastzk._core.layout cimport NULL_DATA, buffer_append, buffer_be32, ref_t, znode_t
from fastzk._core.paths cimport path_is_valid, path_last_slash
from fastzk._core.quota cimport quota_judge
from fastzk._core.tree cimport tree_judge_create, tree_parent
from fastzk._core.room cimport room_is_left
from libc.stdint cimport int64_t, uint32_t


cdef uint64_t CONTAINER_OWNER = <uint64_t>1 << 63
cdef uint64_t TTL_OWNER = <uint64_t>0xff << 56
cdef int64_t TTL_MAX = (<int64_t>1 << 40) - 1


cdef bint create_is(int32_t op) noexcept nogil:
    return op == OPCODE_CREATE or op == OPCODE_CREATE2 or op == OPCODE_CREATE_CONTAINER or op == OPCODE_CREATE_TTL


cdef void create_take(jute_t *r, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil:
    cdef int32_t data_size = 0
    o.path = jute_bytes(r, &o.path_size)
    o.data = jute_bytes(r, &data_size)
    o.data_size = NULL_DATA if o.data is NULL else <uint32_t>data_size
    o.acl_err = acl_take(r, &scratch.acl, who)
    o.flags = jute_int(r)
    o.ttl = jute_long(r) if o.op == OPCODE_CREATE_TTL else -1


cdef inline bint has_ttl(int32_t flags) noexcept nogil:
    return flags == CREATE_PERSISTENT_WITH_TTL or flags == CREATE_PERSISTENT_SEQUENTIAL_WITH_TTL


cdef inline bint is_sequential(int32_t flags) noexcept nogil:
    return flags & CREATE_SEQUENTIAL != 0           # 2, 3 and 6 have the bit


cdef bint create_settle_in_multi(operation_t *o) noexcept nogil:
    if o.op != OPCODE_CREATE_TTL:
        if o.flags < 0 or o.flags > CREATE_CONTAINER:
            return False
    elif not has_ttl(o.flags):
        o.op = OPCODE_CREATE
        o.ttl = -1
    if o.flags == CREATE_CONTAINER:
        o.op = OPCODE_CREATE_CONTAINER
    return True


cdef int create_judge(arena_t *a, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil:
    cdef int32_t slash
    cdef int err
    if o.flags < 0 or o.flags > CREATE_PERSISTENT_SEQUENTIAL_WITH_TTL:
        return ERR_BAD_ARGUMENTS
    if has_ttl(o.flags):
        if not 1 <= o.ttl <= TTL_MAX:
            return ERR_BAD_ARGUMENTS
    elif o.op == OPCODE_CREATE_TTL:
        return ERR_BAD_ARGUMENTS
    if o.path is NULL:
        return ERR_MARSHALLING
    slash = path_last_slash(o.path, o.path_size)
    if slash < 0:
        return ERR_BAD_ARGUMENTS
    if o.acl_err:
        return o.acl_err
    o.ref = tree_parent(a, o.path, <uint32_t>o.path_size) if slash else a.header.root
    if o.ref == 0:
        return ERR_NO_NODE
    if not acl_permits(a, (<const znode_t *>arena_own(a, o.ref)).acl, PERM_CREATE, who):
        return ERR_NO_AUTH
    if not path_is_valid(o.path, o.path_size, is_sequential(o.flags)):
        return ERR_BAD_ARGUMENTS
    if o.path_size == 1 and not is_sequential(o.flags):
        return ERR_NODE_EXISTS                      # the root has no name, and is always there
    err = tree_judge_create(a, o.ref, o.path, <uint32_t>o.path_size, o.data_size, is_sequential(o.flags), scratch.made,
                            &scratch.made_size)
    if err == ERR_OK and not room_is_left(a, <uint64_t>scratch.made_size + (0 if o.data is NULL else o.data_size)):
        err = ERR_SYSTEM
    if err == ERR_OK and a.header.quota_count:
        err = quota_judge(a, scratch.made, scratch.made_size, 1, 0 if o.data is NULL else o.data_size,
                          &scratch.soft_breaches)
    return err


cdef inline uint64_t owner_of(const operation_t *o, uint64_t session_id) noexcept nogil:
    if o.op == OPCODE_CREATE_CONTAINER:
        return CONTAINER_OWNER
    if o.op == OPCODE_CREATE_TTL:
        return TTL_OWNER | <uint64_t>o.ttl
    return session_id if o.flags & CREATE_EPHEMERAL else 0


cdef int create_perform(arena_t *a, outbox_t *out, operation_t *o, scratch_t *scratch, const moment_t *now,
                        uint64_t session_id, buffer_t *reply) noexcept nogil:
    cdef ref_t acl = acl_intern(a, scratch.acl.data, <uint32_t>scratch.acl.size)
    cdef int err
    if acl == 0:
        return ERR_SYSTEM
    if reply is not NULL:
        buffer_be32(reply, scratch.made_size)
        buffer_append(reply, scratch.made, scratch.made_size)
    err = change_create(a, out, now, o.ref, scratch.made, scratch.made_size, o.data, o.data_size, acl,
                        owner_of(o, session_id), NULL if o.op == OPCODE_CREATE else reply)
    if err:
        acl_release(a, acl)
    return err
