"""The sessions in the arena, and each one's list of ephemerals (Z9)."""

from fastzk._core.acl cimport caller_t
from fastzk._core.arena cimport arena_t
from fastzk._core.layout cimport ref_t, znode_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


# Serves readers too (then check with arena_read_valid).
cdef ref_t session_find(arena_t *a, uint64_t session_id) noexcept nogil
# 0 when the arena is full, or the id is none that a session may have (is_session_id).  The id must be unknown.
cdef ref_t session_create(arena_t *a, uint64_t session_id, uint32_t timeout_ms, const uint8_t *password, uint64_t zxid,
                          uint64_t nonce) noexcept nogil
# Removes the session; its ephemerals must be gone (tree_delete each first_ephemeral).
cdef void session_remove(arena_t *a, ref_t session) noexcept nogil
# Who speaks for the session now, lent from the arena.  The writer's.
cdef caller_t session_caller(arena_t *a, ref_t session) noexcept nogil
# True if the bytes are a jute vector of Id {string scheme, string id} without nulls, and nothing behind it.
cdef bint identities_are_valid(const char *vector, uint32_t size) noexcept nogil
# Gives the session other identities (a valid vector of Id; size 0 is none).  False: the arena is full, nothing is changed.
cdef bint session_identify(arena_t *a, ref_t session, const char *vector, uint32_t size) noexcept nogil
# Makes a znode that is being created the session's newest ephemeral; takes one that is being deleted off its list.
cdef void session_own(arena_t *a, ref_t session, ref_t ref, znode_t *znode) noexcept nogil
cdef void session_disown(arena_t *a, const znode_t *znode) noexcept nogil
