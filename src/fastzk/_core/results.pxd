"""The results of a session's last writes: what makes a write that is asked again, over another connection, harmless (Z10).

A session that wants it (a native client's) has a ring of its last RESULTS_MAX results in the arena, the same on all nodes.  A
client that lost its connection sends every unanswered request again, under its old xid; a write whose xid is in the
ring is answered from there and not done again.  Its client keeps no more writes under way than the ring holds."""

from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport ref_t, result_t
from libc.stdint cimport int32_t, uint32_t


cdef enum:
    RESULT_BODY_MAX = 16384     # a longer reply is forgotten: asked again, it fails with ConnectionLoss


# Begins to remember, with the session.  False: the arena is full.
cdef bint results_begin(arena_t *a, ref_t session) noexcept nogil
# Forgets all and stops; also before a session is removed.
cdef void results_end(arena_t *a, ref_t session) noexcept nogil
# Keeps a result, in place of the oldest.  One that there is no room for is kept as a failure, ConnectionLoss.
cdef void results_keep(arena_t *a, ref_t session, int32_t cxid, int32_t err, const char *body, uint32_t size) noexcept nogil
# The result of that request, lent; NULL when it is not known, or the session's results are not remembered.
cdef const result_t *results_find(arena_t *a, ref_t session, int32_t cxid) noexcept nogil
# The body of a result, lent; NULL when it has none.
cdef const char *results_body(arena_t *a, const result_t *result) noexcept nogil
