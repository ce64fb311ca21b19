"""How a connection comes in: through the gate, with a four-letter word, with a new session or one it had.

    gate     the first frame of a connection that the node's own gate (TLS) made: for whom it speaks.  Trusted: nobody else
             reaches that socket.
                 int length | string address | int port | vector of Id {string scheme, string id}
    words    a worker's Python answers them
    session  in the log: a create or an attach, which says who the connection is; its result opens the connection
    local    a new session that only this worker knows: opened at once, with its connection it ends.  Its first write waits
             until the session has been created in the log under the same id and password (upgrade).
    read-only  a local session while the node has no leader, for clients that said it would do; it is never upgraded, and the
             connection is closed when the node serves again

Rule: who is refused for what another node might grant gets no answer (the client tries the next one); who is refused for good
(a wrong password, a session that is over) gets a response of zeros."""

from fastzk._core.connection cimport connection_greet
from fastzk._core.handshake cimport (
    FOUND_NOT, FOUND_WRONG, PASSWORD_SIZE, PROTOCOL_REMEMBERS, handshake_decode, handshake_t, is_http, is_word, session_check)
from fastzk._core.identities cimport IDENTITY_REFUSED, identities_add_all
from fastzk._core.jute cimport jute_bytes, jute_int, jute_left, jute_over, jute_t
from fastzk._core.layout cimport (
    OP_ATTACH_SESSION, OP_CREATE_SESSION, buffer_append, buffer_begin, buffer_consume, buffer_live, load_be32, store_be32)
from fastzk._core.slots cimport CONNECTION_OPEN, CONNECTION_WAITING, WIRE_NATIVE, WIRE_TCP
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    NONCE_SIZE = 8

cdef bytes HTTP_HINT = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks ZooKeeper's protocol, not HTTP.\n")
cdef const char *HTTP_HINT_AT = HTTP_HINT
cdef size_t HTTP_HINT_SIZE = len(HTTP_HINT)


