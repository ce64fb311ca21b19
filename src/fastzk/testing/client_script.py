"""A client's Session without a network: a script plays server, link and clock, and looks at every message and outcome."""

from random import Random
from typing import Any

from fastzk import limits
from fastzk.client.call import Call
from fastzk.client.hosts import Address, HostRing
from fastzk.client.retry import Backoff
from fastzk.client.session import NO_PASSWORD, Phase, Session
from fastzk.data import ZnodeStat
from fastzk.defs import EventType, KeeperState, OpCode, Xid
from fastzk.wire import frames, records

STAT = ZnodeStat(*range(11))
PASSWORD = b"0123456789abcdef"
SESSION_ID = 0x0100000000000001


class Script:
    """A session, and the hands that play everything around it."""

    def __init__(self, hosts: int = 1, timeout_s: float = 9.0, version: int = 0, **arguments: Any) -> None:
        """version: what the server says of itself; with 1 it remembers results."""
        self.now = 1000.0
        self.version = version
        ring = HostRing([Address(f"h{number}", 2281) for number in range(hosts)], None)
        backoff = Backoff(limits.BACKOFF_FIRST_S, limits.BACKOFF_MAX_S, Random(7))
        self.session = Session(ring, backoff, timeout_s, self.now, **arguments)
        self.outcomes: list[Any] = []
        self.zxid = 100

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.tick()

    def tick(self) -> None:
        """The session does what is due."""
        self.session.tick(self.now)
        self.collect()

    def collect(self) -> None:
        """Takes over what has happened."""
        self.outcomes += self.session.take_outcomes()

    def take(self) -> list[Any]:
        """The outcomes since the last time."""
        self.collect()
        outcomes, self.outcomes = self.outcomes, []
        return outcomes

    def greet(self) -> records.ConnectRequest:
        """The link stands; what the session says first."""
        self.session.on_open(self.now)
        message = self.session.take_message(self.now)
        assert message is not None
        (record,) = frames.split_message(message, 100)
        assert self.session.take_message(self.now) is None, "it waits for the response"
        return records.ConnectRequest.decode(record)

    def respond(self, timeout_ms: int = 9000, session_id: int = SESSION_ID) -> None:
        """The server answers ConnectRequest."""
        password = PASSWORD if session_id else NO_PASSWORD
        self.receive(records.ConnectResponse(timeout_ms, session_id, password, protocol_version=self.version).encode())

    def connect(self) -> "Script":
        """A connection is made, and stands."""
        self.tick()
        self.greet()
        self.respond()
        assert self.session.phase is Phase.OPEN
        return self

    def lose(self) -> None:
        """The connection is cut; then it is time for another."""
        self.session.on_lost(self.now, "cut")
        self.advance(limits.BACKOFF_MAX_S)

    def receive(self, *payloads: bytes) -> None:
        """A message comes in."""
        self.session.on_message(b"".join(map(frames.frame, payloads)), self.now)
        self.collect()

    def submit(self, request: Any, **arguments: Any) -> Call:
        """A call is made."""
        call = Call(request.op, records.encode_request(request), getattr(request, "path", None), **arguments)
        self.session.submit(call)
        return call

    def sent(self) -> list[tuple[records.RequestHeader, Any]]:
        """The requests in the next message; none when there is none."""
        message = self.session.take_message(self.now)
        if message is None:
            return []
        found = []
        for record in frames.split_message(message, limits.FRAME_BYTES_MAX):
            header = records.decode_request_header(record)
            found.append((header, records.decode_request(header.op, record, records.REQUEST_HEADER_SIZE)))
        return found

    def reply(self, xid: int, value: bytes = b"", err: int = 0, zxid: int | None = None) -> bytes:
        """A reply, with the next zxid or the one given."""
        if zxid is None:
            self.zxid += 1
            zxid = self.zxid
        return records.ReplyHeader(xid, zxid, err).encode() + value

    def event(self, event: EventType, path: str) -> bytes:
        """An event."""
        body = records.WatcherEvent(event, KeeperState.CONNECTED, path).encode()
        return records.ReplyHeader(Xid.NOTIFICATION, self.zxid, 0).encode() + body


def get(path: str = "/a", watch: bool = False) -> records.GetData:
    """A read."""
    return records.GetData(path, watch)


def put(path: str = "/a") -> records.SetData:
    """A write."""
    return records.SetData(path, b"x", -1)


DATA_REPLY = records.encode_reply(OpCode.GET_DATA, (b"v", STAT))
