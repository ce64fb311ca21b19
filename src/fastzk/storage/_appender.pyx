"""The log thread: writes and syncs without the GIL what the engine hands it, and says when it is on the disk.

Theory: operations go into a queue; the thread takes all that is there, writes the blocks among them as one batch with
one write and one sync, puts them on the done list and makes the eventfd readable.  While it syncs, the next batch
collects.

Rule: the thread touches no Python object; take() gives the buffers back under the GIL.
Rule: after the first error it does nothing more, for good: what a failed sync left on the disk is unknown.
Rule: what `lock` guards is touched only under it; the tail only by the thread, once it runs."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from fastzk._core.layout cimport BLOCK_MAGIC, FZ_ASSERT, block_t
from fastzk.storage._tail cimport (
    BATCH_BLOCKS_MAX,
    MARK_SIZE,
    end_t,
    failure_t,
    tail_append,
    tail_close,
    tail_free,
    tail_go_on,
    tail_leave,
    tail_open,
    tail_prepare,
    tail_remove,
    tail_t,
)
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy


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

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
    enum:
        POLLIN
    int poll(pollfd *files, unsigned long count, int timeout_ms)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    ssize_t c_read "read"(int fd, void *to, size_t size)
    ssize_t c_write "write"(int fd, const void *at, size_t size)


cdef enum:
    BATCH_BYTES_MAX = 8 << 20   # bounds how long the first of a batch waits for the last

    OP_APPEND = 1
    OP_CUT = 2
    OP_DROP = 3
    OP_CLOSE = 4


cdef struct op_t:
    op_t *next
    int kind
    # OP_APPEND
    Py_buffer payload
    uint64_t segment            # where it went
    uint64_t offset
    # OP_CUT, OP_DROP: these segments go, in order
    uint64_t *removed
    size_t removed_count
    # OP_CUT: then the log goes on from `end`, in segment target at target_offset; in a new one if target is 0
    uint64_t target
    uint64_t target_offset
    end_t end


cdef struct thread_t:
    pthread_mutex_t lock
    pthread_cond_t wake
    op_t *queue_first           # handed over, not yet taken by the thread
    op_t *queue_last
    op_t *done_first            # finished, not yet taken by the engine
    op_t *done_last
    uint64_t syncs              # of batches, since the start
    uint64_t sync_ns            # how long the last one took
    failure_t failed            # what ended the thread
    # Not under the lock.
    int event_fd
    tail_t tail


cdef void *thread_main(void *argument) noexcept nogil:
    cdef sigset_t signals
    sigfillset(&signals)        # signals are for Python's main thread
    pthread_sigmask(SIG_SETMASK, &signals, NULL)
    thread_run(<thread_t *>argument)
    return NULL


cdef void thread_run(thread_t *t) noexcept nogil:
    """Until OP_CLOSE is done, or an error."""
    cdef op_t *op = NULL
    cdef op_t *last
    cdef op_t *following
    cdef int kind
    while True:
        if op == NULL:
            pthread_mutex_lock(&t.lock)
            while t.queue_first == NULL:
                pthread_cond_wait(&t.wake, &t.lock)
            op = t.queue_first
            t.queue_first = t.queue_last = NULL
            pthread_mutex_unlock(&t.lock)
        kind = op.kind
        last = execute(&t.tail, op)
        if last == NULL:
            give_up(t, op)
            return
        following = last.next
        finish(t, op, last)
        if kind == OP_CLOSE:
            FZ_ASSERT(following == NULL)
            return
        op = following


cdef op_t *execute(tail_t *tail, op_t *op) noexcept nogil:
    """Does op, and the appends behind it that go into the same batch.  The last one done, or NULL: it failed."""
    if op.kind == OP_APPEND:
        return write_batch(tail, op)
    if op.kind == OP_CLOSE:
        return op if tail_close(tail) == 0 else NULL
    if op.kind == OP_CUT:
        tail_leave(tail)
    if tail_remove(tail, op.removed, op.removed_count) != 0:
        return NULL
    if op.kind == OP_CUT and tail_go_on(tail, op.target, op.target_offset, &op.end) != 0:
        return NULL
    return op


cdef op_t *write_batch(tail_t *tail, op_t *first) noexcept nogil:
    cdef block_t block          # a copy of the head: a peer's message need not be aligned
    cdef op_t *op = first
    cdef op_t *last = NULL
    cdef end_t end
    cdef uint64_t size = 0, offset, block_size
    cdef int count = 0
    if tail_prepare(tail, <uint64_t>first.payload.len) != 0:
        return NULL
    end = tail.end
    offset = tail.offset + MARK_SIZE
    while op != NULL and op.kind == OP_APPEND and count < BATCH_BLOCKS_MAX:
        memcpy(&block, op.payload.buf, sizeof(block_t))
        block_size = <uint64_t>op.payload.len
        if count and (size + block_size > BATCH_BYTES_MAX or offset + block_size > tail.segment_bytes_max):
            break
        FZ_ASSERT(block.magic == BLOCK_MAGIC and block.size == block_size)
        FZ_ASSERT(block.first_index == end.last_index + 1)
        FZ_ASSERT(block.first_zxid > end.last_zxid)
        FZ_ASSERT(block.previous == end.last_checksum)
        end.last_index += block.count
        end.last_zxid = block.first_zxid + block.count - 1
        end.last_time_ms = block.time_ms
        end.last_checksum = block.checksum
        op.segment = tail.segment
        op.offset = offset
        count += 1
        tail.parts[count].iov_base = op.payload.buf
        tail.parts[count].iov_len = block_size
        size += block_size
        offset += block_size
        last = op
        op = op.next
    return last if tail_append(tail, count, size, &end) == 0 else NULL


cdef void finish(thread_t *t, op_t *first, op_t *last) noexcept nogil:
    """Puts operations first..last on the done list, and says so."""
    last.next = NULL
    pthread_mutex_lock(&t.lock)
    if t.done_last != NULL:
        t.done_last.next = first
    else:
        t.done_first = first
    t.done_last = last
    t.syncs += first.kind == OP_APPEND
    t.sync_ns = t.tail.sync_ns
    pthread_mutex_unlock(&t.lock)
    announce(t)


cdef void give_up(thread_t *t, op_t *first) noexcept nogil:
    """Keeps the error.  What was not done goes back before the queue, where nobody takes it until all is freed."""
    cdef op_t *last = first
    while last.next != NULL:
        last = last.next
    pthread_mutex_lock(&t.lock)
    t.failed = t.tail.failed
    FZ_ASSERT(t.failed.code != 0)
    last.next = t.queue_first
    t.queue_first = first
    if t.queue_last == NULL:
        t.queue_last = last
    pthread_mutex_unlock(&t.lock)
    announce(t)


cdef void announce(thread_t *t) noexcept nogil:
    """Makes the eventfd readable.  (A full counter refuses, and is readable.)"""
    cdef uint64_t one = 1
    while c_write(t.event_fd, &one, 8) < 0 and errno == EINTR:
        pass


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
        cdef bytes path
        cdef int code
        self.t.event_fd = self.fd = self.t.tail.fd = self.t.tail.directory_fd = -1
        self.directory = directory
        pthread_mutex_init(&self.t.lock, NULL)
        pthread_cond_init(&self.t.wake, NULL)
        path = directory.encode()
        code = tail_open(&self.t.tail, path, segment)
        if code != 0:
            raise OSError(code, "cannot open the end of the log", f"{directory}/log.{segment:016x}")
        self.t.tail.offset = offset
        self.t.tail.file_size = file_size
        self.t.tail.segment_bytes_max = segment_bytes_max
        read_end(&self.t.tail.end, end)
        self.fd = self.t.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.fd < 0:
            raise OSError(errno, "cannot make an eventfd")
        code = pthread_create(&self.thread, NULL, thread_main, &self.t)
        if code != 0:
            raise OSError(code, "cannot start the log thread")
        self.is_running = True

    def __dealloc__(self):
        if self.is_running:
            self.close()
        ops_free(self.t.done_first)
        ops_free(self.t.queue_first)
        tail_free(&self.t.tail)
        if self.t.event_fd >= 0:
            c_close(self.t.event_fd)
        pthread_cond_destroy(&self.t.wake)
        pthread_mutex_destroy(&self.t.lock)

    cdef int _submit(self, op_t *first) except -1:
        """Hands operations over, all at once; never waits for the disk."""
        cdef op_t *last = first
        if self.is_closing:
            ops_free(first)
            raise ValueError("the log writer is closed")
        while last.next != NULL:
            last = last.next
        pthread_mutex_lock(&self.t.lock)
        if self.t.queue_last != NULL:
            self.t.queue_last.next = first
        else:
            self.t.queue_first = first
        self.t.queue_last = last
        pthread_cond_signal(&self.t.wake)
        pthread_mutex_unlock(&self.t.lock)
        return 0

    def append(self, payloads not None):
        """Queues blocks, which the caller has checked.  Their bytes are lent until take() has told of them."""
        cdef op_t *first = NULL
        cdef op_t *last = NULL
        cdef op_t *op
        try:
            for payload in payloads:
                op = op_append(payload)
                if last != NULL:
                    last.next = op
                else:
                    first = op
                last = op
        except BaseException:
            ops_free(first)
            raise
        if first != NULL:
            self._submit(first)

    def cut(self, removed not None, uint64_t target, uint64_t target_offset, tuple end not None):
        """Queues: remove these segments in order, end segment `target` at target_offset, go on from `end`.

        With target 0 the log goes on in a new segment."""
        cdef op_t *op = op_removal(OP_CUT, removed)
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
        cdef op_t *op = op_removal(OP_DROP, removed)
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
                elif op.kind != OP_CLOSE:
                    finished.append(None)
                op = op.next
        finally:
            ops_free(first)
        return finished, syncs, sync_ns

    def wait(self):
        """Returns when take() or error has something new to say."""
        cdef pollfd waited
        waited.fd = self.fd
        waited.events = POLLIN
        with nogil:
            while poll(&waited, 1, -1) < 0 and errno == EINTR:
                pass

    @property
    def error(self):
        """None, or what ended the thread: (errno, file, offset, what it was doing)."""
        cdef failure_t failed
        pthread_mutex_lock(&self.t.lock)
        failed = self.t.failed
        pthread_mutex_unlock(&self.t.lock)
        if failed.code == 0:
            return None
        file = f"{self.directory}/log.{failed.segment:016x}" if failed.segment else self.directory
        return failed.code, file, failed.offset, failed.what.decode()

    def close(self):
        """Waits until all that was queued is on the disk, seals the log and ends the thread; harmless when repeated."""
        if not self.is_running:
            return
        self._submit(op_new(OP_CLOSE))
        self.is_closing = True
        self.is_running = False
        with nogil:
            pthread_join(self.thread, NULL)


cdef op_t *op_append(payload) except NULL:
    cdef op_t *op = op_new(OP_APPEND)
    try:
        PyObject_GetBuffer(payload, &op.payload, PyBUF_SIMPLE)
    except BaseException:
        free(op)
        raise
    return op


cdef op_t *op_removal(int kind, removed) except NULL:
    cdef op_t *op = op_new(kind)
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
