"""The namespace in the arena: znodes by path, child lists, data.

    header.root, buckets -> znode_t -> data        bytes
                                    -> acl         acl_t, shared by all znodes with the same vector (acl_table.pyx)
                                    -> children    child_list_t -> znode_t ... (each knows its place: sibling)

The path index is a linear hash table: 2^level buckets, of which the first `split` are split in two; each create that
brings the load above one splits one more bucket, so no insertion ever waits for a rehash.

Rules: a writer function first makes sure of every block it needs and then changes the tree, so an error leaves no trace in
it; what a request may ask is judged before, by the tree_judge functions and their callers.  A reader function takes each value
that it checks by peek, once, and bounds each walk."""

from fastzk._core.acl_table cimport acl_intern, acl_release
from fastzk._core.arena cimport (
    READ_LOOK_EVERY,
    Arena,
    arena_alloc,
    arena_barrier,
    arena_block_size,
    arena_change,
    arena_change_bucket,
    arena_change_header,
    arena_free,
    arena_own,
    arena_see,
    arena_t,
    arena_walk_is_over,
    arena_write_begin,
    arena_write_end,
    peek16,
    peek32,
    peek64,
    prefetch,
)
from fastzk._core.codes cimport (
    ERR_BAD_ARGUMENTS,
    ERR_BAD_VERSION,
    ERR_NODE_EXISTS,
    ERR_NOT_EMPTY,
    ERR_NO_CHILDREN_FOR_EPHEMERALS,
    ERR_OK,
    ERR_SESSION_EXPIRED,
    ERR_SYSTEM,
)
from fastzk._core.digest cimport (
    digest_check,
    digest_put_data,
    digest_put_stat,
    digest_take_data,
    digest_take_stat,
    tree_digest,
)
from fastzk._core.layout cimport (
    FZ_ASSERT,
    GRANULE,
    NULL_DATA,
    acl_t,
    arena_header_t,
    buffer_append,
    buffer_be32,
    buffer_be64,
    buffer_t,
    child_list_t,
    ref_t,
    znode_t,
)
from fastzk._core.session_table cimport session_disown, session_find, session_own
from fastzk._core.znode cimport ACL_HEAD, LIST_HEAD, ZNODE_HEAD, bucket_of, is_session_id, path_hash
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset


cdef enum:
    LIST_SHRINK_MIN = 60        # children; smaller lists are not worth shrinking
    PREFETCH_AHEAD = 8

FZ_ASSERT(sizeof(acl_t) == ACL_HEAD and sizeof(child_list_t) == LIST_HEAD)


def format_tree(Arena arena) -> None:
    """Makes a new tree in a new arena.  Raises MemoryError when the arena is too small, ValueError when it has a tree."""
    tree_format(&arena.arena)


def digest(Arena arena) -> int:
    """The digest of the whole tree, computed from scratch; the writer's, or between writes."""
    cdef uint64_t low = 0
    cdef uint64_t high = 0
    with nogil:
        tree_digest(&arena.arena, &low, &high)
    return <object>high << 64 | low


# Writing.

cdef ref_t tree_parent(arena_t *a, const char *path, uint32_t path_size) noexcept nogil:
    cdef uint32_t slash = path_size
    while path[slash - 1] != c"/":
        slash -= 1
    return tree_find(a, path, slash - 1 if slash > 1 else 1)


cdef int tree_judge_create(arena_t *a, ref_t parent_ref, const char *path, uint32_t path_size, uint32_t data_size,
                           bint is_sequential, char *made, uint32_t *made_size) noexcept nogil:
    cdef const znode_t *parent = <const znode_t *>arena_own(a, parent_ref)
    cdef uint32_t size = path_size
    if path_size > PATH_SIZE_MAX or (data_size != NULL_DATA and data_size > DATA_SIZE_MAX):
        return ERR_BAD_ARGUMENTS
    if is_session_id(parent.ephemeral_owner):
        return ERR_NO_CHILDREN_FOR_EPHEMERALS
    memcpy(made, path, path_size)
    if is_sequential:
        size += write_sequence(made + size, parent.cversion)
    if made[size - 1] == c"/":
        return ERR_BAD_ARGUMENTS
    made_size[0] = size
    return ERR_NODE_EXISTS if tree_find(a, made, size) else ERR_OK


