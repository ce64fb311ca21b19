"""What encodes a snapshot: its state while the walk goes on.  See snapshot_write.pyx."""

from fastzk._core.arena cimport Arena, arena_header_t, pin_t
from fastzk._core.layout cimport buffer_t, ref_t, results_t, znode_t
from fastzk._core.ref_map cimport ref_map_t
from fastzk._core.znode cimport ZNODE_HEAD
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    PATH_BYTES_MAX = 65535      # a znode's path_size has 16 bits


ctypedef struct frame_t:        # a znode whose children are being encoded
    ref_t children
    uint32_t count
    uint32_t place              # of the next one

ctypedef struct found_t:        # what the walk has met, to be held against the header
    uint64_t znodes
    uint64_t ephemerals
    uint64_t listed             # ephemerals in the lists of sessions
    uint64_t sessions
    uint64_t data_bytes
    uint64_t quotas
    uint64_t reapables
    uint64_t digest_low
    uint64_t digest_high


cdef class SnapshotEncoder:
    cdef Arena _arena           # keeps the region mapped
    cdef pin_t *pin
    cdef arena_header_t header
    cdef size_t chunk_bytes
    cdef int stage              # STAGE_*
    cdef const char *broken     # why the arena cannot be encoded
    cdef buffer_t out
    cdef buffer_t frames        # frame_t, from the root down
    cdef ref_map_t vectors      # interned vector -> its number
    cdef buffer_t acl_hashes    # uint32 by number
    cdef ref_map_t ephemerals   # znode -> its number
    cdef ref_t oldest           # session
    cdef ref_t session          # the next one of the stage
    cdef ref_t ephemeral        # the next one of `session`'s list
    cdef found_t found
    cdef char znode_bytes[ZNODE_HEAD + PATH_BYTES_MAX + 5]       # the znode that is being encoded

    cpdef close(self)
    cdef void step(self) noexcept nogil
    cdef void fail(self, const char *reason) noexcept nogil
    cdef bint read(self, ref_t ref, uint64_t skip, void *to, uint64_t size) noexcept nogil
    cdef void begin(self) noexcept nogil
    cdef uint32_t vector(self, ref_t ref) noexcept nogil
    cdef void one_session(self) noexcept nogil
    cdef void results(self, const results_t *results, uint32_t count) noexcept nogil
    cdef void next_znode(self) noexcept nogil
    cdef void znode(self, ref_t ref) noexcept nogil
    cdef void znode_record(self, const znode_t *znode, uint32_t acl) noexcept nogil
    cdef void znode_data(self, const znode_t *znode, uint32_t acl) noexcept nogil
    cdef ref_t first_ephemeral(self) noexcept nogil
    cdef void some_ephemerals(self) noexcept nogil
    cdef void end(self) noexcept nogil
