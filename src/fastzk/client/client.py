"""The blocking client: what an application calls.

    with Client("h1:2281,h2:2281/chroot") as client:
        client.create("/a", b"value", makepath=True)
        data, stat = client.get("/a", watch=print)

Names, arguments and behaviour are kazoo's (docs/from-kazoo.md tells the differences).  Safe to share between threads.

How: a call is checked and encoded in the caller's thread and handed to the Driver, whose thread completes the result.
Each blocking call is its _async twin and a wait; the twins leave together in one message when there are several.
Rule: paths here are the user's; the chroot is put in front in _call(), and taken off results and events."""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar, overload

from fastzk import limits, paths
from fastzk.client import values
from fastzk.client.driver import Driver
from fastzk.client.hosts import HostRing, parse_hosts
from fastzk.client.results import AsyncResult, when_all
from fastzk.client.retry import Backoff, Retry
from fastzk.client.session import Call, Session
from fastzk.client.watches import WatchFunction, WatchKind
from fastzk.data import ACL, OPEN_ACL_UNSAFE, ZnodeStat
from fastzk.defs import ANY_VERSION, ClientState, CreateMode, KeeperState
from fastzk.errors import (
    BadArgumentsError,
    ClientTimeoutError,
    ConfigurationError,
    ConnectionClosedError,
    ConnectionLoss,
    FastzkError,
    ForkedError,
    NoNodeError,
)
from fastzk.wire import records

_log = logging.getLogger("fastzk.client")
_T = TypeVar("_T")
Listener = Callable[[ClientState], object]

_CLIENT_STATES = {
    KeeperState.CONNECTED: ClientState.CONNECTED,
    KeeperState.CONNECTING: ClientState.SUSPENDED,
    KeeperState.EXPIRED_SESSION: ClientState.LOST,
    KeeperState.CLOSED: ClientState.LOST,
}


class ServerInfo(NamedTuple):
    """The server that serves this client now, and what they have agreed on."""

    host: str
    port: int
    session_id: int
    timeout: float  # of the session, in seconds, as granted
    last_zxid: int  # the newest state that this client has seen


