"""The worker's loop; see _loop.pxd for its order and its rules.

A connection of ours is a slot of the Server's; `peers[slot]` is what the transport knows of it.  The Server decides, and
marks slots dirty; the loop takes each dirty slot once per turn, sends what is in its output and looks at its state.
    TCP: what did not fit waits for EPOLLOUT; a paused connection is not asked for EPOLLIN.
    ZeroMQ: a message to us is [routing id][bytes]; empty bytes are a goodbye, in both directions.  A peer without room is
    tried again a little later; one that is gone (EHOSTUNREACH) is closed.  libzmq's own routing ids (0 and a number) are the
    only ones served: one that a peer chose could be another's, and a name that comes over a new connection is not trusted.
A client that has sent its FIN still gets the answers it waits for, and is then closed."""

cimport cython
from fastzk._core.layout cimport (
    FZ_ASSERT, buffer_begin, buffer_live, load_be32, store_be32)
from fastzk._core.serve cimport (
    CONNECTION_CLOSING, CONNECTION_FREE, CONNECTION_WAITING, WAITS_JUDGE, WAITS_NOT, WIRE_GATE, WIRE_NATIVE, WIRE_TCP,
    Server, connection_t)
from fastzk._core.watches cimport watches_count
from fastzk.transport._libzmq cimport (
    EHOSTUNREACH, ZMQ_POLLIN, ZMQ_SNDMORE, ZMQ_SRCFD, address_size, zmq, zmq_events, zmq_msg_t, zmq_put, zmq_take)
from fastzk.transport._link cimport FAULT_SOCKET, RESEND_MS, EngineLink
from fastzk.transport._linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT,
    IPPROTO_TCP, INET6_ADDRSTRLEN, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, TCP_NODELAY, accept4,
    close, epoll_change, epoll_create1, epoll_event, epoll_wait, monotonic_ms, peer_text, read, recv, send, setsockopt,
    shutdown, sockaddr, sockaddr_storage)
from fastzk.transport._routes cimport routes_add, routes_find, routes_free, routes_remove
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

# What epoll says is ready: a slot, or one of these.
cdef enum:
    TAG_LISTENER = -1
    TAG_ROUTER = -2
    TAG_ENGINE = -3
    TAG_WAKE = -4
    TAG_GATE = -5

STAT_NAMES = (
    "heartbeat_ms", "turns", "connections", "native_connections", "accepted", "refused", "dropped", "bytes_received",
    "bytes_sent", "commits", "entries", "resends", "watches", "received", "sent", "outstanding", "latency_count",
    "latency_ms_total", "latency_ms_min", "latency_ms_max")
assert len(STAT_NAMES) == STAT_COUNT <= STAT_SLOT
SLOT_COUNTERS = STAT_SLOT
# What turn() asks of Python.
STATUS, WORDS, WOKEN, CREDENTIALS = TURN_STATUS, TURN_WORDS, TURN_WOKEN, TURN_CREDENTIALS


