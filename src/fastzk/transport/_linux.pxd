"""What the worker's loop asks of the kernel: epoll, sockets, the monotonic clock."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, strlen


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
        AF_INET
        AF_INET6
    struct sockaddr_storage:
        uint16_t ss_family
    struct sockaddr:
        pass
    int accept4(int fd, sockaddr *address, void *address_size, int flags)
    int setsockopt(int fd, int level, int option, const void *value, unsigned int size)
    int shutdown(int fd, int how)
    ssize_t recv(int fd, void *at, size_t size, int flags)
    ssize_t send(int fd, const void *at, size_t size, int flags)

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_TCP
        INET6_ADDRSTRLEN
    struct sockaddr_in:
        uint16_t sin_port
        uint32_t sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        uint8_t sin6_addr[16]

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *text, unsigned int size)
    uint16_t ntohs(uint16_t value)

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


cdef inline uint32_t peer_text(const sockaddr_storage *address, char *text, uint16_t *port) noexcept nogil:
    """Writes the address of a peer into `text` (room for INET6_ADDRSTRLEN), gives its size; 0: it is neither IPv4 nor IPv6.

    An address of IPv4 that comes over a socket of IPv6 is written as the one of IPv4: ACLs name it so."""
    cdef const sockaddr_in *v4 = <const sockaddr_in *>address
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *>address
    cdef const char *ip = <const char *>&v6.sin6_addr
    cdef int family = address.ss_family
    if family == AF_INET:
        ip = <const char *>&v4.sin_addr
        port[0] = ntohs(v4.sin_port)
    elif family == AF_INET6:
        port[0] = ntohs(v6.sin6_port)
        if memcmp(ip, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
            family = AF_INET
            ip += 12
    else:
        return 0
    return <uint32_t>strlen(text) if inet_ntop(family, ip, text, INET6_ADDRSTRLEN) != NULL else 0
