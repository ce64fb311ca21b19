"""Reading a snapshot's records: bytes that may be too few, names and ACLs that may be none."""

from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memchr, memcpy


ctypedef struct reader_t:       # a chunk's payload; nothing is read past `end`
    const char *at
    const char *end


cdef inline const char *lend(reader_t *r, size_t size) noexcept nogil:
    """The next bytes; NULL when there are not so many."""
    if size > <size_t>(r.end - r.at):
        return NULL
    r.at += size
    return r.at - size


cdef inline bint take(reader_t *r, void *to, size_t size) noexcept nogil:
    """Copies the next bytes."""
    cdef const char *at = lend(r, size)
    if at is NULL:
        return False
    memcpy(to, at, size)
    return True


cdef inline bint name_is_possible(const char *name, uint32_t size) noexcept nogil:
    """What a path may be made of at all; which names a client may give is judged when it gives them."""
    if size == 0 or memchr(name, c"/", size) is not NULL or memchr(name, 0, size) is not NULL:
        return False
    return not (name[0] == c"." and (size == 1 or (size == 2 and name[1] == c".")))


cdef inline bint acl_is_vector(const char *vector, uint32_t size) noexcept nogil:
    """True for a jute vector of ACL {int perms, string scheme, string id} that is not empty, with nothing behind it."""
    cdef jute_t r = jute_over(vector, size)
    cdef int32_t part_size = 0
    cdef int32_t count = jute_int(&r)
    cdef int32_t _
    for _ in range(count):                       # each turn takes 12 bytes or fails: it ends with the vector
        jute_int(&r)
        jute_bytes(&r, &part_size)
        jute_bytes(&r, &part_size)
        if r.failed:
            return False
    return count > 0 and not r.failed and r.at == r.end
