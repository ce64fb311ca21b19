"""multi 14: several operations that are done all or none, at one zxid.

    request   { int op | bool done = 0 | int err | record of the operation } ... | int -1 | bool done = 1 | int -1
    result    { int op | 0 | int 0 | its reply } ... | -1 | 1 | -1          all were done; each create but 1 answers as 15
              { -1 | 0 | int err | int err } ...     | -1 | 1 | -1          none was: 0 for those before the one that failed,
                                                                            its own code, -2 for those behind it
    The result's own err is 0 in both cases.

Operations: create 1, create2 15, createContainer 19, createTTL 21, delete 2, setData 5, check 13.
MarshallingError, for the whole: bytes that are no such request, another operation, a path that is null, a create (not
createTTL) with flags that are none or a TTL's, or with an ACL vector that is null.

Theory of operation.  The request is read twice: first to know that its bytes are right, then each operation is judged and
performed within one write of the arena, so that it sees what those before it did.  When one fails, arena_undo_back puts
back every byte of the arena, and the outboxes are cut to where they were: a multi that failed has left nothing but its zxid.

Where ZooKeeper judges quotas by the statistics before the multi, here they too are seen as the operations before left them."""

from fastzk._core.acl cimport caller_t
from fastzk._core.arena cimport arena_undo_back, arena_undo_begin, arena_undo_end, arena_write_begin
from fastzk._core.codes cimport (
    ERR_MARSHALLING,
    ERR_OK,
    ERR_RUNTIME_INCONSISTENCY,
    OPCODE_CHECK,
    OPCODE_CREATE,
    OPCODE_CREATE2,
    OPCODE_CREATE_TTL,
    OPCODE_DELETE,
    OPCODE_SET_DATA,
)
from fastzk._core.creates cimport create_is, create_settle_in_multi
from fastzk._core.items cimport WORKERS_MAX
from fastzk._core.jute cimport jute_bool, jute_int, jute_over, jute_t
from fastzk._core.layout cimport buffer_append, buffer_be32, buffer_clear, buffer_t
from fastzk._core.operation cimport (
    operation_judge,
    operation_perform,
    operation_t,
    operation_take,
    write_answer,
    write_end,
    write_fail,
)
from fastzk._core.session_table cimport session_caller
from libc.stdint cimport int32_t, uint32_t


cdef enum:
    TERMINATOR = -1


cdef int multi_apply(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                     const moment_t *now) noexcept nogil:
    cdef caller_t who = session_caller(a, session)
    cdef size_t kept[WORKERS_MAX]
    cdef int32_t failed = -1
    cdef int32_t count
    cdef int err
    cdef int i
    count = count_operations(entry, scratch, &who)
    if count < 0:
        return write_fail(a, out, session, entry, now, ERR_MARSHALLING)
    for i in range(out.count):
        kept[i] = out.workers[i].items.size
    arena_write_begin(a)
    arena_undo_begin(a)
    err = perform_all(a, out, scratch, entry, now, &who, &failed)
    if err:
        arena_undo_back(a)
        for i in range(out.count):
            out.workers[i].items.size = kept[i]
        put_failures(&scratch.body, count, failed, err)
    else:
        arena_undo_end(a)
    put_head(&scratch.body, TERMINATOR, True, TERMINATOR)
    write_end(a, session, entry, now)
    write_answer(out, entry, now, &scratch.body)
    return ERR_OK


cdef int32_t count_operations(const entry_t *entry, scratch_t *scratch, const caller_t *who) noexcept nogil:
    """How many operations there are; -1 when ZooKeeper would not take the request."""
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef operation_t o
    cdef int32_t count = 0
    while take_next(&r, &o, scratch, who):
        count += 1
    return -1 if r.failed else count


cdef bint take_next(jute_t *r, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil:
    """Takes the next operation; False at the terminator, and when the bytes are wrong (then r.failed is set)."""
    cdef bint is_done
    o.op = jute_int(r)
    is_done = jute_bool(r)
    jute_int(r)
    if r.failed or is_done:
        return False
    if not (create_is(o.op) or o.op == OPCODE_DELETE or o.op == OPCODE_SET_DATA or o.op == OPCODE_CHECK):
        r.failed = True
        return False
    if create_is(o.op) and o.op != OPCODE_CREATE_TTL and has_null_acl(r[0]):
        r.failed = True
        return False
    operation_take(r, o, scratch, who)
    if o.path is NULL or (create_is(o.op) and not create_settle_in_multi(o)):
        r.failed = True
    return not r.failed


cdef bint has_null_acl(jute_t r) noexcept nogil:
    """True of a create's record whose ACL vector is null; the reader is a copy."""
    jute_skip(&r)
    jute_skip(&r)
    return jute_int(&r) < 0 and not r.failed


cdef inline void jute_skip(jute_t *r) noexcept nogil:
    """A string or buffer."""
    cdef int32_t size = jute_int(r)
    if size > 0 and not r.failed:
        if r.end - r.at < size:
            r.failed = True
        else:
            r.at += size


cdef int perform_all(arena_t *a, outbox_t *out, scratch_t *scratch, const entry_t *entry, const moment_t *now,
                     const caller_t *who, int32_t *failed) noexcept nogil:
    """Does one after the other and puts their results into scratch.body; stops at the first that fails."""
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef operation_t o
    cdef int32_t place = 0
    cdef int err
    buffer_clear(&scratch.body)
    while take_next(&r, &o, scratch, who):
        failed[0] = place
        err = operation_judge(a, &o, scratch, who)
        if err:
            return err
        put_head(&scratch.body, OPCODE_CREATE2 if create_is(o.op) and o.op != OPCODE_CREATE else o.op, False, ERR_OK)
        err = operation_perform(a, out, &o, scratch, now, entry.session_id, &scratch.body)
        if err:
            return err
        place += 1
    return ERR_OK


cdef void put_head(buffer_t *body, int32_t op, bint is_done, int32_t err) noexcept nogil:
    cdef char done = is_done
    buffer_be32(body, <uint32_t>op)
    buffer_append(body, &done, 1)
    buffer_be32(body, <uint32_t>err)


cdef void put_failures(buffer_t *body, int32_t count, int32_t failed, int32_t err) noexcept nogil:
    """The result of a multi whose operation `failed` gave this error."""
    cdef int32_t place
    cdef int32_t told
    buffer_clear(body)
    for place in range(count):
        told = ERR_OK if place < failed else err if place == failed else ERR_RUNTIME_INCONSISTENCY
        put_head(body, TERMINATOR, False, told)
        buffer_be32(body, <uint32_t>told)
