"""Plays a conversation with one server: blocking sockets, one step at a time, and brings back the bytes that came.

Rules: nothing is judged or decoded here beyond what tells where an answer ends.  begin() sends, finish() receives, so that
two servers can work at the same time.  A server that says nothing for a while has answered "silent".

How an answer ends: with the first record that is no event; and where the server should close the connection (an operation
it does not know, credentials it refuses, a session that ends), with the end of the stream.  Events that a step caused on
other connections are fetched by a barrier: a read on each, whose reply follows everything that was sent before it."""

import socket
import struct
import time
from typing import NamedTuple

from fastzk.defs import PASSWORD_SIZE, OpCode, Xid
from fastzk.errors import ErrorCode
from fastzk.testing.differential import steps
from fastzk.testing.differential.steps import Burst, Bytes, Connect, Drop, Request, Resume, Step
from fastzk.wire import frames, records

SILENCE_S = 4.0  # what is awaited and does not come within it will not come
BARRIER_XID = 0x7FFF_FFF0
SLOTS = 4

_HEAD = struct.Struct("!iqi")
_SIZE = struct.Struct("!i")
_TIMEVAL = struct.Struct("@ll")
_BARRIER = frames.frame(struct.pack("!ii", BARRIER_XID, OpCode.EXISTS) + steps.string("/") + steps.boolean(0))
_AHEAD = 1 << 61
# After these the server closes; so does closeSession.
_LAST_WORDS = (ErrorCode.UNIMPLEMENTED, ErrorCode.AUTH_FAILED)
_ARMING = (OpCode.SET_WATCHES, OpCode.SET_WATCHES2, OpCode.ADD_WATCH)
_READS = (OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2)


class Silence(Exception):  # noqa: N818  (it is an answer like others)
    """Nothing came for SILENCE_S."""


class Answer(NamedTuple):
    """What came on one connection: records, and how it ended: "open", "closed" by the server, "silent"."""

    records: list[bytes]
    end: str


