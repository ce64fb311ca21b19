"""What an _async call gives: the place where its result will be.

Rule: a result is set once, by the client's thread.  What rawlink() is given runs on the callback thread."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from fastzk.errors import ClientTimeoutError, FastzkError

_T = TypeVar("_T")
# Runs functions of the user elsewhere, in order; False: there is no such place any more.
Dispatch = Callable[[Callable[..., object], Any], bool]


class AsyncResult(Generic[_T]):
    """The result of a call that may not be there yet (kazoo: IAsyncResult)."""

    __slots__ = (
        "_dispatch", "_error", "_finish", "_is_ready", "_links", "_lock", "_steps", "_value", "_waiters", "zxid",
    )  # fmt: skip

    def __init__(
        self,
        lock: threading.Lock,
        dispatch: Dispatch,
        finish: Callable[[Any, FastzkError | None], _T] | None = None,
    ) -> None:
        """lock: shared by all results of a client.  finish: makes the value of a reply's value or error, or raises."""
        self._lock = lock
        self._dispatch = dispatch
        self._finish = finish
        self._is_ready = False
        self._value: _T | None = None
        self._error: FastzkError | None = None
        self._waiters: list[threading.Lock] = []
        # Functions of the user, and of the client itself: these run at once, in the thread that completes.
        self._links: list[Callable[[AsyncResult[_T]], object]] = []
        self._steps: list[Callable[[AsyncResult[_T]], None]] = []
        # The state it was answered at; 0 when no server answered.
        self.zxid = 0

    @property
    def value(self) -> _T | None:
        """The value, None until there is one."""
        return self._value

    @property
    def exception(self) -> FastzkError | None:
        """What get() raises, None when it raises nothing, or nothing yet."""
        return self._error

    def ready(self) -> bool:
        """True when there is a value or an exception."""
        return self._is_ready

    def successful(self) -> bool:
        """True when there is a value."""
        return self._is_ready and self._error is None

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is ready, or for so many seconds; tells whether it is."""
        with self._lock:
            if self._is_ready:
                return True
            waiter = threading.Lock()
            waiter.acquire()
            self._waiters.append(waiter)
        waiter.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        return self._is_ready

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """The value, when it is there.  Raises the call's exception, or ClientTimeoutError when it takes too long."""
        if not self._is_ready and not (block and self.wait(timeout)):
            raise ClientTimeoutError("no result yet")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def get_nowait(self) -> _T:
        """The value, if it is there.  Raises the call's exception, or ClientTimeoutError."""
        return self.get(block=False)

    def rawlink(self, callback: "Callable[[AsyncResult[_T]], object]") -> None:
        """Has a function called with this result once it is ready."""
        with self._lock:
            if not self._is_ready:
                if callback not in self._links:
                    self._links.append(callback)
                return
        self._run(callback)

    def unlink(self, callback: "Callable[[AsyncResult[_T]], object]") -> None:
        """Takes back what rawlink() did, if it is not too late."""
        with self._lock:
            if callback in self._links:
                self._links.remove(callback)

    # ---- the client's own

    def on_ready(self, step: "Callable[[AsyncResult[_T]], None]") -> None:
        """Has a step of the client's own run in the thread that completes this: it must neither block nor raise."""
        with self._lock:
            if not self._is_ready:
                self._steps.append(step)
                return
        step(self)

    def complete(self, value: Any, error: FastzkError | None, zxid: int = 0) -> None:
        """Sets the result from a reply's value or error, and wakes who waits."""
        if self._finish is not None:
            try:
                value, error = self._finish(value, error), None
            except FastzkError as raised:
                value, error = None, raised
        with self._lock:
            assert not self._is_ready, "a result is set once"
            self._value = value
            self._error = error
            self.zxid = zxid
            self._is_ready = True
            waiters, links, steps = self._waiters, self._links, self._steps
            self._waiters, self._links, self._steps = [], [], []
        for waiter in waiters:
            waiter.release()
        for step in steps:
            step(self)
        for link in links:
            self._run(link)

    def _run(self, callback: "Callable[[AsyncResult[_T]], object]") -> None:
        if not self._dispatch(callback, self):
            callback(self)


def when_all(results: Sequence[AsyncResult[Any]], step: Callable[[], None]) -> None:
    """Runs a step of the client's own when all results are ready, in the thread that completes the last."""

    def go_on(index: int) -> None:
        while index < len(results) and results[index].ready():
            index += 1
        if index == len(results):
            step()
        else:
            results[index].on_ready(lambda _: go_on(index + 1))

    go_on(0)
