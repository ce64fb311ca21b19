"""One worker's watches: who waits for which path.

    paths   -> record of a path -> a list of its watches for each kind       (fire: by path)
    buckets -> watches by path and connection, of all kinds                  (arm, check, remove: what is there already?)
    owners  -> list of a connection's watches                                (drop: by connection)

Each watch_t (40 bytes) is in one list of each of the three.  Watches live in chunks that never move and are named by
their number, 4 bytes instead of 8 in every link.  Memory that was given back is used again and never returned to the
system: a worker that once had a million watches may have them again.

A change walks up the parents of its path only while somebody has a recursive watch, and only where a path that has one may
be; so what it costs without them has not grown.

Rule: no record of a path without a watch.  Rule: nothing is allocated while firing, so an event cannot be lost to a
lack of memory."""

from fastzk._core.layout cimport FZ_ASSERT, mix64
from fastzk._core.paths cimport PATH_SIZE_MAX
from fastzk._core.watch_paths cimport (
    path_add,
    path_at,
    path_find,
    path_is_watched,
    path_remove,
    paths_bytes,
    paths_free,
    paths_init,
    watched_path_t,
)
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

cdef enum:
    CHUNK_WATCHES = 1024
    BUCKETS_FIRST = 64
    PER_BUCKET_MAX = 2
    CONNECTION_MAX = 0x3ffffffe
    LIST_WATCHES = 4096         # what is looked at for one part of a listing: a millisecond or two

    # Kinds as places in lists: a kind minus one.
    DATA = 0
    CHILD = 1
    PERSISTENT = 2
    RECURSIVE = 3

    # Tables as bits.
    IN_DATA = 1
    IN_CHILD = 2


# --- life and memory -----------------------------------------------------------------------------------------------

cdef watches_t *watches_new(uint64_t seed) except NULL:
    cdef watches_t *w = <watches_t *>calloc(1, sizeof(watches_t))
    if w == NULL:
        raise MemoryError
    w.buckets = <uint32_t *>calloc(BUCKETS_FIRST, sizeof(uint32_t))
    w.mask = BUCKETS_FIRST - 1
    if not paths_init(&w.paths, seed) or w.buckets == NULL:
        watches_delete(w)
        raise MemoryError
    return w


cdef void watches_delete(watches_t *w) noexcept nogil:
    cdef uint32_t i
    paths_free(&w.paths)
    for i in range(w.chunk_count):
        free(w.chunks[i])
    free(w.chunks)
    free(w.buckets)
    free(w.owners)
    free(w.fired)
    free(w)


