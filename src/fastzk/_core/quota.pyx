"""Quotas: limits of the znodes and bytes below a path, and the statistics that are kept of them.

    /zookeeper/quota/<path>/zookeeper_limits    its being there is the quota of <path>; clients make it
    /zookeeper/quota/<path>/zookeeper_stats     what there is: counted when it is made, then kept by the server

Both hold ZooKeeper's StatsTrack, a text: count=2,bytes=10 and, when there are more keys, "=" and ;key=value for each, sorted:

    count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4        -1 is no limit; count and bytes only warn

Theory of operation.  What changes at a path moves the statistics of the longest prefix that has a quota, by overwriting
their data and nothing else of their Stat, unseen by watches.  The prefixes are looked for from the root down, and no further
than /zookeeper/quota reaches.  While header.quota_count is 0 there is no quota, and nothing is looked for at all.

Rule: statistics that are no StatsTrack are left alone; limits that are none refuse whatever they would have to judge.
Rule: a statistic must not fail for want of room: it may use the reserve."""

from fastzk._core.arena cimport arena_change_header, arena_keep_reserve, arena_own, arena_use_reserve
from fastzk._core.codes cimport ERR_MARSHALLING, ERR_OK, ERR_QUOTA_EXCEEDED
from fastzk._core.layout cimport FZ_ASSERT, NULL_DATA, buffer_append, buffer_free, buffer_t, ref_t, znode_t
from fastzk._core.paths cimport PATH_SIZE_MAX
from fastzk._core.tree cimport tree_find, tree_overwrite_data, tree_weigh_below
from libc.string cimport memchr, memcmp, memcpy, memset


cdef enum:
    HOME_SIZE = 16              # "/zookeeper/quota"
    LIMITS_SIZE = 17            # "/zookeeper_limits"
    STATS_SIZE = 16             # "/zookeeper_stats"
    KEYS_MAX = 16               # of a text; one with more is taken for none
    DIGITS_MAX = 20             # of an int64 with its sign

cdef const char *HOME = b"/zookeeper/quota"
cdef const char *LIMITS = b"/zookeeper_limits"
cdef const char *STATS = b"/zookeeper_stats"


cdef struct pair_t:
    const char *key             # lent from the text
    size_t size
    int64_t value

cdef struct track_t:            # a StatsTrack
    int count
    pair_t pairs[KEYS_MAX]

cdef struct quota_t:            # of a path; 0: none
    ref_t limits
    ref_t stats


cdef int quota_judge(arena_t *a, const char *path, uint32_t size, int64_t count, int64_t bytes,
                     uint64_t *soft_breaches) noexcept nogil:
    cdef quota_t quota = find(a, path, size)
    cdef track_t limits
    cdef track_t stats
    cdef bint asks_count
    cdef bint asks_bytes
    if quota.limits == 0:
        return ERR_OK
    if not read(a, quota.limits, &limits):
        return ERR_MARSHALLING
    asks_count = count != 0 and (value_of(&limits, b"count", 5) > -1 or value_of(&limits, b"countHardLimit", 14) > -1)
    asks_bytes = bytes != 0 and (value_of(&limits, b"bytes", 5) > -1 or value_of(&limits, b"byteHardLimit", 13) > -1)
    if quota.stats == 0 or not (asks_count or asks_bytes):
        return ERR_OK
    if not read(a, quota.stats, &stats):
        return ERR_MARSHALLING
    if asks_count and passes(value_of(&stats, b"count", 5), count, value_of(&limits, b"countHardLimit", 14),
                             value_of(&limits, b"count", 5), soft_breaches):
        return ERR_QUOTA_EXCEEDED
    if asks_bytes and passes(value_of(&stats, b"bytes", 5), bytes, value_of(&limits, b"byteHardLimit", 13),
                             value_of(&limits, b"bytes", 5), soft_breaches):
        return ERR_QUOTA_EXCEEDED
    return ERR_OK


cdef bint passes(int64_t there, int64_t more, int64_t hard, int64_t soft, uint64_t *soft_breaches) noexcept nogil:
    """True when a hard limit is passed; the soft one counts only where there is no hard one."""
    cdef int64_t then = sum_of(there, more)
    if hard > -1:
        return then > hard
    soft_breaches[0] += then > soft
    return False


cdef void quota_after_create(arena_t *a, const char *path, uint32_t size, int64_t bytes) noexcept nogil:
    if quota_is_limits(path, size):
        arena_change_header(a).quota_count += 1
    elif ends_with(path, size, STATS, STATS_SIZE):
        count_again(a, path, size)
    move(a, path, size, 1, bytes)


cdef void quota_after_set(arena_t *a, const char *path, uint32_t size, int64_t bytes) noexcept nogil:
    move(a, path, size, 0, bytes)


