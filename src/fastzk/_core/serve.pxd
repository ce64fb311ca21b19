"""A worker's connections, sans-IO: bytes of clients and commit batches in, bytes for clients and entries for the engine out.

The transport (transport/_loop.pyx) moves the bytes; everything that is decided is decided here, so that it can be tested and
simulated.  A connection is a slot; both wires use it alike (a ZeroMQ message is simply more bytes of frames).

In layers, each a class above the one before: slots, entrance, credentials, requests, and here the commit batches.

Order on a connection, which is all that Z5 and Z6 need:
  * Requests are taken one by one.  A write is passed on and the next request is looked at; a read, when writes of the same
    connection are unanswered, waits, and everything behind it: so replies leave in request order without a queue.
  * What a connection is sent is sorted by zxid, events before replies of the same zxid.  A read answered at a zxid ahead of
    the commit batches handled so far goes into `held`, as a segment with its zxid; handling a batch moves the segments
    between its items.

What the transport does with a slot that next_dirty() gives: sends from `output`, tells sent(); stops or goes on reading by
`is_paused`; when the state is CLOSING and `output` is empty it closes the connection and calls close(); when `word` is set the
worker answers the four-letter word; when it waits for WAITS_JUDGE the worker judges what asked() gives."""

# What a user of the server needs of a connection comes through here too.
from fastzk._core.connection cimport (
    CONNECTION_CLOSING, CONNECTION_FREE, CONNECTION_NEW, CONNECTION_OPEN, CONNECTION_WAITING, WAITS_JUDGE, WAITS_NOT,
    WIRE_GATE, WIRE_NATIVE, WIRE_TCP, connection_t)
from fastzk._core.layout cimport item_t
from fastzk._core.requests cimport Requests
from libc.stdint cimport uint64_t


cdef class Server(Requests):
    # The transport's side; take and sent are of Requests, open, close, at and next_dirty of Slots.
    cdef void sweep(self, uint64_t now_ms) noexcept nogil                  # once a second: what has waited too long
    # The engine's side; resend is of Slots.  False: the items make no sense and the worker must end.
    cdef bint commit(self, const char *items, size_t size, uint64_t zxid, uint64_t now_ms) noexcept nogil

    # The rest is serve.pyx's own.
    cdef bint take_item(self, const item_t *item, const char *body) noexcept nogil
    cdef void take_change(self, const item_t *item, const char *path) noexcept nogil
    cdef bint take_result(self, const item_t *item, const char *body) noexcept nogil
    cdef void take_session(self, const item_t *item) noexcept nogil
    cdef void take_read(self, const item_t *item, const char *body) noexcept nogil
    cdef void release_held(self) noexcept nogil
    cdef void time_write(self, uint64_t ms) noexcept nogil
