"""The operations of clients that change the tree: create, create2, delete, setData, sync."""

from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.layout cimport buffer_t, entry_t, ref_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef enum:
    MADE_SIZE_MAX = 4096        # PATH_SIZE_MAX: the longest path that tree_create can make


ctypedef struct moment_t:       # when an entry is applied
    uint64_t zxid
    uint64_t index
    int64_t time_ms


ctypedef struct scratch_t:
    buffer_t acl                # the vector of the create at hand, without duplicates
    char made[MADE_SIZE_MAX]    # the path that was made


# Applies one write of a session whose turn it is: judges it, changes the arena, counts it as the session's last, puts
# the CHANGE items and the RESULT into the outbox.  Gives the result's error code.
cdef int write_apply(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                     const moment_t *now) noexcept nogil
# Puts out the CHANGE items of a znode and of its parent.
cdef void announce(outbox_t *out, int event, const moment_t *now, const char *path, uint32_t path_size) noexcept nogil
