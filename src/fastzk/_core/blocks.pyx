"""Blocks of entries: made by the leader, checked by whoever reads one from the disk, a peer or a worker.

    block = head (64 bytes) + entries; entry = head (48 bytes) + body + zeros up to a multiple of 8

Rule: no size in a block is believed before it is checked against the bytes that are there.
Rule: the checksum is over everything behind it, so also over the position (indexes, zxids) and `previous`, the checksum
of the block before: a block that is valid in itself but stands at the wrong place is found out by the log.
Python touches a block once, never an entry; xxh3 runs over it once."""

from collections import namedtuple

from xxhash import xxh3_64_intdigest

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from fastzk._core.codes cimport (
    OPCODE_CREATE,
    OPCODE_CREATE2,
    OPCODE_CREATE_CONTAINER,
    OPCODE_CREATE_TTL,
    OPCODE_DELETE,
    OPCODE_MULTI,
    OPCODE_RECONFIG,
    OPCODE_SET_ACL,
    OPCODE_SET_DATA,
    OPCODE_SYNC,
)
from fastzk._core.layout cimport (
    BLOCK_ENTRIES,
    BLOCK_MAGIC,
    BLOCK_MEMBERS,
    OP_ATTACH_SESSION,
    OP_CLOSE_SESSION,
    OP_CREATE_SESSION,
    OP_IDENTIFY,
    OP_MEMBERS,
    block_t,
    padded8,
)
from fastzk._core.reads cimport is_read
from libc.stdint cimport UINT32_MAX, int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef enum:
    SESSION_BODY_MIN = 20       # int timeout_ms, 16 bytes of password; identities may follow


BlockInfo = namedtuple(
    "BlockInfo", "first_index last_index first_zxid last_zxid time_ms previous checksum count size kind", module=__name__
)
Entry = namedtuple(
    "Entry", "op body session_id attach_zxid serial node_id worker connection cxid", module=__name__
)


