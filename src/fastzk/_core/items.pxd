"""The items that workers are told (item_t): one buffer per attached worker, in zxid order.

A buffer may move while an item's body grows, so an open item is known by its place, not by a pointer."""

from fastzk._core.layout cimport (
    FZ_ASSERT,
    ITEM_CHANGE,
    ITEM_RESULT,
    ITEM_SESSION,
    buffer_append,
    buffer_room,
    buffer_t,
    entry_t,
    item_t,
    padded8,
)
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset


cdef enum:
    WORKERS_MAX = 64            # of one node: a worker is a core


ctypedef struct worker_out_t:
    uint16_t worker             # its number
    buffer_t items              # what it will be told next


ctypedef struct outbox_t:
    uint16_t node_id            # ours: only entries of our own workers are answered
    int count                   # workers attached
    bint is_recording           # an answer that is nobody's here goes to `elsewhere`
    buffer_t elsewhere
    worker_out_t workers[WORKERS_MAX]


cdef inline size_t item_open(buffer_t *out, uint16_t kind, uint64_t zxid) noexcept nogil:
    """Begins an item; gives its place."""
    cdef size_t place = out.size
    cdef item_t *item = <item_t *>buffer_room(out, sizeof(item_t))
    memset(item, 0, sizeof(item_t))
    item.kind = kind
    item.zxid = zxid
    out.size += sizeof(item_t)
    return place


cdef inline item_t *item_at(buffer_t *out, size_t place) noexcept nogil:
    """The item at a place; until the next append."""
    return <item_t *>(out.data + place)


cdef inline void item_close(buffer_t *out, size_t place) noexcept nogil:
    """Ends the item: its sizes, and zeros up to a multiple of 8."""
    cdef size_t size = out.size - place
    cdef size_t padding = padded8(size) - size
    FZ_ASSERT(size <= 0x7fffffff)
    if padding:
        memset(buffer_room(out, padding), 0, padding)
        out.size += padding
    item_at(out, place).body_size = <uint32_t>(size - sizeof(item_t))
    item_at(out, place).size = <uint32_t>(size + padding)


cdef inline buffer_t *outbox_of(outbox_t *out, const entry_t *entry) noexcept nogil:
    """Where the answer to an entry goes; NULL when it is another node's, or its worker is gone, unless it is recorded."""
    cdef int i
    if entry.node_id == out.node_id:
        for i in range(out.count):
            if out.workers[i].worker == entry.worker:
                return &out.workers[i].items
    return &out.elsewhere if out.is_recording else NULL


cdef inline size_t answer_open(buffer_t *items, uint16_t kind, uint64_t zxid, const entry_t *entry,
                               int32_t err) noexcept nogil:
    """Begins the item that answers an entry."""
    cdef size_t place = item_open(items, kind, zxid)
    cdef item_t *item = item_at(items, place)
    item.session_id = entry.session_id
    item.attach_zxid = entry.attach_zxid
    item.serial = entry.serial
    item.connection = entry.connection
    item.xid = entry.cxid
    item.err = err
    return place


cdef inline void outbox_result(outbox_t *out, const entry_t *entry, uint64_t zxid, int32_t err) noexcept nogil:
    """A result without a body."""
    cdef buffer_t *items = outbox_of(out, entry)
    if items is not NULL:
        item_close(items, answer_open(items, ITEM_RESULT, zxid, entry, err))


cdef inline void outbox_change(outbox_t *out, uint16_t event, uint64_t zxid, const char *path, uint32_t path_size,
                               const char *vector, uint32_t vector_size) noexcept nogil:
    """Tells every worker of a change that watches may wait for; the ACL vector says who may know, size 0 anyone."""
    cdef size_t place
    cdef int i
    for i in range(out.count):
        place = item_open(&out.workers[i].items, ITEM_CHANGE, zxid)
        item_at(&out.workers[i].items, place).event = event
        item_at(&out.workers[i].items, place).connection = path_size
        buffer_append(&out.workers[i].items, path, path_size)
        buffer_append(&out.workers[i].items, vector, vector_size)
        item_close(&out.workers[i].items, place)


cdef inline void outbox_session(outbox_t *out, uint64_t zxid, uint64_t session_id, uint64_t attach_zxid) noexcept nogil:
    """Tells every worker that a session is over (attach_zxid 0) or speaks through another connection."""
    cdef size_t place
    cdef int i
    for i in range(out.count):
        place = item_open(&out.workers[i].items, ITEM_SESSION, zxid)
        item_at(&out.workers[i].items, place).session_id = session_id
        item_at(&out.workers[i].items, place).attach_zxid = attach_zxid
        item_close(&out.workers[i].items, place)
