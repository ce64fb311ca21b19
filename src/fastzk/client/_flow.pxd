"""The calls of a session on their way over an open connection: numbered and encoded in, answered in order.

Rule: what is usual is done here, and nothing else: a plain call whose reply is the next one, well formed, with a zxid that does
not fall.  take() stops before all else (events, pings, watches, faults), and the Session, which is Python, decides.
Rule: a reply's value is made before the call leaves `pending`: if making it raises, nothing has happened."""

from fastzk.client._call cimport AsyncResult, Call
from libc.stdint cimport int32_t, int64_t


cdef class Flow:
    # Calls to be sent, and those that were sent and are unanswered, both in order: deques.
    cdef public object queue
    cdef public object pending
    cdef object watches                 # its SessionWatches
    cdef public int32_t xid             # the last one given out; counts on over connections
    cdef public int64_t last_zxid       # the highest that an answer had
    cdef public int logged_count        # of the pending ones: those that the server has to remember the results of
    cdef public bint is_remembered      # the server in use remembers results, or the last one did
    cdef public double sent_at          # when something was sent last, and when something came
    cdef public double heard_at
    # Told of the messages that threads of callers send and receive (a test's), or None.
    cdef public object tap

    # The next message: `head`, and calls from the queue as far as they may leave now; None when that is nothing.  Of threads
    # other than the session's own with is_own False: it stops before what would run the interpreter.
    cdef bytes encode(self, bytes head, bint is_own)
    cdef Py_ssize_t taken               # bytes that the last take() took, also when it raised
    # Takes replies from the front of a message; gives how many bytes.  Without `outcomes` the tokens, which are AsyncResults,
    # are completed at once.  With is_own False it stops before what would run the interpreter, the user's functions or ours.
    cdef Py_ssize_t take(self, const char *data, Py_ssize_t size, list outcomes, bint is_own) except -1
    cdef bint take_one(self, const char *data, Py_ssize_t size, list outcomes, bint is_own) except -1
