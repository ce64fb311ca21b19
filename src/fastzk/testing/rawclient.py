"""A plain client of ZooKeeper's TCP protocol for tests: one socket, no threads, nothing done behind the caller's back.

    with RawClient(("127.0.0.1", 2181)) as raw:
        raw.connect()
        xids = raw.send(Create("/a", b"", OPEN_ACL_UNSAFE, 0), Exists("/a", True))     # one send, two requests
        first, second = raw.receive(), raw.receive()
        raw.send_bytes(b"anything at all")

Rule: it sends what it is told to, sense or nonsense, and gives every record that comes, in order, events included.
Rule: no pings: the session lives for as long as something is asked, or the timeout allows."""

import socket
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastzk import limits
from fastzk.data import WatchedEvent
from fastzk.defs import PASSWORD_SIZE, EventType, KeeperState, Xid
from fastzk.wire import frames, records

_RECEIVE_BYTES = 1 << 16


class Reply(NamedTuple):
    """A record as it came: its header, and what follows it."""

    xid: int
    zxid: int
    err: int
    body: bytes

    def value(self, op: int) -> Any:
        """The reply's value (records.decode_reply).  Raises RecordError."""
        return records.decode_reply(op, self.body)

    def event(self) -> WatchedEvent:
        """The watched event that it is.  Raises RecordError."""
        assert self.xid == Xid.NOTIFICATION, self
        event = records.WatcherEvent.decode(self.body)
        return WatchedEvent(EventType(event.type), KeeperState(event.state), event.path)


class RawClient:
    """One TCP connection to a node.  Every wait ends with TimeoutError; EOFError says that the node closed it."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0) -> None:
        """Connects the socket, and says nothing yet."""
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._splitter = frames.FrameSplitter(limits.REPLY_BYTES_MAX)
        self._records: deque[bytes] = deque()
        self._xid = 0
        self.session_id = 0
        self.password = bytes(PASSWORD_SIZE)
        # Those that call() met.
        self.events: list[Reply] = []

    def connect(
        self,
        timeout_ms: int = 10_000,
        session_id: int = 0,
        password: bytes | None = bytes(PASSWORD_SIZE),
        last_zxid: int = 0,
        is_read_only: bool | None = False,
    ) -> records.ConnectResponse:
        """Starts a session, or goes on with one.  is_read_only None: as a client that does not know the field."""
        self.send_record(records.ConnectRequest(last_zxid, timeout_ms, session_id, password, is_read_only).encode())
        response = records.ConnectResponse.decode(self.receive_record())
        self.session_id = response.session_id
        self.password = response.password or b""
        return response

    # ---- out

    def send_bytes(self, data: bytes) -> None:
        """Sends bytes."""
        self._socket.sendall(data)

    def send_record(self, record: bytes) -> None:
        """Sends bytes as one frame."""
        self.send_bytes(frames.frame(record))

    def send(self, *requests: records.Request) -> list[int]:
        """Sends requests in one go; their xids, which count from 1."""
        xids = list(range(self._xid + 1, self._xid + 1 + len(requests)))
        self._xid += len(requests)
        headers = [records.RequestHeader(xid, request.op).encode() for xid, request in zip(xids, requests, strict=True)]
        parts = zip(headers, map(records.encode_request, requests), strict=True)
        self.send_bytes(b"".join([frames.frame(header + body) for header, body in parts]))
        return xids

    def send_raw(self, xid: int, op: int, body: bytes = b"") -> None:
        """Sends one request of any number and operation, with any body."""
        self.send_record(records.RequestHeader(xid, op).encode() + body)

    def shut(self) -> None:
        """Says that nothing more will be sent; what comes can still be received."""
        self._socket.shutdown(socket.SHUT_WR)

    # ---- in

    def receive_record(self) -> bytes:
        """The next frame's bytes.  Raises EOFError, TimeoutError, RecordError."""
        while not self._records:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise EOFError("the node closed the connection")
            self._records.extend(self._splitter.feed(data))
        return self._records.popleft()

    def receive(self) -> Reply:
        """The next reply or event.  Raises EOFError, TimeoutError, RecordError."""
        record = self.receive_record()
        xid, zxid, err = records.decode_reply_header(record)
        return Reply(xid, zxid, err, record[records.REPLY_HEADER_SIZE :])

    def call(self, request: records.Request) -> Reply:
        """Sends one request and gives its reply, which must be the next; events before it go to `events`."""
        (xid,) = self.send(request)
        reply = self.receive()
        while reply.xid == Xid.NOTIFICATION:
            self.events.append(reply)
            reply = self.receive()
        assert reply.xid == xid, f"{reply} instead of the reply to xid {xid}"
        return reply

    def receive_end(self) -> list[Reply]:
        """What still comes until the node closes the connection.  Raises TimeoutError when it does not."""
        replies: list[Reply] = []
        while True:
            try:
                replies.append(self.receive())
            except (EOFError, ConnectionResetError):
                return replies

    # ---- the end

    def close_session(self) -> Reply:
        """Ends the session in good order."""
        return self.call(records.CloseSession())

    def close(self) -> None:
        """Drops the connection without a word; the session lives on until it expires."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