class BlockDamaged(ValueError):
    """Bytes that should be a block are none; `reason` says in one word or two what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"damaged block: {reason}")
        self.reason = reason


cdef const entry_t *entry_see(const char *at, const char *end) noexcept nogil:
    cdef const entry_t *entry = <const entry_t *>at
    cdef size_t used
    if end - at < <Py_ssize_t>sizeof(entry_t) or entry.size > <size_t>(end - at):
        return NULL
    if entry.size != padded8(sizeof(entry_t) + <size_t>entry.body_size):
        return NULL
    used = sizeof(entry_t) + entry.body_size
    while used < entry.size:
        if at[used] != 0:
            return NULL
        used += 1
    return entry


cdef int64_t entries_walk(const char *at, size_t size) noexcept nogil:
    cdef const char *end = at + size
    cdef const entry_t *entry
    cdef int64_t count = 0
    while at < end:
        entry = entry_see(at, end)
        if entry is NULL:
            return -1
        at += entry.size
        count += 1
    return count


cdef bint kind_fits(uint32_t kind, const char *first) noexcept nogil:
    """True if a block of this kind may begin with the entry at `first`, which is there."""
    return kind == BLOCK_ENTRIES or (kind == BLOCK_MEMBERS and (<const entry_t *>first).op == OP_MEMBERS)


def seal(list entries not None, uint32_t count, uint64_t first_index, uint64_t first_zxid, int64_t time_ms,
         uint64_t previous, uint32_t kind=0) -> bytes:
    """Makes the block of `count` entries that stand in these pieces; kind 1 begins with OP_MEMBERS.

    Raises ValueError when they are not that many, too large, not of that kind, or run past the epoch's counter.
    """
    cdef const unsigned char[::1] piece
    cdef size_t size = sizeof(block_t)
    cdef bytes block
    cdef char *at
    cdef char *end
    cdef block_t *head
    for each in entries:
        size += len(each)
    if size > BLOCK_SIZE_MAX:
        raise ValueError(f"a block of {size} bytes is too large")
    if (first_zxid & 0xffffffff) + count > 0x100000000:
        raise ValueError(f"the counter of zxid {first_zxid:#x} ends before {count} entries")
    block = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(block) + sizeof(block_t)
    end = PyBytes_AS_STRING(block) + size
    for each in entries:
        piece = each
        if piece.shape[0] > end - at:
            raise ValueError("a piece has another length than it says")
        if piece.shape[0]:
            memcpy(at, &piece[0], piece.shape[0])
            at += piece.shape[0]
    head = <block_t *>PyBytes_AS_STRING(block)
    if count == 0 or entries_walk(head.entries, size - sizeof(block_t)) != count:
        raise ValueError(f"not {count} entries in {size - sizeof(block_t)} bytes")
    if not kind_fits(kind, head.entries):
        raise ValueError(f"these entries are no block of kind {kind}")
    memset(head, 0, sizeof(block_t))
    head.magic = BLOCK_MAGIC
    head.size = size
    head.first_index = first_index
    head.first_zxid = first_zxid
    head.time_ms = time_ms
    head.previous = previous
    head.count = count
    head.kind = kind
    head.checksum = xxh3_64_intdigest(memoryview(block)[CHECKED_FROM:])
    return block


cdef const char *why_no_block(const block_t *head, size_t size, uint64_t checksum) noexcept nogil:
    cdef int64_t walked
    if head.magic != BLOCK_MAGIC:
        return "magic"
    if head.size != size or head.size > BLOCK_SIZE_MAX:
        return "size"
    if head.checksum != checksum:
        return "checksum"
    if head.spare != 0:
        return "spare fields"
    if head.count == 0 or (head.first_zxid & UINT32_MAX) + head.count > <uint64_t>1 << 32:
        return "count"
    walked = entries_walk(head.entries, head.size - sizeof(block_t))
    if walked < 0:
        return "entry"
    if walked != head.count:
        return "count"
    if not kind_fits(head.kind, head.entries):
        return "kind"
    return NULL


def check(block):
    """Reads a block's head and checks all of it: BlockInfo.  Raises BlockDamaged."""
    cdef const unsigned char[::1] view = aligned(block)
    cdef const block_t *head
    cdef const char *reason
    if view.shape[0] < <Py_ssize_t>sizeof(block_t):
        raise BlockDamaged("size")
    head = <const block_t *>&view[0]
    checked = PyMemoryView_FromMemory(<char *>head + CHECKED_FROM, view.shape[0] - CHECKED_FROM, PyBUF_READ)
    reason = why_no_block(head, view.shape[0], xxh3_64_intdigest(checked))
    if reason is not NULL:
        raise BlockDamaged(reason.decode())
    return BlockInfo(
        head.first_index,
        head.first_index + head.count - 1,
        head.first_zxid,
        head.first_zxid + head.count - 1,
        head.time_ms,
        head.previous,
        head.checksum,
        head.count,
        head.size,
        head.kind,
    )


def block_checksum(block) -> int:
    """The checksum in a block's head: the next block's `previous`.  Raises ValueError when there is no head."""
    cdef const unsigned char[::1] view = aligned(block)
    if view.shape[0] < <Py_ssize_t>sizeof(block_t):
        raise ValueError(f"{view.shape[0]} bytes are no block")
    return (<const block_t *>&view[0]).checksum


def count_entries(entries, *, node_id=None, worker=None, bint reads=False) -> int:
    """Counts entries that came from a worker or from another node.

    With node_id or worker, they must all bear it.  With reads, they must be reads (LINK_READ), else writes.
    Raises ValueError when the bytes are not entries to the end, or an operation may not come from outside.
    """
    cdef const unsigned char[::1] view = aligned(entries)
    cdef const char *at
    cdef const char *end
    cdef const entry_t *entry
    cdef bint any_node = node_id is None
    cdef bint any_worker = worker is None
    cdef uint16_t the_node = 0 if any_node else node_id
    cdef uint16_t the_worker = 0 if any_worker else worker
    cdef bint is_allowed
    cdef int64_t count = 0
    if view.shape[0] == 0:
        return 0
    at = <const char *>&view[0]
    end = at + view.shape[0]
    while at < end:
        entry = entry_see(at, end)
        if entry is NULL:
            raise ValueError(f"entry {count}: its sizes do not fit")
        is_allowed = is_read(entry.op) if reads else may_come_from_outside(entry)
        if not is_allowed:
            raise ValueError(f"entry {count}: operation {entry.op} may not come from outside in this form")
        if not any_node and entry.node_id != the_node:
            raise ValueError(f"entry {count}: from node {entry.node_id} instead of {the_node}")
        if not any_worker and entry.worker != the_worker:
            raise ValueError(f"entry {count}: from worker {entry.worker} instead of {the_worker}")
        at += entry.size
        count += 1
    return count


