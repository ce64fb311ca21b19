"""The tests' way into the arena and the tree: their cdef functions, and every block of an arena, for Python.

Rule: for tests only.  A writing call is one write of its own: begin, the function, end."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from fastzk._core.arena cimport (
    Arena,
    arena_alloc,
    arena_block_size,
    arena_change,
    arena_free,
    arena_read_begin,
    arena_read_valid,
    arena_see,
    arena_t,
    arena_write_begin,
    arena_write_end,
)
from fastzk._core.layout cimport (
    GRANULE,
    NULL_DATA,
    SIZE_CLASSES,
    acl_t,
    buffer_begin,
    buffer_free,
    buffer_live,
    buffer_t,
    child_list_t,
    ref_t,
    session_t,
    znode_t,
)
from fastzk._core.tree cimport (
    acl_intern,
    acl_release,
    acl_see,
    is_session_id,
    session_create,
    session_find,
    session_remove,
    tree_children,
    tree_count_below,
    tree_create,
    tree_data,
    tree_delete,
    tree_ephemerals,
    tree_find,
    tree_judge_create,
    tree_judge_delete,
    tree_parent,
    tree_see,
    tree_set_acl,
    tree_set_data,
    tree_stat,
    tree_weigh_below,
)
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


def block_size(uint64_t size) -> int:
    return arena_block_size(size)


def alloc(Arena arena, uint64_t size) -> int:
    cdef arena_t *a = &arena.arena
    arena_write_begin(a)
    ref = arena_alloc(a, size)
    arena_write_end(a, a.header.applied_zxid, 0, 0)
    return ref


def release(Arena arena, ref_t ref, uint64_t size) -> None:
    cdef arena_t *a = &arena.arena
    arena_write_begin(a)
    arena_free(a, ref, size)
    arena_write_end(a, a.header.applied_zxid, 0, 0)


def fill(Arena arena, ref_t ref, bytes content) -> None:
    """Writes the content into a block."""
    cdef arena_t *a = &arena.arena
    arena_write_begin(a)
    memcpy(arena_change(a, ref, len(content)), <const char *>content, len(content))
    arena_write_end(a, a.header.applied_zxid, 0, 0)


def see(Arena arena, ref_t ref, uint64_t size) -> bytes | None:
    """What a reader may see of [ref, ref + size)."""
    cdef const void *at = arena_see(&arena.arena, ref, size)
    return None if at == NULL else PyBytes_FromStringAndSize(<const char *>at, size)


def write_begin(Arena arena) -> None:
    arena_write_begin(&arena.arena)


def write_end(Arena arena, uint64_t zxid, uint64_t index, uint64_t time_ms) -> None:
    arena_write_end(&arena.arena, zxid, index, time_ms)


def read_begin(Arena arena) -> int:
    return arena_read_begin(&arena.arena)


def read_valid(Arena arena, uint64_t sequence) -> bool:
    return bool(arena_read_valid(&arena.arena, sequence))


def create(Arena arena, bytes path, data, bytes vector, int32_t flags, uint64_t owner, uint64_t zxid,
           uint64_t time_ms) -> tuple[int, bytes | None]:
    """(error, the path made); data may be None.  Flags: ephemeral 1, sequential 2; owner counts with the first only."""
    cdef arena_t *a = &arena.arena
    cdef bytes made = bytes(len(path) + 11)
    cdef uint32_t made_size = 0
    cdef bytes content = b"" if data is None else data
    cdef uint32_t size = NULL_DATA if data is None else <uint32_t>len(content)
    cdef int err = 0
    cdef ref_t ref
    cdef ref_t acl
    cdef ref_t parent
    if b"/" not in path:
        return -8, None                          # whoever creates has looked for it
    parent = tree_parent(a, path, <uint32_t>len(path))
    if parent == 0:
        return -101, None
    err = tree_judge_create(a, parent, path, <uint32_t>len(path), size, (flags & 2) != 0, made, &made_size)
    if err:
        return err, None
    arena_write_begin(a)
    acl = acl_intern(a, vector, <uint32_t>len(vector))
    err = -1
    if acl:
        err = tree_create(a, parent, made, made_size, content, size, acl, owner if flags & 1 else 0, zxid, time_ms, &ref)
        if err:
            acl_release(a, acl)
    arena_write_end(a, zxid, 0, time_ms)
    return err, None if err else made[:made_size]


def delete(Arena arena, bytes path, int32_t version, uint64_t zxid) -> int:
    cdef arena_t *a = &arena.arena
    cdef ref_t ref = tree_find(a, path, <uint32_t>len(path))
    err = tree_judge_delete(a, ref, version) if ref else -101
    if err == 0:
        arena_write_begin(a)
        tree_delete(a, ref, zxid)
        arena_write_end(a, zxid, 0, 0)
    return err


def set_data(Arena arena, bytes path, data, int32_t version, uint64_t zxid, uint64_t time_ms) -> int:
    cdef arena_t *a = &arena.arena
    cdef bytes content = b"" if data is None else data
    cdef uint32_t size = NULL_DATA if data is None else <uint32_t>len(content)
    cdef ref_t ref = tree_find(a, path, <uint32_t>len(path))
    if ref == 0:
        return -101
    if version != -1 and version != tree_see(a, ref).version:
        return -103
    arena_write_begin(a)
    err = tree_set_data(a, ref, content, size, zxid, time_ms)
    arena_write_end(a, zxid, 0, time_ms)
    return err


def set_acl(Arena arena, bytes path, bytes vector, int32_t version, uint64_t zxid) -> int:
    cdef arena_t *a = &arena.arena
    cdef ref_t acl
    cdef ref_t ref = tree_find(a, path, <uint32_t>len(path))
    if ref == 0:
        return -101
    if version != -1 and version != tree_see(a, ref).aversion:
        return -103
    arena_write_begin(a)
    acl = acl_intern(a, vector, <uint32_t>len(vector))
    if acl:
        tree_set_acl(a, ref, acl)
    arena_write_end(a, zxid, 0, 0)
    return 0 if acl else -1


def set_counters(Arena arena, bytes path, int32_t version, int32_t cversion) -> None:
    """Puts a znode's stored versions near their ends.  The digest does not fit any more."""
    cdef arena_t *a = &arena.arena
    cdef znode_t *znode
    cdef ref_t ref = tree_find(a, path, <uint32_t>len(path))
    if ref == 0:
        raise KeyError(path)
    arena_write_begin(a)
    znode = <znode_t *>arena_change(a, ref, sizeof(znode_t))
    znode.version = version
    znode.cversion = cversion
    arena_write_end(a, a.header.applied_zxid, 0, 0)


