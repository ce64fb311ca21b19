"""What a session that is not in the log may not do."""

from libc.stdint cimport int32_t


# Whether a write would make an ephemeral, itself or within a multi.  Of a body that is no such request: False.
cdef bint makes_ephemeral(int32_t op, const char *body, size_t size) noexcept nogil
