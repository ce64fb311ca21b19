"""How many connections each address has; see addresses.pxd.

Rule: the hash is seeded, so that nobody can choose addresses (of IPv6 there are enough) that meet in one bucket."""

from fastzk._core.layout cimport FZ_ASSERT, hash_bytes
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    ADDRESS_HEAD = 16           # where address_t.text begins


cdef int addresses_make(addresses_t *t, uint64_t expected, uint64_t seed) noexcept nogil:
    cdef uint64_t buckets = 64
    memset(t, 0, sizeof(addresses_t))
    while buckets < expected:
        buckets *= 2
    t.buckets = <address_t **>calloc(buckets, sizeof(address_t *))
    t.mask = buckets - 1
    t.seed = seed
    return -1 if t.buckets == NULL else 0


cdef void addresses_free(addresses_t *t) noexcept nogil:
    cdef address_t *address
    cdef uint64_t i
    if t.buckets == NULL:
        return
    for i in range(t.mask + 1):
        while t.buckets[i] != NULL:
            address = t.buckets[i]
            t.buckets[i] = address.next
            free(address)
    free(t.buckets)
    t.buckets = NULL


cdef inline address_t **bucket_of(addresses_t *t, const char *text, uint32_t size) noexcept nogil:
    return &t.buckets[hash_bytes(text, size, t.seed) & t.mask]


cdef address_t *address_enter(addresses_t *t, const char *text, uint32_t size, uint32_t most) noexcept nogil:
    cdef address_t **bucket
    cdef address_t *address
    if size > ADDRESS_SIZE_MAX:
        return NULL
    bucket = bucket_of(t, text, size)
    address = bucket[0]
    while address != NULL and (address.size != size or memcmp(address.text, text, size) != 0):
        address = address.next
    if address != NULL:
        if most and address.count >= most:
            return NULL
        address.count += 1
        return address
    address = <address_t *>malloc(ADDRESS_HEAD + size)
    if address == NULL:
        return NULL
    address.count = 1
    address.size = size
    memcpy(address.text, text, size)
    address.next = bucket[0]
    bucket[0] = address
    return address


cdef void address_leave(addresses_t *t, address_t *address) noexcept nogil:
    cdef address_t **link
    FZ_ASSERT(address.count > 0)
    address.count -= 1
    if address.count:
        return
    link = bucket_of(t, address.text, address.size)
    while link[0] != address:
        FZ_ASSERT(link[0] != NULL)
        link = &link[0].next
    link[0] = address.next
    free(address)


cdef address_t _drawn
assert <char *>_drawn.text - <char *>&_drawn == ADDRESS_HEAD, "the text of an address begins at ADDRESS_HEAD"
