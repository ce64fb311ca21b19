"""A client of the workload over ZeroMQ: fastzk's own Client, with a tap on its wire.

Rule: the client does what it does in an application: it reconnects, repeats its writes under their xids where the server remembers
results, and arms its watches again.  Only its Session is looked at, from within its own thread."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from fastzk import Client, errors
from fastzk.client.hosts import HostRing
from fastzk.client.results import AsyncResult
from fastzk.client.retry import Backoff
from fastzk.client.session import FAREWELL, Phase, Session
from fastzk.data import WatchedEvent
from fastzk.defs import OpCode
from fastzk.limits import REPLY_BYTES_MAX
from fastzk.testing.chaos.caller import Caller
from fastzk.testing.history import Recording, Tap
from fastzk.wire import frames, records

Address = tuple[str, int]
SESSION_S = 40.0  # mean time between ends of the session
_CONNECTED = (Phase.GREETING, Phase.OPEN)


class TappedSession(Session):
    """A Session whose wire is recorded."""

    tap: Tap
    names: dict[str, str]  # of the servers, by host:port

    def tap_flow(self) -> None:
        """Listens to what threads of callers send and receive themselves, too."""
        self.flow.tap = self

    def sent(self, message: bytes) -> None:
        """Calls left."""
        for record in frames.split_message(message, REPLY_BYTES_MAX):
            self.tap.sent(record, time.monotonic_ns())

    def received(self, message: bytes) -> None:
        """Replies came."""
        now_ns = time.monotonic_ns()
        for record in frames.split_message(message, REPLY_BYTES_MAX):
            if self.tap.connection is not None:
                self.tap.received(record, now_ns)

    def take_message(self, now: float) -> bytes | None:
        is_new = self.phase is Phase.GREETING and self.tap.connection is None
        message = super().take_message(now)
        if message is not None:
            if is_new:
                assert self.address is not None, "a greeting goes somewhere"
                self.tap.dial(self.names[f"{self.address.host}:{self.address.port}"], "native")
            self.sent(message)
        return message

    def on_message(self, message: bytes, now: float) -> None:
        if self.phase in _CONNECTED and message != FAREWELL:
            self.received(message)
        super().on_message(message, now)
        self._follow("cut")

    def tick(self, now: float) -> None:
        super().tick(now)
        self._follow("cut")

    def on_lost(self, now: float, reason: str) -> None:
        super().on_lost(now, reason)
        self._follow("cut")

    def close(self, now: float) -> None:
        super().close(now)
        self._follow("closed")

    def abort(self, reason: str) -> None:
        super().abort(reason)
        self._follow("cut")

    def _follow(self, why: str) -> None:
        """Tells the tap when the connection is over."""
        if self.phase not in _CONNECTED and self.tap.connection is not None:
            self.tap.lost("closed" if self.phase is Phase.OVER and why == "cut" else why, time.monotonic_ns())


class TappedClient(Client):
    """A Client with such a Session."""

    def __init__(self, hosts: str, timeout: float, random: Random, tap: Tap, names: dict[str, str]) -> None:
        super().__init__(hosts, timeout=timeout, random=random)
        self._tap = tap
        self._names = names

    def _make_session(self, ring: HostRing, backoff: Backoff, client_id: tuple[int, bytes] | None) -> Session:
        session = TappedSession(ring, backoff, self._timeout_s, time.monotonic(), client_id, self.chroot, self.auth_data)
        session.tap, session.names = self._tap, self._names
        session.tap_flow()
        return session


class NativeCaller(Caller):
    """A client that uses a Client as applications do."""

    def __init__(
        self, name: str, recording: Recording, random: Random, rate: float, window: int, session_s: float, nodes: Sequence[Address]
    ) -> None:
        super().__init__(name, recording, random, rate, window, session_s)
        self._names = {f"{host}:{port}": f"node-{number}" for number, (host, port) in enumerate(nodes, 1)}
        self._tap = Tap(recording, name)
        self._client = self._make_client()
        self._served_s = time.monotonic()
        self._pending: deque[tuple[Any, AsyncResult[Any]]] = deque()
        self._answered = threading.Semaphore(0)
        self._close_s = 0.0
        self._last: list[AsyncResult[Any]] = []

    def turn(self) -> None:
        now_s = time.monotonic()
        if self._client.connected:
            self._served_s = now_s
        elif now_s - self._served_s > self.alone_s_max:
            # Nobody takes this session any more: an application would be started again.
            self._served_s = now_s
            self._client.stop()
            self._client = self._make_client()
            self._client.start_async()
        if now_s > self._close_s and not self._pending and not self._is_paused.is_set():
            self._client.stop()
            self._client.start_async()
            self.tally.sessions += 1
            self._close_s = now_s + self.random.expovariate(1 / SESSION_S)
        while self._pending and self._pending[0][1].ready():
            self._settle(*self._pending.popleft())
        if self._is_paused.is_set():
            self._rest()
        while len(self._pending) < self.window and self.is_due(now_s):
            self.tally.asked += 1
            request = self.chooser.next(now_s)
            self._pending.append((request, self._ask(request)))
        if self._pending:
            self._pending[0][1].wait(self.wait_s(now_s) or 0.005)
        else:
            self._is_ending.wait(self.wait_s(now_s))

    def leave(self) -> None:
        self._client.stop()

    def _make_client(self) -> TappedClient:
        return TappedClient(",".join(self._names), self.session_s, Random(self.random.random()), self._tap, self._names)

    def _rest(self) -> None:
        if self._pending:
            return
        self.is_quiet.set()
        if self._is_finishing.is_set() and not self.is_finished.is_set():
            if self._last and all(each.ready() for each in self._last):
                if any(each.exception is not None for each in self._last):
                    self._last = []
                else:
                    self.is_finished.set()
            elif not self._last:
                self._last = [self._client.sync_async("/"), self._client.get_async("/")]

    def _ask(self, request: Any) -> AsyncResult[Any]:
        client = self._client
        watch = _ignore if getattr(request, "watch", False) else None
        match request.op:
            case OpCode.CREATE:
                ephemeral, sequence = bool(request.flags & 1), bool(request.flags & 2)
                return client.create_async(request.path, request.data, ephemeral=ephemeral, sequence=sequence)
            case OpCode.SET_DATA:
                return client.set_async(request.path, request.data, request.version)
            case OpCode.DELETE:
                return client.delete_async(request.path, request.version)
            case OpCode.GET_DATA:
                return client.get_async(request.path, watch)
            case OpCode.EXISTS:
                return client.exists_async(request.path, watch)
            case OpCode.GET_CHILDREN:
                return client.get_children_async(request.path, watch)
            case OpCode.SYNC:
                return client.sync_async(request.path)
            case OpCode.MULTI:
                return self._ask_multi(request)
        raise AssertionError(f"the chooser asks for {request}")

    def _ask_multi(self, request: Any) -> AsyncResult[Any]:
        transaction = self._client.transaction()
        for each in request.operations:
            if each.op == OpCode.CREATE:
                transaction.create(each.path, each.data)
            elif each.op == OpCode.CHECK:
                transaction.check(each.path, each.version)
            else:
                transaction.set_data(each.path, each.data, each.version)
        return transaction.commit_async()

    def _settle(self, request: Any, result: AsyncResult[Any]) -> None:
        """Notes what came of a request."""
        error = result.exception
        is_read = isinstance(request, records.GetData | records.Exists | records.GetChildren | records.Sync)
        if isinstance(error, errors.ConnectionLoss | errors.SessionExpiredError | errors.ConnectionClosedError):
            self.tally.unknown += not is_read
            return
        self.tally.answered += 1
        if not is_read and error is None:
            self.tally.writes += 1
            self.tally.written_s = time.monotonic()
        if isinstance(request, records.Multi | records.GetChildren | records.Sync):
            return
        version = -1
        if error is None and result.value is not None and not isinstance(request, records.Delete):
            value = result.value[1] if isinstance(request, records.GetData) else result.value
            version = 0 if isinstance(value, str) else value.version
        elif isinstance(error, errors.NodeExistsError | errors.BadVersionError):
            version = 0
        self.chooser.learn(request.path, version)


def _ignore(event: WatchedEvent) -> None:
    """The history has it."""
