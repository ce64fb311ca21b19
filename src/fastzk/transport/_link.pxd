"""The worker's end of the link to its engine: the commit batches and the status in, entries out.  Formats: link_t in layout.h.

Rule: every message is of the engine that welcomed us and has the next number; anything else is a fault, and the worker must
end, since it can no longer know what its clients were to be told.
Rule: a new round means that writes may be lost: when there is a leader, all unanswered ones are sent again, once (Z10)."""

cimport cython
from fastzk._core.layout cimport buffer_t, status_t
from fastzk._core.serve cimport Server
from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef enum:
    FAULT_NONE = 0
    FAULT_HOLE = 1              # a message is missing, or is another engine's
    FAULT_FORM = 2              # a message makes no sense
    FAULT_SOCKET = 3            # libzmq or epoll failed

    HEARD_MESSAGES_MAX = 256    # in one turn, so that clients are heard too
    HEARD_BYTES_MAX = 4 << 20   # in one turn, counted until exceeded
    SAID_BYTES_MAX = 1 << 20    # of entries in one message, unless one entry is larger
    RESEND_MS = 2000            # a write unanswered for so long is sent again


@cython.final
cdef class EngineLink:
    cdef Server server
    cdef object _socket         # pyzmq's DEALER, kept alive
    cdef void *socket
    cdef uint16_t worker
    cdef uint64_t incarnation   # ours
    cdef uint64_t engine_incarnation
    cdef uint64_t sent_sequence     # of the last message to the engine
    cdef uint64_t heard_sequence    # of the last message from it
    cdef uint64_t round         # the newest that the engine has begun
    cdef bint has_status
    cdef bint has_news          # a status has come since this was last cleared
    cdef bint is_resend_due     # a new round waits for a leader
    cdef status_t status
    cdef buffer_t inbox         # a message whose bytes did not lie aligned
    cdef uint64_t resent_ms     # when all was last sent again
    cdef uint64_t resend_wait_ms    # RESEND_MS, doubled each time while nothing is answered
    cdef int fault              # FAULT_*; once set it stays
    cdef int fault_errno

    # Counters.
    cdef uint64_t commit_count
    cdef uint64_t entry_count
    cdef uint64_t resend_count

    cdef bint has_leader(self) noexcept nogil
    # Takes in what has come, within the limits of a turn.
    cdef void hear(self, uint64_t now_ms) noexcept nogil
    # Sends the writes and reads that the Server has gathered; what finds no room stays there.
    cdef void say(self) noexcept nogil
    # Sends every unanswered write again, unless that was done a short while ago.
    cdef void resend_stalled(self, uint64_t now_ms) noexcept nogil
    # 0, or the errno; nothing was sent then.
    cdef int put(self, uint16_t kind, uint32_t count, const void *body, size_t size) noexcept nogil

    cdef void hear_message(self, const char *data, size_t size, uint64_t now_ms) noexcept nogil
    cdef void hear_status(self, uint64_t round, const status_t *status, uint64_t now_ms) noexcept nogil
    cdef void resend(self, uint64_t now_ms) noexcept nogil
    cdef void say_entries(self, uint16_t kind, buffer_t *entries, uint32_t *count) noexcept nogil
    cdef void fail(self, int fault, int error) noexcept nogil
