"""Walks over many znodes: a session's ephemerals, all that is below a path.

Theory of operation.  A subtree is walked depth first without a stack: a znode knows its parent and its place among the
siblings, so from a leaf the way leads up to the first ancestor that has a next child.

         a            a, a/b, a/b/x, a/b/y, a/c: down to the first child, else to the next sibling, else up and on
       b   c
      x y

Rule: a reader may find anything: each step looks at its block through arena_see and checks that the znode names the parent
and place it was reached by; the sequence, and a bound by the size of the heap, end a walk that went astray."""

from fastzk._core.arena cimport (
    READ_LOOK_EVERY,
    arena_see,
    arena_t,
    arena_walk_is_over,
    peek16,
    peek32,
    peek64,
)
from fastzk._core.layout cimport (
    GRANULE,
    NULL_DATA,
    buffer_append,
    buffer_be32,
    buffer_live,
    child_list_t,
    session_t,
    store_be32,
)
from fastzk._core.znode cimport LIST_HEAD, ZNODE_HEAD, is_session_id
from libc.string cimport memcmp


cdef int tree_ephemerals(arena_t *a, ref_t session_ref, const char *prefix, uint32_t size, uint64_t sequence,
                         buffer_t *out) noexcept nogil:
    cdef const session_t *session = <const session_t *>arena_see(a, session_ref, sizeof(session_t))
    cdef const znode_t *znode
    cdef size_t place = buffer_live(out)
    cdef uint64_t owner
    cdef uint32_t path_size
    cdef uint32_t steps = 0
    cdef uint32_t kept = 0
    cdef ref_t ref
    if session == NULL:
        return -1
    owner = peek64(&session.session_id)
    ref = peek32(&session.first_ephemeral)
    buffer_be32(out, 0)
    while ref:
        znode = <const znode_t *>arena_see(a, ref, ZNODE_HEAD)
        if znode == NULL or peek64(&znode.ephemeral_owner) != owner:
            return -1
        path_size = peek16(&znode.path_size)
        if arena_see(a, ref, ZNODE_HEAD + <uint64_t>path_size) == NULL:
            return -1
        if path_size >= size and memcmp(znode.path, prefix, size) == 0:
            buffer_be32(out, path_size)
            buffer_append(out, znode.path, path_size)
            kept += 1
        ref = peek32(&znode.ephemeral_next)
        steps += 1
        if sequence and steps % READ_LOOK_EVERY == 0 and arena_walk_is_over(a, sequence, steps, ZNODE_HEAD):
            return -1
    store_be32(out.data + out.start + place, kept)
    return 0


cdef int tree_count_below(arena_t *a, const znode_t *znode, uint64_t sequence, uint32_t *count) noexcept nogil:
    cdef uint64_t bytes = 0
    cdef uint64_t found = 0
    if peek32(&znode.parent) == 0 and <const char *>znode == a.base + <uint64_t>peek32(&a.header.root) * GRANULE:
        count[0] = <uint32_t>(peek64(&a.header.znode_count) - 1)    # below the root is everything else
        return 0
    if tree_weigh_below(a, znode, sequence, &found, &bytes):
        return -1
    count[0] = <uint32_t>found
    return 0


cdef int tree_weigh_below(arena_t *a, const znode_t *top, uint64_t sequence, uint64_t *count,
                          uint64_t *bytes) noexcept nogil:
    cdef const znode_t *znode = top
    cdef ref_t top_ref = <ref_t>((<uint64_t>(<const char *>top - a.base)) // GRANULE)
    cdef ref_t ref = top_ref
    cdef ref_t parent
    cdef uint32_t place
    cdef uint32_t size
    cdef uint32_t steps = 0
    count[0] = bytes[0] = 0
    while True:
        if not is_session_id(peek64(&znode.ephemeral_owner)) and peek32(&znode.child_count):
            parent = ref
            place = 0
        else:
            # The first ancestor, from here up, after which there is a next child.
            while ref != top_ref:
                parent = peek32(&znode.parent)
                place = peek32(&znode.sibling) + 1
                znode = <const znode_t *>arena_see(a, parent, ZNODE_HEAD)
                if znode == NULL:
                    return -1
                ref = parent
                if place < peek32(&znode.child_count):
                    break
                steps += 1
                if sequence and steps % READ_LOOK_EVERY == 0 and arena_walk_is_over(a, sequence, steps, ZNODE_HEAD // 2):
                    return -1
            else:
                return 0
        ref = child_at(a, znode, parent, place)
        if ref == 0:
            return -1
        znode = <const znode_t *>arena_see(a, ref, ZNODE_HEAD)
        count[0] += 1
        size = peek32(&znode.data_size)
        if size != NULL_DATA:
            bytes[0] += size
        steps += 1
        if sequence and steps % READ_LOOK_EVERY == 0 and arena_walk_is_over(a, sequence, steps, ZNODE_HEAD // 2):
            return -1


cdef inline ref_t child_at(arena_t *a, const znode_t *parent, ref_t parent_ref, uint32_t place) noexcept nogil:
    """The child at a place of a znode's list, which names this parent and place; else 0."""
    cdef const child_list_t *siblings = <const child_list_t *>arena_see(
        a, peek32(&parent.children), LIST_HEAD + (<uint64_t>place + 1) * sizeof(ref_t))
    cdef const znode_t *child
    cdef ref_t ref
    if siblings == NULL:
        return 0
    ref = peek32(&siblings.child[place])
    child = <const znode_t *>arena_see(a, ref, ZNODE_HEAD)
    if child == NULL or peek32(&child.parent) != parent_ref or peek32(&child.sibling) != place:
        return 0
    return ref
