"""How a connection comes in: through the gate, with a four-letter word, with a new session or one it had."""

from fastzk._core.connection cimport connection_t
from fastzk._core.handshake cimport handshake_t
from fastzk._core.layout cimport item_t
from fastzk._core.slots cimport Slots
from libc.stdint cimport int32_t, uint64_t


cdef class Entrance(Slots):
    # Each looks at what stands first in a NEW connection's input.
    cdef bint first_bytes(self, connection_t *c, int32_t slot, const char *data) noexcept nogil
    cdef void introduce(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    cdef bint handshake(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    # A session that only this worker knows, and its way into the log.
    cdef bint begin_local(self, connection_t *c, int32_t slot, const handshake_t *said) noexcept nogil
    cdef void upgrade(self, connection_t *c, int32_t slot) noexcept nogil
    # The result of a create or attach.
    cdef void take_established(self, connection_t *c, int32_t slot, const item_t *item, const char *body) noexcept nogil

    cdef bint was_local(self, uint64_t session_id) noexcept nogil
    cdef void begin_session(self, connection_t *c, int32_t slot, const handshake_t *said) noexcept nogil
