"""The calls that look: exists, get, get_children and their kin, several of them in one request, and sync.

Rule: each has a twin _async, which gives an AsyncResult at once; the plain one is the twin and a wait.
Rule: a linearizable read sees all that anybody was told is done before the read was asked for; it costs a sync, which a
quorum confirms, and no message more.  Another sees no less than this client has seen before."""

from typing import Any, Literal, overload

from fastzk.client import values
from fastzk.client.caller import Caller
from fastzk.client.results import AsyncResult
from fastzk.client.transaction import MultiReadRequest
from fastzk.client.watches import WatchFunction, WatchKind
from fastzk.data import ZnodeStat
from fastzk.defs import OpCode
from fastzk.errors import FastzkError
from fastzk.wire import records

# An enumeration's members take longer to look up than a call has time.
_EXISTS, _GET_DATA = int(OpCode.EXISTS), int(OpCode.GET_DATA)


class Reads(Caller):
    """Of a Client."""

    def exists(self, path: str, watch: WatchFunction | None = None, linearizable: bool | None = None) -> ZnodeStat | None:
        """A znode's Stat, or None.  watch: called once when it comes, changes or goes."""
        if watch is not None or self._is_linearizable(linearizable):
            return self.exists_async(path, watch, linearizable).get()
        path = values.checked_path(path)
        return self._get(_EXISTS, values.path_flag(self.chroot, path, False), path, values.none_if_missing)

    def exists_async(
        self, path: str, watch: WatchFunction | None = None, linearizable: bool | None = None
    ) -> AsyncResult[ZnodeStat | None]:
        """As exists()."""
        path = values.checked_path(path)
        if watch is None and not self._is_linearizable(linearizable):
            return self._ask(_EXISTS, values.path_flag(self.chroot, path, False), path, values.none_if_missing)
        request = records.Exists(self._full(path), watch is not None)
        return self._read(request, path, values.none_if_missing, linearizable, WatchKind.DATA, watch)

    def get(self, path: str, watch: WatchFunction | None = None, linearizable: bool | None = None) -> tuple[bytes, ZnodeStat]:
        """A znode's data (null reads as empty) and Stat.  watch: called once when it changes or goes.

        Raises NoNodeError."""
        if watch is not None or self._is_linearizable(linearizable):
            return self.get_async(path, watch, linearizable).get()
        path = values.checked_path(path)
        return self._get(_GET_DATA, values.path_flag(self.chroot, path, False), path, values.data_and_stat)

    def get_async(
        self, path: str, watch: WatchFunction | None = None, linearizable: bool | None = None
    ) -> AsyncResult[tuple[bytes, ZnodeStat]]:
        """As get()."""
        path = values.checked_path(path)
        if watch is None and not self._is_linearizable(linearizable):
            return self._ask(_GET_DATA, values.path_flag(self.chroot, path, False), path, values.data_and_stat)
        request = records.GetData(self._full(path), watch is not None)
        return self._read(request, path, values.data_and_stat, linearizable, WatchKind.DATA, watch)

    @overload
    def get_children(
        self,
        path: str,
        watch: WatchFunction | None = ...,
        include_data: Literal[False] = ...,
        linearizable: bool | None = ...,
    ) -> list[str]: ...
    @overload
    def get_children(
        self,
        path: str,
        watch: WatchFunction | None = ...,
        *,
        include_data: Literal[True],
        linearizable: bool | None = ...,
    ) -> tuple[list[str], ZnodeStat]: ...
    def get_children(
        self,
        path: str,
        watch: WatchFunction | None = None,
        include_data: bool = False,
        linearizable: bool | None = None,
    ) -> Any:
        """The names of a znode's children in no order, with include_data these and its ZnodeStat.

        watch: called once when a child comes or goes, or the znode goes.  Raises NoNodeError."""
        result: AsyncResult[Any] = self.get_children_async(
            path,
            watch,
            include_data=include_data,  # type: ignore[call-overload]
            linearizable=linearizable,
        )
        return result.get()

    @overload
    def get_children_async(
        self,
        path: str,
        watch: WatchFunction | None = ...,
        include_data: Literal[False] = ...,
        linearizable: bool | None = ...,
    ) -> AsyncResult[list[str]]: ...
    @overload
    def get_children_async(
        self,
        path: str,
        watch: WatchFunction | None = ...,
        *,
        include_data: Literal[True],
        linearizable: bool | None = ...,
    ) -> AsyncResult[tuple[list[str], ZnodeStat]]: ...
    def get_children_async(
        self,
        path: str,
        watch: WatchFunction | None = None,
        include_data: bool = False,
        linearizable: bool | None = None,
    ) -> AsyncResult[Any]:
        """As get_children()."""
        path = values.checked_path(path)
        cls = records.GetChildren2 if include_data else records.GetChildren
        finish = values.children_and_stat if include_data else values.children_of
        return self._read(cls(self._full(path), watch is not None), path, finish, linearizable, WatchKind.CHILD, watch)

    def get_all_children_number(self, path: str, linearizable: bool | None = None) -> int:
        """How many znodes there are below one.  Raises NoNodeError."""
        return self.get_all_children_number_async(path, linearizable).get()

    def get_all_children_number_async(self, path: str, linearizable: bool | None = None) -> AsyncResult[int]:
        """As get_all_children_number()."""
        path = values.checked_path(path)
        return self._read(records.GetAllChildrenNumber(self._full(path)), path, values.value_of, linearizable)

    def get_ephemerals(self, path: str = "/", linearizable: bool | None = None) -> list[str]:
        """The paths of this session's ephemeral znodes that begin with a path."""
        return self.get_ephemerals_async(path, linearizable).get()

    def get_ephemerals_async(self, path: str = "/", linearizable: bool | None = None) -> AsyncResult[list[str]]:
        """As get_ephemerals()."""
        path = values.checked_path(path)
        inside = self.chroot + "/"

        def finish(reply: Any, error: FastzkError | None) -> list[str]:
            # The server looks at how a path begins, and /app-2 begins as /app does.
            return [
                self._short(found) for found in values.value_of(reply, error) if found.startswith(inside) or found == self.chroot
            ]

        return self._read(records.GetEphemerals(self._full(path)), path, finish, linearizable)

    def multi_read(self, linearizable: bool | None = None) -> MultiReadRequest:
        """Several reads that are answered together; see MultiReadRequest."""
        return MultiReadRequest(self, linearizable)

    def sync(self, path: str) -> str:
        """Waits until the server in use has all that was written before, and gives the path."""
        return self.sync_async(path).get()

    def sync_async(self, path: str) -> AsyncResult[str]:
        """As sync()."""
        path = values.checked_path(path)

        def finish(reply: Any, error: FastzkError | None) -> str:
            return self._short(values.value_of(reply, error))

        return self._call(records.Sync(self._full(path)), path, finish)
