"""One client's session, sans-IO: calls and messages in; messages, answers, events and states out.

    IDLE ------> OPENING ------> GREETING ------> OPEN          OVER
      ^  retry_at   |   on_open     |   response   |             ^  close(), from anywhere
      +-------------+---------------+--------------+   on_lost, a deadline, or a fault of the server

The driver gives time (seconds, monotonic), and does what it reads here: opens a link to `address` when `attempt`
changes and drops the one before, sends what take_message() gives, hands in what arrives, and delivers take_outcomes().

Rules:
  * Replies come in the order of the calls (Z5), with zxids that never fall; a server that breaks this is left.
  * A call that was not sent waits for the next connection.  A read that was sent is sent again, before what waits.
    A write that was sent fails with ConnectionLoss, for it may have been done: see _on_unanswered.
  * Nothing waits for ever: without a connection for as long as a session lives, what waits fails (ConnectionLoss).
  * A watch is entered when its read's answer is taken, before the next record is: no event can overtake it.
  * When the connection is lost its watches end, each with an event of type NONE."""

import struct
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from fastzk import limits
from fastzk.client.hosts import Address, HostRing
from fastzk.client.retry import Backoff
from fastzk.client.watches import WatchFunction, WatchKind, WatchTable
from fastzk.data import WatchedEvent
from fastzk.defs import PASSWORD_SIZE, READ_OPS, EventType, KeeperState, OpCode, Xid
from fastzk.errors import (
    ConnectionClosedError,
    ConnectionLoss,
    ErrorCode,
    FastzkError,
    MarshallingError,
    ProtocolError,
    SessionExpiredError,
    error_for,
)
from fastzk.wire import frames, records
from fastzk.wire.jute import RecordError

_FRAME_HEAD = struct.Struct("!iii")  # size, xid, operation
_FRAME_HEAD_EXTRA = 8  # of the head, what the size counts
_PING = _FRAME_HEAD.pack(_FRAME_HEAD_EXTRA, Xid.PING, OpCode.PING)
_XID_MAX = 0x7FFFFFFF
FAREWELL = b""  # the message that says, either way: this connection is over
NO_PASSWORD = bytes(PASSWORD_SIZE)


class Phase(Enum):
    """How far the connection is."""

    IDLE = "idle"  # none; another is tried at retry_at
    OPENING = "opening"  # the driver is opening a link
    GREETING = "greeting"  # ConnectRequest is on its way
    OPEN = "open"
    OVER = "over"  # closed by the caller, for good


class Call:
    """One request on its way, encoded, and who waits for its answer."""

    __slots__ = ("body", "function", "is_read", "op", "path", "token", "tries", "watch", "xid")

    def __init__(
        self,
        op: int,
        body: bytes,
        path: str | None = None,
        token: Any = None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
    ) -> None:
        """path: as the caller named it, for errors and events.  token: the driver's, handed back with the answer."""
        self.op = op
        self.body = body
        self.path = path
        self.token = token
        self.watch = watch
        self.function = function
        self.is_read = op in READ_OPS
        # Number under which it was last sent, and how often it was.
        self.xid = 0
        self.tries = 0


class Answer(NamedTuple):
    """A call is done: its reply's value, or why there is none; zxid is the state it was answered at (0: by nobody)."""

    call: Call
    value: Any
    error: FastzkError | None
    zxid: int


class Fired(NamedTuple):
    """Functions to call with an event."""

    functions: list[WatchFunction]
    event: WatchedEvent


class StateChange(NamedTuple):
    """The connection or the session has changed, and why."""

    state: KeeperState
    reason: str


Outcome = Answer | Fired | StateChange


