"""The tests' way to all that an arena holds, field by field, as Python values: what a snapshot must bring back.

Rule: for tests only; by the writer, between two writes.  Rule: walks by its own code, not the encoder's."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from fastzk._core.arena cimport (
    Arena, arena_barrier, arena_see, arena_t, arena_write_begin, arena_write_end, owners_add, peek64, pin_let_go, pin_read, pin_t,
    poke64)
from fastzk._core.layout cimport (
    GRANULE, NULL_DATA, PAGE, RESULTS_MAX, acl_t, child_list_t, ref_t, results_t, session_t, znode_t)
from fastzk._core.tree cimport acl_see, is_session_id, session_find, tree_find, tree_see
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset


cdef bytes vector_of(arena_t *a, ref_t ref):
    cdef uint32_t size = 0
    cdef const char *vector = acl_see(a, ref, &size)
    if vector is NULL:
        raise AssertionError("a ref to no vector")
    return vector[:size]


def znodes(Arena arena) -> list[tuple[object, ...]]:
    """Every znode, each before its children, in the order of the child lists; checked on the way: parent, place, index."""
    cdef arena_t *a = &arena.arena
    cdef const znode_t *znode
    cdef const child_list_t *siblings
    cdef ref_t ref
    found = []
    left = [(a.header.root, 0, 0)]
    while left:
        ref, parent, place = left.pop()
        znode = tree_see(a, ref)
        path = znode.path[:znode.path_size]
        if znode.parent != parent or znode.sibling != place or tree_find(a, znode.path, znode.path_size) != ref:
            raise AssertionError(f"{path!r} is not where it should be")
        data = None
        if znode.data_size != NULL_DATA:
            data = b"" if znode.data == 0 else (<const char *>arena_see(a, znode.data, znode.data_size))[:znode.data_size]
        has_children = not is_session_id(znode.ephemeral_owner)
        children = []
        if has_children and znode.child_count:
            siblings = <const child_list_t *>arena_see(a, znode.children, 4 + 4 * <uint64_t>znode.child_count)
            if siblings.capacity < znode.child_count:
                raise AssertionError(f"{path!r} has a list that is too small")
            children = [(siblings.child[<uint32_t>i], <object>ref, i) for i in range(znode.child_count)]
        elif has_children and znode.children:
            raise AssertionError(f"{path!r} has an empty list")
        found.append((
            path, znode.name_offset, znode.czxid, znode.mzxid, znode.pzxid, znode.ctime_ms, znode.mtime_ms,
            znode.ephemeral_owner, znode.version, znode.cversion, znode.aversion, vector_of(a, znode.acl), data,
            len(children), znode.path_hash,
        ))
        left.extend(reversed(children))
    return found


def sessions(Arena arena) -> list[dict[str, object]]:
    """Every session, newest first, with its results and ephemerals; checked on the way: links, index."""
    cdef arena_t *a = &arena.arena
    cdef ref_t ref = a.header.first_session
    cdef ref_t previous = 0
    cdef const session_t *session
    found = []
    while ref:
        session = <const session_t *>arena_see(a, ref, sizeof(session_t))
        if session.previous != previous or session_find(a, session.session_id) != ref:
            raise AssertionError(f"session {session.session_id:#x} is not where it should be")
        found.append({
            "session_id": session.session_id,
            "attach_zxid": session.attach_zxid,
            "attach_nonce": session.attach_nonce,
            "last_serial": session.last_serial,
            "password": PyBytes_FromStringAndSize(<const char *>session.password, 16),
            "timeout_ms": session.timeout_ms,
            "identities": vector_of(a, session.identities) if session.identities else None,
            "ephemerals": ephemerals(a, session),
            "results": results(a, session.results) if session.results else None,
        })
        previous = ref
        ref = session.next
    return found


cdef list ephemerals(arena_t *a, const session_t *session):
    cdef ref_t ref = session.first_ephemeral
    cdef ref_t previous = 0
    cdef const znode_t *znode
    found = []
    while ref:
        znode = tree_see(a, ref)
        if znode.ephemeral_previous != previous or znode.ephemeral_owner != session.session_id:
            raise AssertionError("a list of ephemerals is not linked")
        found.append(znode.path[:znode.path_size])
        previous = ref
        ref = znode.ephemeral_next
    if len(found) != session.ephemeral_count:
        raise AssertionError("a list of ephemerals has another length than it says")
    return found


cdef tuple results(arena_t *a, ref_t ref):
    cdef const results_t *kept = <const results_t *>arena_see(a, ref, sizeof(results_t))
    found = []
    for i in range(RESULTS_MAX):
        result = kept.results[<uint32_t>i]
        body = b""
        if result.body:
            body = (<const char *>arena_see(a, result.body, result.body_size))[:result.body_size]
        found.append((result.cxid, result.err, body, result.body_size))
    return kept.count, found


def vectors(Arena arena) -> list[tuple[bytes, int]]:
    """Every interned vector with the count of its references, sorted; the header's own is among them."""
    cdef arena_t *a = &arena.arena
    cdef const acl_t *acl
    cdef ref_t ref
    found = []
    for bucket in range(256):
        ref = a.header.acl_buckets[<uint32_t>bucket]
        while ref:
            acl = <const acl_t *>arena_see(a, ref, sizeof(acl_t))
            found.append((vector_of(a, ref), acl.references))
            ref = acl.next
    return sorted(found)


