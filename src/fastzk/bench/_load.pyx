"""The load itself: one thread that keeps `window` requests under way on each of its connections.

Rules: a reply makes room for the next request, so the rate is what the server gives (a closed loop).  Nothing here is
particular to fastzk: the frames are ZooKeeper's, and any server of the protocol can be measured.
A reply with an xid out of order, a zxid that falls on its connection (Z5) or an error is counted, and a run with any of
them is worth nothing.

How it works: sockets arrive connected and with their session established.  One epoll; per ready connection one recv,
all whole replies in it, as many new requests, one send.  Latencies go into a histogram of 32 steps per power of two."""

from cpython.bytes cimport PyBytes_AS_STRING
from fastzk._core.layout cimport (
    FZ_ASSERT,
    buffer_append,
    buffer_be32,
    buffer_begin,
    buffer_clear,
    buffer_consume,
    buffer_free,
    buffer_live,
    buffer_room,
    buffer_t,
    load_be32,
    load_be64,
    store_be32,
)
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_NOSIGNAL
        MSG_DONTWAIT
    ssize_t recv(int fd, void *at, size_t size, int flags)
    ssize_t send(int fd, const void *at, size_t size, int flags)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int op, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int size, int timeout_ms)

cdef enum:
    KIND_READ = 0
    KIND_WRITE = 1
    STEPS = 32  # of the histogram, in each power of two
    STEPS_SHIFT = 5
    HISTOGRAM_SIZE = 64 * STEPS
    RECV_BYTES = 1 << 16
    EVENTS = 256
    OP_CREATE = 1
    OP_GET_DATA = 4
    OP_SET_DATA = 5
    NAME_DIGITS = 8
    MAX_REPLY_BYTES = 1 << 26
    DRAIN_S = 10  # for the last replies

OPEN_ACL = b"\0\0\0\1" + b"\0\0\0\x1f" + b"\0\0\0\x05world" + b"\0\0\0\x06anyone"


ctypedef struct pending_t:
    uint64_t sent_ns
    uint32_t xid
    uint8_t kind


ctypedef struct lane_t:
    int fd
    uint8_t wants_out  # the socket was full: epoll tells when it takes more
    uint32_t xid
    uint32_t created  # names used up by create
    uint64_t zxid
    uint32_t head  # of the ring of pending requests
    uint32_t count
    pending_t *pending
    buffer_t input
    buffer_t output


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef inline uint32_t bucket_of(uint64_t value) noexcept nogil:
    """The histogram's place of a value: exact below 32, then 32 steps to each power of two."""
    cdef int shift
    if value < STEPS:
        return <uint32_t>value
    shift = 63 - __builtin_clzll(value) - STEPS_SHIFT
    return <uint32_t>((shift + 1) * STEPS + ((value >> shift) & (STEPS - 1)))


cdef extern from * nogil:
    int __builtin_clzll(unsigned long long value)


def bucket(value: int) -> int:
    """The histogram's place of a latency in ns."""
    return bucket_of(value)


