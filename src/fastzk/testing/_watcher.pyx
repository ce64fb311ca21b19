"""A client that watches, and judges what it is told: compiled, so that millions of watches can be tried.

Rule: no socket: bytes of the server in, bytes for the server out.

    prefix/kNNNN        the znodes that all clients watch and set
    prefix/kNNNN/cNN    each writer's child of each, created and deleted in turn

One Watcher has watches of one kind on every znode, and perhaps writes: `window` writes are then always under way.

What a znode's Stat says is exact: `version` counts what happened to its data, and `cversion` what happened to its children.
So events can be counted against it, on each connection by itself:

| name | seen |
|---|---|
| missing | a read shows a change, and the event that the connection was to get for it has not come: it is late, or lost |
| doubled | an event came that no watch was there for, or more of them than changes |
| stale | a read after an event does not show the change yet |
| unsorted | an event at or below the zxid of an earlier reply (Z6), armed as of then or not, or zxids that fall (Z5) |
| strange | an event of another type or path than any watch could bring |
| refused | an error, or a reply to something else than was asked |

Lasting watches are now and then removed and asked for again, since the moment of arming is the delicate one.  A client alone
cannot know what had happened when its watch was armed, so it claims: at the zxid of that reply, the znode was at these
versions.  All clients' writes together say whether that is so: judge_claims()."""

from fastzk._core.layout cimport (
    buffer_append,
    buffer_be32,
    buffer_begin,
    buffer_consume,
    buffer_free,
    buffer_live,
    buffer_t,
    load_be32,
    load_be64,
)
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

cdef enum:
    KIND_DATA = 1
    KIND_CHILD = 2
    KIND_PERSISTENT = 3
    KIND_RECURSIVE = 4

    OP_CREATE = 1
    OP_DELETE = 2
    OP_EXISTS = 3
    OP_GET_DATA = 4
    OP_SET_DATA = 5
    OP_SYNC = 9
    OP_GET_CHILDREN2 = 12
    OP_REMOVE_WATCHES = 18
    OP_ADD_WATCH = 106

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4

    XID_EVENT = -1
    REPLY_HEAD = 16
    STAT_SIZE = 68
    STAT_MZXID = 8              # where in a Stat
    STAT_VERSION = 32
    STAT_CVERSION = 36
    STAT_PZXID = 60
    FRAME_MAX = 1 << 24
    KEY_DIGITS = 4
    KEYS_MAX = 10_000
    CHILD_DIGITS = 2
    NUMBER_MAX = 99
    EVENTS_BEFORE_REARM = 10    # of a lasting watch
    HOT_KEYS = 2
    WRITES_FOR_A_READ = 2       # one read of any znode to so many writes, or events

    MISSING = 0
    DOUBLED = 1
    STALE = 2
    UNSORTED = 3
    STRANGE = 4
    REFUSED = 5
    WRONGS = 6

NAMES = ("missing", "doubled", "stale", "unsorted", "strange", "refused")
VALUE = b"x" * 16
OPEN_ACL = b"\0\0\0\1" + b"\0\0\0\x1f" + b"\0\0\0\x05world" + b"\0\0\0\x06anyone"


ctypedef struct pending_t:
    int32_t xid
    int32_t op
    uint32_t key
    uint8_t is_watching         # a read that arms


ctypedef struct znode_state_t:
    uint8_t is_armed
    uint8_t is_busy             # a read or a change of its watch is under way
    uint8_t has_base            # lasting: version and cversion are known
    uint8_t has_child           # of this client
    uint32_t version            # when the watch was armed
    uint32_t cversion
    uint32_t data_events        # lasting: since the watch was armed
    uint32_t child_events
    uint64_t told_zxid          # of the last event
    uint64_t armed_zxid         # of the reply that armed it


ctypedef struct claim_t:
    uint64_t zxid
    uint32_t key
    uint32_t version
    uint32_t cversion


ctypedef struct change_t:
    uint64_t zxid
    uint32_t key
    uint32_t is_of_children


