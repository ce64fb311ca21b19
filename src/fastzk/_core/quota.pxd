"""Quotas: limits of the znodes and bytes below a path, and the statistics that are kept of them."""

from fastzk._core.arena cimport arena_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


# Whether the znode at this path counts in any quota, or is a quota's own: while nobody uses quotas this is all they cost.
cdef inline bint quota_is_concerned(arena_t *a, const char *path, uint32_t size) noexcept nogil:
    return a.header.quota_count != 0 or (size > 17 and path[1] == c"z" and path[10] == c"/" and path[11] == c"q")


# Judges so many znodes and bytes more at a path: 0, QuotaExceeded (a hard limit), or MarshallingError (the limits or the
# statistics make no sense).  Adds one to soft_breaches when a limit that only warns is passed.
cdef int quota_judge(arena_t *a, const char *path, uint32_t size, int64_t count, int64_t bytes,
                     uint64_t *soft_breaches) noexcept nogil
# Move the statistics of the quota that the path lies in; set and drop quotas.  After the change itself, in the same write.
cdef void quota_after_create(arena_t *a, const char *path, uint32_t size, int64_t bytes) noexcept nogil
cdef void quota_after_set(arena_t *a, const char *path, uint32_t size, int64_t bytes) noexcept nogil
cdef void quota_after_delete(arena_t *a, const char *path, uint32_t size, int64_t bytes) noexcept nogil
# True for the limits of any path but the root's, which has no quota: quota_count is how many there are.
cdef bint quota_is_limits(const char *path, uint32_t size) noexcept nogil
