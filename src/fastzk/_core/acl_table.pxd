"""ACLs are interned: equal vectors are one block.  `vector` is the jute vector; a znode holds one reference."""

from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport ref_t
from libc.stdint cimport uint32_t


# Takes a reference; 0 when the arena is full.
cdef ref_t acl_intern(arena_t *a, const char *vector, uint32_t size) noexcept nogil
# Drops a reference, and the block with the last one.
cdef void acl_release(arena_t *a, ref_t acl) noexcept nogil
# The readers' way to a vector: NULL if it lies outside the heap; its size, checked, goes into `size`.
cdef const char *acl_see(arena_t *a, ref_t acl, uint32_t *size) noexcept nogil
