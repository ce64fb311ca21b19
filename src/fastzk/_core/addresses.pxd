"""How many connections each address has: the limit that keeps one machine's mistake from taking all of a node's descriptors.

A connection whose address is not known (size 0) is not counted."""

from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    ADDRESS_SIZE_MAX = 255      # of the text: an IPv6 address takes 45 bytes, a name of a gate's making may be longer


ctypedef struct address_t:      # one address that has connections
    address_t *next             # same bucket
    uint32_t count              # connections, now
    uint32_t size
    char text[0]


ctypedef struct addresses_t:
    uint64_t seed
    uint64_t mask
    address_t **buckets


# Room for so many different addresses without long chains; -1: no memory.
cdef int addresses_make(addresses_t *t, uint64_t expected, uint64_t seed) noexcept nogil
cdef void addresses_free(addresses_t *t) noexcept nogil
# Counts one more connection from there.  NULL: it has `most` already (0 = no limit), its text is too long, or no memory.
cdef address_t *address_enter(addresses_t *t, const char *text, uint32_t size, uint32_t most) noexcept nogil
# One less; an address without connections is forgotten.
cdef void address_leave(addresses_t *t, address_t *address) noexcept nogil
