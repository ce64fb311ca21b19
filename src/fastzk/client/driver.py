"""A client's two threads: one keeps its connection, one runs the user's functions.

    callers ---ask()----> Lane: Flow <-> socket <-> server              results, set by whoever receives
                            ^  what no caller does itself
                        own thread: Session, Link  ------------------>  callback thread: watches, listeners, links

Rules:
  * Session and Link belong to the own thread, which uses them under the Lane's lock.
  * A call that nothing is before is sent by its caller, who takes the answer, too, if it waits (_lane.pxd); all that was
    submitted meanwhile leaves in one message: pipelining needs nothing from the caller.
  * The user's functions run in order on one thread, and may make blocking calls; nobody waits for them.
  * Every call is answered, also when the client stops or its thread dies of a bug."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from fastzk.client._lane import MONITOR, Lane
from fastzk.client.call import Answer, Fired, StateChange
from fastzk.client.link import Link
from fastzk.client.session import Phase, Session
from fastzk.defs import KeeperState

_log = logging.getLogger("fastzk.client")


class Driver:
    """Runs one Session from start to stop."""

    def __init__(self, session: Session, on_state: Callable[[KeeperState], None]) -> None:
        """on_state is called by the own thread at every change, before anything that follows it is delivered."""
        self.callbacks = Callbacks()
        self.lane = Lane(session.flow, self.callbacks.put, session.refusal)
        self._session = session
        self._on_state = on_state
        # Under the lane's lock.
        self._is_stopping = False
        # Of the own thread alone.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link: Link | None = None
        self._link_attempt = 0
        # The link is new: what its monitor says may stand there already, and then its descriptor tells nothing.
        self._has_news = False
        self._told: list[StateChange] = []
        self._thread = threading.Thread(target=self._run, name="fastzk-io", daemon=True)

    # ---- callers' side

    def start(self) -> None:
        """Starts both threads."""
        self.callbacks.start()
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """True when no call is taken any more."""
        return self.lane.is_over

    def stop(self, callbacks_timeout_s: float | None = None) -> None:
        """Closes the session if a connection stands, then ends both threads.

        A callback that does not come back is waited for, for so long (None: without end); not when it is the caller."""
        with self.lane:
            self._is_stopping = True
            self.lane.wake_own()
        self._thread.join()
        self.callbacks.stop(callbacks_timeout_s)

    # ---- the own thread

    def _run(self) -> None:
        try:
            is_busy = False
            while self._session.phase is not Phase.OVER:
                is_busy = self._turn(is_busy)
        finally:
            self._finish()

    def _turn(self, is_busy: bool) -> bool:
        """Tells whether there is more to do at once."""
        session, lane = self._session, self.lane
        has_news = lane.sleep(0 if is_busy else self._timeout_ms()) == MONITOR or self._has_news
        self._has_news = False
        with lane:
            now = time.monotonic()
            for call in lane.take_incoming():
                session.submit(call)
            if self._link is not None:
                self._take_link(self._link, now, has_news)
            if self._is_stopping:
                session.close(now)
            session.tick(now)
            self._follow_attempt(now)
            self._send(now)
            self._deliver()
            is_busy = lane.end_turn() or self._has_news
        self._tell()
        return is_busy

    def _timeout_ms(self) -> int:
        deadline = self._session.deadline()
        return -1 if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)

    def _take_link(self, link: Link, now: float, has_news: bool) -> None:
        """Hands in what the link has received, and how it fares."""
        session = self._session
        is_opened, fault = link.take_news() if has_news else (False, None)
        if is_opened and session.phase is Phase.OPENING:
            session.on_open(now)
        # After the news: what came in before the connection ended must not be lost with it.
        while messages := self.lane.receive():
            for message in messages:
                session.on_message(message, now)
                self._deliver()  # before anything that follows it
        if fault is not None:
            session.on_lost(now, fault)

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
            self._link = link
            self._has_news = True
            self.lane.attach(link.socket, link.monitor.FD)
        self._open_lane()

    def _open_lane(self) -> None:
        self.lane.open(self._link is not None and self._link.is_open and self._session.is_flowing)

    def _close_link(self) -> None:
        assert self._link is not None
        self.lane.detach()
        self._link.close()
        self._link = None

    def _send(self, now: float) -> None:
        if self._link is None or not self._link.is_open or not self.lane.send(None):
            return
        while (message := self._session.take_message(now)) is not None:
            if not self.lane.send(message):
                break

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
                case StateChange(state, _):
                    self._told.append(outcome)
                    self._on_state(state)
        if answered_count:
            self.lane.answered(answered_count)
        self._open_lane()

    def _tell(self) -> None:
        """Without the lock, for where a log goes is the user's."""
        for state, reason in self._told:
            _log.info("%s: %s", state.name, reason)
        self._told.clear()

    def _finish(self) -> None:
        """The last thing the own thread does, whatever ended it."""
        with self.lane:
            incoming = self.lane.end()
            self._session.abort("the client was stopped")
            for call in incoming:
                self._session.submit(call)
            self._deliver()
            if self._link is not None:
                self._close_link()
        self._tell()
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
