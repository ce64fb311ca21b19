"""Bodies of _tail.pxd.  Every write is checked to be whole, every sync to have succeeded; the first failure is kept."""

from fastzk._core.layout cimport FZ_ASSERT
from libc.errno cimport ENOMEM, ENOSPC, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef extern from "<sys/uio.h>" nogil:
    ssize_t pwritev(int fd, const iovec *parts, int count, int64_t offset)

cdef extern from "<fcntl.h>" nogil:
    enum:
        O_CLOEXEC
        O_CREAT
        O_DIRECTORY
        O_EXCL
        O_RDONLY
        O_RDWR
    int c_open "open"(const char *path, int flags, ...)
    int openat(int directory, const char *path, int flags, ...)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    int fdatasync(int fd)
    int fsync(int fd)
    int ftruncate(int fd, int64_t size)
    int unlinkat(int directory, const char *path, int flags)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)


cdef enum:
    CHECKED_FROM = 16
    ZEROS_AHEAD = 256 << 10     # measured: log-format.md
    ALIGNMENT = 4096
    NAME_ROOM = 32

cdef uint32_t HEADER_MAGIC = 0x67537a46u
cdef uint32_t HEADER_VERSION = 1
cdef uint32_t MARK_MAGIC = 0x316b724du


cdef packed struct header_t:
    uint32_t magic
    uint32_t version
    uint64_t checksum
    uint64_t first_index
    uint64_t previous
    uint64_t previous_zxid
    int64_t previous_time_ms
    uint64_t spare
    uint64_t spare2


cdef uint64_t fnv1a_over(const void *at, size_t size) noexcept nogil:
    cdef const unsigned char *byte = <const unsigned char *>at
    cdef uint64_t value = 0xcbf29ce484222325ull
    cdef size_t i
    for i in range(size):
        value = (value ^ byte[i]) * 0x100000001b3ull
    return value


cdef bint mark_is_right(const mark_t *mark, uint64_t offset) noexcept nogil:
    return (
        mark.magic == MARK_MAGIC and mark.size == MARK_SIZE and mark.offset == offset
        and mark.checksum == fnv1a_over(&mark.offset, MARK_SIZE - CHECKED_FROM)
    )


def fnv1a(const unsigned char[::1] data not None):
    """FNV-1a, 64 bits: the checksum of headers and marks."""
    return fnv1a_over(&data[0] if data.shape[0] else NULL, <size_t>data.shape[0])


cdef int tail_open(tail_t *tail, const char *directory, uint64_t segment) noexcept nogil:
    cdef char name[NAME_ROOM]
    FZ_ASSERT(sizeof(header_t) == HEADER_SIZE)
    FZ_ASSERT(sizeof(mark_t) == MARK_SIZE)
    memset(tail, 0, sizeof(tail_t))
    tail.fd = -1
    tail.directory_fd = c_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if tail.directory_fd < 0:
        return errno
    tail.zeros = <char *>calloc(1, ZEROS_AHEAD)
    if tail.zeros == NULL:
        return ENOMEM
    if segment:
        segment_name(name, segment)
        tail.fd = openat(tail.directory_fd, name, O_RDWR | O_CLOEXEC)
        if tail.fd < 0:
            return errno
        tail.segment = segment
    return 0


cdef void tail_free(tail_t *tail) noexcept nogil:
    tail_leave(tail)
    if tail.directory_fd >= 0:
        c_close(tail.directory_fd)
    free(tail.zeros)


cdef void tail_leave(tail_t *tail) noexcept nogil:
    if tail.fd >= 0:
        c_close(tail.fd)
    tail.fd = -1


cdef int tail_prepare(tail_t *tail, uint64_t block_size) noexcept nogil:
    cdef bint has_blocks = tail.end.last_index >= tail.segment
    cdef bint is_full = has_blocks and tail.offset + MARK_SIZE + block_size > tail.segment_bytes_max
    if tail.fd >= 0 and is_full and end_file(tail) != 0:
        return -1
    return create_segment(tail) if tail.fd < 0 else 0


cdef int tail_append(tail_t *tail, int count, uint64_t size, const end_t *end) noexcept nogil:
    cdef mark_t mark
    cdef uint64_t after = tail.offset + MARK_SIZE + size
    make_mark(tail, &mark, size)
    tail.parts[0].iov_base = &mark
    tail.parts[0].iov_len = MARK_SIZE
    count += 1
    if after > tail.file_size:
        tail.file_size = after
        if size < ZEROS_AHEAD and after + ZEROS_AHEAD <= tail.segment_bytes_max:
            tail.file_size = (after + ZEROS_AHEAD) // ALIGNMENT * ALIGNMENT
            tail.parts[count].iov_base = tail.zeros
            tail.parts[count].iov_len = tail.file_size - after
            count += 1
    if write_parts(tail, count) != 0 or sync_file(tail) != 0:
        return -1
    tail.offset = after
    tail.end = end[0]
    return 0


cdef int tail_remove(tail_t *tail, const uint64_t *segments, size_t count) noexcept nogil:
    cdef char name[NAME_ROOM]
    cdef size_t i
    for i in range(count):
        segment_name(name, segments[i])
        if unlinkat(tail.directory_fd, name, 0) != 0:
            return fail(tail, "remove", segments[i], 0, errno)
        if sync_directory(tail) != 0:
            return -1
    return 0


