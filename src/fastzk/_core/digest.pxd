"""The digest of the tree: the sum mod 2^128, over all znodes, of H1(path, Stat, ACL) + H2(path, data).

Whoever changes a znode takes its old parts out of the header's sum and puts the new ones in; H2 is computed again only when
the data changes.  It is the same on every node that applied the same entries.  It finds accidents, not forgers."""

from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport znode_t
from libc.stdint cimport uint32_t, uint64_t


# `hash` is path_hash() of the znode's path.  Between take and put the znode is changed.
cdef void digest_take_stat(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil
cdef void digest_put_stat(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil
cdef void digest_take_data(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil
cdef void digest_put_data(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil
# Debug builds: now and then, by the zxid, the sum must be what a fresh computation gives.
cdef void digest_check(arena_t *a, uint64_t zxid) noexcept nogil
# From scratch; equals header.digest_* (debug builds and tests).
cdef void tree_digest(arena_t *a, uint64_t *low, uint64_t *high) noexcept nogil
# The parts themselves: of a znode's fields and its ACL's hash; of data that is neither null nor empty.
cdef void digest_of_stat(const znode_t *znode, uint32_t acl_hash, uint64_t hash, uint64_t *low, uint64_t *high) noexcept nogil
cdef void digest_of_data(const char *data, uint32_t size, uint64_t hash, uint64_t *low, uint64_t *high) noexcept nogil


cdef inline void digest_add(uint64_t *low, uint64_t *high, uint64_t plus_low, uint64_t plus_high) noexcept nogil:
    """Adds 128 bits to 128."""
    low[0] += plus_low
    high[0] += plus_high + (low[0] < plus_low)
