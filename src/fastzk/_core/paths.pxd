"""Which paths may name a znode, on UTF-8 bytes; and the cut between a path's parent and its name."""

from libc.stdint cimport int32_t, uint32_t


cdef enum:
    PATH_SIZE_MAX = 4096        # bytes; a znode's path_size is 16 bits, and longer names are mistakes
    SUFFIX_SIZE_MAX = 11        # of a sequential name: ten digits, and a sign after 2^31 children


# The rules of ZooKeeper's client library and server.  With is_sequential the path is judged as if digits followed.
cdef bint path_is_valid(const char *path, size_t size, bint is_sequential) noexcept nogil
# Where the last slash is, or -1 (there is none, or a NUL byte, or the path is too long to be looked up).
cdef int32_t path_last_slash(const char *path, size_t size) noexcept nogil


cdef inline uint32_t path_parent_size(uint32_t last_slash) noexcept nogil:
    """Bytes of the parent's path: the root's is the slash itself."""
    return last_slash if last_slash else 1
