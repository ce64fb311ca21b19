"""A load over DEALER sockets, as bare as it can be: one request again and again, `window` of them under way on each socket.

Rules: `batch` requests leave in one message, and the next message only when there is room for all of them (a closed loop).
Replies may come in messages of any number of frames; each must have the next xid, a zxid that does not fall and no error.
For whatever serves the native protocol: an echo and a node get the very same load.

How it works: Python has connected the sockets and begun their sessions.  With one socket the thread waits in libzmq itself, as
the quickest client would; with several it waits for their descriptors, which tell of a change and not of a message: libzmq is
asked before each wait.  Latencies are kept as they are, the first so many of them."""

from cpython.bytes cimport PyBytes_AS_STRING
from fastzk._core.layout cimport load_be32, load_be64, store_be32
from fastzk.transport._libzmq cimport ZMQ_POLLIN, zmq, zmq_events, zmq_msg_t, zmq_take
from fastzk.transport._linux cimport CLOCK_MONOTONIC, clock_gettime, timespec
from libc.errno cimport EAGAIN, EINTR, EPROTO, ETIMEDOUT
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
    int poll(pollfd *fds, unsigned long count, int timeout_ms)

cdef enum:
    SOCKETS_MAX = 256
    FRAME_MIN = 20                  # size, xid, zxid, err
    POLL_MS = 100
    SILENCE_NS = 10_000_000_000     # without any reply: the other side is gone
    XID_MAX = 0x7fffffff


ctypedef struct lane_t:
    void *socket
    uint32_t sent                   # requests, from 0: their xids are one more
    uint32_t heard
    uint64_t zxid
    uint64_t *sent_ns               # of the requests under way, by number modulo window


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000000000 + <uint64_t>time.tv_nsec


