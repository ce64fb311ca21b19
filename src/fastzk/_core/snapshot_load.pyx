"""A snapshot's records, made into an arena again.

    loader = SnapshotLoader(arena, state); loader.add_chunk(payload) ...; loader.finish()

Theory of operation.  A znode's record says how many children it has, and its children follow it, so the parent of a record is
the innermost znode that still lacks one.  How large the index and each child list will be is known before they are filled.  A
chunk's znodes are made first and put into the index afterwards, so that the memory of their buckets is there in time.

Rule: nothing is believed.  Whatever the bytes say, the answer is an arena that is exactly what `state` says, or RecordDamaged.
Rule: after an exception the arena is good for nothing, and may only be thrown away; it has no root, so nobody takes it
for a tree.  The format: docs/internals/snapshot-format.md."""

from cpython.bytes cimport PyBytes_AS_STRING
from fastzk._core.acl_table cimport acl_intern
from fastzk._core.arena cimport (
    Arena, arena_alloc, arena_block_size, arena_change, arena_change_bucket, arena_change_header, arena_own, arena_t,
    arena_use_reserve, arena_write_begin, arena_write_end, highest_bit, prefetch)
from fastzk._core.digest cimport digest_put_data, digest_put_stat
from fastzk._core.layout cimport (
    GRANULE, NULL_DATA, RESULTS_MAX, acl_t, arena_header_t, buffer_append, buffer_clear, buffer_free,
    child_list_t, ref_t, results_t, session_t, znode_t)
from fastzk._core.quota cimport quota_is_limits
from fastzk._core.results cimport RESULT_BODY_MAX
from fastzk._core.session_table cimport identities_are_valid, session_create, session_find
from fastzk._core.snapshot_records cimport (
    RECORD_EPHEMERALS, RECORD_SESSION, RECORD_VECTOR, RECORD_ZNODE, SESSION_HAS_IDENTITIES, SESSION_HAS_RESULTS,
    ZNODE_CHANGED, ZNODE_GUARDED, ZNODE_OWNED, ZNODE_PARENT, changed_part_t, ephemerals_record_t, parent_part_t,
    result_record_t, session_record_t, vector_record_t, znode_record_t)
from fastzk._core.snapshot_reader cimport acl_is_vector, lend, name_is_possible, reader_t, take
from fastzk._core.tree cimport DATA_SIZE_MAX, tree_find
from fastzk._core.znode cimport ACL_HEAD, LIST_HEAD, ZNODE_HEAD, bucket_of, is_session_id, path_hash
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset


cdef enum:
    PATH_BYTES_MAX = 65535      # a znode's path_size has 16 bits
    VECTOR_BYTES_MAX = 1 << 24
    PREFETCH_AHEAD = 8          # znodes, on their way into the index
    INDEX_LEVEL_FIRST = 3       # a new arena's

    # What a vector has been found to be.
    IS_ACL = 1
    IS_IDENTITIES = 2

cdef const char *ARENA_IS_FULL = b"the arena is full"