cdef int tree_create(arena_t *a, ref_t parent, const char *made, uint32_t made_size, const char *data, uint32_t data_size,
                     ref_t acl, uint64_t owner, uint64_t zxid, int64_t time_ms, ref_t *ref_made) noexcept nogil:
    cdef uint32_t slash = made_size
    cdef ref_t session = 0
    cdef ref_t data_ref = 0
    cdef ref_t ref
    cdef znode_t *znode
    while made[slash - 1] != c"/":               # the path begins with one
        slash -= 1
    if is_session_id(owner):
        session = session_find(a, owner)
        if session == 0:
            return ERR_SESSION_EXPIRED
    ref = arena_alloc(a, ZNODE_HEAD + made_size)
    if ref == 0:
        return ERR_SYSTEM
    if not store_data(a, data, data_size, &data_ref):
        arena_free(a, ref, ZNODE_HEAD + made_size)
        return ERR_SYSTEM
    if not make_room_for_child(a, parent):       # last: an empty child list must not be left behind
        if data_ref:
            arena_free(a, data_ref, data_size)
        arena_free(a, ref, ZNODE_HEAD + made_size)
        return ERR_SYSTEM
    znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD + made_size)
    memset(znode, 0, ZNODE_HEAD)
    znode.czxid = znode.mzxid = znode.pzxid = zxid
    znode.ctime_ms = znode.mtime_ms = time_ms
    znode.parent = parent
    znode.acl = acl
    znode.data = data_ref
    znode.data_size = data_size
    znode.path_size = <uint16_t>made_size
    znode.name_offset = <uint16_t>slash
    memcpy(znode.path, made, made_size)
    if session:
        session_own(a, session, ref, znode)
    elif owner:
        znode.ephemeral_owner = owner
        arena_change_header(a).reapable_count += 1
    insert(a, ref, znode)
    add_child(a, parent, ref, znode, zxid)
    digest_check(a, zxid)
    ref_made[0] = ref
    return ERR_OK


cdef void insert(arena_t *a, ref_t ref, znode_t *znode) noexcept nogil:
    """Counts a znode whose fields are complete, and puts it into the index."""
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t hash = path_hash(znode.path, znode.path_size)
    cdef ref_t *bucket
    znode.path_hash = <uint32_t>hash
    bucket = arena_change_bucket(a, bucket_of(header.index_level, header.index_split, znode.path_hash))
    znode.hash_next = bucket[0]
    bucket[0] = ref
    header.znode_count += 1
    header.data_bytes += znode.path_size
    if znode.data:
        header.data_bytes += znode.data_size
    digest_put_stat(a, znode, hash)
    digest_put_data(a, znode, hash)
    if header.znode_count > (<uint64_t>1 << header.index_level) + header.index_split:
        split_bucket(a)


