"""The load itself: one thread that keeps requests under way on each of its connections.

A closed loop keeps `window` of them there: a reply makes room for the next request, so the rate is what the server gives.  An
open loop sends request number n at start + n * interval, whatever the server does, on the connections in turn; a latency counts
from then, also when the request had to wait for room in its window, so a server that stands still is not spared the requests
that would have come meanwhile (coordinated omission).

Rules: nothing here is particular to fastzk, any server of the protocol can be measured.  A reply with an xid out of order, a
zxid that falls on its connection (Z5), an error or a reply that never comes is counted; a run with any of them is worth nothing.

How it works: sockets arrive connected and with their session established.  One epoll; of a ready connection all whole replies
are taken, then as many new requests leave.  Over TCP these are one recv and one send; over ZeroMQ messages of `batch` requests
each, and since its descriptor only says that something has changed, a socket is asked after each use what it has.
Latencies go into a histogram of 32 steps per power of two."""

cimport cython
from fastzk._core.layout cimport (
    FZ_ASSERT, buffer_be32, buffer_begin, buffer_clear, buffer_consume, buffer_free, buffer_live, buffer_room,
    buffer_t, load_be32, load_be64)
from fastzk.bench._requests cimport KIND_NOTHING, Requests, is_write, own_t
from fastzk.transport._libzmq cimport ZMQ_POLLIN, zmq, zmq_events, zmq_msg_t, zmq_put, zmq_take
from fastzk.transport._linux cimport (
    CLOCK_MONOTONIC, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, MSG_DONTWAIT, MSG_NOSIGNAL, clock_gettime,
    close, epoll_change, epoll_create1, epoll_event, epoll_wait, recv, send, timespec)
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastzk.bench._requests import OPERATIONS

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum:
        POLLIN
    int ppoll(pollfd *fds, unsigned long count, const timespec *timeout, const void *signals)

cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_SET_TIMERSLACK
    int prctl(int option, unsigned long value)

cdef extern from * nogil:
    int __builtin_clzll(unsigned long long value)

cdef enum:
    STEPS = 32  # of the histogram, in each power of two
    STEPS_SHIFT = 5
    PLACES = 64 * STEPS
    RECV_BYTES = 1 << 16
    EVENTS = 256
    TURN_MS_MAX = 100
    MAX_REPLY_BYTES = 1 << 26
    DRAIN_S = 10  # for the last replies
    ZMQ_POLLOUT = 2
    XID_MAX = 0x7ffffffe
    XID_PING = 0xfffffffe
    OP_PING = 11

cdef uint64_t SECOND_NS = 1000000000
cdef uint64_t PING_NS = 8 * SECOND_NS  # without a request: sessions live for 30 s
HISTOGRAM_SIZE = PLACES


ctypedef struct pending_t:
    uint64_t sent_ns  # when it left, or in an open loop when it should have
    uint32_t xid
    uint8_t kind


ctypedef struct lane_t:
    int fd
    void *socket      # over ZeroMQ
    uint8_t wants_out  # the socket was full: epoll tells when it takes more
    uint8_t is_left_over  # there is more to be taken
    uint8_t is_lost
    uint32_t xid
    own_t own
    uint64_t zxid
    uint64_t due      # of the open loop's requests, the next that is this connection's
    uint64_t active_ns
    uint32_t head     # of the ring of pending requests
    uint32_t count
    pending_t *pending
    buffer_t input
    buffer_t output


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * SECOND_NS + <uint64_t>t.tv_nsec


cdef inline uint32_t bucket_of(uint64_t value) noexcept nogil:
    """The histogram's place of a value: exact below 32, then 32 steps to each power of two."""
    cdef int shift
    if value < STEPS:
        return <uint32_t>value
    shift = 63 - __builtin_clzll(value) - STEPS_SHIFT
    return <uint32_t>((shift + 1) * STEPS + ((value >> shift) & (STEPS - 1)))


def bucket(value: int) -> int:
    """The histogram's place of a latency in ns."""
    return bucket_of(value)


