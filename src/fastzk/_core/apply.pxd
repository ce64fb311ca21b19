"""The apply path: blocks of committed entries change the arena, and make the items that workers are told (layout.h).

Deterministic: the same blocks give the same arena and results on every node, failures included."""

from fastzk._core.arena cimport Arena
from fastzk._core.layout cimport buffer_t, entry_t
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t


cdef struct worker_out_t:
    uint16_t worker             # its number
    buffer_t items              # what it will be told next


cdef class Machine:
    """The replicated state machine over one arena; the arena's writer."""
    cdef Arena arena
    cdef uint16_t node_id
    cdef worker_out_t outs[64]  # of the workers attached now
    cdef int out_count
    cdef list session_changes   # of created, attached and ended sessions since they were last taken

    cdef int apply_entry(self, const entry_t *entry, uint64_t zxid, uint64_t index, int64_t time_ms) noexcept nogil