cdef bint make_room_for_child(arena_t *a, ref_t parent_ref) noexcept nogil:
    cdef const znode_t *parent = <const znode_t *>arena_own(a, parent_ref)
    cdef uint32_t capacity = 0
    if parent.children:
        capacity = (<const child_list_t *>arena_own(a, parent.children)).capacity
        if parent.child_count < capacity:
            return True
    return resize_children(a, parent_ref, <uint64_t>capacity + capacity // 2 + 1)


cdef bint resize_children(arena_t *a, ref_t parent_ref, uint64_t capacity) noexcept nogil:
    """Moves a parent's child list into a block for at least `capacity`; False when there is none."""
    cdef znode_t *parent = <znode_t *>arena_change(a, parent_ref, ZNODE_HEAD)
    cdef uint64_t size = arena_block_size(LIST_HEAD + capacity * sizeof(ref_t))
    cdef child_list_t *fresh
    cdef child_list_t *old
    cdef ref_t ref = arena_alloc(a, size) if size else 0
    if ref == 0:
        return False
    fresh = <child_list_t *>arena_change(a, ref, size)
    fresh.capacity = <uint32_t>((size - LIST_HEAD) // sizeof(ref_t))
    if parent.children:
        old = <child_list_t *>arena_own(a, parent.children)
        memcpy(fresh.child, old.child, parent.child_count * sizeof(ref_t))
        arena_free(a, parent.children, LIST_HEAD + <uint64_t>old.capacity * sizeof(ref_t))
    parent.children = ref
    return True


cdef void add_child(arena_t *a, ref_t parent_ref, ref_t ref, znode_t *znode, uint64_t zxid) noexcept nogil:
    cdef znode_t *parent = <znode_t *>arena_change(a, parent_ref, ZNODE_HEAD)
    cdef uint64_t hash = path_hash(parent.path, parent.path_size)
    digest_take_stat(a, parent, hash)
    change_child(a, parent.children, parent.child_count)[0] = ref
    znode.sibling = parent.child_count
    parent.child_count += 1
    parent.cversion = next_int(parent.cversion)
    parent.pzxid = zxid
    digest_put_stat(a, parent, hash)


cdef void remove_child(arena_t *a, const znode_t *znode, uint64_t zxid) noexcept nogil:
    """The last child takes the place of the one that goes."""
    cdef znode_t *parent = <znode_t *>arena_change(a, znode.parent, ZNODE_HEAD)
    cdef uint64_t hash = path_hash(parent.path, parent.path_size)
    cdef child_list_t *siblings
    cdef ref_t moved
    digest_take_stat(a, parent, hash)
    siblings = <child_list_t *>arena_own(a, parent.children)
    FZ_ASSERT(znode.sibling < parent.child_count and parent.child_count <= siblings.capacity)
    parent.child_count -= 1
    parent.pzxid = zxid
    digest_put_stat(a, parent, hash)
    if znode.sibling != parent.child_count:
        moved = siblings.child[parent.child_count]
        change_child(a, parent.children, znode.sibling)[0] = moved
        (<znode_t *>arena_change(a, moved, ZNODE_HEAD)).sibling = znode.sibling
    if parent.child_count == 0:
        arena_free(a, parent.children, LIST_HEAD + <uint64_t>siblings.capacity * sizeof(ref_t))
        parent.children = 0
    elif siblings.capacity >= LIST_SHRINK_MIN and parent.child_count < siblings.capacity // 4:
        resize_children(a, znode.parent, parent.child_count * 2)    # in a full arena it stays as it is


cdef inline ref_t *change_child(arena_t *a, ref_t siblings, uint32_t place) noexcept nogil:
    cdef uint64_t offset = <uint64_t>siblings * GRANULE + LIST_HEAD + <uint64_t>place * sizeof(ref_t)
    arena_barrier(a, offset, sizeof(ref_t))
    return <ref_t *>(a.base + offset)


cdef uint32_t write_sequence(char *to, int32_t value) noexcept nogil:
    """Java's "%010d": ten characters with leading zeros, the sign among them; gives how many, 11 for the lowest value."""
    cdef uint32_t left = -<uint32_t>value if value < 0 else <uint32_t>value
    cdef uint32_t size = 11 if value == -2147483648 else 10
    cdef uint32_t place = size
    while place:
        place -= 1
        to[place] = <char>(c"0" + left % 10)
        left //= 10
    if value < 0:
        to[0] = c"-"
    return size


cdef inline int32_t next_int(int32_t value) noexcept nogil:
    """One more, wrapping as Java's int does."""
    return <int32_t>(<uint32_t>value + 1)


cdef int tree_judge_delete(arena_t *a, ref_t ref, int32_t version) noexcept nogil:
    cdef const znode_t *znode = <const znode_t *>arena_own(a, ref)
    if znode.parent == 0:
        return ERR_BAD_ARGUMENTS
    if version != -1 and version != znode.version:
        return ERR_BAD_VERSION
    return ERR_NOT_EMPTY if not is_session_id(znode.ephemeral_owner) and znode.child_count else ERR_OK


cdef void tree_delete(arena_t *a, ref_t ref, uint64_t zxid) noexcept nogil:
    cdef const znode_t *znode = <const znode_t *>arena_own(a, ref)
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t hash = path_hash(znode.path, znode.path_size)
    digest_take_stat(a, znode, hash)
    digest_take_data(a, znode, hash)
    unlink_bucket(a, ref, znode)
    remove_child(a, znode, zxid)
    if is_session_id(znode.ephemeral_owner):
        session_disown(a, znode)
    elif znode.ephemeral_owner:
        header.reapable_count -= 1
    header.znode_count -= 1
    header.data_bytes -= znode.path_size
    if znode.data:
        header.data_bytes -= znode.data_size
        arena_free(a, znode.data, znode.data_size)
    acl_release(a, znode.acl)
    arena_free(a, ref, ZNODE_HEAD + znode.path_size)
    digest_check(a, zxid)


cdef int tree_set_data(arena_t *a, ref_t ref, const char *data, uint32_t data_size, uint64_t zxid, int64_t time_ms) noexcept nogil:
    cdef znode_t *znode
    cdef uint64_t hash
    cdef ref_t data_ref = 0
    if data_size != NULL_DATA and data_size > DATA_SIZE_MAX:
        return ERR_BAD_ARGUMENTS
    if not store_data(a, data, data_size, &data_ref):
        return ERR_SYSTEM
    znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD)
    hash = path_hash(znode.path, znode.path_size)
    digest_take_stat(a, znode, hash)
    replace_data(a, znode, hash, data_ref, data_size)
    znode.version = next_int(znode.version)
    znode.mzxid = zxid
    znode.mtime_ms = time_ms
    digest_put_stat(a, znode, hash)
    digest_check(a, zxid)
    return ERR_OK


cdef int tree_overwrite_data(arena_t *a, ref_t ref, const char *data, uint32_t data_size) noexcept nogil:
    cdef znode_t *znode
    cdef uint64_t hash
    cdef ref_t data_ref = 0
    if not store_data(a, data, data_size, &data_ref):
        return ERR_SYSTEM
    znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD)
    hash = path_hash(znode.path, znode.path_size)
    digest_take_stat(a, znode, hash)
    replace_data(a, znode, hash, data_ref, data_size)
    digest_put_stat(a, znode, hash)
    return ERR_OK


