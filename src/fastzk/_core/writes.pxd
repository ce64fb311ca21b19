"""The operations of clients that change the tree."""

from fastzk._core.arena cimport arena_t
from fastzk._core.items cimport outbox_t
from fastzk._core.layout cimport entry_t, ref_t
from fastzk._core.operation cimport moment_t, scratch_t


# Applies one write of a session whose turn it is: judges it, changes the arena, counts it as the session's last, puts
# the CHANGE items and the RESULT into the outbox.  Gives the result's error code.
cdef int write_apply(arena_t *a, outbox_t *out, scratch_t *scratch, ref_t session, const entry_t *entry,
                     const moment_t *now) noexcept nogil
# May the session change the members?  0 or NoAuth: that takes WRITE on /zookeeper/config, which nobody but the super user has
# unless its ACL is changed.
cdef int reconfig_judge(arena_t *a, ref_t session) noexcept nogil