def find(Arena arena, bytes path) -> int:
    return tree_find(&arena.arena, path, <uint32_t>len(path))


cdef bytes taken(buffer_t *out):
    try:
        return PyBytes_FromStringAndSize(buffer_begin(out), <Py_ssize_t>buffer_live(out))
    finally:
        buffer_free(out)


def stat(Arena arena, ref_t ref) -> bytes | None:
    """The 68 bytes a client gets."""
    cdef buffer_t out = buffer_t(NULL, 0, 0, 0)
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    if znode == NULL:
        return None
    tree_stat(znode, &out)
    return taken(&out)


def child_refs_at(Arena arena, ref_t ref) -> int:
    """Where the refs of a znode's children stand in the region."""
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    return znode.children * GRANULE + 4


def data(Arena arena, ref_t ref) -> bytes | None:
    cdef buffer_t out = buffer_t(NULL, 0, 0, 0)
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    if znode == NULL:
        return None
    err = tree_data(&arena.arena, znode, &out)
    answer = taken(&out)
    return None if err else answer


def children(Arena arena, ref_t ref, uint64_t sequence) -> bytes | None:
    cdef buffer_t out = buffer_t(NULL, 0, 0, 0)
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    if znode == NULL:
        return None
    err = tree_children(&arena.arena, znode, sequence, &out)
    answer = taken(&out)
    return None if err else answer


def weigh_below(Arena arena, ref_t ref, uint64_t sequence) -> tuple[int, int] | None:
    """(znodes, bytes of their data) below a znode."""
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    cdef uint64_t count = 0
    cdef uint64_t size = 0
    if znode == NULL or tree_weigh_below(&arena.arena, znode, sequence, &count, &size):
        return None
    return count, size


def count_below(Arena arena, ref_t ref, uint64_t sequence) -> int | None:
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    cdef uint32_t count = 0
    if znode == NULL or tree_count_below(&arena.arena, znode, sequence, &count):
        return None
    return count


def ephemerals(Arena arena, ref_t session_ref, bytes prefix, uint64_t sequence) -> bytes | None:
    cdef buffer_t out = buffer_t(NULL, 0, 0, 0)
    err = tree_ephemerals(&arena.arena, session_ref, prefix, <uint32_t>len(prefix), sequence, &out)
    answer = taken(&out)
    return None if err else answer


def acl(Arena arena, ref_t ref) -> tuple[bytes, int] | None:
    """(vector, references) of a znode's ACL."""
    cdef const znode_t *znode = tree_see(&arena.arena, ref)
    cdef const char *vector
    cdef uint32_t size = 0
    if znode == NULL:
        return None
    # The references stand in the same block, which acl_see has looked at.
    vector = acl_see(&arena.arena, znode.acl, &size)
    if vector == NULL:
        return None
    return vector[:size], (<const acl_t *>(vector - sizeof(acl_t))).references


def create_session(Arena arena, uint64_t session_id, uint32_t timeout_ms, bytes password, uint64_t zxid, uint64_t nonce) -> int:
    cdef arena_t *a = &arena.arena
    arena_write_begin(a)
    ref = session_create(a, session_id, timeout_ms, <const uint8_t *><const char *>password, zxid, nonce)
    arena_write_end(a, zxid, 0, 0)
    return ref


