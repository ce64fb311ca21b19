"""The requests of a worker's connections: bytes in, reads answered, writes passed on, the rest kept until it can be taken."""

from fastzk._core.connection cimport connection_t
from fastzk._core.credentials cimport Credentials
from fastzk._core.reads cimport read_t
from libc.stdint cimport int32_t, uint64_t


cdef class Requests(Credentials):
    # The transport's side.  now_ms is monotonic.
    cdef void take(self, int32_t slot, const char *data, size_t size, uint64_t now_ms) noexcept nogil  # bytes arrived
    cdef void sent(self, int32_t slot, size_t size) noexcept nogil         # so much of `output` has left

    # What waited is looked at again.
    cdef void go_on(self, connection_t *c, int32_t slot) noexcept nogil
    cdef void feed_starved(self) noexcept nogil
    cdef void run_ready(self) noexcept nogil
    # What comes back from the engine.
    cdef void finish_read(self, connection_t *c, int32_t slot, int32_t xid, const read_t *read, int32_t err, uint64_t zxid,
                          uint64_t handled, const char *answer, size_t size) noexcept nogil

    cdef size_t serve(self, connection_t *c, int32_t slot, const char *data, size_t size) noexcept nogil
    cdef bint first(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    cdef bint request(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil
    cdef bint seldom(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil
    cdef bint read(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil
    cdef void rewatch(self, connection_t *c, int32_t slot, int32_t xid, const read_t *read, uint64_t zxid, uint64_t handled,
                      const char *verdicts) noexcept nogil
    cdef void answer_watch(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body,
                           size_t size) noexcept nogil
    cdef bint write(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil
    cdef bint write_local(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body,
                          size_t size) noexcept nogil
