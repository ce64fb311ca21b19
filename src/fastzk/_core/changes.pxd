"""A change of the tree with all that hangs on it: the CHANGE items for the watches, and the quota statistics."""

from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.layout cimport buffer_t, ref_t
from fastzk._core.operation cimport moment_t
from libc.stdint cimport uint32_t, uint64_t


# All within a write, of what has been judged.  With `stat` not NULL the Stat is appended to it, as it is before the quota
# statistics move (which is how ZooKeeper answers).
# Errors: SystemError when the arena is full, BadArguments, SessionExpired; then nothing was changed and nobody told.  On 0
# the znode has the caller's reference to the ACL.
cdef int change_create(arena_t *a, outbox_t *out, const moment_t *now, ref_t parent, const char *made, uint32_t made_size,
                       const char *data, uint32_t data_size, ref_t acl, uint64_t owner, buffer_t *stat) noexcept nogil
cdef int change_data(arena_t *a, outbox_t *out, const moment_t *now, ref_t ref, const char *data, uint32_t data_size,
                     buffer_t *stat) noexcept nogil
cdef void change_delete(arena_t *a, outbox_t *out, const moment_t *now, ref_t ref) noexcept nogil
