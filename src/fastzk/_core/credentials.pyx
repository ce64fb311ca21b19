"""Credentials: what a connection says to be somebody, what becomes of it when the worker's Python has judged.

    auth  100   int type | string scheme | buffer auth      reply: a header
    sasl  102   buffer token                                reply: buffer token (null is size -1)

    frame -> (earlier writes are answered) -> `accused` -> Python -> decide
        refused               error reply, then the connection closes
        nothing new           reply
        somebody new          OP_IDENTIFY with all its identities -> its result: they are the connection's, reply

As an entry of the log it takes its place among the connection's writes: those before are judged without the new identity, those
behind it with it, on every node alike.  Reads behind it wait for its result as for any write's.
Rule: the headers of these replies show zxid 0, as ZooKeeper's do; they keep their place among the others nonetheless (Z5).
Rule: a body that cannot be read closes the connection without a reply, as in ZooKeeper."""

from fastzk._core.codes cimport ERR_AUTH_FAILED, ERR_OK, OPCODE_AUTH
from fastzk._core.connection cimport WAITS_JUDGE, WAITS_NOT
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.layout cimport (
    FZ_ASSERT, OP_IDENTIFY, buffer_append, buffer_begin, buffer_clear, buffer_consume, buffer_free, buffer_live, buffer_t,
    load_be32)
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp, memcpy

cdef enum:
    CREDENTIAL_HEAD = 8         # of connection_t.credential


cdef class Credentials(Entrance):

    cdef bint ask(self, connection_t *c, int32_t slot, int32_t op, const char *body, size_t size) noexcept nogil:
        cdef jute_t r = jute_over(body, size)
        cdef int32_t unused = 0
        cdef bint is_null = False
        if op == OPCODE_AUTH:
            jute_int(&r)
            jute_bytes(&r, &unused)
            jute_bytes(&r, &unused)
        else:
            is_null = jute_bytes(&r, &unused) == NULL
        if r.failed or is_null:
            self.end(c, slot)
            return True
        c.waits_for = WAITS_JUDGE
        buffer_append(&self.accused, &slot, sizeof(slot))
        self.mark_dirty(c, slot)
        return False

    cdef void decide(self, connection_t *c, int32_t slot, int32_t err, const buffer_t *identities, const char *reply,
                     size_t size) noexcept nogil:
        cdef const char *frame = buffer_begin(&c.input)
        cdef size_t frame_size = 4 + load_be32(frame)
        cdef int32_t xid = <int32_t>load_be32(frame + 4)
        cdef size_t vector_size = buffer_live(identities)
        cdef const char *vector = buffer_begin(<buffer_t *>identities)
        cdef bint is_new = (vector_size != buffer_live(&c.identities)
                            or memcmp(vector, buffer_begin(&c.identities), vector_size) != 0)
        cdef uint32_t head[2]
        FZ_ASSERT(c.waits_for == WAITS_JUDGE and buffer_live(&c.input) >= frame_size)
        c.waits_for = WAITS_NOT
        c.received += 1
        self.received += 1
        buffer_consume(&c.input, frame_size)
        if err != ERR_OK:
            self.put_shown(c, slot, self.handled_zxid, xid, self.present_zxid(c), 0, err, reply, size)
            c.is_ending = 1
        elif is_new and not c.is_local:
            head[0] = <uint32_t>xid
            head[1] = <uint32_t>vector_size
            buffer_clear(&c.credential)
            buffer_append(&c.credential, head, CREDENTIAL_HEAD)
            buffer_append(&c.credential, vector, vector_size)
            buffer_append(&c.credential, reply, size)
            # The ring's limit is not asked: there is one such entry of a connection at a time, and it is small.
            self.pass_on(c, slot, OP_IDENTIFY, 0, vector, vector_size)
            c.identify_serial = c.sent_serial
        else:
            buffer_clear(&c.identities)
            buffer_append(&c.identities, vector, vector_size)
            self.put_shown(c, slot, self.handled_zxid, xid, self.present_zxid(c), 0, ERR_OK, reply, size)

    cdef void take_identified(self, connection_t *c, int32_t slot, const item_t *item) noexcept nogil:
        cdef const char *credential = buffer_begin(&c.credential)
        cdef uint32_t head[2]
        memcpy(head, credential, CREDENTIAL_HEAD)
        c.identify_serial = 0
        if item.err == ERR_OK:
            buffer_clear(&c.identities)
            buffer_append(&c.identities, credential + CREDENTIAL_HEAD, head[1])
            self.put_shown(c, slot, item.zxid, <int32_t>head[0], item.zxid, 0, ERR_OK, credential + CREDENTIAL_HEAD + head[1],
                           buffer_live(&c.credential) - CREDENTIAL_HEAD - head[1])
        else:
            self.put_shown(c, slot, item.zxid, <int32_t>head[0], item.zxid, 0, ERR_AUTH_FAILED, NULL, 0)
            c.is_ending = 1
        buffer_free(&c.credential)
