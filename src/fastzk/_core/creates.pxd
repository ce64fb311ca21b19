"""The creates of clients: create 1, create2 15, createContainer 19, createTTL 21."""

from fastzk._core.acl cimport caller_t
from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.jute cimport jute_t
from fastzk._core.layout cimport buffer_t
from fastzk._core.operation cimport moment_t, operation_t, scratch_t
from libc.stdint cimport int32_t, uint64_t


cdef bint create_is(int32_t op) noexcept nogil
# The stages of operation.pxd.  `reply` may be NULL: nobody waits for it.
cdef void create_take(jute_t *r, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil
cdef int create_judge(arena_t *a, operation_t *o, scratch_t *scratch, const caller_t *who) noexcept nogil
cdef int create_perform(arena_t *a, outbox_t *out, operation_t *o, scratch_t *scratch, const moment_t *now,
                        uint64_t session_id, buffer_t *reply) noexcept nogil
# What ZooKeeper's multi makes of a create: the flags decide more than the operation.  False: it refuses the whole multi.
cdef bint create_settle_in_multi(operation_t *o) noexcept nogil
