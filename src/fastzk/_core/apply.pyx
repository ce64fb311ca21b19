"""The replicated state machine: blocks of committed entries in, a changed arena and items for the workers out.

Theory of operation.  Every node applies the same entries in the same order, failures included, so every arena is the
same at the same zxid.  Each entry, whatever becomes of it, moves applied_zxid and applied_index on, under the arena's
sequence.  What makes resending harmless (Z10) is decided here, by the session's attach_zxid and last_serial:

    session unknown                       result SessionExpired
    entry of another attachment           result SessionMoved: the session speaks through another connection now
    serial = last_serial + 1              applied; failed or not it becomes last_serial and has a result
    smaller serial                        a repeat: ignored, no result
    larger serial                         behind a hole: ignored, no result; all that is unanswered will be sent again

Rule: CHANGE items of an entry stand before its RESULT, and ITEM_SESSION after it; all in zxid order (Z6).
Rule: a session's end removes its ephemerals in the same zxid (Z9).
Python runs once per block; entries are applied without the GIL."""

from fastzk._core.arena cimport arena_change, arena_see, arena_use_reserve, arena_write_begin, arena_write_end
from fastzk._core.blocks cimport entries_walk, entry_see
from fastzk._core.changes cimport change_delete
from fastzk._core.codes cimport (
    ERR_MARSHALLING,
    ERR_OK,
    ERR_SESSION_EXPIRED,
    ERR_SESSION_MOVED,
    ERR_SYSTEM,
)
from fastzk._core.items cimport (
    WORKERS_MAX,
    answer_open,
    item_close,
    outbox_of,
    outbox_result,
    outbox_session,
    worker_out_t,
)
from fastzk._core.layout cimport (
    BLOCK_MAGIC,
    FZ_ASSERT,
    ITEM_READ,
    ITEM_RESULT,
    OP_ATTACH_SESSION,
    OP_CLOSE_SESSION,
    OP_CONFIG,
    OP_CREATE_SESSION,
    OP_EPOCH,
    OP_MEMBERS,
    OP_REAP,
    OP_REJOIN,
    arena_header_t,
    block_t,
    buffer_append,
    buffer_be32,
    buffer_clear,
    buffer_free,
    item_t,
    load_be32,
    result_t,
    session_t,
)
from fastzk._core.reads cimport READ_LOST, is_read, read_answer, read_decode, read_t
from fastzk._core.results cimport results_begin, results_body, results_end, results_find, results_keep
from fastzk._core.room cimport room_is_left_for_a_session
from fastzk._core.samples cimport sample_t, samples_find, samples_look
from fastzk._core.session_table cimport identities_are_valid, session_identify
from fastzk._core.tree cimport session_create, session_find, session_remove
from fastzk._core.upkeep cimport config_apply, reap_apply
from fastzk._core.writes cimport reconfig_judge, write_apply
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from fastzk._core import upkeep


cdef enum:
    REMEMBER = 1                # cxid of a create whose session's results are to be remembered, or of an attach that goes on so
    SESSION_BODY_MIN = 20       # int timeout_ms, then the password; identities may follow
    PASSWORD_SIZE = 16
    REJOIN_BODY_SIZE = 10
    RESERVE_PART = 64           # of the arena, one part is kept back for what must not fail: closing, deleting, coming in
    REAPABLE_MAX = 256          # paths that one look finds

cdef tuple CHANGE_KINDS = ("created", "attached", "closed")


