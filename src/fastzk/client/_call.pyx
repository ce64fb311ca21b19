"""What a call is made of: see _call.pxd for the rules, call.py and results.py for what each is for."""

cimport cython
from fastzk.client._clock cimport monotonic_s
from libc.stdint cimport int64_t

import threading
from types import GenericAlias

from fastzk.defs import READ_OPS, OpCode, Xid
from fastzk.errors import ClientTimeoutError, FastzkError

cdef object _FastzkError = FastzkError
cdef object _make_lock = threading.Lock

# What a client may ask twice without harm, whether or not the first time was done.
cdef frozenset _REPEATABLE_OPS = frozenset(READ_OPS | {
    OpCode.SYNC, OpCode.AUTH, OpCode.SET_WATCHES, OpCode.SET_WATCHES2, OpCode.ADD_WATCH, OpCode.CHECK_WATCHES,
    OpCode.REMOVE_WATCHES})
# What is entered into the log, so that its result is among those that a server remembers.
cdef frozenset _LOGGED_OPS = frozenset({
    OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.DELETE, OpCode.SET_DATA, OpCode.SET_ACL,
    OpCode.MULTI, OpCode.SYNC, OpCode.RECONFIG, OpCode.CLOSE_SESSION})
# Numbers that are not counted up.
cdef dict _FIXED_XIDS = {OpCode.AUTH: Xid.AUTH, OpCode.SET_WATCHES: Xid.SET_WATCHES, OpCode.SET_WATCHES2: Xid.SET_WATCHES}
cdef int AUTH = OpCode.AUTH
cdef int GET_DATA = OpCode.GET_DATA


@cython.final
@cython.freelist(64)
cdef class Call:
    """One request on its way, encoded, and who waits for its answer."""

    def __init__(self, int op, bytes body not None, path=None, token=None, watch=None, function=None, removes=None,
                 bint is_own=False):
        """path: as the caller named it, for errors and events.  token: the driver's, handed back with the answer.
        watch: what function waits for.  removes: the watches that are taken off, all or those of function.
        is_own: the session's, nobody waits for it."""
        self.fill(op, body, path, token, watch, function, removes, is_own)

    cdef int fill(self, int op, bytes body, path, token, watch, function, removes, bint is_own) except -1:
        self.op = op
        self.body = body
        self.path = path
        self.token = token
        self.watch = watch
        self.function = function
        self.removes = removes
        self.is_own = is_own
        self.is_logged = op != GET_DATA and op in _LOGGED_OPS
        self.is_plain = function is None and removes is None and not is_own and op != AUTH
        if not self.is_plain:
            self.xid = _FIXED_XIDS.get(op, 0)
        return 0

    @property
    def is_repeatable(self):
        """It may be done twice without harm."""
        return self.op in _REPEATABLE_OPS


cdef Call new_call(int op, bytes body, path, token, watch, function, removes):
    cdef Call call = Call.__new__(Call)
    call.fill(op, body, path, token, watch, function, removes, False)
    return call


cdef class Waiting:
    """Where a thread can wait that has nothing else to do; here there is nothing to be done."""

    cdef bint wait_for(self, AsyncResult result, double timeout_s) except -1:
        return False


@cython.final
@cython.freelist(64)
cdef class AsyncResult:
    """The result of a call that may not be there yet (kazoo: IAsyncResult)."""

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, dispatch not None, finish=None):
        """dispatch: runs functions of the user elsewhere.  finish: makes the value of a reply's value or error, or raises."""
        self.dispatch = dispatch
        self.finish = finish

    def ready(self):
        """True when there is a value or an exception."""
        return self.is_ready

    def successful(self):
        """True when there is a value."""
        return self.is_ready and self.exception is None

    def wait(self, timeout=None):
        """Waits until it is ready, or for so many seconds; tells whether it is."""
        cdef double left_s, end_s
        if self.is_ready:
            return True
        left_s = -1.0 if timeout is None else max(0.0, timeout)
        if self.lane is not None:
            end_s = monotonic_s() + left_s
            self.lane.wait_for(self, left_s)
            if self.is_ready:
                return True
            if left_s > 0:
                left_s = max(0.0, end_s - monotonic_s())
        waiter = _make_lock()
        waiter.acquire()
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)
        if not self.is_ready:
            waiter.acquire(True, left_s if left_s >= 0 else -1)
        return self.is_ready

    def get(self, block=True, timeout=None):
        """The value, when it is there.  Raises the call's exception, or ClientTimeoutError when it takes too long."""
        if not self.is_ready and not (block and self.wait(timeout)):
            raise ClientTimeoutError("no result yet")
        if self.exception is not None:
            raise self.exception
        return self.value

    def get_nowait(self):
        """The value, if it is there.  Raises the call's exception, or ClientTimeoutError."""
        return self.get(False)

    def rawlink(self, callback):
        """Has a function called with this result once it is ready."""
        cdef list links = self.links
        if links is None:
            links = []
        # It compares functions of the user, who may run threads: what follows looks anew, and is one step.
        is_known = callback in links
        if not self.is_ready:
            if self.links is None:
                self.links = links
            if not is_known:
                self.links.append(callback)
            return
        self._run(callback)

    def unlink(self, callback):
        """Takes back what rawlink() did, if it is not too late."""
        cdef list links = self.links
        if links is not None and callback in links:
            links.remove(callback)

    # ---- the client's own

    def on_ready(self, step):
        """Has a step of the client's own run in the thread that completes this: it must neither block nor raise."""
        cdef list fresh = []
        if not self.is_ready:
            if self.steps is None:
                self.steps = fresh
            self.steps.append(step)
            return
        step(self)

    def complete(self, value, error, int64_t zxid=0):
        """Sets the result from a reply's value or error, and wakes who waits."""
        made = self.made(value, error)
        self.settle(made[0], made[1], zxid)

    cdef tuple made(self, value, error):
        if self.finish is None:
            return value, error
        try:
            return self.finish(value, error), None
        except _FastzkError as raised:
            return None, raised

    cdef int settle(self, value, error, int64_t zxid) except -1:
        cdef list waiters, links, steps
        assert not self.is_ready, "a result is set once"
        self.value = value
        self.exception = error
        self.zxid = zxid
        self.is_ready = True
        if self.waiters is None and self.steps is None and self.links is None:
            return 0
        waiters, links, steps = self.waiters, self.links, self.steps
        self.waiters = self.links = self.steps = None
        for waiter in waiters or ():
            waiter.release()
        for step in steps or ():
            step(self)
        for link in links or ():
            self._run(link)
        return 0

    def _run(self, callback):
        if not self.dispatch(callback, self):
            callback(self)


def _any_function():
    """Its type is that of all compiled functions."""


cdef type _Compiled = type(_any_function)


cdef AsyncResult new_result(dispatch, finish, Waiting lane):
    cdef AsyncResult result = AsyncResult.__new__(AsyncResult)
    result.is_quick = finish is None or type(finish) is _Compiled
    result.dispatch = dispatch
    result.finish = finish
    result.lane = lane
    return result
