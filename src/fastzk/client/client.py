"""The blocking client: what an application calls.

    with Client("h1:2281,h2:2281/chroot") as client:
        client.create("/a", b"value", makepath=True)
        data, stat = client.get("/a", watch=print)

Names, arguments and behaviour are kazoo's (docs/from-kazoo.md tells the differences).  Safe to share between threads.

How: a call is checked, encoded and, if nothing is before it, sent in the caller's thread, which takes its answer, too, when it
waits; the Driver's thread does what nobody waits for (docs/internals/client.md).  Each blocking call is its _async twin and a
wait; the twins leave together in one message when there are several.
Here is a client's life; its calls are in the classes it is made of."""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

from fastzk import limits
from fastzk.client import values
from fastzk.client.driver import Driver
from fastzk.client.ensemble import Ensemble
from fastzk.client.hosts import HostRing, parse_hosts
from fastzk.client.identities import Identities
from fastzk.client.persistent import PersistentWatches
from fastzk.client.reads import Reads
from fastzk.client.retry import Backoff, Retry
from fastzk.client.session import Session
from fastzk.client.writes import Writes
from fastzk.data import ACL, OPEN_ACL_UNSAFE
from fastzk.defs import ClientState, KeeperState
from fastzk.errors import ClientTimeoutError, ConfigurationError, ConnectionLoss

_log = logging.getLogger("fastzk.client")
Listener = Callable[[ClientState], object]

_CLIENT_STATES = {
    KeeperState.CONNECTED: ClientState.CONNECTED,
    KeeperState.CONNECTING: ClientState.SUSPENDED,
    KeeperState.EXPIRED_SESSION: ClientState.LOST,
    KeeperState.AUTH_FAILED: ClientState.LOST,
    KeeperState.CLOSED: ClientState.LOST,
}


class ServerInfo(NamedTuple):
    """The server that serves this client now, and what they have agreed on."""

    host: str
    port: int
    session_id: int
    timeout: float  # of the session, in seconds, as granted
    last_zxid: int  # the newest state that this client has seen


class Client(Reads, Writes, Identities, PersistentWatches, Ensemble):
    """A client of a fastzk ensemble.

    Every call raises ConnectionClosedError when the client is not started; SessionExpiredError when the session ended
    while the call waited; ConnectionLoss when no server could be reached for as long as a session lives (a write that had
    been sent may have been done); AuthFailedError when a server refused add_auth(); ForkedError in a forked process;
    TypeError and InvalidPathError for arguments that make no sense, BadArgumentsError for a request that is too large;
    NoAuthError when the ACL does not allow it.  What a call raises besides stands at the call."""

    def __init__(
        self,
        hosts: str | Sequence[str] = "127.0.0.1",
        timeout: float = 10.0,
        client_id: tuple[int, bytes] | None = None,
        default_acl: Sequence[ACL] | None = None,
        randomize_hosts: bool = True,
        command_retry: Retry | None = None,
        random: Random | None = None,
        auth_data: Sequence[tuple[str, str | bytes]] = (),
        linearizable: bool = False,
    ) -> None:
        """A client that is not started yet.

        hosts: "host:port,host:port/chroot".  timeout: of the session, in seconds; the server may grant another.
        client_id: of a session to go on with.  command_retry: what `retry` is (by default it never gives up).  random: a
        seeded one for tests.  auth_data: schemes and credentials, as for add_auth().  linearizable: reads that do not say
        whether they are to be linearizable are.
        Raises ConfigurationError."""
        self.hosts, chroot = parse_hosts(hosts)
        if not 0 < timeout < 2**31 / 1000:
            raise ConfigurationError(f"timeout {timeout!r} is no time in seconds")
        super().__init__(chroot, values.checked_acl(default_acl) if default_acl else OPEN_ACL_UNSAFE, linearizable)
        for scheme, credential in auth_data:
            values.check_credential(scheme, credential)
        self.auth_data = list(auth_data)
        self.retry = command_retry or Retry(max_tries=-1)
        self.state = ClientState.LOST
        self.client_state = KeeperState.CLOSED
        self._timeout_s = timeout
        self._first_client_id = client_id
        self._randomize_hosts = randomize_hosts
        self._random = random or Random()
        self._live = threading.Event()
        self._listeners: dict[Listener, None] = {}
        # Held while starting.  The session of a client that was stopped stays to be looked at.
        self._lifecycle = threading.Lock()
        self._session: Session | None = None

    # ---- life

    def start(self, timeout: float = 15.0) -> None:
        """Connects, and waits until that is done.  Raises ClientTimeoutError after so many seconds."""
        if not self.start_async().wait(timeout):
            self.stop()
            raise ClientTimeoutError(f"none of {len(self.hosts)} servers could be reached in {timeout} s")

    def start_async(self) -> threading.Event:
        """Begins to connect.  The event is set while a connection stands.  Does nothing when started already."""
        self._check_process()
        if self._driver is not None and self._driver.is_over:
            self._stop(None)  # it was refused as who it said it is
        with self._lifecycle:
            if self._driver is None:
                ring = HostRing(self.hosts, self._random if self._randomize_hosts else None)
                backoff = Backoff(limits.BACKOFF_FIRST_S, limits.BACKOFF_MAX_S, self._random)
                client_id, self._first_client_id = self._first_client_id, None
                self._session = self._make_session(ring, backoff, client_id)
                self._driver = Driver(self._session, self._on_state)
                self._driver.start()
                atexit.register(self._at_exit)
        return self._live

    def _make_session(self, ring: HostRing, backoff: Backoff, client_id: tuple[int, bytes] | None) -> Session:
        return Session(ring, backoff, self._timeout_s, time.monotonic(), client_id, self.chroot, self.auth_data)

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
