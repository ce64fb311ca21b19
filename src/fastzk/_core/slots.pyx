"""The slots of a worker's connections and the lists they stand in; what is common to everything that serve.pyx decides.

    slots      connection_t by number; a free one is the next that is opened
    dirty      has something for the transport            ready    what it waited for is there: to be looked at again
    held       has answers ahead of the commit batches    starved  waits for room in the ring, or for random bytes
    sessions   hash table: session id -> slots
    ring       every write, create and attach without a result yet, in the order they were passed on

Rules:
  * A slot that was closed may still stand in the first four lists: whoever takes it off finds it free, or in its next life,
    and looks at it without harm.
  * An entry leaves the ring when the connection that sent it no longer waits for its result, be it answered or gone.  It is
    compared with the slot's present life: session, attachment and serial."""

from fastzk._core.addresses cimport address_enter, address_leave, address_t, addresses_free, addresses_make
from fastzk._core.connection cimport (
    AGAIN_NONE, AGAIN_READY, AGAIN_STARVED, WAITS_NOT, connection_answer, connection_backlog, connection_put,
    connection_shrink)
from fastzk._core.handshake cimport FOUND, HANDSHAKE_SIZE_MAX, session_check
from fastzk._core.identities cimport identities_begin
from fastzk._core.layout cimport (
    FZ_ASSERT, OP_ATTACH_SESSION, OP_CREATE_SESSION, buffer_append, buffer_begin, buffer_clear, buffer_consume,
    buffer_free, buffer_live, buffer_room, mix64, padded8, store_be32)
from fastzk._core.reads cimport is_read
from fastzk._core.watches cimport (
    watches_count, watches_delete, watches_drop, watches_list, watches_new, watches_summary)
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    ENTRY_HEAD = 48

    # Limits, and why.
    INPUT_SLACK = 64 << 10      # what may wait behind one whole frame
    COMPACT_MIN = 1 << 20       # of the ring: below it answered entries behind an unanswered one are left alone
    BUFFER_KEPT = 16 << 10      # an empty buffer above this is given back at once, the others at the next idle sweep
    WORKERS_APART = 64          # session ids of one node's workers are apart by their number modulo this