cdef class Dealers:
    """Sockets under load.  run() may be called again: xids go on."""

    cdef list _sockets              # kept alive
    cdef bytes _frame               # kept alive
    cdef const char *frame
    cdef lane_t *lanes
    cdef pollfd *fds
    cdef uint32_t lane_count, window, batch
    cdef size_t frame_bytes
    cdef uint64_t[::1] samples      # latencies in ns
    cdef uint64_t sample_count
    cdef uint32_t errors, disorders

    def __cinit__(self, list sockets not None, bytes frame not None, uint32_t window, uint32_t batch,
                  uint64_t[::1] samples not None):
        """`frame` is a whole request, whose xid is filled in; `samples` takes the latencies.  Raises ValueError."""
        if not 0 < len(sockets) <= SOCKETS_MAX or not 0 < batch <= window or len(frame) < 12:
            raise ValueError(f"{len(sockets)} sockets, window {window}, batch {batch}, {len(frame)} bytes")
        self._sockets, self._frame = sockets, frame
        self.frame = PyBytes_AS_STRING(frame)
        self.frame_bytes, self.window, self.batch = len(frame), window, batch
        self.samples = samples
        self.lane_count = len(sockets)
        self.lanes = <lane_t *>calloc(self.lane_count, sizeof(lane_t))
        self.fds = <pollfd *>calloc(self.lane_count, sizeof(pollfd))
        if self.lanes == NULL or self.fds == NULL:
            raise MemoryError
        for place, each in enumerate(sockets):
            self.lanes[place].socket = <void *><uintptr_t>each.underlying
            self.lanes[place].sent_ns = <uint64_t *>calloc(window, sizeof(uint64_t))
            if self.lanes[place].sent_ns == NULL:
                raise MemoryError
            self.fds[place].fd = each.FD
            self.fds[place].events = POLLIN

    def __dealloc__(self):
        cdef uint32_t place
        if self.lanes != NULL:
            for place in range(self.lane_count):
                free(self.lanes[place].sent_ns)
        free(self.lanes)
        free(self.fds)

    def run(self, uint64_t duration_ns):
        """Loads for so long and then takes the last replies.  Gives operations, elapsed ns, latencies kept, errors, replies
        out of order.  Raises OSError when a socket fails, the other side says nothing for ten seconds, or no protocol."""
        cdef uint64_t began, ended, counted = 0
        cdef int error
        self.sample_count = 0
        self.errors = self.disorders = 0
        with nogil:
            began = now_ns()
            error = self.turns(began + duration_ns, True, &counted)
            ended = now_ns()
            if not error:
                error = self.turns(ended + SILENCE_NS, False, NULL)
        if error:
            raise OSError(error, "the load over ZeroMQ failed")
        return counted, ended - began, self.sample_count, self.errors, self.disorders

    @property
    def last_xids(self):
        """The highest xid used on each socket."""
        return [self.lanes[place].sent for place in range(self.lane_count)]

    cdef int turns(self, uint64_t until_ns, bint is_sending, uint64_t *counted) noexcept nogil:
        """Turns until the time has come or, when nothing is to be sent any more, all is answered: 0, or an errno."""
        cdef uint64_t now = now_ns(), heard_ns = now
        cdef uint32_t i, replies
        cdef bint is_waiting
        cdef int error
        while now < until_ns:
            replies = 0
            is_waiting = False
            for i in range(self.lane_count):
                if is_sending:
                    error = self.refill(&self.lanes[i], now)
                    if error:
                        return error
                is_waiting = is_waiting or self.lanes[i].heard != self.lanes[i].sent
            if not is_waiting:
                return 0
            if self.lane_count == 1:
                error = self.hear_one(&self.lanes[0], &replies)
            else:
                error = self.hear_all(&replies)
            if error:
                return error
            now = now_ns()
            if replies:
                heard_ns = now
            elif now - heard_ns > SILENCE_NS:
                return ETIMEDOUT
            if counted != NULL:
                counted[0] += replies
        return 0 if is_sending else ETIMEDOUT

    cdef int refill(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Messages of `batch` requests until the window has no room for another: 0, or the errno."""
        cdef zmq_msg_t message
        cdef char *at
        cdef uint32_t _i
        while lane.sent - lane.heard + self.batch <= self.window:
            if lane.sent > XID_MAX - self.batch or zmq.msg_init_size(&message, self.batch * self.frame_bytes) != 0:
                return EPROTO
            at = <char *>zmq.msg_data(&message)
            for _i in range(self.batch):
                memcpy(at, self.frame, self.frame_bytes)
                lane.sent_ns[lane.sent % self.window] = now
                lane.sent += 1
                store_be32(at + 4, lane.sent)
                at += self.frame_bytes
            if zmq.msg_send(&message, lane.socket, 0) < 0:
                zmq.msg_close(&message)
                return zmq.last_errno()
        return 0

    cdef int hear_one(self, lane_t *lane, uint32_t *replies) noexcept nogil:
        """Waits for a message, and takes what else is there: 0, or the errno.  RCVTIMEO bounds the wait."""
        cdef zmq_msg_t message
        cdef int error
        zmq.msg_init(&message)
        if zmq.msg_recv(&message, lane.socket, 0) < 0:
            error = zmq.last_errno()
            zmq.msg_close(&message)
            return 0 if error == EINTR or error == EAGAIN else error
        error = self.take(lane, &message, replies)
        zmq.msg_close(&message)
        if error or lane.heard == lane.sent:
            return error
        return self.drain(lane, replies)

    cdef int hear_all(self, uint32_t *replies) noexcept nogil:
        """Takes what is there on any socket, and waits when there is nothing: 0, or the errno."""
        cdef uint32_t i
        cdef int error
        for i in range(self.lane_count):
            error = self.drain(&self.lanes[i], replies)
            if error:
                return error
        if not replies[0]:
            for i in range(self.lane_count):
                if zmq_events(self.lanes[i].socket) & ZMQ_POLLIN:
                    return 0
            poll(self.fds, self.lane_count, POLL_MS)
        return 0

    cdef int drain(self, lane_t *lane, uint32_t *replies) noexcept nogil:
        """Takes the messages that are there: 0, or the errno."""
        cdef zmq_msg_t message
        cdef int error
        while True:
            error = zmq_take(lane.socket, &message)
            if error:
                return 0 if error == EAGAIN else error
            error = self.take(lane, &message, replies)
            zmq.msg_close(&message)
            if error:
                return error

    cdef int take(self, lane_t *lane, zmq_msg_t *message, uint32_t *replies) noexcept nogil:
        """The replies in one message: 0, or EPROTO when they are none of ours."""
        cdef const char *at = <const char *>zmq.msg_data(message)
        cdef const char *end = at + zmq.msg_size(message)
        cdef uint64_t now = now_ns(), zxid
        cdef uint32_t size
        if at == end:
            return EPROTO           # a goodbye
        while at < end:
            size = load_be32(at) if end - at >= FRAME_MIN else 0
            if size < FRAME_MIN - 4 or size > <size_t>(end - at) - 4 or lane.heard == lane.sent:
                return EPROTO
            zxid = load_be64(at + 8)
            if load_be32(at + 4) != lane.heard + 1 or zxid < lane.zxid:
                self.disorders += 1
            lane.zxid = zxid
            if load_be32(at + 16):
                self.errors += 1
            if self.sample_count < <uint64_t>self.samples.shape[0]:
                self.samples[self.sample_count] = now - lane.sent_ns[lane.heard % self.window]
                self.sample_count += 1
            lane.heard += 1
            replies[0] += 1
            at += 4 + size
        return 0