class RecordDamaged(ValueError):
    """The records are nonsense, though their checksums were right; `offset` is that of the bad one in its chunk."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset} of the chunk: {reason}")
        self.offset = offset
        self.reason = reason


cdef class SnapshotLoader:
    """Fills an arena that is new (no tree yet) from a snapshot's chunks.

    Raises ValueError when the arena is not new."""

    def __cinit__(self, Arena arena not None, state) -> None:
        self._arena = arena
        self.a = &arena.arena
        self.state = state
        self.znodes = state.znodes
        if not self.a.is_writer or self.a.header.root or self.a.header.used != self.a.heap_offset:
            raise ValueError("a snapshot is loaded into a new arena, by its writer")
        self.set_index()

    def __dealloc__(self):
        buffer_free(&self.vectors)
        buffer_free(&self.lists)
        buffer_free(&self.ephemerals)
        buffer_free(&self.frames)
        buffer_free(&self.fresh)

    cdef int set_index(self) except -1:
        """Gives the index the size it has when so many znodes are inserted one by one."""
        cdef uint64_t buckets = min(max(self.znodes, <uint64_t>1 << INDEX_LEVEL_FIRST), self.a.index_capacity)
        cdef arena_header_t *header
        arena_write_begin(self.a)
        header = arena_change_header(self.a)
        header.index_level = highest_bit(buckets)
        header.index_split = buckets - (<uint64_t>1 << header.index_level)
        arena_write_end(self.a, 0, 0, 0)
        return 0

    def add_chunk(self, bytes payload not None) -> None:
        """Loads the records of the next chunk.  Raises RecordDamaged; MemoryError when the arena is too small."""
        cdef reader_t r
        cdef const char *begin = PyBytes_AS_STRING(payload)
        cdef const char *record = begin
        cdef const char *reason = NULL
        r.at = begin
        r.end = begin + len(payload)
        with nogil:
            arena_write_begin(self.a)
            arena_use_reserve(self.a)
            while r.at < r.end and reason is NULL:
                record = r.at
                reason = self.record(&r)
            if reason is NULL:
                reason = self.index_fresh()
            arena_write_end(self.a, 0, 0, 0)
        if reason == ARENA_IS_FULL:
            raise MemoryError("the arena is too small for the snapshot")
        if reason is not NULL:
            raise RecordDamaged(record - begin, reason.decode())

    def finish(self) -> None:
        """All chunks have been added: makes the tree be there.  Raises RecordDamaged when it is not what the state says."""
        cdef arena_t *a = self.a
        cdef arena_header_t *header
        cdef const char *reason = self.why_incomplete()
        if reason is not NULL:
            raise RecordDamaged(0, reason.decode())
        state = self.state
        for what, found, told in (
            ("znodes", self.made, state.znodes),
            ("ephemerals", a.header.ephemeral_count, state.ephemerals),
            ("sessions", a.header.session_count, state.sessions),
            ("ACLs and identities", a.header.acl_count, state.vectors),
            ("bytes of paths and data", a.header.data_bytes, state.data_bytes),
            ("quotas", a.header.quota_count, state.quotas),
            ("containers and TTL znodes", a.header.reapable_count, state.reapables),
        ):
            if found != told:
                raise RecordDamaged(0, f"{found} {what} instead of {told}")
        found = <object>a.header.digest_high << 64 | a.header.digest_low
        if found != state.digest:
            raise RecordDamaged(0, f"the digest of the znodes is {found:#034x}, not {state.digest:#034x}")
        arena_write_begin(a)
        header = arena_change_header(a)
        header.root = self.root
        header.acl_open = (<vector_t *>self.vectors.data)[0].ref
        (<acl_t *>arena_change(a, header.acl_open, ACL_HEAD)).references += 1       # the header's own: it never goes
        arena_write_end(a, state.last_zxid, state.last_index, state.last_time_ms)

    cdef const char *why_incomplete(self) noexcept nogil:
        """What is missing after the last chunk; NULL when nothing is."""
        cdef const list_t *last = <const list_t *>self.lists.data
        cdef size_t place
        if not self.has_root or self.made != self.znodes:
            return b"znodes are missing"
        # The first vector is used by the header, whoever else uses it.
        for place in range(1, self.vectors.size // sizeof(vector_t)):
            if not (<const vector_t *>self.vectors.data)[place].is_used:
                return b"an ACL that nobody has"
        for place in range(self.list_place, self.lists.size // sizeof(list_t)):
            if last[place].count != (self.list_count if place == self.list_place else 0):
                return b"ephemerals are missing in their session's list"
        if self.a.header.ephemeral_count != self.ephemerals.size // sizeof(ref_t):
            return b"an ephemeral is in no session's list"
        for place in range(3):
            if tree_find(self.a, SYSTEM_PATHS[place], SYSTEM_PATH_SIZES[place]) == 0:
                return b"a znode that every tree has is missing"
        return NULL

    # Records.  Each gives NULL, or why it is damaged.

    cdef const char *record(self, reader_t *r) noexcept nogil:
        cdef uint8_t kind = <uint8_t>r.at[0]
        if kind != RECORD_VECTOR:
            if kind < self.stage:
                return b"a record that should stand before others"
            if self.vectors.size == 0:
                return b"the first record is no ACL"
            self.stage = kind
        if kind == RECORD_ZNODE:
            return self.znode(r)
        if kind == RECORD_VECTOR:
            return self.vector(r)
        if kind == RECORD_SESSION:
            return self.session(r)
        if kind == RECORD_EPHEMERALS:
            return self.ephemerals_record(r)
        return b"a record of no known kind"

    cdef const char *vector(self, reader_t *r) noexcept nogil:
        cdef vector_record_t record
        cdef vector_t vector
        cdef uint64_t count = self.a.header.acl_count
        cdef const char *bytes
        if not take(r, &record, sizeof(record)) or record.zero or record.zero2 or record.size > VECTOR_BYTES_MAX:
            return b"no right ACL record"
        bytes = lend(r, record.size)
        if bytes is NULL:
            return b"an ACL that goes on beyond its chunk"
        vector.ref = acl_intern(self.a, bytes, record.size)
        if vector.ref == 0:
            return ARENA_IS_FULL
        if self.a.header.acl_count == count:
            return b"the same ACL twice"
        (<acl_t *>arena_change(self.a, vector.ref, ACL_HEAD)).references = 0     # who uses it is counted as they come
        vector.known = vector.is_used = 0
        if self.vectors.size == 0:
            if record.size != OPEN_SIZE or memcmp(bytes, OPEN_VECTOR, OPEN_SIZE) != 0:
                return b"the first ACL is not world:anyone"
        buffer_append(&self.vectors, &vector, sizeof(vector))
        return NULL

    cdef ref_t use_vector(self, uint32_t number, uint8_t what) noexcept nogil:
        """A reference to a vector that is what the user takes it for; 0 when it is not."""
        cdef vector_t *vector
        cdef acl_t *acl
        if number >= self.vectors.size // sizeof(vector_t):
            return 0
        vector = <vector_t *>self.vectors.data + number
        acl = <acl_t *>arena_change(self.a, vector.ref, ACL_HEAD)
        if not vector.known & what:
            if what == IS_ACL:
                if not acl_is_vector(acl.vector, acl.size):
                    return 0
            elif not identities_are_valid(acl.vector, acl.size):
                return 0
            vector.known |= what
        vector.is_used = 1
        acl.references += 1
        return vector.ref

    cdef const char *session(self, reader_t *r) noexcept nogil:
        cdef session_record_t record
        cdef session_t *session
        cdef list_t its_list
        if not take(r, &record, sizeof(record)) or record.flags & ~(SESSION_HAS_IDENTITIES | SESSION_HAS_RESULTS):
            return b"no right session record"
        if not is_session_id(record.session_id) or session_find(self.a, record.session_id):
            return b"a session id that is impossible or there twice"
        its_list.session = session_create(self.a, record.session_id, record.timeout_ms, record.password, record.attach_zxid,
                                          record.attach_nonce)
        if its_list.session == 0:
            return ARENA_IS_FULL
        its_list.count = record.ephemeral_count
        buffer_append(&self.lists, &its_list, sizeof(its_list))
        session = <session_t *>arena_change(self.a, its_list.session, sizeof(session_t))
        session.last_serial = record.last_serial
        if record.flags & SESSION_HAS_IDENTITIES:
            session.identities = self.use_vector(record.identities, IS_IDENTITIES)
            if session.identities == 0:
                return b"a session whose identities are none"
        elif record.identities:
            return b"a session without identities that has a number for them"
        if record.flags & SESSION_HAS_RESULTS:
            return self.results(r, session, &record)
        if record.kept_count or record.results_count:
            return b"a session without results that counts some"
        return NULL

    cdef const char *results(self, reader_t *r, session_t *session, const session_record_t *record) noexcept nogil:
        cdef ref_t ref = arena_alloc(self.a, sizeof(results_t))
        cdef results_t *results
        cdef result_record_t result
        cdef const char *body
        cdef ref_t copy
        cdef uint32_t i
        if ref == 0:
            return ARENA_IS_FULL
        if record.kept_count != min(record.results_count, <uint64_t>RESULTS_MAX):
            return b"a session with another number of results than it counts"
        results = <results_t *>arena_change(self.a, ref, sizeof(results_t))
        memset(results, 0, sizeof(results_t))
        results.count = record.results_count
        session.results = ref
        for i in range(record.kept_count):
            if not take(r, &result, sizeof(result)) or result.body_size > RESULT_BODY_MAX:
                return b"no right result"
            body = lend(r, result.body_size)
            if body is NULL:
                return b"a result that goes on beyond its chunk"
            results.results[i].cxid = result.cxid
            results.results[i].err = result.err
            if result.body_size:
                copy = arena_alloc(self.a, result.body_size)
                if copy == 0:
                    return ARENA_IS_FULL
                memcpy(arena_change(self.a, copy, result.body_size), body, result.body_size)
                results.results[i].body = copy
                results.results[i].body_size = result.body_size
        return NULL

    # Znodes.

    cdef const char *znode(self, reader_t *r) noexcept nogil:
        cdef znode_record_t record
        cdef changed_part_t changed
        cdef parent_part_t parent
        cdef uint64_t owner = 0
        cdef int32_t aversion = 0
        cdef const char *name
        cdef const char *data = NULL
        if not take(r, &record, sizeof(record)) or record.flags & ~(ZNODE_CHANGED | ZNODE_PARENT | ZNODE_OWNED | ZNODE_GUARDED):
            return b"no right znode record"
        changed.mzxid = record.czxid
        changed.mtime_ms = record.ctime_ms
        changed.version = 0
        parent.pzxid = record.czxid
        parent.cversion = 0
        parent.child_count = 0
        if ((record.flags & ZNODE_CHANGED and not take(r, &changed, sizeof(changed)))
                or (record.flags & ZNODE_PARENT and not take(r, &parent, sizeof(parent)))
                or (record.flags & ZNODE_OWNED and not take(r, &owner, sizeof(owner)))
                or (record.flags & ZNODE_GUARDED and not take(r, &aversion, sizeof(aversion)))):
            return b"a znode that goes on beyond its chunk"
        name = lend(r, record.name_size)
        if record.data_size != NULL_DATA:
            if record.data_size > DATA_SIZE_MAX:
                return b"a znode with too much data"
            data = lend(r, record.data_size)
        if name is NULL or (data is NULL and record.data_size != NULL_DATA):
            return b"a znode that goes on beyond its chunk"
        if not name_is_possible(name, record.name_size) and self.has_root:
            return b"an impossible name"
        if self.made + parent.child_count >= self.znodes or (is_session_id(owner) and parent.child_count):
            return b"more children than there can be"
        return self.new_znode(&record, &changed, &parent, owner, aversion, name, data)

    cdef const char *new_znode(self, const znode_record_t *record, const changed_part_t *changed, const parent_part_t *parent,
                               uint64_t owner, int32_t aversion, const char *name, const char *data) noexcept nogil:
        """Makes a znode whose record is right as far as it goes, and puts it at its place below its parent."""
        cdef arena_t *a = self.a
        cdef const znode_t *above = NULL
        cdef frame_t *top = self.top_frame()
        cdef uint32_t prefix = 0
        cdef uint32_t size
        cdef znode_t *znode
        cdef ref_t ref
        if top is NULL:
            if self.has_root:
                return b"a znode that belongs to no parent"
            if record.name_size or owner:
                return b"the first znode is not the root"
            size = 1
        else:
            above = <const znode_t *>arena_own(a, top.ref)
            prefix = above.path_size if above.path_size > 1 else 0
            size = prefix + 1 + record.name_size
            if size > PATH_BYTES_MAX:
                return b"a path that is too long"
        ref = arena_alloc(a, ZNODE_HEAD + size)
        if ref == 0:
            return ARENA_IS_FULL
        znode = <znode_t *>arena_change(a, ref, ZNODE_HEAD + size)
        memset(znode, 0, ZNODE_HEAD)
        znode.path_size = <uint16_t>size
        if top is NULL:
            self.root = ref
            self.has_root = True
            znode.name_offset = 1
        else:
            memcpy(znode.path, above.path, prefix)
            memcpy(znode.path + prefix + 1, name, record.name_size)
            znode.name_offset = <uint16_t>(prefix + 1)
            znode.parent = top.ref
            znode.sibling = top.place
            (<child_list_t *>arena_own(a, top.children)).child[top.place] = ref      # new_children asked for all of it
            top.place += 1
        znode.path[prefix] = c"/"
        znode.czxid = record.czxid
        znode.ctime_ms = record.ctime_ms
        znode.mzxid = changed.mzxid
        znode.mtime_ms = changed.mtime_ms
        znode.version = changed.version
        znode.pzxid = parent.pzxid
        znode.cversion = parent.cversion
        znode.aversion = aversion
        znode.ephemeral_owner = owner
        znode.data_size = record.data_size
        znode.acl = self.use_vector(record.acl, IS_ACL)
        if znode.acl == 0:
            return b"a znode whose ACL is none"
        return self.fill_znode(ref, znode, parent.child_count, data)

    cdef const char *fill_znode(self, ref_t ref, znode_t *znode, uint32_t child_count, const char *data) noexcept nogil:
        """The rest: data, child list, owner, the counters; the index comes with the chunk's end."""
        cdef arena_t *a = self.a
        cdef arena_header_t *header = arena_change_header(a)
        cdef uint64_t hash = path_hash(znode.path, znode.path_size)
        znode.path_hash = <uint32_t>hash
        if znode.data_size and znode.data_size != NULL_DATA:
            znode.data = arena_alloc(a, znode.data_size)
            if znode.data == 0:
                return ARENA_IS_FULL
            memcpy(arena_change(a, znode.data, znode.data_size), data, znode.data_size)
            header.data_bytes += znode.data_size
        if child_count and not self.new_children(ref, znode, child_count):
            return ARENA_IS_FULL
        if is_session_id(znode.ephemeral_owner):
            if session_find(a, znode.ephemeral_owner) == 0:
                return b"an ephemeral of no session"
            buffer_append(&self.ephemerals, &ref, sizeof(ref))
        elif znode.ephemeral_owner:
            header.reapable_count += 1
        header.quota_count += quota_is_limits(znode.path, znode.path_size)
        header.data_bytes += znode.path_size
        header.znode_count += 1
        self.made += 1
        digest_put_stat(a, znode, hash)
        digest_put_data(a, znode, hash)
        buffer_append(&self.fresh, &ref, sizeof(ref))
        return NULL

    cdef bint new_children(self, ref_t ref, znode_t *znode, uint32_t count) noexcept nogil:
        """Makes the child list, to be filled by the records that follow."""
        cdef uint64_t size = arena_block_size(LIST_HEAD + <uint64_t>count * sizeof(ref_t))
        cdef frame_t frame
        znode.children = arena_alloc(self.a, size) if size else 0
        if znode.children == 0:
            return False
        znode.child_count = count
        (<child_list_t *>arena_change(self.a, znode.children, size)).capacity = <uint32_t>((size - LIST_HEAD) // sizeof(ref_t))
        frame.ref = ref
        frame.children = znode.children
        frame.count = count
        frame.place = 0
        buffer_append(&self.frames, &frame, sizeof(frame))
        return True

    cdef frame_t *top_frame(self) noexcept nogil:
        """The innermost znode that lacks a child; NULL when none does."""
        cdef frame_t *top
        while self.frames.size:
            top = <frame_t *>(self.frames.data + self.frames.size) - 1
            if top.place < top.count:
                return top
            self.frames.size -= sizeof(frame_t)
        return NULL

    cdef const char *index_fresh(self) noexcept nogil:
        """Puts the chunk's znodes into the index."""
        cdef arena_t *a = self.a
        cdef const ref_t *refs = <const ref_t *>self.fresh.data
        cdef size_t count = self.fresh.size // sizeof(ref_t)
        cdef ref_t *bucket
        cdef znode_t *znode
        cdef znode_t *other
        cdef size_t i
        cdef ref_t ref
        for i in range(min(count, <size_t>PREFETCH_AHEAD)):
            prefetch(self.bucket(refs[i]))
        for i in range(count):
            if i + 2 * PREFETCH_AHEAD < count:
                prefetch(self.bucket(refs[i + 2 * PREFETCH_AHEAD]))
            if i + PREFETCH_AHEAD < count:
                prefetch(a.base + <uint64_t>self.bucket(refs[i + PREFETCH_AHEAD])[0] * GRANULE + 64)
            znode = <znode_t *>arena_change(a, refs[i], ZNODE_HEAD)
            bucket = self.bucket(refs[i])
            ref = bucket[0]
            while ref:
                other = <znode_t *>arena_own(a, ref)
                if (other.path_hash == znode.path_hash and other.path_size == znode.path_size
                        and memcmp(other.path, znode.path, znode.path_size) == 0):
                    return b"in this chunk, a znode that is there already"
                ref = other.hash_next
            znode.hash_next = bucket[0]
            bucket[0] = refs[i]
        buffer_clear(&self.fresh)
        return NULL

    cdef ref_t *bucket(self, ref_t ref) noexcept nogil:
        cdef const arena_header_t *header = self.a.header
        cdef uint32_t hash = (<const znode_t *>arena_own(self.a, ref)).path_hash
        return arena_change_bucket(self.a, bucket_of(header.index_level, header.index_split, hash))

    # The lists of ephemerals.

    cdef const char *ephemerals_record(self, reader_t *r) noexcept nogil:
        cdef ephemerals_record_t record
        cdef const char *reason
        cdef uint32_t number = 0
        cdef uint32_t _
        if not take(r, &record, sizeof(record)) or record.zero or record.zero2 or record.count == 0:
            return b"no right record of ephemerals"
        for _ in range(record.count):
            if not take(r, &number, sizeof(number)):
                return b"ephemerals that go on beyond their chunk"
            reason = self.list_next(number)
            if reason is not NULL:
                return reason
        return NULL

    cdef const char *list_next(self, uint32_t number) noexcept nogil:
        """Appends an ephemeral to the list of the session that lacks one."""
        cdef const list_t *its_list = <const list_t *>self.lists.data
        cdef ref_t *ref = <ref_t *>self.ephemerals.data
        cdef session_t *session
        cdef znode_t *znode
        while self.list_place < self.lists.size // sizeof(list_t) and self.list_count == its_list[self.list_place].count:
            self.list_place += 1
            self.list_count = 0
            self.list_last = 0
        if self.list_place == self.lists.size // sizeof(list_t):
            return b"more ephemerals than sessions have"
        if number >= self.ephemerals.size // sizeof(ref_t) or ref[number] == 0:
            return b"an ephemeral that is not there, or listed twice"
        session = <session_t *>arena_change(self.a, its_list[self.list_place].session, sizeof(session_t))
        znode = <znode_t *>arena_change(self.a, ref[number], ZNODE_HEAD)
        if znode.ephemeral_owner != session.session_id:
            return b"an ephemeral in the list of another session"
        znode.ephemeral_previous = self.list_last
        if self.list_last:
            (<znode_t *>arena_change(self.a, self.list_last, ZNODE_HEAD)).ephemeral_next = ref[number]
        else:
            session.first_ephemeral = ref[number]
        session.ephemeral_count += 1
        arena_change_header(self.a).ephemeral_count += 1
        self.list_count += 1
        self.list_last = ref[number]
        ref[number] = 0
        return NULL


cdef enum:
    OPEN_SIZE = 27

cdef const char *OPEN_VECTOR = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
cdef const char **SYSTEM_PATHS = [b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"]
cdef uint32_t *SYSTEM_PATH_SIZES = [10, 16, 17]