class Wire:
    """One TCP connection: frames out, records in."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, SILENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Blocking with a limit kept by the kernel: a poll less for every receive.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(SILENCE_S), 0))
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Sends.  A server that is gone is noticed when its answer is read."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def record(self) -> bytes | None:
        """The next record; None at the end of the stream.  Raises Silence."""
        rest = self._rest
        while True:
            have = len(rest)
            if have >= 4:
                end = 4 + _SIZE.unpack_from(rest)[0]
                if have >= end:
                    self._rest = rest[end:]
                    return rest[4:end]
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError as late:
                raise Silence from late
            except ConnectionResetError:
                return None
            if not data:
                return None
            rest += data
            self._rest = rest

    def close(self) -> None:
        """Ends it."""
        self._socket.close()


class Player:
    """One server, as the connections and sessions of one conversation see it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.slots: list[Wire | None] = [None] * SLOTS
        # Session number -> its id and password, as this server gave them.
        self.sessions: dict[int, tuple[int, bytes]] = {}
        # Slot -> the number of its session.
        self.held: dict[int, int] = {}
        # Slots that may have watches.
        self.watching: set[int] = set()
        # Zxids of the successful writes so far, which setWatches and ConnectRequests refer to.
        self.written: list[int] = []
        self.base_zxid = 0

    def begin(self, step: Step) -> bool:
        """Sends a step; False when there is nobody to send it to."""
        if isinstance(step, Connect | Resume):
            return self._begin_session(step)
        wire = self.slots[step.slot]
        if wire is None:
            return False
        if isinstance(step, Bytes):
            wire.send(step.data)
        elif isinstance(step, Drop):
            self._lose(step.slot)
        else:
            wire.send(b"".join(map(self._frame, step.requests if isinstance(step, Burst) else (step,))))
        return True

    def _frame(self, request: Request) -> bytes:
        body = request.body if request.relative is None else steps.long(self._zxid(request.relative)) + request.body
        if request.op in _ARMING or (request.op in _READS and request.body[-1:] != b"\0"):
            self.watching.add(request.slot)
        return _SIZE.pack(8 + len(body)) + struct.pack("!ii", request.xid, request.op) + body

    def _begin_session(self, step: Connect | Resume) -> bool:
        if isinstance(step, Connect):
            session_id, password = 0, step.password
        elif step.session not in self.sessions:
            return False
        else:
            session_id, right = self.sessions[step.session]
            password = right if step.password is None else step.password
        self._lose(step.slot)
        wire = self.slots[step.slot] = Wire(self.address)
        zxid = self._zxid(step.zxid)
        hello = records.ConnectRequest(zxid, step.timeout_ms, session_id, password, step.is_read_only)
        wire.send(frames.frame(hello.encode()))
        return True

    def finish(self, step: Step) -> Answer:
        """Receives the answer to a step."""
        if isinstance(step, Drop):
            return Answer([], "dropped")
        if isinstance(step, Connect | Resume):
            return self._finish_session(step)
        wire = self.slots[step.slot]
        assert wire is not None, f"{step} was begun"
        got: list[bytes] = []
        unanswered = len(step.requests) if isinstance(step, Burst) else 1
        try:
            while (record := wire.record()) is not None:
                got.append(record)
                unanswered -= _SIZE.unpack_from(record)[0] != Xid.NOTIFICATION
                if unanswered == 0 and not isinstance(step, Bytes) and not _must_close(step, record):
                    return Answer(got, "open")
            self._lose(step.slot)
            return Answer(got, "closed")
        except Silence:
            return Answer(got, "silent")

    def _finish_session(self, step: Connect | Resume) -> Answer:
        wire = self.slots[step.slot]
        assert wire is not None, f"{step} was begun"
        try:
            record = wire.record()
            if record is None:
                self._lose(step.slot)
                return Answer([], "closed")
            response = records.ConnectResponse.decode(record)
            if response.session_id == 0:
                more = wire.record()
                self._lose(step.slot)
                return Answer([record] if more is None else [record, more], "closed")
        except Silence:
            return Answer([], "silent")
        if isinstance(step, Connect):
            self.sessions[step.session] = (response.session_id, response.password or b"")
        self.held[step.slot] = step.session
        return Answer([record], "open")

    # ---- the barrier

    def ask(self, slots: list[int]) -> None:
        """Sends the barrier's read on connections."""
        for slot in slots:
            wire = self.slots[slot]
            if wire is not None:
                wire.send(_BARRIER)

    def hear(self, slot: int) -> Answer:
        """What came on a connection before the barrier's reply, and that reply."""
        wire = self.slots[slot]
        if wire is None:
            return Answer([], "closed")
        got: list[bytes] = []
        try:
            while (record := wire.record()) is not None:
                got.append(record)
                if _SIZE.unpack_from(record)[0] == BARRIER_XID:
                    return Answer(got, "open")
        except Silence:
            return Answer(got, "silent")
        self._lose(slot)
        return Answer(got, "closed")

    def slot_of(self, session: int) -> int | None:
        """The slot where a session's connection is."""
        return next((slot for slot, held in self.held.items() if held == session), None)

    # ---- from one conversation to the next

    def reset(self, base_zxid: int) -> None:
        """Forgets all connections and sessions."""
        for slot in range(SLOTS):
            self._lose(slot)
        self.sessions.clear()
        self.written.clear()
        self.base_zxid = base_zxid

    def _lose(self, slot: int) -> None:
        wire = self.slots[slot]
        if wire is not None:
            wire.close()
            self.slots[slot] = None
        self.held.pop(slot, None)
        self.watching.discard(slot)

    def _zxid(self, relative: int) -> int:
        if relative < 0:
            return {steps.ZXID_ZERO: 0, steps.ZXID_NEGATIVE: -1, steps.ZXID_AHEAD: _AHEAD}[relative]
        return self.written[-1 - relative] if relative < len(self.written) else self.base_zxid


def _must_close(step: Step, record: bytes) -> bool:
    """True when ZooKeeper closes the connection behind a reply."""
    return (isinstance(step, Request) and step.op == OpCode.CLOSE_SESSION) or _HEAD.unpack_from(record)[2] in _LAST_WORDS


class Admin:
    """The super user's own connection, for what stands between conversations: looking at the whole tree, and clearing it."""

    def __init__(self, address: tuple[str, int], credential: bytes) -> None:
        self._wire = Wire(address)
        self._wire.send(frames.frame(records.ConnectRequest(0, 40_000, 0, bytes(PASSWORD_SIZE)).encode()))
        self._wire.record()
        self.zxid = 0
        self.heard_s = time.monotonic()
        ((err, _),) = self.call([(OpCode.AUTH, steps.integer(0) + steps.string("digest") + steps.buffer(credential))])
        if err:
            raise RuntimeError(f"the server does not know the super user: error {err}")

    def call(self, requests: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Sends requests in one go; error code and body of each reply."""
        xids = range(1, len(requests) + 1)
        parts = [struct.pack("!ii", xid, op) + body for xid, (op, body) in zip(xids, requests, strict=True)]
        self._wire.send(b"".join(map(frames.frame, parts)))
        replies = []
        for xid in xids:
            record = self._wire.record()
            if record is None:
                raise EOFError("the server closed the administrator's connection")
            got, zxid, err = _HEAD.unpack_from(record)
            assert got == xid, f"reply to xid {got} instead of {xid}"
            self.zxid = max(self.zxid, zxid)
            replies.append((err, record[_HEAD.size :]))
        self.heard_s = time.monotonic()
        return replies

    def close(self) -> None:
        """Ends the connection."""
        self._wire.close()
