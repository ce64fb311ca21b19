"""The worker's end of the link to its engine; see _link.pxd for its rules.

The handshake (HELLO, WELCOME) is worker.py's; this takes the link over with the numbers reached by then.  While no leader is
known entries gather in the Server, whose connections stop reading when they have enough to do."""

cimport cython
from fastzk._core.layout cimport (
    LINK_COMMIT, LINK_READ, LINK_STATUS, LINK_WRITES, FZ_ASSERT, buffer_append, buffer_begin, buffer_clear,
    buffer_consume, buffer_free, buffer_live, entry_t, link_t, status_t)
from fastzk._core.serve cimport Server
from fastzk.transport._libzmq cimport zmq, zmq_msg_t, zmq_put, zmq_take
from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset


class LinkError(Exception):
    """The link to the engine is broken: what this worker believes can no longer be trusted, and it must end."""


@cython.final
cdef class EngineLink:
    """See _link.pxd.  Python owns the socket and closes it after the last turn."""

    def __cinit__(self, Server server not None, socket not None, *, int worker, uint64_t incarnation,
                  uint64_t engine_incarnation, uint64_t sent_sequence, uint64_t heard_sequence):
        self.server = server
        self._socket = socket
        self.socket = <void *><uintptr_t>socket.underlying
        self.worker = worker
        self.incarnation = incarnation
        self.engine_incarnation = engine_incarnation
        self.sent_sequence = sent_sequence
        self.heard_sequence = heard_sequence
        self.resend_wait_ms = RESEND_MS

    def __dealloc__(self):
        buffer_free(&self.inbox)

    def check(self):
        """Raises LinkError when the engine's messages have shown a hole or made no sense, OSError when a socket failed."""
        if self.fault == FAULT_HOLE:
            raise LinkError(f"a message of the engine is missing after number {self.heard_sequence}")
        if self.fault == FAULT_FORM:
            raise LinkError(f"message {self.heard_sequence} of the engine makes no sense")
        if self.fault == FAULT_SOCKET:
            raise OSError(self.fault_errno, "a socket of the worker failed")

    def tell(self, int kind, int count, const uint8_t[::1] body):
        """Sends one message; False when there is no room for it now.  Raises OSError when the socket fails."""
        cdef const void *at = &body[0] if body.shape[0] else NULL
        cdef int error = self.put(kind, count, at, body.shape[0])
        if error and error != EAGAIN:
            raise OSError(error, "the link to the engine failed")
        return error == 0

    def engine_status(self):
        """(round, epoch, leader_id, role, is_serving) as the engine has said last, or None; is_serving 2 is for reads only."""
        if not self.has_status:
            return None
        return self.round, self.status.epoch, self.status.leader_id, self.status.role, self.status.is_serving

    cdef bint has_leader(self) noexcept nogil:
        return self.has_status and self.status.leader_id != 0

    cdef void fail(self, int fault, int error) noexcept nogil:
        self.fault = fault
        self.fault_errno = error

    # ---- from the engine

    cdef void hear(self, uint64_t now_ms) noexcept nogil:
        cdef zmq_msg_t msg
        cdef const char *data
        cdef size_t size, total = 0
        cdef int error, _i
        for _i in range(HEARD_MESSAGES_MAX):
            error = zmq_take(self.socket, &msg)
            if error:
                if error != EAGAIN:
                    self.fail(FAULT_SOCKET, error)
                return
            data = <const char *>zmq.msg_data(&msg)
            size = zmq.msg_size(&msg)
            if zmq.msg_more(&msg):
                self.fail(FAULT_FORM, 0)
            elif <uintptr_t>data % 8:
                buffer_clear(&self.inbox)
                buffer_append(&self.inbox, data, size)
                self.hear_message(buffer_begin(&self.inbox), size, now_ms)
            else:
                self.hear_message(data, size, now_ms)
            zmq.msg_close(&msg)
            total += size
            if self.fault or total > HEARD_BYTES_MAX:
                return

    cdef void hear_message(self, const char *data, size_t size, uint64_t now_ms) noexcept nogil:
        cdef const link_t *head = <const link_t *>data
        if size < sizeof(link_t):
            self.fail(FAULT_FORM, 0)
            return
        if head.incarnation != self.engine_incarnation or head.sequence != self.heard_sequence + 1:
            self.fail(FAULT_HOLE, 0)
            return
        self.heard_sequence += 1
        if head.kind == LINK_COMMIT:
            self.commit_count += 1
            if not self.server.commit(data + sizeof(link_t), size - sizeof(link_t), head.zxid, now_ms):
                self.fail(FAULT_FORM, 0)
        elif head.kind == LINK_STATUS and size == sizeof(link_t) + sizeof(status_t):
            self.hear_status(head.round, <const status_t *>(data + sizeof(link_t)), now_ms)
        else:
            self.fail(FAULT_FORM, 0)

    cdef void hear_status(self, uint64_t round, const status_t *status, uint64_t now_ms) noexcept nogil:
        if not self.has_status or round != self.round:
            self.is_resend_due = True
        self.round = round
        self.status = status[0]
        self.has_status = self.has_news = True
        if self.is_resend_due and status.leader_id:
            self.is_resend_due = False
            self.resend_wait_ms = RESEND_MS
            self.resend(now_ms)

    # ---- to the engine

    cdef void resend(self, uint64_t now_ms) noexcept nogil:
        # What was not yet sent is among the unanswered.
        buffer_clear(&self.server.writes)
        self.server.writes_count = 0
        self.server.resend()
        self.resent_ms = now_ms
        self.resend_count += 1

    cdef void resend_stalled(self, uint64_t now_ms) noexcept nogil:
        if self.has_leader() and now_ms - self.resent_ms >= self.resend_wait_ms:
            self.resend(now_ms)
            self.resend_wait_ms *= 2

    cdef void say(self) noexcept nogil:
        if self.has_leader():
            self.say_entries(LINK_WRITES, &self.server.writes, &self.server.writes_count)
        if self.has_status:
            self.say_entries(LINK_READ, &self.server.reads, &self.server.reads_count)

    cdef void say_entries(self, uint16_t kind, buffer_t *entries, uint32_t *count) noexcept nogil:
        cdef const char *at
        cdef size_t live, size
        cdef uint32_t taken
        cdef int error
        while buffer_live(entries) and not self.fault:
            at = buffer_begin(entries)
            live = buffer_live(entries)
            size, taken = live, count[0]
            if live > SAID_BYTES_MAX:
                size = taken = 0
                while size < live and (size == 0 or size + (<const entry_t *>(at + size)).size <= SAID_BYTES_MAX):
                    size += (<const entry_t *>(at + size)).size
                    taken += 1
            FZ_ASSERT(size <= live and taken <= count[0])
            error = self.put(kind, taken, at, size)
            if error == EAGAIN:
                return
            if error:
                self.fail(FAULT_SOCKET, error)
                return
            self.entry_count += taken
            buffer_consume(entries, size)
            count[0] -= taken

    cdef int put(self, uint16_t kind, uint32_t count, const void *body, size_t size) noexcept nogil:
        cdef link_t head
        cdef int error
        memset(&head, 0, sizeof(head))
        head.kind = kind
        head.worker = self.worker
        head.count = count
        head.incarnation = self.incarnation
        head.sequence = self.sent_sequence + 1
        head.round = self.round
        error = zmq_put(self.socket, &head, sizeof(head), body, size, 0)
        if error == 0:
            self.sent_sequence += 1
        return error
