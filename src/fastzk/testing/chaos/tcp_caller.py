"""A client of the workload on ZooKeeper's TCP protocol: a plain socket, and everything about it known and recorded.

Rules: the wire is ZooKeeper's own: no result is remembered, so a write whose answer is lost is never sent again.  xids count on
over connections.  After a loss it goes to any node, with its session, and arms its watches again, as ZooKeeper's clients do.
Now and then it changes the node of its own will, and ends its session in good order and makes a new one.  When no node takes it
for longer than its session can live it begins as if it were new, as an application does that is started again.

How it works: one thread; requests leave one by one, up to a window; each turn sends what is due and reads what is there."""

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from fastzk import limits
from fastzk.defs import PASSWORD_SIZE, EventType, OpCode, Xid
from fastzk.testing.chaos.caller import Caller
from fastzk.testing.history import Recording, Tap
from fastzk.wire import frames, records

Address = tuple[str, int]
CONNECT_S_MAX = 1.0
RETRY_S = 0.05
HOP_S, SESSION_S = 15.0, 40.0  # mean times between changes of the node, and of the session
_READS = (OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN, OpCode.SYNC)
_CHILD, _DATA, _EXIST = range(3)


class TcpCaller(Caller):
    """See above."""

    def __init__(
        self, name: str, recording: Recording, random: Random, rate: float, window: int, session_s: float, nodes: Sequence[Address]
    ) -> None:
        super().__init__(name, recording, random, rate, window, session_s)
        self._nodes = list(nodes)
        self._tap = Tap(recording, name)
        self._socket: socket.socket | None = None
        self._splitter = frames.FrameSplitter(limits.REPLY_BYTES_MAX)
        self._session_id, self._password = 0, bytes(PASSWORD_SIZE)
        self._last_zxid = 0
        self._xid = 0
        self._pending: deque[tuple[int, records.Request]] = deque()
        self._armed: dict[tuple[int, str], None] = {}
        self._heard_s = self._sent_s = 0.0
        self._hop_s = self._close_s = 0.0
        self._served_s = time.monotonic()
        self._is_asked_last = False

    def turn(self) -> None:
        now_s = time.monotonic()
        if self._socket is None:
            self._connect()
            return
        try:
            self._send_due(now_s)
            readable, _, _ = select.select([self._socket], [], [], self.wait_s(now_s) or 0.005)
            if readable:
                self._take(self._socket.recv(1 << 16))
            self._look_after(time.monotonic())
        except OSError:
            self._lose("cut")

    def leave(self) -> None:
        self._lose("cut")

    # ---- connecting

    def _connect(self) -> None:
        number = self.random.randrange(len(self._nodes))
        if time.monotonic() - self._served_s > self.alone_s_max:
            self._served_s = time.monotonic()
            self._forget_session()
            self._last_zxid = 0
        try:
            stream = socket.create_connection(self._nodes[number], CONNECT_S_MAX)
        except OSError:
            self._is_ending.wait(RETRY_S)
            return
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = stream
        self._splitter = frames.FrameSplitter(limits.REPLY_BYTES_MAX)
        self._tap.dial(f"node-{number + 1}", "zookeeper")
        timeout_ms = int(self.session_s * 1000)
        try:
            self._send(records.ConnectRequest(self._last_zxid, timeout_ms, self._session_id, self._password).encode())
            while self._tap.connection is not None and self._tap.connection.open_ns is None:
                data = stream.recv(1 << 16)
                if not data:
                    break
                self._take(data)
        except OSError:
            self._lose("refused")
            return
        if self._tap.connection is None or self._tap.connection.open_ns is None:
            self._lose("refused")
            self._is_ending.wait(RETRY_S)
            return
        now_s = time.monotonic()
        self._served_s = now_s
        self._hop_s = now_s + self.random.expovariate(1 / HOP_S)
        self._rearm()

    def _on_response(self, record: bytes) -> None:
        response = records.ConnectResponse.decode(record)
        if response.timeout_ms <= 0:
            self._forget_session()
            self._lose("expired")
            return
        if response.session_id != self._session_id:
            self.tally.sessions += 1
            self._close_s = time.monotonic() + self.random.expovariate(1 / SESSION_S)
            self._armed.clear()
        self._session_id, self._password = response.session_id, response.password or b""

    def _forget_session(self) -> None:
        self._session_id, self._password = 0, bytes(PASSWORD_SIZE)
        self._armed.clear()

    def _rearm(self) -> None:
        """SetWatches, as ZooKeeper's clients send it."""
        kinds: list[list[str]] = [[], [], []]
        for kind, path in self._armed:
            kinds[kind].append(path)
        if self._armed and self._socket is not None:
            request = records.SetWatches(self._last_zxid, kinds[_DATA], kinds[_EXIST], kinds[_CHILD])
            try:
                self._ask(Xid.SET_WATCHES, request)
            except OSError:
                self._lose("cut")

    def _lose(self, why: str) -> None:
        """The connection is over."""
        if self._socket is None:
            return
        if self._tap.connection is not None and self._tap.connection.open_ns is not None:
            self._served_s = time.monotonic()
        with contextlib.suppress(OSError):
            self._socket.close()
        self._socket = None
        self.tally.unknown += sum(request.op not in _READS for xid, request in self._pending if xid > 0)
        self._pending.clear()
        self._is_asked_last = False
        self._tap.lost(why, time.monotonic_ns())

    # ---- out

    def _send(self, record: bytes) -> None:
        assert self._socket is not None
        self._sent_s = time.monotonic()
        self._tap.sent(record, time.monotonic_ns())
        self._socket.sendall(frames.frame(record))

    def _ask(self, xid: int, request: records.Request) -> None:
        self._pending.append((xid, request))
        self._send(records.RequestHeader(xid, request.op).encode() + records.encode_request(request))

    def _ask_next(self, request: records.Request) -> None:
        self._xid += 1
        self.tally.asked += 1
        self._ask(self._xid, request)

    def _send_due(self, now_s: float) -> None:
        if self._is_paused.is_set():
            self._settle()
            return
        if now_s > self._close_s:
            if not self._pending:
                self._ask_next(records.CloseSession())
                self._close_s = now_s + self.session_s  # if the answer is lost
            return
        while len(self._pending) < self.window and self.is_due(now_s):
            self._ask_next(self.chooser.next(now_s))

    def _settle(self) -> None:
        """While paused: says that nothing is under way; asks the last two."""
        if self._pending:
            return
        self.is_quiet.set()
        if self._is_finishing.is_set():
            if self._is_asked_last:
                self.is_finished.set()
            elif not self.is_finished.is_set():
                self._ask_next(records.Sync("/"))
                self._ask_next(records.GetData("/", False))
                self._is_asked_last = True

    def _look_after(self, now_s: float) -> None:
        """Pings; gives up a connection that is silent, or was long enough with one node."""
        if self._socket is None:
            return
        is_hopping = now_s > self._hop_s and not self._pending and not self._is_paused.is_set()
        if is_hopping or now_s - self._heard_s > self.session_s * 2 / 3:
            self._lose("cut")
        elif now_s - self._sent_s > self.session_s / 3:
            self._send(records.RequestHeader(Xid.PING, OpCode.PING).encode())

    # ---- in

    def _take(self, data: bytes) -> None:
        if not data:
            self._lose("cut")
            return
        self._heard_s = time.monotonic()
        for record in self._splitter.feed(data):
            if self._socket is None:
                return
            is_open = self._tap.connection is not None and self._tap.connection.open_ns is not None
            self._tap.received(record, time.monotonic_ns())
            if not is_open:
                self._on_response(record)
            else:
                self._on_record(record)

    def _on_record(self, record: bytes) -> None:
        xid, zxid, err = records.decode_reply_header(record)
        if xid == Xid.NOTIFICATION:
            event = records.WatcherEvent.decode(record, records.REPLY_HEADER_SIZE)
            kinds = (_CHILD,) if event.type == EventType.CHILD else (_DATA, _EXIST)
            for kind in kinds if event.type != EventType.DELETED else (_CHILD, _DATA, _EXIST):
                self._armed.pop((kind, event.path), None)
            return
        if xid == Xid.PING:
            return
        if not self._pending or self._pending[0][0] != xid:
            self._lose("cut")  # the history has it; the judge will say what is wrong
            return
        _, request = self._pending.popleft()
        if xid > 0:
            self.tally.answered += 1
            self._last_zxid = max(self._last_zxid, zxid)
            self._on_reply(request, err, record)

    def _on_reply(self, request: Any, err: int, record: bytes) -> None:
        op = request.op
        if op == OpCode.CLOSE_SESSION:
            self._forget_session()
            self._lose("closed")
            return
        if op not in _READS and err == 0:
            self.tally.writes += 1
            self.tally.written_s = time.monotonic()
        if getattr(request, "watch", False) and (err == 0 or op == OpCode.EXISTS):
            kind = _CHILD if op == OpCode.GET_CHILDREN else _DATA if err == 0 else _EXIST
            self._armed[kind, request.path] = None
        if op in (OpCode.GET_DATA, OpCode.EXISTS, OpCode.SET_DATA, OpCode.CREATE, OpCode.DELETE):
            self.chooser.learn(request.path, _version_of(op, err, record))


def _version_of(op: int, err: int, record: bytes) -> int:
    """A znode's version, as a reply tells it; -1: it is not there."""
    if op == OpCode.CREATE:
        return 0
    if err or op == OpCode.DELETE:
        return -1
    value = records.decode_reply(op, record, records.REPLY_HEADER_SIZE)
    stat = value[1] if op == OpCode.GET_DATA else value
    return int(stat.version)
