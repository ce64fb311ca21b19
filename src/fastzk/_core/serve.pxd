"""A worker's connections, sans-IO: bytes of clients and commit batches in, bytes for clients and entries for the engine out.

The transport (transport/_loop.pyx) moves the bytes; everything that is decided is decided here, so that it can be tested and
simulated.  A connection is a slot; both wires use it alike (a ZeroMQ message is simply more bytes of frames).

Order on a connection, which is all that Z5 and Z6 need:
  * Requests are taken one by one.  A write is passed on and the next request is looked at; a read, when writes of the same
    connection are unanswered, waits, and everything behind it: so replies leave in request order without a queue.
  * What a connection is sent is sorted by zxid, events before replies of the same zxid.  A read answered at a zxid ahead of
    the commit batches handled so far goes into `held`, as a segment with its zxid; handling a batch moves the segments
    between its items."""

from fastzk._core.arena cimport Arena
from fastzk._core.layout cimport buffer_t
from fastzk._core.watches cimport watches_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum:
    CONNECTION_FREE = 0
    CONNECTION_NEW = 1          # nothing heard yet but perhaps part of a ConnectRequest or four letters
    CONNECTION_WAITING = 2      # its create or attach is in the log
    CONNECTION_OPEN = 3
    CONNECTION_CLOSING = 4      # send what is in `output`, then close; nothing more is taken

    WIRE_TCP = 0
    WIRE_NATIVE = 1


ctypedef struct connection_t:
    uint8_t state
    uint8_t wire
    uint8_t is_dirty            # in the dirty list: has output to send, or must be closed, or its pause changed
    uint8_t is_paused           # the transport should not read from it: it has enough to do
    uint8_t is_waiting_read     # a read of it was handed over to the engine
    uint32_t word               # a four-letter word was asked: its four bytes; the worker writes the answer and closes
    buffer_t input              # bytes that wait: part of a frame, or frames behind a wait
    buffer_t output             # frames that may leave now
    buffer_t held               # segments: uint64 zxid, uint64 size, bytes
    uint64_t session_id
    uint64_t attach_zxid
    uint64_t sent_serial        # of the last write passed on
    uint64_t answered_serial    # of the last write answered; equal to sent_serial when none is pending
    uint32_t timeout_ms
    uint8_t was_heard           # since the last take_touched()
    uint64_t heard_ms           # when it last said something
    # ... and what serve.pyx adds


cdef class Server:
    cdef Arena arena
    cdef watches_t *watches
    cdef buffer_t writes        # entries for the engine, since taken last; in order
    cdef uint32_t writes_count
    cdef buffer_t reads         # reads handed over to the engine, since taken last
    cdef uint32_t reads_count
    cdef uint64_t handled_zxid  # the commit batches up to here are handled

    # The transport's side.  now_ms is monotonic.
    cdef int32_t open(self, int wire, uint64_t now_ms) noexcept nogil                  # a slot, or -1: no room for more
    cdef void close(self, int32_t slot) noexcept nogil                                # the transport lost it or closed it
    cdef connection_t *at(self, int32_t slot) noexcept nogil
    cdef void take(self, int32_t slot, const char *data, size_t size, uint64_t now_ms) noexcept nogil   # bytes arrived
    cdef int32_t next_dirty(self) noexcept nogil                                       # takes a slot off the dirty list, or -1
    cdef void sent(self, int32_t slot, size_t size) noexcept nogil                     # so much of `output` has left
    # The engine's side.  False: the items make no sense and the worker must end.
    cdef bint commit(self, const char *items, size_t size, uint64_t zxid, uint64_t now_ms) noexcept nogil
    cdef void resend(self) noexcept nogil                                             # a new round: every unanswered write again
