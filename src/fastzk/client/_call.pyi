from collections.abc import Callable
from types import GenericAlias
from typing import Any, Generic, TypeVar

from fastzk.client.watches import WatchFunction, WatchKind
from fastzk.defs import WatcherType
from fastzk.errors import FastzkError

_T = TypeVar("_T")

class Call:
    op: int
    body: bytes
    path: str | None
    token: Any
    watch: WatchKind | None
    function: WatchFunction | None
    removes: WatcherType | None
    is_own: bool
    xid: int
    tries: int
    def __init__(
        self,
        op: int,
        body: bytes,
        path: str | None = None,
        token: Any = None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
        removes: WatcherType | None = None,
        is_own: bool = False,
    ) -> None: ...
    @property
    def is_logged(self) -> bool: ...
    @property
    def is_plain(self) -> bool: ...
    @property
    def is_repeatable(self) -> bool: ...

class Waiting: ...

class AsyncResult(Generic[_T]):
    zxid: int
    def __init__(
        self,
        dispatch: Callable[[Callable[..., object], Any], bool],
        finish: Callable[[Any, FastzkError | None], _T] | None = None,
    ) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    @property
    def value(self) -> _T | None: ...
    @property
    def exception(self) -> FastzkError | None: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def get(self, block: bool = True, timeout: float | None = None) -> _T: ...
    def get_nowait(self) -> _T: ...
    def rawlink(self, callback: Callable[[AsyncResult[_T]], object]) -> None: ...
    def unlink(self, callback: Callable[[AsyncResult[_T]], object]) -> None: ...
    def on_ready(self, step: Callable[[AsyncResult[_T]], None]) -> None: ...
    def complete(self, value: Any, error: FastzkError | None, zxid: int = 0) -> None: ...
