"""The worker's loop: one wait for epoll and libzmq, bytes in and out, no Python per request and no decisions.

One turn, in this order, since a commit may answer what a client would otherwise wait for:
    wait -> the engine's messages -> clients' bytes (TCP, then ZeroMQ) -> new connections
         -> entries for the engine -> bytes for clients, and what is to be closed
Rule: what a turn leaves over (a limit was reached, a socket of ZeroMQ has more) makes the next one not wait.
Rule: every source has a limit per turn, and every connection one receive, so that none starves another."""

cimport cython
from fastzk._core.serve cimport Server, connection_t
from fastzk.transport._libzmq cimport zmq_msg_t
from fastzk.transport._link cimport EngineLink
from fastzk.transport._linux cimport sockaddr_storage
from fastzk.transport._routes cimport routes_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef enum:
    # What turn() asks of Python.
    TURN_STATUS = 1             # the engine's status has changed
    TURN_WORDS = 2              # four-letter words are to be answered
    TURN_WOKEN = 4              # something was written to the wake descriptor: a signal has arrived
    TURN_CREDENTIALS = 8        # credentials are to be judged

    # Limits of one turn, and why.
    EVENTS_MAX = 512            # ready connections: bounds the time until the engine is heard again
    ACCEPTS_MAX = 64            # a storm of connections must not hold up those that are there
    MESSAGES_MAX = 1024         # of one ZeroMQ socket
    MESSAGE_BYTES_MAX = 4 << 20  # of one ZeroMQ socket, counted until exceeded
    FLUSHES_MAX = 65536         # connections sent to
    SCRATCH_BYTES = 256 << 10   # one receive: a pipelining client fills it, and it stays in the processor's cache
    # Other limits.
    LINK_BYTES_MAX = 1 << 20    # of entries in one message to the engine, unless one entry is larger
    BLOCKED_RETRY_MS = 5        # how often a ZeroMQ peer without room is tried again
    DEFER_MS = 2                # how long a new connection is left to workers with fewer; one that is dead takes none
    LIVING_MS = 2000            # a worker makes a turn every second, so one without a turn for so long takes none either

    PEER_NONE = 0
    PEER_TCP = 1
    PEER_NATIVE = 2


# The transport's half of a connection; the index is the Server's slot.
ctypedef struct peer_t:
    uint8_t kind                # PEER_*
    uint8_t has_ended           # its side has said that nothing more will come; answers may still go out
    uint8_t is_blocked          # its last send found no room: wait for EPOLLOUT, or try again later
    uint32_t interest           # TCP: what epoll is asked for
    int fd                      # TCP: its socket; native: libzmq's descriptor it speaks over, only compared
    uint32_t routing_id         # native: libzmq's own number of it
    uint64_t stalled_serial     # answered_serial when it was last seen to change
    uint64_t stalled_since_ms   # when that was; 0 = nothing unanswered


# Positions in a worker's slot of the stats page; STAT_NAMES in _loop.pyx names them.
cdef enum:
    STAT_HEARTBEAT_MS = 0       # monotonic, of the last turn; 0 = no worker is here
    STAT_TURNS
    STAT_CONNECTIONS            # now, of both kinds
    STAT_NATIVE_CONNECTIONS
    STAT_ACCEPTED
    STAT_REFUSED                # connections for which there was no room
    STAT_DROPPED                # connections that ended, for whatever reason
    STAT_BYTES_RECEIVED
    STAT_BYTES_SENT
    STAT_COMMITS                # batches
    STAT_ENTRIES                # writes and handed-over reads, each time they were sent
    STAT_RESENDS
    STAT_WATCHES                # now
    STAT_RECEIVED               # requests
    STAT_SENT                   # replies and events
    STAT_OUTSTANDING            # writes without an answer, now
    STAT_LATENCY_COUNT
    STAT_LATENCY_MS_TOTAL
    STAT_LATENCY_MS_MIN
    STAT_LATENCY_MS_MAX
    STAT_COUNT

    STAT_SLOT = 64              # counters from one worker's slot to the next


@cython.final
cdef class Loop:
    cdef Server server
    cdef EngineLink link
    cdef object _router         # pyzmq's sockets, kept alive
    cdef object _stats
    cdef uint64_t *stats        # this worker's slot of the stats page
    cdef uint64_t *page         # the first worker's
    cdef Py_ssize_t page_slots
    cdef int epoll_fd
    cdef int listen_fd
    cdef int gate_fd            # the node's own gate (TLS) connects here; -1 = there is none
    cdef int wake_fd
    cdef bint is_listening      # listen_fd and gate_fd are in epoll
    cdef uint64_t deferred_until_ms     # new connections are left to other workers; 0 = they are not
    cdef bint has_deferred      # ... and have been, so the next one is taken
    cdef bint wants_listening   # ... and should be; they differ while the process is out of descriptors
    cdef void *router
    cdef bint is_router_ready   # may hold messages
    cdef bint is_engine_ready
    cdef bint is_left_over      # do not wait in the next turn
    cdef char *scratch
    cdef void *events
    cdef uint64_t now_ms        # monotonic, as of this turn
    cdef int flags              # TURN_*, of this turn

    cdef peer_t *peers
    cdef int32_t peer_capacity
    cdef int32_t peer_top       # slots at and above were never used
    cdef routes_t routes        # slot by routing id
    cdef int32_t *blocked       # native slots to try again
    cdef int32_t blocked_count
    cdef int32_t blocked_capacity
    cdef uint64_t blocked_tried_ms

    cdef void run_turn(self, int timeout_ms) noexcept nogil
    cdef int watch_fd(self, int fd, int tag) except -1
    cdef void take_events(self, int count) noexcept nogil
    # Clients over TCP.
    cdef void accept_some(self, int listener) noexcept nogil
    cdef bint is_ahead(self) noexcept nogil
    cdef void add_tcp(self, int fd, int wire, const sockaddr_storage *address) noexcept nogil
    cdef void take_tcp(self, int32_t slot, uint32_t events) noexcept nogil
    cdef void flush_tcp(self, int32_t slot, peer_t *peer, connection_t *conn) noexcept nogil
    cdef void watch_tcp(self, int32_t slot, peer_t *peer, connection_t *conn) noexcept nogil
    # Clients over ZeroMQ.
    cdef void hear_router(self) noexcept nogil
    cdef void take_native(self, zmq_msg_t *name, zmq_msg_t *payload) noexcept nogil
    cdef void flush_native(self, int32_t slot, peer_t *peer, connection_t *conn) noexcept nogil
    cdef void say_goodbye(self, uint32_t routing_id) noexcept nogil
    cdef void add_blocked(self, int32_t slot) noexcept nogil
    cdef void retry_blocked(self) noexcept nogil
    # Both.
    cdef peer_t *add_peer(self, int32_t slot) noexcept nogil
    cdef void flush(self, int32_t slot) noexcept nogil
    cdef void flush_dirty(self) noexcept nogil
    cdef void drop(self, int32_t slot) noexcept nogil
    cdef int set_listening(self, bint wanted) noexcept nogil
    cdef bint has_stalled(self) noexcept nogil
    cdef void publish(self) noexcept nogil
