"""The loops of the arena's torture: one writer that never rests, and readers that check every word they are given.

Everything that is stored follows from something else that is read with it, so that a read mixed from two states shows:

    /t/l, /t/r      pair i is a child of exactly one of the two, and moves between them within one write; the data of the
                    two is the sum of the hashes of their children's names, so a listing can be checked too
    its data        words made from its path, its version and its size
    its Stat        time = 3 * zxid + 1; a znode of version 0 was not modified since it was created
    /t/e            session k exists exactly while its three ephemerals do, which belong to it
    /t/f            fillers, for the index to split its buckets under the readers' feet
    the header      index = 2 * zxid, time = 3 * zxid + 1; the zxid never falls

Rule: for tests only."""

from fastzk._core.arena cimport (
    Arena,
    arena_read_begin,
    arena_read_valid,
    arena_see,
    arena_t,
    arena_write_begin,
    arena_write_end,
    spin_pause,
)
from fastzk._core.layout cimport (
    FZ_ASSERT,
    buffer_begin,
    buffer_clear,
    buffer_free,
    buffer_live,
    buffer_t,
    hash_bytes,
    load_be32,
    load_be64,
    mix64,
    ref_t,
    session_t,
    store_be64,
    znode_t,
)
from fastzk._core.tree cimport (
    acl_intern,
    session_create,
    session_find,
    session_remove,
    tree_children,
    tree_create,
    tree_data,
    tree_delete,
    tree_find,
    tree_judge_delete,
    tree_parent,
    tree_see,
    tree_set_data,
    tree_stat,
)
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef enum:
    PAIRS = 400
    SESSIONS = 16
    EPHEMERALS = 3
    PATH_ROOM = 96
    DATA_ROOM = 16384

    # What a read can be wrong in.
    RIGHT = 0
    WRONG_HEADER = 1            # zxid, index and time do not belong together, or the zxid fell
    WRONG_PLACE = 2             # a pair was found twice, or not at all
    WRONG_STAT = 3
    WRONG_DATA = 4
    WRONG_LIST = 5              # the names are not those that the parent's data is the sum of
    WRONG_SESSION = 6           # a session without its ephemerals, or they without it
    WRONG_BOUNDS = 7            # something led out of the heap

NAMES = ("right", "header", "place", "stat", "data", "list", "session", "bounds")


cdef struct reader_t:
    uint64_t random
    uint64_t zxid               # of the last valid read
    uint64_t tries[8]           # valid reads by what was wrong in them; [0]: nothing
    uint64_t torn[8]            # the same of reads that lost their race, and were therefore not to be believed
    buffer_t out                # what was read last
    uint64_t read_zxid          # and with it
    uint64_t read_index
    uint64_t read_time_ms


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    state[0] += <uint64_t>0x9e3779b97f4a7c15
    return mix64(state[0], <uint64_t>0xbf58476d1ce4e5b9)


cdef uint32_t write_path(char *to, char kind, uint32_t number) noexcept nogil:
    """/t/<kind>/<digits><as many x as the number says>; sizes differ so that blocks change owners of other kinds."""
    cdef uint32_t size = 5
    cdef uint32_t padding = number % 37
    cdef uint32_t left = number
    to[0] = to[2] = c"/"
    to[1] = c"t"
    to[3] = kind
    to[4] = c"/"
    while True:
        to[size] = <char>(c"0" + left % 10)
        size += 1
        left //= 10
        if left == 0:
            break
    memset(to + size, c"x", padding)
    return size + padding


cdef inline uint64_t data_seed(const char *path, uint32_t size, int32_t version, uint32_t data_size) noexcept nogil:
    return hash_bytes(path, size, <uint64_t><uint32_t>version << 32 | data_size)


