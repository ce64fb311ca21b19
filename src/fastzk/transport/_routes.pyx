"""An open-addressing table without tombstones: what is taken out is filled by moving those behind it, so a table through
which a million short connections have passed searches as fast as a new one."""

from fastzk._core.layout cimport FZ_ASSERT
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    CAPACITY_MIN = 256


cdef inline uint32_t home_of(const routes_t *r, uint32_t routing_id) noexcept nogil:
    """Where a number would best lie.  libzmq counts up, so consecutive ones spread; the product keeps others apart."""
    return ((routing_id * <uint32_t>2654435761) >> 7) & (r.capacity - 1)


cdef uint32_t place_of(const routes_t *r, uint32_t routing_id) noexcept nogil:
    """Where it lies, or the empty place where it would go."""
    cdef uint32_t at = home_of(r, routing_id)
    while r.at[at].slot >= 0 and r.at[at].routing_id != routing_id:
        at = (at + 1) & (r.capacity - 1)
    return at


cdef void grow(routes_t *r) noexcept nogil:
    cdef routes_t old = r[0]
    cdef uint32_t i
    r.capacity = 2 * old.capacity if old.capacity else CAPACITY_MIN
    r.count = 0
    r.at = <route_t *>malloc(r.capacity * sizeof(route_t))
    FZ_ASSERT(r.at != NULL)
    memset(r.at, 0xff, r.capacity * sizeof(route_t))
    for i in range(old.capacity):
        if old.at[i].slot >= 0:
            routes_add(r, old.at[i].routing_id, old.at[i].slot)
    free(old.at)


cdef int32_t routes_find(const routes_t *r, uint32_t routing_id) noexcept nogil:
    return r.at[place_of(r, routing_id)].slot if r.capacity else -1


cdef void routes_add(routes_t *r, uint32_t routing_id, int32_t slot) noexcept nogil:
    cdef uint32_t at
    if 2 * (r.count + 1) > r.capacity:
        grow(r)
    at = place_of(r, routing_id)
    FZ_ASSERT(slot >= 0)
    FZ_ASSERT(r.at[at].slot < 0)
    r.at[at].routing_id = routing_id
    r.at[at].slot = slot
    r.count += 1


cdef void routes_remove(routes_t *r, uint32_t routing_id) noexcept nogil:
    cdef uint32_t mask = r.capacity - 1
    cdef uint32_t hole = place_of(r, routing_id)
    cdef uint32_t at = hole
    cdef uint32_t home
    FZ_ASSERT(r.at[hole].slot >= 0)
    while True:
        at = (at + 1) & mask
        if r.at[at].slot < 0:
            break
        home = home_of(r, r.at[at].routing_id)
        # It may move into the hole unless its home lies behind the hole.
        if ((at - home) & mask) >= ((at - hole) & mask):
            r.at[hole] = r.at[at]
            hole = at
    r.at[hole].slot = -1
    r.count -= 1


cdef void routes_free(routes_t *r) noexcept nogil:
    free(r.at)
    memset(r, 0, sizeof(routes_t))


cdef class Routes:
    """The table for tests."""
    cdef routes_t table

    def __dealloc__(self):
        routes_free(&self.table)

    def __len__(self):
        return self.table.count

    def find(self, uint32_t routing_id):
        """The slot of a peer, or -1."""
        return routes_find(&self.table, routing_id)

    def add(self, uint32_t routing_id, int32_t slot):
        """Adds a peer; asserts that it is not there."""
        assert slot >= 0 and routes_find(&self.table, routing_id) < 0, f"{routing_id:#x} is there already"
        routes_add(&self.table, routing_id, slot)

    def remove(self, uint32_t routing_id):
        """Takes a peer out; asserts that it is there."""
        assert routes_find(&self.table, routing_id) >= 0, f"{routing_id:#x} is not there"
        routes_remove(&self.table, routing_id)
