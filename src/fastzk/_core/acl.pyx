"""ACLs: whether a vector of them is well-formed, and what it permits to whom.

One entry of the jute vector:

    int perms | string scheme | string id

| scheme | id | whom it means | one may write it |
|---|---|---|---|
| world | anyone | everybody | yes |
| auth | whatever | replaced, when it is written, by the writer's digest, sasl and x509 ids | who has such an id |
| digest | user:hash | the identity equal to it | yes |
| sasl, x509 | a name | the identity equal to it; for sasl also `super` | any name: all nodes must agree, whatever each can check |
| ip | address, address/bits | the identities in that network | if it is one (address.pyx) |

An identity of the scheme `super` may do anything.  Any other scheme is refused in a new ACL, and one that is met in an
old one means the identities equal to it: a znode fails closed, never open.
As in ZooKeeper, perms are stored as they came, and an empty or null vector is invalid.

Rule: readers come here with torn memory.  Every loop ends with the bytes or after ACL_COUNT_MAX entries."""

from fastzk._core.address cimport network_has, network_is_valid
from fastzk._core.codes cimport ERR_INVALID_ACL
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over
from fastzk._core.layout cimport buffer_append, buffer_be32, buffer_clear, buffer_free, buffer_t, store_be32
from fastzk._core.tree cimport acl_see
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memset


cdef enum:
    OPEN_SIZE = 27              # one entry: perms, and two strings of 5 and 6 bytes


cdef char *OPEN_VECTOR = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"


ctypedef struct id_t:           # lent; a null string has size -1
    const char *scheme
    const char *name
    int32_t scheme_size
    int32_t name_size


cdef inline id_t id_read(jute_t *r) noexcept nogil:
    cdef id_t id
    id.scheme = jute_bytes(r, &id.scheme_size)
    id.name = jute_bytes(r, &id.name_size)
    return id


cdef inline bint is_scheme(const id_t *id, const char *scheme, int32_t size) noexcept nogil:
    return id.scheme_size == size and memcmp(id.scheme, scheme, size) == 0


cdef inline bint is_anyone(const id_t *id) noexcept nogil:
    return is_scheme(id, b"world", 5) and id.name_size == 6 and memcmp(id.name, b"anyone", 6) == 0


# --- what may be written -------------------------------------------------------------------------------------------

cdef int acl_take(jute_t *r, buffer_t *clean, const caller_t *who) noexcept nogil:
    cdef uint32_t kept = 0
    cdef bint is_valid = True
    cdef int32_t i, count, perms
    cdef id_t id
    buffer_clear(clean)
    if not r.failed and r.end - r.at >= OPEN_SIZE and memcmp(r.at, OPEN_VECTOR, OPEN_SIZE) == 0:
        buffer_append(clean, r.at, OPEN_SIZE)       # what nearly every znode has
        r.at += OPEN_SIZE
        return 0
    count = jute_int(r)
    buffer_be32(clean, 0)
    for i in range(count):                          # each turn takes 12 bytes or fails: it ends with the body
        perms = jute_int(r)
        id = id_read(r)
        if r.failed:
            return ERR_INVALID_ACL
        if not is_valid or i >= ACL_COUNT_MAX:
            is_valid = False                        # read on: it must still be a vector
        elif is_scheme(&id, b"auth", 4):
            is_valid = add_own_ids(clean, perms, who, &kept)
        elif id_is_valid(&id):
            add_entry(clean, perms, &id, &kept)
        else:
            is_valid = False
    if not is_valid or kept == 0 or kept > ACL_COUNT_MAX:
        return ERR_INVALID_ACL
    store_be32(clean.data, kept)
    return 0


cdef bint add_own_ids(buffer_t *clean, int32_t perms, const caller_t *who, uint32_t *kept) noexcept nogil:
    """What `auth` stands for: the caller's ids that a secret has proved.  False when there is none."""
    cdef jute_t r = jute_over(who.identities, who.size)
    cdef bint has_one = False
    cdef id_t id
    jute_int(&r)
    while r.at < r.end and kept[0] <= ACL_COUNT_MAX:
        id = id_read(&r)
        if r.failed:
            break
        if is_scheme(&id, b"digest", 6) or is_scheme(&id, b"sasl", 4) or is_scheme(&id, b"x509", 4):
            add_entry(clean, perms, &id, kept)
            has_one = True
    return has_one


cdef void add_entry(buffer_t *clean, int32_t perms, const id_t *id, uint32_t *kept) noexcept nogil:
    """Appends an entry unless the vector being made has it already."""
    cdef size_t begin = clean.size
    cdef size_t size
    cdef jute_t r
    cdef const char *earlier
    put_entry(clean, perms, id)
    size = clean.size - begin
    r = jute_over(clean.data + 4, begin - 4)
    while r.at < r.end:
        earlier = r.at
        jute_int(&r)
        id_read(&r)
        if <size_t>(r.at - earlier) == size and memcmp(earlier, clean.data + begin, size) == 0:
            clean.size = begin
            return
    kept[0] += 1


cdef void put_entry(buffer_t *out, int32_t perms, const id_t *id) noexcept nogil:
    buffer_be32(out, <uint32_t>perms)
    buffer_be32(out, <uint32_t>id.scheme_size)
    buffer_append(out, id.scheme, max(id.scheme_size, 0))
    buffer_be32(out, <uint32_t>id.name_size)
    buffer_append(out, id.name, max(id.name_size, 0))


