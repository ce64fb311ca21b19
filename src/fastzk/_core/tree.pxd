"""The namespace in the arena: znodes by path, child lists, data; with the ACLs, the sessions and the digest beside it.

Writer functions are called between arena_write_begin and arena_write_end; they return a ZooKeeper error code (0 is OK)
and change nothing when it is not 0.  They know nothing of permissions and versions: who calls them asks first.
Reader functions follow the reading rule of arena.pxd and may be called by the writer too; they answer NULL/0 for anything
that does not look right, which the caller's arena_read_valid then explains."""

# The door to the tree: what stands in these is had from here as well.
from fastzk._core.acl_table cimport acl_intern, acl_release, acl_see
from fastzk._core.arena cimport arena_t
from fastzk._core.digest cimport tree_digest
from fastzk._core.layout cimport buffer_t, ref_t, znode_t
from fastzk._core.session_table cimport session_create, session_find, session_remove
from fastzk._core.walk cimport tree_count_below, tree_ephemerals, tree_weigh_below
from fastzk._core.znode cimport is_session_id
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef enum:
    PATH_SIZE_MAX = 65524       # a path and its sequence number are counted in 16 bits
    SEQUENCE_SIZE_MAX = 11      # "-2147483648"
    DATA_SIZE_MAX = 1 << 24     # so that a reader that misread a size copies no more than this in vain


# The writer's looks at what it is asked to do; nothing is changed.
# The znode above a path that has a slash, or 0.
cdef ref_t tree_parent(arena_t *a, const char *path, uint32_t path_size) noexcept nogil
# Judges a create, and makes the new znode's path: when it is sequential, ten digits of the parent's child counter are
# appended.  `made` (room for path_size + 11 bytes) receives it, made_size its size.
# Errors: NoChildrenForEphemerals, NodeExists; BadArguments for a path without a name, or sizes above the limits.
cdef int tree_judge_create(arena_t *a, ref_t parent, const char *path, uint32_t path_size, uint32_t data_size,
                           bint is_sequential, char *made, uint32_t *made_size) noexcept nogil
# Errors: BadVersion, NotEmpty; BadArguments for the root.  version -1 is any.
cdef int tree_judge_delete(arena_t *a, ref_t ref, int32_t version) noexcept nogil

# Makes the znode of a path that tree_judge_create has made.  `owner` is the ephemeral owner as stored: 0, a container's or a
# TTL's mark, or a session's id.  acl is a reference the caller has taken by acl_intern: on 0 the znode has it, else the
# caller still has.  Errors: SessionExpired (no such owner), SystemError when the arena is full.
cdef int tree_create(arena_t *a, ref_t parent, const char *made, uint32_t made_size, const char *data, uint32_t data_size,
                     ref_t acl, uint64_t owner, uint64_t zxid, int64_t time_ms, ref_t *ref) noexcept nogil
# Deletes a znode that tree_judge_delete let pass.
cdef void tree_delete(arena_t *a, ref_t ref, uint64_t zxid) noexcept nogil
# Errors: SystemError when the arena is full; BadArguments for data above the limit.  data_size may be NULL_DATA.
cdef int tree_set_data(arena_t *a, ref_t ref, const char *data, uint32_t data_size, uint64_t zxid, int64_t time_ms) noexcept nogil
# The same without a trace in the Stat (but the size): ZooKeeper's way with a quota's statistics.
cdef int tree_overwrite_data(arena_t *a, ref_t ref, const char *data, uint32_t data_size) noexcept nogil
# Gives a znode another ACL and a higher aversion; takes over the caller's reference.
cdef void tree_set_acl(arena_t *a, ref_t ref, ref_t acl) noexcept nogil

# Finds a znode (its ref, or 0), in O(1).  Both for readers and the writer.
cdef ref_t tree_find(arena_t *a, const char *path, uint32_t path_size) noexcept nogil
# The znode at ref with its whole path inside the heap, or NULL.
cdef const znode_t *tree_see(arena_t *a, ref_t ref) noexcept nogil
# Appends the 68 bytes of a Stat as a client sees it.
cdef void tree_stat(const znode_t *znode, buffer_t *out) noexcept nogil
# Appends jute `buffer data` of a znode; -1 if what it refers to lies outside the heap.
cdef int tree_data(arena_t *a, const znode_t *znode, buffer_t *out) noexcept nogil
# Appends the jute vector of the children's names; -1 if something lies outside, or if the sequence is no longer `sequence`
# (looked at every 256 children, so that a lost race ends early; the writer passes 0 and is never interrupted).
cdef int tree_children(arena_t *a, const znode_t *znode, uint64_t sequence, buffer_t *out) noexcept nogil

# A new tree: /, /zookeeper, /zookeeper/quota, /zookeeper/config; all zxids and times 0.  A write of its own (it begins and
# ends one).  Raises MemoryError when the arena is too small for it, ValueError when it has a tree.
cdef int tree_format(arena_t *a) except -1