cdef void quota_after_delete(arena_t *a, const char *path, uint32_t size, int64_t bytes) noexcept nogil:
    if quota_is_limits(path, size):
        arena_change_header(a).quota_count -= 1
    move(a, path, size, -1, -bytes)


cdef inline bint ends_with(const char *path, uint32_t size, const char *name, uint32_t name_size) noexcept nogil:
    """True for /zookeeper/quota, perhaps more, and this name."""
    return (size >= HOME_SIZE + name_size and memcmp(path, HOME, HOME_SIZE) == 0 and path[HOME_SIZE] == c"/"
            and memcmp(path + size - name_size, name, name_size) == 0)


cdef bint quota_is_limits(const char *path, uint32_t size) noexcept nogil:
    return size > HOME_SIZE + LIMITS_SIZE and ends_with(path, size, LIMITS, LIMITS_SIZE)


cdef quota_t find(arena_t *a, const char *path, uint32_t size) noexcept nogil:
    """The quota of the longest prefix that has one."""
    cdef char at[HOME_SIZE + PATH_SIZE_MAX + LIMITS_SIZE]
    cdef quota_t quota
    cdef uint32_t best = 0
    cdef uint32_t end = 1
    cdef ref_t ref
    quota.limits = quota.stats = 0
    if a.header.quota_count == 0 or size > PATH_SIZE_MAX:
        return quota
    memcpy(at, HOME, HOME_SIZE)
    memcpy(at + HOME_SIZE, path, size)
    while end < size:
        end += 1
        while end < size and path[end] != c"/":
            end += 1
        if tree_find(a, at, HOME_SIZE + end) == 0:
            break                                   # then nothing is below it either
        memcpy(at + HOME_SIZE + end, LIMITS, LIMITS_SIZE)
        ref = tree_find(a, at, HOME_SIZE + end + LIMITS_SIZE)
        if ref:
            quota.limits = ref
            best = end
        memcpy(at + HOME_SIZE + end, path + end, min(<uint32_t>LIMITS_SIZE, size - end))
    if best:
        memcpy(at + HOME_SIZE + best, STATS, STATS_SIZE)
        quota.stats = tree_find(a, at, HOME_SIZE + best + STATS_SIZE)
    return quota


cdef void move(arena_t *a, const char *path, uint32_t size, int64_t count, int64_t bytes) noexcept nogil:
    """So many znodes and bytes more in the statistics of the path's quota."""
    cdef quota_t quota = find(a, path, size)
    cdef track_t track
    if quota.stats == 0 or not read(a, quota.stats, &track):
        return
    put(&track, b"count", 5, sum_of(value_of(&track, b"count", 5), count))
    put(&track, b"bytes", 5, sum_of(value_of(&track, b"bytes", 5), bytes))
    write(a, quota.stats, &track)


cdef void count_again(arena_t *a, const char *path, uint32_t size) noexcept nogil:
    """Puts into new statistics what there is at and below their path."""
    cdef ref_t stats = tree_find(a, path, size)
    cdef const char *top_path = path + HOME_SIZE
    cdef uint32_t top_size = size - HOME_SIZE - STATS_SIZE
    cdef ref_t top = tree_find(a, top_path, top_size) if top_size else a.header.root
    cdef const znode_t *znode
    cdef uint64_t count = 0
    cdef uint64_t bytes = 0
    cdef track_t track
    track.count = 0
    if top:
        znode = <const znode_t *>arena_own(a, top)
        FZ_ASSERT(tree_weigh_below(a, znode, 0, &count, &bytes) == 0)
        count += 1
        if znode.data_size != NULL_DATA:
            bytes += znode.data_size
    put(&track, b"count", 5, <int64_t>count)
    put(&track, b"bytes", 5, <int64_t>bytes)
    write(a, stats, &track)


# The text.

cdef bint read(arena_t *a, ref_t ref, track_t *track) noexcept nogil:
    """Takes a znode's data for a StatsTrack; False when it is none."""
    cdef const znode_t *znode = <const znode_t *>arena_own(a, ref)
    cdef const char *at
    cdef const char *end
    cdef const char *token
    track.count = 0
    if znode.data_size == NULL_DATA:
        return False
    if znode.data_size == 0:
        return True
    token = at = <const char *>arena_own(a, znode.data)
    end = at + znode.data_size
    while at < end and is_separator(at[0]):
        at += 1
    if at == end:
        return True                                 # Java's split gives nothing, not even an empty part
    if at != token:
        return False                                # here it gives an empty part at the front
    while at < end:
        token = at
        while at < end and not is_separator(at[0]):
            at += 1
        if not read_pair(token, at, track):
            return False
        while at < end and is_separator(at[0]):
            at += 1
    return True


