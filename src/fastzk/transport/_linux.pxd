"""What the worker's loop asks of the kernel: epoll, sockets, the monotonic clock."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLL_CTL_DEL
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        SHUT_WR
        SOCK_CLOEXEC
        SOCK_NONBLOCK
    int accept4(int fd, void *address, void *address_size, int flags)
    int setsockopt(int fd, int level, int option, const void *value, unsigned int size)
    int shutdown(int fd, int how)
    ssize_t recv(int fd, void *at, size_t size, int flags)
    ssize_t send(int fd, const void *at, size_t size, int flags)

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void *at, size_t size)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)


cdef inline uint64_t monotonic_ms() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000 + <uint64_t>time.tv_nsec // 1000000


cdef inline int epoll_change(int epoll, int operation, int fd, uint32_t events, int64_t tag) noexcept nogil:
    """0, or -1 with errno."""
    cdef epoll_event event
    event.events = events
    event.data.u64 = <uint64_t>tag
    return epoll_ctl(epoll, operation, fd, &event)