cdef inline void replace_data(arena_t *a, znode_t *znode, uint64_t hash, ref_t data_ref, uint32_t data_size) noexcept nogil:
    """Gives the old data's block back, and counts the new one's."""
    cdef arena_header_t *header = arena_change_header(a)
    digest_take_data(a, znode, hash)
    if znode.data:
        header.data_bytes -= znode.data_size
        arena_free(a, znode.data, znode.data_size)
    if data_ref:
        header.data_bytes += data_size
    znode.data = data_ref
    znode.data_size = data_size
    digest_put_data(a, znode, hash)


cdef void tree_set_acl(arena_t *a, ref_t ref, ref_t acl) noexcept nogil:
    cdef znode_t *znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD)
    cdef uint64_t hash = path_hash(znode.path, znode.path_size)
    cdef ref_t old = znode.acl
    digest_take_stat(a, znode, hash)
    znode.acl = acl
    znode.aversion = next_int(znode.aversion)
    digest_put_stat(a, znode, hash)
    acl_release(a, old)


cdef bint store_data(arena_t *a, const char *data, uint32_t size, ref_t *ref) noexcept nogil:
    """Puts data into a block of its own; empty and null data have none.  False when the arena is full."""
    ref[0] = 0
    if size == 0 or size == NULL_DATA:
        return True
    ref[0] = arena_alloc(a, size)
    if ref[0] == 0:
        return False
    memcpy(arena_change(a, ref[0], size), data, size)
    return True


# The index.

cdef void split_bucket(arena_t *a) noexcept nogil:
    """Deals the chain of bucket `split` out to itself and its new twin, 2^level further on."""
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t buckets = <uint64_t>1 << header.index_level
    cdef ref_t *end[2]
    cdef znode_t *znode
    cdef ref_t ref
    cdef int side
    if buckets + header.index_split == a.index_capacity:
        return                                   # from here on the chains grow
    end[0] = arena_change_bucket(a, header.index_split)
    end[1] = arena_change_bucket(a, header.index_split + buckets)
    ref = end[0][0]
    while ref:
        znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD)
        side = 1 if znode.path_hash & buckets else 0
        end[side][0] = ref
        end[side] = &znode.hash_next
        ref = znode.hash_next
    end[0][0] = 0
    end[1][0] = 0
    header.index_split += 1
    if header.index_split == buckets:
        header.index_level += 1
        header.index_split = 0


