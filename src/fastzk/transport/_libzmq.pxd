"""libzmq's message functions for compiled code: the very library that pyzmq has loaded, so that users install no other.

Sockets are made and configured in Python by pyzmq; compiled code gets their handle (`socket.underlying`) and moves messages
without the GIL.  Rule: while compiled code uses a socket, Python does not.
A ZeroMQ socket's file descriptor only says that something has changed: after each use ask zmq_events() again, or messages
lie there and nothing wakes the loop."""

from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    ZMQ_DONTWAIT = 1
    ZMQ_SNDMORE = 2
    ZMQ_POLLIN = 1
    ZMQ_EVENTS = 15
    ZMQ_SRCFD = 2               # of a message: the descriptor of the connection it came over
    EHOSTUNREACH = 113          # a ROUTER's peer is gone


ctypedef struct zmq_msg_t:      # opaque; 64 bytes, aligned to 8
    uint64_t words[8]


cdef struct libzmq_t:
    int (*msg_init)(zmq_msg_t *msg) noexcept nogil
    int (*msg_init_size)(zmq_msg_t *msg, size_t size) noexcept nogil
    void *(*msg_data)(zmq_msg_t *msg) noexcept nogil
    size_t (*msg_size)(const zmq_msg_t *msg) noexcept nogil
    int (*msg_more)(const zmq_msg_t *msg) noexcept nogil
    int (*msg_get)(const zmq_msg_t *msg, int option) noexcept nogil
    const char *(*msg_gets)(const zmq_msg_t *msg, const char *property) noexcept nogil
    int (*msg_recv)(zmq_msg_t *msg, void *socket, int flags) noexcept nogil
    int (*msg_send)(zmq_msg_t *msg, void *socket, int flags) noexcept nogil
    int (*msg_close)(zmq_msg_t *msg) noexcept nogil
    int (*getsockopt)(void *socket, int option, void *value, size_t *size) noexcept nogil
    int (*last_errno)() noexcept nogil


# The addresses, taken once at import.
cdef libzmq_t zmq

# Receives one part into `msg`, which the caller closes: 0, or the errno (EAGAIN: nothing there).
cdef int zmq_take(void *socket, zmq_msg_t *msg) noexcept nogil
# Sends head and body as one part (body may be empty): 0, or the errno; nothing was sent then.
cdef int zmq_put(void *socket, const void *head, size_t head_size, const void *body, size_t size, int flags) noexcept nogil
# Bytes of the address in a message's "Peer-Address" without the port, should it have one; 0 for NULL.
cdef uint32_t address_size(const char *text) noexcept nogil
# ZMQ_POLLIN if there is something to receive.  Also makes the socket look at what has happened behind its back.
cdef int zmq_events(void *socket) noexcept nogil