def bucket_floor(place: int) -> int:
    """The smallest latency in ns that belongs into a place."""
    if place < STEPS:
        return place
    return (STEPS + place % STEPS) << (place // STEPS - 1)


cdef class Load:
    """Connected sockets under load.  run() may be called again; the caller closes the sockets."""
    cdef lane_t *lanes
    cdef uint32_t lane_count
    cdef uint32_t window
    cdef uint32_t get_percent
    cdef uint32_t create_percent
    cdef uint32_t keys
    cdef uint64_t chance
    cdef int epoll
    cdef bytes prefix
    cdef bytes value
    cdef buffer_t frames[3]  # get, set, create: a whole request, of which xid and name change
    cdef uint32_t name_at[3]
    cdef uint32_t number
    cdef uint64_t histogram[2][HISTOGRAM_SIZE]
    cdef uint64_t maximum[2]
    cdef uint64_t errors
    cdef int64_t first_error
    cdef uint64_t disorders
    cdef uint64_t lost

    def __cinit__(
        self, list fds, uint32_t window, bytes prefix, uint32_t keys, bytes value,
        uint32_t get_percent, uint32_t create_percent, uint32_t number,
    ):
        cdef uint32_t i
        cdef epoll_event event
        if not fds or window == 0 or keys == 0 or get_percent + create_percent > 100:
            raise ValueError("a load needs sockets, a window, keys, and percentages up to 100")
        self.lane_count = <uint32_t>len(fds)
        self.window = window
        self.keys = keys
        self.get_percent = get_percent
        self.create_percent = create_percent
        self.chance = 0x9e3779b97f4a7c15ULL * (<uint64_t>number + 1)
        self.number = number
        self.prefix = prefix
        self.value = value
        self.lanes = <lane_t *>calloc(self.lane_count, sizeof(lane_t))
        self.epoll = epoll_create1(0)
        if self.lanes == NULL or self.epoll < 0:
            raise OSError(errno, "no memory or no epoll")
        memset(&event, 0, sizeof(event))
        for i in range(self.lane_count):
            self.lanes[i].fd = fds[i]
            self.lanes[i].pending = <pending_t *>calloc(window, sizeof(pending_t))
            if self.lanes[i].pending == NULL:
                raise MemoryError
            event.events = EPOLLIN
            event.data.u32 = i
            if epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.lanes[i].fd, &event) < 0:
                raise OSError(errno, "epoll_ctl")
        self._make_frames()

    def __dealloc__(self):
        cdef uint32_t i
        if self.lanes != NULL:
            for i in range(self.lane_count):
                free(self.lanes[i].pending)
                buffer_free(&self.lanes[i].input)
                buffer_free(&self.lanes[i].output)
            free(self.lanes)
        for i in range(3):
            buffer_free(&self.frames[i])
        if self.epoll >= 0:
            close(self.epoll)

    cdef int _make_frames(self) except -1:
        """One whole frame of each request: size, xid, op, path, and what follows the path."""
        cdef int i
        cdef bytes path, tail
        digits = b"0" * NAME_DIGITS
        for i in range(3):
            # Names that create makes carry the number of the load and of the lane: 8 + 8 + 8 digits.
            path = self.prefix + (b"/k" + digits if i < 2 else b"/c" + digits * 3)
            size = len(self.value).to_bytes(4, "big")
            tail = (b"\0", size + self.value + b"\xff\xff\xff\xff", size + self.value + OPEN_ACL + bytes(4))[i]
            buffer_be32(&self.frames[i], <uint32_t>(12 + len(path) + len(tail)))
            buffer_be32(&self.frames[i], 0)
            buffer_be32(&self.frames[i], (OP_GET_DATA, OP_SET_DATA, OP_CREATE)[i])
            buffer_be32(&self.frames[i], <uint32_t>len(path))
            buffer_append(&self.frames[i], PyBytes_AS_STRING(path), len(path))
            buffer_append(&self.frames[i], PyBytes_AS_STRING(tail), len(tail))
            self.name_at[i] = <uint32_t>(16 + len(self.prefix) + 2)
        return 0

    def run(self, uint64_t warm_up_ns, uint64_t duration_ns, uint64_t operations_max) -> dict:
        """Loads the connections for so long, after a warm-up that is not counted, or until so many operations (0: no
        bound); then waits for what is under way.  Raises ConnectionError when the server closed a connection."""
        cdef uint64_t began, ended, counted
        memset(self.histogram, 0, sizeof(self.histogram))
        self.maximum[0] = self.maximum[1] = 0
        self.errors = self.disorders = self.lost = 0
        self.first_error = 0
        with nogil:
            began = now_ns()
            if warm_up_ns:
                self._turns(began + warm_up_ns, 0, True)
                memset(self.histogram, 0, sizeof(self.histogram))
                self.maximum[0] = self.maximum[1] = 0
            began = now_ns()
            counted = self._turns(began + duration_ns, operations_max, True)
            ended = now_ns()
            self._turns(ended + DRAIN_S * <uint64_t>1000000000, 0, False)
        if self.lost:
            raise ConnectionError(f"the server closed {self.lost} connections under load")
        return {
            "operations": counted,
            "elapsed_ns": ended - began,
            "reads": [self.histogram[KIND_READ][i] for i in range(HISTOGRAM_SIZE)],
            "writes": [self.histogram[KIND_WRITE][i] for i in range(HISTOGRAM_SIZE)],
            "read_max_ns": self.maximum[KIND_READ],
            "write_max_ns": self.maximum[KIND_WRITE],
            "errors": self.errors,
            "first_error": self.first_error,
            "disorders": self.disorders,
        }

    cdef uint64_t _turns(self, uint64_t until_ns, uint64_t operations_max, bint is_refilling) noexcept nogil:
        """Turns of the loop until the time has come or, when nothing is to be sent any more, all is answered."""
        cdef epoll_event events[EVENTS]
        cdef uint64_t now = now_ns(), counted = 0
        cdef uint32_t i, waiting
        cdef int ready, n
        if is_refilling:
            for i in range(self.lane_count):
                self._refill(&self.lanes[i], now)
                self._flush(&self.lanes[i], i)
        while now < until_ns and not self.lost and not (operations_max and counted >= operations_max):
            if not is_refilling:
                waiting = 0
                for i in range(self.lane_count):
                    waiting += self.lanes[i].count
                if waiting == 0:
                    break
            ready = epoll_wait(self.epoll, events, EVENTS, 100)
            now = now_ns()
            for n in range(ready):
                i = events[n].data.u32
                counted += self._hear(&self.lanes[i], now)
                if is_refilling:
                    self._refill(&self.lanes[i], now)
                self._flush(&self.lanes[i], i)
        return counted

    cdef uint64_t _hear(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Takes what the socket has; returns how many replies were whole."""
        cdef ssize_t got = recv(lane.fd, buffer_room(&lane.input, RECV_BYTES), RECV_BYTES, MSG_DONTWAIT)
        cdef uint64_t counted = 0
        cdef uint32_t size
        if got <= 0:
            if got == 0 or (errno != EAGAIN and errno != EINTR):
                self.lost += 1
            return 0
        lane.input.size += <size_t>got
        while buffer_live(&lane.input) >= 4:
            size = load_be32(buffer_begin(&lane.input))
            if size < 16 or size > MAX_REPLY_BYTES:
                self.lost += 1
                break
            if buffer_live(&lane.input) < 4 + <size_t>size:
                break
            counted += self._reply(lane, buffer_begin(&lane.input) + 4, now)
            buffer_consume(&lane.input, 4 + <size_t>size)
        return counted

    cdef uint64_t _reply(self, lane_t *lane, const char *at, uint64_t now) noexcept nogil:
        cdef uint32_t xid = load_be32(at)
        cdef uint64_t zxid = load_be64(at + 4), took
        cdef int32_t err = <int32_t>load_be32(at + 12)
        cdef pending_t *pending = &lane.pending[lane.head]
        if lane.count == 0 or pending.xid != xid or zxid < lane.zxid:
            self.disorders += 1
        if lane.count == 0:
            return 0
        lane.zxid = zxid
        if err:
            self.errors += 1
            if self.first_error == 0:
                self.first_error = err
        took = now - pending.sent_ns
        self.histogram[pending.kind][bucket_of(took)] += 1
        if took > self.maximum[pending.kind]:
            self.maximum[pending.kind] = took
        lane.head = lane.head + 1 if lane.head + 1 < self.window else 0
        lane.count -= 1
        return 1

    cdef void _refill(self, lane_t *lane, uint64_t now) noexcept nogil:
        """Requests into `output` until the window is full."""
        cdef uint64_t draw
        cdef uint32_t which, slot
        cdef char *at
        while lane.count < self.window:
            self.chance ^= self.chance << 13
            self.chance ^= self.chance >> 7
            self.chance ^= self.chance << 17
            draw = (self.chance >> 20) % 100
            which = 0 if draw < self.get_percent else (2 if draw < self.get_percent + self.create_percent else 1)
            at = buffer_room(&lane.output, self.frames[which].size)
            memcpy(at, self.frames[which].data, self.frames[which].size)
            lane.output.size += self.frames[which].size
            lane.xid = lane.xid + 1 if lane.xid < 0x7ffffffe else 1
            store_be32(at + 4, lane.xid)
            if which < 2:
                self._digits(at + self.name_at[which], <uint32_t>((self.chance >> 32) % self.keys))
            else:
                self._digits(at + self.name_at[which], self.number)
                self._digits(at + self.name_at[which] + NAME_DIGITS, <uint32_t>(lane - self.lanes))
                self._digits(at + self.name_at[which] + 2 * NAME_DIGITS, lane.created)
                lane.created += 1
            slot = lane.head + lane.count
            if slot >= self.window:
                slot -= self.window
            lane.pending[slot].sent_ns = now
            lane.pending[slot].xid = lane.xid
            lane.pending[slot].kind = KIND_READ if which == 0 else KIND_WRITE
            lane.count += 1

    cdef void _digits(self, char *at, uint32_t value) noexcept nogil:
        cdef int i
        for i in range(NAME_DIGITS - 1, -1, -1):
            at[i] = <char>(48 + value % 10)
            value //= 10

    cdef void _flush(self, lane_t *lane, uint32_t number) noexcept nogil:
        """Sends what the socket takes; the rest waits for epoll."""
        cdef ssize_t sent
        cdef bint wants_out
        cdef epoll_event event
        if buffer_live(&lane.output):
            sent = send(lane.fd, buffer_begin(&lane.output), buffer_live(&lane.output), MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0 and errno != EAGAIN and errno != EINTR:
                self.lost += 1
                buffer_clear(&lane.output)
            elif sent > 0:
                buffer_consume(&lane.output, <size_t>sent)
        wants_out = buffer_live(&lane.output) != 0
        if wants_out != lane.wants_out:
            lane.wants_out = wants_out
            memset(&event, 0, sizeof(event))
            event.events = EPOLLIN | (EPOLLOUT if wants_out else 0)
            event.data.u32 = number
            FZ_ASSERT(epoll_ctl(self.epoll, EPOLL_CTL_MOD, lane.fd, &event) == 0)