cdef class Watcher:
    """One connection's client and judge."""
    cdef int kind
    cdef bint is_lasting
    cdef bint is_stopped
    cdef bytes prefix
    cdef uint32_t keys
    cdef uint32_t window
    cdef uint32_t number
    cdef uint32_t writing       # writes under way
    cdef uint64_t chance
    cdef int32_t xid
    cdef uint64_t replied_zxid  # of the last reply
    cdef uint64_t told_zxid     # of the last event
    cdef readonly uint64_t events
    cdef readonly uint64_t requests
    cdef uint64_t wrongs[WRONGS]
    cdef readonly str first_wrong
    cdef znode_state_t *znodes
    cdef buffer_t arrived
    cdef buffer_t leaving
    cdef buffer_t pending       # pending_t, in the order they were asked
    cdef buffer_t claimed       # claim_t
    cdef buffer_t changed       # change_t, of its own writes

    def __cinit__(self, *, int kind, bytes prefix, uint32_t keys, uint32_t window, uint32_t number, uint64_t seed):
        if not KIND_DATA <= kind <= KIND_RECURSIVE or not 0 < keys <= KEYS_MAX or number > NUMBER_MAX:
            raise ValueError(f"a watcher of kind {kind}, {keys} znodes and number {number}")
        self.kind, self.prefix, self.keys, self.window, self.number = kind, prefix, keys, window, number
        self.is_lasting = kind == KIND_PERSISTENT or kind == KIND_RECURSIVE
        self.chance = 0x9e3779b97f4a7c15ULL * (seed + number + 1)
        self.first_wrong = ""
        self.znodes = <znode_state_t *>calloc(keys, sizeof(znode_state_t))
        if self.znodes == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.znodes)
        buffer_free(&self.arrived)
        buffer_free(&self.leaving)
        buffer_free(&self.pending)
        buffer_free(&self.claimed)
        buffer_free(&self.changed)

    # --- what is asked

    cdef uint32_t draw(self, uint32_t below) noexcept nogil:
        self.chance ^= self.chance << 13
        self.chance ^= self.chance >> 7
        self.chance ^= self.chance << 17
        return <uint32_t>((self.chance >> 20) % below)

    cdef uint32_t draw_key(self) noexcept nogil:
        """Half of all goes to a few znodes: what is delicate happens when much happens to one."""
        return self.draw(min(self.keys, <uint32_t>HOT_KEYS) if self.draw(2) else self.keys)

    cdef int ask(self, int32_t op, uint32_t key, bytes path, bytes rest, bint is_watching=False) except -1:
        """One request: its path, and what follows it."""
        cdef pending_t waiting
        self.xid = self.xid + 1 if self.xid < 0x7ffffffe else 1
        waiting.xid, waiting.op, waiting.key, waiting.is_watching = self.xid, op, key, is_watching
        buffer_append(&self.pending, &waiting, sizeof(waiting))
        buffer_be32(&self.leaving, <uint32_t>(12 + len(path) + len(rest)))
        buffer_be32(&self.leaving, <uint32_t>self.xid)
        buffer_be32(&self.leaving, <uint32_t>op)
        buffer_be32(&self.leaving, <uint32_t>len(path))
        buffer_append(&self.leaving, <const char *>path, len(path))
        buffer_append(&self.leaving, <const char *>rest, len(rest))
        return 0

    cdef bytes path_of(self, uint32_t key):
        return b"%b/k%04d" % (self.prefix, key)

    cdef int read(self, uint32_t key, bint is_watching) except -1:
        cdef int32_t op = OP_GET_CHILDREN2 if self.kind == KIND_CHILD else OP_EXISTS
        if self.kind == KIND_DATA and self.draw(2):
            op = OP_GET_DATA
        self.znodes[key].is_busy = True
        return self.ask(op, key, self.path_of(key), b"\1" if is_watching else b"\0", is_watching)

    cdef int arm(self, uint32_t key) except -1:
        """Asks for the znode's watch."""
        if not self.is_lasting:
            return self.read(key, True)
        self.znodes[key].is_busy = True
        self.ask(OP_ADD_WATCH, key, self.path_of(key), b"\0\0\0\0" if self.kind == KIND_PERSISTENT else b"\0\0\0\1")
        return self.read(key, False)

    cdef int write(self, uint32_t key) except -1:
        cdef znode_state_t *znode = &self.znodes[key]
        cdef bytes path = self.path_of(key)
        self.writing += 1
        if self.draw(2):
            return self.ask(OP_SET_DATA, key, path, len(VALUE).to_bytes(4, "big") + VALUE + b"\xff\xff\xff\xff")
        path = b"%b/c%02d" % (path, self.number)
        znode.has_child = not znode.has_child
        if znode.has_child:
            return self.ask(OP_CREATE, key, path, bytes(4) + OPEN_ACL + bytes(4))
        return self.ask(OP_DELETE, key, path, b"\xff\xff\xff\xff")

    cdef int read_any(self) except -1:
        """Now and then a read that nothing asked for: its znode is mostly armed, so it must show nothing new."""
        cdef uint32_t key = self.draw_key()
        if self.draw(WRITES_FOR_A_READ) == 0 and not self.znodes[key].is_busy:
            return self.read(key, not self.is_lasting and self.draw(2))
        return 0

    cdef int refill(self) except -1:
        while self.writing < self.window and not self.is_stopped:
            self.write(self.draw_key())
            self.read_any()
        return 0

    # --- what is told

    cdef int complain(self, int wrong, uint32_t key, str what) except -1:
        self.wrongs[wrong] += 1
        if not self.first_wrong:
            znode = self.znodes[key]
            self.first_wrong = (
                f"{NAMES[wrong]}: {what}; watcher {self.number} of kind {self.kind}, znode {key}: {znode}, "
                f"last reply at {self.replied_zxid:#x}, last event at {self.told_zxid:#x}")
        return 0

    cdef int take_event(self, const char *frame, uint32_t size) except -1:
        cdef uint64_t zxid = load_be64(frame + 4)
        cdef int32_t event = <int32_t>load_be32(frame + 16) if size >= 28 else 0
        cdef uint32_t path_size = load_be32(frame + 24) if size >= 28 else 0
        cdef size_t begin = len(self.prefix)
        cdef const char *path = frame + 28
        cdef bint is_child = path_size == begin + 2 + KEY_DIGITS + 2 + CHILD_DIGITS
        cdef uint32_t key = 0
        cdef znode_state_t *znode
        cdef int i
        self.events += 1
        if size != 28 + path_size or not (is_child or path_size == begin + 2 + KEY_DIGITS) \
                or memcmp(path, <const char *>self.prefix, begin) != 0:
            return self.complain(STRANGE, 0, f"event {frame[:size]!r}")
        for i in range(KEY_DIGITS):
            key = 10 * key + <uint32_t>(path[begin + 2 + i] - 48)
        if key >= self.keys:
            return self.complain(STRANGE, 0, f"event {frame[:size]!r}")
        znode = &self.znodes[key]
        if zxid <= self.replied_zxid or zxid < self.told_zxid:
            self.complain(UNSORTED, key, f"event {event} at {zxid:#x}")
        self.told_zxid = znode.told_zxid = zxid
        if not self.is_expected(event, is_child):
            return self.complain(STRANGE, key, f"event {event} of {path[:path_size]!r}")
        if not znode.is_armed:
            self.complain(DOUBLED, key, f"event {event} at {zxid:#x} without a watch")
        if self.is_lasting:
            znode.data_events += event == DATA_CHANGED
            znode.child_events += event != DATA_CHANGED
            if (znode.data_events + znode.child_events) % EVENTS_BEFORE_REARM == 0 and not znode.is_busy:
                znode.is_busy = True
                self.ask(OP_REMOVE_WATCHES, key, self.path_of(key), b"\0\0\0\4" if self.kind == KIND_PERSISTENT else b"\0\0\0\5")
        else:
            znode.is_armed = False
        if not znode.is_busy:
            self.read(key, not self.is_lasting)
        return self.read_any()

    cdef bint is_expected(self, int32_t event, bint is_child) noexcept nogil:
        if self.kind == KIND_DATA:
            return event == DATA_CHANGED and not is_child
        if self.kind == KIND_CHILD:
            return event == CHILDREN_CHANGED and not is_child
        if self.kind == KIND_PERSISTENT:
            return (event == DATA_CHANGED or event == CHILDREN_CHANGED) and not is_child
        return event == CREATED or event == DELETED if is_child else event == DATA_CHANGED

    cdef int take_reply(self, const char *frame, uint32_t size) except -1:
        cdef int32_t xid = <int32_t>load_be32(frame)
        cdef uint64_t zxid = load_be64(frame + 4)
        cdef int32_t err = <int32_t>load_be32(frame + 12)
        cdef pending_t asked
        if buffer_live(&self.pending) == 0:
            return self.complain(REFUSED, 0, f"reply to {xid}, which was not asked")
        asked = (<pending_t *>buffer_begin(&self.pending))[0]
        buffer_consume(&self.pending, sizeof(pending_t))
        self.requests += 1
        if xid != asked.xid or err != 0:
            self.complain(REFUSED, asked.key, f"reply to {xid} with error {err}; the request was {asked}")
        if zxid < self.replied_zxid or zxid < self.told_zxid:
            self.complain(UNSORTED, asked.key, f"reply at {zxid:#x}")
        self.replied_zxid = zxid
        if asked.op == OP_EXISTS or asked.op == OP_GET_DATA or asked.op == OP_GET_CHILDREN2:
            if err == 0 and size >= REPLY_HEAD + STAT_SIZE:
                self.take_read(asked, zxid, frame + size - STAT_SIZE)
        elif asked.op == OP_ADD_WATCH:
            self.znodes[asked.key].is_armed = True
            self.znodes[asked.key].has_base = False
            self.znodes[asked.key].data_events = self.znodes[asked.key].child_events = 0
            self.znodes[asked.key].armed_zxid = zxid
        elif asked.op == OP_REMOVE_WATCHES:
            self.znodes[asked.key].is_armed = False
            self.arm(asked.key)
        elif asked.op != OP_SYNC:
            self.writing -= 1
            self.take_written(asked, zxid)
        return 0

    cdef int take_written(self, pending_t asked, uint64_t zxid) except -1:
        cdef change_t change
        change.zxid, change.key, change.is_of_children = zxid, asked.key, asked.op != OP_SET_DATA
        buffer_append(&self.changed, &change, sizeof(change))
        return 0

    cdef int take_read(self, pending_t asked, uint64_t zxid, const char *stat) except -1:
        cdef znode_state_t *znode = &self.znodes[asked.key]
        cdef uint32_t version = load_be32(stat + STAT_VERSION)
        cdef uint32_t cversion = load_be32(stat + STAT_CVERSION)
        cdef uint64_t changed = max(load_be64(stat + STAT_MZXID), load_be64(stat + STAT_PZXID))
        znode.is_busy = False
        if changed < znode.told_zxid:
            self.complain(STALE, asked.key, f"read at {zxid:#x} shows changes up to {changed:#x}")
        if self.is_lasting:
            if not znode.has_base:
                self.claim(asked.key, version, cversion)
            self.compare(asked.key, version - znode.version, znode.data_events, "of its data")
            self.compare(asked.key, cversion - znode.cversion, znode.child_events, "of its children")
            return 0
        if znode.is_armed:
            if self.kind == KIND_DATA:
                self.compare(asked.key, version - znode.version, 0, "of its data")
            else:
                self.compare(asked.key, cversion - znode.cversion, 0, "of its children")
        if asked.is_watching:
            znode.is_armed = True
            znode.version, znode.cversion, znode.armed_zxid = version, cversion, zxid
        elif not znode.is_armed:
            self.read(asked.key, True)
        return 0

    cdef int claim(self, uint32_t key, uint32_t version, uint32_t cversion) except -1:
        """The first read since a lasting watch was armed: all that has changed since must have been told."""
        cdef znode_state_t *znode = &self.znodes[key]
        cdef claim_t claim
        znode.version = version - znode.data_events
        znode.cversion = cversion - znode.child_events
        znode.has_base = True
        claim.zxid, claim.key, claim.version, claim.cversion = znode.armed_zxid, key, znode.version, znode.cversion
        buffer_append(&self.claimed, &claim, sizeof(claim))
        return 0

    cdef int compare(self, uint32_t key, uint32_t changes, uint32_t events, str what) except -1:
        """As many changes since the watch began to count as events."""
        if <int32_t>(changes - events) > 0:
            self.complain(MISSING, key, f"{changes} changes {what}, {events} events")
        elif changes != events:
            self.complain(DOUBLED, key, f"{changes} changes {what}, {events} events")
        return 0

    # --- Python's face

    def begin(self) -> None:
        for key in range(self.keys):
            self.arm(key)
        self.refill()

    def take(self, bytes data not None) -> None:
        cdef uint32_t size
        cdef const char *frame
        buffer_append(&self.arrived, <const char *>data, len(data))
        while buffer_live(&self.arrived) >= 4:
            size = load_be32(buffer_begin(&self.arrived))
            if not REPLY_HEAD <= size <= FRAME_MAX:
                raise ValueError(f"a frame of {size} bytes")
            if buffer_live(&self.arrived) < 4 + <size_t>size:
                break
            frame = buffer_begin(&self.arrived) + 4
            if <int32_t>load_be32(frame) == XID_EVENT:
                self.take_event(frame, size)
            else:
                self.take_reply(frame, size)
            buffer_consume(&self.arrived, 4 + <size_t>size)
        self.refill()

    def output(self) -> bytes:
        return buffer_begin(&self.leaving)[:buffer_live(&self.leaving)] if buffer_live(&self.leaving) else b""

    def sent(self, size: int) -> None:
        buffer_consume(&self.leaving, size)

    def stop(self) -> None:
        self.is_stopped = True

    def finish(self) -> None:
        self.ask(OP_SYNC, 0, self.prefix, b"")
        for key in range(self.keys):
            self.read(key, False)

    @property
    def claims(self) -> list[tuple[int, int, int, int]]:
        claims = <claim_t *>buffer_begin(&self.claimed)
        return [(claims[i].zxid, claims[i].key, claims[i].version, claims[i].cversion)
                for i in range(buffer_live(&self.claimed) // sizeof(claim_t))]

    @property
    def changes(self) -> list[tuple[int, int, bool]]:
        changes = <change_t *>buffer_begin(&self.changed)
        return [(changes[i].zxid, changes[i].key, changes[i].is_of_children != 0)
                for i in range(buffer_live(&self.changed) // sizeof(change_t))]

    @property
    def is_idle(self) -> bool:
        return buffer_live(&self.pending) == 0

    @property
    def wrong(self) -> dict[str, int]:
        return {NAMES[i]: self.wrongs[i] for i in range(WRONGS) if self.wrongs[i]}
