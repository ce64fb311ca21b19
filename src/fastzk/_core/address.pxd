"""IP addresses of ACLs: whether one is written well, and whether a peer's is in it."""

from libc.stdint cimport int32_t


# True for an IPv4 or IPv6 address, perhaps with /bits.
cdef bint network_is_valid(const char *at, int32_t size) noexcept nogil
# True if the peer's address is in the network.  False when either is none.
cdef bint network_has(const char *network, int32_t network_size, const char *peer, int32_t peer_size) noexcept nogil
