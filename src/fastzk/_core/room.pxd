"""Whether there is room for more, judged by what the tree holds and never by the allocator.

A node that came to its tree by a snapshot has other gaps in its heap than one that applied every entry; a create that found a
block on the one and none on the other would part them (Z3).  So what counts is the same on all of them: znodes, bytes and ACLs,
each with what it costs at most but for gaps, against half of the heap; sessions against a quarter of it, so that who wants to
delete can come in.  The rest is for gaps; a node whose heap is full all the same ends loudly, and comes back from a snapshot,
which has none."""

from fastzk._core.arena cimport arena_t
from libc.stdint cimport uint64_t


cdef enum:
    ZNODE_COST = 256            # znode_t, its place in the child list, what the allocator rounds up
    SESSION_COST = 256          # session_t; few sessions have results_t, too
    ACL_COST = 512


cdef inline bint room_is_left(arena_t *a, uint64_t more) noexcept nogil:
    """Whether `more` bytes of paths and data may be added, with a znode for them."""
    cdef uint64_t cost = a.header.data_bytes + a.header.znode_count * ZNODE_COST + a.header.acl_count * ACL_COST
    return cost + more <= (a.capacity - a.heap_offset) // 2


cdef inline bint room_is_left_for_a_session(arena_t *a) noexcept nogil:
    return a.header.session_count * SESSION_COST <= (a.capacity - a.heap_offset) // 4
