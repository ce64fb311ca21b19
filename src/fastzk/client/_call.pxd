"""One request on its way, and the place where its result will be: what compiled code of the client sees of both.

Rule: what stands here between two calls of Python functions is one step for all threads: the GIL is held, and nothing of it
runs the interpreter.  Only what says so below may."""

from libc.stdint cimport int32_t, int64_t


cdef class Call:
    """One request, encoded, and who waits for its answer; see call.py."""

    cdef public int op
    cdef public bytes body
    cdef public object path         # as the caller named it, for errors and events; None
    cdef public object token        # the driver's, handed back with the answer: an AsyncResult
    cdef public object watch        # what function waits for
    cdef public object function
    cdef public object removes      # the watches that are taken off, all or those of function
    cdef public bint is_own         # the session's, nobody waits for it
    cdef readonly bint is_logged    # it enters the log: the server remembers its result
    # False: the session has more to do with it than to send it and to hand over its answer.
    cdef readonly bint is_plain
    cdef public int32_t xid         # under which it is sent, 0 before the first time
    cdef public int tries           # how often it was sent

    cdef int fill(self, int op, bytes body, path, token, watch, function, removes, bint is_own) except -1


cdef class Waiting:
    """Where a thread can wait that has nothing else to do: the Lane."""

    # Moves messages until the result is ready, or for so long (negative: without end).  False: that is not done here, or no
    # longer; wait for somebody else to do it.  Raises what a signal's handler raises.
    cdef bint wait_for(self, AsyncResult result, double timeout_s) except -1


cdef class AsyncResult:
    """See results.py."""

    cdef readonly object exception  # what get() raises, None when it raises nothing, or nothing yet
    cdef readonly object value      # None until there is one
    cdef public int64_t zxid        # the state it was answered at, 0 when no server answered
    cdef object dispatch
    cdef object finish
    cdef Waiting lane               # None: there is none
    cdef list waiters               # locks; None as long as there are none, as of the two below
    cdef list links                 # functions of the user
    cdef list steps                 # of the client itself: these run at once, in the thread that completes
    cdef bint is_ready
    cdef bint is_quick              # making its value does not run the interpreter

    # True when its completion runs functions, which threads of callers must not do in the middle of a message.
    cdef inline bint has_followers(self) noexcept:
        return self.links is not None or self.steps is not None

    # The value and error that a reply makes; these may be set then.  May run the interpreter: a finish function.
    cdef tuple made(self, value, error)
    # Sets the result, and wakes who waits.
    cdef int settle(self, value, error, int64_t zxid) except -1


# Makes what AsyncResult() makes; is_quick if finish is compiled.
cdef AsyncResult new_result(dispatch, finish, Waiting lane)
# Makes what Call() makes.
cdef Call new_call(int op, bytes body, path, token, watch, function, removes)
