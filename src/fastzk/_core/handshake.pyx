"""What a new connection may say first; see handshake.pxd."""

from fastzk._core.arena cimport arena_read_begin, arena_read_valid, arena_see
from fastzk._core.jute cimport jute_bool, jute_bytes, jute_int, jute_left, jute_long, jute_over, jute_t
from fastzk._core.layout cimport ref_t, session_t
from fastzk._core.tree cimport session_find

cdef enum:
    TRIES = 16                  # of a lock-free look at one session: it loses as rarely as a short read

cdef const char *WORDS = b"ruoksrvrstatisroenvimntrconfconscrstdirsdumpgtmkstmkhashsrstwchcwchpwchs"


cdef bint handshake_decode(const char *frame, size_t size, handshake_t *into) noexcept nogil:
    cdef jute_t r = jute_over(frame, size)
    cdef int32_t password_size = 0
    into.protocol_version = jute_int(&r)
    into.last_zxid_seen = <uint64_t>jute_long(&r)
    into.timeout_ms = jute_int(&r)
    into.session_id = <uint64_t>jute_long(&r)
    into.password = jute_bytes(&r, &password_size)
    if password_size != PASSWORD_SIZE:
        into.password = NULL
    into.has_read_only = not r.failed and jute_left(&r) > 0
    into.is_read_only = into.has_read_only and jute_bool(&r)
    return not r.failed


cdef bint is_word(uint32_t word) noexcept nogil:
    cdef const char *at = WORDS
    while at[0] != 0:
        if load_be32(at) == word:
            return True
        at += 4
    return False


cdef bint is_http(uint32_t word) noexcept nogil:
    return word == load_be32(b"GET ") or word == load_be32(b"HEAD") or word == load_be32(b"POST") or word == load_be32(b"PUT ")


cdef int session_check(arena_t *a, uint64_t session_id, const char *password) noexcept nogil:
    cdef uint64_t sequence
    cdef ref_t ref
    cdef const session_t *session
    cdef uint8_t difference
    cdef int found, _, j
    for _ in range(TRIES):
        sequence = arena_read_begin(a)
        if sequence & 1:
            continue
        found = FOUND_NOT
        ref = session_find(a, session_id)
        if ref:
            session = <const session_t *>arena_see(a, ref, sizeof(session_t))
            if session == NULL:
                continue
            difference = 0
            if password != NULL:
                for j in range(PASSWORD_SIZE):
                    difference |= session.password[j] ^ <uint8_t>password[j]
            found = FOUND_WRONG if difference else FOUND
        if arena_read_valid(a, sequence):
            return found
    return FOUND_LOST
