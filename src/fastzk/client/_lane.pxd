"""How threads of callers send and receive themselves, and the client's own thread only when none of them does.

    ask()         nothing is unanswered: the call leaves at once, from the caller's thread.  Else it waits for the next
                  message, sent by whoever comes first: a caller with BATCH of them, one that waits, the own thread
    wait_for()    the caller becomes the receiver: takes what comes in, for all, until its own result is there
    the rest      connecting, pings, events, watches, faults, functions of users: the own thread's (driver.py)

Rules:
  * Flow, socket and Session are used under the lock only, by whichever thread; it is never held while waiting.
  * One thread receives: the pump (a caller) or else the own thread, which then watches the socket's descriptor.  A descriptor of
    ZeroMQ tells a change once, to whoever uses the socket next: so who lets go of the lock has received all there is, or
    has told the receiver.
  * Threads of callers do not run the interpreter under the lock: a signal's handler may raise there, or use the client.  What Flow
    does not take is left in `rest` for the own thread, and nothing is received before that has been handed in."""

from fastzk.client._call cimport AsyncResult, Call, Waiting
from fastzk.client._flow cimport Flow
from fastzk.transport._libzmq cimport zmq_msg_t

from cpython.pythread cimport PyThread_type_lock


cdef class Lane(Waiting):
    cdef PyThread_type_lock lock
    cdef unsigned long owner            # the thread that has it
    cdef int pid                        # of the process that it belongs to
    cdef object dispatch
    cdef object refusal
    cdef Flow flow
    # The link in use, if there is one; its message that found no room; what Python must take first of what came in.
    cdef object link_socket
    cdef void *socket
    cdef int socket_fd
    cdef int monitor_fd
    cdef bytes unsent
    cdef list rest
    cdef int epoll_fd                   # what the own thread waits for
    cdef int wake_fd                    # an eventfd: the own thread has something to do
    cdef int nudge_fd                   # an eventfd: the pump must look around
    cdef bint is_woken
    cdef bint is_pumped                 # there is a pump
    cdef bint is_stirred                # the own thread has received something in this turn
    cdef bint is_open                   # Session.is_flowing, and the link stands
    cdef readonly bint is_over          # no call is taken any more
    cdef list incoming                  # calls for the own thread
    cdef readonly int unanswered        # calls queued or sent, in `incoming` too
    cdef list room_waiters              # locks of callers that wait until there are fewer

    cdef int acquire(self) except -1
    cdef void release(self) noexcept
    cdef void wake(self) noexcept
    cdef void tell_receiver(self) noexcept
    cdef int submit(self, Call call, Call before) except -1
    cdef int push(self) except -1
    cdef int pull(self, bint is_own) except -1
    cdef int take(self, zmq_msg_t *msg, bint is_own) except -1
    cdef bint put(self, bytes message) except -1
    cdef bint send_and_receive(self, AsyncResult result, double timeout_s) except -1
    cdef bint pump(self, AsyncResult result, double timeout_s) except -1
    cdef void count_answered(self, int count) noexcept
    cdef void close_descriptors(self) noexcept
