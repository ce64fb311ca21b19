"""multi 14: several operations that are done all or none, at one zxid."""

from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.layout cimport entry_t, ref_t
from fastzk._core.operation cimport moment_t, scratch_t


# Applies a multi of a session whose turn it is, as write_apply does any other write.
cdef int multi_apply(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                     const moment_t *now) noexcept nogil