def bucket_floor(place: int) -> int:
    """The smallest latency in ns that belongs into a place."""
    if place < STEPS:
        return place
    return (STEPS + place % STEPS) << (place // STEPS - 1)


@cython.final
cdef class Load:
    """Connected sockets under load.  run() may be called again; the caller closes the sockets."""
    cdef lane_t *lanes
    cdef uint32_t lane_count
    cdef uint32_t window
    cdef uint32_t batch      # requests in a message; 0: over TCP
    cdef public double interval_ns  # of the open loop; 0: a closed one
    cdef public int32_t tolerated   # an error that is as good as none
    cdef int epoll
    cdef Requests requests
    cdef object sockets
    cdef uint64_t base_ns    # when the open loop's request 0 was due
    cdef uint64_t due        # the open loop's next request to be looked at
    cdef uint64_t left       # requests that may still be sent
    cdef uint64_t under_way
    cdef uint32_t left_over  # lanes with more to be taken
    cdef bint is_stopped
    cdef uint64_t histograms[2][PLACES]  # reads, writes
    cdef uint64_t maxima[2]
    cdef uint64_t errors
    cdef int64_t first_error
    cdef int first_error_kind
    cdef uint64_t disorders
    cdef uint64_t lost
    # Replies since the run began; other threads look at it.
    cdef readonly uint64_t answered

    def __cinit__(self, sockets not None, Requests requests not None, *, uint32_t window, uint32_t batch=0, double interval_ns=0,
                  int32_t tolerated=0):
        """With `batch` these are sockets of pyzmq, else of TCP."""
        cdef uint32_t i
        cdef lane_t *lane
        self.epoll = -1
        if not sockets or window == 0 or batch > window or interval_ns < 0:
            raise ValueError("a load needs sockets, and a window that holds a batch")
        self.lane_count = <uint32_t>len(sockets)
        self.window = window
        self.batch = batch
        self.interval_ns = interval_ns
        self.tolerated = tolerated
        self.requests = requests
        self.sockets = sockets
        self.lanes = <lane_t *>calloc(self.lane_count, sizeof(lane_t))
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.lanes == NULL or self.epoll < 0:
            raise OSError(errno, "no memory or no epoll")
        for i in range(self.lane_count):
            lane = &self.lanes[i]
            lane.own.lane = i
            lane.fd = sockets[i].FD if batch else sockets[i].fileno()
            lane.socket = <void *><uintptr_t>sockets[i].underlying if batch else NULL
            lane.pending = <pending_t *>calloc(window, sizeof(pending_t))
            if lane.pending == NULL:
                raise MemoryError
            if epoll_change(self.epoll, EPOLL_CTL_ADD, lane.fd, EPOLLIN, i) < 0:
                raise OSError(errno, "epoll_ctl")

    def __dealloc__(self):
        cdef uint32_t i
        if self.lanes != NULL:
            for i in range(self.lane_count):
                free(self.lanes[i].pending)
                buffer_free(&self.lanes[i].input)
                buffer_free(&self.lanes[i].output)
            free(self.lanes)
        if self.epoll >= 0:
            close(self.epoll)

    def stop(self):
        """Has the run in another thread, or the next, end soon; what is under way is waited for."""
        self.is_stopped = True

    def run(self, uint64_t warm_up_ns, uint64_t duration_ns, uint64_t operations_max=0) -> dict:
        """Loads the connections for so long, after a warm-up that is not counted, or until so many operations (0: no
        bound); then waits for what is under way.  Raises ConnectionError when the server closed a connection."""
        cdef uint64_t began, ended, counted, unsent = 0
        self._forget()
        self.errors = self.disorders = self.lost = self.answered = 0
        self.first_error = 0
        with nogil:
            if self.interval_ns:
                prctl(PR_SET_TIMERSLACK, 1)
            began = self.base_ns = now_ns()
            self._begin_schedule()
            if warm_up_ns:
                self._turns(began + warm_up_ns, UINT64_MAX)
                self._forget()
                began = now_ns()
            counted = self._turns(began + duration_ns, operations_max or UINT64_MAX)
            ended = now_ns()
            if self.interval_ns and not self.lost and not operations_max and not self.is_stopped:
                self._send_due(ended)
                unsent = self._unsent(ended)
            self._turns(ended + DRAIN_S * SECOND_NS, 0)
            self.is_stopped = False
        if self.lost:
            raise ConnectionError(f"the server closed {self.lost} of {self.lane_count} connections")
        return {
            "operations": counted,
            "elapsed_ns": ended - began,
            "errors": self.errors,
            "first_error": self.first_error,
            "first_error_operation": (*OPERATIONS, "create", "delete")[self.first_error_kind] if self.first_error else "",
            "disorders": self.disorders,
            "unanswered": self.under_way,
            "unsent": unsent,
        }

    def histogram(self, bint of_writes) -> list:
        """How many latencies of the last run belong into each place, see bucket_floor."""
        return [self.histograms[of_writes][place] for place in range(PLACES)]

    def maximum_ns(self, bint of_writes) -> int:
        """The largest latency of the last run."""
        return self.maxima[of_writes]

    cdef void _forget(self) noexcept nogil:
        memset(self.histograms, 0, sizeof(self.histograms))
        self.maxima[0] = self.maxima[1] = 0

    cdef uint64_t _turns(self, uint64_t until_ns, uint64_t operations_max) noexcept nogil:
        """Turns of the loop until the time has come, so many are answered or there is nothing more to ask; with 0 of them,
        until all is answered that is under way.  Gives how many were answered."""
        cdef epoll_event events[EVENTS]
        cdef uint64_t now = now_ns(), counted = 0
        cdef uint32_t i
        cdef int ready, n
        self.left = operations_max - self.under_way if operations_max > self.under_way else 0
        if self.left and not self.interval_ns and not self.is_stopped:
            for i in range(self.lane_count):
                self._send_more(&self.lanes[i], now)
        while now < until_ns and not self.lost and (not operations_max or (counted < operations_max and not self.is_stopped)):
            if not self.under_way and not (self.interval_ns and self.left):
                break
            self._wait(now, until_ns)
            ready = epoll_wait(self.epoll, events, EVENTS, 0 if self.interval_ns or self.left_over else TURN_MS_MAX)
            now = now_ns()
            for n in range(ready):
                counted += self._tend(&self.lanes[events[n].data.u64], now)
            if self.left_over:
                for i in range(self.lane_count):
                    if self.lanes[i].is_left_over:
                        counted += self._tend(&self.lanes[i], now)
            if self.interval_ns and self.left:
                self._send_due(now)
        return counted

    # ---- the open loop

    cdef void _begin_schedule(self) noexcept nogil:
        """From now on: request n is due at base + n * interval, and belongs to connection n modulo their number."""
        cdef uint32_t i
        self.due = 0
        for i in range(self.lane_count):
            self.lanes[i].due = i
            self.lanes[i].active_ns = self.base_ns

    cdef inline uint64_t _due_ns(self, uint64_t number) noexcept nogil:
        return self.base_ns + <uint64_t>(number * self.interval_ns)

    cdef void _send_due(self, uint64_t now) noexcept nogil:
        """Sends what is due, each on its connection; what finds a full window leaves when that has room."""
        cdef uint32_t i
        while self._due_ns(self.due) <= now:
            self._send_more(&self.lanes[self.due % self.lane_count], now)
            self.due += 1
        for i in range(self.lane_count):
            if self.lanes[i].count == 0 and now - self.lanes[i].active_ns > PING_NS:
                self.lanes[i].active_ns = now
                buffer_be32(&self.lanes[i].output, 8)
                buffer_be32(&self.lanes[i].output, XID_PING)
                buffer_be32(&self.lanes[i].output, OP_PING)
                self._flush(&self.lanes[i])

    cdef void _wait(self, uint64_t now, uint64_t until_ns) noexcept nogil:
        """In an open loop: until something has come, or the next request is due."""
        cdef pollfd waited
        cdef timespec timeout
        cdef uint64_t due_ns, wait_ns = TURN_MS_MAX * 1000000
        if not self.interval_ns or self.left_over:
            return
        if self.left:
            due_ns = min(self._due_ns(self.due), until_ns)
            if due_ns <= now:
                return
            wait_ns = min(wait_ns, due_ns - now)
        waited.fd = self.epoll
        waited.events = POLLIN
        timeout.tv_sec = 0
        timeout.tv_nsec = <long>wait_ns
        ppoll(&waited, 1, &timeout, NULL)

    cdef uint64_t _unsent(self, uint64_t now) noexcept nogil:
        """The requests that were due and have not left: their windows are full."""
        cdef uint64_t found = 0, number
        cdef uint32_t i
        for i in range(self.lane_count):
            number = self.lanes[i].due
            while self._due_ns(number) <= now:
                found += 1
                number += self.lane_count
        return found

    # ---- replies

    cdef uint64_t _tend(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Takes what has come and sends what there is room for; gives how many replies there were."""
        cdef uint64_t counted = self._hear_messages(lane, now) if lane.socket != NULL else self._hear_stream(lane, now)
        self.answered += counted
        self._send_more(lane, now)
        return counted

    cdef void _lose(self, lane_t *lane) noexcept nogil:
        self.lost += not lane.is_lost
        lane.is_lost = True

    cdef uint64_t _hear_stream(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Takes what the TCP socket has; gives how many replies were whole."""
        cdef ssize_t got = recv(lane.fd, buffer_room(&lane.input, RECV_BYTES), RECV_BYTES, MSG_DONTWAIT)
        cdef uint64_t counted = 0
        cdef size_t used
        if got <= 0:
            if got == 0 or (errno != EAGAIN and errno != EINTR):
                self._lose(lane)
            return 0
        lane.input.size += <size_t>got
        used = self._replies(lane, buffer_begin(&lane.input), buffer_live(&lane.input), now, &counted)
        buffer_consume(&lane.input, used)
        return counted

    cdef uint64_t _hear_messages(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Takes the messages that are there while replies are missing; an empty one is the server's goodbye."""
        cdef uint64_t counted = 0
        cdef zmq_msg_t message
        cdef size_t size
        while True:
            if zmq_take(lane.socket, &message) != 0:
                break
            size = zmq.msg_size(&message)
            if size == 0 or self._replies(lane, <const char *>zmq.msg_data(&message), size, now, &counted) != size:
                self._lose(lane)
            zmq.msg_close(&message)
            if lane.count == 0 or self.lost:
                break
        return counted

    cdef size_t _replies(self, lane_t *lane, const char *at, size_t live, uint64_t now, uint64_t *counted) noexcept nogil:
        """Goes through the whole frames; gives how many bytes they have."""
        cdef size_t used = 0
        cdef uint32_t size
        while live - used >= 4:
            size = load_be32(at + used)
            if size < 16 or size > MAX_REPLY_BYTES:
                self._lose(lane)
                break
            if live - used < 4 + <size_t>size:
                break
            counted[0] += self._reply(lane, at + used + 4, now)
            used += 4 + <size_t>size
        return used

    cdef uint64_t _reply(self, lane_t *lane, const char *at, uint64_t now) noexcept nogil:
        cdef uint32_t xid = load_be32(at)
        cdef uint64_t zxid = load_be64(at + 4), took
        cdef int32_t err = <int32_t>load_be32(at + 12)
        cdef pending_t *pending = &lane.pending[lane.head]
        cdef bint is_change
        if xid == XID_PING:
            return 0
        if lane.count == 0 or pending.xid != xid or zxid < lane.zxid:
            self.disorders += 1
        if lane.count == 0:
            return 0
        lane.zxid = zxid
        if err and err != self.tolerated:
            self.errors += 1
            if self.first_error == 0:
                self.first_error = err
                self.first_error_kind = pending.kind
        took = now - pending.sent_ns
        is_change = is_write(pending.kind)
        self.histograms[is_change][bucket_of(took)] += 1
        if took > self.maxima[is_change]:
            self.maxima[is_change] = took
        lane.head = lane.head + 1 if lane.head + 1 < self.window else 0
        lane.count -= 1
        self.under_way -= 1
        return 1

    # ---- requests

    cdef void _send_more(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Fills the window, in a closed loop with whole batches, and sends what there is."""
        cdef uint32_t batched = 0
        cdef int events
        if self.left and (self.interval_ns or self.window - lane.count >= self.batch):
            while lane.count < self.window and self.left and self._ask(lane, now):
                batched += 1
                if batched == self.batch:
                    self._flush(lane)
                    batched = 0
                    if not self.interval_ns and self.window - lane.count < self.batch:
                        break
        self._flush(lane)
        if lane.socket != NULL:
            events = zmq_events(lane.socket)
            self.left_over -= lane.is_left_over
            lane.is_left_over = events & ZMQ_POLLIN
            self.left_over += lane.is_left_over
            if not events & ZMQ_POLLOUT:
                self._lose(lane)

    cdef bint _ask(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Puts a request into `output`, if there is one, in an open loop if one is due."""
        cdef uint64_t sent_ns = now
        cdef uint32_t slot
        cdef int kind
        if self.interval_ns:
            sent_ns = self._due_ns(lane.due)
            if sent_ns > now:
                return False
        lane.xid = lane.xid + 1 if lane.xid < XID_MAX else 1
        kind = self.requests.append(&lane.own, &lane.output, lane.xid)
        if kind == KIND_NOTHING:
            return False
        slot = lane.head + lane.count
        if slot >= self.window:
            slot -= self.window
        lane.pending[slot].sent_ns = sent_ns
        lane.pending[slot].xid = lane.xid
        lane.pending[slot].kind = <uint8_t>kind
        lane.count += 1
        lane.due += self.lane_count
        lane.active_ns = now
        self.under_way += 1
        self.left -= 1
        return True

    cdef void _flush(self, lane_t *lane) noexcept nogil:
        """Sends what the socket takes; over TCP the rest waits for epoll, over ZeroMQ there is none: a message is taken whole,
        or there is no connection any more."""
        cdef ssize_t sent
        cdef bint wants_out
        if lane.socket != NULL:
            if buffer_live(&lane.output):
                if zmq_put(lane.socket, NULL, 0, buffer_begin(&lane.output), buffer_live(&lane.output), 0) != 0:
                    self._lose(lane)
                buffer_clear(&lane.output)
            return
        if buffer_live(&lane.output):
            sent = send(lane.fd, buffer_begin(&lane.output), buffer_live(&lane.output), MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0 and errno != EAGAIN and errno != EINTR:
                self._lose(lane)
                buffer_clear(&lane.output)
            elif sent > 0:
                buffer_consume(&lane.output, <size_t>sent)
        wants_out = buffer_live(&lane.output) != 0
        if wants_out != lane.wants_out:
            lane.wants_out = wants_out
            FZ_ASSERT(epoll_change(self.epoll, EPOLL_CTL_MOD, lane.fd, EPOLLIN | (EPOLLOUT if wants_out else 0),
                                   lane - self.lanes) == 0)
