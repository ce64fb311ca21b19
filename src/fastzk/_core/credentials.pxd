"""Credentials: what a connection says to be somebody, what becomes of it when the worker's Python has judged."""

from fastzk._core.connection cimport connection_t
from fastzk._core.entrance cimport Entrance
from fastzk._core.layout cimport buffer_t, item_t
from libc.stdint cimport int32_t


cdef class Credentials(Entrance):
    # An auth or sasl request; its frame stays the first of `input` until decide().  False: it must wait (or the connection ended).
    cdef bint ask(self, connection_t *c, int32_t slot, int32_t op, const char *body, size_t size) noexcept nogil
    # The judgement on it; the frame is taken from `input`.  identities: what the connection's would be, or the same as now.
    cdef void decide(self, connection_t *c, int32_t slot, int32_t err, const buffer_t *identities, const char *reply,
                     size_t size) noexcept nogil
    # The result of its OP_IDENTIFY.
    cdef void take_identified(self, connection_t *c, int32_t slot, const item_t *item) noexcept nogil