class Client:
    """A client of a fastzk ensemble.

    Every call raises ConnectionClosedError when the client is not started; SessionExpiredError when the session ended
    while the call waited; ConnectionLoss when the connection was lost after a write was sent (it may have been done),
    or when no server could be reached for as long as a session lives; ForkedError in a forked process; TypeError and
    InvalidPathError for arguments that make no sense, BadArgumentsError for a request that is too large; NoAuthError
    when the ACL does not allow it.  What a call raises besides stands at the call."""

    def __init__(
        self,
        hosts: str | Sequence[str] = "127.0.0.1",
        timeout: float = 10.0,
        client_id: tuple[int, bytes] | None = None,
        default_acl: Sequence[ACL] | None = None,
        randomize_hosts: bool = True,
        command_retry: Retry | None = None,
        random: Random | None = None,
    ) -> None:
        """A client that is not started yet.

        hosts: "host:port,host:port/chroot".  timeout: of the session, in seconds; the server may grant another.
        client_id: of a session to go on with.  command_retry: what `retry` is (by default it never gives up).  random: a
        seeded one for tests.
        Raises ConfigurationError."""
        self.hosts, self.chroot = parse_hosts(hosts)
        if not 0 < timeout < 2**31 / 1000:
            raise ConfigurationError(f"timeout {timeout!r} is no time in seconds")
        self.default_acl = values.checked_acl(default_acl) if default_acl else OPEN_ACL_UNSAFE
        self.retry = command_retry or Retry(max_tries=-1)
        self.state = ClientState.LOST
        self.client_state = KeeperState.CLOSED
        self._timeout_s = timeout
        self._first_client_id = client_id
        self._randomize_hosts = randomize_hosts
        self._random = random or Random()
        self._pid = os.getpid()
        self._live = threading.Event()
        self._listeners: dict[Listener, None] = {}
        # Shared by all results, held for a few assignments only.
        self._results_lock = threading.Lock()
        # Held while starting.  The driver is None when stopped; the session stays to be looked at.
        self._lifecycle = threading.Lock()
        self._session: Session | None = None
        self._driver: Driver | None = None

    # ---- life

    def start(self, timeout: float = 15.0) -> None:
        """Connects, and waits until that is done.  Raises ClientTimeoutError after so many seconds."""
        if not self.start_async().wait(timeout):
            self.stop()
            raise ClientTimeoutError(f"none of {len(self.hosts)} servers could be reached in {timeout} s")

    def start_async(self) -> threading.Event:
        """Begins to connect.  The event is set while a connection stands.  Does nothing when started already."""
        self._check_process()
        with self._lifecycle:
            if self._driver is None:
                ring = HostRing(self.hosts, self._random if self._randomize_hosts else None)
                backoff = Backoff(limits.BACKOFF_FIRST_S, limits.BACKOFF_MAX_S, self._random)
                client_id, self._first_client_id = self._first_client_id, None
                self._session = Session(ring, backoff, self._timeout_s, time.monotonic(), client_id, self.chroot)
                self._driver = Driver(self._session, self._on_state)
                self._driver.start()
                atexit.register(self._at_exit)
        return self._live

    def stop(self) -> None:
        """Ends the session, after the calls that wait; its ephemeral znodes go.  Does nothing when not started.

        Must not be called while holding what a watch or listener function of this client waits for."""
        self._stop(None)

    def close(self) -> None:
        """The same as stop(): nothing is left that would have to be freed."""
        self.stop()

    def restart(self) -> None:
        """Ends the session and starts a new one.  Raises ClientTimeoutError."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _stop(self, callbacks_timeout_s: float | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked process has neither the threads nor the session
        driver = self._driver
        if driver is None:
            return
        # Not under the lock: a callback that is waited for here may call stop() or start() itself.
        driver.stop(callbacks_timeout_s)
        with self._lifecycle:
            if self._driver is driver:
                self._driver = None
                atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        # A function of the user that never comes back must not keep the interpreter.
        self._stop(callbacks_timeout_s=1.0)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError("a client belongs to the process that made it; make a new one after fork")

    # ---- state

    @property
    def connected(self) -> bool:
        """True while a connection stands."""
        return self._live.is_set()

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """The session's id and password while a connection stands: with them another client can go on with it."""
        session = self._session
        return (session.session_id, session.password) if session is not None and self.connected else None

    @property
    def last_zxid(self) -> int:
        """The newest state that an answer came from."""
        return self._session.last_zxid if self._session is not None else 0

    def server_info(self) -> ServerInfo:
        """The server in use.  Raises ConnectionLoss when there is none now."""
        session = self._session
        address = session.address if session is not None else None
        if session is None or address is None or not self.connected:
            raise ConnectionLoss("not connected")
        return ServerInfo(address.host, address.port, session.session_id, session.timeout_s, session.last_zxid)

    def add_listener(self, listener: Listener) -> None:
        """Has a function called, on the callback thread, with each new ClientState.  One that returns True is removed.

        Raises ConfigurationError when it is no function."""
        if not callable(listener):
            raise ConfigurationError("listener must be callable")
        self._listeners[listener] = None

    def remove_listener(self, listener: Listener) -> None:
        """Takes a listener off."""
        self._listeners.pop(listener, None)

    def _on_state(self, keeper_state: KeeperState) -> None:
        """On the IO thread: the connection has changed."""
        state = _CLIENT_STATES[keeper_state]
        is_new = state is not self.state
        self.client_state, self.state = keeper_state, state
        if state is ClientState.CONNECTED:
            self._live.set()
        else:
            self._live.clear()
        if is_new:
            assert self._driver is not None
            self._driver.callbacks.put(self._tell_listeners, state)

    def _tell_listeners(self, state: ClientState) -> None:
        for listener in list(self._listeners):
            try:
                is_done = listener(state) is True
            except Exception:
                # The others have a right to know.
                _log.exception("listener %r failed", listener)
                continue
            if is_done:
                self.remove_listener(listener)

    # ---- writes

    @overload
    def create(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        include_data: Literal[False] = ...,
    ) -> str: ...
    @overload
    def create(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        *,
        include_data: Literal[True],
    ) -> tuple[str, ZnodeStat]: ...
    def create(
        self,
        path: str,
        value: bytes | None = b"",
        acl: Sequence[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
        include_data: bool = False,
    ) -> Any:
        """Makes a znode and gives its path, with include_data its path and ZnodeStat.

        ephemeral: it goes with the session.  sequence: a counter is appended.  makepath: missing parents are made.
        Raises NodeExistsError, NoNodeError (no parent), NoChildrenForEphemeralsError, InvalidACLError."""
        result: AsyncResult[Any] = self.create_async(
            path,
            value,
            acl,
            ephemeral,
            sequence,
            makepath,
            include_data=include_data,  # type: ignore[call-overload]
        )
        return result.get()

    @overload
    def create_async(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        include_data: Literal[False] = ...,
    ) -> AsyncResult[str]: ...
    @overload
    def create_async(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        *,
        include_data: Literal[True],
    ) -> AsyncResult[tuple[str, ZnodeStat]]: ...
    def create_async(
        self,
        path: str,
        value: bytes | None = b"",
        acl: Sequence[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
        include_data: bool = False,
    ) -> AsyncResult[Any]:
        """As create()."""
        path = values.checked_path(path, is_sequential=sequence)
        values.check_value(value)
        entries = self._acl_or_default(acl)
        flags = (CreateMode.EPHEMERAL if ephemeral else 0) | (CreateMode.PERSISTENT_SEQUENTIAL if sequence else 0)
        full = self.chroot + path if sequence else self._full(path)
        cls = records.Create2 if include_data else records.Create

        def attempt() -> AsyncResult[Any]:
            return self._call(cls(full, value, entries, flags), path, finish)

        def finish(reply: Any, error: FastzkError | None) -> Any:
            if error is not None:
                raise error
            return (self._short(reply[0]), reply[1]) if include_data else self._short(reply)

        first = attempt()
        if not makepath:
            return first
        result: AsyncResult[Any] = self._result()

        def pass_on(done: AsyncResult[Any]) -> None:
            result.complete(done.value, done.exception, done.zxid)

        def on_parent(parent: AsyncResult[bool]) -> None:
            if parent.exception is not None:
                result.complete(None, parent.exception)
            else:
                attempt().on_ready(pass_on)

        def on_first(done: AsyncResult[Any]) -> None:
            if isinstance(done.exception, NoNodeError):
                self.ensure_path_async(paths.parent_of(path), acl).on_ready(on_parent)
            else:
                pass_on(done)

        first.on_ready(on_first)
        return result

    def ensure_path(self, path: str, acl: Sequence[ACL] | None = None) -> bool:
        """Makes a znode and its missing parents, the chroot too, if it is not there.  Gives True."""
        return self.ensure_path_async(path, acl).get()

    def ensure_path_async(self, path: str, acl: Sequence[ACL] | None = None) -> AsyncResult[bool]:
        """As ensure_path().  All are asked for in one message, and those that are missing are made in one more."""
        path = values.checked_path(path)
        entries = self._acl_or_default(acl)
        result: AsyncResult[bool] = self._result()
        names = self._full(path)[1:].split("/")
        wanted = ["/" + "/".join(names[: count + 1]) for count in range(len(names)) if names[count]]
        found: list[AsyncResult[ZnodeStat | None]] = [
            self._call(records.Exists(full, False), path, values.none_if_missing) for full in wanted
        ]

        def on_found() -> None:
            missing = []
            for full, answer in zip(wanted, found, strict=True):
                if answer.exception is not None:
                    result.complete(None, answer.exception)
                    return
                if answer.value is None:
                    missing.append(full)
            made: list[AsyncResult[bool]] = [
                self._call(records.Create(full, b"", entries, 0), path, values.true_if_exists) for full in missing
            ]
            when_all(made, lambda: on_made(made))

        def on_made(made: list[AsyncResult[bool]]) -> None:
            # A parent that could not be made matters only if the last one could not be made either.
            errors = [answer.exception for answer in made if answer.exception is not None]
            is_made = not made or made[-1].exception is None
            result.complete(True if is_made else None, None if is_made else errors[0])

        when_all(found, on_found)
        return result

    def set(self, path: str, value: bytes | None, version: int = ANY_VERSION) -> ZnodeStat:
        """Changes a znode's data, if it has the version.  Raises NoNodeError, BadVersionError."""
        return self.set_async(path, value, version).get()

    def set_async(self, path: str, value: bytes | None, version: int = ANY_VERSION) -> AsyncResult[ZnodeStat]:
        """As set()."""
        path = values.checked_path(path)
        values.check_value(value)
        values.check_version(version)
        return self._call(records.SetData(self._full(path), value, version), path)

    def delete(self, path: str, version: int = ANY_VERSION, recursive: bool = False) -> bool:
        """Removes a znode, if it has the version; with recursive all below it first, of any version.  Gives True.

        Raises NoNodeError (not with recursive), BadVersionError, NotEmptyError."""
        if recursive:
            return self._delete_recursive(values.checked_path(path))
        return self.delete_async(path, version).get()

    def delete_async(self, path: str, version: int = ANY_VERSION) -> AsyncResult[bool]:
        """As delete(), of a single znode."""
        path = values.checked_path(path)
        values.check_version(version)
        return self._call(records.Delete(self._full(path), version), path, values.true_of)

    def _delete_recursive(self, path: str) -> bool:
        """Level by level down, then all in one go, the deepest first."""
        doomed: list[str] = []
        level = [path]
        while level:
            listings = [(parent, self.get_children_async(parent)) for parent in level]
            doomed += level
            level = []
            for parent, listing in listings:
                try:
                    names = listing.get()
                except NoNodeError:
                    continue
                level += [paths.join(parent, name) for name in names]
        for removal in [self.delete_async(path) for path in reversed(doomed)]:
            try:
                removal.get()
            except NoNodeError:
                pass  # somebody else was faster
        return True

    # ---- reads

    def exists(self, path: str, watch: WatchFunction | None = None) -> ZnodeStat | None:
        """A znode's Stat, or None.  watch: called once when it comes, changes or goes."""
        return self.exists_async(path, watch).get()

    def exists_async(self, path: str, watch: WatchFunction | None = None) -> AsyncResult[ZnodeStat | None]:
        """As exists()."""
        path = values.checked_path(path)
        request = records.Exists(self._full(path), watch is not None)
        return self._call(request, path, values.none_if_missing, WatchKind.DATA, watch)

    def get(self, path: str, watch: WatchFunction | None = None) -> tuple[bytes, ZnodeStat]:
        """A znode's data (null reads as empty) and Stat.  watch: called once when it changes or goes.

        Raises NoNodeError."""
        return self.get_async(path, watch).get()

    def get_async(self, path: str, watch: WatchFunction | None = None) -> AsyncResult[tuple[bytes, ZnodeStat]]:
        """As get()."""
        path = values.checked_path(path)
        request = records.GetData(self._full(path), watch is not None)
        return self._call(request, path, values.data_and_stat, WatchKind.DATA, watch)

    @overload
    def get_children(self, path: str, watch: WatchFunction | None = ..., include_data: Literal[False] = ...) -> list[str]: ...
    @overload
    def get_children(
        self, path: str, watch: WatchFunction | None = ..., *, include_data: Literal[True]
    ) -> tuple[list[str], ZnodeStat]: ...
    def get_children(self, path: str, watch: WatchFunction | None = None, include_data: bool = False) -> Any:
        """The names of a znode's children in no order, with include_data these and its ZnodeStat.

        watch: called once when a child comes or goes, or the znode goes.  Raises NoNodeError."""
        result: AsyncResult[Any] = self.get_children_async(
            path,
            watch,
            include_data=include_data,  # type: ignore[call-overload]
        )
        return result.get()

    @overload
    def get_children_async(
        self, path: str, watch: WatchFunction | None = ..., include_data: Literal[False] = ...
    ) -> AsyncResult[list[str]]: ...
    @overload
    def get_children_async(
        self, path: str, watch: WatchFunction | None = ..., *, include_data: Literal[True]
    ) -> AsyncResult[tuple[list[str], ZnodeStat]]: ...
    def get_children_async(self, path: str, watch: WatchFunction | None = None, include_data: bool = False) -> AsyncResult[Any]:
        """As get_children()."""
        path = values.checked_path(path)
        cls = records.GetChildren2 if include_data else records.GetChildren
        finish = values.children_and_stat if include_data else values.children_of
        return self._call(cls(self._full(path), watch is not None), path, finish, WatchKind.CHILD, watch)

    def sync(self, path: str) -> str:
        """Waits until the server in use has all that was written before, and gives the path."""
        return self.sync_async(path).get()

    def sync_async(self, path: str) -> AsyncResult[str]:
        """As sync()."""
        path = values.checked_path(path)

        def finish(reply: Any, error: FastzkError | None) -> str:
            return self._short(values.value_of(reply, error))

        return self._call(records.Sync(self._full(path)), path, finish)

    # ---- one call

    def _result(self, finish: "values.Finish[_T] | None" = None) -> AsyncResult[_T]:
        driver = self._driver
        dispatch = driver.callbacks.put if driver is not None else _no_dispatch
        return AsyncResult(self._results_lock, dispatch, finish)

    def _call(
        self,
        request: Any,
        path: str,
        finish: "values.Finish[_T] | None" = None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
    ) -> AsyncResult[_T]:
        """Sends a request whose paths are full ones; path is the user's."""
        if function is not None and not callable(function):
            raise TypeError("Invalid type for 'watch' (must be a callable)")
        self._check_process()
        body = records.encode_request(request)
        result: AsyncResult[_T] = self._result(finish)
        driver = self._driver
        if driver is None:
            result.complete(None, ConnectionClosedError("the client is not started"))
        elif len(body) + records.REQUEST_HEADER_SIZE > limits.FRAME_BYTES_MAX:
            reason = f"a request of {len(body)} bytes; at most {limits.FRAME_BYTES_MAX} are allowed"
            result.complete(None, BadArgumentsError(reason))
        else:
            driver.submit(Call(request.op, body, path, result, watch, function))
        return result

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
