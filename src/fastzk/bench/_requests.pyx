"""Which request comes next, and its bytes.

    PREFIX/k00000042                      a key: made beforehand, read and set
    PREFIX/c00000007 00000003 00000042    one's own (no spaces): number of the run and thread, connection, how many before

Rules: nothing here is particular to fastzk; the frames are ZooKeeper's.  A request costs a copy of a frame made beforehand and
its digits.  What a run creates bears its number, so runs do not meet; a delete takes the oldest of what its connection created,
and where there is none, the request is a create.

Four modes: the mix, by weights; each key once, to make or to remove it; and everything of one's own once, to remove it."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from fastzk._core.layout cimport FZ_ASSERT, buffer_append, buffer_be32, buffer_free, buffer_room, store_be32
from libc.string cimport memcpy

# The names of what can be mixed, in the order of the kinds.
OPERATIONS = ("get", "set", "create", "exists", "children", "delete", "multi")
assert len(OPERATIONS) == MIX_KINDS

cdef enum:
    MODE_MIX
    MODE_MAKE_KEYS
    MODE_REMOVE_KEYS
    MODE_REMOVE_OWN
    NAME_DIGITS = 8
    KEYS_MAX = 100000000
    WEIGHT_MAX = 1 << 30

OPEN_ACL = b"\0\0\0\1" + b"\0\0\0\x1f" + b"\0\0\0\x05world" + b"\0\0\0\x06anyone"
ANY_VERSION = b"\xff\xff\xff\xff"
# The headers of a multi's parts and of its end: operation, whether it is the end, no error.
SET_DATA_PART = b"\0\0\0\x05\0\xff\xff\xff\xff"
MULTI_END = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff"

cdef char PAIRS[200]  # "00" to "99"
for _i in range(100):
    PAIRS[2 * _i] = 48 + _i // 10
    PAIRS[2 * _i + 1] = 48 + _i % 10


cdef inline void put_digits(char *at, uint32_t value) noexcept nogil:
    """Eight decimal digits."""
    cdef int i
    for i in range(NAME_DIGITS - 2, -2, -2):
        memcpy(at + i, &PAIRS[2 * (value % 100)], 2)
        value //= 100


cdef bytes sized(bytes text):
    """As jute writes a string or a buffer."""
    return len(text).to_bytes(4, "big") + text


@cython.final
cdef class Requests:
    """The endless row of requests of one thread."""

    def __cinit__(self, *, bytes prefix not None, uint32_t keys, bytes value not None, weights, uint32_t number,
                  uint32_t multi=5, bytes table not None=b""):
        """`table` has 2^n keys, each as often as it is to be drawn (uint32 in this machine's order); empty: all alike.
        Raises ValueError for what makes no sense."""
        if not 0 < keys <= KEYS_MAX or number >= KEYS_MAX or multi == 0:
            raise ValueError("requests need keys, a number of eight digits, and something in each multi")
        self.keys = keys
        self.number = number
        self.chance = 0x9e3779b97f4a7c15ULL * (<uint64_t>number + 1)
        self._use_table(table)
        self.mix(weights)
        key = prefix + b"/k" + b"0" * NAME_DIGITS
        own = prefix + b"/c" + b"0" * (3 * NAME_DIGITS)
        name_at = 16 + len(prefix) + 2
        created = sized(value) + OPEN_ACL + bytes(4)
        self._make_frame(KIND_GET, 4, sized(key) + b"\0", name_at)
        self._make_frame(KIND_SET, 5, sized(key) + sized(value) + ANY_VERSION, name_at)
        self._make_frame(KIND_CREATE, 1, sized(own) + created, name_at)
        self._make_frame(KIND_EXISTS, 3, sized(key) + b"\0", name_at)
        self._make_frame(KIND_CHILDREN, 8, sized(prefix) + b"\0", name_at, 0)
        self._make_frame(KIND_DELETE, 2, sized(own) + ANY_VERSION, name_at)
        part = SET_DATA_PART + sized(key) + sized(value) + ANY_VERSION
        self._make_frame(KIND_MULTI, 14, part * multi + MULTI_END, name_at + len(SET_DATA_PART), multi, len(part))
        self._make_frame(KIND_MAKE_KEY, 1, sized(key) + created, name_at)
        self._make_frame(KIND_REMOVE_KEY, 2, sized(key) + ANY_VERSION, name_at)

    def __dealloc__(self):
        cdef int kind
        for kind in range(KINDS):
            buffer_free(&self.frames[kind].bytes)

    cdef int _make_frame(self, int kind, uint32_t op, bytes fields, uint32_t name_at, uint32_t names=1,
                         uint32_t name_step=0) except -1:
        cdef frame_t *frame = &self.frames[kind]
        buffer_be32(&frame.bytes, <uint32_t>(8 + len(fields)))
        buffer_be32(&frame.bytes, 0)
        buffer_be32(&frame.bytes, op)
        buffer_append(&frame.bytes, PyBytes_AS_STRING(fields), len(fields))
        frame.name_at = name_at
        frame.names = names
        frame.name_step = name_step
        return 0

    cdef int _use_table(self, bytes table) except -1:
        size = len(table) // 4
        if table and (len(table) % 4 or size & (size - 1) or size < 2):
            raise ValueError(f"a table of {len(table)} bytes does not have 2^n keys")
        self.table = table
        self.drawn = <const uint32_t *>PyBytes_AS_STRING(table) if table else NULL
        self.drawn_shift = 64 - (size.bit_length() - 1)
        return 0

    def mix(self, weights):
        """From now on the operations come at random, each as often as its weight says.  Raises ValueError."""
        if len(weights) != MIX_KINDS or min(weights) < 0 or not 0 < sum(weights) < WEIGHT_MAX:
            raise ValueError(f"weights {list(weights)} are not one for each of {', '.join(OPERATIONS)}")
        self.weight = 0
        for kind in range(MIX_KINDS):
            self.weight += <uint32_t>weights[kind]
            self.upto[kind] = self.weight
        self.mode = MODE_MIX

    def make_keys(self):
        """From now on each key is created, once."""
        self.mode, self.swept = MODE_MAKE_KEYS, 0

    def remove_keys(self):
        """From now on each key is deleted, once."""
        self.mode, self.swept = MODE_REMOVE_KEYS, 0

    def remove_own(self):
        """From now on what was created here is deleted."""
        self.mode = MODE_REMOVE_OWN

    cdef uint64_t _random(self) noexcept nogil:
        self.chance ^= self.chance << 13
        self.chance ^= self.chance >> 7
        self.chance ^= self.chance << 17
        return self.chance

    cdef uint32_t _key(self) noexcept nogil:
        cdef uint64_t bits = self._random()
        if self.drawn != NULL:
            return self.drawn[bits >> self.drawn_shift]
        return <uint32_t>(((bits >> 32) * self.keys) >> 32)

    cdef int _choose(self, own_t *own) noexcept nogil:
        cdef uint32_t draw
        cdef int kind = 0
        if self.mode == MODE_MIX:
            draw = <uint32_t>(((self._random() >> 32) * self.weight) >> 32)
            while draw >= self.upto[kind]:
                kind += 1
            return KIND_CREATE if kind == KIND_DELETE and own.created == own.deleted else kind
        if self.mode == MODE_REMOVE_OWN:
            return KIND_DELETE if own.created != own.deleted else KIND_NOTHING
        if self.swept == self.keys:
            return KIND_NOTHING
        return KIND_MAKE_KEY if self.mode == MODE_MAKE_KEYS else KIND_REMOVE_KEY

    cdef int append(self, own_t *own, buffer_t *output, uint32_t xid) noexcept nogil:
        cdef int kind = self._choose(own)
        cdef frame_t *frame
        cdef uint32_t i
        cdef char *at
        if kind == KIND_NOTHING:
            return kind
        frame = &self.frames[kind]
        at = buffer_room(output, frame.bytes.size)
        memcpy(at, frame.bytes.data, frame.bytes.size)
        output.size += frame.bytes.size
        store_be32(at + 4, xid)
        at += frame.name_at
        if kind == KIND_CREATE or kind == KIND_DELETE:
            put_digits(at, self.number)
            put_digits(at + NAME_DIGITS, own.lane)
            if kind == KIND_CREATE:
                put_digits(at + 2 * NAME_DIGITS, own.created)
                own.created += 1
            else:
                FZ_ASSERT(own.deleted < own.created)
                put_digits(at + 2 * NAME_DIGITS, own.deleted)
                own.deleted += 1
        elif kind >= MIX_KINDS:
            put_digits(at, self.swept)
            self.swept += 1
        else:
            for i in range(frame.names):
                put_digits(at + i * frame.name_step, self._key())
        return kind
