"""The digest: each znode's hash, and the sum that is kept of them."""

from fastzk._core.arena cimport arena_change_header, arena_own, arena_t
from fastzk._core.layout cimport FZ_ASSERT, FZ_DEBUG, acl_t, arena_header_t, hash_bytes, mix64, ref_t, znode_t
from fastzk._core.znode cimport PATH_SEED, is_session_id, path_hash
from libc.stdint cimport uint32_t, uint64_t


cdef uint64_t HIGH_SEED = <uint64_t>0xb492b66fbe98f273
cdef uint64_t DATA_SEED = <uint64_t>0x9fb21c651e98df25


cdef void digest_of_stat(const znode_t *znode, uint32_t acl_hash, uint64_t hash, uint64_t *low, uint64_t *high) noexcept nogil:
    cdef uint64_t word[9]
    cdef uint32_t children = 0 if is_session_id(znode.ephemeral_owner) else znode.child_count
    word[0] = znode.czxid
    word[1] = znode.mzxid
    word[2] = znode.pzxid
    word[3] = <uint64_t>znode.ctime_ms
    word[4] = <uint64_t>znode.mtime_ms
    word[5] = znode.ephemeral_owner
    word[6] = <uint64_t><uint32_t>znode.version << 32 | <uint32_t>znode.cversion
    word[7] = <uint64_t><uint32_t>znode.aversion << 32 | children
    word[8] = <uint64_t>acl_hash << 32 | znode.data_size
    low[0] = hash_bytes(<const char *>word, sizeof(word), hash)
    high[0] = hash_bytes(<const char *>word, sizeof(word), hash ^ HIGH_SEED)


cdef void digest_of_data(const char *data, uint32_t size, uint64_t hash, uint64_t *low, uint64_t *high) noexcept nogil:
    cdef uint64_t content = hash_bytes(data, size, hash ^ DATA_SEED)
    low[0] = mix64(content ^ HIGH_SEED, hash ^ PATH_SEED)
    high[0] = mix64(content ^ PATH_SEED, hash ^ HIGH_SEED)


cdef inline void stat_digest(arena_t *a, const znode_t *znode, uint64_t hash, uint64_t *low, uint64_t *high) noexcept nogil:
    digest_of_stat(znode, (<const acl_t *>arena_own(a, znode.acl)).hash, hash, low, high)


cdef inline bint data_digest(arena_t *a, const znode_t *znode, uint64_t hash, uint64_t *low, uint64_t *high) noexcept nogil:
    """False when there is no data to speak of; null and empty differ by the Stat's part."""
    if znode.data == 0:
        return False
    digest_of_data(<const char *>arena_own(a, znode.data), znode.data_size, hash, low, high)
    return True


cdef inline void subtract_128(uint64_t *low, uint64_t *high, uint64_t minus_low, uint64_t minus_high) noexcept nogil:
    high[0] -= minus_high + (low[0] < minus_low)
    low[0] -= minus_low


cdef void digest_put_stat(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil:
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t low
    cdef uint64_t high
    stat_digest(a, znode, hash, &low, &high)
    digest_add(&header.digest_low, &header.digest_high, low, high)


cdef void digest_take_stat(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil:
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t low
    cdef uint64_t high
    stat_digest(a, znode, hash, &low, &high)
    subtract_128(&header.digest_low, &header.digest_high, low, high)


cdef void digest_put_data(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil:
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t low
    cdef uint64_t high
    if data_digest(a, znode, hash, &low, &high):
        digest_add(&header.digest_low, &header.digest_high, low, high)


cdef void digest_take_data(arena_t *a, const znode_t *znode, uint64_t hash) noexcept nogil:
    cdef arena_header_t *header = arena_change_header(a)
    cdef uint64_t low
    cdef uint64_t high
    if data_digest(a, znode, hash, &low, &high):
        subtract_128(&header.digest_low, &header.digest_high, low, high)


cdef void tree_digest(arena_t *a, uint64_t *low, uint64_t *high) noexcept nogil:
    cdef const ref_t *buckets = <const ref_t *>(a.base + a.index_offset)
    cdef uint64_t bucket
    cdef uint64_t hash
    cdef uint64_t part_low
    cdef uint64_t part_high
    cdef const znode_t *znode
    cdef ref_t ref
    low[0] = high[0] = 0
    for bucket in range((<uint64_t>1 << a.header.index_level) + a.header.index_split):
        ref = buckets[bucket]
        while ref:
            znode = <const znode_t *>arena_own(a, ref)
            hash = path_hash(znode.path, znode.path_size)
            stat_digest(a, znode, hash, &part_low, &part_high)
            digest_add(low, high, part_low, part_high)
            if data_digest(a, znode, hash, &part_low, &part_high):
                digest_add(low, high, part_low, part_high)
            ref = znode.hash_next


cdef void digest_check(arena_t *a, uint64_t zxid) noexcept nogil:
    cdef uint64_t low
    cdef uint64_t high
    if FZ_DEBUG and zxid % 1024 == 0:
        tree_digest(a, &low, &high)
        FZ_ASSERT(low == a.header.digest_low and high == a.header.digest_high)
