"""Numbers for refs: a hash table in the process's own memory, which only grows."""

from fastzk._core.layout cimport ref_t
from libc.stdint cimport uint32_t, uint64_t


ctypedef struct ref_map_t:      # all zero is an empty one
    ref_t *keys                 # 0 is an empty place
    uint32_t *values
    uint64_t capacity           # a power of two, at most half of it in use; or 0
    uint64_t count


cdef enum:
    REF_UNKNOWN = 0xffffffff


# The number of a ref, or REF_UNKNOWN.
cdef uint32_t ref_map_find(const ref_map_t *map, ref_t ref) noexcept nogil
# Gives a ref that is not in it a number.
cdef void ref_map_put(ref_map_t *map, ref_t ref, uint32_t number) noexcept nogil
# Gives the memory back.
cdef void ref_map_free(ref_map_t *map) noexcept nogil
