"""The leader's own entries that change the tree: the configuration znode, and the containers and TTL znodes whose time is over."""

from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.layout cimport entry_t, ref_t
from fastzk._core.operation cimport moment_t
from libc.stdint cimport int64_t


# Each applies one entry and gives an error code, or 1: it had nothing to do (and nothing but the zxid has moved).
cdef int config_apply(arena_t *a, outbox_t *out, const entry_t *entry, const moment_t *now) noexcept nogil
cdef int reap_apply(arena_t *a, outbox_t *out, const entry_t *entry, const moment_t *now) noexcept nogil
# Whether a znode is a container that had children and has none, or a TTL znode without children and older than its ttl.
cdef bint is_reapable(arena_t *a, ref_t ref, int64_t now_ms) noexcept nogil
