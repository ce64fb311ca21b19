"""One operation that changes the tree, from its bytes to its result: what its stages hand to each other.

    take      bytes -> operation_t; nothing is looked at but the bytes
    judge     may it be done?  An error code; ref, parent, made are found on the way.  Changes nothing
    perform   it is done, its CHANGE items are put out, its reply's body is appended

A single write is judged before arena_write_begin; the operations of a multi are judged and performed in turn within one
write, so that each sees what those before it did."""

from fastzk._core.acl cimport caller_t
from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.jute cimport jute_t
from fastzk._core.layout cimport buffer_t, entry_t, ref_t
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef enum:
    MADE_SIZE_MAX = 4096        # PATH_SIZE_MAX: the longest path that a create can make


ctypedef struct moment_t:       # when an entry is applied
    uint64_t zxid
    uint64_t index
    int64_t time_ms


ctypedef struct operation_t:
    int32_t op                  # OPCODE_*
    const char *path            # lent from the body; NULL is null
    int32_t path_size
    const char *data            # likewise
    uint32_t data_size          # NULL_DATA when it is null
    int32_t version             # expected; of the ACL for setACL
    int32_t flags               # of a create
    int64_t ttl                 # of a create; -1 when none was given
    int acl_err                 # what acl_take said of the vector, which is in scratch.acl
    ref_t ref                   # found by judge: the znode; of a create its parent


ctypedef struct scratch_t:
    buffer_t acl                # the vector of the operation at hand, without duplicates
    buffer_t body               # of the reply
    uint64_t soft_breaches      # writes that went beyond a quota that only warns
    uint32_t made_size
    char made[MADE_SIZE_MAX]    # the path that a create makes


# The stages of one operation: of creates, delete 2, setData 5, setACL 7, check 13.  o.op is set by the caller.
cdef void operation_take(jute_t *r, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil
cdef int operation_judge(arena_t *a, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil
# Errors: SystemError when the arena is full.  `reply` may be NULL: nobody waits for it.
cdef int operation_perform(arena_t *a, outbox_t *out, operation_t *o, scratch_t *scratch, const moment_t *now,
                           uint64_t session_id, buffer_t *reply) noexcept nogil

# The ends of a write: the arena's, with the session's number moved on; a failure's as a whole; the result with this body.
cdef void write_end(arena_t *a, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil
cdef int write_fail(arena_t *a, outbox_t *out, ref_t session, const entry_t *entry, const moment_t *now,
                    int err) noexcept nogil
cdef void write_answer(outbox_t *out, const entry_t *entry, const moment_t *now, const buffer_t *body) noexcept nogil
