"""One client's session, sans-IO: calls and messages in; messages, answers, events and states out.

    IDLE ------> OPENING ------> GREETING ------> OPEN          OVER
      ^  retry_at   |   on_open     |   response   |             ^  close(), from anywhere
      +-------------+---------------+--------------+   on_lost, a deadline, or a fault of the server

The driver gives time (seconds, monotonic), and does what it reads here: opens a link to `address` when `attempt`
changes and drops the one before, sends what take_message() gives, hands in what arrives, and delivers take_outcomes().

Rules:
  * Replies come in the order of the calls (Z5), with zxids that never fall; a server that breaks this is left.
  * A call that was not sent waits for the next connection.  What was sent and is unanswered is sent again, in its order and
    under its old xid, before what waits: see _on_unanswered.  A write only to a server that remembers results
    (protocolVersion 1), so that it is done once (Z10); with another one it fails with ConnectionLoss, for it may have been done.
  * A connection begins with who we are and what we watch (the prelude), before any call: the next server knows neither.
  * Watches outlive connections and end with the session, with an event of type NONE (watching.py).
  * Nothing waits for ever: without a connection for as long as a session lives, what waits fails (ConnectionLoss)."""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from fastzk import limits
from fastzk.client._flow import Flow
from fastzk.client.call import Answer, Call, Outcome, StateChange
from fastzk.client.hosts import Address, HostRing
from fastzk.client.retry import Backoff
from fastzk.client.watching import SessionWatches
from fastzk.defs import PASSWORD_SIZE, KeeperState, OpCode, Xid
from fastzk.errors import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
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
_FORGETS, _REMEMBERS = 0, 1  # protocolVersion of a client or server that wants or keeps results, and of one that does not
FAREWELL = b""  # the message that says, either way: this connection is over
NO_PASSWORD = bytes(PASSWORD_SIZE)


