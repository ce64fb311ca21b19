"""The slots of a worker's connections and the lists they stand in: the ground that serve.pyx stands on."""

from fastzk._core.addresses cimport addresses_t
from fastzk._core.arena cimport Arena
from fastzk._core.connection cimport (
    CONNECTION_CLOSING, CONNECTION_FREE, CONNECTION_NEW, CONNECTION_OPEN, CONNECTION_WAITING, WIRE_GATE, WIRE_NATIVE,
    WIRE_TCP, connection_t)
from fastzk._core.layout cimport buffer_t, entry_t
from fastzk._core.watches cimport watches_t
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t


cdef enum:
    BACKLOG_PAUSE = 256 << 10   # with so much unsent a connection is not read from: it asks faster than it listens


ctypedef struct latency_t:
    uint64_t count
    uint64_t total_ms
    uint64_t min_ms
    uint64_t max_ms


cdef class Slots:
    cdef Arena arena
    cdef watches_t *watches
    cdef buffer_t writes        # entries for the engine, since taken last; in order
    cdef uint32_t writes_count
    cdef buffer_t reads         # reads handed over to the engine, since taken last
    cdef uint32_t reads_count
    cdef uint64_t handled_zxid  # the commit batches up to here are handled
    cdef public bint is_serving     # False: no session begins here; four-letter words are still heard

    cdef bint is_read_only      # while not serving: sessions that only read may begin here

    cdef readonly uint16_t node_id
    cdef readonly uint16_t worker
    cdef readonly uint64_t incarnation
    cdef uint32_t timeout_ms_min
    cdef uint32_t timeout_ms_max
    cdef size_t frame_max
    cdef size_t output_max
    cdef size_t unanswered_max
    cdef uint32_t per_address_max   # connections of one address; 0 = any number
    cdef bint has_local_sessions    # new sessions are not in the log until they write
    cdef bint may_upgrade           # ... and may then have ephemerals
    cdef addresses_t addresses
    cdef connection_t *connections
    cdef int32_t connections_max
    cdef int32_t slots_used         # slots at and above were never opened
    cdef int32_t first_free
    cdef int32_t first_dirty
    cdef int32_t last_dirty
    cdef int32_t first_held
    cdef int32_t first_ready
    cdef int32_t last_ready
    cdef int32_t first_starved
    cdef int32_t last_starved
    cdef int32_t *sessions          # first slot of each bucket
    cdef uint64_t sessions_mask
    cdef uint64_t table_seed
    cdef buffer_t unanswered        # the ring
    cdef size_t unanswered_compact  # compact the ring when it has grown to this
    cdef buffer_t entropy           # random bytes
    cdef buffer_t answer            # body of what is being answered or told
    cdef buffer_t event             # one that is replayed
    cdef buffer_t touched           # slots heard since the last take_touched()
    cdef buffer_t spoken            # slots whose four-letter word waits
    cdef buffer_t accused           # slots whose credentials wait for a judgement
    cdef uint64_t lives             # connections that were ever opened
    cdef uint64_t next_session_id
    cdef uint64_t next_read_serial
    cdef uint64_t now_ms
    cdef uint64_t connection_count
    cdef uint64_t received          # requests
    cdef uint64_t replied           # replies and events
    cdef uint64_t outstanding       # writes passed on and not answered
    cdef latency_t latency          # of writes

    # The transport's side.  now_ms is monotonic.
    # A slot, or -1: no room for more, or none for more from there.  address: the textual IP, size 0 when it is not known.
    cdef int32_t open(self, int wire, uint64_t now_ms, const char *address, uint32_t size, uint16_t port) noexcept nogil
    cdef void close(self, int32_t slot) noexcept nogil                     # the transport lost it or closed it
    cdef connection_t *at(self, int32_t slot) noexcept nogil
    cdef int32_t next_dirty(self) noexcept nogil                           # takes a slot off the dirty list, or -1
    # The engine's side: a new round; every unanswered write again.
    cdef void resend(self) noexcept nogil

    # What a connection is sent, and its end.
    cdef bint name(self, connection_t *c, const char *address, uint32_t size, uint16_t port) noexcept nogil
    cdef void answer_now(self, connection_t *c, int32_t slot, int32_t xid, int32_t err) noexcept nogil
    cdef void put_answer(self, connection_t *c, int32_t slot, uint64_t handled, int32_t xid, uint64_t zxid, int32_t err,
                         const char *body, size_t size) noexcept nogil
    cdef void put_shown(self, connection_t *c, int32_t slot, uint64_t handled, int32_t xid, uint64_t zxid, uint64_t shown_zxid,
                        int32_t err, const char *body, size_t size) noexcept nogil
    cdef uint64_t present_zxid(self, const connection_t *c) noexcept nogil
    cdef void list_held(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void put_entry(self, connection_t *c, int32_t slot, int32_t op, int32_t cxid, uint64_t serial, const char *body,
                        size_t size) noexcept nogil
    cdef void pass_on(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil
    cdef void settle(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void end(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void abort(self, connection_t *c, int32_t slot) noexcept nogil
    # Lists.
    cdef void mark_dirty(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void mark_ready(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void mark_starved(self, connection_t *c, int32_t slot) noexcept nogil
    # Sessions and the ring.
    cdef uint64_t make_session_id(self) noexcept nogil
    cdef int32_t *session_bucket(self, uint64_t session_id) noexcept nogil
    cdef void join_session(self, connection_t *c, int32_t slot, uint64_t session_id) noexcept nogil
    cdef bint has_session(self, uint64_t session_id) noexcept nogil
    cdef void leave_session(self, connection_t *c, int32_t slot) noexcept nogil
    cdef bint is_unanswered(self, const entry_t *entry) noexcept nogil
    cdef void prune(self) noexcept nogil
    cdef connection_t *checked(self, int32_t slot) except NULL