cdef void unlink_bucket(arena_t *a, ref_t ref, const znode_t *znode) noexcept nogil:
    cdef ref_t *at = arena_change_bucket(
        a, bucket_of(a.header.index_level, a.header.index_split, znode.path_hash))
    while at[0] != ref:
        FZ_ASSERT(at[0] != 0)
        at = &(<znode_t *>arena_change(a, at[0], ZNODE_HEAD)).hash_next
    at[0] = znode.hash_next


# Reading.

cdef ref_t tree_find(arena_t *a, const char *path, uint32_t path_size) noexcept nogil:
    cdef uint64_t sequence = peek64(&a.header.sequence)
    cdef uint64_t level = peek64(&a.header.index_level)
    cdef uint64_t split = peek64(&a.header.index_split)
    cdef uint32_t hash = <uint32_t>path_hash(path, path_size)
    cdef uint32_t steps = 0
    cdef const znode_t *znode
    cdef uint64_t bucket
    cdef ref_t ref
    if level >= 32:
        return 0
    bucket = bucket_of(level, split, hash)
    if bucket >= a.index_capacity:
        return 0
    ref = peek32(<const ref_t *>(a.base + a.index_offset) + bucket)
    while ref:
        znode = <const znode_t *>arena_see(a, ref, ZNODE_HEAD)
        if znode == NULL:
            return 0
        if (peek32(&znode.path_hash) == hash and peek16(&znode.path_size) == path_size
                and arena_see(a, ref, ZNODE_HEAD + path_size) != NULL and memcmp(znode.path, path, path_size) == 0):
            return ref
        ref = peek32(&znode.hash_next)
        steps += 1
        if steps % READ_LOOK_EVERY == 0 and arena_walk_is_over(a, sequence, steps, ZNODE_HEAD):
            return 0
    return 0


cdef const znode_t *tree_see(arena_t *a, ref_t ref) noexcept nogil:
    cdef const znode_t *znode = <const znode_t *>arena_see(a, ref, ZNODE_HEAD)
    if znode == NULL or arena_see(a, ref, ZNODE_HEAD + <uint64_t>peek16(&znode.path_size)) == NULL:
        return NULL
    return znode


cdef void tree_stat(const znode_t *znode, buffer_t *out) noexcept nogil:
    cdef bint is_ephemeral = is_session_id(znode.ephemeral_owner)
    cdef uint32_t children = 0 if is_ephemeral else znode.child_count
    buffer_be64(out, znode.czxid)
    buffer_be64(out, znode.mzxid)
    buffer_be64(out, <uint64_t>znode.ctime_ms)
    buffer_be64(out, <uint64_t>znode.mtime_ms)
    buffer_be32(out, <uint32_t>znode.version)
    buffer_be32(out, 2 * <uint32_t>znode.cversion - children)
    buffer_be32(out, <uint32_t>znode.aversion)
    buffer_be64(out, znode.ephemeral_owner if is_ephemeral else 0)
    buffer_be32(out, 0 if znode.data_size == NULL_DATA else znode.data_size)
    buffer_be32(out, children)
    buffer_be64(out, znode.pzxid)


cdef int tree_data(arena_t *a, const znode_t *znode, buffer_t *out) noexcept nogil:
    cdef uint32_t size = peek32(&znode.data_size)
    cdef const char *data
    if size == 0 or size == NULL_DATA:
        buffer_be32(out, size)                   # NULL_DATA is jute's -1
        return 0
    data = <const char *>arena_see(a, peek32(&znode.data), size)
    if data == NULL or size > DATA_SIZE_MAX:
        return -1
    buffer_be32(out, size)
    buffer_append(out, data, size)
    return 0


