"""The addresses of libzmq's functions, and three calls built of them.

pyzmq's wheels hold libzmq inside one extension module, whose symbols are visible to dlsym; where pyzmq was built against a
system library, dlsym finds them among the dependencies of the same module.  No header is needed."""

import ctypes

import zmq.backend.cython._zmq as _backend

from libc.errno cimport EINTR
from libc.stdint cimport uint32_t, uintptr_t
from libc.string cimport memcpy, strchr, strlen, strrchr


cdef uintptr_t address(object library, str name) except 0:
    """Where a function of libzmq begins.  Raises AttributeError when the library has none of that name."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value


cdef int find_all() except -1:
    """Fills `zmq`.  Raises OSError or AttributeError when pyzmq's library is not what it is thought to be."""
    library = ctypes.CDLL(_backend.__file__)
    zmq.msg_init = <int (*)(zmq_msg_t *) noexcept nogil>address(library, "zmq_msg_init")
    zmq.msg_init_size = <int (*)(zmq_msg_t *, size_t) noexcept nogil>address(library, "zmq_msg_init_size")
    zmq.msg_data = <void *(*)(zmq_msg_t *) noexcept nogil>address(library, "zmq_msg_data")
    zmq.msg_size = <size_t (*)(const zmq_msg_t *) noexcept nogil>address(library, "zmq_msg_size")
    zmq.msg_more = <int (*)(const zmq_msg_t *) noexcept nogil>address(library, "zmq_msg_more")
    zmq.msg_get = <int (*)(const zmq_msg_t *, int) noexcept nogil>address(library, "zmq_msg_get")
    zmq.msg_gets = <const char *(*)(const zmq_msg_t *, const char *) noexcept nogil>address(library, "zmq_msg_gets")
    zmq.msg_recv = <int (*)(zmq_msg_t *, void *, int) noexcept nogil>address(library, "zmq_msg_recv")
    zmq.msg_send = <int (*)(zmq_msg_t *, void *, int) noexcept nogil>address(library, "zmq_msg_send")
    zmq.msg_close = <int (*)(zmq_msg_t *) noexcept nogil>address(library, "zmq_msg_close")
    zmq.getsockopt = <int (*)(void *, int, void *, size_t *) noexcept nogil>address(library, "zmq_getsockopt")
    zmq.last_errno = <int (*)() noexcept nogil>address(library, "zmq_errno")
    return 0


find_all()


cdef int zmq_take(void *socket, zmq_msg_t *msg) noexcept nogil:
    cdef int error
    zmq.msg_init(msg)
    while zmq.msg_recv(msg, socket, ZMQ_DONTWAIT) < 0:
        error = zmq.last_errno()
        if error != EINTR:
            zmq.msg_close(msg)
            return error
    return 0


cdef int zmq_put(void *socket, const void *head, size_t head_size, const void *body, size_t size, int flags) noexcept nogil:
    cdef zmq_msg_t msg
    cdef char *at
    cdef int error
    if zmq.msg_init_size(&msg, head_size + size) != 0:
        return zmq.last_errno()
    at = <char *>zmq.msg_data(&msg)
    if head_size:
        memcpy(at, head, head_size)
    if size:
        memcpy(at + head_size, body, size)
    while zmq.msg_send(&msg, socket, flags | ZMQ_DONTWAIT) < 0:
        error = zmq.last_errno()
        if error != EINTR:
            zmq.msg_close(&msg)
            return error
    return 0


cdef uint32_t address_size(const char *text) noexcept nogil:
    """`1.2.3.4`, `1.2.3.4:5`, `::1`: one colon parts a port from an address of IPv4; several are one of IPv6."""
    cdef const char *colon
    if text == NULL:
        return 0
    colon = strrchr(text, c':')
    if colon != NULL and strchr(text, c':') == colon:
        return <uint32_t>(colon - text)
    return <uint32_t>strlen(text)


cdef int zmq_events(void *socket) noexcept nogil:
    cdef int events = 0
    cdef size_t size = sizeof(events)
    while zmq.getsockopt(socket, ZMQ_EVENTS, &events, &size) != 0:
        if zmq.last_errno() != EINTR:
            return 0
    return events
