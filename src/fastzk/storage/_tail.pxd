"""The end of the log as the log thread writes it: batches, seals, new segments, cuts.  Without the GIL, no locks.

Rule: one thread at a time.  Rule: after a function answered -1 nothing more is done with the tail; `failed` says why.
docs/internals/log-format.md says what is written when, and why in that order."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef enum:
    BATCH_BLOCKS_MAX = 1000     # pwritev takes 1024 parts
    HEADER_SIZE = 64
    MARK_SIZE = 40


ctypedef struct end_t:          # where a log ends: what the next block must follow
    uint64_t last_index
    uint64_t last_zxid
    int64_t last_time_ms
    uint64_t last_checksum


ctypedef packed struct mark_t:  # what stands before each batch
    uint32_t magic
    uint32_t size
    uint64_t checksum
    uint64_t offset
    uint64_t previous
    uint64_t batch_end


ctypedef struct failure_t:
    int code                    # errno; 0 = nothing failed
    const char *what
    uint64_t segment            # 0 = the directory itself
    uint64_t offset


ctypedef struct tail_t:
    int directory_fd
    int fd                      # of the last segment; -1 = there is none yet
    uint64_t segment            # its first index
    uint64_t offset             # where the next mark goes; everything before is synced
    uint64_t file_size          # from offset to here: zeros
    uint64_t segment_bytes_max
    uint64_t sync_ns            # how long the last sync took
    end_t end
    iovec parts[BATCH_BLOCKS_MAX + 2]   # what the next batch is made of; blocks from [1] on
    char *zeros
    failure_t failed


# Whether these bytes, which are there, are a right mark for this offset.
cdef bint mark_is_right(const mark_t *mark, uint64_t offset) noexcept nogil
# All zero but for the directory, and no segment yet.  Opens `segment` unless it is 0.  An errno, or 0.
cdef int tail_open(tail_t *tail, const char *directory, uint64_t segment) noexcept nogil
cdef void tail_free(tail_t *tail) noexcept nogil
# Makes sure there is a segment with room for a block of so many bytes.
cdef int tail_prepare(tail_t *tail, uint64_t block_size) noexcept nogil
# Writes and syncs parts[1] to parts[count], `size` bytes of blocks, after which the log ends at `end`.
cdef int tail_append(tail_t *tail, int count, uint64_t size, const end_t *end) noexcept nogil
# Removes segments in order, each removal synced before the next.  Not the one that is open.
cdef int tail_remove(tail_t *tail, const uint64_t *segments, size_t count) noexcept nogil
# Goes on from `end`: in `segment` cut at offset, or in a new segment if that is 0.
cdef int tail_go_on(tail_t *tail, uint64_t segment, uint64_t offset, const end_t *end) noexcept nogil
# Seals and closes the last segment, if there is one.
cdef int tail_close(tail_t *tail) noexcept nogil
# Forgets the open segment as it is.
cdef void tail_leave(tail_t *tail) noexcept nogil
cdef uint64_t fnv1a_over(const void *at, size_t size) noexcept nogil
