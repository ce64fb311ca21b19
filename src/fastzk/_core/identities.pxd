"""Who a connection is: a jute vector of Id {string scheme, string id}, which ACLs are held against.

It begins with {"ip", address}; credentials that were accepted are added (auth, sasl, a certificate)."""

from fastzk._core.layout cimport buffer_t
from libc.stdint cimport uint32_t


cdef enum:
    IDENTITIES_MAX = 64         # of one connection: every look at an ACL walks them
    IDENTITIES_BYTES_MAX = 4096  # of the vector: it stands in the log with every attachment

    IDENTITY_KNOWN = 0          # the connection has it already
    IDENTITY_ADDED = 1
    IDENTITY_REFUSED = -1       # there would be too many


# Makes the vector {"ip", address} and nothing else; with size 0 no bytes at all, which is merely anyone.
cdef void identities_begin(buffer_t *ids, const char *address, uint32_t size) noexcept nogil
# Adds one; IDENTITY_*.
cdef int identities_add(buffer_t *ids, const char *scheme, uint32_t scheme_size, const char *id, uint32_t id_size) noexcept nogil
# Adds each of a vector; the first refusal, or IDENTITY_REFUSED when the bytes are no vector of Id without nulls.
cdef int identities_add_all(buffer_t *ids, const char *vector, uint32_t size) noexcept nogil
# Appends what whoAmI answers: a vector of ClientInfo {string authScheme, string user}.
cdef void identities_tell(const char *vector, uint32_t size, buffer_t *out) noexcept nogil
