"""The leader's own entries that change the tree: the configuration znode, and the containers and TTL znodes whose time is over.

    config -14   the data of /zookeeper/config: set, with an event, when it is another; no ACL is asked
    reap    20   string path: deleted, with its events, if that is_reapable at the block's time

The leader proposes a reap for what `find_reapable` shows it; whether it still holds is decided where the entry is applied, by
the time in the block, alike on every node.  So a proposal that comes late, twice or after a change of mind does no harm.

Rule: nobody waits for these entries: they have no session, no number and no result."""

from fastzk._core.arena cimport Arena, arena_own, arena_use_reserve, arena_write_begin, arena_write_end
from fastzk._core.changes cimport change_data, change_delete
from fastzk._core.codes cimport ERR_OK
from fastzk._core.jute cimport jute_bytes, jute_over, jute_t
from fastzk._core.layout cimport FZ_ASSERT, znode_t
from fastzk._core.tree cimport tree_find
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcmp


cdef enum:
    NOTHING_DONE = 1            # apply.pxd's ENTRY_IGNORED

cdef uint64_t CONTAINER_OWNER = <uint64_t>1 << 63
cdef uint64_t TTL_MASK = (<uint64_t>1 << 40) - 1


cdef int config_apply(arena_t *a, outbox_t *out, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef ref_t ref = tree_find(a, b"/zookeeper/config", 17)
    cdef const znode_t *znode
    cdef int err = NOTHING_DONE
    FZ_ASSERT(ref != 0)                             # nobody can delete it
    znode = <const znode_t *>arena_own(a, ref)
    arena_write_begin(a)
    if not is_data(a, znode, entry.body, entry.body_size):
        arena_use_reserve(a)
        err = change_data(a, out, now, ref, entry.body, entry.body_size, NULL)
    arena_write_end(a, now.zxid, now.index, now.time_ms)
    return err


cdef inline bint is_data(arena_t *a, const znode_t *znode, const char *data, uint32_t size) noexcept nogil:
    if znode.data_size != size:
        return False
    return size == 0 or memcmp(<const char *>arena_own(a, znode.data), data, size) == 0


cdef int reap_apply(arena_t *a, outbox_t *out, const entry_t *entry, const moment_t *now) noexcept nogil:
    cdef jute_t r = jute_over(entry.body, entry.body_size)
    cdef int32_t path_size = 0
    cdef const char *path = jute_bytes(&r, &path_size)
    cdef ref_t ref = 0 if path is NULL else tree_find(a, path, <uint32_t>path_size)
    cdef int err = NOTHING_DONE
    arena_write_begin(a)
    if ref and is_reapable(a, ref, now.time_ms):
        arena_use_reserve(a)
        change_delete(a, out, now, ref)
        err = ERR_OK
    arena_write_end(a, now.zxid, now.index, now.time_ms)
    return err


cdef bint is_reapable(arena_t *a, ref_t ref, int64_t now_ms) noexcept nogil:
    cdef const znode_t *znode = <const znode_t *>arena_own(a, ref)
    cdef uint64_t owner = znode.ephemeral_owner
    if owner == CONTAINER_OWNER:
        return znode.child_count == 0 and znode.cversion > 0
    if owner >> 56 != 0xff:
        return False
    return znode.child_count == 0 and now_ms - znode.mtime_ms > <int64_t>(owner & TTL_MASK)


def find_reapable(Arena arena not None, uint64_t cursor, uint64_t buckets, int64_t now_ms, bint has_containers,
                  size_t count_max) -> tuple[int, list[bytes]]:
    """Looks through so many buckets of the index for what is_reapable; gives where to go on, 0 at the end, and the paths.
    Containers are among them if they are asked for.

    It ends early, with a bucket, when there are `count_max` paths.  The writer's own look, between two writes."""
    cdef arena_t *a = &arena.arena
    cdef const ref_t *bucket = <const ref_t *>(a.base + a.index_offset)
    cdef uint64_t end = (<uint64_t>1 << a.header.index_level) + a.header.index_split
    cdef const znode_t *znode
    cdef ref_t ref
    found: list[bytes] = []
    if a.header.reapable_count == 0:
        return 0, found
    while cursor < end and buckets > 0 and <size_t>len(found) < count_max:
        ref = bucket[cursor]
        while ref:
            znode = <const znode_t *>arena_own(a, ref)
            if (znode.ephemeral_owner and (has_containers or znode.ephemeral_owner != CONTAINER_OWNER)
                    and is_reapable(a, ref, now_ms)):
                found.append(znode.path[:znode.path_size])
            ref = znode.hash_next
        cursor += 1
        buckets -= 1
    return (cursor if cursor < end else 0), found