cdef inline watch_t *watch_at(const watches_t *w, uint32_t number) noexcept nogil:
    return &w.chunks[number // CHUNK_WATCHES][number % CHUNK_WATCHES]


cdef bint watch_room(watches_t *w) noexcept nogil:
    """Makes sure that there is a free watch; False: no memory."""
    cdef watch_t **chunks
    cdef watch_t *chunk
    cdef uint32_t i, number
    if w.first_free:
        return True
    if w.chunk_count == 0xffffffffu // CHUNK_WATCHES:
        return False
    if w.chunk_count == w.chunk_room:
        chunks = <watch_t **>realloc(w.chunks, (w.chunk_room * 2 + 8) * sizeof(watch_t *))
        if chunks == NULL:
            return False
        w.chunks = chunks
        w.chunk_room = w.chunk_room * 2 + 8
    chunk = <watch_t *>malloc(CHUNK_WATCHES * sizeof(watch_t))
    if chunk == NULL:
        return False
    w.chunks[w.chunk_count] = chunk
    for i in range(<uint32_t>CHUNK_WATCHES):
        number = w.chunk_count * CHUNK_WATCHES + CHUNK_WATCHES - 1 - i
        if number:                                  # number 0 is "none"
            chunk[CHUNK_WATCHES - 1 - i].path = 0
            chunk[CHUNK_WATCHES - 1 - i].hash_next = w.first_free
            w.first_free = number
    w.chunk_count += 1
    return True


cdef bint owner_room(watches_t *w, int32_t connection) noexcept nogil:
    """Makes sure that `connection` has its place in `owners` and in `fired`; False: no memory."""
    cdef uint32_t room = w.owner_room if w.owner_room else 64
    cdef watch_owner_t *owners
    cdef int32_t *fired
    FZ_ASSERT(connection >= 0 and connection <= CONNECTION_MAX)
    if <uint32_t>connection < w.owner_room:
        return True
    while room <= <uint32_t>connection:
        room *= 2
    owners = <watch_owner_t *>realloc(w.owners, <size_t>room * sizeof(watch_owner_t))
    if owners == NULL:
        return False
    w.owners = owners
    memset(owners + w.owner_room, 0, <size_t>(room - w.owner_room) * sizeof(watch_owner_t))
    fired = <int32_t *>realloc(w.fired, <size_t>room * sizeof(int32_t))
    if fired == NULL:
        return False
    w.fired = fired
    w.owner_room = room
    return True


# --- one watch -----------------------------------------------------------------------------------------------------

cdef inline uint32_t tables_of(uint32_t place) noexcept nogil:
    """The tables, as bits, that a watch of this kind is in."""
    if place == CHILD:
        return IN_CHILD
    return IN_DATA | IN_CHILD if place == PERSISTENT else IN_DATA


cdef inline uint32_t *bucket_of(const watches_t *w, uint32_t path, uint32_t connection) noexcept nogil:
    return &w.buckets[mix64((<uint64_t>path << 32 | connection) ^ w.paths.seed, <uint64_t>0x9e3779b97f4a7c15) & w.mask]


cdef inline bint is_of(const watch_t *watch, uint32_t path, uint32_t connection) noexcept nogil:
    return watch.path == path and watch.owner >> 2 == connection


cdef uint32_t tables_held(const watches_t *w, uint32_t path, uint32_t connection) noexcept nogil:
    """The tables, as bits, in which the connection has a watch on the path."""
    cdef uint32_t number = bucket_of(w, path, connection)[0]
    cdef uint32_t held = 0
    cdef const watch_t *watch
    while number:
        watch = watch_at(w, number)
        if is_of(watch, path, connection):
            held |= tables_of(watch.owner & 3)
        number = watch.hash_next
    return held


cdef inline bint is_in_data(const watched_path_t *path) noexcept nogil:
    return (path.first[DATA] | path.first[PERSISTENT] | path.first[RECURSIVE]) != 0


cdef void buckets_grow(watches_t *w) noexcept nogil:
    """Doubles the buckets; without memory they stay, and only get slower."""
    cdef uint64_t size = (w.mask + 1) * 2
    cdef uint32_t *old = w.buckets
    cdef uint32_t *buckets = <uint32_t *>calloc(size, sizeof(uint32_t))
    cdef uint32_t number, following
    cdef uint32_t *bucket
    cdef watch_t *watch
    cdef uint64_t i
    if buckets == NULL:
        return
    w.buckets = buckets
    w.mask = size - 1
    for i in range(size // 2):
        number = old[i]
        while number:
            watch = watch_at(w, number)
            following = watch.hash_next
            bucket = bucket_of(w, watch.path, watch.owner >> 2)
            watch.hash_next = bucket[0]
            bucket[0] = number
            number = following
    free(old)


cdef void watch_add(watches_t *w, uint32_t ref, uint32_t connection, uint32_t place, uint64_t zxid) noexcept nogil:
    """Takes the first free watch (there is one) into the three lists, and counts it."""
    cdef uint32_t number = w.first_free
    cdef watch_t *watch = watch_at(w, number)
    cdef watched_path_t *path = path_at(&w.paths, ref)
    cdef uint32_t *bucket = bucket_of(w, ref, connection)
    cdef uint32_t *on_path = &path.first[place]
    cdef watch_owner_t *of_owner = &w.owners[connection]
    cdef uint32_t tables = tables_of(place) & ~tables_held(w, ref, connection)
    if tables & IN_DATA:
        w.pairs[TABLE_DATA] += 1
        w.data_connections += of_owner.data_paths == 0
        of_owner.data_paths += 1
        w.data_paths += not is_in_data(path)
    if tables & IN_CHILD:
        w.pairs[TABLE_CHILD] += 1
    w.kind_counts[place] += 1
    w.first_free = watch.hash_next
    watch.zxid = zxid
    watch.path = ref
    watch.owner = connection << 2 | place
    watch.hash_next = bucket[0]
    bucket[0] = number
    watch.path_previous = watch.connection_previous = 0
    watch.path_next = on_path[0]
    if on_path[0]:
        watch_at(w, on_path[0]).path_previous = number
    on_path[0] = number
    watch.connection_next = of_owner.first
    if of_owner.first:
        watch_at(w, of_owner.first).connection_previous = number
    of_owner.first = number


cdef void watch_remove(watches_t *w, uint32_t number) noexcept nogil:
    """Out of the three lists and the counts; the caller removes the path when this was its last."""
    cdef watch_t *watch = watch_at(w, number)
    cdef uint32_t ref = watch.path
    cdef uint32_t place = watch.owner & 3
    cdef uint32_t connection = watch.owner >> 2
    cdef watched_path_t *path = path_at(&w.paths, ref)
    cdef watch_owner_t *of_owner = &w.owners[connection]
    cdef uint32_t *link = bucket_of(w, ref, connection)
    cdef uint32_t tables
    while link[0] != number:
        FZ_ASSERT(link[0] != 0)
        link = &watch_at(w, link[0]).hash_next
    link[0] = watch.hash_next
    if watch.path_next:
        watch_at(w, watch.path_next).path_previous = watch.path_previous
    if watch.path_previous:
        watch_at(w, watch.path_previous).path_next = watch.path_next
    else:
        path.first[place] = watch.path_next
    if watch.connection_next:
        watch_at(w, watch.connection_next).connection_previous = watch.connection_previous
    if watch.connection_previous:
        watch_at(w, watch.connection_previous).connection_next = watch.connection_next
    else:
        of_owner.first = watch.connection_next
    watch.path = 0
    watch.hash_next = w.first_free
    w.first_free = number
    w.kind_counts[place] -= 1
    if w.kind_counts[RECURSIVE] == 0:
        w.recursive_size_max = 0
    tables = tables_of(place) & ~tables_held(w, ref, connection)
    if tables & IN_DATA:
        w.pairs[TABLE_DATA] -= 1
        of_owner.data_paths -= 1
        w.data_connections -= of_owner.data_paths == 0
        w.data_paths -= not is_in_data(path)
    if tables & IN_CHILD:
        w.pairs[TABLE_CHILD] -= 1


# --- arm, check, remove, drop --------------------------------------------------------------------------------------

cdef bint is_armed(watches_t *w, uint32_t ref, uint32_t connection, uint32_t place, uint64_t zxid,
                   uint64_t handled) noexcept nogil:
    """True if a watch that is there waits for all that the new one would.  Those that nothing tells apart any more
    become one."""
    cdef uint32_t number = bucket_of(w, ref, connection)[0]
    cdef uint32_t following
    cdef bint is_there = False
    cdef bint has_handled = False
    cdef watch_t *watch
    while number:
        watch = watch_at(w, number)
        following = watch.hash_next
        if is_of(watch, ref, connection) and watch.owner & 3 == place:
            if place == PERSISTENT or place == RECURSIVE:
                watch.zxid = min(watch.zxid, zxid)
                return True
            if watch.zxid == zxid or (watch.zxid <= handled and zxid <= handled):
                is_there = True
            if watch.zxid <= handled:
                if has_handled:
                    watch_remove(w, number)         # the other one waits for the same changes
                has_handled = True
        number = following
    return is_there


cdef int watches_arm(watches_t *w, const char *path, uint32_t size, int kind, int32_t connection, uint64_t zxid,
                     uint64_t handled) noexcept nogil:
    cdef uint32_t place = <uint32_t>(kind - 1)
    cdef uint32_t ref
    FZ_ASSERT(kind >= WATCH_DATA and kind <= WATCH_RECURSIVE)
    if size > PATH_SIZE_MAX:
        return 0
    if not owner_room(w, connection) or not watch_room(w):
        return -1
    ref = path_find(&w.paths, path, size)
    if ref == 0:
        ref = path_add(&w.paths, path, size)
        if ref == 0:
            return -1
    elif is_armed(w, ref, <uint32_t>connection, place, zxid, handled):
        return 0
    if w.kind_counts[DATA] + w.kind_counts[CHILD] + w.kind_counts[PERSISTENT] + w.kind_counts[RECURSIVE] \
            > PER_BUCKET_MAX * (w.mask + 1):
        buckets_grow(w)
    watch_add(w, ref, <uint32_t>connection, place, zxid)
    if kind == WATCH_RECURSIVE:
        w.recursive_size_max = max(w.recursive_size_max, size)
    return 0


cdef uint32_t places_of(int type) noexcept nogil:
    """The kinds, as bits by place, that a WATCHES_* type means."""
    if type == WATCHES_CHILDREN:
        return 1 << CHILD
    if type == WATCHES_DATA:
        return 1 << DATA
    if type == WATCHES_ANY:
        return 1 << DATA | 1 << CHILD | 1 << PERSISTENT | 1 << RECURSIVE
    if type == WATCHES_PERSISTENT:
        return 1 << PERSISTENT
    return 1 << RECURSIVE if type == WATCHES_RECURSIVE else 0


cdef bint watches_check(const watches_t *w, const char *path, uint32_t size, int type, int32_t connection) noexcept nogil:
    cdef uint32_t ref = path_find(&w.paths, path, size)
    cdef uint32_t number = bucket_of(w, ref, <uint32_t>connection)[0] if ref else 0
    cdef const watch_t *watch
    while number:
        watch = watch_at(w, number)
        if is_of(watch, ref, <uint32_t>connection) and places_of(type) >> (watch.owner & 3) & 1:
            return True
        number = watch.hash_next
    return False


cdef bint watches_remove(watches_t *w, const char *path, uint32_t size, int type, int32_t connection) noexcept nogil:
    cdef uint32_t ref = path_find(&w.paths, path, size)
    cdef uint32_t number = bucket_of(w, ref, <uint32_t>connection)[0] if ref else 0
    cdef uint32_t following
    cdef bint was_there = False
    cdef const watch_t *watch
    while number:
        watch = watch_at(w, number)
        following = watch.hash_next
        if is_of(watch, ref, <uint32_t>connection) and places_of(type) >> (watch.owner & 3) & 1:
            watch_remove(w, number)
            was_there = True
        number = following
    if was_there and not path_is_watched(path_at(&w.paths, ref)):
        path_remove(&w.paths, ref)
    return was_there


cdef void watches_drop(watches_t *w, int32_t connection) noexcept nogil:
    cdef uint32_t number, ref
    if connection < 0 or <uint32_t>connection >= w.owner_room:
        return
    while w.owners[connection].first:
        number = w.owners[connection].first
        ref = watch_at(w, number).path
        watch_remove(w, number)
        if not path_is_watched(path_at(&w.paths, ref)):
            path_remove(&w.paths, ref)


# --- fire ----------------------------------------------------------------------------------------------------------

cdef int32_t fire_kind(watches_t *w, const watched_path_t *path, uint32_t place, uint64_t zxid, int32_t count) noexcept nogil:
    """Adds the connections of one list's watches below `zxid` to `fired`, and takes one-shot ones out; gives the new size
    of `fired`."""
    cdef uint32_t number = path.first[place]
    cdef uint32_t following, connection
    cdef const watch_t *watch
    while number:
        watch = watch_at(w, number)
        following = watch.path_next
        if watch.zxid < zxid:
            connection = watch.owner >> 2
            if not w.owners[connection].is_fired:
                w.owners[connection].is_fired = 1
                w.fired[count] = <int32_t>connection
                count += 1
            if place == DATA or place == CHILD:
                watch_remove(w, number)
        number = following
    return count


cdef int32_t fire_above(watches_t *w, const char *path, uint32_t size, uint64_t zxid, int32_t count) noexcept nogil:
    """The recursive watches of the parents of `path`."""
    cdef uint32_t ref
    while size > 1:
        size -= 1
        while size > 1 and path[size] != c'/':
            size -= 1
        if size <= w.recursive_size_max:
            ref = path_find(&w.paths, path, size)
            if ref:
                count = fire_kind(w, path_at(&w.paths, ref), RECURSIVE, zxid, count)
    return count


cdef int32_t watches_fire(watches_t *w, const char *path, uint32_t size, int event, uint64_t zxid,
                          const int32_t **fired) noexcept nogil:
    cdef const watched_path_t *on
    cdef uint32_t ref
    cdef int32_t count = 0
    cdef int32_t i
    fired[0] = w.fired
    if size > PATH_SIZE_MAX or w.paths.count == 0:
        return 0
    ref = path_find(&w.paths, path, size)
    if ref:
        on = path_at(&w.paths, ref)
        if event != EVENT_CHILDREN_CHANGED:
            count = fire_kind(w, on, DATA, zxid, count)
            count = fire_kind(w, on, RECURSIVE, zxid, count)
        if event == EVENT_DELETED or event == EVENT_CHILDREN_CHANGED:
            count = fire_kind(w, on, CHILD, zxid, count)
        count = fire_kind(w, on, PERSISTENT, zxid, count)
    if w.kind_counts[RECURSIVE] and event != EVENT_CHILDREN_CHANGED:
        count = fire_above(w, path, size, zxid, count)
    for i in range(count):
        w.owners[w.fired[i]].is_fired = 0
    if ref and not path_is_watched(path_at(&w.paths, ref)):
        path_remove(&w.paths, ref)
    return count


# --- numbers -------------------------------------------------------------------------------------------------------

cdef uint64_t watches_count(const watches_t *w) noexcept nogil:
    return w.pairs[TABLE_DATA] + w.pairs[TABLE_CHILD]


cdef uint64_t watches_count_of(const watches_t *w, int kind) noexcept nogil:
    FZ_ASSERT(kind >= WATCH_DATA and kind <= WATCH_RECURSIVE)
    return w.kind_counts[kind - 1]


cdef uint64_t watches_bytes(const watches_t *w) noexcept nogil:
    return (sizeof(watches_t) + paths_bytes(&w.paths) + (w.mask + 1) * sizeof(uint32_t)
            + <uint64_t>w.chunk_count * CHUNK_WATCHES * sizeof(watch_t) + w.chunk_room * sizeof(watch_t *)
            + <uint64_t>w.owner_room * (sizeof(watch_owner_t) + sizeof(int32_t)))


cdef tuple watches_summary(const watches_t *w):
    return w.data_connections, w.data_paths, w.pairs[TABLE_DATA]


cdef bint is_listed(const watches_t *w, uint32_t number) noexcept nogil:
    """True for one watch of each pair of the data table: the one with the smallest number."""
    cdef const watch_t *watch = watch_at(w, number)
    cdef const watch_t *other
    cdef uint32_t another
    if watch.path == 0 or not tables_of(watch.owner & 3) & IN_DATA:
        return False
    another = bucket_of(w, watch.path, watch.owner >> 2)[0]
    while another:
        other = watch_at(w, another)
        if another < number and is_of(other, watch.path, watch.owner >> 2) and tables_of(other.owner & 3) & IN_DATA:
            return False
        another = other.hash_next
    return True


cdef tuple watches_list(const watches_t *w, uint32_t first, uint32_t count=LIST_WATCHES):
    cdef uint64_t end = <uint64_t>w.chunk_count * CHUNK_WATCHES
    cdef uint64_t stop = min(<uint64_t>first + count, end)
    cdef const watched_path_t *path
    cdef uint64_t number
    found = []
    for number in range(max(first, <uint32_t>1), stop):
        if is_listed(w, <uint32_t>number):
            path = path_at(&w.paths, watch_at(w, <uint32_t>number).path)
            found.append((path.text[:path.size], watch_at(w, <uint32_t>number).owner >> 2))
    return (stop if stop < end else 0), found


# --- Python's face -------------------------------------------------------------------------------------------------

cdef class Watches:
    def __cinit__(self, seed: int) -> None:
        self.watches = watches_new(seed)

    def __dealloc__(self):
        if self.watches != NULL:
            watches_delete(self.watches)

    def arm(self, path: bytes, kind: int, connection: int, zxid: int, handled: int) -> None:
        if not WATCH_DATA <= kind <= WATCH_RECURSIVE:
            raise ValueError(f"{kind} is no kind of watch")
        if not 0 <= connection <= CONNECTION_MAX:
            raise ValueError(f"{connection} is no connection")
        if watches_arm(self.watches, path, len(path), kind, connection, zxid, handled) != 0:
            raise MemoryError

    def check(self, path: bytes, type: int, connection: int) -> bool:
        return watches_check(self.watches, path, len(path), type, connection)

    def remove(self, path: bytes, type: int, connection: int) -> bool:
        return watches_remove(self.watches, path, len(path), type, connection)

    def fire(self, path: bytes, event: int, zxid: int) -> list[int]:
        cdef const int32_t *fired = NULL
        cdef int32_t count = watches_fire(self.watches, path, len(path), event, zxid, &fired)
        cdef int32_t i
        return [fired[i] for i in range(count)]

    def drop(self, connection: int) -> None:
        watches_drop(self.watches, connection)

    def __len__(self) -> int:
        return watches_count(self.watches)

    def count_of(self, kind: int) -> int:
        if not WATCH_DATA <= kind <= WATCH_RECURSIVE:
            raise ValueError(f"{kind} is no kind of watch")
        return watches_count_of(self.watches, kind)

    def summary(self) -> tuple[int, int, int]:
        return watches_summary(self.watches)

    def listed(self, first: int, count: int = LIST_WATCHES) -> tuple[int, list[tuple[bytes, int]]]:
        return watches_list(self.watches, first, count)

    @property
    def path_count(self) -> int:
        return self.watches.paths.count

    @property
    def bytes_held(self) -> int:
        return watches_bytes(self.watches)


assert sizeof(watch_t) == 40, "a watch is 40 bytes"
