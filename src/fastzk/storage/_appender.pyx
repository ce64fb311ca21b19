"""The log thread: writes and syncs without the GIL what the engine hands it, and says when it is on the disk.

Theory: operations go into a queue; the thread takes all that is there, writes the blocks among them as one batch (mark,
blocks, zeros) with one pwritev and one fdatasync, puts them on the done list and makes the eventfd readable.  While
it syncs, the next batch collects.  docs/internals/log-format.md says what is written when, and why in that order.

Rule: the thread touches no Python object; take() gives the buffers back under the GIL.
Rule: after the first error it does nothing more, for good: what a failed sync left on the disk is unknown.
Rule: the fields below `lock` are touched only under it; those of `the thread's` only by the thread, once it runs."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from fastzk._core.layout cimport BLOCK_MAGIC, FZ_ASSERT, block_t
from libc.errno cimport EINTR, ENOSPC, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_create(pthread_t *thread, void *attributes, void *(*start)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, void *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_signal(pthread_cond_t *condition)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    enum:
        SIG_SETMASK
    int sigfillset(sigset_t *signals)
    int pthread_sigmask(int how, const sigset_t *new, sigset_t *old)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t pwritev(int fd, const iovec *parts, int count, int64_t offset)

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)

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
    ssize_t c_read "read"(int fd, void *to, size_t size)
    ssize_t c_write "write"(int fd, const void *at, size_t size)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)


cdef enum:
    HEADER_SIZE = 64
    MARK_SIZE = 40
    BATCH_BLOCKS_MAX = 1000             # pwritev takes 1024 parts
    BATCH_BYTES_MAX = 8 << 20           # bounds how long the first of a batch waits for the last
    ZEROS_AHEAD = 256 << 10             # measured: log-format.md
    ALIGNMENT = 4096
    PATH_ROOM = 32

    OP_APPEND = 1
    OP_CUT = 2
    OP_CLOSE = 3

cdef uint32_t HEADER_MAGIC = 0x67537a46u
cdef uint32_t HEADER_VERSION = 1
cdef uint32_t MARK_MAGIC = 0x316b724du


cdef struct end_t:                      # where a log ends
    uint64_t last_index
    uint64_t last_zxid
    int64_t last_time_ms
    uint64_t last_checksum


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


cdef packed struct mark_t:
    uint32_t magic
    uint32_t size
    uint64_t checksum
    uint64_t offset
    uint64_t previous
    uint64_t batch_end


cdef struct op_t:
    op_t *next
    int kind
    # OP_APPEND
    Py_buffer payload
    uint64_t segment                    # where it went
    uint64_t offset
    # OP_CUT: `removed` segments go, in order; then the log goes on from `end`, in segment target at target_offset; if
    # target is 0, in a new one.  With target_is_kept nothing but the removal is done.
    uint64_t *removed
    size_t removed_count
    uint64_t target
    uint64_t target_offset
    bint target_is_kept
    end_t end


cdef uint64_t fnv1a_over(const void *at, size_t size) noexcept nogil:
    cdef const unsigned char *byte = <const unsigned char *>at
    cdef uint64_t value = 0xcbf29ce484222325ull
    cdef size_t i
    for i in range(size):
        value = (value ^ byte[i]) * 0x100000001b3ull
    return value


def fnv1a(const unsigned char[::1] data not None):
    """FNV-1a, 64 bits: the checksum of headers and marks."""
    return fnv1a_over(&data[0] if data.shape[0] else NULL, data.shape[0])


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef struct thread_t:
    pthread_mutex_t lock
    pthread_cond_t wake
    op_t *queue_first                   # handed over, not yet taken by the thread
    op_t *queue_last
    op_t *done_first                    # finished, not yet taken by the engine
    op_t *done_last
    uint64_t syncs                      # of batches, since the start
    uint64_t sync_ns                    # how long the last one took
    int error_code                      # errno of what failed first; 0 = nothing did
    uint64_t error_segment              # where; 0 = the directory
    uint64_t error_offset
    const char *error_what

    # The thread's.
    int directory_fd
    int event_fd
    int fd                              # of the last segment; -1 = there is none yet
    uint64_t segment                    # its first index
    uint64_t offset                     # where the next mark goes
    uint64_t file_size                  # from offset to here: zeros
    uint64_t segment_bytes_max
    end_t end
    iovec parts[BATCH_BLOCKS_MAX + 2]
    char *zeros
    int result


cdef void *thread_main(void *argument) noexcept nogil:
    cdef sigset_t signals
    sigfillset(&signals)                # signals are for Python's main thread
    pthread_sigmask(SIG_SETMASK, &signals, NULL)
    (<thread_t *>argument).result = thread_run(<thread_t *>argument)
    return NULL


cdef int fail(thread_t *t, const char *what, uint64_t segment, uint64_t offset, int code) noexcept nogil:
    """Keeps the first error for take(); always answers -1."""
    pthread_mutex_lock(&t.lock)
    t.error_code = code
    t.error_what = what
    t.error_segment = segment
    t.error_offset = offset
    pthread_mutex_unlock(&t.lock)
    return -1


cdef void segment_path(char *path, uint64_t segment) noexcept nogil:
    snprintf(path, PATH_ROOM, "log.%016llx", <unsigned long long>segment)


cdef int write_all(thread_t *t, int count, uint64_t offset) noexcept nogil:
    """Writes t.parts at offset; a write that stops early is an error.  0, or -1 with the error kept."""
    cdef uint64_t size = 0
    cdef ssize_t written
    cdef int i
    for i in range(count):
        size += t.parts[i].iov_len
    written = pwritev(t.fd, t.parts, count, <int64_t>offset)
    if written < 0:
        return fail(t, "write", t.segment, offset, errno)
    if <uint64_t>written != size:       # the kernel stops early where the next byte would fail: the disk is full
        return fail(t, "write", t.segment, offset + <uint64_t>written, ENOSPC)
    return 0


cdef int sync_file(thread_t *t) noexcept nogil:
    cdef uint64_t begin = now_ns()
    if fdatasync(t.fd) != 0:
        return fail(t, "sync", t.segment, t.offset, errno)
    pthread_mutex_lock(&t.lock)
    t.sync_ns = now_ns() - begin
    pthread_mutex_unlock(&t.lock)
    return 0


cdef int sync_directory(thread_t *t) noexcept nogil:
    if fsync(t.directory_fd) != 0:
        return fail(t, "sync of the directory", 0, 0, errno)
    return 0


cdef void make_mark(thread_t *t, mark_t *mark, uint64_t batch_size) noexcept nogil:
    mark.magic = MARK_MAGIC
    mark.size = MARK_SIZE
    mark.offset = t.offset
    mark.previous = t.end.last_checksum
    mark.batch_end = t.offset + MARK_SIZE + batch_size
    mark.checksum = fnv1a_over(&mark.offset, MARK_SIZE - 16)


cdef int cut_file(thread_t *t) noexcept nogil:
    """Ends the file at t.offset, and syncs that."""
    if ftruncate(t.fd, <int64_t>t.offset) != 0:
        return fail(t, "truncate", t.segment, t.offset, errno)
    t.file_size = t.offset
    return sync_file(t)


cdef int seal(thread_t *t) noexcept nogil:
    """Proves all that stands before it, which must be synced."""
    cdef mark_t mark
    make_mark(t, &mark, 0)
    t.parts[0].iov_base = &mark
    t.parts[0].iov_len = MARK_SIZE
    if write_all(t, 1, t.offset) != 0:
        return -1
    t.offset += MARK_SIZE
    if t.file_size < t.offset:
        t.file_size = t.offset
    return sync_file(t)


cdef int create_segment(thread_t *t) noexcept nogil:
    """A new segment that goes on from t.end."""
    cdef char path[PATH_ROOM]
    cdef header_t header
    cdef uint64_t segment = t.end.last_index + 1
    segment_path(path, segment)
    FZ_ASSERT(t.fd < 0)
    t.fd = openat(t.directory_fd, path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0o600)
    if t.fd < 0:
        return fail(t, "create", segment, 0, errno)
    t.segment = segment
    t.offset = 0
    memset(&header, 0, sizeof(header))
    header.magic = HEADER_MAGIC
    header.version = HEADER_VERSION
    header.first_index = segment
    header.previous = t.end.last_checksum
    header.previous_zxid = t.end.last_zxid
    header.previous_time_ms = t.end.last_time_ms
    header.checksum = fnv1a_over(&header.first_index, HEADER_SIZE - 16)
    t.parts[0].iov_base = &header
    t.parts[0].iov_len = HEADER_SIZE
    if write_all(t, 1, 0) != 0:
        return -1
    t.offset = t.file_size = HEADER_SIZE
    if fsync(t.fd) != 0:
        return fail(t, "sync", segment, 0, errno)
    return sync_directory(t)


cdef int close_segment(thread_t *t) noexcept nogil:
    """Ends the last segment exactly where its last batch ends."""
    if t.file_size > t.offset and cut_file(t) != 0:
        return -1
    c_close(t.fd)
    t.fd = -1
    return 0


cdef op_t *write_batch(thread_t *t, op_t *first) noexcept nogil:
    """Writes and syncs as many blocks from `first` on as make one batch.  The last of them, or NULL: it failed."""
    cdef const block_t *block
    cdef op_t *op = first
    cdef op_t *last = NULL
    cdef mark_t mark
    cdef end_t end
    cdef int count = 1
    cdef uint64_t size = 0, after
    if t.fd >= 0 and t.offset > HEADER_SIZE and \
            t.offset + MARK_SIZE + <uint64_t>first.payload.len > t.segment_bytes_max:
        if close_segment(t) != 0:
            return NULL
    if t.fd < 0 and create_segment(t) != 0:
        return NULL
    end = t.end
    after = t.offset + MARK_SIZE
    while op != NULL and op.kind == OP_APPEND and count <= BATCH_BLOCKS_MAX:
        if last != NULL and (size + <uint64_t>op.payload.len > BATCH_BYTES_MAX or
                             after + <uint64_t>op.payload.len > t.segment_bytes_max):
            break
        block = <const block_t *>op.payload.buf
        FZ_ASSERT(block.magic == BLOCK_MAGIC and <Py_ssize_t>block.size == op.payload.len)
        FZ_ASSERT(block.first_index == end.last_index + 1 and block.previous == end.last_checksum)
        FZ_ASSERT(block.first_zxid > end.last_zxid)
        end.last_index = block.first_index + block.count - 1
        end.last_zxid = block.first_zxid + block.count - 1
        end.last_time_ms = block.time_ms
        end.last_checksum = block.checksum
        op.segment = t.segment
        op.offset = after
        t.parts[count].iov_base = op.payload.buf
        t.parts[count].iov_len = <size_t>op.payload.len
        count += 1
        size += <uint64_t>op.payload.len
        after += <uint64_t>op.payload.len
        last = op
        op = op.next
    make_mark(t, &mark, size)
    t.parts[0].iov_base = &mark
    t.parts[0].iov_len = MARK_SIZE
    if after > t.file_size:
        t.file_size = after
        if size < ZEROS_AHEAD and after + ZEROS_AHEAD <= t.segment_bytes_max:
            t.file_size = (after + ZEROS_AHEAD) // ALIGNMENT * ALIGNMENT
            t.parts[count].iov_base = t.zeros
            t.parts[count].iov_len = t.file_size - after
            count += 1
    if write_all(t, count, t.offset) != 0 or sync_file(t) != 0:
        return NULL
    t.offset = after
    t.end = end
    return last


cdef int apply_cut(thread_t *t, op_t *op) noexcept nogil:
    """Removes segments one by one, each removal synced before the next; then goes on where the operation says."""
    cdef char path[PATH_ROOM]
    cdef size_t i
    if not op.target_is_kept and t.fd >= 0:
        c_close(t.fd)
        t.fd = -1
    for i in range(op.removed_count):
        segment_path(path, op.removed[i])
        if unlinkat(t.directory_fd, path, 0) != 0:
            return fail(t, "remove", op.removed[i], 0, errno)
        if sync_directory(t) != 0:
            return -1
    if op.target_is_kept:
        return 0
    t.end = op.end
    if op.target == 0:
        return create_segment(t)
    segment_path(path, op.target)
    t.fd = openat(t.directory_fd, path, O_RDWR | O_CLOEXEC)
    if t.fd < 0:
        return fail(t, "open", op.target, 0, errno)
    t.segment = op.target
    t.offset = op.target_offset
    if cut_file(t) != 0:                # before the seal: behind the end there must be nothing but zeros
        return -1
    return seal(t)


cdef void finish(thread_t *t, op_t *first, op_t *last, bint is_batch) noexcept nogil:
    """Puts operations first..last on the done list, and says so."""
    last.next = NULL
    pthread_mutex_lock(&t.lock)
    if t.done_last != NULL:
        t.done_last.next = first
    else:
        t.done_first = first
    t.done_last = last
    if is_batch:
        t.syncs += 1
    pthread_mutex_unlock(&t.lock)
    announce(t)


cdef void announce(thread_t *t) noexcept nogil:
    """Makes the eventfd readable.  (It fails only when it is so already, 2^64 times over.)"""
    cdef uint64_t one = 1
    while c_write(t.event_fd, &one, 8) < 0 and errno == EINTR:
        pass


cdef int thread_run(thread_t *t) noexcept nogil:
    """The thread: 0 after OP_CLOSE, -1 after an error."""
    cdef op_t *op = NULL
    cdef op_t *last
    cdef op_t *following
    while True:
        if op == NULL:
            pthread_mutex_lock(&t.lock)
            while t.queue_first == NULL:
                pthread_cond_wait(&t.wake, &t.lock)
            op = t.queue_first
            t.queue_first = t.queue_last = NULL
            pthread_mutex_unlock(&t.lock)
        last = op
        if op.kind == OP_APPEND:
            last = write_batch(t, op)
        elif op.kind == OP_CUT:
            if apply_cut(t, op) != 0:
                last = NULL
        elif t.fd >= 0 and (seal(t) != 0 or close_segment(t) != 0):
            last = NULL
        if last == NULL:
            give_back(t, op)
            announce(t)
            return -1
        following = last.next
        if op.kind == OP_CLOSE:
            finish(t, op, last, False)
            return 0
        finish(t, op, last, op.kind == OP_APPEND)
        op = following


cdef void give_back(thread_t *t, op_t *first) noexcept nogil:
    """What an error left undone goes back before the queue: nobody takes it from there, and it is freed at the end."""
    cdef op_t *last = first
    while last.next != NULL:
        last = last.next
    pthread_mutex_lock(&t.lock)
    last.next = t.queue_first
    t.queue_first = first
    if t.queue_last == NULL:
        t.queue_last = last
    pthread_mutex_unlock(&t.lock)


cdef void ops_free(op_t *op) noexcept:
    cdef op_t *following
    while op != NULL:
        following = op.next
        if op.kind == OP_APPEND:
            PyBuffer_Release(&op.payload)
        free(op.removed)
        free(op)
        op = following


cdef op_t *op_new(int kind) except NULL:
    cdef op_t *op = <op_t *>calloc(1, sizeof(op_t))
    if op == NULL:
        raise MemoryError
    op.kind = kind
    return op


cdef int read_end(end_t *into, tuple end) except -1:
    """(last_index, last_zxid, last_time_ms, last_checksum)"""
    into.last_index, into.last_zxid, into.last_time_ms, into.last_checksum = end
    return 0


@cython.final
cdef class Appender:
    """The door to one log thread.  Raises OSError if the directory or the segment cannot be opened.

    segment 0 says that there is no segment yet.  end is (last_index, last_zxid, last_time_ms, last_checksum)."""
    cdef thread_t t
    cdef pthread_t thread
    cdef bint is_running                # the thread was started and not joined
    cdef bint is_closing
    cdef str directory
    cdef readonly int fd                # an eventfd: readable when take() has something to say

    def __cinit__(self, str directory, uint64_t segment, uint64_t offset, uint64_t file_size, tuple end,
                  uint64_t segment_bytes_max):
        cdef bytes path = directory.encode()
        cdef char name[PATH_ROOM]
        cdef int code
        self.t.directory_fd = self.t.event_fd = self.t.fd = self.fd = -1
        pthread_mutex_init(&self.t.lock, NULL)
        pthread_cond_init(&self.t.wake, NULL)
        self.directory = directory
        self.t.directory_fd = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if self.t.directory_fd < 0:
            raise OSError(errno, "cannot open the directory of the log", directory)
        self.fd = self.t.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.fd < 0:
            raise OSError(errno, "cannot make an eventfd")
        if segment:
            segment_path(name, segment)
            self.t.fd = openat(self.t.directory_fd, name, O_RDWR | O_CLOEXEC)
            if self.t.fd < 0:
                raise OSError(errno, "cannot open the last segment", f"{directory}/{name.decode()}")
        self.t.zeros = <char *>calloc(1, ZEROS_AHEAD)
        if self.t.zeros == NULL:
            raise MemoryError
        self.t.segment = segment
        self.t.offset = offset
        self.t.file_size = file_size
        self.t.segment_bytes_max = segment_bytes_max
        read_end(&self.t.end, end)
        code = pthread_create(&self.thread, NULL, thread_main, &self.t)
        if code != 0:
            raise OSError(code, "cannot start the log thread")
        self.is_running = True

    def __dealloc__(self):
        if self.is_running:
            self.close()
        ops_free(self.t.done_first)
        ops_free(self.t.queue_first)
        if self.t.fd >= 0:
            c_close(self.t.fd)
        if self.t.event_fd >= 0:
            c_close(self.t.event_fd)
        if self.t.directory_fd >= 0:
            c_close(self.t.directory_fd)
        free(self.t.zeros)
        pthread_cond_destroy(&self.t.wake)
        pthread_mutex_destroy(&self.t.lock)

    cdef int _submit(self, op_t *op) except -1:
        """Hands one operation over; never waits for the disk."""
        if self.is_closing:
            ops_free(op)
            raise ValueError("the log writer is closed")
        pthread_mutex_lock(&self.t.lock)
        if self.t.queue_last != NULL:
            self.t.queue_last.next = op
        else:
            self.t.queue_first = op
        self.t.queue_last = op
        pthread_cond_signal(&self.t.wake)
        pthread_mutex_unlock(&self.t.lock)
        return 0

    def append(self, payload not None):
        """Queues one block, which the caller has checked.  Its bytes are lent until take() has told of it."""
        cdef op_t *op = op_new(OP_APPEND)
        try:
            PyObject_GetBuffer(payload, &op.payload, PyBUF_SIMPLE)
        except BaseException:
            free(op)
            raise
        self._submit(op)

    def cut(self, removed not None, uint64_t target, uint64_t target_offset, tuple end not None):
        """Queues: remove these segments in order, end segment `target` at target_offset, go on from `end`.

        With target 0 the log goes on in a new segment."""
        cdef op_t *op = op_cut(removed)
        op.target = target
        op.target_offset = target_offset
        try:
            read_end(&op.end, end)
        except BaseException:
            ops_free(op)
            raise
        self._submit(op)

    def drop(self, removed not None):
        """Queues: remove these segments in order.  The last one is not among them."""
        cdef op_t *op = op_cut(removed)
        op.target_is_kept = True
        self._submit(op)

    def take(self):
        """What was finished since the last call, in order, and (batches synced so far, nanoseconds of the last sync).

        An append gives (segment, offset), a cut or a drop None.  Empties the eventfd first."""
        cdef op_t *first
        cdef op_t *op
        cdef uint64_t count, syncs, sync_ns
        while c_read(self.fd, &count, 8) < 0 and errno == EINTR:
            pass
        pthread_mutex_lock(&self.t.lock)
        first = self.t.done_first
        self.t.done_first = self.t.done_last = NULL
        syncs = self.t.syncs
        sync_ns = self.t.sync_ns
        pthread_mutex_unlock(&self.t.lock)
        finished = []
        try:
            op = first
            while op != NULL:
                if op.kind == OP_APPEND:
                    finished.append((op.segment, op.offset))
                elif op.kind == OP_CUT:
                    finished.append(None)
                op = op.next
        finally:
            ops_free(first)
        return finished, syncs, sync_ns

    @property
    def error(self):
        """None, or what ended the thread: (errno, file, offset, what it was doing)."""
        cdef int code
        cdef uint64_t segment, offset
        cdef const char *what
        pthread_mutex_lock(&self.t.lock)
        code = self.t.error_code
        segment = self.t.error_segment
        offset = self.t.error_offset
        what = self.t.error_what
        pthread_mutex_unlock(&self.t.lock)
        if code == 0:
            return None
        file = f"{self.directory}/log.{segment:016x}" if segment else self.directory
        return code, file, offset, what.decode()

    def close(self):
        """Waits until all that was queued is on the disk, seals the log and ends the thread; harmless when repeated."""
        if not self.is_running:
            return
        self._submit(op_new(OP_CLOSE))
        self.is_closing = True
        self.is_running = False
        with nogil:
            pthread_join(self.thread, NULL)


cdef op_t *op_cut(removed) except NULL:
    cdef op_t *op = op_new(OP_CUT)
    cdef size_t i
    op.removed_count = len(removed)
    op.removed = <uint64_t *>calloc(op.removed_count + 1, sizeof(uint64_t))
    try:
        if op.removed == NULL:
            raise MemoryError
        for i in range(op.removed_count):
            op.removed[i] = removed[i]
    except BaseException:
        ops_free(op)
        raise
    return op
