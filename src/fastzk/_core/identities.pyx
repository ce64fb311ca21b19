"""Who a connection is; see identities.pxd.

    vector  int count | count times: string scheme | string id

Rule: none stands there twice, and none is null."""

from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.layout cimport (
    buffer_append, buffer_be32, buffer_begin, buffer_clear, buffer_live, buffer_t, store_be32)
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp


cdef void identities_begin(buffer_t *ids, const char *address, uint32_t size) noexcept nogil:
    buffer_clear(ids)
    if size:
        identities_add(ids, b"ip", 2, address, size)


cdef int identities_add(buffer_t *ids, const char *scheme, uint32_t scheme_size, const char *id, uint32_t id_size) noexcept nogil:
    cdef jute_t r
    cdef int32_t count
    cdef const char *known_scheme
    cdef const char *known
    cdef int32_t known_scheme_size = 0
    cdef int32_t known_size = 0
    cdef int32_t _
    if buffer_live(ids) == 0:
        buffer_be32(ids, 0)
    r = jute_over(buffer_begin(ids), buffer_live(ids))
    count = jute_int(&r)
    for _ in range(count):
        known_scheme = jute_bytes(&r, &known_scheme_size)
        known = jute_bytes(&r, &known_size)
        if (<uint32_t>known_scheme_size == scheme_size and <uint32_t>known_size == id_size
                and memcmp(known_scheme, scheme, scheme_size) == 0 and memcmp(known, id, id_size) == 0):
            return IDENTITY_KNOWN
    if (count >= IDENTITIES_MAX or scheme_size > IDENTITIES_BYTES_MAX or id_size > IDENTITIES_BYTES_MAX
            or buffer_live(ids) + 8 + scheme_size + id_size > IDENTITIES_BYTES_MAX):
        return IDENTITY_REFUSED
    buffer_be32(ids, scheme_size)
    buffer_append(ids, scheme, scheme_size)
    buffer_be32(ids, id_size)
    buffer_append(ids, id, id_size)
    store_be32(buffer_begin(ids), <uint32_t>(count + 1))
    return IDENTITY_ADDED


cdef int identities_add_all(buffer_t *ids, const char *vector, uint32_t size) noexcept nogil:
    cdef jute_t r = jute_over(vector, size)
    cdef int32_t count = jute_int(&r)
    cdef const char *scheme
    cdef const char *id
    cdef int32_t scheme_size = 0
    cdef int32_t id_size = 0
    cdef int32_t _
    for _ in range(count):
        scheme = jute_bytes(&r, &scheme_size)
        id = jute_bytes(&r, &id_size)
        if scheme == NULL or id == NULL:            # a null, or the bytes are over
            return IDENTITY_REFUSED
        if identities_add(ids, scheme, <uint32_t>scheme_size, id, <uint32_t>id_size) == IDENTITY_REFUSED:
            return IDENTITY_REFUSED
    return IDENTITY_REFUSED if r.failed else IDENTITY_ADDED


cdef void identities_tell(const char *vector, uint32_t size, buffer_t *out) noexcept nogil:
    """As ZooKeeper: of a digest only the user, of `super` nothing."""
    cdef jute_t r = jute_over(vector, size)
    cdef int32_t count = jute_int(&r) if size else 0
    cdef const char *scheme
    cdef const char *id
    cdef int32_t scheme_size = 0
    cdef int32_t id_size = 0
    cdef int32_t told, _
    buffer_be32(out, <uint32_t>count)
    for _ in range(count):
        scheme = jute_bytes(&r, &scheme_size)
        id = jute_bytes(&r, &id_size)
        told = id_size
        if scheme_size == 5 and memcmp(scheme, b"super", 5) == 0:
            told = 0
        elif scheme_size == 6 and memcmp(scheme, b"digest", 6) == 0:
            told = 0
            while told < id_size and id[told] != c':':
                told += 1
        buffer_be32(out, <uint32_t>scheme_size)
        buffer_append(out, scheme, scheme_size)
        buffer_be32(out, <uint32_t>told)
        buffer_append(out, id, told)
