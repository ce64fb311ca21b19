"""One worker's watches: who waits for which path.

    path buckets -> watched_path_t -> list of data watches, list of child watches      (fire: by path)
    watch buckets -> watch_t by (path, connection, kind)                               (arm: is it there already?)
    owners        -> list of a connection's watches                                    (drop: by connection)

Each watch_t (40 bytes) is in one list of each of the three.  Watches live in chunks that never move and are named by
their number, 4 bytes instead of 8 in every link; a path's record and text are one piece from a slab.  Memory that was
given back is used again and never returned to the system: a worker that once had a million watches may have them again.

Rule: no record of a path without a watch.  Rule: nothing is allocated while firing, so an event cannot be lost to a
lack of memory.  Rule: the hash of a path is seeded, so no client can choose paths that meet in one bucket."""

from fastzk._core.layout cimport FZ_ASSERT, hash_bytes, mix64
from fastzk._core.paths cimport PATH_SIZE_MAX
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    CHUNK_WATCHES = 1024
    SLAB_BYTES = 65536
    PATH_HEAD = 18              # where watched_path_t.text begins
    BUCKETS_FIRST = 64
    PER_BUCKET_MAX = 2
    CONNECTION_MAX = 0x7ffffffe


# --- life and memory -----------------------------------------------------------------------------------------------

cdef watches_t *watches_new(uint64_t seed) except NULL:
    cdef watches_t *w = <watches_t *>calloc(1, sizeof(watches_t))
    if w == NULL:
        raise MemoryError
    w.seed = seed
    w.path_buckets = <watched_path_t **>calloc(BUCKETS_FIRST, sizeof(watched_path_t *))
    w.watch_buckets = <uint32_t *>calloc(BUCKETS_FIRST, sizeof(uint32_t))
    w.path_mask = w.watch_mask = BUCKETS_FIRST - 1
    w.slab_used = SLAB_BYTES
    if w.path_buckets == NULL or w.watch_buckets == NULL:
        watches_delete(w)
        raise MemoryError
    return w


cdef void watches_delete(watches_t *w) noexcept nogil:
    cdef uint64_t i
    cdef watched_path_t *path
    cdef watched_path_t *following
    if w.path_buckets != NULL and w.large_bytes:
        for i in range(w.path_mask + 1):
            path = w.path_buckets[i]
            while path != NULL:
                following = path.next
                if size_class(path.size) == 0:
                    free(path)
                path = following
    for i in range(w.chunk_count):
        free(w.chunks[i])
    for i in range(w.slab_count):
        free(w.slabs[i])
    free(w.chunks)
    free(w.slabs)
    free(w.path_buckets)
    free(w.watch_buckets)
    free(w.owners)
    free(w.fired)
    free(w)


cdef inline uint32_t size_class(uint32_t size) noexcept nogil:
    """Of the record of a path of `size` bytes, in steps of 8 bytes; 0 when it is too large for a slab."""
    cdef uint32_t steps = (PATH_HEAD + size + 7) >> 3
    return steps if steps < SLAB_CLASSES else 0


cdef watched_path_t *path_alloc(watches_t *w, uint32_t size) noexcept nogil:
    """Memory for the record of a path of `size` bytes, or NULL."""
    cdef uint32_t steps = size_class(size)
    cdef char *record
    cdef char **slabs
    if steps == 0:
        record = <char *>malloc(PATH_HEAD + size)
        if record != NULL:
            w.large_bytes += PATH_HEAD + size
        return <watched_path_t *>record
    record = w.free_texts[steps]
    if record != NULL:
        w.free_texts[steps] = (<char **>record)[0]
        return <watched_path_t *>record
    if w.slab_used + steps * 8 > SLAB_BYTES:
        if w.slab_count == w.slab_room:
            slabs = <char **>realloc(w.slabs, (w.slab_room * 2 + 8) * sizeof(char *))
            if slabs == NULL:
                return NULL
            w.slabs = slabs
            w.slab_room = w.slab_room * 2 + 8
        record = <char *>malloc(SLAB_BYTES)
        if record == NULL:
            return NULL
        w.slabs[w.slab_count] = record
        w.slab_count += 1
        w.slab_used = 0
    record = w.slabs[w.slab_count - 1] + w.slab_used
    w.slab_used += steps * 8
    return <watched_path_t *>record


