"""One client connection; see connection.pxd.

    reply, event   int length | int xid | long zxid | int err | body
    ConnectResponse int length | int protocolVersion | int timeOut | long sessionId | buffer passwd (16) | [bool readOnly]"""

from fastzk._core.layout cimport (
    FZ_ASSERT, buffer_append, buffer_be32, buffer_be64, buffer_begin, buffer_clear, buffer_consume, buffer_free,
    buffer_live, buffer_room)
from libc.string cimport memcpy, memset

cdef enum:
    REPLY_HEAD = 16             # xid, zxid, err
    SEGMENT_HEAD = 16
    PASSWORD_SIZE = 16
    XID_EVENT = -1


cdef void connection_answer(connection_t *c, uint64_t handled, int32_t xid, uint64_t zxid, int32_t err, const char *body,
                            size_t size) noexcept nogil:
    put(c, handled, xid, zxid, zxid, err, body, size)


cdef void connection_put(connection_t *c, uint64_t handled, int32_t xid, uint64_t zxid, uint64_t shown_zxid, int32_t err,
                         const char *body, size_t size) noexcept nogil:
    put(c, handled, xid, zxid, shown_zxid, err, body, size)


cdef inline void put(connection_t *c, uint64_t handled, int32_t xid, uint64_t zxid, uint64_t shown_zxid, int32_t err,
                     const char *body, size_t size) noexcept nogil:
    cdef uint64_t head[2]
    cdef buffer_t *out = &c.output
    cdef size_t frame = 4 + REPLY_HEAD + size
    FZ_ASSERT(size <= 0x7ffffff0)
    if zxid > handled or buffer_live(&c.held):
        out = &c.held
        if buffer_live(out):
            FZ_ASSERT(zxid >= c.held_zxid)
        if buffer_live(out) == 0 or c.held_zxid != zxid:
            head[0] = zxid
            head[1] = 0
            buffer_append(out, head, SEGMENT_HEAD)
            c.held_zxid = zxid
            c.held_last = SEGMENT_HEAD
        buffer_room(out, frame)
        c.held_last += frame
        head[1] = c.held_last - SEGMENT_HEAD
        memcpy(out.data + out.size + frame - c.held_last + 8, &head[1], 8)
    put_frame(out, xid, shown_zxid, err, body, size)
    c.replied += 1


cdef void connection_event(connection_t *c, uint64_t zxid, const char *body, size_t size) noexcept nogil:
    put_frame(&c.output, XID_EVENT, zxid, 0, body, size)
    c.replied += 1


cdef inline void put_frame(buffer_t *out, int32_t xid, uint64_t zxid, int32_t err, const char *body, size_t size) noexcept nogil:
    buffer_be32(out, <uint32_t>(REPLY_HEAD + size))
    buffer_be32(out, <uint32_t>xid)
    buffer_be64(out, zxid)
    buffer_be32(out, <uint32_t>err)
    buffer_append(out, body, size)


cdef void connection_release(connection_t *c, uint64_t zxid) noexcept nogil:
    cdef uint64_t head[2]
    while buffer_live(&c.held):
        memcpy(head, buffer_begin(&c.held), SEGMENT_HEAD)
        if head[0] > zxid:
            return
        buffer_append(&c.output, buffer_begin(&c.held) + SEGMENT_HEAD, head[1])
        buffer_consume(&c.held, SEGMENT_HEAD + head[1])


cdef void connection_greet(connection_t *c, const char *password) noexcept nogil:
    cdef char zeros[PASSWORD_SIZE]
    cdef bint is_refused = password == NULL
    cdef char read_only = c.is_read_only and not is_refused
    if is_refused:
        memset(zeros, 0, PASSWORD_SIZE)
        password = &zeros[0]
    buffer_be32(&c.output, 37 if c.has_read_only else 36)
    buffer_be32(&c.output, c.is_remembered and not is_refused)
    buffer_be32(&c.output, 0 if is_refused else c.timeout_ms)
    buffer_be64(&c.output, 0 if is_refused else c.session_id)
    buffer_be32(&c.output, PASSWORD_SIZE)
    buffer_append(&c.output, password, PASSWORD_SIZE)
    if c.has_read_only:
        buffer_append(&c.output, &read_only, 1)


cdef void shrink(buffer_t *b, size_t kept) noexcept nogil:
    if buffer_live(b) == 0:
        if b.capacity > kept:
            buffer_free(b)
        else:
            buffer_clear(b)


cdef void connection_shrink(connection_t *c, size_t kept) noexcept nogil:
    shrink(&c.input, kept)
    shrink(&c.output, kept)
    shrink(&c.held, kept)


cdef size_t connection_backlog(const connection_t *c) noexcept nogil:
    return buffer_live(&c.output) + buffer_live(&c.held)
