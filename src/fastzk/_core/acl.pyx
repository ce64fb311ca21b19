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
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memset


cdef enum:
    OPEN_SIZE = 27              # one entry: perms, and two strings of 5 and 6 bytes
    BITS_V4 = 32
    BITS_V6 = 128
    GROUPS_V6 = 8


cdef char *OPEN_VECTOR = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"


cdef int acl_take(jute_t *r, buffer_t *clean, const caller_t *who) noexcept nogil:
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
    """An address, perhaps with /bits.  Read here and not by libc: what one node accepts every node must."""
    cdef int32_t address_size = 0
    cdef int32_t bits_max
    cdef int32_t bits = 0
    cdef int32_t i
    while address_size < size and id[address_size] != c'/':
        address_size += 1
    if is_v4(id, address_size):
        bits_max = BITS_V4
    elif is_v6(id, address_size):
        bits_max = BITS_V6
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


cdef bint is_v4(const char *at, int32_t size) noexcept nogil:
    """Four numbers of 0 to 255 without leading zeros."""
    cdef int32_t numbers = 0
    cdef int32_t digits = 0
    cdef int32_t value = 0
    cdef int32_t i
    for i in range(size):
        if at[i] == c'.':
            if digits == 0:
                return False
            numbers += 1
            digits = 0
            value = 0
        elif c'0' <= at[i] <= c'9':
            if digits and value == 0:
                return False
            digits += 1
            value = 10 * value + (at[i] - c'0')
            if value > 255:
                return False
        else:
            return False
    return numbers == 3 and digits > 0


cdef bint is_v6(const char *at, int32_t size) noexcept nogil:
    """Eight groups of hex digits, fewer when `::` stands for some of them; the last two may be written as IPv4."""
    cdef int32_t groups = 0
    cdef int32_t begin
    cdef int32_t i = 0
    cdef bint has_gap = False
    if size >= 2 and at[0] == c':' and at[1] == c':':
        has_gap = True
        i = 2
    while i < size:
        begin = i
        while i < size and is_hex(at[i]):
            i += 1
        if i < size and at[i] == c'.':
            if not is_v4(at + begin, size - begin):
                return False
            groups += 2
            break
        if i == begin or i - begin > 4:
            return False
        groups += 1
        if i == size:
            break
        if at[i] != c':':
            return False
        i += 1
        if i == size:
            return False
        if at[i] == c':':
            if has_gap:
                return False
            has_gap = True
            i += 1
    return groups < GROUPS_V6 if has_gap else groups == GROUPS_V6


cdef inline bint is_hex(char character) noexcept nogil:
    return c'0' <= character <= c'9' or c'a' <= character <= c'f' or c'A' <= character <= c'F'


cdef bint acl_permits(arena_t *a, ref_t acl, int32_t perm, const caller_t *who) noexcept nogil:
    cdef const char *vector
    cdef uint32_t size = 0
    if acl != 0 and acl == a.header.acl_open:
        return True
    vector = acl_see(a, acl, &size)
    return vector is not NULL and acl_vector_permits(vector, size, perm, who)


cdef bint acl_vector_permits(const char *vector, uint32_t size, int32_t perm, const caller_t *who) noexcept nogil:
    cdef jute_t r = jute_over(vector, size)
    cdef const char *scheme
    cdef const char *id
    cdef int32_t scheme_size = 0
    cdef int32_t id_size = 0
    cdef int32_t perms
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
    cdef caller_t nobody
    cdef buffer_t clean
    memset(&nobody, 0, sizeof(nobody))
    memset(&clean, 0, sizeof(clean))
    try:
        err = acl_take(&r, &clean, &nobody)
        if r.failed or r.at != r.end:
            raise ValueError("not an ACL vector")
        return None if err else clean.data[:clean.size]
    finally:
        buffer_free(&clean)