cdef void fill_data(char *to, uint32_t size, uint64_t seed) noexcept nogil:
    cdef uint64_t word
    cdef uint32_t at = 0
    while at + 8 <= size:
        word = seed + at * <uint64_t>0x9e3779b97f4a7c15
        memcpy(to + at, &word, 8)
        at += 8
    memset(to + at, <uint8_t>seed, size - at)


cdef bint is_data_right(const char *data, uint32_t size, uint64_t seed) noexcept nogil:
    cdef uint64_t difference = 0
    cdef uint64_t word
    cdef uint32_t at = 0
    while at + 8 <= size:
        memcpy(&word, data + at, 8)
        difference |= word ^ (seed + at * <uint64_t>0x9e3779b97f4a7c15)
        at += 8
    while at < size:
        difference |= <uint8_t>data[at] ^ <uint8_t>seed
        at += 1
    return difference == 0


# The writer.

cdef class Writer:
    """Changes the arena at full speed until another process writes a byte other than 0 to `stop`."""
    cdef Arena arena
    cdef arena_t *a
    cdef uint64_t random
    cdef uint64_t zxid
    cdef uint64_t sums[2]       # of the names' hashes in /t/l and /t/r
    cdef uint8_t sides[PAIRS]
    cdef uint8_t is_open[SESSIONS]
    cdef uint32_t fillers
    cdef uint32_t fillers_max
    cdef char *data
    cdef const char *vector
    cdef object _vector

    def __cinit__(self, Arena arena, uint64_t seed, uint32_t fillers_max):
        self.arena = arena
        self.a = &arena.arena
        self.random = seed
        self.fillers_max = fillers_max
        self._vector = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
        self.vector = self._vector
        self.data = <char *>malloc(DATA_ROOM)
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)

    def prepare(self) -> None:
        """Makes what every reader relies on, before the first of them starts."""
        cdef uint32_t i
        for path in (b"/t", b"/t/l", b"/t/r", b"/t/e", b"/t/f"):
            self.begin()
            self.create(path, <uint32_t>len(path), NULL, 0, 0)
            self.end()
        self.begin()
        for i in range(<uint32_t>PAIRS):
            self.create_pair(i, i & 1)
        self.set_sums()
        self.end()

    def run(self, const uint8_t[::1] stop, uint32_t pause_turns) -> int:
        """Gives the number of writes made; between two of them it rests for up to `pause_turns` turns."""
        cdef const uint8_t *flag = &stop[0]
        cdef uint64_t before = self.zxid
        cdef uint32_t turns
        with nogil:
            while not (<const volatile uint8_t *>flag)[0]:
                self.write()
                turns = <uint32_t>(next_random(&self.random) % (pause_turns + 1))
                while turns:
                    spin_pause()
                    turns -= 1
        return self.zxid - before

    cdef void write(self) noexcept nogil:
        cdef uint64_t dice = next_random(&self.random) % 100
        self.begin()
        if dice < 45:
            self.change_pair(<uint32_t>(next_random(&self.random) % PAIRS))
        elif dice < 70:
            self.move_pair(<uint32_t>(next_random(&self.random) % PAIRS))
        elif dice < 80:
            self.toggle_session(<uint32_t>(next_random(&self.random) % SESSIONS))
        elif self.fillers < self.fillers_max:
            self.add_filler()
        self.end()

    cdef void begin(self) noexcept nogil:
        self.zxid += 1
        arena_write_begin(self.a)

    cdef void end(self) noexcept nogil:
        arena_write_end(self.a, self.zxid, self.zxid * 2, self.zxid * 3 + 1)

    cdef void create(self, const char *path, uint32_t size, const char *data, uint32_t data_size,
                     uint64_t owner) noexcept nogil:
        cdef ref_t ref
        cdef ref_t acl = acl_intern(self.a, self.vector, 27)
        cdef int err = tree_create(self.a, tree_parent(self.a, path, size), path, size, data, data_size, acl, owner,
                                   self.zxid, <long long>(self.zxid * 3 + 1), &ref)
        FZ_ASSERT(err == 0)

    cdef void set_data(self, const char *path, uint32_t size, const char *data, uint32_t data_size) noexcept nogil:
        cdef int err = tree_set_data(self.a, tree_find(self.a, path, size), data, data_size, self.zxid,
                                     <long long>(self.zxid * 3 + 1))
        FZ_ASSERT(err == 0)

    cdef void delete(self, const char *path, uint32_t size) noexcept nogil:
        cdef ref_t ref = tree_find(self.a, path, size)
        FZ_ASSERT(ref != 0 and tree_judge_delete(self.a, ref, -1) == 0)
        tree_delete(self.a, ref, self.zxid)

    cdef void create_pair(self, uint32_t i, uint8_t side) noexcept nogil:
        cdef char path[PATH_ROOM]
        cdef uint32_t size = write_path(path, c"r" if side else c"l", i)
        cdef uint32_t data_size = self.some_size()
        fill_data(self.data, data_size, data_seed(path, size, 0, data_size))
        self.create(path, size, self.data, data_size, 0)
        self.sides[i] = side
        self.sums[side] += hash_bytes(path + 5, size - 5, 1)

    cdef uint32_t some_size(self) noexcept nogil:
        cdef uint64_t random = next_random(&self.random)
        cdef uint32_t dice = <uint32_t>(random & 15)
        random >>= 8
        return <uint32_t>(random % (64 if dice < 8 else 1024 if dice < 15 else DATA_ROOM))

    cdef void set_sums(self) noexcept nogil:
        cdef char data[8]
        store_be64(data, self.sums[0])
        self.set_data(b"/t/l", 4, data, 8)
        store_be64(data, self.sums[1])
        self.set_data(b"/t/r", 4, data, 8)

    cdef void change_pair(self, uint32_t i) noexcept nogil:
        cdef char path[PATH_ROOM]
        cdef uint32_t size = write_path(path, c"r" if self.sides[i] else c"l", i)
        cdef uint32_t data_size = self.some_size()
        cdef const znode_t *znode = tree_see(self.a, tree_find(self.a, path, size))
        FZ_ASSERT(znode != NULL)
        fill_data(self.data, data_size, data_seed(path, size, znode.version + 1, data_size))
        self.set_data(path, size, self.data, data_size)

    cdef void move_pair(self, uint32_t i) noexcept nogil:
        cdef char path[PATH_ROOM]
        cdef uint8_t side = self.sides[i]
        cdef uint32_t size = write_path(path, c"r" if side else c"l", i)
        self.delete(path, size)
        self.sums[side] -= hash_bytes(path + 5, size - 5, 1)
        self.create_pair(i, 1 - side)
        self.set_sums()

    cdef void toggle_session(self, uint32_t k) noexcept nogil:
        cdef char path[PATH_ROOM]
        cdef uint8_t password[16]
        cdef uint64_t session_id = <uint64_t>1 << 56 | (k + 1)
        cdef uint32_t size
        cdef uint32_t j
        cdef ref_t ref
        if self.is_open[k]:
            for j in range(<uint32_t>EPHEMERALS):
                size = write_path(path, c"e", k * EPHEMERALS + j)
                self.delete(path, size)
            session_remove(self.a, session_find(self.a, session_id))
        else:
            memset(password, <int>k, sizeof(password))
            ref = session_create(self.a, session_id, k, password, self.zxid, k)
            FZ_ASSERT(ref != 0)
            for j in range(<uint32_t>EPHEMERALS):
                size = write_path(path, c"e", k * EPHEMERALS + j)
                self.create(path, size, NULL, 0, session_id)
        self.is_open[k] = not self.is_open[k]

    cdef void add_filler(self) noexcept nogil:
        cdef char path[PATH_ROOM]
        self.create(path, write_path(path, c"f", self.fillers), NULL, 0, 0)
        self.fillers += 1