cdef void path_free(watches_t *w, watched_path_t *path) noexcept nogil:
    cdef uint32_t steps = size_class(path.size)
    if steps == 0:
        w.large_bytes -= PATH_HEAD + path.size
        free(path)
    else:
        (<char **>path)[0] = w.free_texts[steps]
        w.free_texts[steps] = <char *>path


cdef inline watch_t *watch_at(watches_t *w, uint32_t number) noexcept nogil:
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


# --- the two hash tables -------------------------------------------------------------------------------------------

cdef inline watched_path_t **path_bucket(watches_t *w, const char *path, uint32_t size) noexcept nogil:
    return &w.path_buckets[hash_bytes(path, size, w.seed) & w.path_mask]


cdef watched_path_t *path_find(watches_t *w, const char *path, uint32_t size) noexcept nogil:
    cdef watched_path_t *found = path_bucket(w, path, size)[0]
    while found != NULL and (found.size != size or memcmp(found.text, path, size) != 0):
        found = found.next
    return found


cdef watched_path_t *path_add(watches_t *w, const char *path, uint32_t size) noexcept nogil:
    cdef watched_path_t **bucket
    cdef watched_path_t *made = path_alloc(w, size)
    if made == NULL:
        return NULL
    if w.path_count > PER_BUCKET_MAX * (w.path_mask + 1):
        path_buckets_grow(w)
    bucket = path_bucket(w, path, size)
    made.size = size
    made.first[0] = made.first[1] = 0
    memcpy(made.text, path, size)
    made.next = bucket[0]
    bucket[0] = made
    w.path_count += 1
    return made


cdef void path_remove(watches_t *w, watched_path_t *path) noexcept nogil:
    cdef watched_path_t **link = path_bucket(w, path.text, path.size)
    while link[0] != path:
        FZ_ASSERT(link[0] != NULL)
        link = &link[0].next
    link[0] = path.next
    w.path_count -= 1
    path_free(w, path)


