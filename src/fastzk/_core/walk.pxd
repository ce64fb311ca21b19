"""Walks over many znodes: a session's ephemerals, all that is below a path.

Reader functions (arena.pxd's reading rule); the writer may call them too.  `sequence` is that of the reader's begin: it is
looked at every 256 steps, so that a lost race ends early; the writer passes 0 and is never interrupted."""

from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport buffer_t, ref_t, znode_t
from libc.stdint cimport uint32_t, uint64_t


# Appends the jute vector of the paths of a session's ephemerals that begin with these bytes (size 0: all), newest first;
# -1 if something lies outside or the sequence has moved on: what was appended is worth nothing then.
cdef int tree_ephemerals(arena_t *a, ref_t session, const char *prefix, uint32_t size, uint64_t sequence,
                         buffer_t *out) noexcept nogil
# Counts the znodes below this one, itself not included; -1 as above.
cdef int tree_count_below(arena_t *a, const znode_t *znode, uint64_t sequence, uint32_t *count) noexcept nogil
# The same with the bytes of their data (for a quota; the writer's).
cdef int tree_weigh_below(arena_t *a, const znode_t *znode, uint64_t sequence, uint64_t *count, uint64_t *bytes) noexcept nogil
