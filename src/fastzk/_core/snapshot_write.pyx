"""A snapshot's records, encoded from a pinned arena: by any thread, without the interpreter's lock, while the writer goes on.

    encoder.next_chunk() -> records of chunk_bytes or some more; None when all have been given

Theory of operation.  The pin gives every byte of the arena as it was (pin_read), so the walk follows the refs of a tree that
stands still: sessions from the oldest, then the znodes, each after its parent, in the order of the child lists, then the lists
of ephemerals.  An ACL or identities become a number at their first use, an ephemeral by its place among the ephemerals.  So
the records say nothing of where things stand in memory: arenas of the same content give the same bytes.

Rule: a snapshot that could not be loaded must not come to be.  What the walk meets is counted and its digest computed again;
when they are not the header's, or a ref leads nowhere, next_chunk raises, and the snapshot is given up.
The format: docs/internals/snapshot-format.md."""

from collections import namedtuple

from cpython.bytes cimport PyBytes_FromStringAndSize
from fastzk._core.arena cimport (
    Arena, arena_header_t, owners_add, pin_let_go, pin_read, pin_t, prefetch)
from fastzk._core.digest cimport digest_add, digest_of_data, digest_of_stat
from fastzk._core.layout cimport (
    GRANULE, NULL_DATA, RESULTS_MAX, acl_t, buffer_append, buffer_clear, buffer_free, buffer_room, ref_t,
    results_t, session_t, znode_t)
from fastzk._core.quota cimport quota_is_limits
from fastzk._core.ref_map cimport REF_UNKNOWN, ref_map_find, ref_map_free, ref_map_put, ref_map_t
from fastzk._core.snapshot_records cimport (
    RECORD_EPHEMERALS, RECORD_SESSION, RECORD_VECTOR, RECORD_ZNODE, SESSION_HAS_IDENTITIES, SESSION_HAS_RESULTS,
    ZNODE_CHANGED, ZNODE_GUARDED, ZNODE_OWNED, ZNODE_PARENT, changed_part_t, ephemerals_record_t, parent_part_t,
    result_record_t, session_record_t, vector_record_t, znode_record_t)
from fastzk._core.tree cimport DATA_SIZE_MAX
from fastzk._core.znode cimport ACL_HEAD, LIST_HEAD, ZNODE_HEAD, is_session_id, path_hash
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef enum:
    PREFETCH_AHEAD = 6          # children
    EPHEMERALS_OF_RECORD = 4096
    VECTOR_BYTES_MAX = 1 << 24  # no frame brings a larger one

    # What is encoded next.
    STAGE_BEGIN = 0
    STAGE_SESSIONS = 1
    STAGE_ZNODES = 2
    STAGE_EPHEMERALS = 3
    STAGE_DONE = 4


# The state a snapshot is of: what the loader makes again, and checks.
SnapshotState = namedtuple(
    "SnapshotState",
    "last_index last_zxid last_time_ms digest znodes ephemerals sessions vectors data_bytes quotas reapables",
    module=__name__,
)


