"""The roll of the sessions, for the four-letter word dump: all of them with their ephemerals, as Python values.

Rule: the writer's process only: nothing here is checked against a write in between."""

from fastzk._core.arena cimport Arena, arena_see, arena_t
from fastzk._core.layout cimport FZ_ASSERT, ref_t, session_t, znode_t
from fastzk._core.tree cimport tree_see


def call_roll(Arena arena not None) -> list[tuple[int, int, list[bytes]]]:
    cdef arena_t *a = &arena.arena
    cdef ref_t ref = a.header.first_session
    cdef const session_t *session
    found = []
    while ref:
        session = <const session_t *>arena_see(a, ref, sizeof(session_t))
        FZ_ASSERT(session != NULL)
        found.append((session.session_id, session.timeout_ms, ephemerals(a, session)))
        ref = session.next
    found.reverse()
    return found


cdef list ephemerals(arena_t *a, const session_t *session):
    """The paths of the session's ephemerals, the oldest first."""
    cdef ref_t ref = session.first_ephemeral
    cdef const znode_t *znode
    paths = []
    while ref:
        znode = tree_see(a, ref)
        FZ_ASSERT(znode != NULL)
        paths.append(znode.path[:znode.path_size])
        ref = znode.ephemeral_next
    paths.reverse()
    return paths