# The readers.

def read_many(Arena arena, uint64_t reads, uint64_t seed, bint is_checked) -> dict[str, object]:
    """Makes `reads` reads that won their race, and says what was wrong in them, and in those that lost it.

    is_checked False: believes every read, as a reader would that forgot arena_read_valid; then it must find wrongs."""
    cdef reader_t r
    cdef arena_t *a = &arena.arena
    cdef uint64_t done = 0
    cdef uint64_t spun = 0
    cdef uint64_t sequence
    cdef uint64_t dice
    cdef bint is_valid
    cdef int wrong
    memset(&r, 0, sizeof(r))
    r.random = seed
    with nogil:
        while done < reads:
            sequence = arena_read_begin(a)
            if is_checked and sequence & 1:
                spun += 1
                continue
            buffer_clear(&r.out)
            dice = next_random(&r.random)
            if dice % 100 < 80:
                wrong = read_pair(a, &r, sequence, <uint32_t>(dice >> 32) % PAIRS, &is_valid)
            elif dice % 100 < 95:
                wrong = read_session(a, &r, sequence, <uint32_t>(dice >> 32) % SESSIONS, &is_valid)
            else:
                wrong = read_list(a, &r, sequence, dice >> 32 & 1, &is_valid)
            if not is_valid and is_checked:
                r.torn[wrong] += 1
                continue
            done += 1
            if wrong == RIGHT:
                wrong = check_header(&r)
            r.tries[wrong] += 1
        buffer_free(&r.out)
    return {
        "reads": done,
        "right": r.tries[RIGHT],
        "wrong": {NAMES[i]: r.tries[i] for i in range(1, 8) if r.tries[i]},
        "waited": spun,
        "lost": sum(r.torn[i] for i in range(8)),
        "torn": {NAMES[i]: r.torn[i] for i in range(1, 8) if r.torn[i]},
        "last_zxid": r.zxid,
    }


