"""An echo server for ZooKeeper's protocol: what epoll, TCP and one thread give when a reply costs nothing to find.

Rules: every reply is well-formed, in order, and always the same: no tree, no session, no watch stands behind it.  getData
has 100 bytes and a stat, a create the path that was asked for; an operation beyond those of the load is Unimplemented.
It is the floor that a real server is held against, so what it does must be what any server has to do, and nothing else.

How it works: level-triggered epoll; for each ready connection one recv into one buffer that stays in the cache, all whole
frames in it answered into another such buffer, one send.  Only what is not whole, or did not fit into the socket, is kept
with the connection; who does not take his replies is not asked for more requests."""

from fastzk._core.layout cimport (
    buffer_append, buffer_be32, buffer_be64, buffer_begin, buffer_clear, buffer_consume, buffer_free, buffer_live,
    buffer_room, buffer_t, load_be32, store_be32)
from fastzk.transport._linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL,
    SOCK_CLOEXEC, SOCK_NONBLOCK, TCP_NODELAY, accept4, close, epoll_change, epoll_create1, epoll_event, epoll_wait, recv,
    send, setsockopt)
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef enum:
    OP_CREATE = 1
    OP_DELETE = 2
    OP_EXISTS = 3
    OP_GET_DATA = 4
    OP_SET_DATA = 5
    OP_PING = 11
    OP_CLOSE = -11
    ERR_UNIMPLEMENTED = -6
    SESSION_TIMEOUT_MS = 30_000
    STAT_BYTES = 68
    VALUE_BYTES = 100
    REPLY_HEAD = 4 + 16             # size, xid, zxid, err
    DATA_REPLY_BYTES = REPLY_HEAD + 4 + VALUE_BYTES + STAT_BYTES
    CONNECTIONS_MAX = 4096          # descriptors from 0 on
    RECV_BYTES = 1 << 16
    EVENTS_MAX = 256
    TAG_LISTENER = -1


ctypedef struct guest_t:
    uint8_t is_there
    uint8_t is_blocked              # the socket was full: epoll tells when it takes more, and no request is read meanwhile
    buffer_t input                  # the beginning of a frame
    buffer_t output                 # what did not fit


cdef char data_reply[DATA_REPLY_BYTES]


cdef void make_reply() noexcept nogil:
    """The reply to getData; its beginning without the size is that to all others.  All but the zxid of it may be 0."""
    memset(data_reply, 0, DATA_REPLY_BYTES)
    store_be32(data_reply, DATA_REPLY_BYTES - 4)
    data_reply[15] = 1              # the zxid, which therefore never falls
    store_be32(data_reply + REPLY_HEAD, VALUE_BYTES)
    memset(data_reply + REPLY_HEAD + 4, c'x', VALUE_BYTES)
    store_be32(data_reply + DATA_REPLY_BYTES - 16, VALUE_BYTES)  # the stat's dataLength


make_reply()
# The bytes of a reply to getData, its size included.
GET_DATA_REPLY_BYTES = DATA_REPLY_BYTES


cdef void connected(buffer_t *out) noexcept nogil:
    """A ConnectResponse."""
    buffer_be32(out, 37)
    buffer_be32(out, 0)
    buffer_be32(out, SESSION_TIMEOUT_MS)
    buffer_be64(out, 1)
    buffer_be32(out, 16)
    memset(buffer_room(out, 17), 0, 17)
    out.size += 17


cdef void header(buffer_t *out, uint32_t xid, int32_t err, uint32_t more) noexcept nogil:
    """A ReplyHeader, behind the size that it has with `more` bytes."""
    cdef char *at = buffer_room(out, REPLY_HEAD)
    memcpy(at, data_reply, REPLY_HEAD)
    store_be32(at, REPLY_HEAD - 4 + more)
    store_be32(at + 4, xid)
    store_be32(at + 16, <uint32_t>err)
    out.size += REPLY_HEAD


cdef void reply(const char *record, uint32_t size, buffer_t *out) noexcept nogil:
    """The reply to one record, which has at least 8 bytes."""
    cdef uint32_t xid = load_be32(record), path_bytes
    cdef int32_t op = <int32_t>load_be32(record + 4)
    cdef char *at
    if xid == 0 or op == 0:         # the latter is the upper half of a zxid: none was seen yet
        connected(out)
    elif op == OP_GET_DATA:
        at = buffer_room(out, DATA_REPLY_BYTES)
        memcpy(at, data_reply, DATA_REPLY_BYTES)
        store_be32(at + 4, xid)
        out.size += DATA_REPLY_BYTES
    elif op == OP_SET_DATA or op == OP_EXISTS:
        header(out, xid, 0, STAT_BYTES)
        buffer_append(out, data_reply + DATA_REPLY_BYTES - STAT_BYTES, STAT_BYTES)
    elif op == OP_DELETE or op == OP_PING or op == OP_CLOSE:
        header(out, xid, 0, 0)
    elif op == OP_CREATE and size >= 12 and load_be32(record + 8) <= size - 12:
        path_bytes = load_be32(record + 8)
        header(out, xid, 0, 4 + path_bytes)
        buffer_append(out, record + 8, 4 + path_bytes)
    else:
        header(out, xid, ERR_UNIMPLEMENTED, 0)