cdef void path_buckets_grow(watches_t *w) noexcept nogil:
    """Doubles the buckets; without memory they stay, and only get slower."""
    cdef uint64_t size = (w.path_mask + 1) * 2
    cdef watched_path_t **old = w.path_buckets
    cdef watched_path_t **buckets = <watched_path_t **>calloc(size, sizeof(watched_path_t *))
    cdef watched_path_t *path
    cdef watched_path_t *following
    cdef watched_path_t **bucket
    cdef uint64_t i
    if buckets == NULL:
        return
    w.path_buckets = buckets
    w.path_mask = size - 1
    for i in range(size // 2):
        path = old[i]
        while path != NULL:
            following = path.next
            bucket = path_bucket(w, path.text, path.size)
            path.next = bucket[0]
            bucket[0] = path
            path = following
    free(old)


cdef inline uint32_t *watch_bucket(watches_t *w, const watched_path_t *path, uint32_t owner) noexcept nogil:
    return &w.watch_buckets[mix64(<uint64_t>path ^ w.seed, (owner + 1) * <uint64_t>0x9e3779b97f4a7c15) & w.watch_mask]


cdef void watch_buckets_grow(watches_t *w) noexcept nogil:
    """Doubles the buckets; without memory they stay, and only get slower."""
    cdef uint64_t size = (w.watch_mask + 1) * 2
    cdef uint32_t *old = w.watch_buckets
    cdef uint32_t *buckets = <uint32_t *>calloc(size, sizeof(uint32_t))
    cdef uint32_t number, following
    cdef uint32_t *bucket
    cdef watch_t *watch
    cdef uint64_t i
    if buckets == NULL:
        return
    w.watch_buckets = buckets
    w.watch_mask = size - 1
    for i in range(size // 2):
        number = old[i]
        while number:
            watch = watch_at(w, number)
            following = watch.hash_next
            bucket = watch_bucket(w, watch.path, watch.owner)
            watch.hash_next = bucket[0]
            bucket[0] = number
            number = following
    free(old)


# --- watches -------------------------------------------------------------------------------------------------------

cdef void watch_add(watches_t *w, watched_path_t *path, uint32_t owner, uint64_t zxid) noexcept nogil:
    """Takes the first free watch (there is one) into the three lists."""
    cdef uint32_t number = w.first_free
    cdef watch_t *watch = watch_at(w, number)
    cdef uint32_t *bucket = watch_bucket(w, path, owner)
    cdef uint32_t *on_path = &path.first[owner & 1]
    cdef uint32_t *of_owner = &w.owners[owner >> 1].first
    w.first_free = watch.hash_next
    watch.zxid = zxid
    watch.path = path
    watch.owner = owner
    watch.hash_next = bucket[0]
    bucket[0] = number
    watch.path_previous = watch.connection_previous = 0
    watch.path_next = on_path[0]
    if on_path[0]:
        watch_at(w, on_path[0]).path_previous = number
    on_path[0] = number
    watch.connection_next = of_owner[0]
    if of_owner[0]:
        watch_at(w, of_owner[0]).connection_previous = number
    of_owner[0] = number
    w.count += 1


cdef void watch_remove(watches_t *w, uint32_t number) noexcept nogil:
    """Out of the three lists; the caller removes the path when this was its last."""
    cdef watch_t *watch = watch_at(w, number)
    cdef uint32_t *link = watch_bucket(w, watch.path, watch.owner)
    while link[0] != number:
        FZ_ASSERT(link[0] != 0)
        link = &watch_at(w, link[0]).hash_next
    link[0] = watch.hash_next
    if watch.path_next:
        watch_at(w, watch.path_next).path_previous = watch.path_previous
    if watch.path_previous:
        watch_at(w, watch.path_previous).path_next = watch.path_next
    else:
        watch.path.first[watch.owner & 1] = watch.path_next
    if watch.connection_next:
        watch_at(w, watch.connection_next).connection_previous = watch.connection_previous
    if watch.connection_previous:
        watch_at(w, watch.connection_previous).connection_next = watch.connection_next
    else:
        w.owners[watch.owner >> 1].first = watch.connection_next
    watch.hash_next = w.first_free
    w.first_free = number
    w.count -= 1


cdef int watches_arm(watches_t *w, const char *path, uint32_t size, int kind, int32_t connection, uint64_t zxid,
                     uint64_t handled) noexcept nogil:
    cdef watched_path_t *on
    cdef watch_t *watch
    cdef uint32_t owner = (<uint32_t>connection << 1) | (1 if kind == WATCH_CHILD else 0)
    cdef uint32_t number, following
    cdef bint is_armed = False
    cdef bint has_handled = False
    FZ_ASSERT(kind == WATCH_DATA or kind == WATCH_CHILD)
    if size > PATH_SIZE_MAX:
        return 0
    if not owner_room(w, connection) or not watch_room(w):
        return -1
    on = path_find(w, path, size)
    if on != NULL:
        number = watch_bucket(w, on, owner)[0]
        while number:
            watch = watch_at(w, number)
            following = watch.hash_next
            if watch.path == on and watch.owner == owner:
                if watch.zxid == zxid or (watch.zxid <= handled and zxid <= handled):
                    is_armed = True
                if watch.zxid <= handled:
                    if has_handled:
                        watch_remove(w, number)         # the other one waits for the same changes
                    has_handled = True
            number = following
        if is_armed:
            return 0
    else:
        on = path_add(w, path, size)
        if on == NULL:
            return -1
    if w.count > PER_BUCKET_MAX * (w.watch_mask + 1):
        watch_buckets_grow(w)
    watch_add(w, on, owner, zxid)
    return 0


cdef int32_t fire_kind(watches_t *w, watched_path_t *path, int is_child, uint64_t zxid, int32_t count) noexcept nogil:
    """Takes one list's watches below `zxid` out and adds their connections to `fired`; gives its new size."""
    cdef uint32_t number = path.first[is_child]
    cdef uint32_t following, connection
    cdef watch_t *watch
    while number:
        watch = watch_at(w, number)
        following = watch.path_next
        if watch.zxid < zxid:
            connection = watch.owner >> 1
            if not w.owners[connection].is_fired:
                w.owners[connection].is_fired = 1
                w.fired[count] = <int32_t>connection
                count += 1
            watch_remove(w, number)
        number = following
    return count


cdef int32_t watches_fire(watches_t *w, const char *path, uint32_t size, int event, uint64_t zxid,
                          const int32_t **fired) noexcept nogil:
    cdef watched_path_t *on
    cdef int32_t count = 0
    cdef int32_t i
    fired[0] = w.fired
    if size > PATH_SIZE_MAX or w.count == 0:
        return 0
    on = path_find(w, path, size)
    if on == NULL:
        return 0
    if event != EVENT_CHILDREN_CHANGED:
        count = fire_kind(w, on, 0, zxid, count)
    if event == EVENT_DELETED or event == EVENT_CHILDREN_CHANGED:
        count = fire_kind(w, on, 1, zxid, count)
    for i in range(count):
        w.owners[w.fired[i]].is_fired = 0
    if on.first[0] == 0 and on.first[1] == 0:
        path_remove(w, on)
    return count


cdef void watches_drop(watches_t *w, int32_t connection) noexcept nogil:
    cdef watched_path_t *path
    cdef uint32_t number
    if connection < 0 or <uint32_t>connection >= w.owner_room:
        return
    while w.owners[connection].first:
        number = w.owners[connection].first
        path = watch_at(w, number).path
        watch_remove(w, number)
        if path.first[0] == 0 and path.first[1] == 0:
            path_remove(w, path)


cdef uint64_t watches_count(const watches_t *w) noexcept nogil:
    return w.count


cdef uint64_t watches_bytes(const watches_t *w) noexcept nogil:
    return (sizeof(watches_t) + <uint64_t>w.chunk_count * CHUNK_WATCHES * sizeof(watch_t) + w.chunk_room * sizeof(watch_t *)
            + (w.path_mask + 1) * sizeof(watched_path_t *) + (w.watch_mask + 1) * sizeof(uint32_t)
            + <uint64_t>w.slab_count * SLAB_BYTES + w.slab_room * sizeof(char *) + w.large_bytes
            + <uint64_t>w.owner_room * (sizeof(watch_owner_t) + sizeof(int32_t)))


# --- Python's face -------------------------------------------------------------------------------------------------

cdef class Watches:
    def __cinit__(self, seed: int) -> None:
        self.watches = watches_new(seed)

    def __dealloc__(self):
        if self.watches != NULL:
            watches_delete(self.watches)

    def arm(self, path: bytes, kind: int, connection: int, zxid: int, handled: int) -> None:
        if kind not in (WATCH_DATA, WATCH_CHILD):
            raise ValueError(f"{kind} is no kind of watch")
        if not 0 <= connection <= CONNECTION_MAX:
            raise ValueError(f"{connection} is no connection")
        if watches_arm(self.watches, path, len(path), kind, connection, zxid, handled) != 0:
            raise MemoryError

    def fire(self, path: bytes, event: int, zxid: int) -> list[int]:
        cdef const int32_t *fired = NULL
        cdef int32_t count = watches_fire(self.watches, path, len(path), event, zxid, &fired)
        cdef int32_t i
        return [fired[i] for i in range(count)]

    def drop(self, connection: int) -> None:
        watches_drop(self.watches, connection)

    def __len__(self) -> int:
        return watches_count(self.watches)

    @property
    def path_count(self) -> int:
        return self.watches.path_count

    @property
    def bytes_held(self) -> int:
        return watches_bytes(self.watches)


cdef watched_path_t _drawn
assert <char *>_drawn.text - <char *>&_drawn == PATH_HEAD, "the text of a path begins at PATH_HEAD"
