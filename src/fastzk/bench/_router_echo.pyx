"""An echo server for the native protocol: what libzmq's ROUTER and one thread give when a reply costs nothing to find.

Rules: a message in is a message out: the replies to all frames of the one, well-formed and in order (_echo.pyx says which).
An empty message, a goodbye, is answered with nothing.  It is the floor that a node's native port is held against.

How it works: pyzmq makes and binds the socket, whose handle is used here without the GIL.  One message is awaited in libzmq
itself, which is its fastest way; the routing id goes back as the message that it came in, and only the reply is made."""

from fastzk._core.layout cimport buffer_begin, buffer_clear, buffer_free, buffer_live, buffer_t
from fastzk.bench._echo cimport ANSWER_BAD, answer
from fastzk.transport._libzmq cimport EHOSTUNREACH, ZMQ_SNDMORE, zmq, zmq_msg_t, zmq_put
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport uintptr_t


cdef class RouterEcho:
    """A bound ROUTER.  serve() never returns but by an error."""

    cdef object _router             # kept alive
    cdef void *router
    cdef buffer_t output

    def __cinit__(self, router not None):
        """`router` is a socket of pyzmq that nobody else uses from now on."""
        self._router = router
        self.router = <void *><uintptr_t>router.underlying

    def __dealloc__(self):
        buffer_free(&self.output)

    def serve(self):
        """Answers until a signal ends the process.  Raises OSError when the socket fails."""
        cdef int error
        while True:
            with nogil:
                error = self.turn()
            if error != EINTR:
                raise OSError(error, "the ROUTER failed")

    cdef int turn(self) noexcept nogil:
        """Answers messages until one cannot be received or answered: the errno."""
        cdef zmq_msg_t name, payload
        cdef int error
        while True:
            zmq.msg_init(&name)
            if zmq.msg_recv(&name, self.router, 0) < 0:
                error = zmq.last_errno()
                zmq.msg_close(&name)
                return error
            zmq.msg_init(&payload)
            error = 0
            # The parts of a message come together, so that this one does not wait.
            if zmq.msg_more(&name) and zmq.msg_recv(&payload, self.router, 0) >= 0:
                error = self.give(&name, &payload)
            while zmq.msg_more(&payload) and zmq.msg_recv(&payload, self.router, 0) >= 0:
                pass                # more than one part is not the protocol
            zmq.msg_close(&payload)
            zmq.msg_close(&name)
            if error and error != EHOSTUNREACH and error != EAGAIN:
                return error

    cdef int give(self, zmq_msg_t *name, zmq_msg_t *payload) noexcept nogil:
        """Answers one message: 0, or the errno.  What is no frame of the protocol is answered with a goodbye."""
        cdef ssize_t done
        buffer_clear(&self.output)
        if zmq.msg_size(payload) == 0 or zmq.msg_more(payload):
            return 0
        done = answer(<const char *>zmq.msg_data(payload), zmq.msg_size(payload), &self.output)
        if done == ANSWER_BAD or <size_t>done != zmq.msg_size(payload):
            buffer_clear(&self.output)
        if zmq.msg_send(name, self.router, ZMQ_SNDMORE) < 0:
            return zmq.last_errno()
        return zmq_put(self.router, buffer_begin(&self.output), buffer_live(&self.output), NULL, 0, 0)
