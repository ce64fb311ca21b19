"""The requests of a worker's connections: bytes -> frames -> requests.

    watches  17 18 106                              of the present: as of what is handled
    read     3 4 6 8 12 22 101 103 104 105 107      answered from the arena; handed over when the writer wins every try
    write    1 2 5 7 9 14 15 16 19 21               passed on to the engine
    credentials 100 102                             judged by the worker's Python: credentials.pyx
    ping     11                                     answered at once
    close    -11                                    a write after which nothing more is taken
    else                                            Unimplemented, and the connection closes, as ZooKeeper does

Rules:
  * Nothing is allocated by an announced length: `input` grows only by bytes that have arrived.
  * A frame that cannot be taken yet stays the first of `input`, and everything behind it; it is looked at again when what it
    waits for is there.  So there is no queue of requests, and the order of replies is the order of requests.
  * A session that only this worker knows comes into the log before its first write."""

from fastzk._core.codes cimport (
    ERR_EPHEMERAL_ON_LOCAL_SESSION, ERR_MARSHALLING, ERR_NO_NODE, ERR_NO_WATCHER, ERR_NOT_READ_ONLY, ERR_UNIMPLEMENTED,
    OPCODE_ADD_WATCH, OPCODE_AUTH, OPCODE_CHECK_WATCHES, OPCODE_CLOSE, OPCODE_CREATE, OPCODE_CREATE2,
    OPCODE_CREATE_CONTAINER, OPCODE_CREATE_TTL, OPCODE_DELETE, OPCODE_EXISTS, OPCODE_GET_CHILDREN, OPCODE_GET_CHILDREN2,
    OPCODE_MULTI, OPCODE_PING, OPCODE_RECONFIG, OPCODE_REMOVE_WATCHES, OPCODE_SASL, OPCODE_SET_ACL, OPCODE_SET_DATA,
    OPCODE_SET_WATCHES, OPCODE_SET_WATCHES2, OPCODE_SYNC)
from fastzk._core.connection cimport (
    AGAIN_NONE, CONNECTION_CLOSING, CONNECTION_FREE, CONNECTION_NEW, CONNECTION_WAITING, WAITS_ENGINE, WAITS_NOT,
    WIRE_GATE, connection_backlog)
from fastzk._core.handshake cimport HANDSHAKE_SIZE_MAX
from fastzk._core.layout cimport (
    FZ_ASSERT, OP_CLOSE_SESSION, buffer_append, buffer_be32, buffer_begin, buffer_clear, buffer_consume, buffer_live,
    load_be32)
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.local cimport makes_ephemeral
from fastzk._core.reads cimport READ_LOST, is_read, read_answer, read_decode
from fastzk._core.rewatch cimport rewatch_begin, rewatch_next, rewatch_t
from fastzk._core.slots cimport BACKLOG_PAUSE
from fastzk._core.watches cimport (
    WATCH_CHILD, WATCH_DATA, WATCH_PERSISTENT, WATCH_RECURSIVE, WATCHES_CHILDREN, WATCHES_RECURSIVE, watches_arm,
    watches_check, watches_remove)
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef enum:
    XID_EVENT = -1
    XID_PING = -2
    STATE_CONNECTED = 3
    ZXID_NONE = -1              # what the headers of replayed events and of refused operations show
    MODE_PERSISTENT = 0         # of addWatch
    MODE_RECURSIVE = 1
    REQUEST_HEAD = 8            # xid, type

    # Limits, and why.
    PENDING_MAX = 2048          # unanswered writes of one connection: one client must not fill the ring
    INTRODUCTION_SIZE_MAX = 16 << 10    # of what the gate says first: a certificate's names are long


cdef const char *ADDED = b"\0\0\0\0"     # addWatch's reply: an ErrorResponse that says 0


cdef inline bint is_write(int32_t op) noexcept nogil:
    return (op == OPCODE_CREATE or op == OPCODE_DELETE or op == OPCODE_SET_DATA or op == OPCODE_SET_ACL or op == OPCODE_SYNC
            or op == OPCODE_MULTI or op == OPCODE_CREATE2 or op == OPCODE_RECONFIG or op == OPCODE_CREATE_CONTAINER
            or op == OPCODE_CREATE_TTL)