def take_reconfigs(bytes entries not None, uint32_t count) -> tuple:
    """Takes the reconfigs out of entries that count_entries has counted: (the rest, its count, what was taken).

    The leader carries them out over several blocks; what its session wrote behind one is then behind a hole, and comes again."""
    cdef const char *at = PyBytes_AS_STRING(entries)
    cdef const char *end = at + len(entries)
    cdef const char *kept = at
    cdef const entry_t *entry
    taken: list[Entry] = []
    rest: list[bytes] = []
    while at < end:
        entry = entry_see(at, end)
        if entry is NULL:
            raise ValueError("not entries")
        if entry.op == OPCODE_RECONFIG:
            if at > kept:
                rest.append(kept[:at - kept])
            taken.append(as_entry(entry))
            kept = at + entry.size
        at += entry.size
    if not taken:
        return entries, count, taken
    if end > kept:
        rest.append(kept[:end - kept])
    return b"".join(rest), count - len(taken), taken


cdef object as_entry(const entry_t *entry):
    return Entry(
        op=entry.op,
        body=entry.body[:entry.body_size],
        session_id=entry.session_id,
        attach_zxid=entry.attach_zxid,
        serial=entry.serial,
        node_id=entry.node_id,
        worker=entry.worker,
        connection=entry.connection,
        cxid=entry.cxid,
    )


cdef bint may_come_from_outside(const entry_t *entry) noexcept nogil:
    """True for what a worker may ask for.  An epoch and an expiry (a close with serial 0) are the leader's own."""
    if entry.op == OP_CREATE_SESSION or entry.op == OP_ATTACH_SESSION:
        return entry.body_size >= SESSION_BODY_MIN
    if entry.op == OP_CLOSE_SESSION:
        return entry.body_size == 0 and entry.serial != 0
    if entry.serial == 0:
        return False
    return (
        entry.op == OPCODE_CREATE or entry.op == OPCODE_CREATE2 or entry.op == OPCODE_DELETE
        or entry.op == OPCODE_SET_DATA or entry.op == OPCODE_SYNC or entry.op == OPCODE_MULTI
        or entry.op == OPCODE_SET_ACL or entry.op == OPCODE_CREATE_CONTAINER or entry.op == OPCODE_CREATE_TTL
        or entry.op == OPCODE_RECONFIG or entry.op == OP_IDENTIFY
    )


def make_entry(int32_t op, bytes body=b"", uint64_t session_id=0, uint64_t attach_zxid=0, uint64_t serial=0,
               uint16_t node_id=0, uint16_t worker=0, uint32_t connection=0, int32_t cxid=0) -> bytes:
    """Makes one entry: for the leader's own (epoch, expiry) and for tests."""
    cdef size_t size = padded8(sizeof(entry_t) + len(body))
    cdef bytes made
    cdef entry_t *entry
    if size > BLOCK_SIZE_MAX - sizeof(block_t):
        raise ValueError(f"an entry of {size} bytes is too large")
    made = PyBytes_FromStringAndSize(NULL, size)
    entry = <entry_t *>PyBytes_AS_STRING(made)
    memset(entry, 0, size)
    entry.size = size
    entry.body_size = len(body)
    entry.op = op
    entry.cxid = cxid
    entry.session_id = session_id
    entry.attach_zxid = attach_zxid
    entry.serial = serial
    entry.node_id = node_id
    entry.worker = worker
    entry.connection = connection
    memcpy(entry.body, PyBytes_AS_STRING(body), len(body))
    return made


def entries(block) -> list:
    """Takes a block apart, for tests and tools.  Raises BlockDamaged."""
    cdef const unsigned char[::1] view = aligned(block)
    cdef const char *at
    cdef const char *end
    cdef const entry_t *entry
    check(view)
    at = <const char *>&view[0] + sizeof(block_t)
    end = <const char *>&view[0] + view.shape[0]
    taken = []
    while at < end:
        entry = <const entry_t *>at
        taken.append(as_entry(entry))
        at += entry.size
    return taken


cdef const unsigned char[::1] aligned(data):
    """The bytes, at an address that is a multiple of 8: they are read as structures."""
    cdef const unsigned char[::1] view = data
    if view.shape[0] and <size_t>&view[0] & 7:
        view = bytes(view)
    return view