class Session:
    """The session of one client, over as many connections as it takes."""

    def __init__(
        self,
        hosts: HostRing,
        backoff: Backoff,
        timeout_s: float,
        now: float,
        client_id: tuple[int, bytes] | None = None,
        chroot: str = "",
    ) -> None:
        self.phase = Phase.IDLE
        # Grows with every link that the driver shall open; `address` is where to.
        self.attempt = 0
        self.address: Address | None = None
        # The highest zxid an answer had; sent at connect, so that no server shows us an older state.
        self.last_zxid = 0
        self.session_id, self.password = client_id or (0, NO_PASSWORD)
        # What was asked for, and what the server grants while a session lives.
        self._wanted_timeout_s = timeout_s
        self.timeout_s = timeout_s
        self.watches = WatchTable()

        self._hosts = hosts
        self._backoff = backoff
        self._chroot = chroot
        # Calls that were not sent yet, and those that were and are unanswered, both in order.
        self._queue: deque[Call] = deque()
        self._pending: deque[Call] = deque()
        self._xid = 0
        self._is_greeted = False
        self._is_ping_due = False
        self._close_call: Call | None = None
        self._outcomes: list[Outcome] = []
        # Times.  A link that is not OPEN by _open_by is given up; without one until _give_up_at, what waits fails.
        self._retry_at = now
        self._open_by = now
        self._opened_at = now
        self._give_up_at = now + timeout_s
        self._heard_at = now
        self._sent_at = now
        self._close_by = now

    # ---- what the driver reads

    def take_outcomes(self) -> list[Outcome]:
        """What has happened since the last time, in order."""
        outcomes = self._outcomes
        self._outcomes = []
        return outcomes

    def take_message(self, now: float) -> bytes | None:
        """The next message for the link, None when there is none."""
        if self.phase is Phase.GREETING and not self._is_greeted:
            self._is_greeted = True
            return frames.frame(self._connect_request().encode())
        if self.phase is not Phase.OPEN:
            return None
        parts: list[bytes] = []
        if self._is_ping_due:
            self._is_ping_due = False
            parts.append(_PING)
        self._encode_queue(parts)
        if not parts:
            return None
        self._sent_at = now
        return b"".join(parts)

    def deadline(self) -> float | None:
        """When tick() must be called at the latest."""
        match self.phase:
            case Phase.OVER:
                return None
            case Phase.IDLE:
                due = self._retry_at
            case Phase.OPENING | Phase.GREETING:
                due = self._open_by
            case Phase.OPEN:
                due = self._heard_at + self._silence_s
                if not self._is_ping_due:
                    due = min(due, self._sent_at + self._ping_s)
                if self._close_call is not None:
                    due = min(due, self._close_by)
                return due
        return min(due, self._give_up_at) if self._queue else due

    # ---- what the driver tells

    def submit(self, call: Call) -> None:
        """Takes a call; its answer will be among the outcomes."""
        if self.phase is Phase.OVER or self._close_call is not None:
            self._fail(call, ConnectionClosedError("the client was stopped"))
        else:
            self._queue.append(call)

    def tick(self, now: float) -> None:
        """Does what is due."""
        match self.phase:
            case Phase.OVER:
                return
            case Phase.IDLE if now >= self._retry_at:
                self._begin_attempt(now)
            case Phase.OPENING | Phase.GREETING if now >= self._open_by:
                self._lose(now, f"no answer from {self.address}")
            case Phase.OPEN:
                self._tick_open(now)
        if self.phase not in (Phase.OPEN, Phase.OVER) and now >= self._give_up_at:
            self._fail_all(self._queue, ConnectionLoss, "no server could be reached for as long as a session lives")

    def on_open(self, now: float) -> None:
        """The link stands."""
        assert self.phase is Phase.OPENING, self.phase
        self.phase = Phase.GREETING
        self._is_greeted = False
        self._open_by = now + self.connect_s

    def on_lost(self, now: float, reason: str) -> None:
        """The link is no more."""
        if self.phase not in (Phase.IDLE, Phase.OVER):
            self._lose(now, reason)

    def on_message(self, message: bytes, now: float) -> None:
        """A message came in over the link of this attempt."""
        if self.phase not in (Phase.GREETING, Phase.OPEN):
            return
        self._heard_at = now
        if message == FAREWELL:
            self._lose(now, "the server ended the connection")
            return
        try:
            for record in frames.split_message(message, limits.REPLY_BYTES_MAX):
                self._on_record(record, now)
        except (RecordError, ProtocolError) as error:
            self._lose(now, f"{self.address} does not keep to the protocol: {error}")

    def close(self, now: float) -> None:
        """Ends the session: after the calls that wait, if a connection stands; else at once."""
        if self.phase is Phase.OPEN:
            if self._close_call is None:
                self._close_call = Call(OpCode.CLOSE_SESSION, b"")
                self._queue.append(self._close_call)
                self._close_by = now + self.timeout_s / 2
        else:
            self._end("stopped")

    def abort(self, reason: str) -> None:
        """Ends everything here and now, without a word to the server."""
        self._end(reason)

    # ---- connecting

    @property
    def connect_s(self) -> float:
        """How long a link may take to stand, and then the server to answer ConnectRequest."""
        return max(self._wanted_timeout_s / len(self._hosts), limits.CONNECT_S_MIN)

    @property
    def _ping_s(self) -> float:
        return self.timeout_s / 3

    @property
    def _silence_s(self) -> float:
        return self.timeout_s * 2 / 3

    def _begin_attempt(self, now: float) -> None:
        self.phase = Phase.OPENING
        self.attempt += 1
        self.address = self._hosts.take()
        self._open_by = now + self.connect_s

    def _connect_request(self) -> records.ConnectRequest:
        timeout_ms = int(self._wanted_timeout_s * 1000)
        return records.ConnectRequest(self.last_zxid, timeout_ms, self.session_id, self.password)

    def _on_response(self, response: records.ConnectResponse, now: float) -> None:
        if response.timeout_ms <= 0:
            if not self.session_id:
                raise ProtocolError("it refuses a new session")
            self._expire(now)
            return
        if response.password is None or len(response.password) != PASSWORD_SIZE:
            raise ProtocolError(f"a password of {response.password!r}")
        if self.session_id and response.session_id != self.session_id:
            raise ProtocolError(f"session {response.session_id:#x} instead of {self.session_id:#x}")
        self.phase = Phase.OPEN
        self.session_id = response.session_id
        self.password = response.password
        self.timeout_s = response.timeout_ms / 1000
        self._opened_at = self._sent_at = now
        self._is_ping_due = False
        self._hosts.on_served()
        self._outcomes.append(StateChange(KeeperState.CONNECTED, f"session {self.session_id:#x} at {self.address}"))

    def _expire(self, now: float) -> None:
        """The server says that the session is over.  The next attempt makes a new one."""
        reason = f"session {self.session_id:#x} has expired"
        self.session_id, self.password = 0, NO_PASSWORD
        self.timeout_s = self._wanted_timeout_s
        self._outcomes.append(StateChange(KeeperState.EXPIRED_SESSION, reason))
        assert len(self.watches) == 0, "they ended with the connection"
        self._fail_all(self._pending, SessionExpiredError, reason)
        self._fail_all(self._queue, SessionExpiredError, reason)
        self._give_up_at = now + self.timeout_s
        self._become_idle(now)

    def _lose(self, now: float, reason: str) -> None:
        """The connection is over, or could not be made."""
        if self._close_call is not None:
            self._end(reason)
            return
        if self.phase is not Phase.OPEN:
            is_round_over = self._hosts.on_failed()
            self._become_idle(now + self._backoff.next_s() if is_round_over else now)
            return
        # A server that takes us and drops us at once is not to be stormed.
        if now - self._opened_at >= limits.BACKOFF_MAX_S:
            self._backoff.reset()
            self._become_idle(now)
        else:
            self._become_idle(now + self._backoff.next_s())
        self._give_up_at = now + self.timeout_s
        self._on_unanswered()
        self._outcomes.append(StateChange(KeeperState.CONNECTING, reason))
        self._end_watches(KeeperState.CONNECTING)

    def _become_idle(self, retry_at: float) -> None:
        self.phase = Phase.IDLE
        self.address = None
        self._retry_at = retry_at

    def _on_unanswered(self) -> None:
        """What becomes of the calls that were sent and not answered: the one place that decides it."""
        again: list[Call] = []
        for call in self._pending:
            if call.is_read and call.tries < limits.READ_TRIES_MAX:
                again.append(call)
            else:
                self._fail(call, ConnectionLoss(call.path))
        self._pending.clear()
        self._queue.extendleft(reversed(again))

    # ---- an open connection

    def _tick_open(self, now: float) -> None:
        if self._close_call is not None and now >= self._close_by:
            self._end(f"{self.address} did not close the session in time")
        elif now >= self._heard_at + self._silence_s:
            self._lose(now, f"{self.address} is silent")
        elif now >= self._sent_at + self._ping_s:
            self._is_ping_due = True

    def _encode_queue(self, parts: list[bytes]) -> None:
        """Moves calls from the queue to the pending ones, into a message of bounded size."""
        queue, pending, xid = self._queue, self._pending, self._xid
        room, size = min(len(queue), limits.SEND_REQUESTS_MAX), 0
        while room and size < limits.SEND_BYTES_MAX:
            call = queue.popleft()
            xid = xid + 1 if xid < _XID_MAX else 1
            call.xid = xid
            call.tries += 1
            pending.append(call)
            parts.append(_FRAME_HEAD.pack(len(call.body) + _FRAME_HEAD_EXTRA, xid, call.op))
            parts.append(call.body)
            size += len(call.body)
            room -= 1
        self._xid = xid

    def _on_record(self, record: bytes, now: float) -> None:
        if self.phase is Phase.GREETING:
            self._on_response(records.ConnectResponse.decode(record), now)
            return
        if self.phase is not Phase.OPEN:
            return  # the record before it ended the connection
        header = records.decode_reply_header(record)
        if header.xid > 0:
            self._on_reply(header, record)
        elif header.xid == Xid.NOTIFICATION:
            self._on_event(records.WatcherEvent.decode(record, records.REPLY_HEADER_SIZE))
        elif header.xid != Xid.PING:
            raise ProtocolError(f"a reply to xid {header.xid}")

    def _on_reply(self, header: records.ReplyHeader, record: bytes) -> None:
        pending = self._pending
        if not pending or pending[0].xid != header.xid:
            raise ProtocolError(f"a reply to xid {header.xid}, not {pending[0].xid if pending else 'expected at all'}")
        if header.zxid < self.last_zxid:
            raise ProtocolError(f"Z5: zxid {header.zxid:#x} after {self.last_zxid:#x}")
        self.last_zxid = header.zxid
        call = pending.popleft()
        value: Any = None
        error: FastzkError | None = None
        if header.err:
            error = error_for(header.err, call.path)
        else:
            try:
                value = records.decode_reply(call.op, record, records.REPLY_HEADER_SIZE)
            except RecordError as fault:
                # It would be as malformed on every other connection, so it is not tried again.
                self._fail(call, MarshallingError(f"reply to {call.path}: {fault}"))
                raise
        if call.function is not None:
            self._enter_watch(call, header.err)
        if call is self._close_call:
            self._end("stopped")
        else:
            self._outcomes.append(Answer(call, value, error, header.zxid))

    def _enter_watch(self, call: Call, err: int) -> None:
        assert call.watch is not None
        assert call.path is not None
        assert call.function is not None
        if not err:
            self.watches.add(call.watch, call.path, call.function)
        elif err == ErrorCode.NO_NODE and call.op == OpCode.EXISTS:
            self.watches.add(WatchKind.EXIST, call.path, call.function)

    def _on_event(self, event: records.WatcherEvent) -> None:
        kind = EventType(event.type)
        path = self._without_chroot(event.path)
        functions = self.watches.fire(kind, path)
        if functions:
            self._outcomes.append(Fired(functions, WatchedEvent(kind, KeeperState(event.state), path)))

    def _without_chroot(self, path: str) -> str:
        return path.removeprefix(self._chroot) or "/"

    # ---- endings

    def _end(self, reason: str) -> None:
        """The session is over for good: whoever waits is told."""
        if self.phase is Phase.OVER:
            return
        self.phase = Phase.OVER
        for call in self._pending:
            self._fail(call, ConnectionLoss(call.path))
        self._pending.clear()
        self._fail_all(self._queue, ConnectionClosedError, reason)
        self._outcomes.append(StateChange(KeeperState.CLOSED, reason))
        self._end_watches(KeeperState.CLOSED)

    def _end_watches(self, state: KeeperState) -> None:
        for path, functions in self.watches.take_all():
            self._outcomes.append(Fired(functions, WatchedEvent(EventType.NONE, state, path)))

    def _fail(self, call: Call, error: FastzkError) -> None:
        if call is not self._close_call:
            self._outcomes.append(Answer(call, None, error, 0))

    def _fail_all(self, calls: deque[Call], error: Callable[[str], FastzkError], reason: str) -> None:
        for call in calls:
            self._fail(call, error(reason))  # each its own, since raising one writes a traceback into it
        calls.clear()
