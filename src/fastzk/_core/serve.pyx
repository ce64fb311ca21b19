"""A worker's connections and the commit batches; see serve.pxd for the order they keep and docs/internals/serving.md for a
worked example.

    commit:  items in zxid order -> events and results into outputs, `held` released between them -> who waited goes on

Rules:
  * A write stays in the ring until its result is handled: resend() brings all of them to the next leader, and a repeat is
    harmless (Z10).
  * A slot may be used again while entries, reads and results of its last life are still on their way.  Whatever comes back is
    taken only if session, attachment and serial are those of the slot's present life."""

from collections.abc import Iterable

from fastzk._core.acl cimport acl_vector_permits, caller_t
from fastzk._core.codes cimport ERR_AUTH_FAILED, ERR_OK, ERR_SESSION_EXPIRED, ERR_SESSION_MOVED, OPCODE_SASL, PERM_READ
from fastzk._core.connection cimport (
    WAITS_ENGINE, connection_backlog, connection_event, connection_release, connection_shrink)
from fastzk._core.handshake cimport PASSWORD_SIZE
from fastzk._core.identities cimport IDENTITY_REFUSED, identities_add
from fastzk._core.layout cimport (
    FZ_ASSERT, ITEM_CHANGE, ITEM_READ, ITEM_RESULT, ITEM_SESSION, buffer_append, buffer_be32, buffer_begin, buffer_clear,
    buffer_consume, buffer_free, buffer_live, buffer_t, load_be32)
from fastzk._core.reads cimport read_decode, read_t
from fastzk._core.watches cimport watches_fire
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    STATE_CONNECTED = 3
    ITEM_HEAD = 56
    REQUEST_HEAD = 8            # xid, type

    # Limits, and why.
    NEW_MS_MAX = 10_000         # a connection that says nothing useful costs a descriptor
    CLOSING_MS_MAX = 10_000     # a client that does not read what it was sent last