cdef int tree_children(arena_t *a, const znode_t *znode, uint64_t sequence, buffer_t *out) noexcept nogil:
    cdef uint32_t count = peek32(&znode.child_count)
    cdef ref_t list_ref = peek32(&znode.children)
    cdef ref_t parent = <ref_t>((<uint64_t>(<const char *>znode - a.base)) // GRANULE)
    cdef const child_list_t *siblings
    cdef const znode_t *child
    cdef uint32_t size
    cdef uint32_t name
    cdef uint32_t i
    cdef ref_t ref
    if is_session_id(peek64(&znode.ephemeral_owner)) or count == 0:
        buffer_be32(out, 0)
        return 0
    siblings = <const child_list_t *>arena_see(a, list_ref, LIST_HEAD + <uint64_t>count * sizeof(ref_t))
    if siblings == NULL:
        return -1
    buffer_be32(out, count)
    for i in range(count):
        if sequence and i % READ_LOOK_EVERY == 0 and peek64(&a.header.sequence) != sequence:
            return -1
        if i + PREFETCH_AHEAD < count:
            prefetch(a.base + <uint64_t>siblings.child[i + PREFETCH_AHEAD] * GRANULE + 64)
        ref = peek32(&siblings.child[i])
        child = <const znode_t *>arena_see(a, ref, ZNODE_HEAD)
        if child == NULL:
            return -1
        size = peek16(&child.path_size)
        name = peek16(&child.name_offset)
        # With its parent and place checked no block counts twice: what is appended is never larger than the heap.
        if (peek32(&child.parent) != parent or peek32(&child.sibling) != i or name > size
                or arena_see(a, ref, ZNODE_HEAD + <uint64_t>size) == NULL):
            return -1
        buffer_be32(out, size - name)
        buffer_append(out, child.path + name, size - name)
    return 0


# A new tree.

cdef int tree_format(arena_t *a) except -1:
    # One ACL entry: permissions, "world", "anyone".
    cdef bytes everyone = b"\0\0\0\5world\0\0\0\6anyone"
    cdef bytes everything = b"\0\0\0\1\0\0\0\x1f" + everyone
    cdef bytes reading = b"\0\0\0\1\0\0\0\1" + everyone
    cdef arena_header_t *header
    cdef znode_t *root
    cdef bint is_done = False
    if a.header.root:
        raise ValueError("the arena has a tree already")
    arena_write_begin(a)
    header = arena_change_header(a)
    header.acl_open = acl_intern(a, everything, <uint32_t>len(everything))     # the header's own reference: it never goes
    header.root = arena_alloc(a, ZNODE_HEAD + 1)
    if header.acl_open and header.root:
        root = <znode_t *>arena_change(a, header.root, ZNODE_HEAD + 1)
        memset(root, 0, ZNODE_HEAD)
        root.acl = acl_intern(a, everything, <uint32_t>len(everything))
        root.path_size = 1
        root.name_offset = 1
        root.path[0] = c"/"
        insert(a, header.root, root)
        is_done = (
            make_system_znode(a, b"/zookeeper", everything, 0)
            and make_system_znode(a, b"/zookeeper/quota", everything, 0)
            and make_system_znode(a, b"/zookeeper/config", reading, -1)     # -1 is how ZooKeeper's begins
        )
    arena_write_end(a, 0, 0, 0)
    if not is_done:
        raise MemoryError("the arena is too small for a tree")
    return 0


cdef bint make_system_znode(arena_t *a, bytes path, bytes vector, int32_t aversion) except -1:
    """A znode that comes with the tree; ZooKeeper does not count it among the children its parent has had."""
    cdef znode_t *znode
    cdef znode_t *parent
    cdef uint64_t hash
    cdef ref_t ref = 0
    cdef ref_t parent_ref = tree_parent(a, path, <uint32_t>len(path))
    cdef ref_t acl = acl_intern(a, vector, <uint32_t>len(vector))
    if acl == 0 or tree_create(a, parent_ref, path, <uint32_t>len(path), NULL, 0, acl, 0, 0, 0, &ref) != ERR_OK:
        return False
    parent = <znode_t *>arena_change(a, parent_ref, ZNODE_HEAD)
    hash = path_hash(parent.path, parent.path_size)
    digest_take_stat(a, parent, hash)
    parent.cversion = 0
    digest_put_stat(a, parent, hash)
    znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD)
    hash = path_hash(znode.path, znode.path_size)
    digest_take_stat(a, znode, hash)
    znode.aversion = aversion
    digest_put_stat(a, znode, hash)
    return True