class Phase(Enum):
    """How far the connection is."""

    IDLE = "idle"  # none; another is tried at retry_at
    OPENING = "opening"  # the driver is opening a link
    GREETING = "greeting"  # ConnectRequest is on its way
    OPEN = "open"
    OVER = "over"  # closed by the caller, for good


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
        credentials: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        """credentials: schemes and what is shown for them, the caller's own list; it may grow."""
        self.phase = Phase.IDLE
        # Grows with every link that the driver shall open; `address` is where to.
        self.attempt = 0
        self.address: Address | None = None
        self.session_id, self.password = client_id or (0, NO_PASSWORD)
        # What was asked for, and what the server grants while a session lives.
        self._wanted_timeout_s = timeout_s
        self.timeout_s = timeout_s
        self.watches = SessionWatches(chroot)
        # The calls, queued and sent, and what is known of their answers.  Calling threads use it, too: see Lane.
        self.flow = Flow(self.watches)
        self.flow.sent_at = self.flow.heard_at = now

        self._hosts = hosts
        self._backoff = backoff
        self._credentials = credentials
        # We may ask for memory: the session is ours from its beginning, so no other client has used the xids that we shall use.
        self._can_repeat = client_id is None
        # What is said to calls that come too late.
        self._ended_with: Callable[[str], FastzkError] = ConnectionClosedError
        self._is_greeted = False
        self._is_ping_due = False
        self._close_call: Call | None = None
        self._outcomes: list[Outcome] = []
        # Times.  A link that is not OPEN by _open_by is given up; without one until _give_up_at, what waits fails.
        self._retry_at = now
        self._open_by = now
        self._opened_at = now
        self._give_up_at = now + timeout_s
        self._close_by = now

    # ---- what the driver reads

    @property
    def last_zxid(self) -> int:
        """The highest zxid an answer had; sent at connect, so that no server shows us an older state."""
        return self.flow.last_zxid

    @property
    def is_flowing(self) -> bool:
        """Calls need nothing but to be queued in `flow` and sent from there."""
        return self.phase is Phase.OPEN and self._close_call is None

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
        message = self.flow.take_calls(_PING if self._is_ping_due else b"")
        self._is_ping_due = False
        if message is not None:
            self.flow.sent_at = now
        return message

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
                due = self.flow.heard_at + self._silence_s
                if not self._is_ping_due:
                    due = min(due, self.flow.sent_at + self._ping_s)
                if self._close_call is not None:
                    due = min(due, self._close_by)
                return due
        return min(due, self._give_up_at) if self.flow.queue else due

    # ---- what the driver tells

    def submit(self, call: Call) -> None:
        """Takes a call; its answer will be among the outcomes."""
        if self.phase is Phase.OVER or self._close_call is not None:
            self._fail(call, self.refusal())
        else:
            self.flow.queue.append(call)

    def refusal(self) -> FastzkError:
        """Why no call is taken any more."""
        return self._ended_with("the client was stopped")

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
            self._fail_all(self.flow.queue, ConnectionLoss, "no server could be reached for as long as a session lives")

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
        self.flow.heard_at = now
        if message == FAREWELL:
            self._lose(now, "the server ended the connection")
            return
        try:
            at = 0
            while at < len(message) and self.phase in (Phase.GREETING, Phase.OPEN):
                if self.phase is Phase.OPEN:
                    at = self.flow.take_replies(message, at, self._outcomes)
                if at < len(message):
                    record, at = frames.split_first(message, at, limits.REPLY_BYTES_MAX)
                    self._on_record(record, now)
        except (RecordError, ProtocolError) as error:
            self._lose(now, f"{self.address} does not keep to the protocol: {error}")

    def close(self, now: float) -> None:
        """Ends the session: after the calls that wait, if a connection stands; else at once."""
        if self.phase is Phase.OPEN:
            if self._close_call is None:
                self._close_call = Call(OpCode.CLOSE_SESSION, b"", is_own=True)
                self.flow.queue.append(self._close_call)
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
        version = _REMEMBERS if self._can_repeat else _FORGETS
        return records.ConnectRequest(self.last_zxid, timeout_ms, self.session_id, self.password, protocol_version=version)

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
        self._opened_at = self.flow.sent_at = now
        self._is_ping_due = False
        self._hosts.on_served()
        self.flow.is_remembered = self._can_repeat and response.protocol_version >= _REMEMBERS
        if not self.flow.is_remembered:
            self._fail_sent_writes()
        self._begin_prelude()
        self._outcomes.append(StateChange(KeeperState.CONNECTED, f"session {self.session_id:#x} at {self.address}"))

    def _fail_sent_writes(self) -> None:
        """Those that an earlier connection left unanswered, when this one would do them again."""
        again = []
        for call in self.flow.queue:
            if call.tries and not call.is_repeatable:
                self._fail(call, _loss_of(call))
            else:
                again.append(call)
        self.flow.queue = deque(again)

    def _begin_prelude(self) -> None:
        prelude: list[Call] = []
        for scheme, credential in tuple(self._credentials):
            shown = credential.encode() if isinstance(credential, str) else credential
            prelude.append(Call(OpCode.AUTH, records.encode_request(records.Auth(0, scheme, shown)), is_own=True))
        prelude += self.watches.arming_calls(self.last_zxid)
        self.flow.queue.extendleft(reversed(prelude))

    def _expire(self, now: float) -> None:
        """The server says that the session is over.  The next attempt makes a new one."""
        reason = f"session {self.session_id:#x} has expired"
        self.session_id, self.password = 0, NO_PASSWORD
        self.timeout_s = self._wanted_timeout_s
        self._outcomes.append(StateChange(KeeperState.EXPIRED_SESSION, reason))
        self._can_repeat = True
        assert not self.flow.pending, "they went back into the queue with the connection"
        self._fail_all(self.flow.queue, SessionExpiredError, reason)
        self._outcomes += self.watches.end(KeeperState.EXPIRED_SESSION)
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

    def _become_idle(self, retry_at: float) -> None:
        self.phase = Phase.IDLE
        self.address = None
        self._retry_at = retry_at

    def _on_unanswered(self) -> None:
        """What becomes of the calls that were sent and not answered: the one place that decides it."""
        while self.flow.queue and self.flow.queue[0].is_own:
            self.flow.queue.popleft()  # the next connection has a prelude of its own
        again: list[Call] = []
        for call in self.flow.pending:
            if call.tries < limits.READ_TRIES_MAX if call.is_repeatable else self.flow.is_remembered:
                if not call.is_own:
                    again.append(call)
            else:
                self._fail(call, _loss_of(call))
        self.flow.pending.clear()
        self.flow.logged_count = 0
        self.flow.queue.extendleft(reversed(again))

    # ---- an open connection

    def _tick_open(self, now: float) -> None:
        if self._close_call is not None and now >= self._close_by:
            self._end(f"{self.address} did not close the session in time")
        elif now >= self.flow.heard_at + self._silence_s:
            self._lose(now, f"{self.address} is silent")
        elif now >= self.flow.sent_at + self._ping_s:
            self._is_ping_due = True

    def _on_record(self, record: bytes, now: float) -> None:
        if self.phase is Phase.GREETING:
            self._on_response(records.ConnectResponse.decode(record), now)
            return
        header = records.decode_reply_header(record)
        if header.xid > 0 or header.xid in (Xid.AUTH, Xid.SET_WATCHES):
            self._on_reply(header, record)
        elif header.xid == Xid.NOTIFICATION:
            self._outcomes += self.watches.on_event(records.WatcherEvent.decode(record, records.REPLY_HEADER_SIZE))
        elif header.xid != Xid.PING:
            raise ProtocolError(f"a reply to xid {header.xid}")

    def _on_reply(self, header: records.ReplyHeader, record: bytes) -> None:
        pending = self.flow.pending
        if not pending or pending[0].xid != header.xid:
            raise ProtocolError(f"a reply to xid {header.xid}, not {pending[0].xid if pending else 'expected at all'}")
        # Only these tell how far we are: between two batches of watches the later ones have missed what the first have not.
        if header.xid > 0:
            if header.zxid < self.last_zxid:
                raise ProtocolError(f"Z5: zxid {header.zxid:#x} after {self.last_zxid:#x}")
            self.flow.last_zxid = header.zxid
        call = pending.popleft()
        if call.is_logged:
            self.flow.logged_count -= 1
        value: Any = None
        error: FastzkError | None = None
        if header.err:
            error = error_for(header.err, call.path)
            if call.op == OpCode.AUTH:
                self._fail(call, AuthFailedError())
                self._end("the server does not accept who we say we are", KeeperState.AUTH_FAILED, AuthFailedError)
                return
        else:
            try:
                value = records.decode_reply(call.op, record, records.REPLY_HEADER_SIZE)
            except RecordError as fault:
                # It would be as malformed on every other connection, so it is not tried again.
                self._fail(call, MarshallingError(f"reply to {call.path}: {fault}"))
                raise
        if not call.is_plain:
            error = self._on_special_reply(call, error)
        if not call.is_own:
            self._outcomes.append(Answer(call, value, error, header.zxid))

    def _on_special_reply(self, call: Call, error: FastzkError | None) -> FastzkError | None:
        """What more there is to do; gives the error that the caller shall see."""
        if call is self._close_call:
            self._end("stopped")
        elif call.is_own:
            if error is not None:
                raise ProtocolError(f"it does not arm our watches: {error!r}")
        elif call.removes is not None:
            fired, error = self.watches.on_removed(call, error)
            self._outcomes += fired
        elif call.function is not None:
            self.watches.enter(call, error)
        return error

    # ---- endings

    def _end(
        self,
        reason: str,
        state: KeeperState = KeeperState.CLOSED,
        error: Callable[[str], FastzkError] = ConnectionClosedError,
    ) -> None:
        """The session is over for good: whoever waits is told."""
        if self.phase is Phase.OVER:
            return
        self.phase = Phase.OVER
        self._ended_with = error
        is_closed = state is KeeperState.CLOSED
        for call in self.flow.pending:
            self._fail(call, _loss_of(call) if is_closed else error(reason))
        for call in self.flow.queue:
            may_be_done = call.tries and not call.is_repeatable
            self._fail(call, _loss_of(call) if is_closed and may_be_done else error(reason))
        self.flow.pending.clear()
        self.flow.queue.clear()
        self._outcomes.append(StateChange(state, reason))
        self._outcomes += self.watches.end(state)

    def _fail(self, call: Call, error: FastzkError) -> None:
        if not call.is_own:
            self._outcomes.append(Answer(call, None, error, 0))

    def _fail_all(self, calls: deque[Call], error: Callable[[str], FastzkError], reason: str) -> None:
        for call in calls:
            self._fail(call, error(reason))  # each its own, since raising one writes a traceback into it
        calls.clear()


def _loss_of(call: Call) -> ConnectionLoss:
    return ConnectionLoss(call.path) if call.path else ConnectionLoss()