cdef int tail_go_on(tail_t *tail, uint64_t segment, uint64_t offset, const end_t *end) noexcept nogil:
    cdef char name[NAME_ROOM]
    tail_leave(tail)
    tail.end = end[0]
    if segment == 0:
        return create_segment(tail)
    segment_name(name, segment)
    tail.fd = openat(tail.directory_fd, name, O_RDWR | O_CLOEXEC)
    if tail.fd < 0:
        return fail(tail, "open", segment, 0, errno)
    tail.segment = segment
    tail.offset = offset
    # In this order: behind a seal there is nothing but zeros.
    return -1 if cut_file(tail) != 0 else seal(tail)


cdef int tail_close(tail_t *tail) noexcept nogil:
    if tail.fd < 0:
        return 0
    return -1 if seal(tail) != 0 else end_file(tail)


cdef int fail(tail_t *tail, const char *what, uint64_t segment, uint64_t offset, int code) noexcept nogil:
    """Keeps what failed; always answers -1."""
    tail.failed.code = code
    tail.failed.what = what
    tail.failed.segment = segment
    tail.failed.offset = offset
    return -1


cdef void segment_name(char *name, uint64_t segment) noexcept nogil:
    snprintf(name, NAME_ROOM, "log.%016llx", <unsigned long long>segment)


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef int write_parts(tail_t *tail, int count) noexcept nogil:
    """Writes the first `count` parts at tail.offset; a write that stops early has failed."""
    cdef uint64_t size = 0
    cdef ssize_t written
    cdef int i
    for i in range(count):
        size += tail.parts[i].iov_len
    written = pwritev(tail.fd, tail.parts, count, <int64_t>tail.offset)
    if written < 0:
        return fail(tail, "write", tail.segment, tail.offset, errno)
    if <uint64_t>written != size:       # the kernel stops where the next byte would fail; it does not say why
        return fail(tail, "write", tail.segment, tail.offset + <uint64_t>written, ENOSPC)
    return 0


cdef int sync_file(tail_t *tail) noexcept nogil:
    cdef uint64_t begin = now_ns()
    if fdatasync(tail.fd) != 0:
        return fail(tail, "sync", tail.segment, tail.offset, errno)
    tail.sync_ns = now_ns() - begin
    return 0


cdef int sync_directory(tail_t *tail) noexcept nogil:
    if fsync(tail.directory_fd) != 0:
        return fail(tail, "sync of the directory", 0, 0, errno)
    return 0


cdef void make_mark(tail_t *tail, mark_t *mark, uint64_t batch_size) noexcept nogil:
    mark.magic = MARK_MAGIC
    mark.size = MARK_SIZE
    mark.offset = tail.offset
    mark.previous = tail.end.last_checksum
    mark.batch_end = tail.offset + MARK_SIZE + batch_size
    mark.checksum = fnv1a_over(&mark.offset, MARK_SIZE - CHECKED_FROM)


cdef int cut_file(tail_t *tail) noexcept nogil:
    """Ends the file at tail.offset, and syncs that."""
    if ftruncate(tail.fd, <int64_t>tail.offset) != 0:
        return fail(tail, "truncate", tail.segment, tail.offset, errno)
    tail.file_size = tail.offset
    return sync_file(tail)


cdef int seal(tail_t *tail) noexcept nogil:
    """Proves all that stands before it, which is synced."""
    cdef mark_t mark
    make_mark(tail, &mark, 0)
    tail.parts[0].iov_base = &mark
    tail.parts[0].iov_len = MARK_SIZE
    if write_parts(tail, 1) != 0:
        return -1
    tail.offset += MARK_SIZE
    if tail.file_size < tail.offset:
        tail.file_size = tail.offset
    return sync_file(tail)


cdef int create_segment(tail_t *tail) noexcept nogil:
    """A new segment that goes on from tail.end."""
    cdef char name[NAME_ROOM]
    cdef header_t header
    cdef uint64_t segment = tail.end.last_index + 1
    segment_name(name, segment)
    tail.fd = openat(tail.directory_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0o600)
    if tail.fd < 0:
        return fail(tail, "create", segment, 0, errno)
    tail.segment = segment
    tail.offset = 0
    memset(&header, 0, sizeof(header))
    header.magic = HEADER_MAGIC
    header.version = HEADER_VERSION
    header.first_index = segment
    header.previous = tail.end.last_checksum
    header.previous_zxid = tail.end.last_zxid
    header.previous_time_ms = tail.end.last_time_ms
    header.checksum = fnv1a_over(&header.first_index, HEADER_SIZE - CHECKED_FROM)
    tail.parts[0].iov_base = &header
    tail.parts[0].iov_len = HEADER_SIZE
    if write_parts(tail, 1) != 0:
        return -1
    tail.offset = tail.file_size = HEADER_SIZE
    if fsync(tail.fd) != 0:
        return fail(tail, "sync", segment, 0, errno)
    return sync_directory(tail)


cdef int end_file(tail_t *tail) noexcept nogil:
    """Ends the last segment exactly where its last batch ends, and closes it."""
    if tail.file_size > tail.offset and cut_file(tail) != 0:
        return -1
    tail_leave(tail)
    return 0
