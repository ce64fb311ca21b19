"""ACLs: whether a vector of them is well-formed, and what it permits to whom."""

from fastzk._core.arena cimport arena_t
from fastzk._core.jute cimport jute_t
from fastzk._core.layout cimport buffer_t, ref_t
from libc.stdint cimport int32_t, uint32_t


cdef enum:
    ACL_COUNT_MAX = 256         # entries of one vector: the search for duplicates takes the square of it


ctypedef struct caller_t:       # who asks: lent
    const char *identities      # jute vector of Id {string scheme, string id}; with size 0 the caller is merely anyone
    uint32_t size


# Reads an ACL vector and puts it, without duplicates and with `auth` replaced by the caller's ids, into `clean` (emptied
# first).  Gives 0 or InvalidACL; when the bytes are no vector at all, r.failed is set.
cdef int acl_take(jute_t *r, buffer_t *clean, const caller_t *who) noexcept nogil
# True if the interned ACL permits one of the bits of `perm` to the caller.  For readers and the writer; False when it does
# not look right.
cdef bint acl_permits(arena_t *a, ref_t acl, int32_t perm, const caller_t *who) noexcept nogil
# The same of an ACL vector in plain memory.
cdef bint acl_vector_permits(const char *vector, uint32_t size, int32_t perm, const caller_t *who) noexcept nogil
# Appends the vector as it is shown to who may not ADMIN: a digest's hash replaced by `x`.  False when it is no vector (then
# nothing was appended).  For readers too.
cdef bint acl_mask(const char *vector, uint32_t size, buffer_t *out) noexcept nogil
