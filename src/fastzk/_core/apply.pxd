"""The apply path: blocks of committed entries change the arena, and make the items that workers are told (layout.h).

Deterministic: the same blocks give the same arena and results on every node, failures included."""

from fastzk._core.arena cimport Arena, arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.layout cimport buffer_t, entry_t, ref_t
from fastzk._core.operation cimport moment_t, scratch_t
from fastzk._core.samples cimport samples_t
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t


cdef enum:
    ENTRY_IGNORED = 1           # a repeat, or behind a hole: nothing was changed and nobody is told

    JUDGED_OVER = 1             # of a reconfig: a repeat, or behind a hole: nothing is to be done, and not even logged
    JUDGED_KNOWN = 2            # it was done before over another connection: logged, it is answered with what came of it then

    SESSION_CREATED = 0
    SESSION_ATTACHED = 1
    SESSION_CLOSED = 2


cdef struct session_change_t:   # what the leader's expiry table must know
    uint64_t session_id
    uint64_t attach_zxid
    uint32_t timeout_ms
    uint32_t kind               # SESSION_*


cdef struct rejoin_t:           # a node that was not sound has seen all that it ever promised
    uint64_t nonce
    uint16_t node_id


cdef class Machine:
    """The replicated state machine over one arena; the arena's writer."""
    cdef Arena arena
    cdef outbox_t out               # what the workers attached now will be told
    cdef buffer_t session_changes   # session_change_t, since they were last taken
    cdef buffer_t rejoins           # rejoin_t, likewise
    cdef scratch_t scratch
    cdef samples_t samples

    # Applies one entry.  Gives the operation's error code (0 is OK), or ENTRY_IGNORED.
    cdef int apply_entry(self, const entry_t *entry, const moment_t *now) noexcept nogil
    cdef int apply_once(self, arena_t *a, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil
    cdef int pass_by(self, arena_t *a, const entry_t *entry, const moment_t *now, int err) noexcept nogil
    cdef int apply_rejoin(self, arena_t *a, const entry_t *entry, const moment_t *now) noexcept nogil
    cdef int place_of(self, uint16_t worker) except -1
    cdef int apply_create_session(self, arena_t *a, const entry_t *entry, const moment_t *now) noexcept nogil
    cdef int apply_attach_session(self, arena_t *a, const entry_t *entry, const moment_t *now) noexcept nogil
    cdef int apply_close_session(self, arena_t *a, ref_t session, const entry_t *entry,
                                 const moment_t *now) noexcept nogil
    cdef void session_changed(self, uint32_t kind, uint64_t session_id, uint64_t attach_zxid,
                              uint32_t timeout_ms) noexcept nogil
    cdef void answer_session(self, const entry_t *entry, const moment_t *now, uint32_t timeout_ms,
                             const char *password, bint is_remembered) noexcept nogil
    cdef void answer_read(self, buffer_t *items, const entry_t *entry) noexcept nogil