cdef bint id_is_valid(const id_t *id) noexcept nogil:
    if id.scheme_size < 0 or id.name_size < 0:
        return False
    if is_scheme(id, b"digest", 6):
        return digest_is_valid(id.name, id.name_size)
    if is_scheme(id, b"ip", 2):
        return network_is_valid(id.name, id.name_size)
    if is_scheme(id, b"sasl", 4) or is_scheme(id, b"x509", 4):
        return id.name_size > 0
    return is_anyone(id)


cdef bint digest_is_valid(const char *id, int32_t size) noexcept nogil:
    """Two parts between colons, colons at the end not counted (Java's split)."""
    cdef int32_t colons = 0
    cdef int32_t i
    while size > 0 and id[size - 1] == c':':
        size -= 1
    for i in range(size):
        colons += id[i] == c':'
    return colons == 1


# --- what is permitted ---------------------------------------------------------------------------------------------

cdef bint acl_permits(arena_t *a, ref_t acl, int32_t perm, const caller_t *who) noexcept nogil:
    cdef const char *vector
    cdef uint32_t size = 0
    if acl != 0 and acl == a.header.acl_open:
        return True
    vector = acl_see(a, acl, &size)
    return vector is not NULL and acl_vector_permits(vector, size, perm, who)


cdef bint acl_vector_permits(const char *vector, uint32_t size, int32_t perm, const caller_t *who) noexcept nogil:
    cdef jute_t r = jute_over(vector, size)
    cdef id_t id
    cdef int32_t perms
    cdef int _i
    jute_int(&r)
    for _i in range(ACL_COUNT_MAX):
        if r.at == r.end:
            break
        perms = jute_int(&r)
        id = id_read(&r)
        if r.failed:
            return False
        if perms & perm and (is_anyone(&id) or caller_is(who, &id)):
            return True
    return not r.failed and caller_is_super(who)


cdef bint caller_is(const caller_t *who, const id_t *wanted) noexcept nogil:
    """True if one of the caller's identities is what an ACL's entry means."""
    cdef jute_t r = jute_over(who.identities, who.size)
    cdef id_t id
    if wanted.scheme_size < 0 or wanted.name_size < 0:
        return False
    jute_int(&r)
    while r.at < r.end:
        id = id_read(&r)
        if r.failed:
            return False
        if not is_scheme(&id, wanted.scheme, wanted.scheme_size) or id.name_size < 0:
            continue
        if is_scheme(wanted, b"ip", 2):
            if network_has(wanted.name, wanted.name_size, id.name, id.name_size):
                return True
        elif id.name_size == wanted.name_size and memcmp(id.name, wanted.name, wanted.name_size) == 0:
            return True
        elif is_scheme(wanted, b"sasl", 4) and id.name_size == 5 and memcmp(id.name, b"super", 5) == 0:
            return True
    return False


cdef bint caller_is_super(const caller_t *who) noexcept nogil:
    cdef jute_t r = jute_over(who.identities, who.size)
    cdef id_t id
    jute_int(&r)
    while r.at < r.end:
        id = id_read(&r)
        if r.failed:
            return False
        if is_scheme(&id, b"super", 5):
            return True
    return False


cdef bint acl_mask(const char *vector, uint32_t size, buffer_t *out) noexcept nogil:
    cdef jute_t r = jute_over(vector, size)
    cdef size_t begin = out.size
    cdef const char *colon
    cdef int32_t _i, perms
    cdef int32_t count = jute_int(&r)
    cdef id_t id
    if r.failed or count < 0 or count > ACL_COUNT_MAX:
        return False
    buffer_be32(out, <uint32_t>count)
    for _i in range(count):
        perms = jute_int(&r)
        id = id_read(&r)
        if r.failed:
            break
        colon = NULL
        if is_scheme(&id, b"digest", 6) and id.name_size > 0:
            colon = <const char *>memchr(id.name, c':', id.name_size)
        if colon is NULL:
            put_entry(out, perms, &id)
            continue
        buffer_be32(out, <uint32_t>perms)
        buffer_be32(out, 6)
        buffer_append(out, b"digest", 6)
        buffer_be32(out, <uint32_t>(colon - id.name + 2))
        buffer_append(out, id.name, colon - id.name)
        buffer_append(out, b":x", 2)
    if r.failed or r.at != r.end:
        out.size = begin
        return False
    return True


# --- Python's face -------------------------------------------------------------------------------------------------

cdef caller_t caller_of(bytes identities) except *:
    """Lent: valid as long as the bytes are."""
    cdef caller_t who
    who.identities = identities
    who.size = <uint32_t>len(identities)
    return who


def cleaned(bytes vector not None, bytes identities not None = b"") -> bytes | None:
    cdef jute_t r = jute_over(vector, len(vector))
    cdef caller_t who = caller_of(identities)
    cdef buffer_t clean
    memset(&clean, 0, sizeof(clean))
    try:
        err = acl_take(&r, &clean, &who)
        if r.failed or r.at != r.end:
            raise ValueError("not an ACL vector")
        return None if err else clean.data[:clean.size]
    finally:
        buffer_free(&clean)


def permits(bytes vector not None, perm: int, bytes identities not None = b"") -> bool:
    cdef caller_t who = caller_of(identities)
    return acl_vector_permits(vector, <uint32_t>len(vector), perm, &who)


def masked(bytes vector not None) -> bytes:
    cdef buffer_t out
    memset(&out, 0, sizeof(out))
    try:
        if not acl_mask(vector, <uint32_t>len(vector), &out):
            raise ValueError("not an ACL vector")
        return out.data[:out.size]
    finally:
        buffer_free(&out)
