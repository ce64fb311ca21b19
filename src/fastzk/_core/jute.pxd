"""Jute, the encoding of ZooKeeper's records, as a checked reader over lent bytes.  (Writing: bytes.h, big-endian.)

    int, long      big-endian, 4 and 8 bytes
    bool           one byte
    string, buffer int size, then that many bytes; size -1 is null
    vector         int count, then the items; count -1 is null

Rule: nothing is read past `end`.  Once a read failed `failed` stays set and every further read answers 0 or NULL, so a
caller may read a whole record and ask once at the end."""

from fastzk._core.layout cimport load_be32, load_be64
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


ctypedef struct jute_t:
    const char *at
    const char *end
    bint failed


cdef inline jute_t jute_over(const char *at, size_t size) noexcept nogil:
    cdef jute_t r
    r.at = at
    r.end = at + size
    r.failed = False
    return r


cdef inline size_t jute_left(const jute_t *r) noexcept nogil:
    return <size_t>(r.end - r.at)


cdef inline int32_t jute_int(jute_t *r) noexcept nogil:
    if r.failed or r.end - r.at < 4:
        r.failed = True
        return 0
    r.at += 4
    return <int32_t>load_be32(r.at - 4)


cdef inline int64_t jute_long(jute_t *r) noexcept nogil:
    if r.failed or r.end - r.at < 8:
        r.failed = True
        return 0
    r.at += 8
    return <int64_t>load_be64(r.at - 8)


cdef inline bint jute_bool(jute_t *r) noexcept nogil:
    if r.failed or r.end - r.at < 1:
        r.failed = True
        return False
    r.at += 1
    return (r.at - 1)[0] != 0


cdef inline const char *jute_bytes(jute_t *r, int32_t *size) noexcept nogil:
    """A string or buffer: its bytes, lent, and its size; a null one gives size -1 and NULL; a size below -1 fails."""
    cdef int32_t n = jute_int(r)
    size[0] = -1
    if r.failed or n == -1:
        return NULL
    if n < 0 or r.end - r.at < n:
        r.failed = True
        return NULL
    size[0] = n
    r.at += n
    return r.at - n