cdef class Slots:
    def __cinit__(self, Arena arena not None, *, uint16_t node_id, uint16_t worker, uint64_t incarnation,
                  uint32_t timeout_min_ms, uint32_t timeout_max_ms, int32_t connections_max, uint64_t start_zxid,
                  uint64_t session_seed, uint64_t hash_seed, size_t frame_max=0xfffff, size_t output_max=64 << 20,
                  size_t unanswered_max=64 << 20, uint32_t connections_per_address_max=60, bint local_sessions=False,
                  bint upgrade_sessions=True):
        cdef uint64_t buckets = 64
        if not 0 < timeout_min_ms <= timeout_max_ms < 1 << 31:
            raise ValueError(f"session timeouts from {timeout_min_ms} to {timeout_max_ms} ms")
        if not 0 < connections_max < 1 << 30:
            raise ValueError(f"{connections_max} connections")
        if not HANDSHAKE_SIZE_MAX <= frame_max < 1 << 30:
            raise ValueError(f"frames of {frame_max} bytes")
        while buckets < <uint64_t>connections_max:
            buckets *= 2
        self.arena = arena
        self.node_id, self.worker, self.incarnation = node_id, worker, incarnation
        self.timeout_ms_min, self.timeout_ms_max = timeout_min_ms, timeout_max_ms
        self.frame_max, self.output_max, self.unanswered_max = frame_max, output_max, unanswered_max
        self.per_address_max = connections_per_address_max
        self.has_local_sessions, self.may_upgrade = local_sessions, upgrade_sessions
        self.handled_zxid = start_zxid
        self.is_serving = True
        self.connections_max = connections_max
        self.first_free = self.first_dirty = self.last_dirty = self.first_held = -1
        self.first_ready = self.last_ready = self.first_starved = self.last_starved = -1
        self.unanswered_compact = COMPACT_MIN
        self.table_seed = mix64(hash_seed ^ <uint64_t>0x9e3779b97f4a7c15, <uint64_t>0xe7037ed1a0b428db)
        self.next_session_id = (session_seed << 16) + worker % WORKERS_APART
        self.connections = <connection_t *>calloc(connections_max, sizeof(connection_t))
        self.sessions = <int32_t *>calloc(buckets, sizeof(int32_t))
        if (self.connections == NULL or self.sessions == NULL
                or addresses_make(&self.addresses, connections_max, self.table_seed) != 0):
            raise MemoryError
        self.sessions_mask = buckets - 1
        memset(self.sessions, 0xff, buckets * sizeof(int32_t))
        self.watches = watches_new(hash_seed)

    def __dealloc__(self):
        cdef int32_t slot
        if self.connections != NULL:
            for slot in range(self.slots_used):
                buffer_free(&self.connections[slot].input)
                buffer_free(&self.connections[slot].output)
                buffer_free(&self.connections[slot].held)
                buffer_free(&self.connections[slot].identities)
                buffer_free(&self.connections[slot].credential)
        if self.watches != NULL:
            watches_delete(self.watches)
        addresses_free(&self.addresses)
        free(self.connections)
        free(self.sessions)
        buffer_free(&self.writes)
        buffer_free(&self.reads)
        buffer_free(&self.unanswered)
        buffer_free(&self.entropy)
        buffer_free(&self.answer)
        buffer_free(&self.event)
        buffer_free(&self.touched)
        buffer_free(&self.spoken)
        buffer_free(&self.accused)

    # --- slots

    cdef int32_t open(self, int wire, uint64_t now_ms, const char *address, uint32_t size, uint16_t port) noexcept nogil:
        cdef int32_t slot = self.first_free
        cdef connection_t *c
        self.now_ms = now_ms
        if slot >= 0:
            self.first_free = self.connections[slot].next_of_session
        elif self.slots_used < self.connections_max:
            slot = self.slots_used
            self.slots_used += 1
        else:
            return -1
        c = &self.connections[slot]
        FZ_ASSERT(c.state == CONNECTION_FREE)
        c.state = CONNECTION_NEW
        c.wire = <uint8_t>wire
        c.next_of_session = -1
        c.heard_ms = c.since_ms = now_ms
        self.lives += 1
        c.life = self.lives
        self.connection_count += 1
        if not self.name(c, address, size, port):
            self.close(slot)
            return -1
        return slot

    cdef bint name(self, connection_t *c, const char *address, uint32_t size, uint16_t port) noexcept nogil:
        """Says where it comes from, and thereby who it is as yet; False: there are enough from there."""
        if size:
            c.address = address_enter(&self.addresses, address, size, self.per_address_max)
            if c.address == NULL:
                return False
        c.port = port
        identities_begin(&c.identities, address, size)
        return True

    cdef void close(self, int32_t slot) noexcept nogil:
        cdef connection_t *c = self.at(slot)
        cdef connection_t lists
        FZ_ASSERT(c.state != CONNECTION_FREE)
        if c.state != CONNECTION_CLOSING:
            self.end(c, slot)
        lists = c[0]
        buffer_free(&c.input)
        buffer_free(&c.output)
        buffer_free(&c.held)
        buffer_free(&c.identities)
        buffer_free(&c.credential)
        if c.address != NULL:
            address_leave(&self.addresses, c.address)
        # It may still stand in these lists; whoever takes it off them finds it free, or in its next life, and no harm done.
        memset(c, 0, sizeof(connection_t))
        c.is_dirty, c.next_dirty = lists.is_dirty, lists.next_dirty
        c.is_held_listed, c.next_held = lists.is_held_listed, lists.next_held
        c.again, c.next_again = lists.again, lists.next_again
        c.next_of_session = self.first_free
        self.first_free = slot
        self.connection_count -= 1

    cdef connection_t *at(self, int32_t slot) noexcept nogil:
        FZ_ASSERT(slot >= 0 and slot < self.slots_used)
        return &self.connections[slot]

    # --- what a connection is sent

    cdef void answer_now(self, connection_t *c, int32_t slot, int32_t xid, int32_t err) noexcept nogil:
        """A bare header, as of what this connection has been or will be shown."""
        self.put_answer(c, slot, self.handled_zxid, xid, self.present_zxid(c), err, NULL, 0)

    cdef uint64_t present_zxid(self, const connection_t *c) noexcept nogil:
        """What this connection has been or will be shown last."""
        return c.held_zxid if buffer_live(&c.held) else self.handled_zxid

    cdef void put_answer(self, connection_t *c, int32_t slot, uint64_t handled, int32_t xid, uint64_t zxid, int32_t err,
                         const char *body, size_t size) noexcept nogil:
        connection_answer(c, handled, xid, zxid, err, body, size)
        self.replied += 1
        if buffer_live(&c.held) and not c.is_held_listed:
            self.list_held(c, slot)

    cdef void put_shown(self, connection_t *c, int32_t slot, uint64_t handled, int32_t xid, uint64_t zxid, uint64_t shown_zxid,
                        int32_t err, const char *body, size_t size) noexcept nogil:
        """A frame as of `zxid` whose header shows another one, as ZooKeeper's replies to credentials and replayed events do."""
        connection_put(c, handled, xid, zxid, shown_zxid, err, body, size)
        self.replied += 1
        if buffer_live(&c.held) and not c.is_held_listed:
            self.list_held(c, slot)

    cdef void list_held(self, connection_t *c, int32_t slot) noexcept nogil:
        c.is_held_listed = 1
        c.next_held = self.first_held
        self.first_held = slot

    cdef void pass_on(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil:
        """Sends a write on its way, the next of its attachment."""
        c.sent_serial += 1
        self.outstanding += 1
        if c.timed_serial == 0:
            c.timed_serial = c.sent_serial
            c.timed_ms = self.now_ms
        self.put_entry(c, slot, op, xid, c.sent_serial, body, size)

    cdef void settle(self, connection_t *c, int32_t slot) noexcept nogil:
        """After anything happened to a connection: ends it if that was due, decides its pause, tells the transport."""
        cdef size_t input_max = self.frame_max + INPUT_SLACK if c.state == CONNECTION_OPEN else INPUT_SLACK
        cdef bint is_paused
        if c.is_ending and c.state == CONNECTION_OPEN and c.sent_serial == c.answered_serial and buffer_live(&c.held) == 0:
            self.end(c, slot)
        if connection_backlog(c) > self.output_max:
            self.abort(c, slot)
        is_paused = (c.state == CONNECTION_CLOSING or c.is_ending or c.is_full or c.word != 0
                     or connection_backlog(c) > BACKLOG_PAUSE or buffer_live(&c.input) > input_max)
        if buffer_live(&c.output) or c.state == CONNECTION_CLOSING or is_paused != c.is_paused:
            self.mark_dirty(c, slot)
        c.is_paused = is_paused
        connection_shrink(c, BUFFER_KEPT)

    cdef void end(self, connection_t *c, int32_t slot) noexcept nogil:
        """Takes nothing more, sends what is in `output` and closes.  Memory is given back by close()."""
        FZ_ASSERT(c.state != CONNECTION_FREE and c.state != CONNECTION_CLOSING)
        watches_drop(self.watches, slot)
        self.outstanding -= c.sent_serial - c.answered_serial
        c.answered_serial = c.sent_serial
        if c.state != CONNECTION_NEW:
            self.leave_session(c, slot)
        c.state = CONNECTION_CLOSING
        c.since_ms = self.now_ms
        c.word = 0
        c.waits_for = WAITS_NOT
        c.is_upgrading = 0
        c.identify_serial = 0
        buffer_clear(&c.input)
        buffer_clear(&c.held)
        self.mark_dirty(c, slot)

    cdef void abort(self, connection_t *c, int32_t slot) noexcept nogil:
        """Ends it at once, unsent output included."""
        if c.state != CONNECTION_CLOSING:
            self.end(c, slot)
        buffer_clear(&c.output)
        self.mark_dirty(c, slot)

    # --- lists

    cdef void mark_dirty(self, connection_t *c, int32_t slot) noexcept nogil:
        if c.is_dirty:
            return
        c.is_dirty = 1
        c.next_dirty = -1
        if self.last_dirty >= 0:
            self.connections[self.last_dirty].next_dirty = slot
        else:
            self.first_dirty = slot
        self.last_dirty = slot

    cdef int32_t next_dirty(self) noexcept nogil:
        cdef int32_t slot
        while self.first_dirty >= 0:
            slot = self.first_dirty
            self.first_dirty = self.connections[slot].next_dirty
            if self.first_dirty < 0:
                self.last_dirty = -1
            self.connections[slot].is_dirty = 0
            if self.connections[slot].state != CONNECTION_FREE:
                return slot
        return -1

    cdef void mark_ready(self, connection_t *c, int32_t slot) noexcept nogil:
        if c.again != AGAIN_NONE:
            return                                  # one that is starved waits for something else first
        c.again = AGAIN_READY
        c.next_again = -1
        if self.last_ready >= 0:
            self.connections[self.last_ready].next_again = slot
        else:
            self.first_ready = slot
        self.last_ready = slot

    cdef void mark_starved(self, connection_t *c, int32_t slot) noexcept nogil:
        if c.again != AGAIN_NONE:
            return
        c.again = AGAIN_STARVED
        c.next_again = -1
        if self.last_starved >= 0:
            self.connections[self.last_starved].next_again = slot
        else:
            self.first_starved = slot
        self.last_starved = slot

    # --- sessions of this worker, and the ring of unanswered writes

    cdef int32_t *session_bucket(self, uint64_t session_id) noexcept nogil:
        return &self.sessions[mix64(session_id ^ self.table_seed, <uint64_t>0x9e3779b97f4a7c15) & self.sessions_mask]

    cdef void join_session(self, connection_t *c, int32_t slot, uint64_t session_id) noexcept nogil:
        cdef int32_t *bucket = self.session_bucket(session_id)
        c.session_id = session_id
        c.next_of_session = bucket[0]
        bucket[0] = slot

    cdef bint has_session(self, uint64_t session_id) noexcept nogil:
        cdef int32_t slot = self.session_bucket(session_id)[0]
        while slot >= 0 and self.connections[slot].session_id != session_id:
            slot = self.connections[slot].next_of_session
        return slot >= 0

    cdef void leave_session(self, connection_t *c, int32_t slot) noexcept nogil:
        cdef int32_t *link = self.session_bucket(c.session_id)
        while link[0] != slot:
            FZ_ASSERT(link[0] >= 0)
            link = &self.connections[link[0]].next_of_session
        link[0] = c.next_of_session

    cdef bint is_unanswered(self, const entry_t *entry) noexcept nogil:
        """Whether the connection that sent it still waits for its result."""
        cdef connection_t *c = self.at(<int32_t>entry.connection)
        if entry.session_id != c.session_id:
            return False
        if entry.op == OP_CREATE_SESSION or entry.op == OP_ATTACH_SESSION:
            return (c.state == CONNECTION_WAITING or c.is_upgrading) and entry.serial == c.nonce
        return c.state == CONNECTION_OPEN and entry.attach_zxid == c.attach_zxid and entry.serial > c.answered_serial

    cdef void prune(self) noexcept nogil:
        """Lets go of what is answered: from the front, and of what stands behind one that waits for long once that is much."""
        cdef const entry_t *entry
        cdef char *to
        cdef size_t at, size
        while buffer_live(&self.unanswered):
            entry = <const entry_t *>buffer_begin(&self.unanswered)
            if self.is_unanswered(entry):
                break
            buffer_consume(&self.unanswered, entry.size)
        if buffer_live(&self.unanswered) < min(self.unanswered_compact, self.unanswered_max):
            return
        to = buffer_begin(&self.unanswered)
        at = self.unanswered.start
        while at < self.unanswered.size:
            entry = <const entry_t *>(self.unanswered.data + at)
            size = entry.size
            if self.is_unanswered(entry):
                memmove(to, entry, size)
                to += size
            at += size
        self.unanswered.size = <size_t>(to - self.unanswered.data)
        self.unanswered_compact = max(<size_t>COMPACT_MIN, 2 * buffer_live(&self.unanswered))

    cdef void resend(self) noexcept nogil:
        cdef const entry_t *entry
        cdef size_t at
        buffer_clear(&self.writes)                  # they are in the ring too
        self.writes_count = 0
        self.prune()
        at = self.unanswered.start
        while at < self.unanswered.size:
            entry = <const entry_t *>(self.unanswered.data + at)
            if self.is_unanswered(entry):
                buffer_append(&self.writes, entry, entry.size)
                self.writes_count += 1
            at += entry.size

    cdef uint64_t make_session_id(self) noexcept nogil:
        """The node's id, then 40 bits of the wall clock at the start, counted up: never used before, and another worker's
        never."""
        cdef uint64_t session_id
        while True:
            session_id = (<uint64_t>self.node_id << 56) | (self.next_session_id & <uint64_t>0x00ffffffffffffff)
            self.next_session_id += WORKERS_APART
            if (session_id and session_id != <uint64_t>1 << 63 and not self.has_session(session_id)
                    and session_check(&self.arena.arena, session_id, NULL) != FOUND):
                return session_id

    cdef void put_entry(self, connection_t *c, int32_t slot, int32_t op, int32_t cxid, uint64_t serial, const char *body,
                        size_t size) noexcept nogil:
        """An entry for the engine: a read to `reads`, all else to `writes` and into the ring.

        Who asks stands behind the body of reads, creates and attaches; how many bytes of a read's, in attach_zxid."""
        cdef buffer_t *out = &self.reads if is_read(op) else &self.writes
        cdef bint is_identified = out == &self.reads or op == OP_CREATE_SESSION or op == OP_ATTACH_SESSION
        cdef size_t tail = buffer_live(&c.identities) if is_identified else 0
        cdef size_t whole = padded8(ENTRY_HEAD + size + tail)
        cdef entry_t *entry = <entry_t *>buffer_room(out, whole)
        FZ_ASSERT(whole <= 0x7fffffff)
        entry.size = <uint32_t>whole
        entry.body_size = <uint32_t>(size + tail)
        entry.op = op
        entry.cxid = cxid
        entry.session_id = c.session_id
        entry.attach_zxid = tail if out == &self.reads else c.attach_zxid
        entry.serial = serial
        entry.node_id = self.node_id
        entry.worker = self.worker
        entry.connection = <uint32_t>slot
        if size:
            memcpy(entry.body, body, size)
        if tail:
            memcpy(entry.body + size, buffer_begin(&c.identities), tail)
        memset(entry.body + size + tail, 0, whole - ENTRY_HEAD - size - tail)
        out.size += whole
        if out == &self.reads:
            self.reads_count += 1
        else:
            self.writes_count += 1
            buffer_append(&self.unanswered, entry, whole)

    # --- Python's face

    def open_slot(self, wire: int, now_ms: int, address: bytes = b"", port: int = 0) -> int:
        return self.open(wire, now_ms, address, len(address), port)

    cdef connection_t *checked(self, int32_t slot) except NULL:
        if not 0 <= slot < self.slots_used or self.connections[slot].state == CONNECTION_FREE:
            raise ValueError(f"slot {slot} is not open")
        return &self.connections[slot]

    def close_slot(self, slot: int) -> None:
        self.checked(slot)
        self.close(slot)

    def take_dirty(self) -> int:
        return self.next_dirty()

    def output(self, slot: int) -> bytes:
        cdef connection_t *c = self.checked(slot)
        return buffer_begin(&c.output)[:buffer_live(&c.output)] if buffer_live(&c.output) else b""

    def state(self, slot: int) -> int:
        return self.at(slot).state

    def is_paused(self, slot: int) -> bool:
        return self.checked(slot).is_paused != 0

    def close_all(self) -> None:
        cdef int32_t slot
        for slot in range(self.slots_used):
            if self.connections[slot].state == CONNECTION_WAITING or self.connections[slot].state == CONNECTION_OPEN:
                self.abort(&self.connections[slot], slot)

    def take_writes(self) -> tuple[int, bytes]:
        count, self.writes_count = self.writes_count, 0
        return count, taken(&self.writes)

    def take_reads(self) -> tuple[int, bytes]:
        count, self.reads_count = self.reads_count, 0
        return count, taken(&self.reads)

    def take_touched(self) -> bytes:
        cdef const int32_t *slots = <const int32_t *>buffer_begin(&self.touched)
        cdef buffer_t ids
        cdef connection_t *c
        cdef size_t i
        memset(&ids, 0, sizeof(ids))
        for i in range(buffer_live(&self.touched) // sizeof(int32_t)):
            c = self.at(slots[i])
            if c.was_heard and c.state == CONNECTION_OPEN and not c.is_local:
                buffer_append(&ids, &c.session_id, sizeof(c.session_id))
            c.was_heard = 0
        buffer_clear(&self.touched)
        result = taken(&ids)
        buffer_free(&ids)
        return result

    def resend_all(self) -> None:
        self.resend()

    def words(self) -> list[tuple[int, bytes]]:
        cdef const int32_t *slots = <const int32_t *>buffer_begin(&self.spoken)
        cdef char word[4]
        cdef size_t i
        found = []
        for i in range(buffer_live(&self.spoken) // sizeof(int32_t)):
            if self.at(slots[i]).word:
                store_be32(word, self.at(slots[i]).word)
                found.append((slots[i], word[:4]))
        buffer_clear(&self.spoken)
        return found

    def answer_word(self, slot: int, text: bytes) -> None:
        cdef connection_t *c = self.checked(slot)
        if not c.word:
            raise ValueError(f"slot {slot} asked nothing")
        buffer_append(&c.output, <const char *>text, len(text))
        self.end(c, slot)

    @property
    def entropy_left(self) -> int:
        return buffer_live(&self.entropy)

    @property
    def handled_zxid(self) -> int:
        return self.handled_zxid

    @property
    def is_read_only(self) -> bool:
        return self.is_read_only

    @is_read_only.setter
    def is_read_only(self, allowed: bool) -> None:
        cdef int32_t slot
        self.is_read_only = allowed
        if not allowed:
            for slot in range(self.slots_used):
                if self.connections[slot].state == CONNECTION_OPEN and self.connections[slot].is_read_only:
                    self.end(&self.connections[slot], slot)

    def life(self, slot: int) -> int:
        return self.checked(slot).life

    def identities(self, slot: int) -> bytes:
        cdef connection_t *c = self.checked(slot)
        return buffer_begin(&c.identities)[:buffer_live(&c.identities)] if buffer_live(&c.identities) else b""

    def counters(self) -> dict[str, int]:
        return {
            "received": self.received,
            "sent": self.replied,
            "connections": self.connection_count,
            "outstanding": self.outstanding,
            "watches": watches_count(self.watches),
            "watched_paths": self.watches.paths.count,
            "unanswered_bytes": buffer_live(&self.unanswered),
            "latency_ms_min": self.latency.min_ms,
            "latency_ms_avg": self.latency.total_ms // self.latency.count if self.latency.count else 0,
            "latency_ms_max": self.latency.max_ms,
        }

    def watches_summary(self) -> tuple[int, int, int]:
        return watches_summary(self.watches)

    def watches_listed(self, first: int) -> tuple[int, list[tuple[bytes, int]]]:
        return watches_list(self.watches, first)

    def reset_counters(self) -> None:
        self.received = self.replied = 0
        memset(&self.latency, 0, sizeof(self.latency))

    def reset_connections(self) -> None:
        cdef int32_t slot
        for slot in range(self.slots_used):
            self.connections[slot].received = self.connections[slot].replied = 0

    def describe(self) -> list[dict[str, object]]:
        cdef connection_t *c
        cdef int32_t slot
        found = []
        for slot in range(self.slots_used):
            c = &self.connections[slot]
            if c.state != CONNECTION_FREE:
                found.append({
                    "slot": slot, "wire": c.wire, "is_gated": c.is_gated != 0, "is_local": c.is_local != 0,
                    "address": text_of(c.address), "port": c.port, "state": c.state, "session_id": c.session_id,
                    "timeout_ms": c.timeout_ms, "outstanding": c.sent_serial - c.answered_serial,
                    "received": c.received, "sent": c.replied,
                    "queued": buffer_live(&c.input) + connection_backlog(c), "heard_ms": c.heard_ms, "since_ms": c.since_ms,
                    "last_op": c.last_op, "last_xid": c.last_xid,
                })
        return found


cdef str text_of(const address_t *address):
    return address.text[:address.size].decode(errors="replace") if address != NULL else ""


cdef bytes taken(buffer_t *b):
    """The live bytes, which leave the buffer."""
    cdef bytes result = buffer_begin(b)[:buffer_live(b)] if buffer_live(b) else b""
    buffer_clear(b)
    return result