def close_session(Arena arena, uint64_t session_id, uint64_t zxid) -> int:
    """Deletes the session's ephemerals, then the session; gives how many there were, or -1: no such session."""
    cdef arena_t *a = &arena.arena
    cdef ref_t ref = session_find(a, session_id)
    cdef const session_t *session
    cdef int count = 0
    if ref == 0:
        return -1
    arena_write_begin(a)
    session = <const session_t *>arena_see(a, ref, sizeof(session_t))
    while session.first_ephemeral:
        if tree_judge_delete(a, session.first_ephemeral, -1) != 0:
            raise AssertionError("an ephemeral could not be deleted")
        tree_delete(a, session.first_ephemeral, zxid)
        count += 1
    session_remove(a, ref)
    arena_write_end(a, zxid, 0, 0)
    return count


def find_session(Arena arena, uint64_t session_id) -> int:
    return session_find(&arena.arena, session_id)


def session(Arena arena, uint64_t session_id) -> dict[str, object] | None:
    """A session's fields, and the paths of its ephemerals, newest first."""
    cdef arena_t *a = &arena.arena
    cdef ref_t ref = session_find(a, session_id)
    cdef const session_t *found
    cdef const znode_t *znode
    if ref == 0:
        return None
    found = <const session_t *>arena_see(a, ref, sizeof(session_t))
    paths = []
    ref = found.first_ephemeral
    while ref:
        znode = tree_see(a, ref)
        paths.append(znode.path[:znode.path_size])
        ref = znode.ephemeral_next
    if len(paths) != found.ephemeral_count:
        raise AssertionError(f"session {session_id:#x} counts {found.ephemeral_count} ephemerals and has {len(paths)}")
    return {
        "attach_zxid": found.attach_zxid,
        "attach_nonce": found.attach_nonce,
        "last_serial": found.last_serial,
        "password": PyBytes_FromStringAndSize(<const char *>found.password, 16),
        "timeout_ms": found.timeout_ms,
        "ephemerals": paths,
    }


def sessions(Arena arena) -> list[int]:
    """The ids of all sessions, newest first."""
    cdef ref_t ref = arena.arena.header.first_session
    cdef const session_t *found
    ids = []
    while ref:
        found = <const session_t *>arena_see(&arena.arena, ref, sizeof(session_t))
        ids.append(found.session_id)
        ref = found.next
    return ids


def paths(Arena arena) -> list[bytes]:
    """Every path, by way of the index."""
    cdef arena_t *a = &arena.arena
    cdef const ref_t *buckets = <const ref_t *>(a.base + a.index_offset)
    cdef const znode_t *znode
    cdef ref_t ref
    found = []
    for bucket in range((1 << a.header.index_level) + a.header.index_split):
        ref = buckets[<uint64_t>bucket]
        while ref:
            znode = tree_see(a, ref)
            found.append(znode.path[:znode.path_size])
            ref = znode.hash_next
    return found


def blocks(Arena arena) -> list[tuple[int, int, str]]:
    """Every block there is, as (offset, size, what), found by walking the tree from its root and all other lists.

    Together they must tile the heap: a gap is a leak, an overlap a block with two owners."""
    cdef arena_t *a = &arena.arena
    cdef const child_list_t *siblings
    cdef const session_t *found
    cdef const znode_t *znode
    cdef ref_t ref
    found_blocks = []

    def add(at, size, what):
        found_blocks.append((at * GRANULE, arena_block_size(size), what))

    left = [a.header.root] if a.header.root else []
    while left:
        ref = left.pop()
        znode = tree_see(a, ref)
        add(ref, 100 + znode.path_size, "znode")
        if znode.data:
            add(znode.data, znode.data_size, "data")
        if not is_session_id(znode.ephemeral_owner) and znode.children:
            siblings = <const child_list_t *>arena_see(a, znode.children, 4)
            add(znode.children, 4 + 4 * <uint64_t>siblings.capacity, "children")
            for i in range(znode.child_count):
                ref = siblings.child[<uint32_t>i]
                if (<const znode_t *>arena_see(a, ref, 100)).sibling != i:
                    raise AssertionError("a child does not know its place")
                left.append(ref)
    for i in range(256):
        ref = a.header.acl_buckets[<uint32_t>i]
        while ref:
            add(ref, 16 + (<const acl_t *>arena_see(a, ref, 16)).size, "acl")
            ref = (<const acl_t *>arena_see(a, ref, 16)).next
    ref = a.header.first_session
    while ref:
        found = <const session_t *>arena_see(a, ref, sizeof(session_t))
        add(ref, sizeof(session_t), "session")
        ref = found.next
    for size, offset in free_blocks(arena):
        found_blocks.append((offset, size, "free"))
    return sorted(found_blocks)


def free_blocks(Arena arena) -> list[tuple[int, int]]:
    """Every free block, as (size, offset)."""
    cdef arena_t *a = &arena.arena
    cdef uint64_t size = 0
    cdef ref_t ref
    found = []
    for number in range(SIZE_CLASSES):
        size = arena_block_size(size + 1)
        if size == 0:
            break
        ref = a.header.free_blocks[<uint32_t>number]
        while ref:
            found.append((size, ref * GRANULE))
            ref = (<const ref_t *>arena_see(a, ref, 4))[0]
    return found
