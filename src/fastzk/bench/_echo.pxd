"""The replies that cost nothing to find, for the echo servers: what comes after the first four bytes of a request decides.

Rule: the requests are read no further than an answer of the right form needs.  No request has an xid or an operation of 0,
so a record that has is a ConnectRequest, on whatever connection: the servers keep no state for this."""

from fastzk._core.layout cimport buffer_t

cdef enum:
    ANSWER_BAD = -1
    FRAME_BYTES_MAX = 1 << 20

# Appends the reply to each whole frame in [at, at + size) to `out`; gives how many bytes the whole frames had, or ANSWER_BAD
# when they are no frames of a client.
cdef ssize_t answer(const char *at, size_t size, buffer_t *out) noexcept nogil
