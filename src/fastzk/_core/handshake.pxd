"""What a new connection may say first: a ConnectRequest, a four-letter word, or HTTP by mistake.

    ConnectRequest  int protocolVersion | long lastZxidSeen | int timeOut | long sessionId | buffer passwd | [bool readOnly]

Clients older than 3.4 send no readOnly, and take no such byte in the response."""

from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport load_be32
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef enum:
    HANDSHAKE_SIZE_MAX = 1024   # of a ConnectRequest: 45 bytes, and patience with what may follow
    PASSWORD_SIZE = 16

    FOUND_NOT = 0               # no such session in the arena; perhaps not yet
    FOUND = 1                   # and the password is right
    FOUND_WRONG = 2             # and the password is wrong
    FOUND_LOST = 3              # the writer won every try

    PROTOCOL_REMEMBERS = 1      # protocolVersion of a native client whose results are to be remembered (results.pxd)


ctypedef struct handshake_t:
    int32_t protocol_version
    uint64_t last_zxid_seen
    int32_t timeout_ms
    uint64_t session_id
    const char *password        # lent, or NULL unless it is 16 bytes
    uint8_t has_read_only
    uint8_t is_read_only        # a node without a leader would do


# False: undecodable.
cdef bint handshake_decode(const char *frame, size_t size, handshake_t *into) noexcept nogil
# Whether the first four bytes are a known four-letter word; or the beginning of an HTTP request.
cdef bint is_word(uint32_t word) noexcept nogil
cdef bint is_http(uint32_t word) noexcept nogil
# Looks a session up in the arena and compares the password, in a time that does not tell how much of it was right.
cdef int session_check(arena_t *a, uint64_t session_id, const char *password) noexcept nogil
