"""A worker's connections, sans-IO: bytes of clients and commit batches in, bytes for clients and entries for the engine out.

The transport (transport/_loop.pyx) moves the bytes; everything that is decided is decided here, so that it can be tested and
simulated.  A connection is a slot; both wires use it alike (a ZeroMQ message is simply more bytes of frames).

Order on a connection, which is all that Z5 and Z6 need:
  * Requests are taken one by one.  A write is passed on and the next request is looked at; a read, when writes of the same
    connection are unanswered, waits, and everything behind it: so replies leave in request order without a queue.
  * What a connection is sent is sorted by zxid, events before replies of the same zxid.  A read answered at a zxid ahead of
    the commit batches handled so far goes into `held`, as a segment with its zxid; handling a batch moves the segments
    between its items.

What the transport does with a slot that next_dirty() gives: sends from `output`, tells sent(); stops or goes on reading by
`is_paused`; when the state is CLOSING and `output` is empty it closes the connection and calls close(); when `word` is set the
worker answers the four-letter word."""

from fastzk._core.arena cimport Arena
# What a user of the server needs of a connection comes through here too.
from fastzk._core.connection cimport (
    CONNECTION_CLOSING, CONNECTION_FREE, CONNECTION_NEW, CONNECTION_OPEN, CONNECTION_WAITING, WIRE_NATIVE, WIRE_TCP,
    connection_t)
from fastzk._core.layout cimport buffer_t, entry_t, item_t
from fastzk._core.watches cimport watches_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


ctypedef struct latency_t:
    uint64_t count
    uint64_t total_ms
    uint64_t min_ms
    uint64_t max_ms


cdef class Server:
    cdef Arena arena
    cdef watches_t *watches
    cdef buffer_t writes        # entries for the engine, since taken last; in order
    cdef uint32_t writes_count
    cdef buffer_t reads         # reads handed over to the engine, since taken last
    cdef uint32_t reads_count
    cdef uint64_t handled_zxid  # the commit batches up to here are handled
    cdef public bint is_serving     # False: no session begins here; four-letter words are still heard

    # The transport's side.  now_ms is monotonic.
    cdef int32_t open(self, int wire, uint64_t now_ms) noexcept nogil                  # a slot, or -1: no room for more
    cdef void close(self, int32_t slot) noexcept nogil                                # the transport lost it or closed it
    cdef connection_t *at(self, int32_t slot) noexcept nogil
    cdef void take(self, int32_t slot, const char *data, size_t size, uint64_t now_ms) noexcept nogil   # bytes arrived
    cdef int32_t next_dirty(self) noexcept nogil                                       # takes a slot off the dirty list, or -1
    cdef void sent(self, int32_t slot, size_t size) noexcept nogil                     # so much of `output` has left
    cdef void sweep(self, uint64_t now_ms) noexcept nogil                              # once a second: what has waited too long
    # The engine's side.  False: the items make no sense and the worker must end.
    cdef bint commit(self, const char *items, size_t size, uint64_t zxid, uint64_t now_ms) noexcept nogil
    cdef void resend(self) noexcept nogil                                             # a new round: every unanswered write again

    # The rest is serve.pyx's own.
    cdef readonly uint16_t node_id
    cdef readonly uint16_t worker
    cdef readonly uint64_t incarnation
    cdef uint32_t timeout_ms_min
    cdef uint32_t timeout_ms_max
    cdef size_t frame_max
    cdef size_t output_max
    cdef size_t unanswered_max
    cdef connection_t *connections
    cdef int32_t connections_max
    cdef int32_t slots_used         # slots at and above were never opened
    cdef int32_t first_free
    cdef int32_t first_dirty
    cdef int32_t last_dirty
    cdef int32_t first_held
    cdef int32_t first_ready        # look at again: what they waited for is there
    cdef int32_t last_ready
    cdef int32_t first_starved
    cdef int32_t last_starved
    cdef int32_t *sessions          # first slot of each bucket
    cdef uint64_t sessions_mask
    cdef buffer_t unanswered        # the ring: every write and create or attach without a result yet, in order
    cdef size_t unanswered_compact  # compact the ring when it has grown to this
    cdef buffer_t entropy           # random bytes
    cdef buffer_t answer            # body of the read that is being answered
    cdef buffer_t touched           # slots heard since the last take_touched()
    cdef buffer_t asked             # slots whose four-letter word waits
    cdef uint64_t next_session_id
    cdef uint64_t table_seed
    cdef uint64_t next_read_serial
    cdef uint64_t now_ms
    cdef uint64_t connection_count
    cdef uint64_t received
    cdef uint64_t replied
    cdef uint64_t outstanding
    cdef latency_t latency

    cdef size_t serve(self, connection_t *c, int32_t slot, const char *data, size_t size) noexcept nogil
    cdef bint first_bytes(self, connection_t *c, int32_t slot, const char *data) noexcept nogil
    cdef bint handshake(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    cdef bint request(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    cdef bint read(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    cdef void finish_read(self, connection_t *c, int32_t slot, const char *frame, size_t size, int32_t err, uint64_t zxid,
                          uint64_t handled, const char *body, size_t body_size) noexcept nogil
    cdef bint write(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil
    cdef void answer_now(self, connection_t *c, int32_t slot, int32_t xid, int32_t err) noexcept nogil
    cdef void put_answer(self, connection_t *c, int32_t slot, uint64_t handled, int32_t xid, uint64_t zxid, int32_t err,
                         const char *body, size_t size) noexcept nogil
    cdef void put_entry(self, connection_t *c, int32_t slot, int32_t op, int32_t cxid, uint64_t serial, const char *body,
                        size_t size) noexcept nogil
    cdef uint64_t make_session_id(self) noexcept nogil

    cdef void go_on(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void settle(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void end(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void abort(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void mark_dirty(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void mark_ready(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void mark_starved(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void feed_starved(self) noexcept nogil
    cdef void run_ready(self) noexcept nogil

    cdef bint take_item(self, const item_t *item, const char *body) noexcept nogil
    cdef void take_change(self, const item_t *item, const char *path) noexcept nogil
    cdef bint take_result(self, const item_t *item, const char *body) noexcept nogil
    cdef void take_established(self, connection_t *c, int32_t slot, const item_t *item, const char *body) noexcept nogil
    cdef void take_session(self, const item_t *item) noexcept nogil
    cdef void take_read(self, const item_t *item, const char *body) noexcept nogil
    cdef void release_held(self) noexcept nogil
    cdef void time_write(self, uint64_t ms) noexcept nogil

    cdef int32_t *session_bucket(self, uint64_t session_id) noexcept nogil
    cdef bint has_session(self, uint64_t session_id) noexcept nogil
    cdef void leave_session(self, connection_t *c, int32_t slot) noexcept nogil
    cdef bint is_unanswered(self, const entry_t *entry) noexcept nogil
    cdef void prune(self) noexcept nogil
    cdef connection_t *checked(self, int32_t slot) except NULL
