"""A worker's connections; see serve.pxd for the order they keep and docs/internals/serving.md for a worked example.

    take:    bytes -> frames -> reads answered from the arena | writes into `writes` and the ring | the rest waits in `input`
    commit:  items in zxid order -> events and results into outputs, `held` released between them -> who waited goes on

Rules:
  * Nothing is allocated by an announced length: `input` grows only by bytes that have arrived.
  * A frame that cannot be taken yet stays the first of `input`, and everything behind it; it is looked at again when what it
    waits for is there.  So there is no queue of requests, and the order of replies is the order of requests.
  * A write stays in the ring until its result is handled: resend() brings all of them to the next leader, and a repeat is
    harmless (Z10).
  * A slot may be used again while entries, reads and results of its last life are still on their way.  Whatever comes back is
    taken only if session, attachment and serial are those of the slot's present life."""

from fastzk._core.acl cimport acl_vector_permits, caller_t
from fastzk._core.codes cimport (
    ERR_BAD_ARGUMENTS, ERR_MARSHALLING, ERR_NO_NODE, ERR_SESSION_EXPIRED, ERR_SESSION_MOVED, ERR_UNIMPLEMENTED,
    OPCODE_CLOSE, OPCODE_CREATE, OPCODE_CREATE2, OPCODE_DELETE, OPCODE_EXISTS, OPCODE_GET_DATA, OPCODE_PING,
    OPCODE_SET_DATA, OPCODE_SYNC, PERM_READ)
from fastzk._core.connection cimport (
    AGAIN_NONE, connection_backlog, connection_event, connection_greet, connection_release, connection_shrink)
from fastzk._core.handshake cimport (
    FOUND_WRONG, HANDSHAKE_SIZE_MAX, PASSWORD_SIZE, handshake_decode, handshake_t, is_http, is_word, session_check)
from fastzk._core.jute cimport jute_bool, jute_bytes, jute_over, jute_t
from fastzk._core.layout cimport (
    FZ_ASSERT, ITEM_CHANGE, ITEM_READ, ITEM_RESULT, ITEM_SESSION, OP_ATTACH_SESSION, OP_CLOSE_SESSION,
    OP_CREATE_SESSION, buffer_append, buffer_be32, buffer_begin, buffer_clear, buffer_consume, buffer_live, load_be32,
    store_be32)
from fastzk._core.reads cimport READ_LOST, is_read, read_answer
from fastzk._core.watches cimport WATCH_CHILD, WATCH_DATA, watches_arm, watches_fire
from fastzk._core.slots cimport BACKLOG_PAUSE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

cdef enum:
    STATE_CONNECTED = 3
    XID_PING = -2

    REQUEST_HEAD = 8            # xid, type
    ITEM_HEAD = 56
    NONCE_SIZE = 8

    # Limits, and why.
    NEW_MS_MAX = 10_000         # a connection that says nothing useful costs a descriptor
    CLOSING_MS_MAX = 10_000     # a client that does not read what it was sent last
    PENDING_MAX = 2048          # unanswered writes of one connection: one client must not fill the ring

cdef bytes HTTP_HINT = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks ZooKeeper's protocol, not HTTP.\n")
cdef const char *HTTP_HINT_AT = HTTP_HINT
cdef size_t HTTP_HINT_SIZE = len(HTTP_HINT)