cdef class Machine:

    def __cinit__(self, Arena arena not None, uint16_t node_id):
        self.arena = arena
        memset(&self.out, 0, sizeof(self.out))
        memset(&self.session_changes, 0, sizeof(self.session_changes))
        memset(&self.rejoins, 0, sizeof(self.rejoins))
        memset(&self.scratch, 0, sizeof(self.scratch))
        memset(&self.samples, 0, sizeof(self.samples))
        self.out.node_id = node_id
        arena.arena.reserve = arena.arena.capacity // RESERVE_PART

    def __dealloc__(self):
        cdef int i
        for i in range(self.out.count):
            buffer_free(&self.out.workers[i].items)
        buffer_free(&self.session_changes)
        buffer_free(&self.rejoins)
        buffer_free(&self.out.elsewhere)
        buffer_free(&self.scratch.acl)
        buffer_free(&self.scratch.body)

    def add_worker(self, uint16_t worker) -> None:
        """From now on this worker is told what happens.  Raises ValueError when it is known, or there are too many."""
        cdef int i
        for i in range(self.out.count):
            if self.out.workers[i].worker == worker:
                raise ValueError(f"worker {worker} is attached already")
        if self.out.count == WORKERS_MAX:
            raise ValueError(f"no more than {WORKERS_MAX} workers")
        memset(&self.out.workers[self.out.count], 0, sizeof(worker_out_t))
        self.out.workers[self.out.count].worker = worker
        self.out.count += 1

    def remove_worker(self, uint16_t worker) -> None:
        """Forgets a worker and what it was not told.  Raises KeyError when it is not attached."""
        cdef int i = self.place_of(worker)
        buffer_free(&self.out.workers[i].items)
        self.out.count -= 1
        self.out.workers[i] = self.out.workers[self.out.count]

    def take_items(self, uint16_t worker) -> bytes:
        """Takes what a worker is to be told, in zxid order; b"" when there is nothing.  Raises KeyError."""
        cdef buffer_t *items = &self.out.workers[self.place_of(worker)].items
        cdef bytes taken = b""
        if items.size:
            taken = items.data[:items.size]
            buffer_clear(items)
        return taken

    cdef int place_of(self, uint16_t worker) except -1:
        cdef int i
        for i in range(self.out.count):
            if self.out.workers[i].worker == worker:
                return i
        raise KeyError(worker)

    def apply(self, block) -> None:
        """Applies a committed block.

        Raises AssertionError, before anything is changed, when it is no block or does not follow what was applied.
        """
        cdef const unsigned char[::1] view = block
        cdef const block_t *head
        cdef const arena_header_t *header = self.arena.arena.header
        cdef const entry_t *entry
        cdef const char *at
        cdef moment_t now
        cdef uint32_t _i
        assert view.shape[0] > <Py_ssize_t>sizeof(block_t), f"a block of {view.shape[0]} bytes"
        if <size_t>&view[0] & 7:
            view = bytes(view)                      # entries are read as structures
        head = <const block_t *>&view[0]
        assert head.magic == BLOCK_MAGIC and head.size == view.shape[0], f"{head.size} of {view.shape[0]} bytes"
        assert entries_walk(head.entries, head.size - sizeof(block_t)) == head.count, f"not {head.count} entries"
        assert head.first_index == header.applied_index + 1, f"index {head.first_index} after {header.applied_index}"
        assert head.first_zxid > header.applied_zxid, f"Z1: {head.first_zxid:#x} after {header.applied_zxid:#x}"
        assert (head.first_zxid & 0xffffffff) + head.count <= 0x100000000, f"Z1: {head.first_zxid:#x} + {head.count}"
        with nogil:
            at = <const char *>head + sizeof(block_t)
            now.zxid = head.first_zxid
            now.index = head.first_index
            now.time_ms = head.time_ms
            for _i in range(head.count):
                entry = <const entry_t *>at
                self.apply_entry(entry, &now)
                samples_look(&self.samples, now.index, header.digest_low, header.digest_high)
                at += entry.size
                now.zxid += 1
                now.index += 1

    cdef int apply_entry(self, const entry_t *entry, const moment_t *now) noexcept nogil:
        cdef arena_t *a = &self.arena.arena
        cdef const session_t *session
        cdef ref_t ref
        cdef bint is_expiry = entry.op == OP_CLOSE_SESSION and entry.serial == 0
        if entry.op == OP_EPOCH or entry.op == OP_MEMBERS:
            return self.pass_by(a, entry, now, ERR_OK)
        if entry.op == OP_CREATE_SESSION:
            return self.apply_create_session(a, entry, now)
        if entry.op == OP_ATTACH_SESSION:
            return self.apply_attach_session(a, entry, now)
        if entry.op == OP_REAP:
            return reap_apply(a, &self.out, entry, now)
        if entry.op == OP_CONFIG:
            return config_apply(a, &self.out, entry, now)
        if entry.op == OP_REJOIN:
            return self.apply_rejoin(a, entry, now)
        ref = session_find(a, entry.session_id)
        if ref == 0:
            return self.pass_by(a, entry, now, ENTRY_IGNORED if is_expiry else ERR_SESSION_EXPIRED)
        session = see_session(a, ref)
        if session.attach_zxid != entry.attach_zxid:
            return self.pass_by(a, entry, now, ENTRY_IGNORED if is_expiry else ERR_SESSION_MOVED)
        if not is_expiry and entry.serial != session.last_serial + 1:
            return self.pass_by(a, entry, now, ENTRY_IGNORED)
        if entry.op == OP_CLOSE_SESSION:
            return self.apply_close_session(a, ref, entry, now)
        if session.results and entry.cxid > 0:
            return self.apply_once(a, ref, entry, now)
        return write_apply(a, &self.out, &self.scratch, ref, entry, now)

    cdef int apply_once(self, arena_t *a, ref_t session, const entry_t *entry, const moment_t *now) noexcept nogil:
        """A write of a session whose results are remembered: a request that was done before is answered, and not done."""
        cdef const result_t *known = results_find(a, session, entry.cxid)
        cdef buffer_t *items
        cdef const item_t *item
        cdef size_t at, place
        cdef int err
        if known is not NULL:
            arena_write_begin(a)
            (<session_t *>arena_change(a, session, sizeof(session_t))).last_serial = entry.serial
            arena_write_end(a, now.zxid, now.index, now.time_ms)
            items = outbox_of(&self.out, entry)
            if items is not NULL:
                place = answer_open(items, ITEM_RESULT, now.zxid, entry, known.err)
                buffer_append(items, results_body(a, known), known.body_size)
                item_close(items, place)
            return known.err
        self.out.is_recording = True
        items = outbox_of(&self.out, entry)
        at = items.size
        err = write_apply(a, &self.out, &self.scratch, session, entry, now)
        self.out.is_recording = False
        FZ_ASSERT(items.size > at)                  # every write has a result, and it is the last item
        while True:
            item = <const item_t *>(items.data + at)
            if at + item.size == items.size:
                break
            at += item.size
        FZ_ASSERT(item.kind == ITEM_RESULT and item.xid == entry.cxid)
        arena_write_begin(a)
        results_keep(a, session, entry.cxid, item.err, item.body, item.body_size)
        arena_write_end(a, now.zxid, now.index, now.time_ms)
        buffer_clear(&self.out.elsewhere)
        return err

    cdef int pass_by(self, arena_t *a, const entry_t *entry, const moment_t *now, int err) noexcept nogil:
        """An entry that changes nothing but how far we are; an error is told."""
        arena_write_begin(a)
        arena_write_end(a, now.zxid, now.index, now.time_ms)
        if err < 0:
            outbox_result(&self.out, entry, now.zxid, err)
        return err

    cdef int apply_rejoin(self, arena_t *a, const entry_t *entry, const moment_t *now) noexcept nogil:
        cdef rejoin_t rejoin
        if entry.body_size == REJOIN_BODY_SIZE:
            memcpy(&rejoin.node_id, entry.body, sizeof(rejoin.node_id))
            memcpy(&rejoin.nonce, entry.body + sizeof(rejoin.node_id), sizeof(rejoin.nonce))
            buffer_append(&self.rejoins, &rejoin, sizeof(rejoin))
        return self.pass_by(a, entry, now, ERR_OK)

    cdef int apply_create_session(self, arena_t *a, const entry_t *entry, const moment_t *now) noexcept nogil:
        cdef uint32_t timeout_ms
        cdef const char *password
        cdef ref_t ref
        if not is_session_body(entry):
            return self.pass_by(a, entry, now, ERR_MARSHALLING)
        if session_find(a, entry.session_id):
            return self.pass_by(a, entry, now, ENTRY_IGNORED)
        if not room_is_left_for_a_session(a):
            return self.pass_by(a, entry, now, ERR_SYSTEM)
        timeout_ms = load_be32(entry.body)
        password = entry.body + 4
        arena_write_begin(a)
        arena_use_reserve(a)
        ref = session_create(a, entry.session_id, timeout_ms, <const uint8_t *>password, now.zxid, entry.serial)
        if ref and not session_identify(a, ref, entry.body + SESSION_BODY_MIN, entry.body_size - SESSION_BODY_MIN):
            session_remove(a, ref)
            ref = 0
        if ref and entry.cxid == REMEMBER and not results_begin(a, ref):
            session_remove(a, ref)
            ref = 0
        arena_write_end(a, now.zxid, now.index, now.time_ms)
        if ref == 0:
            outbox_result(&self.out, entry, now.zxid, ERR_SYSTEM)
            return ERR_SYSTEM
        self.session_changed(SESSION_CREATED, entry.session_id, now.zxid, timeout_ms)
        self.answer_session(entry, now, timeout_ms, password, entry.cxid == REMEMBER)
        return ERR_OK

    cdef int apply_attach_session(self, arena_t *a, const entry_t *entry, const moment_t *now) noexcept nogil:
        cdef const session_t *session
        cdef session_t *changed
        cdef uint32_t timeout_ms
        cdef ref_t ref
        if not is_session_body(entry):
            return self.pass_by(a, entry, now, ERR_MARSHALLING)
        ref = session_find(a, entry.session_id)
        if ref == 0:
            return self.pass_by(a, entry, now, ERR_SESSION_EXPIRED)
        session = see_session(a, ref)
        if not is_password(<const char *>session.password, entry.body + 4):
            return self.pass_by(a, entry, now, ERR_SESSION_EXPIRED)
        if session.attach_nonce == entry.serial:
            return self.pass_by(a, entry, now, ENTRY_IGNORED)
        timeout_ms = load_be32(entry.body)
        arena_write_begin(a)
        arena_use_reserve(a)
        if entry.cxid != REMEMBER:
            results_end(a, ref)                     # for good: another client may speak now, which counts xids from 1 again
        if not session_identify(a, ref, entry.body + SESSION_BODY_MIN, entry.body_size - SESSION_BODY_MIN):
            arena_write_end(a, now.zxid, now.index, now.time_ms)
            outbox_result(&self.out, entry, now.zxid, ERR_SYSTEM)
            return ERR_SYSTEM
        changed = <session_t *>arena_change(a, ref, sizeof(session_t))
        changed.attach_zxid = now.zxid
        changed.attach_nonce = entry.serial
        changed.last_serial = 0
        changed.timeout_ms = timeout_ms
        arena_write_end(a, now.zxid, now.index, now.time_ms)
        self.session_changed(SESSION_ATTACHED, entry.session_id, now.zxid, timeout_ms)
        self.answer_session(entry, now, timeout_ms, entry.body + 4, see_session(a, ref).results != 0)
        outbox_session(&self.out, now.zxid, entry.session_id, now.zxid)
        return ERR_OK

    cdef int apply_close_session(self, arena_t *a, ref_t ref, const entry_t *entry,
                                 const moment_t *now) noexcept nogil:
        cdef const session_t *session = see_session(a, ref)
        arena_write_begin(a)
        arena_use_reserve(a)
        while session.first_ephemeral != 0:
            change_delete(a, &self.out, now, session.first_ephemeral)
        session_remove(a, ref)
        arena_write_end(a, now.zxid, now.index, now.time_ms)
        self.session_changed(SESSION_CLOSED, entry.session_id, entry.attach_zxid, 0)
        if entry.serial != 0:
            outbox_result(&self.out, entry, now.zxid, ERR_OK)
        outbox_session(&self.out, now.zxid, entry.session_id, 0)
        return ERR_OK

    cdef void session_changed(self, uint32_t kind, uint64_t session_id, uint64_t attach_zxid,
                              uint32_t timeout_ms) noexcept nogil:
        cdef session_change_t change
        change.session_id = session_id
        change.attach_zxid = attach_zxid
        change.timeout_ms = timeout_ms
        change.kind = kind
        buffer_append(&self.session_changes, &change, sizeof(change))

    cdef void answer_session(self, const entry_t *entry, const moment_t *now, uint32_t timeout_ms,
                             const char *password, bint is_remembered) noexcept nogil:
        """The result of a create or attach: the new attachment, the timeout, the password, and in event whether all
        results since the session began are remembered."""
        cdef buffer_t *items = outbox_of(&self.out, entry)
        cdef size_t place
        if items is NULL:
            return
        place = answer_open(items, ITEM_RESULT, now.zxid, entry, ERR_OK)
        (<item_t *>(items.data + place)).attach_zxid = now.zxid
        (<item_t *>(items.data + place)).event = is_remembered
        buffer_be32(items, timeout_ms)
        buffer_append(items, password, PASSWORD_SIZE)
        item_close(items, place)

    def read(self, entries) -> None:
        """Answers reads that workers handed over (the payload of LINK_READ): an ITEM_READ for each.

        Raises ValueError when the bytes are not entries of reads; what stands before the bad one is answered.
        """
        cdef const unsigned char[::1] view = entries
        cdef const char *at
        cdef const char *end
        cdef const entry_t *entry
        cdef buffer_t *items
        if view.shape[0] == 0:
            return
        if <size_t>&view[0] & 7:
            view = bytes(view)
        at = <const char *>&view[0]
        end = at + view.shape[0]
        while at < end:
            entry = entry_see(at, end)
            if entry is NULL or not is_read(entry.op):
                raise ValueError("not entries of reads")
            items = outbox_of(&self.out, entry)
            if items is not NULL:
                with nogil:
                    self.answer_read(items, entry)
            at += entry.size

    cdef void answer_read(self, buffer_t *items, const entry_t *entry) noexcept nogil:
        cdef arena_t *a = &self.arena.arena
        cdef uint32_t who_size = <uint32_t>entry.attach_zxid if entry.attach_zxid <= entry.body_size else 0
        cdef uint64_t zxid = a.header.applied_zxid
        cdef size_t place = answer_open(items, ITEM_READ, zxid, entry, ERR_OK)
        cdef read_t read
        cdef int err = read_decode(&read, entry.op, entry.body, entry.body_size - who_size)
        if err == ERR_OK:
            read.session_id = entry.session_id
            read.who.identities = entry.body + entry.body_size - who_size
            read.who.size = who_size
            err = read_answer(a, &read, items, &zxid)
            FZ_ASSERT(err != READ_LOST)             # we are the writer, and are not writing
        (<item_t *>(items.data + place)).err = err
        item_close(items, place)

    def take_session_changes(self) -> list:
        """Takes (kind, session_id, attach_zxid, timeout_ms) of each session created, attached or closed meanwhile.

        For a closed one attach_zxid is its last attachment, and timeout_ms is 0.
        """
        cdef const session_change_t *change
        cdef size_t at = 0
        taken = []
        while at < self.session_changes.size:
            change = <const session_change_t *>(self.session_changes.data + at)
            taken.append((CHANGE_KINDS[change.kind], change.session_id, change.attach_zxid, change.timeout_ms))
            at += sizeof(session_change_t)
        buffer_clear(&self.session_changes)
        return taken

    def take_rejoins(self) -> list:
        """Takes (node_id, nonce) of each rejoin applied meanwhile."""
        cdef const rejoin_t *rejoin
        cdef size_t at = 0
        taken = []
        while at < self.rejoins.size:
            rejoin = <const rejoin_t *>(self.rejoins.data + at)
            taken.append((rejoin.node_id, rejoin.nonce))
            at += sizeof(rejoin_t)
        buffer_clear(&self.rejoins)
        return taken

    def judge_reconfig(self, uint64_t session_id, uint64_t attach_zxid, uint64_t serial, int32_t cxid) -> int:
        """What the leader does with a reconfig, now that all before it is applied.

        0: carry it out.  Below 0: it fails with this error.  JUDGED_OVER: forget it.  JUDGED_KNOWN: log it, whatever the verdict.
        """
        cdef arena_t *a = &self.arena.arena
        cdef ref_t ref = session_find(a, session_id)
        cdef const session_t *session
        if ref == 0:
            return ERR_SESSION_EXPIRED
        session = see_session(a, ref)
        if session.attach_zxid != attach_zxid:
            return ERR_SESSION_MOVED
        if serial != session.last_serial + 1:
            return JUDGED_OVER
        if session.results and cxid > 0 and results_find(a, ref, cxid) is not NULL:
            return JUDGED_KNOWN
        return reconfig_judge(a, ref)

    def sessions(self) -> list:
        """Lists (session_id, attach_zxid, timeout_ms) of all sessions: what a new leader's expiry table starts from."""
        cdef arena_t *a = &self.arena.arena
        cdef ref_t ref = a.header.first_session
        cdef const session_t *session
        found = []
        while ref != 0:
            session = see_session(a, ref)
            found.append((session.session_id, session.attach_zxid, session.timeout_ms))
            ref = session.next
        return found

    def find_reapable(self, uint64_t cursor, uint64_t buckets, int64_t now_ms, bint has_containers=True) -> tuple:
        """Looks through so many buckets of the index, from `cursor` on, for TTL znodes whose time is over, and containers.

        Gives the next cursor, 0 when all has been seen, and at most about 256 paths to propose a reap for.
        """
        return upkeep.find_reapable(self.arena, cursor, buckets, now_ms, has_containers, REAPABLE_MAX)

    @property
    def soft_breaches(self) -> int:
        """Writes that went beyond a quota that only warns, since this process began."""
        return self.scratch.soft_breaches

    @property
    def node_id(self) -> int:
        return self.out.node_id

    @property
    def applied_zxid(self) -> int:
        """Zxid of the last entry applied."""
        return self.arena.arena.header.applied_zxid

    @property
    def applied_index(self) -> int:
        """Index of the last entry applied."""
        return self.arena.arena.header.applied_index

    @property
    def applied_time_ms(self) -> int:
        """The leader's clock at the last entry applied."""
        return self.arena.arena.header.applied_time_ms

    @property
    def digest(self) -> int:
        """128 bits over all znodes; equal on all nodes at the same zxid."""
        cdef object high = self.arena.arena.header.digest_high
        return (high << 64) | self.arena.arena.header.digest_low

    @property
    def newest_sample(self) -> int:
        """Index of the newest sample of the digest, 0 when none was taken yet."""
        return self.samples.newest

    def sample_at(self, uint64_t index):
        """(digest, chain) of the sample taken at an index, None when it is not, or no longer, kept."""
        cdef const sample_t *sample = samples_find(&self.samples, index)
        if sample is NULL:
            return None
        return (<object>sample.digest_high << 64) | sample.digest_low, sample.chain

    @property
    def digest_chain(self) -> int:
        """A hash over all samples so far."""
        return self.samples.chain

    def begin_chain(self, uint64_t chain) -> None:
        """Takes over the chain of a snapshot that was just loaded."""
        self.samples.chain = chain

    @property
    def counts(self) -> dict:
        """How much there is: znodes, ephemerals, sessions, ACLs, and bytes of paths and data."""
        cdef const arena_header_t *header = self.arena.arena.header
        return {
            "znodes": header.znode_count,
            "ephemerals": header.ephemeral_count,
            "sessions": header.session_count,
            "acls": header.acl_count,
            "data_bytes": header.data_bytes,
        }


cdef inline const session_t *see_session(arena_t *a, ref_t ref) noexcept nogil:
    """The writer's own look at a session it knows to be there."""
    cdef const session_t *session = <const session_t *>arena_see(a, ref, sizeof(session_t))
    FZ_ASSERT(session is not NULL)
    return session


cdef bint is_session_body(const entry_t *entry) noexcept nogil:
    """Timeout and password; behind them the connection's identities or nothing."""
    return entry.body_size == SESSION_BODY_MIN or (
        entry.body_size > SESSION_BODY_MIN
        and identities_are_valid(entry.body + SESSION_BODY_MIN, entry.body_size - SESSION_BODY_MIN))


cdef bint is_password(const char *kept, const char *given) noexcept nogil:
    """Compares in a time that does not tell how much was right."""
    cdef uint8_t difference = 0
    cdef int i
    for i in range(PASSWORD_SIZE):
        difference |= <uint8_t>kept[i] ^ <uint8_t>given[i]
    return difference == 0