cdef class Server(Requests):

    cdef void sweep(self, uint64_t now_ms) noexcept nogil:
        cdef connection_t *c
        cdef int32_t slot
        self.now_ms = now_ms
        for slot in range(self.slots_used):
            c = &self.connections[slot]
            if c.state == CONNECTION_FREE:
                continue
            if c.state == CONNECTION_NEW:
                if now_ms - c.since_ms > NEW_MS_MAX:
                    self.end(c, slot)
            elif c.state == CONNECTION_CLOSING:
                if now_ms - c.since_ms > CLOSING_MS_MAX:
                    self.abort(c, slot)
            elif c.is_local and not c.is_upgrading and now_ms - c.heard_ms > c.timeout_ms:
                self.end(c, slot)                   # nobody else knows the session, so it expires here
            elif c.wire == WIRE_NATIVE and now_ms - c.heard_ms > c.timeout_ms + c.timeout_ms // 2:
                self.abort(c, slot)                 # nobody tells us that a ZeroMQ peer is gone
            if now_ms - c.heard_ms > 1000:
                connection_shrink(c, 0)
        self.prune()
        self.feed_starved()

    # --- commit batches

    cdef bint commit(self, const char *items, size_t size, uint64_t zxid, uint64_t now_ms) noexcept nogil:
        cdef uint64_t started_zxid = self.handled_zxid
        cdef uint64_t previous_zxid = started_zxid
        cdef item_t item
        self.now_ms = now_ms
        if zxid < started_zxid:
            return False
        while size:
            if size < ITEM_HEAD:
                return False
            memcpy(&item, items, ITEM_HEAD)         # what carried them may not have aligned them
            if item.size % 8 or item.size < ITEM_HEAD or item.size > size or item.body_size > item.size - ITEM_HEAD:
                return False
            if item.zxid < previous_zxid or item.zxid > zxid or (item.zxid == started_zxid and item.kind != ITEM_READ):
                return False
            previous_zxid = item.zxid
            if not self.take_item(&item, items + ITEM_HEAD):
                return False
            items += item.size
            size -= item.size
        self.handled_zxid = zxid
        self.release_held()
        self.prune()
        self.run_ready()
        self.feed_starved()
        return True

    cdef bint take_item(self, const item_t *item, const char *body) noexcept nogil:
        if item.kind == ITEM_CHANGE:
            if item.connection > item.body_size:
                return False
            self.take_change(item, body)
        elif item.kind == ITEM_RESULT:
            return self.take_result(item, body)
        elif item.kind == ITEM_SESSION:
            self.take_session(item)
        elif item.kind == ITEM_READ:
            self.take_read(item, body)
        else:
            return False
        return True

    cdef void take_change(self, const item_t *item, const char *path) noexcept nogil:
        """Tells those who wait for it: after all they are to be sent below its zxid, before all at or above."""
        cdef const int32_t *fired = NULL
        cdef uint32_t size = item.connection
        cdef int32_t count = watches_fire(self.watches, path, size, item.event, item.zxid, &fired)
        cdef connection_t *c
        cdef caller_t who
        cdef int32_t i
        if count == 0:
            return
        buffer_clear(&self.answer)
        buffer_be32(&self.answer, item.event)
        buffer_be32(&self.answer, STATE_CONNECTED)
        buffer_be32(&self.answer, size)
        buffer_append(&self.answer, path, size)
        for i in range(count):
            c = self.at(fired[i])
            FZ_ASSERT(c.state == CONNECTION_OPEN)
            who.identities = buffer_begin(&c.identities)
            who.size = <uint32_t>buffer_live(&c.identities)
            if size < item.body_size and not acl_vector_permits(path + size, item.body_size - size, PERM_READ, &who):
                continue
            connection_release(c, item.zxid - 1)
            connection_event(c, item.zxid, buffer_begin(&self.answer), buffer_live(&self.answer))
            self.replied += 1
            self.mark_dirty(c, fired[i])
            if connection_backlog(c) > self.output_max:
                self.abort(c, fired[i])

    cdef bint take_result(self, const item_t *item, const char *body) noexcept nogil:
        cdef int32_t slot = <int32_t>item.connection
        cdef connection_t *c
        if item.connection >= <uint32_t>self.slots_used:
            return True                             # of a worker of this number in an earlier life of the node: replayed
        c = self.at(slot)
        if item.session_id != c.session_id:
            return True
        if (c.state == CONNECTION_WAITING or c.is_upgrading) and item.serial == c.nonce:
            if item.err == 0 and item.body_size != 4 + PASSWORD_SIZE:
                return False
            self.take_established(c, slot, item, body)
            return True
        if c.state != CONNECTION_OPEN or item.attach_zxid != c.attach_zxid or item.serial <= c.answered_serial:
            return True
        if item.err == ERR_SESSION_MOVED or item.err == ERR_SESSION_EXPIRED:
            self.end(c, slot)                       # as ZooKeeper: no reply, the client finds out when it reconnects
            return True
        if item.serial != c.answered_serial + 1:
            return False                            # a result was lost on its way
        c.answered_serial += 1
        self.outstanding -= 1
        if item.serial == c.timed_serial:
            c.timed_serial = 0
            self.time_write(self.now_ms - c.timed_ms)
        connection_release(c, item.zxid)
        if item.serial == c.identify_serial:
            self.take_identified(c, slot, item)
        else:
            self.put_answer(c, slot, item.zxid, item.xid, item.zxid, item.err, body, item.body_size)
        self.mark_dirty(c, slot)
        if c.is_ending:
            self.settle(c, slot)
        elif buffer_live(&c.input):
            self.mark_ready(c, slot)
        return True

    cdef void take_session(self, const item_t *item) noexcept nogil:
        """A session is over, or speaks through a newer attachment: those that speak for it no longer end."""
        cdef int32_t slot = self.session_bucket(item.session_id)[0]
        cdef int32_t following
        cdef connection_t *c
        while slot >= 0:
            c = self.at(slot)
            following = c.next_of_session
            if (c.session_id == item.session_id and c.state == CONNECTION_OPEN
                    and (item.attach_zxid == 0 or c.attach_zxid < item.attach_zxid)):
                self.end(c, slot)
            slot = following

    cdef void take_read(self, const item_t *item, const char *body) noexcept nogil:
        """The engine answers a read that was handed over; its frame is still the first of `input`."""
        cdef int32_t slot = <int32_t>item.connection
        cdef connection_t *c
        cdef const char *frame
        cdef size_t size
        cdef read_t read
        cdef int err
        if item.connection >= <uint32_t>self.slots_used:
            return
        c = self.at(slot)
        if c.state != CONNECTION_OPEN or c.waits_for != WAITS_ENGINE or item.serial != c.read_serial:
            return
        frame = buffer_begin(&c.input) + 4
        size = load_be32(frame - 4)
        FZ_ASSERT(buffer_live(&c.input) >= size + 4)
        err = read_decode(&read, <int32_t>load_be32(frame + 4), frame + REQUEST_HEAD, size - REQUEST_HEAD)
        FZ_ASSERT(err == ERR_OK)                    # it was when it was handed over
        c.waits_for = WAITS_NOT
        connection_release(c, item.zxid)
        self.finish_read(c, slot, <int32_t>load_be32(frame), &read, item.err, item.zxid, item.zxid, body, item.body_size)
        if c.state == CONNECTION_CLOSING:
            return
        c.received += 1
        self.received += 1
        buffer_consume(&c.input, size + 4)
        self.mark_dirty(c, slot)
        self.mark_ready(c, slot)

    cdef void release_held(self) noexcept nogil:
        cdef int32_t slot = self.first_held
        cdef int32_t following
        cdef connection_t *c
        self.first_held = -1
        while slot >= 0:
            c = &self.connections[slot]
            following = c.next_held
            c.is_held_listed = 0
            if c.state == CONNECTION_OPEN:
                connection_release(c, self.handled_zxid)
                if buffer_live(&c.held):
                    self.list_held(c, slot)
                elif buffer_live(&c.input):
                    self.mark_ready(c, slot)        # what looks at watches waits until nothing is held
                self.settle(c, slot)
            slot = following

    cdef void time_write(self, uint64_t ms) noexcept nogil:
        if self.latency.count == 0 or ms < self.latency.min_ms:
            self.latency.min_ms = ms
        if ms > self.latency.max_ms:
            self.latency.max_ms = ms
        self.latency.count += 1
        self.latency.total_ms += ms

    # --- Python's face

    def take_bytes(self, slot: int, const unsigned char[::1] data, now_ms: int) -> None:
        self.checked(slot)
        if data.shape[0]:
            self.take(slot, <const char *>&data[0], data.shape[0], now_ms)

    def output_sent(self, slot: int, size: int) -> None:
        if not 0 <= size <= buffer_live(&self.checked(slot).output):
            raise ValueError(f"{size} bytes were not there to be sent")
        self.sent(slot, size)

    def sweep_at(self, now_ms: int) -> None:
        self.sweep(now_ms)

    def commit_items(self, const unsigned char[::1] items, zxid: int, now_ms: int) -> bool:
        return self.commit(<const char *>&items[0] if items.shape[0] else NULL, items.shape[0], zxid, now_ms)

    def add_entropy(self, data: bytes) -> None:
        buffer_append(&self.entropy, <const char *>data, len(data))
        self.feed_starved()

    def asked(self) -> list[tuple[int, int, int, bytes]]:
        cdef const int32_t *slots = <const int32_t *>buffer_begin(&self.accused)
        cdef const char *frame
        cdef connection_t *c
        cdef size_t i
        found = []
        for i in range(buffer_live(&self.accused) // sizeof(int32_t)):
            c = self.at(slots[i])
            if c.state == CONNECTION_OPEN and c.waits_for == WAITS_JUDGE:
                frame = buffer_begin(&c.input) + 4
                found.append((slots[i], <int32_t>load_be32(frame + 4), <int32_t>load_be32(frame),
                              frame[REQUEST_HEAD:load_be32(frame - 4)]))
        buffer_clear(&self.accused)
        return found

    def admit(self, slot: int, err: int, identities: Iterable[tuple[str, str]] = (), token: bytes | None = None) -> None:
        cdef connection_t *c = self.checked(slot)
        cdef const char *frame
        cdef buffer_t who
        cdef int32_t verdict = err
        if c.waits_for != WAITS_JUDGE:
            raise ValueError(f"slot {slot} has no credentials that wait")
        frame = buffer_begin(&c.input) + 4
        reply = b""
        if <int32_t>load_be32(frame + 4) == OPCODE_SASL:
            reply = b"\xff\xff\xff\xff" if token is None else len(token).to_bytes(4, "big") + token
        memset(&who, 0, sizeof(who))
        try:
            buffer_append(&who, buffer_begin(&c.identities), buffer_live(&c.identities))
            for scheme, name in identities:
                scheme, name = scheme.encode(), name.encode()
                if identities_add(&who, scheme, len(scheme), name, len(name)) == IDENTITY_REFUSED:
                    verdict = ERR_AUTH_FAILED
            self.decide(c, slot, verdict, &who, reply, len(reply))
        finally:
            buffer_free(&who)
        self.go_on(c, slot)