def header(Arena arena) -> dict[str, object]:
    """What the header counts, and the size that an index has which was filled one by one."""
    cdef arena_t *a = &arena.arena
    return {
        "applied": (a.header.applied_zxid, a.header.applied_index, a.header.applied_time_ms),
        "znodes": a.header.znode_count,
        "ephemerals": a.header.ephemeral_count,
        "sessions": a.header.session_count,
        "data_bytes": a.header.data_bytes,
        "digest": (a.header.digest_low, a.header.digest_high),
        "acls": a.header.acl_count,
        "acl_open": vector_of(a, a.header.acl_open),
        "quotas": a.header.quota_count,
        "reapables": a.header.reapable_count,
    }


def index_size(Arena arena) -> tuple[int, int]:
    """Level and split of the path index."""
    return arena.arena.header.index_level, arena.arena.header.index_split


def spoil(Arena arena, uint64_t offset, bytes content) -> None:
    """Overwrites bytes of the heap, as a memory that fails would."""
    cdef char *at = arena.arena.base + offset
    for byte in content:
        at[0] = <char>byte
        at += 1


def znode_offset(Arena arena, bytes path) -> int:
    """Where a znode's fields stand in the region."""
    return <uint64_t>tree_find(&arena.arena, path, <uint32_t>len(path)) * GRANULE


def fill_pages(Arena arena, uint64_t first, uint64_t end, uint8_t value) -> None:
    """One write that fills the pages [first, end) of the heap, one after the other, without the interpreter's lock."""
    cdef arena_t *a = &arena.arena
    cdef uint64_t page
    with nogil:
        arena_write_begin(a)
        for page in range(first, end):
            arena_barrier(a, page * PAGE, PAGE)
            memset(a.base + page * PAGE, value, PAGE)
        arena_write_end(a, a.header.applied_zxid, 0, 0)


cdef class PinReader:
    """Reads the pages of a pin over and over, until told to stop; counts those that are not as they were."""

    cdef Arena _arena
    cdef pin_t *pin
    cdef uint64_t is_stopped
    cdef readonly uint64_t wrong
    cdef readonly uint64_t read

    def __cinit__(self, Arena arena) -> None:
        self._arena = arena
        self.pin = arena.arena.pin
        owners_add(&self.pin.owners)

    def __dealloc__(self):
        pin_let_go(self.pin)

    def stop(self) -> None:
        poke64(&self.is_stopped, 1)

    def run(self, uint64_t first, uint64_t end, uint8_t value) -> None:
        """All of the pages [first, end) were filled with the value at the pin."""
        cdef char page[PAGE]
        cdef uint64_t at
        with nogil:
            while not peek64(&self.is_stopped):
                for at in range(first, end):
                    pin_read(self.pin, at * PAGE, page, PAGE)
                    self.wrong += <uint8_t>page[0] != value or memcmp(page, page + 1, PAGE - 1) != 0
                    self.read += 1