cdef class SnapshotEncoder:
    """Encodes the arena as of its pin.  Made by the arena's writer right after pin(); then any one thread may use it.

    A chunk is given out when it has `chunk_bytes`: the same number on all nodes, or their snapshots differ."""

    def __cinit__(self, Arena arena not None, size_t chunk_bytes) -> None:
        if arena.arena.pin == NULL:
            raise RuntimeError("the arena is not pinned")
        self._arena = arena
        self.chunk_bytes = chunk_bytes
        self.pin = arena.arena.pin
        owners_add(&self.pin.owners)
        pin_read(self.pin, 0, &self.header, sizeof(self.header))

    def __dealloc__(self):
        self.close()

    cpdef close(self):
        """Lets go of the pin, and frees the copies of pages if the arena is unpinned by now.  May be called by any thread.

        Some 60 ms for 250 MB of them: not to be done by the writer."""
        cdef pin_t *pin = self.pin
        self.pin = NULL
        with nogil:
            if pin is not NULL:
                pin_let_go(pin)
            buffer_free(&self.out)
            buffer_free(&self.frames)
            buffer_free(&self.acl_hashes)
            ref_map_free(&self.vectors)
            ref_map_free(&self.ephemerals)

    @property
    def state(self) -> SnapshotState:
        """What is encoded, by the numbers: the loader needs it."""
        cdef arena_header_t *header = &self.header
        return SnapshotState(
            header.applied_index, header.applied_zxid, header.applied_time_ms,
            <object>header.digest_high << 64 | header.digest_low, header.znode_count, header.ephemeral_count,
            header.session_count, header.acl_count, header.data_bytes, header.quota_count, header.reapable_count,
        )

    @property
    def arena(self) -> Arena:
        return self._arena

    def next_chunk(self) -> bytes | None:
        """The next records, or None when there are no more.

        Raises RuntimeError when the arena is not sound: then no snapshot of it can be made."""
        if self.pin == NULL:
            raise RuntimeError("the encoder is closed")
        buffer_clear(&self.out)
        with nogil:
            while self.out.size < self.chunk_bytes and self.stage != STAGE_DONE and self.broken is NULL:
                self.step()
        if self.broken is not NULL:
            raise RuntimeError(f"the arena is not sound: {self.broken.decode()}")
        if self.out.size == 0:
            return None
        return PyBytes_FromStringAndSize(self.out.data, self.out.size)

    cdef void step(self) noexcept nogil:
        """Encodes one record, or goes on to the next stage."""
        if self.stage == STAGE_BEGIN:
            self.begin()
        elif self.stage == STAGE_SESSIONS:
            if self.session == 0:
                self.stage = STAGE_ZNODES
                self.znode(self.header.root)
            else:
                self.one_session()
        elif self.stage == STAGE_ZNODES:
            self.next_znode()
        else:
            self.some_ephemerals()

    cdef void fail(self, const char *reason) noexcept nogil:
        if self.broken is NULL:
            self.broken = reason

    cdef bint read(self, ref_t ref, uint64_t skip, void *to, uint64_t size) noexcept nogil:
        """Copies bytes of a block as of the pin, `skip` from its begin."""
        cdef uint64_t offset = <uint64_t>ref * GRANULE + skip
        if offset < self.header.heap_offset or not pin_read(self.pin, offset, to, size):
            memset(to, 0, size)
            self.fail(b"a ref leads out of the heap")
            return False
        return True

    cdef void begin(self) noexcept nogil:
        """Gives world:anyone its number, and finds the oldest session."""
        cdef session_t session
        cdef uint64_t count = 0
        self.vector(self.header.acl_open)
        self.oldest = self.header.first_session
        while self.oldest:
            if not self.read(self.oldest, 0, &session, sizeof(session)):
                return
            count += 1
            if count > self.header.session_count:
                self.fail(b"more sessions than are counted")
                return
            if session.next == 0:
                break
            self.oldest = session.next
        self.session = self.oldest
        self.stage = STAGE_SESSIONS

    cdef uint32_t vector(self, ref_t ref) noexcept nogil:
        """The number of an interned vector; one that has none yet is encoded first."""
        cdef uint32_t number = ref_map_find(&self.vectors, ref) if ref else REF_UNKNOWN
        cdef vector_record_t record
        cdef acl_t acl
        if number != REF_UNKNOWN:
            return number
        if not self.read(ref, 0, &acl, ACL_HEAD):
            return 0
        if acl.size > VECTOR_BYTES_MAX:
            self.fail(b"an ACL is too large")
            return 0
        memset(&record, 0, sizeof(record))
        record.kind = RECORD_VECTOR
        record.size = acl.size
        buffer_append(&self.out, &record, sizeof(record))
        buffer_room(&self.out, acl.size)
        self.read(ref, ACL_HEAD, self.out.data + self.out.size, acl.size)
        self.out.size += acl.size
        number = <uint32_t>self.vectors.count
        ref_map_put(&self.vectors, ref, number)
        buffer_append(&self.acl_hashes, &acl.hash, sizeof(acl.hash))
        return number

    # Sessions.

    cdef void one_session(self) noexcept nogil:
        cdef session_t session
        cdef session_record_t record
        cdef results_t results
        if not self.read(self.session, 0, &session, sizeof(session)):
            return
        memset(&record, 0, sizeof(record))
        record.kind = RECORD_SESSION
        record.timeout_ms = session.timeout_ms
        record.session_id = session.session_id
        record.attach_zxid = session.attach_zxid
        record.attach_nonce = session.attach_nonce
        record.last_serial = session.last_serial
        memcpy(record.password, session.password, sizeof(record.password))
        record.ephemeral_count = session.ephemeral_count
        if session.identities:
            record.flags |= SESSION_HAS_IDENTITIES
            record.identities = self.vector(session.identities)
        if session.results:
            if not self.read(session.results, 0, &results, sizeof(results)):
                return
            record.flags |= SESSION_HAS_RESULTS
            record.results_count = results.count
            record.kept_count = <uint16_t>min(results.count, <uint64_t>RESULTS_MAX)
        buffer_append(&self.out, &record, sizeof(record))
        if session.results:
            self.results(&results, record.kept_count)
        self.found.sessions += 1
        if self.found.sessions > self.header.session_count:
            self.fail(b"more sessions than are counted")
        self.session = session.previous

    cdef void results(self, const results_t *results, uint32_t count) noexcept nogil:
        cdef result_record_t record
        cdef uint32_t i
        for i in range(count):
            record.cxid = results.results[i].cxid
            record.err = results.results[i].err
            record.body_size = results.results[i].body_size if results.results[i].body else 0
            if record.body_size > DATA_SIZE_MAX:
                self.fail(b"a result is too large")
                return
            buffer_append(&self.out, &record, sizeof(record))
            if record.body_size:
                buffer_room(&self.out, record.body_size)
                self.read(results.results[i].body, 0, self.out.data + self.out.size, record.body_size)
                self.out.size += record.body_size

    # Znodes.

    cdef void next_znode(self) noexcept nogil:
        """The next child of the innermost znode that has one; when there is none the tree is done."""
        cdef frame_t *top
        cdef ref_t ref = 0
        cdef ref_t later = 0
        while self.frames.size:
            top = <frame_t *>(self.frames.data + self.frames.size) - 1
            if top.place < top.count:
                break
            self.frames.size -= sizeof(frame_t)
        else:
            self.session = self.oldest
            self.ephemeral = self.first_ephemeral()
            self.stage = STAGE_EPHEMERALS
            return
        if not self.read(top.children, LIST_HEAD + <uint64_t>top.place * sizeof(ref_t), &ref, sizeof(ref)):
            return
        if top.place + PREFETCH_AHEAD < top.count:
            self.read(top.children, LIST_HEAD + <uint64_t>(top.place + PREFETCH_AHEAD) * sizeof(ref_t), &later, sizeof(later))
            prefetch(self.pin.base + <uint64_t>later * GRANULE)
            prefetch(self.pin.base + <uint64_t>later * GRANULE + 64)
        top.place += 1
        self.znode(ref)

    cdef void znode(self, ref_t ref) noexcept nogil:
        cdef znode_t *znode = <znode_t *>self.znode_bytes
        cdef bint is_ephemeral
        cdef frame_t frame
        cdef uint32_t acl
        if not self.read(ref, 0, znode, ZNODE_HEAD) or not self.read(ref, ZNODE_HEAD, znode.path, znode.path_size):
            return
        is_ephemeral = is_session_id(znode.ephemeral_owner)
        if is_ephemeral:
            znode.children = znode.child_count = 0          # its session's list stands there
            ref_map_put_once(&self.ephemerals, ref)
            self.found.ephemerals += 1
        if znode.name_offset > znode.path_size or (znode.data_size != NULL_DATA and znode.data_size > DATA_SIZE_MAX):
            self.fail(b"a znode has impossible sizes")
            return
        self.found.znodes += 1
        if self.found.znodes > self.header.znode_count:
            self.fail(b"more znodes than are counted")
            return
        acl = self.vector(znode.acl)
        if self.broken is not NULL:
            return
        self.znode_record(znode, acl)
        self.znode_data(znode, acl)
        if znode.child_count:
            frame.children = znode.children
            frame.count = znode.child_count
            frame.place = 0
            buffer_append(&self.frames, &frame, sizeof(frame))

    cdef void znode_record(self, const znode_t *znode, uint32_t acl) noexcept nogil:
        """The record, its parts and the name."""
        cdef znode_record_t record
        cdef changed_part_t changed
        cdef parent_part_t parent
        record.kind = RECORD_ZNODE
        record.flags = 0
        record.name_size = znode.path_size - znode.name_offset
        record.acl = acl
        record.data_size = znode.data_size
        record.czxid = znode.czxid
        record.ctime_ms = znode.ctime_ms
        if znode.version or znode.mzxid != znode.czxid or znode.mtime_ms != znode.ctime_ms:
            record.flags |= ZNODE_CHANGED
        if znode.child_count or znode.cversion or znode.pzxid != znode.czxid:
            record.flags |= ZNODE_PARENT
        if znode.ephemeral_owner:
            record.flags |= ZNODE_OWNED
        if znode.aversion:
            record.flags |= ZNODE_GUARDED
        buffer_append(&self.out, &record, sizeof(record))
        if record.flags & ZNODE_CHANGED:
            changed.mzxid = znode.mzxid
            changed.mtime_ms = znode.mtime_ms
            changed.version = znode.version
            buffer_append(&self.out, &changed, sizeof(changed))
        if record.flags & ZNODE_PARENT:
            parent.pzxid = znode.pzxid
            parent.cversion = znode.cversion
            parent.child_count = znode.child_count
            buffer_append(&self.out, &parent, sizeof(parent))
        if record.flags & ZNODE_OWNED:
            buffer_append(&self.out, &znode.ephemeral_owner, sizeof(znode.ephemeral_owner))
        if record.flags & ZNODE_GUARDED:
            buffer_append(&self.out, &znode.aversion, sizeof(znode.aversion))
        buffer_append(&self.out, znode.path + znode.name_offset, record.name_size)

    cdef void znode_data(self, const znode_t *znode, uint32_t acl) noexcept nogil:
        """The data; and what there is to count of a znode."""
        cdef uint64_t hash = path_hash(znode.path, znode.path_size)
        cdef found_t *found = &self.found
        cdef uint64_t low
        cdef uint64_t high
        digest_of_stat(znode, (<const uint32_t *>self.acl_hashes.data)[acl], hash, &low, &high)
        digest_add(&found.digest_low, &found.digest_high, low, high)
        found.data_bytes += znode.path_size
        if znode.data_size and znode.data_size != NULL_DATA:
            found.data_bytes += znode.data_size
            buffer_room(&self.out, znode.data_size)
            if self.read(znode.data, 0, self.out.data + self.out.size, znode.data_size):
                digest_of_data(self.out.data + self.out.size, znode.data_size, hash, &low, &high)
                digest_add(&found.digest_low, &found.digest_high, low, high)
            self.out.size += znode.data_size
        found.quotas += quota_is_limits(znode.path, znode.path_size)
        found.reapables += znode.ephemeral_owner != 0 and not is_session_id(znode.ephemeral_owner)

    # The lists of ephemerals.

    cdef ref_t first_ephemeral(self) noexcept nogil:
        """Of the session whose turn it is; 0 when there is none."""
        cdef session_t session
        if self.session and self.read(self.session, 0, &session, sizeof(session)):
            return session.first_ephemeral
        return 0

    cdef void some_ephemerals(self) noexcept nogil:
        cdef uint32_t numbers[EPHEMERALS_OF_RECORD]
        cdef uint32_t *number = numbers
        cdef ephemerals_record_t record
        cdef znode_t znode
        cdef session_t session
        memset(&record, 0, sizeof(record))
        record.kind = RECORD_EPHEMERALS
        while self.session and record.count < EPHEMERALS_OF_RECORD and self.broken is NULL:
            if self.ephemeral == 0:
                self.read(self.session, 0, &session, sizeof(session))
                self.session = session.previous
                self.ephemeral = self.first_ephemeral()
                continue
            number[record.count] = ref_map_find(&self.ephemerals, self.ephemeral)
            if number[record.count] == REF_UNKNOWN or not self.read(self.ephemeral, 0, &znode, ZNODE_HEAD):
                self.fail(b"a session has an ephemeral that is not in the tree")
                return
            record.count += 1
            self.found.listed += 1
            if self.found.listed > self.header.ephemeral_count:
                self.fail(b"more ephemerals than are counted")
                return
            self.ephemeral = znode.ephemeral_next
        if record.count:
            buffer_append(&self.out, &record, sizeof(record))
            buffer_append(&self.out, numbers, record.count * sizeof(uint32_t))
        if self.session == 0:
            self.end()

    cdef void end(self) noexcept nogil:
        """All has been encoded: is it what the header says?"""
        cdef const arena_header_t *header = &self.header
        cdef const found_t *found = &self.found
        self.stage = STAGE_DONE
        if found.sessions != header.session_count:
            self.fail(b"fewer sessions than are counted")
        elif found.znodes != header.znode_count:
            self.fail(b"fewer znodes than are counted")
        elif found.ephemerals != header.ephemeral_count or found.listed != header.ephemeral_count:
            self.fail(b"not as many ephemerals as are counted")
        elif self.vectors.count != header.acl_count:
            self.fail(b"not as many ACLs as are counted")
        elif found.data_bytes != header.data_bytes:
            self.fail(b"not as many bytes as are counted")
        elif found.quotas != header.quota_count or found.reapables != header.reapable_count:
            self.fail(b"not as many quotas, containers and TTL znodes as are counted")
        elif found.digest_low != header.digest_low or found.digest_high != header.digest_high:
            self.fail(b"its digest is not that of its znodes")


cdef inline void ref_map_put_once(ref_map_t *map, ref_t ref) noexcept nogil:
    """Gives a znode the next number; a second one of a ref that came twice is kept from it (the counts will tell)."""
    if ref_map_find(map, ref) == REF_UNKNOWN:
        ref_map_put(map, ref, <uint32_t>map.count)