cdef inline bint is_separator(char character) noexcept nogil:
    return character == c"," or character == c";"


cdef bint read_pair(const char *at, const char *end, track_t *track) noexcept nogil:
    """key=value, and what stands behind a second "=" is not looked at; a value of nothing, before one, is -1."""
    cdef const char *equals = <const char *>memchr(at, c"=", end - at)
    cdef const char *last
    cdef int64_t value = -1
    while end > at and (end - 1)[0] == c"=":
        end -= 1                                    # Java's split drops empty parts at the end
    if equals is NULL or equals >= end:
        return False
    last = <const char *>memchr(equals + 1, c"=", end - equals - 1)
    if last is NULL:
        last = end
    if last > equals + 1 and not read_long(equals + 1, last, &value):
        return False
    return put(track, at, equals - at, value)


cdef bint read_long(const char *at, const char *end, int64_t *value) noexcept nogil:
    """Java's Long.parseLong, of ASCII digits."""
    cdef bint is_negative = at[0] == c"-"
    cdef uint64_t most = (<uint64_t>1 << 63) - (not is_negative)
    cdef uint64_t found = 0
    cdef uint64_t digit
    if at[0] == c"-" or at[0] == c"+":
        at += 1
    if at == end:
        return False
    while at < end:
        if not c"0" <= at[0] <= c"9":
            return False
        digit = <uint64_t>(at[0] - c"0")
        if found > (most - digit) // 10:
            return False
        found = found * 10 + digit
        at += 1
    value[0] = <int64_t>(0 - found if is_negative else found)
    return True


cdef inline int64_t sum_of(int64_t value, int64_t more) noexcept nogil:
    """The sum, wrapping as Java's long does."""
    return <int64_t>(<uint64_t>value + <uint64_t>more)


cdef int64_t value_of(const track_t *track, const char *key, size_t size) noexcept nogil:
    cdef int i
    for i in range(track.count):
        if track.pairs[i].size == size and memcmp(track.pairs[i].key, key, size) == 0:
            return track.pairs[i].value
    return -1


cdef bint put(track_t *track, const char *key, size_t size, int64_t value) noexcept nogil:
    """Gives a key this value; keys stay sorted.  False when there are too many."""
    cdef int place = 0
    cdef int order = 1
    cdef int i
    while place < track.count:
        order = memcmp(track.pairs[place].key, key, min(track.pairs[place].size, size))
        if order == 0:
            order = <int>(track.pairs[place].size > size) - <int>(track.pairs[place].size < size)
        if order >= 0:
            break
        place += 1
    if place < track.count and order == 0:
        track.pairs[place].value = value
        return True
    if track.count == KEYS_MAX:
        return False
    for i in range(track.count, place, -1):
        track.pairs[i] = track.pairs[i - 1]
    track.pairs[place].key = key
    track.pairs[place].size = size
    track.pairs[place].value = value
    track.count += 1
    return True


cdef void write(arena_t *a, ref_t ref, const track_t *track) noexcept nogil:
    """Overwrites a znode's data with a StatsTrack."""
    cdef buffer_t text
    cdef bint has_more = False
    cdef int err
    cdef int i
    memset(&text, 0, sizeof(text))
    append_pair(&text, b"count", 5, value_of(track, b"count", 5))
    buffer_append(&text, b",", 1)
    append_pair(&text, b"bytes", 5, value_of(track, b"bytes", 5))
    for i in range(track.count):
        if track.pairs[i].size == 5 and (memcmp(track.pairs[i].key, b"count", 5) == 0
                                         or memcmp(track.pairs[i].key, b"bytes", 5) == 0):
            continue
        if not has_more:
            buffer_append(&text, b"=", 1)           # so that the parser of old clients stops there
            has_more = True
        buffer_append(&text, b";", 1)
        append_pair(&text, track.pairs[i].key, track.pairs[i].size, track.pairs[i].value)
    arena_use_reserve(a)
    err = tree_overwrite_data(a, ref, text.data, <uint32_t>text.size)
    arena_keep_reserve(a)
    FZ_ASSERT(err == ERR_OK)
    buffer_free(&text)


cdef void append_pair(buffer_t *text, const char *key, size_t size, int64_t value) noexcept nogil:
    cdef char digits[DIGITS_MAX]
    cdef int at = DIGITS_MAX
    cdef uint64_t left = 0 - <uint64_t>value if value < 0 else <uint64_t>value
    while True:
        at -= 1
        digits[at] = <char>(c"0" + left % 10)
        left //= 10
        if left == 0:
            break
    if value < 0:
        at -= 1
        digits[at] = c"-"
    buffer_append(text, key, size)
    buffer_append(text, b"=", 1)
    buffer_append(text, digits + at, DIGITS_MAX - at)