cdef ssize_t answer(const char *at, size_t size, buffer_t *out) noexcept nogil:
    cdef size_t done = 0
    cdef uint32_t record_bytes
    while size - done >= 4:
        record_bytes = load_be32(at + done)
        if record_bytes < 8 or record_bytes > FRAME_BYTES_MAX:
            return ANSWER_BAD
        if size - done - 4 < record_bytes:
            break
        reply(at + done + 4, record_bytes, out)
        done += 4 + record_bytes
    return <ssize_t>done


cdef class Echo:
    """A listening socket, and the connections that came to it.  serve() never returns but by an error."""

    cdef int epoll
    cdef int listener
    cdef guest_t *guests            # by descriptor
    cdef buffer_t scratch           # all input of a connection, for the time of its turn
    cdef buffer_t output            # all replies to it

    def __cinit__(self, int listener):
        """`listener` stays the caller's.  Raises OSError when epoll refuses."""
        self.epoll = -1
        self.listener = listener
        self.guests = <guest_t *>calloc(CONNECTIONS_MAX, sizeof(guest_t))
        if self.guests == NULL:
            raise MemoryError
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0 or epoll_change(self.epoll, EPOLL_CTL_ADD, listener, EPOLLIN, TAG_LISTENER) != 0:
            raise OSError(errno, "epoll refuses")

    def __dealloc__(self):
        cdef int fd
        if self.guests != NULL:
            for fd in range(CONNECTIONS_MAX):
                self.drop(fd)
        if self.epoll >= 0:
            close(self.epoll)
        free(self.guests)
        buffer_free(&self.scratch)
        buffer_free(&self.output)

    def serve(self):
        """Answers until a signal ends the process.  Raises OSError when epoll fails."""
        cdef int error
        while True:
            with nogil:
                error = self.turn()
            if error:
                raise OSError(error, "epoll_wait failed")

    cdef int turn(self) noexcept nogil:
        """Turns until a signal comes (0) or epoll fails: its errno."""
        cdef epoll_event events[EVENTS_MAX]
        cdef int64_t tag
        cdef int count, i
        while True:
            count = epoll_wait(self.epoll, events, EVENTS_MAX, -1)
            if count < 0:
                return 0 if errno == EINTR else errno
            for i in range(count):
                tag = <int64_t>events[i].data.u64
                if tag == TAG_LISTENER:
                    self.accept_all()
                elif events[i].events & EPOLLOUT:
                    self.send_rest(<int>tag)
                else:
                    self.take(<int>tag)

    cdef void accept_all(self) noexcept nogil:
        """New connections; one beyond what there is room for is closed at once."""
        cdef int on = 1
        cdef int fd = accept4(self.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        while fd >= 0:
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
            if fd >= CONNECTIONS_MAX or epoll_change(self.epoll, EPOLL_CTL_ADD, fd, EPOLLIN, fd) != 0:
                close(fd)
            else:
                self.guests[fd].is_there = True
            fd = accept4(self.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)

    cdef void take(self, int fd) noexcept nogil:
        """What a connection has sent, answered."""
        cdef guest_t *guest = &self.guests[fd]
        cdef size_t kept = buffer_live(&guest.input)
        cdef ssize_t got, done
        buffer_clear(&self.scratch)
        if kept:
            buffer_append(&self.scratch, buffer_begin(&guest.input), kept)
        got = recv(fd, buffer_room(&self.scratch, RECV_BYTES), RECV_BYTES, MSG_DONTWAIT)
        if got <= 0:
            if got == 0 or (errno != EAGAIN and errno != EINTR):
                self.drop(fd)
            return
        self.scratch.size += <size_t>got
        buffer_clear(&guest.input)
        buffer_clear(&self.output)
        done = answer(buffer_begin(&self.scratch), self.scratch.size, &self.output)
        if done == ANSWER_BAD:
            self.drop(fd)
            return
        if <size_t>done < self.scratch.size:
            buffer_append(&guest.input, self.scratch.data + done, self.scratch.size - <size_t>done)
        if buffer_live(&self.output):
            self.give(fd, &self.output)

    cdef void give(self, int fd, buffer_t *output) noexcept nogil:
        """Sends what the socket takes; the rest waits, and with it all that the client asks."""
        cdef guest_t *guest = &self.guests[fd]
        cdef ssize_t sent = send(fd, buffer_begin(output), buffer_live(output), MSG_DONTWAIT | MSG_NOSIGNAL)
        cdef bint is_blocked
        if sent < 0 and errno != EAGAIN and errno != EINTR:
            self.drop(fd)
            return
        if sent > 0:
            buffer_consume(output, <size_t>sent)
        is_blocked = buffer_live(output) != 0
        if is_blocked and output == &self.output:
            buffer_append(&guest.output, buffer_begin(output), buffer_live(output))
        if is_blocked != guest.is_blocked:
            guest.is_blocked = is_blocked
            epoll_change(self.epoll, EPOLL_CTL_MOD, fd, EPOLLOUT if is_blocked else EPOLLIN, fd)

    cdef void send_rest(self, int fd) noexcept nogil:
        self.give(fd, &self.guests[fd].output)

    cdef void drop(self, int fd) noexcept nogil:
        """Ends a connection, if it is there; closing takes it from epoll."""
        cdef guest_t *guest = &self.guests[fd]
        if guest.is_there:
            close(fd)
            buffer_free(&guest.input)
            buffer_free(&guest.output)
            guest.is_there = guest.is_blocked = False
