"""What loads a snapshot: its state between the chunks.  See snapshot_load.pyx."""

from fastzk._core.arena cimport Arena, arena_t
from fastzk._core.layout cimport buffer_t, ref_t, session_t, znode_t
from fastzk._core.snapshot_reader cimport reader_t
from fastzk._core.snapshot_records cimport changed_part_t, parent_part_t, session_record_t, znode_record_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


ctypedef struct frame_t:        # a znode whose children are being loaded
    ref_t ref
    ref_t children
    uint32_t count
    uint32_t place              # of the next one

ctypedef struct vector_t:
    ref_t ref
    uint8_t known               # IS_*
    uint8_t is_used

ctypedef struct list_t:         # a session's ephemerals
    ref_t session
    uint32_t count              # as its record says


cdef class SnapshotLoader:
    cdef Arena _arena
    cdef arena_t *a
    cdef object state           # SnapshotState: what there must be in the end
    cdef uint64_t znodes        # of the state
    cdef uint64_t made          # znodes
    cdef int stage              # the kind of the last record that was no vector
    cdef bint has_root
    cdef ref_t root
    cdef buffer_t vectors       # vector_t by number
    cdef buffer_t lists         # list_t, oldest session first
    cdef buffer_t ephemerals    # ref_t by number; 0 once it stands in its list
    cdef buffer_t frames        # frame_t, from the root down
    cdef buffer_t fresh         # ref_t: znodes of this chunk, not in the index yet
    cdef size_t list_place      # of the session whose list is being loaded
    cdef uint32_t list_count    # how many of it are
    cdef ref_t list_last        # the last of these

    cdef int set_index(self) except -1
    cdef const char *why_incomplete(self) noexcept nogil
    cdef const char *record(self, reader_t *r) noexcept nogil
    cdef const char *vector(self, reader_t *r) noexcept nogil
    cdef ref_t use_vector(self, uint32_t number, uint8_t what) noexcept nogil
    cdef const char *session(self, reader_t *r) noexcept nogil
    cdef const char *results(self, reader_t *r, session_t *session, const session_record_t *record) noexcept nogil
    cdef const char *znode(self, reader_t *r) noexcept nogil
    cdef const char *new_znode(self, const znode_record_t *record, const changed_part_t *changed, const parent_part_t *parent,
                               uint64_t owner, int32_t aversion, const char *name, const char *data) noexcept nogil
    cdef const char *fill_znode(self, ref_t ref, znode_t *znode, uint32_t child_count, const char *data) noexcept nogil
    cdef bint new_children(self, ref_t ref, znode_t *znode, uint32_t count) noexcept nogil
    cdef frame_t *top_frame(self) noexcept nogil
    cdef const char *index_fresh(self) noexcept nogil
    cdef ref_t *bucket(self, ref_t ref) noexcept nogil
    cdef const char *ephemerals_record(self, reader_t *r) noexcept nogil
    cdef const char *list_next(self, uint32_t number) noexcept nogil
