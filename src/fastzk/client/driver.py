"""A client's two threads: one moves messages between its Session and the network, one runs the user's functions.

    callers --submit()--> incoming --+                                  +--> results (set by the IO thread)
                 (wakes)             v                                  |
                           IO thread: Session <-> Link <-> server ------+--> callback thread: watches, listeners, links

Rules:
  * Session and Link belong to the IO thread.  What callers and it share is under `_lock`.
  * All that was submitted since the last turn leaves in one message: pipelining needs nothing from the caller.
  * The user's functions run in order on one thread, and may make blocking calls; the IO thread never waits for them.
  * Every call is answered, also when the client stops or its thread dies of a bug."""

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from fastzk import limits
from fastzk.client.call import Answer, Call, Fired, StateChange
from fastzk.client.link import Link
from fastzk.client.session import Phase, Session
from fastzk.defs import KeeperState

_log = logging.getLogger("fastzk.client")
_MESSAGES_PER_TURN = 256


class Driver:
    """Runs one Session from start to stop."""

    def __init__(self, session: Session, on_state: Callable[[KeeperState], None]) -> None:
        """on_state is called by the IO thread at every change, before anything that follows it is delivered."""
        self.callbacks = Callbacks()
        self._session = session
        self._on_state = on_state
        self._lock = threading.Lock()
        # Callers beyond PENDING_REQUESTS_MAX wait here.  All below are under the lock.
        self._has_room = threading.Condition(self._lock)
        self._incoming: list[Call] = []
        self._unanswered_count = 0
        self._is_woken = False
        self._is_stopping = False
        self._is_over = False
        # Of the IO thread alone.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._poller = zmq.Poller()
        self._poller.register(self._wake_out.fileno(), zmq.POLLIN)
        self._link: Link | None = None
        self._link_attempt = 0
        self._unsent: bytes | None = None
        self._thread = threading.Thread(target=self._run, name="fastzk-io", daemon=True)

    # ---- callers' side

    def start(self) -> None:
        """Starts both threads."""
        self.callbacks.start()
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """True when no call is taken any more."""
        return self._is_over

    def submit(self, call: Call, before: Call | None = None) -> None:
        """Takes a call, whose token is an AsyncResult; waits for room when there are very many.

        before: another one that leaves just before it."""
        with self._lock:
            while self._unanswered_count >= limits.PENDING_REQUESTS_MAX and not self._is_over:
                if threading.current_thread() is self._thread:
                    break  # a step of the client's own: it must not wait for itself
                self._has_room.wait()
            if not self._is_over:
                if before is not None:
                    self._unanswered_count += 1
                    self._incoming.append(before)
                self._unanswered_count += 1
                self._incoming.append(call)
                self._wake()
                return
        call.token.complete(None, self._session.refusal())

    def stop(self, callbacks_timeout_s: float | None = None) -> None:
        """Closes the session if a connection stands, then ends both threads.

        A callback that does not come back is waited for, for so long (None: without end); not when it is the caller."""
        with self._lock:
            self._is_stopping = True
            if not self._is_over:
                self._wake()
        self._thread.join()
        self.callbacks.stop(callbacks_timeout_s)

    def _wake(self) -> None:
        assert self._lock.locked()
        if not self._is_woken:
            self._is_woken = True
            self._wake_in.send(b"\0")

    # ---- the IO thread

    def _run(self) -> None:
        try:
            while self._session.phase is not Phase.OVER:
                self._turn()
        finally:
            self._finish()

    def _turn(self) -> None:
        session = self._session
        self._wait()
        now = time.monotonic()
        is_stopping = self._take_incoming()
        self._take_link(now)
        if is_stopping:
            session.close(now)
        session.tick(now)
        self._follow_attempt(now)
        self._send(now)
        self._deliver()

    def _wait(self) -> None:
        deadline = self._session.deadline()
        timeout_ms = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
        self._poller.poll(timeout_ms)

    def _take_incoming(self) -> bool:
        with self._lock:
            incoming = self._incoming
            self._incoming = []
            if self._is_woken:
                self._is_woken = False
                self._wake_out.recv(16)
            is_stopping = self._is_stopping
        for call in incoming:
            self._session.submit(call)
        return is_stopping

    def _take_link(self, now: float) -> None:
        """Hands in what the link has received, and how it fares."""
        link = self._link
        if link is None:
            return
        is_opened, fault = link.take_news()
        if is_opened and self._session.phase is Phase.OPENING:
            self._session.on_open(now)
        # After the news: what came in before the connection ended must not be lost with it.
        while True:
            messages = link.receive(_MESSAGES_PER_TURN)
            for message in messages:
                self._session.on_message(message, now)
            if fault is None or len(messages) < _MESSAGES_PER_TURN:
                break
        if fault is not None:
            self._session.on_lost(now, fault)

    def _follow_attempt(self, now: float) -> None:
        """Closes the link that the session gave up, opens the one that it wants."""
        session = self._session
        is_wanted = session.phase in (Phase.OPENING, Phase.GREETING, Phase.OPEN)
        if self._link is not None and not (is_wanted and session.attempt == self._link_attempt):
            self._close_link()
        if self._link is None and session.phase is Phase.OPENING:
            assert session.address is not None
            self._link_attempt = session.attempt
            try:
                link = Link(self._context, session.address, session.attempt, session.connect_s)
            except zmq.ZMQError as error:
                session.on_lost(now, f"{session.address.endpoint}: {error}")
                return
            self._poller.register(link.socket, zmq.POLLIN)
            self._poller.register(link.monitor, zmq.POLLIN)
            self._link = link

    def _close_link(self) -> None:
        link = self._link
        assert link is not None
        self._poller.unregister(link.socket)
        self._poller.unregister(link.monitor)
        link.close()
        self._link = None
        self._unsent = None

    def _send(self, now: float) -> None:
        link = self._link
        if link is None or not link.is_open:
            return
        was_full = self._unsent is not None
        message = self._unsent if was_full else self._session.take_message(now)
        self._unsent = None
        while message is not None:
            if not link.send(message):
                self._unsent = message
                break
            message = self._session.take_message(now)
        is_full = self._unsent is not None
        if is_full != was_full:
            self._poller.modify(link.socket, zmq.POLLIN | zmq.POLLOUT if is_full else zmq.POLLIN)

    def _deliver(self) -> None:
        answered_count = 0
        for outcome in self._session.take_outcomes():
            match outcome:
                case Answer(call, value, error, zxid):
                    answered_count += 1
                    call.token.complete(value, error, zxid)
                case Fired(functions, event):
                    for function in functions:
                        self.callbacks.put(function, event)
                case StateChange(state, reason):
                    _log.info("%s: %s", state.name, reason)
                    self._on_state(state)
        if answered_count:
            with self._lock:
                self._unanswered_count -= answered_count
                self._has_room.notify_all()

    def _finish(self) -> None:
        """The last thing the IO thread does, whatever ended it."""
        with self._lock:
            self._is_over = True
            incoming = self._incoming
            self._incoming = []
            self._has_room.notify_all()
            self._wake_in.close()
            self._wake_out.close()
        self._session.abort("the client was stopped")
        for call in incoming:
            self._session.submit(call)
        self._deliver()
        if self._link is not None:
            self._close_link()
        self._context.term()


class Callbacks:
    """The thread that runs the user's functions, in order."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[..., object], Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fastzk-callbacks", daemon=True)
        self._lock = threading.Lock()
        # Moves to False once, in stop(): from then on nothing is taken.
        self._is_open = True

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, function: Callable[..., object], argument: Any) -> bool:
        """Has a function called with an argument; False when the thread has been stopped."""
        with self._lock:
            if self._is_open:
                self._queue.put((function, argument))
            return self._is_open

    def stop(self, timeout_s: float | None) -> None:
        """Lets the thread finish what it has, and waits for it, unless called from there."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            function, argument = item
            try:
                function(argument)
            except Exception:
                # The user's function, the user's mistake: it must not take the next one's turn away.
                _log.exception("%r failed", function)
            del item, function, argument  # nothing is kept alive by waiting