cdef class Server(Slots):

    # --- bytes of clients

    cdef void take(self, int32_t slot, const char *data, size_t size, uint64_t now_ms) noexcept nogil:
        cdef connection_t *c = self.at(slot)
        cdef size_t used = 0
        self.now_ms = now_ms
        if c.state == CONNECTION_FREE or c.state == CONNECTION_CLOSING or c.is_ending or c.word:
            return
        c.heard_ms = now_ms
        if not c.was_heard:
            c.was_heard = 1
            buffer_append(&self.touched, &slot, sizeof(slot))
        if buffer_live(&c.input) == 0:
            used = self.serve(c, slot, data, size)
            if c.state != CONNECTION_CLOSING and not c.is_ending and not c.word:
                buffer_append(&c.input, data + used, size - used)
            self.settle(c, slot)
        else:
            buffer_append(&c.input, data, size)
            self.go_on(c, slot)
        if buffer_live(&c.input) > self.output_max:
            self.abort(c, slot)                     # it was not to be read from for long

    cdef void go_on(self, connection_t *c, int32_t slot) noexcept nogil:
        """Looks at what waits in `input` again."""
        cdef size_t used
        if buffer_live(&c.input) and c.state != CONNECTION_CLOSING:
            used = self.serve(c, slot, buffer_begin(&c.input), buffer_live(&c.input))
            if c.state == CONNECTION_CLOSING or c.is_ending or c.word:
                buffer_clear(&c.input)
            else:
                buffer_consume(&c.input, used)
        self.settle(c, slot)

    cdef size_t serve(self, connection_t *c, int32_t slot, const char *data, size_t size) noexcept nogil:
        """Takes frames until one must wait, is not whole, or the connection ends; gives how many bytes were taken."""
        cdef size_t used = 0
        cdef size_t limit
        cdef int32_t length
        c.is_full = 0
        while c.state != CONNECTION_CLOSING and not c.is_ending and not c.is_waiting_read and size - used >= 4:
            if c.state == CONNECTION_WAITING:
                break                               # what follows the ConnectRequest is kept until the session is there
            if connection_backlog(c) > BACKLOG_PAUSE:
                c.is_full = 1
                break
            limit = self.frame_max
            if c.state == CONNECTION_NEW:
                if self.first_bytes(c, slot, data + used):
                    break
                limit = HANDSHAKE_SIZE_MAX
            length = <int32_t>load_be32(data + used)
            if length < 0 or <size_t>length > limit:
                self.end(c, slot)
                break
            if size - used - 4 < <size_t>length:
                break
            if c.state == CONNECTION_NEW:
                if not self.handshake(c, slot, data + used + 4, <size_t>length):
                    break
            elif not self.request(c, slot, data + used + 4, <size_t>length):
                break
            used += 4 + <size_t>length
        return used

    cdef bint first_bytes(self, connection_t *c, int32_t slot, const char *data) noexcept nogil:
        """True when they are a four-letter word, or HTTP: as a length they would be far too large."""
        cdef uint32_t word = load_be32(data)
        if c.wire != WIRE_TCP:
            return False
        if is_word(word):
            c.word = word
            buffer_append(&self.asked, &slot, sizeof(slot))
            self.mark_dirty(c, slot)
            return True
        if is_http(word):
            buffer_append(&c.output, HTTP_HINT_AT, HTTP_HINT_SIZE)
            self.end(c, slot)
            return True
        return False

    cdef bint handshake(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil:
        """A ConnectRequest; False: it must wait."""
        cdef handshake_t said
        cdef size_t password_needed
        cdef char body[4 + PASSWORD_SIZE]
        cdef uint64_t zxid = self.arena.arena.header.applied_zxid
        cdef int32_t *bucket
        cdef int found
        if not handshake_decode(frame, size, &said) or not self.is_serving or said.last_zxid_seen > zxid:
            self.end(c, slot)                       # the client tries another node
            return True
        c.has_read_only = said.has_read_only
        if said.session_id:
            found = FOUND_WRONG if said.password == NULL else session_check(&self.arena.arena, said.session_id, said.password)
            if found == FOUND_WRONG:
                connection_greet(c, NULL)
                self.end(c, slot)
                return True
        password_needed = 0 if said.session_id else PASSWORD_SIZE
        if (buffer_live(&self.entropy) < NONCE_SIZE + password_needed
                or buffer_live(&self.unanswered) >= self.unanswered_max):
            self.mark_starved(c, slot)
            return False
        c.timeout_ms = self.timeout_ms_min
        if said.timeout_ms > <int32_t>self.timeout_ms_min:
            c.timeout_ms = min(<uint32_t>said.timeout_ms, self.timeout_ms_max)
        memcpy(&c.nonce, buffer_begin(&self.entropy), NONCE_SIZE)
        buffer_consume(&self.entropy, NONCE_SIZE)
        store_be32(body, c.timeout_ms)
        if said.session_id:
            memcpy(body + 4, said.password, PASSWORD_SIZE)
        else:
            memcpy(body + 4, buffer_begin(&self.entropy), PASSWORD_SIZE)
            buffer_consume(&self.entropy, PASSWORD_SIZE)
        c.session_id = said.session_id if said.session_id else self.make_session_id()
        c.state = CONNECTION_WAITING
        bucket = self.session_bucket(c.session_id)
        c.next_of_session = bucket[0]
        bucket[0] = slot
        self.put_entry(c, slot, OP_ATTACH_SESSION if said.session_id else OP_CREATE_SESSION, 0, c.nonce, body, 4 + PASSWORD_SIZE)
        return True

    cdef bint request(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil:
        """One request of an open session; False: it must wait."""
        cdef int32_t xid, op
        cdef const char *body = frame + REQUEST_HEAD
        if size < REQUEST_HEAD:
            self.end(c, slot)
            return True
        xid = <int32_t>load_be32(frame)
        op = <int32_t>load_be32(frame + 4)
        size -= REQUEST_HEAD
        if is_read(op):
            if c.sent_serial != c.answered_serial or not self.read(c, slot, frame, REQUEST_HEAD + size):
                return False
        elif (op == OPCODE_CREATE or op == OPCODE_CREATE2 or op == OPCODE_DELETE or op == OPCODE_SET_DATA
                or op == OPCODE_SYNC):
            if not self.write(c, slot, op, xid, body, size):
                return False
        elif op == OPCODE_PING:
            if xid != XID_PING and c.sent_serial != c.answered_serial:
                return False                        # a heartbeat overtakes writes; a request of this number must not (Z5)
            self.answer_now(c, slot, xid, 0)
        elif op == OPCODE_CLOSE:
            if not self.write(c, slot, OP_CLOSE_SESSION, xid, body, 0):
                return False
            c.is_ending = 1
        else:
            if c.sent_serial != c.answered_serial:
                return False
            self.answer_now(c, slot, xid, ERR_UNIMPLEMENTED)
            c.is_ending = 1
        c.received += 1
        self.received += 1
        return True

    cdef bint read(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil:
        """Answers a read; False: the engine must, since the writer won every try."""
        cdef jute_t r = jute_over(frame + REQUEST_HEAD, size - REQUEST_HEAD)
        cdef int32_t op = <int32_t>load_be32(frame + 4)
        cdef int32_t path_size = 0
        cdef const char *path = jute_bytes(&r, &path_size)
        cdef uint64_t zxid = 0
        cdef caller_t who
        cdef int32_t err
        who.identities = buffer_begin(&c.identities)
        who.size = <uint32_t>buffer_live(&c.identities)
        jute_bool(&r)
        if r.failed or path == NULL:
            self.answer_now(c, slot, <int32_t>load_be32(frame), ERR_MARSHALLING if r.failed else ERR_BAD_ARGUMENTS)
            return True
        buffer_clear(&self.answer)
        err = read_answer(&self.arena.arena, op, path, <uint32_t>path_size, &who, &self.answer, &zxid)
        if err == READ_LOST:
            self.next_read_serial += 1
            c.read_serial = self.next_read_serial
            c.is_waiting_read = 1
            self.put_entry(c, slot, op, <int32_t>load_be32(frame), c.read_serial, frame + REQUEST_HEAD, size - REQUEST_HEAD)
            return False
        FZ_ASSERT(zxid >= self.handled_zxid)
        self.finish_read(c, slot, frame, size, err, zxid, self.handled_zxid, buffer_begin(&self.answer),
                         buffer_live(&self.answer))
        return True

    cdef void finish_read(self, connection_t *c, int32_t slot, const char *frame, size_t size, int32_t err, uint64_t zxid,
                          uint64_t handled, const char *body, size_t body_size) noexcept nogil:
        """The read in `frame` was answered at `zxid`: arms its watch as of then, and replies."""
        cdef jute_t r = jute_over(frame + REQUEST_HEAD, size - REQUEST_HEAD)
        cdef int32_t op = <int32_t>load_be32(frame + 4)
        cdef int32_t path_size = 0
        cdef const char *path = jute_bytes(&r, &path_size)
        cdef int kind = WATCH_DATA if op == OPCODE_EXISTS or op == OPCODE_GET_DATA else WATCH_CHILD
        if jute_bool(&r) and (err == 0 or (err == ERR_NO_NODE and op == OPCODE_EXISTS)):
            if watches_arm(self.watches, path, <uint32_t>path_size, kind, slot, zxid, handled) != 0:
                self.end(c, slot)                   # no memory: rather no reply than a watch that never fires
                return
        self.put_answer(c, slot, handled, <int32_t>load_be32(frame), zxid, err, body, body_size)

    cdef bint write(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil:
        """Passes a write on; False: too many are unanswered."""
        if c.sent_serial - c.answered_serial >= PENDING_MAX:
            return False
        if buffer_live(&self.unanswered) >= self.unanswered_max:
            self.mark_starved(c, slot)
            return False
        c.sent_serial += 1
        self.outstanding += 1
        if c.timed_serial == 0:
            c.timed_serial = c.sent_serial
            c.timed_ms = self.now_ms
        self.put_entry(c, slot, op, xid, c.sent_serial, body, size)
        return True

    cdef void feed_starved(self) noexcept nogil:
        """Looks at all that starve again; those who still find nothing come back to the list."""
        cdef int32_t slot = self.first_starved
        cdef int32_t following
        if slot < 0 or buffer_live(&self.unanswered) >= self.unanswered_max:
            return
        self.first_starved = self.last_starved = -1
        while slot >= 0:
            following = self.connections[slot].next_again
            self.connections[slot].again = AGAIN_NONE
            if self.connections[slot].state != CONNECTION_FREE:
                self.go_on(&self.connections[slot], slot)
            slot = following

    cdef void run_ready(self) noexcept nogil:
        cdef int32_t slot
        while self.first_ready >= 0:
            slot = self.first_ready
            self.first_ready = self.connections[slot].next_again
            if self.first_ready < 0:
                self.last_ready = -1
            self.connections[slot].again = AGAIN_NONE
            if self.connections[slot].state != CONNECTION_FREE:
                self.go_on(&self.connections[slot], slot)

    cdef void sent(self, int32_t slot, size_t size) noexcept nogil:
        cdef connection_t *c = self.at(slot)
        buffer_consume(&c.output, size)
        if c.is_full and connection_backlog(c) <= BACKLOG_PAUSE // 2:
            self.go_on(c, slot)
        elif buffer_live(&c.output) == 0 or c.is_paused:
            self.settle(c, slot)

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
        if c.state == CONNECTION_WAITING and item.serial == c.nonce:
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
        self.put_answer(c, slot, item.zxid, item.xid, item.zxid, item.err, body, item.body_size)
        self.mark_dirty(c, slot)
        if c.is_ending:
            self.settle(c, slot)
        elif buffer_live(&c.input):
            self.mark_ready(c, slot)
        return True

    cdef void take_established(self, connection_t *c, int32_t slot, const item_t *item, const char *body) noexcept nogil:
        if item.err:
            connection_greet(c, NULL)
            self.end(c, slot)
            return
        c.state = CONNECTION_OPEN
        c.attach_zxid = item.attach_zxid
        c.timeout_ms = load_be32(body)
        connection_greet(c, body + 4)
        self.mark_dirty(c, slot)
        self.mark_ready(c, slot)

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
        if item.connection >= <uint32_t>self.slots_used:
            return
        c = self.at(slot)
        if c.state != CONNECTION_OPEN or not c.is_waiting_read or item.serial != c.read_serial:
            return
        frame = buffer_begin(&c.input) + 4
        size = load_be32(frame - 4)
        FZ_ASSERT(buffer_live(&c.input) >= size + 4)
        c.is_waiting_read = 0
        connection_release(c, item.zxid)
        self.finish_read(c, slot, frame, size, item.err, item.zxid, item.zxid, body, item.body_size)
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
                    c.is_held_listed = 1
                    c.next_held = self.first_held
                    self.first_held = slot
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