cdef bint finish(arena_t *a, reader_t *r, uint64_t sequence) noexcept nogil:
    """The end of a read: the header's words, and whether all of it may be believed."""
    r.read_zxid = a.header.applied_zxid
    r.read_index = a.header.applied_index
    r.read_time_ms = a.header.applied_time_ms
    return arena_read_valid(a, sequence)


cdef int check_header(reader_t *r) noexcept nogil:
    if r.read_zxid < r.zxid or r.read_index != 2 * r.read_zxid or r.read_time_ms != 3 * r.read_zxid + 1:
        return WRONG_HEADER
    r.zxid = r.read_zxid
    return RIGHT


cdef int read_pair(arena_t *a, reader_t *r, uint64_t sequence, uint32_t i, bint *is_valid) noexcept nogil:
    cdef char left_path[PATH_ROOM]
    cdef char right_path[PATH_ROOM]
    cdef uint32_t left_size = write_path(left_path, c"l", i)
    cdef uint32_t right_size = write_path(right_path, c"r", i)
    cdef ref_t left = tree_find(a, left_path, left_size)
    cdef ref_t right = tree_find(a, right_path, right_size)
    cdef const znode_t *znode = NULL
    cdef int err = -1
    if left or right:
        znode = tree_see(a, left if left else right)
    if znode != NULL:
        tree_stat(znode, &r.out)
        err = tree_data(a, znode, &r.out)
    is_valid[0] = finish(a, r, sequence)
    if (left == 0) == (right == 0):
        return WRONG_PLACE
    if err:
        return WRONG_BOUNDS
    if left:
        return check_pair(r, left_path, left_size)
    return check_pair(r, right_path, right_size)