cdef class Entrance(Slots):

    cdef bint first_bytes(self, connection_t *c, int32_t slot, const char *data) noexcept nogil:
        """True when they are a four-letter word, or HTTP: as a length they would be far too large."""
        cdef uint32_t word = load_be32(data)
        if c.wire != WIRE_TCP:
            return False
        if is_word(word):
            c.word = word
            buffer_append(&self.spoken, &slot, sizeof(slot))
            self.mark_dirty(c, slot)
            return True
        if is_http(word):
            buffer_append(&c.output, HTTP_HINT_AT, HTTP_HINT_SIZE)
            self.end(c, slot)
            return True
        return False

    cdef void introduce(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil:
        """The gate says for whom it speaks; from then on the connection is one like any other."""
        cdef jute_t r = jute_over(frame, size)
        cdef int32_t address_size = 0
        cdef const char *address = jute_bytes(&r, &address_size)
        cdef int32_t port = jute_int(&r)
        if (r.failed or address_size <= 0 or not 0 <= port <= 0xffff
                or not self.name(c, address, <uint32_t>address_size, <uint16_t>port)
                or identities_add_all(&c.identities, r.at, <uint32_t>jute_left(&r)) == IDENTITY_REFUSED):
            self.end(c, slot)
            return
        c.wire = WIRE_TCP
        c.is_gated = 1

    cdef bint handshake(self, connection_t *c, int32_t slot, const char *frame, size_t size) noexcept nogil:
        """A ConnectRequest; False: it must wait."""
        cdef handshake_t said
        cdef size_t random_needed
        cdef bint is_local
        cdef int found
        if not handshake_decode(frame, size, &said) or said.last_zxid_seen > self.arena.arena.header.applied_zxid:
            self.end(c, slot)                       # the client tries another node
            return True
        c.has_read_only = said.has_read_only
        c.is_read_only = not self.is_serving
        if c.is_read_only and (not self.is_read_only or not said.is_read_only or said.session_id):
            if self.is_read_only and said.is_read_only and self.was_local(said.session_id):
                connection_greet(c, NULL)           # it is over; else its client would come back with it for ever
            self.end(c, slot)
            return True
        if said.session_id:
            found = FOUND_WRONG if said.password == NULL else session_check(&self.arena.arena, said.session_id, said.password)
            if found == FOUND_WRONG:
                connection_greet(c, NULL)
                self.end(c, slot)
                return True
        is_local = said.session_id == 0 and (self.has_local_sessions or c.is_read_only)
        c.is_remembered = c.wire == WIRE_NATIVE and said.protocol_version == PROTOCOL_REMEMBERS and not is_local
        random_needed = (0 if said.session_id else PASSWORD_SIZE) + (0 if is_local else NONCE_SIZE)
        if (buffer_live(&self.entropy) < random_needed
                or (not is_local and buffer_live(&self.unanswered) >= self.unanswered_max)):
            self.mark_starved(c, slot)
            return False
        c.timeout_ms = self.timeout_ms_min
        if said.timeout_ms > <int32_t>self.timeout_ms_min:
            c.timeout_ms = min(<uint32_t>said.timeout_ms, self.timeout_ms_max)
        if is_local:
            return self.begin_local(c, slot, &said)
        self.begin_session(c, slot, &said)
        return True

    cdef bint was_local(self, uint64_t session_id) noexcept nogil:
        """True of a session that was made here and is not in the log: this node has applied every create it answered."""
        return session_id >> 56 == self.node_id and session_check(&self.arena.arena, session_id, NULL) == FOUND_NOT

    cdef void begin_session(self, connection_t *c, int32_t slot, const handshake_t *said) noexcept nogil:
        """Brings a create or an attach under way.  The random bytes are there."""
        cdef char body[4 + PASSWORD_SIZE]
        memcpy(&c.nonce, buffer_begin(&self.entropy), NONCE_SIZE)
        buffer_consume(&self.entropy, NONCE_SIZE)
        store_be32(body, c.timeout_ms)
        if said.session_id:
            memcpy(body + 4, said.password, PASSWORD_SIZE)
        else:
            memcpy(body + 4, buffer_begin(&self.entropy), PASSWORD_SIZE)
            buffer_consume(&self.entropy, PASSWORD_SIZE)
        c.state = CONNECTION_WAITING
        self.join_session(c, slot, said.session_id if said.session_id else self.make_session_id())
        self.put_entry(c, slot, OP_ATTACH_SESSION if said.session_id else OP_CREATE_SESSION, c.is_remembered, c.nonce, body,
                       4 + PASSWORD_SIZE)

    cdef bint begin_local(self, connection_t *c, int32_t slot, const handshake_t *said) noexcept nogil:
        memcpy(c.password, buffer_begin(&self.entropy), PASSWORD_SIZE)
        buffer_consume(&self.entropy, PASSWORD_SIZE)
        c.is_local = 1
        c.state = CONNECTION_OPEN
        self.join_session(c, slot, self.make_session_id())
        connection_greet(c, c.password)
        self.mark_dirty(c, slot)
        return True

    cdef void upgrade(self, connection_t *c, int32_t slot) noexcept nogil:
        """Has the session created in the log; nothing of it changes for the client."""
        cdef char body[4 + PASSWORD_SIZE]
        if c.is_upgrading:
            return
        if buffer_live(&self.entropy) < NONCE_SIZE or buffer_live(&self.unanswered) >= self.unanswered_max:
            self.mark_starved(c, slot)
            return
        memcpy(&c.nonce, buffer_begin(&self.entropy), NONCE_SIZE)
        buffer_consume(&self.entropy, NONCE_SIZE)
        c.is_upgrading = 1
        store_be32(body, c.timeout_ms)
        memcpy(body + 4, c.password, PASSWORD_SIZE)
        self.put_entry(c, slot, OP_CREATE_SESSION, 0, c.nonce, body, 4 + PASSWORD_SIZE)

    cdef void take_established(self, connection_t *c, int32_t slot, const item_t *item, const char *body) noexcept nogil:
        if item.err:
            if c.state == CONNECTION_WAITING:
                connection_greet(c, NULL)
            self.end(c, slot)
            return
        c.attach_zxid = item.attach_zxid
        c.is_remembered = item.event != 0
        c.timeout_ms = load_be32(body)
        if c.is_upgrading:
            c.is_upgrading = c.is_local = 0
        else:
            c.state = CONNECTION_OPEN
            connection_greet(c, body + 4)
            self.mark_dirty(c, slot)
        self.mark_ready(c, slot)
