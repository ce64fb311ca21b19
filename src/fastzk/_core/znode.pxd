"""What the modules of the tree share about a znode: the sizes of its parts, its hash, whose ephemeral it is."""

from fastzk._core.layout cimport hash_bytes
from libc.stdint cimport uint32_t, uint64_t


cdef extern from *:
    """
    #define PATH_SEED 0x9ae16a3b2f90404full  /* of the index, the ACL table, and with it the digest: the same on all nodes */
    """
    uint64_t PATH_SEED

cdef enum:
    # Bytes before the part of varying size; sizeof() would round up.
    ZNODE_HEAD = 100
    ACL_HEAD = 16
    LIST_HEAD = 4


cdef inline uint64_t path_hash(const char *path, uint32_t size) noexcept nogil:
    return hash_bytes(path, size, PATH_SEED)


# True for the owner of a plain ephemeral: the session ids.  (0, a container's mark and a TTL's are not.)
cdef inline bint is_session_id(uint64_t owner) noexcept nogil:
    return owner != 0 and owner != <uint64_t>1 << 63 and owner >> 56 != 0xff


# The bucket of a hash in an index of 2^level buckets, of which the first `split` are split in two.
cdef inline uint64_t bucket_of(uint64_t level, uint64_t split, uint32_t hash) noexcept nogil:
    cdef uint64_t bucket = hash & ((<uint64_t>1 << level) - 1)
    return bucket if bucket >= split else hash & ((<uint64_t>2 << level) - 1)