cdef class Requests(Credentials):

    # --- bytes

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
        while c.state != CONNECTION_CLOSING and not c.is_ending and c.waits_for == WAITS_NOT and size - used >= 4:
            if c.state == CONNECTION_WAITING:
                break                               # what follows the ConnectRequest is kept until the session is there
            if connection_backlog(c) > BACKLOG_PAUSE:
                c.is_full = 1
                break
            limit = self.frame_max
            if c.state == CONNECTION_NEW:
                if self.first_bytes(c, slot, data + used):
                    break
                limit = INTRODUCTION_SIZE_MAX if c.wire == WIRE_GATE else HANDSHAKE_SIZE_MAX
            length = <int32_t>load_be32(data + used)
            if length < 0 or <size_t>length > limit:
                self.end(c, slot)
                break
            if size - used - 4 < <size_t>length:
                break
            if c.state == CONNECTION_NEW:
                if not self.first(c, slot, data + used + 4, <size_t>length):
                    break
            elif not self.request(c, slot, data + used + 4, <size_t>length):
                break
            used += 4 + <size_t>length
        return used

    cdef bint first(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil:
        """The first frame, or the second behind the gate; False: it must wait."""
        if c.wire == WIRE_GATE:
            self.introduce(c, slot, frame, size)
            return True
        return self.handshake(c, slot, frame, size)

    cdef void sent(self, int32_t slot, size_t size) noexcept nogil:
        cdef connection_t *c = self.at(slot)
        buffer_consume(&c.output, size)
        if c.is_full and connection_backlog(c) <= BACKLOG_PAUSE // 2:
            self.go_on(c, slot)
        elif buffer_live(&c.output) == 0 or c.is_paused:
            self.settle(c, slot)

    # --- one request

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
            if c.sent_serial != c.answered_serial or not self.read(c, slot, op, xid, body, size):
                return False
        elif is_write(op):
            if not (self.write_local(c, slot, op, xid, body, size) if c.is_local else self.write(c, slot, op, xid, body, size)):
                return False
        elif op == OPCODE_PING:
            if xid != XID_PING and c.sent_serial != c.answered_serial:
                return False                        # a heartbeat overtakes writes; a request of this number must not (Z5)
            self.answer_now(c, slot, XID_PING, 0)   # whatever number it came under, as ZooKeeper
        elif op == OPCODE_CLOSE:
            if c.is_local:
                self.answer_now(c, slot, xid, 0)
            elif not self.write(c, slot, OP_CLOSE_SESSION, xid, body, 0):
                return False
            c.is_ending = 1
        elif c.sent_serial != c.answered_serial or not self.seldom(c, slot, op, xid, body, size):
            return False
        c.last_op = op
        if xid >= 0:
            c.last_xid = xid
        c.received += 1
        self.received += 1
        return True

    cdef bint seldom(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil:
        """What few clients ask, and none often; all earlier writes are answered.  False: it must wait."""
        if op == OPCODE_AUTH or op == OPCODE_SASL:
            return self.ask(c, slot, op, body, size)
        if op == OPCODE_ADD_WATCH or op == OPCODE_REMOVE_WATCHES or op == OPCODE_CHECK_WATCHES:
            if buffer_live(&c.held):
                return False                        # as of now: all that was to be sent before has been
            self.answer_watch(c, slot, op, xid, body, size)
            return True
        # ZooKeeper knows of no state that this was answered at, and says so.
        self.put_shown(c, slot, self.handled_zxid, xid, self.present_zxid(c), ZXID_NONE, ERR_UNIMPLEMENTED, NULL, 0)
        c.is_ending = 1
        return True

    # --- reads

    cdef bint read(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil:
        """Answers a read; False: the engine must, since the writer won every try."""
        cdef read_t read
        cdef uint64_t zxid = 0
        cdef int32_t err = read_decode(&read, op, body, size)
        if err:
            self.answer_now(c, slot, xid, err)
            return True
        read.session_id = c.session_id
        read.who.identities = buffer_begin(&c.identities)
        read.who.size = <uint32_t>buffer_live(&c.identities)
        buffer_clear(&self.answer)
        err = read_answer(&self.arena.arena, &read, &self.answer, &zxid)
        if err == READ_LOST:
            self.next_read_serial += 1
            c.read_serial = self.next_read_serial
            c.waits_for = WAITS_ENGINE
            self.put_entry(c, slot, op, xid, c.read_serial, body, size)
            return False
        FZ_ASSERT(zxid >= self.handled_zxid)
        self.finish_read(c, slot, xid, &read, err, zxid, self.handled_zxid, buffer_begin(&self.answer), buffer_live(&self.answer))
        return True

    cdef void finish_read(self, connection_t *c, int32_t slot, int32_t xid, const read_t *read, int32_t err, uint64_t zxid,
                          uint64_t handled, const char *answer, size_t size) noexcept nogil:
        """The read was answered at `zxid`: arms its watch as of then, and replies."""
        cdef int kind
        if not read.is_of_znode and (read.op == OPCODE_SET_WATCHES or read.op == OPCODE_SET_WATCHES2):
            self.rewatch(c, slot, xid, read, zxid, handled, answer)
            return
        if read.is_watching and (err == 0 or (err == ERR_NO_NODE and read.op == OPCODE_EXISTS)):
            kind = WATCH_CHILD if read.op == OPCODE_GET_CHILDREN or read.op == OPCODE_GET_CHILDREN2 else WATCH_DATA
            if watches_arm(self.watches, read.path, read.path_size, kind, slot, zxid, handled) != 0:
                self.end(c, slot)                   # no memory: rather no reply than a watch that never fires
                return
        self.put_answer(c, slot, handled, xid, zxid, err, answer, size)

    cdef void rewatch(self, connection_t *c, int32_t slot, int32_t xid, const read_t *read, uint64_t zxid, uint64_t handled,
                      const char *verdicts) noexcept nogil:
        """setWatches was judged at `zxid`: replays what the client has missed, arms the rest as of then, and replies."""
        cdef rewatch_t walk = rewatch_begin(read)
        cdef const char *path
        cdef uint32_t size = 0
        cdef int kind = 0
        while True:
            path = rewatch_next(&walk, &size, &kind)
            if path is NULL:
                break
            if verdicts[0]:
                buffer_clear(&self.event)
                buffer_be32(&self.event, verdicts[0])
                buffer_be32(&self.event, STATE_CONNECTED)
                buffer_be32(&self.event, size)
                buffer_append(&self.event, path, size)
                self.put_shown(c, slot, handled, XID_EVENT, zxid, ZXID_NONE, 0, buffer_begin(&self.event),
                               buffer_live(&self.event))
            elif watches_arm(self.watches, path, size, kind, slot, zxid, handled) != 0:
                self.end(c, slot)
                return
            verdicts += 1
        self.put_answer(c, slot, handled, xid, zxid, 0, NULL, 0)

    cdef void answer_watch(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body,
                           size_t size) noexcept nogil:
        """addWatch: string path, int mode; checkWatches and removeWatches: string path, int type.  As of what is handled."""
        cdef jute_t r = jute_over(body, size)
        cdef int32_t path_size = 0
        cdef const char *path = jute_bytes(&r, &path_size)
        cdef int32_t which = jute_int(&r)
        cdef bint is_there
        if r.failed or path is NULL:
            self.answer_now(c, slot, xid, ERR_MARSHALLING)
        elif op == OPCODE_ADD_WATCH:
            if which != MODE_PERSISTENT and which != MODE_RECURSIVE:
                self.answer_now(c, slot, xid, ERR_MARSHALLING)
            elif watches_arm(self.watches, path, <uint32_t>path_size, WATCH_PERSISTENT if which == MODE_PERSISTENT else
                             WATCH_RECURSIVE, slot, self.handled_zxid, self.handled_zxid) != 0:
                self.end(c, slot)
            else:
                self.put_answer(c, slot, self.handled_zxid, xid, self.handled_zxid, 0, ADDED, 4)
        elif which < WATCHES_CHILDREN or which > WATCHES_RECURSIVE:
            self.answer_now(c, slot, xid, ERR_MARSHALLING)
        else:
            if op == OPCODE_CHECK_WATCHES:
                is_there = watches_check(self.watches, path, <uint32_t>path_size, which, slot)
            else:
                is_there = watches_remove(self.watches, path, <uint32_t>path_size, which, slot)
            self.answer_now(c, slot, xid, 0 if is_there else ERR_NO_WATCHER)

    # --- writes

    cdef bint write(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body, size_t size) noexcept nogil:
        """Passes a write on; False: too many are unanswered."""
        if c.sent_serial - c.answered_serial >= PENDING_MAX:
            return False
        if buffer_live(&self.unanswered) >= self.unanswered_max:
            self.mark_starved(c, slot)
            return False
        self.pass_on(c, slot, op, xid, body, size)
        return True

    cdef bint write_local(self, connection_t *c, int32_t slot, int32_t op, int32_t xid, const char *body,
                          size_t size) noexcept nogil:
        """A write of a session that only this worker knows: refused, or kept until the log knows the session too."""
        if c.is_read_only:
            self.answer_now(c, slot, xid, ERR_NOT_READ_ONLY)
            return True
        if not self.may_upgrade and makes_ephemeral(op, body, size):
            self.answer_now(c, slot, xid, ERR_EPHEMERAL_ON_LOCAL_SESSION)
            return True
        self.upgrade(c, slot)
        return False

    # --- who waited

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
