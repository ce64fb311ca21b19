"""A change of the tree with all that hangs on it: the CHANGE items for the watches, and the quota statistics.

Rule: whoever changes a znode of the living tree does it here: clients' writes, the end of a session, the leader's own entries.
Rule: the CHANGE of a znode stands before that of its parent.  Each carries the ACL a watcher needs READ in, when that is not
everybody: the znode's own, of a deleted one the last; the parent's for its children.
Rule: items are put out for what can no longer fail."""

from fastzk._core.acl cimport acl_vector_permits, caller_t
from fastzk._core.acl_table cimport acl_see
from fastzk._core.arena cimport arena_own
from fastzk._core.codes cimport (
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    PERM_READ,
)
from fastzk._core.items cimport outbox_change
from fastzk._core.layout cimport FZ_ASSERT, NULL_DATA, znode_t
from fastzk._core.paths cimport PATH_SIZE_MAX
from fastzk._core.quota cimport quota_after_create, quota_after_delete, quota_after_set, quota_is_concerned
from fastzk._core.tree cimport tree_create, tree_delete, tree_set_data, tree_stat
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset


cdef inline int64_t bytes_of(uint32_t data_size) noexcept nogil:
    return 0 if data_size == NULL_DATA else data_size


cdef int change_create(arena_t *a, outbox_t *out, const moment_t *now, ref_t parent, const char *made, uint32_t made_size,
                       const char *data, uint32_t data_size, ref_t acl, uint64_t owner, buffer_t *stat) noexcept nogil:
    cdef const znode_t *znode
    cdef ref_t ref = 0
    cdef int err = tree_create(a, parent, made, made_size, data, data_size, acl, owner, now.zxid, now.time_ms, &ref)
    if err:
        return err
    znode = <const znode_t *>arena_own(a, ref)
    if stat is not NULL:
        tree_stat(znode, stat)
    announce(a, out, EVENT_CREATED, now, znode)
    if quota_is_concerned(a, made, made_size):
        quota_after_create(a, made, made_size, bytes_of(data_size))
    return 0


cdef int change_data(arena_t *a, outbox_t *out, const moment_t *now, ref_t ref, const char *data, uint32_t data_size,
                     buffer_t *stat) noexcept nogil:
    cdef const znode_t *znode = <const znode_t *>arena_own(a, ref)
    cdef int64_t before = bytes_of(znode.data_size)
    cdef int err = tree_set_data(a, ref, data, data_size, now.zxid, now.time_ms)
    if err:
        return err
    if stat is not NULL:
        tree_stat(znode, stat)
    announce(a, out, EVENT_DATA_CHANGED, now, znode)
    if quota_is_concerned(a, znode.path, znode.path_size):
        quota_after_set(a, znode.path, znode.path_size, bytes_of(data_size) - before)
    return 0


cdef void change_delete(arena_t *a, outbox_t *out, const moment_t *now, ref_t ref) noexcept nogil:
    cdef const znode_t *znode = <const znode_t *>arena_own(a, ref)
    cdef char path[PATH_SIZE_MAX]
    cdef uint32_t path_size = znode.path_size
    cdef int64_t bytes
    announce(a, out, EVENT_DELETED, now, znode)
    if not quota_is_concerned(a, znode.path, path_size):
        tree_delete(a, ref, now.zxid)
        return
    FZ_ASSERT(path_size <= PATH_SIZE_MAX)
    memcpy(path, znode.path, path_size)             # the znode is about to go
    bytes = bytes_of(znode.data_size)
    tree_delete(a, ref, now.zxid)
    quota_after_delete(a, path, path_size, bytes)


cdef void announce(arena_t *a, outbox_t *out, int event, const moment_t *now, const znode_t *znode) noexcept nogil:
    """Tells of a change of the znode, and of its parent's children when it came or goes."""
    cdef const znode_t *parent
    cdef const char *vector
    cdef uint32_t size = 0
    if out.count == 0:
        return
    vector = guard_of(a, znode.acl, &size)
    outbox_change(out, event, now.zxid, znode.path, znode.path_size, vector, size)
    if event != EVENT_DATA_CHANGED:
        parent = <const znode_t *>arena_own(a, znode.parent)
        vector = guard_of(a, parent.acl, &size)
        outbox_change(out, EVENT_CHILDREN_CHANGED, now.zxid, parent.path, parent.path_size, vector, size)


cdef inline const char *guard_of(arena_t *a, ref_t acl, uint32_t *size) noexcept nogil:
    """The vector that says who may know; size 0 when it is anyone."""
    cdef const char *vector
    cdef caller_t anyone
    size[0] = 0
    if acl == a.header.acl_open:
        return NULL
    memset(&anyone, 0, sizeof(anyone))
    vector = acl_see(a, acl, size)
    FZ_ASSERT(vector is not NULL)
    if acl_vector_permits(vector, size[0], PERM_READ, &anyone):
        size[0] = 0
    return vector
