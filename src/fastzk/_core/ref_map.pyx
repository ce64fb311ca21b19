"""Numbers for refs; see ref_map.pxd.  Open addressing: a ref stands at its hash's place or at the next free one behind it."""

from fastzk._core.layout cimport FZ_ASSERT
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef enum:
    CAPACITY_FIRST = 64


cdef inline uint64_t place_of(const ref_map_t *map, ref_t ref) noexcept nogil:
    """Where the ref stands, or would."""
    cdef uint64_t place = (<uint64_t>ref * <uint64_t>0x9e3779b97f4a7c15 >> 32) & (map.capacity - 1)
    while map.keys[place] != 0 and map.keys[place] != ref:
        place = (place + 1) & (map.capacity - 1)
    return place


cdef uint32_t ref_map_find(const ref_map_t *map, ref_t ref) noexcept nogil:
    cdef uint64_t place
    if map.capacity == 0:
        return REF_UNKNOWN
    place = place_of(map, ref)
    return map.values[place] if map.keys[place] else REF_UNKNOWN


cdef void ref_map_put(ref_map_t *map, ref_t ref, uint32_t number) noexcept nogil:
    cdef uint64_t place
    FZ_ASSERT(ref != 0)
    if 2 * (map.count + 1) > map.capacity:
        grow(map)
    place = place_of(map, ref)
    FZ_ASSERT(map.keys[place] == 0)
    map.keys[place] = ref
    map.values[place] = number
    map.count += 1


cdef void grow(ref_map_t *map) noexcept nogil:
    """Moves everything into a table of twice the size."""
    cdef ref_map_t larger
    cdef uint64_t at
    cdef uint64_t place
    larger.capacity = 2 * map.capacity if map.capacity else CAPACITY_FIRST
    larger.count = map.count
    larger.keys = <ref_t *>calloc(larger.capacity, sizeof(ref_t))
    larger.values = <uint32_t *>calloc(larger.capacity, sizeof(uint32_t))
    FZ_ASSERT(larger.keys is not NULL and larger.values is not NULL)
    for at in range(map.capacity):
        if map.keys[at]:
            place = place_of(&larger, map.keys[at])
            larger.keys[place] = map.keys[at]
            larger.values[place] = map.values[at]
    ref_map_free(map)
    map[0] = larger


cdef void ref_map_free(ref_map_t *map) noexcept nogil:
    free(map.keys)
    free(map.values)
    memset(map, 0, sizeof(ref_map_t))