@cython.final
cdef class Loop:
    """See the top of this file.  Python owns the descriptors and sockets given to it and closes them afterwards."""

    def __cinit__(self, Server server not None, EngineLink link not None, *, int listen_fd, int wake_fd, router,
                  uint64_t[::1] stats not None, int place, int gate_fd=-1):
        """`listen_fd` is -1 and `router` None for a wire that is not served.  `gate_fd` listens for the node's own gate, whose
        connections say first for whom they speak.  `stats` is the page of all workers, of which
        this one has the slot `place`.  Raises OSError when epoll refuses."""
        assert 0 <= place < stats.shape[0] // STAT_SLOT, f"no slot {place} in {stats.shape[0]} counters"
        self.epoll_fd = -1
        self.server = server
        self.link = link
        self._router = router
        self._stats = stats
        self.page = &stats[0]
        self.page_slots = stats.shape[0] // STAT_SLOT
        self.stats = self.page + place * STAT_SLOT
        self.listen_fd = listen_fd
        self.gate_fd = gate_fd
        self.wake_fd = wake_fd
        self.router = <void *><uintptr_t>router.underlying if router is not None else NULL
        self.scratch = <char *>malloc(SCRATCH_BYTES)
        self.events = malloc(EVENTS_MAX * sizeof(epoll_event))
        if self.scratch == NULL or self.events == NULL:
            raise MemoryError
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0:
            raise OSError(errno, "epoll_create1 failed")
        self.watch_fd(link._socket.FD, TAG_ENGINE)
        self.watch_fd(wake_fd, TAG_WAKE)
        if router is not None:
            self.watch_fd(router.FD, TAG_ROUTER)
        self.is_engine_ready = self.is_left_over = True
        self.is_router_ready = router is not None

    def __dealloc__(self):
        cdef int32_t slot
        for slot in range(self.peer_top):
            if self.peers[slot].kind == PEER_TCP:
                close(self.peers[slot].fd)
        if self.epoll_fd >= 0:
            close(self.epoll_fd)
        free(self.scratch)
        free(self.events)
        free(self.peers)
        routes_free(&self.routes)
        free(self.blocked)

    cdef int watch_fd(self, int fd, int tag) except -1:
        """Has epoll tell when `fd` can be read."""
        if epoll_change(self.epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, tag) != 0:
            raise OSError(errno, "epoll_ctl failed")
        return 0

    def turn(self, int timeout_ms):
        """One turn, waiting up to `timeout_ms` when nothing is left over.  Gives what it asks of Python: STATUS, WORDS, WOKEN,
        CREDENTIALS.
        Raises LinkError when the engine can no longer be followed, and OSError when a socket fails."""
        with nogil:
            self.run_turn(timeout_ms)
        if self.link.fault:
            self.link.check()
        return self.flags

    def listen(self, bint wanted):
        """Begins or ends accepting connections over TCP.  Raises OSError when epoll refuses."""
        self.wants_listening = wanted
        if self.set_listening(wanted) != 0:
            raise OSError(errno, "epoll_ctl failed")

    def second(self):
        """What is due about every second: connections that have waited too long, and writes that are not answered."""
        with nogil:
            self.now_ms = monotonic_ms()
            self.server.sweep(self.now_ms)
            if self.has_stalled():
                self.link.resend_stalled(self.now_ms)
            else:
                self.link.resend_wait_ms = RESEND_MS
            if self.wants_listening:
                self.set_listening(True)
            self.is_left_over = True

    def hurry(self):
        """Has the next turn not wait: something was done to the Server from Python."""
        self.is_left_over = True

    def peer_fd(self, int32_t slot):
        """The socket of a connection over TCP, still ours; -1 when there is none."""
        if 0 <= slot < self.peer_top and self.peers[slot].kind == PEER_TCP:
            return self.peers[slot].fd
        return -1

    def drop_all(self):
        """Closes every connection at once, sent or not."""
        cdef int32_t slot
        with nogil:
            for slot in range(self.peer_top):
                self.drop(slot)

    @property
    def connection_count(self):
        """Connections that are open now, of both kinds."""
        return self.stats[STAT_CONNECTIONS]

    # ---- one turn

    cdef void run_turn(self, int timeout_ms) noexcept nogil:
        cdef int count
        self.flags = 0
        if self.is_left_over:
            timeout_ms = 0
        elif self.blocked_count and timeout_ms > BLOCKED_RETRY_MS:
            timeout_ms = BLOCKED_RETRY_MS
        if self.deferred_until_ms:
            timeout_ms = min(timeout_ms, DEFER_MS)
        count = epoll_wait(self.epoll_fd, <epoll_event *>self.events, EVENTS_MAX, timeout_ms)
        if count < 0:
            if errno != EINTR:
                self.link.fail(FAULT_SOCKET, errno)
                return
            count = 0
        self.now_ms = monotonic_ms()
        self.stats[STAT_TURNS] += 1
        self.stats[STAT_HEARTBEAT_MS] = self.now_ms
        self.is_left_over = count == EVENTS_MAX
        self.take_events(count)
        self.link.say()
        self.flush_dirty()
        self.publish()
        # Any use of a ZeroMQ socket may have swallowed the signal of its descriptor: ask before waiting again.
        self.is_engine_ready = zmq_events(self.link.socket) & ZMQ_POLLIN != 0
        self.is_router_ready = self.router != NULL and zmq_events(self.router) & ZMQ_POLLIN != 0
        if self.is_engine_ready or self.is_router_ready:
            self.is_left_over = True

    cdef void take_events(self, int count) noexcept nogil:
        cdef epoll_event *events = <epoll_event *>self.events
        cdef bint has_newcomers = False
        cdef bint has_gated = False
        cdef int64_t tag
        cdef int i
        for i in range(count):
            tag = <int64_t>events[i].data.u64
            if tag == TAG_ENGINE:
                self.is_engine_ready = True
            elif tag == TAG_ROUTER:
                self.is_router_ready = True
            elif tag == TAG_LISTENER:
                has_newcomers = True
            elif tag == TAG_GATE:
                has_gated = True
            elif tag == TAG_WAKE:
                while read(self.wake_fd, self.scratch, SCRATCH_BYTES) > 0:
                    pass
                self.flags |= TURN_WOKEN
        if self.is_engine_ready:
            self.link.hear(self.now_ms)
            if self.link.fault:
                return
            if self.link.has_news:
                self.link.has_news = False
                self.flags |= TURN_STATUS
        for i in range(count):
            tag = <int64_t>events[i].data.u64
            if tag >= 0:
                self.take_tcp(<int32_t>tag, events[i].events)
        if self.is_router_ready:
            self.hear_router()
        # Last, so that no event above can mean a slot that a newcomer has just been given.
        if has_gated and self.is_listening:
            self.accept_some(self.gate_fd)
        if has_newcomers and self.is_listening:
            self.accept_some(self.listen_fd)
        elif self.is_listening:
            self.has_deferred = False
        elif self.deferred_until_ms and self.now_ms >= self.deferred_until_ms and self.wants_listening:
            self.set_listening(True)

    # ---- clients over TCP

    cdef int set_listening(self, bint wanted) noexcept nogil:
        """0, or -1 with errno."""
        cdef int operation = EPOLL_CTL_ADD if wanted else EPOLL_CTL_DEL
        self.deferred_until_ms = 0
        if wanted == self.is_listening:
            return 0
        if self.listen_fd >= 0 and epoll_change(self.epoll_fd, operation, self.listen_fd, EPOLLIN, TAG_LISTENER) != 0:
            return -1
        if self.gate_fd >= 0 and epoll_change(self.epoll_fd, operation, self.gate_fd, EPOLLIN, TAG_GATE) != 0:
            return -1
        self.is_listening = wanted
        return 0

    cdef bint is_ahead(self) noexcept nogil:
        """True when a worker that lives has fewer connections.  The kernel would give nearly all of them to one worker."""
        cdef uint64_t *other
        cdef Py_ssize_t place
        for place in range(self.page_slots):
            other = self.page + place * STAT_SLOT
            if (other[STAT_CONNECTIONS] < self.stats[STAT_CONNECTIONS] and other[STAT_HEARTBEAT_MS]
                    and self.now_ms < other[STAT_HEARTBEAT_MS] + LIVING_MS):
                return True
        return False

    cdef void accept_some(self, int listener) noexcept nogil:
        """Takes new connections as long as no worker has fewer; then leaves them to the others for a moment, but once only."""
        cdef sockaddr_storage address
        cdef unsigned int size
        cdef int fd, _i
        for _i in range(ACCEPTS_MAX):
            if not self.has_deferred and self.is_ahead():
                self.has_deferred = True
                self.set_listening(False)
                self.deferred_until_ms = self.now_ms + DEFER_MS
                return
            size = sizeof(address)
            fd = accept4(listener, <sockaddr *>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                self.has_deferred = False
                self.add_tcp(fd, WIRE_GATE if listener == self.gate_fd else WIRE_TCP, &address)
            elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                # It would stay ready and spin: look again in a second.
                self.set_listening(False)
                return
            elif errno != EINTR and errno != ECONNABORTED:
                return

    cdef void add_tcp(self, int fd, int wire, const sockaddr_storage *address) noexcept nogil:
        cdef char text[INET6_ADDRSTRLEN]
        cdef uint16_t port = 0
        cdef uint32_t size = 0 if wire == WIRE_GATE else peer_text(address, text, &port)
        cdef int32_t slot = self.server.open(wire, self.now_ms, text, size, port)
        cdef int on = 1
        cdef peer_t *peer
        if slot < 0:
            self.stats[STAT_REFUSED] += 1
            close(fd)
            return
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
        peer = self.add_peer(slot)
        peer.kind = PEER_TCP
        peer.fd = fd
        peer.interest = EPOLLIN
        if epoll_change(self.epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, slot) != 0:
            self.drop(slot)

    cdef void take_tcp(self, int32_t slot, uint32_t events) noexcept nogil:
        """A connection is ready: sends if it has room again, and receives once."""
        cdef peer_t *peer = &self.peers[slot]
        cdef ssize_t got
        if peer.kind != PEER_TCP:
            return
        if events & EPOLLOUT:
            peer.is_blocked = False
            self.flush(slot)
            if peer.kind != PEER_TCP:
                return
        if not peer.interest & EPOLLIN:
            if events & (EPOLLERR | EPOLLHUP):
                self.drop(slot)
            return
        if not events & (EPOLLIN | EPOLLERR | EPOLLHUP):
            return
        got = recv(peer.fd, self.scratch, SCRATCH_BYTES, MSG_DONTWAIT)
        if got > 0:
            self.stats[STAT_BYTES_RECEIVED] += got
            self.server.take(slot, self.scratch, got, self.now_ms)
        elif got == 0:
            peer.has_ended = True
            self.flush(slot)
        elif errno != EAGAIN and errno != EINTR:
            self.drop(slot)

    cdef void flush_tcp(self, int32_t slot, peer_t *peer, connection_t *conn) noexcept nogil:
        cdef size_t size = buffer_live(&conn.output)
        cdef ssize_t gone = 0
        if size and not peer.is_blocked:
            gone = send(peer.fd, buffer_begin(&conn.output), size, MSG_NOSIGNAL | MSG_DONTWAIT)
            if gone < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.drop(slot)
                    return
                gone = 0
            else:
                self.stats[STAT_BYTES_SENT] += gone
                self.server.sent(slot, gone)
            peer.is_blocked = <size_t>gone < size
        if conn.state == CONNECTION_CLOSING and not buffer_live(&conn.output):
            # What the client sent meanwhile would turn our close into a reset, and the reset may overtake the last reply.
            shutdown(peer.fd, SHUT_WR)
            recv(peer.fd, self.scratch, SCRATCH_BYTES, MSG_DONTWAIT)
            self.drop(slot)
        elif peer.has_ended and is_answered(conn):
            self.drop(slot)
        else:
            self.watch_tcp(slot, peer, conn)

    cdef void watch_tcp(self, int32_t slot, peer_t *peer, connection_t *conn) noexcept nogil:
        """Asks epoll for what the connection can use now."""
        cdef uint32_t wanted = 0
        if not conn.is_paused and not peer.has_ended and conn.state != CONNECTION_CLOSING:
            wanted = EPOLLIN
        if peer.is_blocked:
            wanted |= EPOLLOUT
        if wanted != peer.interest:
            peer.interest = wanted
            if epoll_change(self.epoll_fd, EPOLL_CTL_MOD, peer.fd, wanted, slot) != 0:
                self.drop(slot)

    # ---- clients over ZeroMQ

    cdef void hear_router(self) noexcept nogil:
        cdef zmq_msg_t name, payload, extra
        cdef size_t total = 0
        cdef bint is_whole, has_more
        cdef int error, _i
        for _i in range(MESSAGES_MAX):
            error = zmq_take(self.router, &name)
            if error:
                if error != EAGAIN:
                    self.link.fail(FAULT_SOCKET, error)
                return
            if zmq.msg_more(&name) and zmq_take(self.router, &payload) == 0:
                # All parts of a message come together.  More than one of payload is not our protocol: all are dropped.
                is_whole = True
                has_more = zmq.msg_more(&payload) != 0
                while has_more and zmq_take(self.router, &extra) == 0:
                    is_whole = False
                    has_more = zmq.msg_more(&extra) != 0
                    zmq.msg_close(&extra)
                total += zmq.msg_size(&payload)
                if is_whole:
                    self.take_native(&name, &payload)
                zmq.msg_close(&payload)
            zmq.msg_close(&name)
            if total > MESSAGE_BYTES_MAX:
                return

    cdef void take_native(self, zmq_msg_t *name, zmq_msg_t *payload) noexcept nogil:
        cdef const char *at = <const char *>zmq.msg_data(name)
        cdef size_t size = zmq.msg_size(payload)
        cdef int fd = zmq.msg_get(payload, ZMQ_SRCFD)
        cdef const char *address
        cdef uint32_t routing_id
        cdef int32_t slot
        cdef peer_t *peer
        if zmq.msg_size(name) != 5 or at[0] != 0:
            return
        routing_id = load_be32(at + 1)
        slot = routes_find(&self.routes, routing_id)
        if slot >= 0 and self.peers[slot].fd != fd:
            # Someone else now bears the name of a peer that was gone.
            self.drop(slot)
            slot = -1
        if size == 0:
            if slot >= 0:
                self.drop(slot)
            return
        if slot < 0:
            address = zmq.msg_gets(payload, b"Peer-Address")
            slot = self.server.open(WIRE_NATIVE, self.now_ms, address, address_size(address), 0)
            if slot < 0:
                self.stats[STAT_REFUSED] += 1
                self.say_goodbye(routing_id)
                return
            peer = self.add_peer(slot)
            peer.kind = PEER_NATIVE
            peer.fd = fd
            peer.routing_id = routing_id
            routes_add(&self.routes, routing_id, slot)
            self.stats[STAT_NATIVE_CONNECTIONS] += 1
        self.stats[STAT_BYTES_RECEIVED] += size
        self.server.take(slot, <const char *>zmq.msg_data(payload), size, self.now_ms)

    cdef void flush_native(self, int32_t slot, peer_t *peer, connection_t *conn) noexcept nogil:
        cdef size_t size = buffer_live(&conn.output)
        cdef char name[5]
        cdef int error
        if size and not peer.is_blocked:
            name[0] = 0
            store_be32(name + 1, peer.routing_id)
            error = zmq_put(self.router, name, 5, NULL, 0, ZMQ_SNDMORE)
            if error == EAGAIN:
                self.add_blocked(slot)
            elif error == EHOSTUNREACH:
                self.drop(slot)
                return
            elif error == 0:
                error = zmq_put(self.router, buffer_begin(&conn.output), size, NULL, 0, 0)
                if error == 0:
                    self.stats[STAT_BYTES_SENT] += size
                    self.server.sent(slot, size)
            if error != 0 and error != EAGAIN:
                self.link.fail(FAULT_SOCKET, error)
                return
        if conn.state == CONNECTION_CLOSING and not buffer_live(&conn.output):
            self.say_goodbye(peer.routing_id)
            self.drop(slot)

    cdef void say_goodbye(self, uint32_t routing_id) noexcept nogil:
        """Tells a peer that it has no connection here.  One that is gone or has no room finds out by itself."""
        cdef char name[5]
        name[0] = 0
        store_be32(name + 1, routing_id)
        if zmq_put(self.router, name, 5, NULL, 0, ZMQ_SNDMORE) == 0:
            zmq_put(self.router, NULL, 0, NULL, 0, 0)

    cdef void add_blocked(self, int32_t slot) noexcept nogil:
        self.peers[slot].is_blocked = True
        if self.blocked_count == self.blocked_capacity:
            self.blocked_capacity = self.blocked_capacity * 2 if self.blocked_capacity else 64
            self.blocked = <int32_t *>realloc(self.blocked, self.blocked_capacity * sizeof(int32_t))
            FZ_ASSERT(self.blocked != NULL)
        self.blocked[self.blocked_count] = slot
        self.blocked_count += 1

    cdef void retry_blocked(self) noexcept nogil:
        """Tries each blocked native peer once more; those still without room come onto the list again."""
        cdef int32_t count = self.blocked_count
        cdef int32_t i, slot
        if count == 0 or self.now_ms - self.blocked_tried_ms < BLOCKED_RETRY_MS:
            return
        self.blocked_tried_ms = self.now_ms
        self.blocked_count = 0
        for i in range(count):
            # add_blocked() writes behind what is read here: it adds at most one for each that was taken.
            slot = self.blocked[i]
            if self.peers[slot].kind == PEER_NATIVE and self.peers[slot].is_blocked:
                self.peers[slot].is_blocked = False
                self.flush(slot)

    # ---- both kinds

    cdef peer_t *add_peer(self, int32_t slot) noexcept nogil:
        """A blank record for a slot just opened."""
        cdef int32_t capacity
        if slot >= self.peer_capacity:
            capacity = self.peer_capacity if self.peer_capacity else 256
            while capacity <= slot:
                capacity *= 2
            self.peers = <peer_t *>realloc(self.peers, capacity * sizeof(peer_t))
            FZ_ASSERT(self.peers != NULL)
            memset(self.peers + self.peer_capacity, 0, (capacity - self.peer_capacity) * sizeof(peer_t))
            self.peer_capacity = capacity
        FZ_ASSERT(self.peers[slot].kind == PEER_NONE)
        memset(&self.peers[slot], 0, sizeof(peer_t))
        if slot >= self.peer_top:
            self.peer_top = slot + 1
        self.stats[STAT_ACCEPTED] += 1
        self.stats[STAT_CONNECTIONS] += 1
        return &self.peers[slot]

    cdef void flush(self, int32_t slot) noexcept nogil:
        """Sends what may leave, and closes what is to be closed."""
        cdef connection_t *conn = self.server.at(slot)
        cdef peer_t *peer = &self.peers[slot]
        if conn.state == CONNECTION_FREE or peer.kind == PEER_NONE:
            return
        if conn.waits_for == WAITS_JUDGE:
            self.flags |= TURN_CREDENTIALS
        if conn.word and conn.state != CONNECTION_CLOSING:
            self.flags |= TURN_WORDS
        elif peer.kind == PEER_TCP:
            self.flush_tcp(slot, peer, conn)
        else:
            self.flush_native(slot, peer, conn)

    cdef void flush_dirty(self) noexcept nogil:
        cdef int32_t slot, _i
        self.retry_blocked()
        for _i in range(FLUSHES_MAX):
            slot = self.server.next_dirty()
            if slot < 0:
                return
            self.flush(slot)
        self.is_left_over = True

    cdef void drop(self, int32_t slot) noexcept nogil:
        """The connection is over: forgets it here and in the Server.  What was not sent is lost."""
        cdef peer_t *peer = &self.peers[slot]
        if peer.kind == PEER_NONE:
            return
        if peer.kind == PEER_TCP:
            close(peer.fd)
        else:
            routes_remove(&self.routes, peer.routing_id)
            self.stats[STAT_NATIVE_CONNECTIONS] -= 1
        peer.kind = PEER_NONE
        peer.is_blocked = False
        self.stats[STAT_CONNECTIONS] -= 1
        self.stats[STAT_DROPPED] += 1
        self.server.close(slot)

    cdef bint has_stalled(self) noexcept nogil:
        """True when a connection has had no answer to its writes for RESEND_MS."""
        cdef bint is_stalled = False
        cdef connection_t *conn
        cdef peer_t *peer
        cdef int32_t slot
        for slot in range(self.peer_top):
            peer = &self.peers[slot]
            if peer.kind == PEER_NONE:
                continue
            conn = self.server.at(slot)
            if conn.state == CONNECTION_CLOSING:
                continue
            if conn.sent_serial == conn.answered_serial and conn.state != CONNECTION_WAITING and not conn.is_upgrading:
                peer.stalled_since_ms = 0
            elif peer.stalled_since_ms == 0 or peer.stalled_serial != conn.answered_serial:
                peer.stalled_since_ms = self.now_ms
                peer.stalled_serial = conn.answered_serial
            elif self.now_ms - peer.stalled_since_ms >= RESEND_MS:
                is_stalled = True
        return is_stalled

    cdef void publish(self) noexcept nogil:
        """Brings the counters that are kept elsewhere up to date in the stats page."""
        self.stats[STAT_COMMITS] = self.link.commit_count
        self.stats[STAT_ENTRIES] = self.link.entry_count
        self.stats[STAT_RESENDS] = self.link.resend_count
        self.stats[STAT_WATCHES] = watches_count(self.server.watches)
        self.stats[STAT_RECEIVED] = self.server.received
        self.stats[STAT_SENT] = self.server.replied
        self.stats[STAT_OUTSTANDING] = self.server.outstanding
        self.stats[STAT_LATENCY_COUNT] = self.server.latency.count
        self.stats[STAT_LATENCY_MS_TOTAL] = self.server.latency.total_ms
        self.stats[STAT_LATENCY_MS_MIN] = self.server.latency.min_ms
        self.stats[STAT_LATENCY_MS_MAX] = self.server.latency.max_ms


cdef bint is_answered(connection_t *conn) noexcept nogil:
    """True when a connection waits for nothing any more."""
    return (conn.sent_serial == conn.answered_serial and conn.state != CONNECTION_WAITING and not conn.is_upgrading
            and conn.waits_for == WAITS_NOT and not buffer_live(&conn.output) and not buffer_live(&conn.held))