cdef int check_pair(reader_t *r, const char *path, uint32_t path_size) noexcept nogil:
    cdef const char *stat = buffer_begin(&r.out)
    cdef uint64_t czxid = load_be64(stat)
    cdef uint64_t mzxid = load_be64(stat + 8)
    cdef int32_t version = <int32_t>load_be32(stat + 32)
    cdef uint32_t size = load_be32(stat + 68)
    if load_be64(stat + 16) != czxid * 3 + 1 or load_be64(stat + 24) != mzxid * 3 + 1 or load_be64(stat + 60) != czxid:
        return WRONG_STAT
    if (mzxid == czxid) != (version == 0) or mzxid < czxid or mzxid > r.read_zxid or version < 0:
        return WRONG_STAT
    if load_be32(stat + 36) or load_be32(stat + 40) or load_be64(stat + 44) or load_be32(stat + 56):
        return WRONG_STAT                        # no children, no ACL set, no owner
    if load_be32(stat + 52) != size or buffer_live(&r.out) != 72 + <size_t>size:
        return WRONG_DATA
    if not is_data_right(stat + 72, size, data_seed(path, path_size, version, size)):
        return WRONG_DATA
    return RIGHT


cdef int read_session(arena_t *a, reader_t *r, uint64_t sequence, uint32_t k, bint *is_valid) noexcept nogil:
    cdef char path[PATH_ROOM]
    cdef uint64_t session_id = <uint64_t>1 << 56 | (k + 1)
    cdef ref_t ref = session_find(a, session_id)
    cdef const session_t *session
    cdef const znode_t *znode
    cdef uint32_t there = 0
    cdef uint32_t owned = 0
    cdef uint64_t zxid = 0
    cdef uint32_t j
    for j in range(<uint32_t>EPHEMERALS):
        znode = tree_see(a, tree_find(a, path, write_path(path, c"e", k * EPHEMERALS + j)))
        if znode != NULL:
            there += 1
            zxid = znode.czxid
            owned += znode.ephemeral_owner == session_id
    if ref:
        session = <const session_t *>arena_see(a, ref, sizeof(session_t))
        if session != NULL and session.ephemeral_count == EPHEMERALS and session.attach_zxid == zxid:
            owned += session.password[5] == k
    is_valid[0] = finish(a, r, sequence)
    if ref == 0:
        return RIGHT if there == 0 else WRONG_SESSION
    return RIGHT if there == EPHEMERALS and owned == EPHEMERALS + 1 else WRONG_SESSION


cdef int read_list(arena_t *a, reader_t *r, uint64_t sequence, bint side, bint *is_valid) noexcept nogil:
    cdef const znode_t *znode = tree_see(a, tree_find(a, b"/t/r" if side else b"/t/l", 4))
    cdef int err = -1
    if znode != NULL:
        tree_stat(znode, &r.out)
        err = tree_data(a, znode, &r.out)
        if not err:
            err = tree_children(a, znode, sequence, &r.out)
    is_valid[0] = finish(a, r, sequence)
    if znode == NULL:
        return WRONG_PLACE
    if err:
        return WRONG_BOUNDS
    return check_list(r)


cdef int check_list(reader_t *r) noexcept nogil:
    cdef const char *stat = buffer_begin(&r.out)
    cdef size_t size = buffer_live(&r.out)
    cdef uint32_t count = load_be32(stat + 56)
    cdef uint32_t cversion = load_be32(stat + 36)
    cdef size_t at = 84                          # Stat, the size of the data, the data, the count of names
    cdef uint64_t total = 0
    cdef uint32_t name_size
    cdef uint32_t _i
    if load_be32(stat + 52) != 8 or load_be32(stat + 68) != 8 or size < at:
        return WRONG_DATA
    if (cversion + count) & 1 or load_be64(stat + 60) != load_be64(stat + 8):
        return WRONG_STAT
    if load_be32(stat + 80) != count:
        return WRONG_LIST
    for _i in range(count):
        if size - at < 4:
            return WRONG_LIST
        name_size = load_be32(stat + at)
        at += 4
        if name_size > size - at:
            return WRONG_LIST
        total += hash_bytes(stat + at, name_size, 1)
        at += name_size
    if at != size or total != load_be64(stat + 72):
        return WRONG_LIST
    return RIGHT
