"""What the groups of calls have in common: how one is checked, encoded, handed to the Driver and waited for.

    Caller <-- Reads, Writes, Identities, PersistentWatches, Ensemble <-- Client

Rule: paths that a user names are the user's; the chroot is put in front in _full(), and taken off results with _short()."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastzk.client import values
from fastzk.client._lane import FORKED
from fastzk.client.call import Call
from fastzk.client.driver import Driver
from fastzk.client.results import AsyncResult
from fastzk.client.watches import WatchFunction, WatchKind
from fastzk.data import ACL
from fastzk.defs import WatcherType
from fastzk.errors import ConnectionClosedError, FastzkError, ForkedError
from fastzk.wire import records

_T = TypeVar("_T")


class Caller:
    """A client as its calls see it."""

    def __init__(self, chroot: str, default_acl: Sequence[ACL], linearizable: bool) -> None:
        self.chroot = chroot
        self.default_acl = default_acl
        self.linearizable = linearizable
        self._pid = os.getpid()
        # None when stopped.
        self._driver: Driver | None = None

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(FORKED)

    def _result(self, finish: "values.Finish[_T] | None" = None) -> AsyncResult[_T]:
        """One that is completed by steps of the client's own."""
        driver = self._driver
        return AsyncResult(driver.callbacks.put if driver is not None else _no_dispatch, finish)

    def _call(
        self,
        request: Any,
        path: str | None,
        finish: "values.Finish[_T] | None" = None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
        removes: WatcherType | None = None,
        before: Call | None = None,
    ) -> AsyncResult[_T]:
        """Sends a request whose paths are full ones; path is the user's.  before: what leaves just before it."""
        return self._ask(request.op, records.encode_request(request), path, finish, watch, function, removes, before)

    def _ask(
        self,
        op: int,
        body: bytes,
        path: str | None,
        finish: "values.Finish[_T] | None" = None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
        removes: WatcherType | None = None,
        before: Call | None = None,
    ) -> AsyncResult[_T]:
        """As _call(), with the request encoded."""
        if function is not None and not callable(function):
            raise TypeError("Invalid type for 'watch' (must be a callable)")
        driver = self._driver
        if driver is not None:
            return driver.lane.ask(op, body, path, finish, watch, function, removes, before)
        self._check_process()
        result: AsyncResult[_T] = self._result(finish)
        result.complete(None, ConnectionClosedError("the client is not started"))
        return result

    def _get(self, op: int, body: bytes, path: str, finish: "values.Finish[_T]") -> _T:
        """As _ask() and get(), by this thread alone where that can be."""
        driver = self._driver
        if driver is None:
            return self._ask(op, body, path, finish).get()
        return driver.lane.get(op, body, path, finish)

    def _read(
        self,
        request: Any,
        path: str | None,
        finish: "values.Finish[_T]",
        linearizable: bool | None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
    ) -> AsyncResult[_T]:
        """Sends a read, behind a sync in the same message if it is to be linearizable (None: as the client is)."""
        if not self._is_linearizable(linearizable):
            return self._call(request, path, finish, watch, function)
        synced: AsyncResult[Any] = self._result()

        def finish_if_synced(reply: Any, error: FastzkError | None) -> _T:
            # Answers come in order, so this one is there.
            if synced.exception is not None:
                raise synced.exception
            return finish(reply, error)

        sync = records.Sync(self.chroot or "/")
        before = Call(sync.op, records.encode_request(sync), path, synced)
        return self._call(request, path, finish_if_synced, watch, function, before=before)

    def _is_linearizable(self, linearizable: bool | None) -> bool:
        return self.linearizable if linearizable is None else linearizable

    def _full(self, path: str) -> str:
        """The server's path for the user's."""
        if not self.chroot:
            return path
        return self.chroot if path == "/" else self.chroot + path

    def _short(self, path: str) -> str:
        """The user's path for the server's."""
        return path.removeprefix(self.chroot) or "/"

    def _acl_or_default(self, acl: Sequence[ACL] | None) -> Sequence[ACL]:
        if acl is None:
            return self.default_acl
        return values.checked_acl(acl)


def _no_dispatch(function: Callable[..., object], argument: Any) -> bool:
    return False
