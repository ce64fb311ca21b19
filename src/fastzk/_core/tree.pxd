"""The namespace in the arena: znodes by path, child lists, data; with the ACLs, the sessions and the digest beside it.

Writer functions are called between arena_write_begin and arena_write_end; they return a ZooKeeper error code (0 is OK)
and change nothing when it is not 0.  They know nothing of permissions: apply.pyx asks first.
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
    FLAG_EPHEMERAL = 1
    FLAG_SEQUENTIAL = 2

    PATH_SIZE_MAX = 65524       # a path and its sequence number are counted in 16 bits
    SEQUENCE_SIZE_MAX = 11      # "-2147483648"
    DATA_SIZE_MAX = 1 << 24     # so that a reader that misread a size copies no more than this in vain


# Flags of create: ephemeral 1, sequential 2.  When sequential, ten digits of the parent's child counter are appended to the path.
# `made` receives the path (room for path_size + 11 bytes), made_size its size; owner is the session's id (looked at only
# of an ephemeral).  acl is a reference the caller has taken by acl_intern: on 0 the znode has it, else the caller still has.
# Errors: NoNode (parent), NoChildrenForEphemerals, NodeExists, SessionExpired (no such owner); SystemError (-1) when the
# arena is full; BadArguments for a path without slash or name, or sizes above the limits.
cdef int tree_create(arena_t *a, const char *path, uint32_t path_size, const char *data, uint32_t data_size, ref_t acl,
                     int32_t flags, uint64_t owner, uint64_t zxid, int64_t time_ms, char *made, uint32_t *made_size) noexcept nogil
# Errors: NoNode, BadVersion, NotEmpty; BadArguments for the root.  version -1 is any.  path may be the znode's own.
cdef int tree_delete(arena_t *a, const char *path, uint32_t path_size, int32_t version, uint64_t zxid) noexcept nogil
# Errors: NoNode, BadVersion; -1 when the arena is full.  data_size may be NULL_DATA.
cdef int tree_set_data(arena_t *a, const char *path, uint32_t path_size, const char *data, uint32_t data_size,
                       int32_t version, uint64_t zxid, int64_t time_ms) noexcept nogil
# Gives a znode another ACL and a higher aversion; takes over the caller's reference on 0.
# Errors: NoNode, BadVersion (`version` is the aversion).
cdef int tree_set_acl(arena_t *a, const char *path, uint32_t path_size, ref_t acl, int32_t version) noexcept nogil

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
