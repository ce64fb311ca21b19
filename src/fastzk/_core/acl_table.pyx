"""The table of interned ACLs: 256 buckets in the header, each a chain of blocks that count their references."""

from fastzk._core.arena cimport (
    arena_alloc,
    arena_change,
    arena_change_header,
    arena_free,
    arena_own,
    arena_see,
    arena_t,
    peek32,
)
from fastzk._core.layout cimport FZ_ASSERT, acl_t, arena_header_t, hash_bytes, ref_t
from fastzk._core.znode cimport ACL_HEAD, PATH_SEED
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef ref_t acl_intern(arena_t *a, const char *vector, uint32_t size) noexcept nogil:
    cdef uint32_t hash = <uint32_t>hash_bytes(vector, size, PATH_SEED)
    cdef ref_t ref = a.header.acl_buckets[hash & 255]
    cdef arena_header_t *header
    cdef acl_t *acl
    while ref:
        acl = <acl_t *>arena_own(a, ref)
        if acl.hash == hash and acl.size == size and memcmp(acl.vector, vector, size) == 0:
            acl = <acl_t *>arena_change(a, ref, ACL_HEAD)
            acl.references += 1
            return ref
        ref = acl.next
    ref = arena_alloc(a, ACL_HEAD + <uint64_t>size)
    if ref == 0:
        return 0
    header = arena_change_header(a)
    acl = <acl_t *>arena_change(a, ref, ACL_HEAD + <uint64_t>size)
    acl.next = header.acl_buckets[hash & 255]
    acl.references = 1
    acl.hash = hash
    acl.size = size
    memcpy(acl.vector, vector, size)
    header.acl_buckets[hash & 255] = ref
    header.acl_count += 1
    return ref


cdef void acl_release(arena_t *a, ref_t ref) noexcept nogil:
    cdef acl_t *acl = <acl_t *>arena_change(a, ref, ACL_HEAD)
    cdef arena_header_t *header
    cdef ref_t *at
    FZ_ASSERT(acl.references > 0)
    acl.references -= 1
    if acl.references:
        return
    header = arena_change_header(a)
    at = &header.acl_buckets[acl.hash & 255]
    while at[0] != ref:
        FZ_ASSERT(at[0] != 0)
        at = &(<acl_t *>arena_change(a, at[0], ACL_HEAD)).next
    at[0] = acl.next
    header.acl_count -= 1
    arena_free(a, ref, ACL_HEAD + <uint64_t>acl.size)


cdef const char *acl_see(arena_t *a, ref_t ref, uint32_t *size) noexcept nogil:
    cdef const acl_t *acl = <const acl_t *>arena_see(a, ref, ACL_HEAD)
    size[0] = 0
    if acl == NULL:
        return NULL
    size[0] = peek32(&acl.size)
    if arena_see(a, ref, ACL_HEAD + <uint64_t>size[0]) == NULL:
        return NULL
    return acl.vector
