"""See _lane.pxd for what it is, its rules and how it works.

Counted for one blocking call: no thread is woken but libzmq's own, and the own thread's epoll set is changed twice."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident,
    PyThread_release_lock)
from fastzk.client._call cimport AsyncResult, Call, Waiting, new_call, new_result
from fastzk.client._clock cimport monotonic_s
from fastzk.client._flow cimport Flow
from fastzk.transport._libzmq cimport ZMQ_POLLIN, zmq, zmq_events, zmq_msg_t, zmq_put, zmq_take
from fastzk.transport._linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, close, epoll_change, epoll_create1, epoll_event,
    epoll_wait, read)
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport uint64_t, uintptr_t

import threading

from fastzk import limits
from fastzk.errors import BadArgumentsError, ForkedError

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK
    int eventfd(unsigned int count, int flags)
    int eventfd_write(int fd, uint64_t count)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum:
        POLLIN
    int poll(pollfd *fds, unsigned long count, int timeout_ms)

cdef extern from "<unistd.h>" nogil:
    int getpid()

cdef enum:
    TAG_WAKE = 1        # what epoll says is ready; sleep() gives them or-ed
    TAG_SOCKET = 2
    TAG_MONITOR = 4
    EVENTS = 4
    REQUEST_HEADER = 8
    WAIT_MS_MAX = 1000000   # at a time
    BATCH = 64          # calls that leave in one message without anybody waiting: fewer cost more messages, more cost time

MONITOR = TAG_MONITOR
FORKED = "a client belongs to the process that made it; make a new one after fork"
cdef int FRAME_BYTES_MAX = limits.FRAME_BYTES_MAX
cdef int PENDING_REQUESTS_MAX = limits.PENDING_REQUESTS_MAX
cdef object _make_lock = threading.Lock


@cython.final
cdef class Lane(Waiting):
    """A context manager: the lock.  All methods but ask(), wake_own() and sleep() are the own thread's, under the lock."""

    def __cinit__(self, Flow flow not None, dispatch not None, refusal not None):
        """dispatch: runs functions of the user elsewhere.  refusal: gives the error of a call that comes too late.

        Raises OSError when there are too many descriptors."""
        self.dispatch, self.refusal = dispatch, refusal
        self.pid = getpid()
        self.epoll_fd = self.wake_fd = self.nudge_fd = self.socket_fd = self.monitor_fd = -1
        self.flow = flow
        self.incoming, self.rest, self.room_waiters = [], [], []
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        self.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.nudge_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.epoll_fd < 0 or self.wake_fd < 0 or self.nudge_fd < 0:
            raise OSError(errno, "no descriptors for a client")
        if epoll_change(self.epoll_fd, EPOLL_CTL_ADD, self.wake_fd, EPOLLIN, TAG_WAKE) != 0:
            raise OSError(errno, "epoll_ctl failed")

    def __dealloc__(self):
        self.close_descriptors()
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, kind, error, trace):
        self.release()

    # ---- of callers

    def ask(self, int op, bytes body not None, path, finish, watch=None, function=None, removes=None, Call before=None):
        """Sends a request, and gives its AsyncResult; waits for room when there are very many.  before: leaves just before it.

        Raises ForkedError."""
        cdef AsyncResult result
        cdef Call call
        if getpid() != self.pid:
            raise ForkedError(FORKED)
        result = new_result(self.dispatch, finish, self if function is None and removes is None else None)
        if PyBytes_GET_SIZE(body) + REQUEST_HEADER > FRAME_BYTES_MAX:
            reason = f"a request of {len(body)} bytes; at most {FRAME_BYTES_MAX} are allowed"
            result.complete(None, BadArgumentsError(reason))
            return result
        call = new_call(op, body, path, result, watch, function, removes)
        if not self.submit(call, before):
            result.complete(None, self.refusal())
        return result

    def get(self, int op, bytes body not None, path, finish):
        """As ask(), and waits for the value.  Raises what the result's get() does, ForkedError."""
        cdef AsyncResult result
        cdef bint is_ours = False
        cdef bint is_interrupted = False
        if (getpid() == self.pid and self.owner != <unsigned long>PyThread_get_thread_ident()
                and PyBytes_GET_SIZE(body) + REQUEST_HEADER <= FRAME_BYTES_MAX):
            result = new_result(self.dispatch, finish, self)
            self.acquire()
            try:
                is_ours = (self.is_open and not self.incoming and not self.rest
                           and self.unanswered < PENDING_REQUESTS_MAX)
                if is_ours:
                    self.unanswered += 1
                    self.flow.queue.append(new_call(op, body, path, result, None, None, None))
                    is_interrupted = self.send_and_receive(result, -1)
            finally:
                self.release()
        if is_interrupted:
            PyErr_CheckSignals()
        if not is_ours:
            result = self.ask(op, body, path, finish)
        return result.get()

    cdef int submit(self, Call call, Call before) except -1:
        cdef int count = 1 if before is None else 2
        cdef bint is_own = self.owner == <unsigned long>PyThread_get_thread_ident()
        if is_own:  # a step of the client's own, in the middle of a turn: it is looked for at the turn's end
            if before is not None:
                self.incoming.append(before)
            self.incoming.append(call)
            self.unanswered += count
            self.wake()
            return 1
        self.acquire()
        try:
            while self.unanswered >= PENDING_REQUESTS_MAX and not self.is_over:
                waiter = _make_lock()
                waiter.acquire()
                self.room_waiters.append(waiter)
                self.release()
                try:
                    waiter.acquire()
                finally:
                    self.acquire()
            if self.is_over:
                return 0
            self.unanswered += count
            if self.is_open and not self.incoming and not self.rest:
                is_first = not self.flow.pending and self.unsent is None
                if before is not None:
                    self.flow.queue.append(before)
                self.flow.queue.append(call)
                if is_first or len(self.flow.queue) >= BATCH:
                    self.push()
                    self.tell_receiver()
                else:
                    self.wake()
            else:
                if before is not None:
                    self.incoming.append(before)
                self.incoming.append(call)
                self.wake()
            return 1
        finally:
            self.release()

    cdef bint wait_for(self, AsyncResult result, double timeout_s) except -1:
        assert self.owner != <unsigned long>PyThread_get_thread_ident(), "a step of the client's own must not wait"
        cdef double end_s = monotonic_s() + timeout_s
        cdef bint is_interrupted = True
        if getpid() != self.pid:
            return False  # the socket is the parent's
        while is_interrupted:
            is_interrupted = False
            self.acquire()
            try:
                if self.is_open and not self.rest and not result.is_ready:
                    is_interrupted = self.send_and_receive(result, max(0, end_s - monotonic_s()) if timeout_s >= 0 else -1)
            finally:
                self.release()
            if is_interrupted:
                PyErr_CheckSignals()  # a handler may use the client itself
        return result.is_ready

    cdef bint send_and_receive(self, AsyncResult result, double timeout_s) except -1:
        """Sends what is queued, and receives if nobody does.  True: a signal came."""
        if not self.is_pumped:
            return self.pump(result, timeout_s)
        self.push()
        self.tell_receiver()
        return False

    cdef bint pump(self, AsyncResult result, double timeout_s) except -1:
        """Holds the lock, but while it waits.  True: a signal came."""
        cdef pollfd[2] fds
        cdef double end_s = monotonic_s() + timeout_s
        cdef int timeout_ms = -1
        cdef int ready
        cdef uint64_t count
        cdef bint is_drained = False
        self.is_pumped = True
        try:
            self.push()  # first of all: the server works while this goes on
            epoll_change(self.epoll_fd, EPOLL_CTL_MOD, self.socket_fd, 0, TAG_SOCKET)
            while True:
                is_drained = False
                if self.is_open:  # the link may have been lost meanwhile
                    self.push()
                    while self.pull(False) and self.flow.queue:
                        self.push()  # what had to wait for an answer
                    is_drained = not self.rest
                if result.is_ready or self.rest or not self.is_open:
                    return False
                if timeout_s >= 0:
                    if monotonic_s() >= end_s:
                        return False
                    timeout_ms = <int>min((end_s - monotonic_s()) * 1000 + 1, WAIT_MS_MAX)
                is_drained = False  # others may use the socket now
                fds[0].fd, fds[0].events = self.socket_fd, POLLIN
                fds[1].fd, fds[1].events, fds[1].revents = self.nudge_fd, POLLIN, 0
                self.release()
                with nogil:
                    ready = poll(fds, 2, timeout_ms)
                self.acquire()
                if ready < 0:
                    return True
                if ready and fds[1].revents:
                    read(self.nudge_fd, &count, sizeof(count))
        finally:
            self.is_pumped = False
            if self.socket != NULL:
                epoll_change(self.epoll_fd, EPOLL_CTL_MOD, self.socket_fd, EPOLLIN, TAG_SOCKET)
            if self.rest:
                self.wake()
            if not is_drained:
                self.tell_receiver()
            if self.is_over:
                self.close_descriptors()

    # ---- of the own thread

    def sleep(self, int timeout_ms):
        """Waits without the lock until there is something to do, or for so long (-1: without end); MONITOR or 0."""
        cdef epoll_event[EVENTS] events
        cdef int count, index, found = 0
        with nogil:
            count = epoll_wait(self.epoll_fd, events, EVENTS, timeout_ms)
        for index in range(count):
            found |= <int>events[index].data.u64
        return found & TAG_MONITOR

    def wake_own(self):
        """Has the own thread look around."""
        self.wake()

    def attach(self, socket not None, int monitor_fd):
        """A link is being opened.  Raises OSError."""
        self.link_socket = socket
        self.socket = <void *><uintptr_t>socket.underlying
        self.socket_fd = socket.FD
        self.monitor_fd = monitor_fd
        if (epoll_change(self.epoll_fd, EPOLL_CTL_ADD, self.socket_fd, EPOLLIN, TAG_SOCKET) != 0
                or epoll_change(self.epoll_fd, EPOLL_CTL_ADD, monitor_fd, EPOLLIN, TAG_MONITOR) != 0):
            raise OSError(errno, "epoll_ctl failed")

    def detach(self):
        """The link is about to be closed."""
        if self.socket == NULL:
            return
        epoll_change(self.epoll_fd, EPOLL_CTL_DEL, self.socket_fd, 0, 0)
        epoll_change(self.epoll_fd, EPOLL_CTL_DEL, self.monitor_fd, 0, 0)
        self.socket = NULL
        self.link_socket = self.unsent = None
        self.rest = []
        self.is_open = False
        if self.is_pumped:
            eventfd_write(self.nudge_fd, 1)

    def open(self, bint is_open):
        """Whether calls may flow."""
        self.is_open = is_open and self.socket != NULL

    def take_incoming(self):
        """The calls that came for the own thread."""
        cdef uint64_t count
        cdef list incoming = self.incoming
        self.incoming = []
        if self.is_woken:
            self.is_woken = False
            read(self.wake_fd, &count, sizeof(count))
        return incoming

    def receive(self):
        """Takes what comes in, until something is for the Session: messages to be handed in, none when all is done."""
        cdef list rest
        if not self.rest and self.socket != NULL and self.pull(True):
            self.is_stirred = True
        rest = self.rest
        self.rest = []
        return rest

    def send(self, bytes message):
        """Passes a message on, or (None) the one that found no room; False when there is none now: it is kept."""
        if message is None:
            message = self.unsent
        self.unsent = None
        if message is not None and not self.put(message):
            self.unsent = message
            return False
        return True

    def answered(self, int count):
        """So many calls were answered by the Session."""
        self.count_answered(count)

    def end_turn(self):
        """Before the lock is let go of: True when there is more to do at once."""
        cdef bint is_input = self.socket != NULL and zmq_events(self.socket) & ZMQ_POLLIN
        if self.is_pumped and (is_input or self.is_stirred):
            eventfd_write(self.nudge_fd, 1)  # its own result may be there
        self.is_stirred = False
        return len(self.rest) != 0 or (is_input and not self.is_pumped)

    def end(self):
        """No call is taken from now on; gives those that were not looked at."""
        incoming = self.take_incoming()
        self.is_over = True
        self.is_open = False
        self.count_answered(0)
        if not self.is_pumped:
            self.close_descriptors()
        return incoming

    # ---- both

    cdef int acquire(self) except -1:
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            # A finalizer that the collector runs here would wait for itself.
            assert self.owner != <unsigned long>PyThread_get_thread_ident(), "a client is used from within its own work"
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
        self.owner = <unsigned long>PyThread_get_thread_ident()
        return 0

    cdef void release(self) noexcept:
        self.owner = 0
        PyThread_release_lock(self.lock)

    cdef void wake(self) noexcept:
        if not self.is_woken and not self.is_over:
            self.is_woken = True
            eventfd_write(self.wake_fd, 1)

    cdef void tell_receiver(self) noexcept:
        """After the socket was used by another than the receiver, or its last: see the second rule."""
        if self.socket != NULL and zmq_events(self.socket) & ZMQ_POLLIN:
            if self.is_pumped:
                eventfd_write(self.nudge_fd, 1)
            else:
                self.wake()

    cdef int push(self) except -1:
        """Sends what may leave now, as far as the Session need not be asked: it is, by the own thread."""
        cdef bytes message
        cdef Call call
        if self.unsent is not None:
            if not self.put(self.unsent):
                return 0
            self.unsent = None
        while self.is_open and self.flow.queue:
            message = self.flow.encode(b"", False)
            if message is None:
                call = self.flow.queue[0]
                if call.removes is not None:
                    self.wake()
                break
            self.flow.sent_at = monotonic_s()
            if self.flow.tap is not None:
                self.flow.tap.sent(message)
            if not self.put(message):
                self.unsent = message
                break
        return 0

    cdef bint put(self, bytes message) except -1:
        cdef int error = zmq_put(self.socket, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), NULL, 0, 0)
        if error and error != EAGAIN:
            raise OSError(error, "a client's socket failed")
        return error == 0

    cdef int pull(self, bint is_own) except -1:
        """Receives until there is nothing, or something for the Session; gives the number of messages."""
        cdef zmq_msg_t msg
        cdef int error
        cdef int count = 0
        while not self.rest:
            error = zmq_take(self.socket, &msg)
            if error == EAGAIN:
                break
            if error:
                raise OSError(error, "a client's socket failed")
            try:
                self.take(&msg, is_own)
            finally:
                zmq.msg_close(&msg)
            count += 1
        return count

    cdef int take(self, zmq_msg_t *msg, bint is_own) except -1:
        cdef const char *data = <const char *>zmq.msg_data(msg)
        cdef Py_ssize_t size = <Py_ssize_t>zmq.msg_size(msg)
        cdef Py_ssize_t at = 0
        cdef int pending = <int>len(self.flow.pending)
        self.flow.heard_at = monotonic_s()
        if not self.is_open or not size:
            self.rest.append(PyBytes_FromStringAndSize(data, size))
            return 0
        try:
            self.flow.take(data, size, None, is_own)
        finally:
            at = self.flow.taken
            if self.flow.tap is not None and at:
                self.flow.tap.received(PyBytes_FromStringAndSize(data, at))
            if at < size:
                self.rest.append(PyBytes_FromStringAndSize(data + at, size - at))
            self.count_answered(pending - <int>len(self.flow.pending))
        return 0

    cdef void count_answered(self, int count) noexcept:
        self.unanswered -= count
        if self.room_waiters and (self.is_over or self.unanswered < PENDING_REQUESTS_MAX // 4 * 3):
            for waiter in self.room_waiters:
                waiter.release()
            self.room_waiters = []

    cdef void close_descriptors(self) noexcept:
        if self.epoll_fd >= 0:
            close(self.epoll_fd)
        if self.wake_fd >= 0:
            close(self.wake_fd)
        if self.nudge_fd >= 0:
            close(self.nudge_fd)
        self.epoll_fd = self.wake_fd = self.nudge_fd = -1
