"""ACLs: whether a vector of them is well-formed, and what it permits.

One entry of the jute vector:

    int perms | string scheme | string id

Accepted schemes: `world` (only with the id `anyone`), `digest` (`user:hash`) and `ip` (an address, perhaps `/bits`).
Only world:anyone is matched as yet, so the other two permit nothing to anybody: a znode fails closed, never open.
As in ZooKeeper, perms are stored as they came, and an empty or null vector is invalid."""

from fastzk._core.codes cimport ERR_INVALID_ACL
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over
from fastzk._core.layout cimport buffer_append, buffer_be32, buffer_clear, buffer_free, store_be32
from fastzk._core.tree cimport acl_see
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset


cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    int inet_pton(int family, const char *text, void *address)


cdef enum:
    OPEN_SIZE = 27              # one entry: perms, and two strings of 5 and 6 bytes
    ADDRESS_TEXT_MAX = 46       # INET6_ADDRSTRLEN


cdef char *OPEN_VECTOR = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"


cdef int acl_take(jute_t *r, buffer_t *clean) noexcept nogil:
    cdef const char *begin
    cdef const char *scheme
    cdef const char *id
    cdef int32_t scheme_size = 0
    cdef int32_t id_size = 0
    cdef uint32_t kept = 0
    cdef bint is_valid = True
    cdef int32_t i
    cdef int32_t count
    buffer_clear(clean)
    if not r.failed and r.end - r.at >= OPEN_SIZE and memcmp(r.at, OPEN_VECTOR, OPEN_SIZE) == 0:
        buffer_append(clean, r.at, OPEN_SIZE)       # what nearly every znode has
        r.at += OPEN_SIZE
        return 0
    count = jute_int(r)
    buffer_be32(clean, 0)
    for i in range(count):                          # each turn takes 12 bytes or fails: it ends with the body
        begin = r.at
        jute_int(r)
        scheme = jute_bytes(r, &scheme_size)
        id = jute_bytes(r, &id_size)
        if r.failed:
            return ERR_INVALID_ACL
        if i >= ACL_COUNT_MAX or not id_is_valid(scheme, scheme_size, id, id_size):
            is_valid = False
        elif is_valid and not holds(clean, begin, r.at - begin):
            buffer_append(clean, begin, r.at - begin)
            kept += 1
    if not is_valid or kept == 0:
        return ERR_INVALID_ACL
    store_be32(clean.data, kept)
    return 0


cdef bint holds(const buffer_t *clean, const char *entry, size_t size) noexcept nogil:
    """True if the vector being made has this entry already."""
    cdef jute_t r = jute_over(clean.data + 4, clean.size - 4)
    cdef const char *begin
    cdef int32_t unused = 0
    while r.at < r.end:
        begin = r.at
        jute_int(&r)
        jute_bytes(&r, &unused)
        jute_bytes(&r, &unused)
        if <size_t>(r.at - begin) == size and memcmp(begin, entry, size) == 0:
            return True
    return False


cdef bint id_is_valid(const char *scheme, int32_t scheme_size, const char *id, int32_t id_size) noexcept nogil:
    if scheme_size < 0 or id_size < 0:
        return False
    if scheme_size == 5 and memcmp(scheme, b"world", 5) == 0:
        return id_size == 6 and memcmp(id, b"anyone", 6) == 0
    if scheme_size == 6 and memcmp(scheme, b"digest", 6) == 0:
        return digest_is_valid(id, id_size)
    if scheme_size == 2 and memcmp(scheme, b"ip", 2) == 0:
        return address_is_valid(id, id_size)
    return False


cdef bint digest_is_valid(const char *id, int32_t size) noexcept nogil:
    """Two parts between colons, colons at the end not counted (Java's split)."""
    cdef int32_t colons = 0
    cdef int32_t i
    while size > 0 and id[size - 1] == c':':
        size -= 1
    for i in range(size):
        colons += id[i] == c':'
    return colons == 1


cdef bint address_is_valid(const char *id, int32_t size) noexcept nogil:
    cdef char text[ADDRESS_TEXT_MAX]
    cdef uint8_t address[16]
    cdef int32_t address_size = 0
    cdef int32_t bits_max
    cdef int32_t bits = 0
    cdef int32_t i
    while address_size < size and id[address_size] != c'/':
        if id[address_size] == 0:
            return False
        address_size += 1
    if address_size >= ADDRESS_TEXT_MAX:
        return False
    memset(text, 0, ADDRESS_TEXT_MAX)
    memcpy(text, id, address_size)
    if inet_pton(AF_INET, text, address) == 1:
        bits_max = 32
    elif inet_pton(AF_INET6, text, address) == 1:
        bits_max = 128
    else:
        return False
    if address_size == size:
        return True
    if size - address_size < 2 or size - address_size > 4:
        return False
    for i in range(address_size + 1, size):
        if not c'0' <= id[i] <= c'9':
            return False
        bits = 10 * bits + (id[i] - c'0')
    return bits <= bits_max


cdef bint acl_permits(arena_t *a, ref_t acl, int32_t perm) noexcept nogil:
    cdef const char *vector
    cdef jute_t r
    cdef const char *scheme
    cdef const char *id
    cdef int32_t scheme_size = 0
    cdef int32_t id_size = 0
    cdef int32_t perms
    cdef uint32_t size = 0
    if acl != 0 and acl == a.header.acl_open:
        return True
    vector = acl_see(a, acl, &size)
    if vector is NULL:
        return False
    r = jute_over(vector, size)
    jute_int(&r)
    while r.at < r.end:
        perms = jute_int(&r)
        scheme = jute_bytes(&r, &scheme_size)
        id = jute_bytes(&r, &id_size)
        if r.failed:
            return False
        if perms & perm and scheme_size == 5 and memcmp(scheme, b"world", 5) == 0 \
                and id_size == 6 and memcmp(id, b"anyone", 6) == 0:
            return True
    return False


def cleaned(bytes vector not None) -> bytes | None:
    """The vector as it would be stored, None when it is not valid.  Raises ValueError when the bytes are no vector."""
    cdef jute_t r = jute_over(vector, len(vector))
    cdef buffer_t clean
    memset(&clean, 0, sizeof(clean))
    try:
        err = acl_take(&r, &clean)
        if r.failed or r.at != r.end:
            raise ValueError("not an ACL vector")
        return None if err else clean.data[:clean.size]
    finally:
        buffer_free(&clean)
