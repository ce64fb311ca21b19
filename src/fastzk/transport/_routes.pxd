"""Which connection a ZeroMQ peer has: libzmq's routing number -> slot, by open addressing."""

from libc.stdint cimport int32_t, uint32_t


ctypedef struct route_t:
    uint32_t routing_id
    int32_t slot                # -1 = empty


ctypedef struct routes_t:       # all zero is a valid, empty table
    route_t *at
    uint32_t capacity           # a power of two, at most half full
    uint32_t count


cdef int32_t routes_find(const routes_t *r, uint32_t routing_id) noexcept nogil    # its slot, or -1
cdef void routes_add(routes_t *r, uint32_t routing_id, int32_t slot) noexcept nogil    # one that is not there yet
cdef void routes_remove(routes_t *r, uint32_t routing_id) noexcept nogil    # one that is there
cdef void routes_free(routes_t *r) noexcept nogil
