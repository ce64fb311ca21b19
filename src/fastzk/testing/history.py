"""What happened in a run, as its clients and its disks saw it: recorded while it runs, judged when it is over.

    recording = Recording.create(directory, {"title": "kills", "planned": ["kill"]})     real processes: lines in a file
    history = History({"title": "seed 7"})                                               a simulation: in memory
    tap = Tap(recording, "client-1")                                                     one for each client
    tap.dial("node-2", "native", now_ns); tap.sent(record, now_ns); tap.received(record, now_ns); tap.lost("cut", now_ns)

Rule: time is CLOCK_MONOTONIC of one host in nanoseconds, or simulated time: one clock for the whole history.
Rule: a request without an answer is unknown, never failed.
Rule: bodies are what was on the wire, byte by byte, without the headers, so that nothing is lost in telling.
Rule: `rx` counts what came in on a connection, replies and events alike.

How it works: History keeps objects with slots; Recording has the same methods, writes a line for each and keeps nothing.
read_history makes the first out of the second, however the writing ended.  The lines are described in
docs/internals/testing.md."""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from fastzk.defs import OpCode, Xid
from fastzk.testing.run_logs import LogEntry, entries_of, read_log, split_blocks
from fastzk.wire import records

__all__ = ["Connection", "Event", "History", "LogEntry", "NodeEnd", "Recording", "Request", "Tap"]
__all__ += ["describe", "entries_of", "read_history", "read_log"]

FORMAT = 1
EVENT = Xid.NOTIFICATION


class Connection:
    """One connection of a client to a server."""

    __slots__ = (
        "client", "end", "end_ns", "has_results", "is_read_only", "number", "open_ns", "rx", "seen_zxid", "server",
        "session_id", "start_ns", "timeout_ms", "wire",
    )  # fmt: skip

    def __init__(self, number: int, client: str, server: str, wire: str, start_ns: int) -> None:
        self.number = number
        self.client = client
        self.server = server
        self.wire = wire
        self.start_ns = start_ns
        # The session asked for, and from the answer on the one it got; 0: a new one.
        self.session_id = 0
        self.seen_zxid = 0
        # When it was answered; None: never.  Then what was agreed.
        self.open_ns: int | None = None
        self.timeout_ms = 0
        self.has_results = False
        self.is_read_only = False
        self.rx = 0
        # None: it stood when the history ended.
        self.end_ns: int | None = None
        self.end = ""

    def __repr__(self) -> str:
        return f"connection {self.number} of {self.client} to {self.server}, session {self.session_id:#x}"


class Request:
    """One request, and its answer if there was one."""

    __slots__ = ("asked_ns", "body", "connection", "err", "first", "number", "op", "reply", "returned_ns", "rx", "xid", "zxid")

    def __init__(self, number: int, connection: Connection, xid: int, op: int, body: bytes, asked_ns: int) -> None:
        self.number = number
        self.connection = connection
        self.xid = xid
        self.op = op
        self.body = body
        self.asked_ns = asked_ns
        # None: unknown.  The other fields of the answer mean nothing then.
        self.returned_ns: int | None = None
        self.rx = 0
        self.zxid = 0
        self.err = 0
        self.reply = b""
        # The same request as it was sent over the first of several connections; itself if it was sent once.
        self.first = self

    @property
    def session_id(self) -> int:
        """Whose it is."""
        return self.connection.session_id

    def __repr__(self) -> str:
        return f"#{self.number} {describe(self)}"


class Event:
    """A watched event that came in."""

    __slots__ = ("connection", "path", "received_ns", "rx", "type", "zxid")

    def __init__(self, connection: Connection, rx: int, zxid: int, kind: int, path: bytes, received_ns: int) -> None:
        self.connection = connection
        self.rx = rx
        # -1: missed while there was no connection, and told before the reply to setWatches.
        self.zxid = zxid
        self.type = kind
        self.path = path
        self.received_ns = received_ns

    def __repr__(self) -> str:
        return f"event {self.type} of {self.path!r} at {self.zxid:#x}, received as {self.rx} of {self.connection}"


class NodeEnd:
    """What a node was left with: how far it had applied, its digest, its log, and perhaps its znodes."""

    __slots__ = ("applied_zxid", "blocks", "digest", "name", "znodes")

    def __init__(self, name: str, applied_zxid: int, digest: str, blocks: Sequence[bytes]) -> None:
        self.name = name
        self.applied_zxid = applied_zxid
        # Of the tree at applied_zxid, 32 hex digits; empty: not known.
        self.digest = digest
        # Sealed blocks, oldest first; may begin later than others', behind a snapshot, and go on behind applied_zxid.
        self.blocks = blocks
        # path -> answer to getData (data and Stat); None: not known.
        self.znodes: Mapping[bytes, bytes] | None = None


class History:
    """Everything in memory, in the order in which it was noted."""

    def __init__(self, run: Mapping[str, Any] | None = None) -> None:
        """run: what is said of the run as a whole; docs/internals/testing.md has the words."""
        self.run = dict(run or {})
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.events: list[Event] = []
        # Replies to what nobody asked: connection, xid, zxid.
        self.strays: list[tuple[Connection, int, int]] = []
        self.nemesis: list[tuple[int, str, dict[str, Any]]] = []
        self.nodes: list[NodeEnd] = []
        self.end_ns: int | None = None

    def dial(self, client: str, server: str, wire: str, now_ns: int, session_id: int = 0, seen_zxid: int = 0) -> Connection:
        """A client asks a server for a session, or for the one it has."""
        connection = Connection(len(self.connections) + 1, client, server, wire, now_ns)
        connection.session_id, connection.seen_zxid = session_id, seen_zxid
        self.connections.append(connection)
        return connection

    def connected(
        self, connection: Connection, session_id: int, timeout_ms: int, has_results: bool, is_read_only: bool, now_ns: int
    ) -> None:
        """The server has answered, and not refused."""
        connection.session_id = session_id
        connection.timeout_ms = timeout_ms
        connection.has_results = has_results
        connection.is_read_only = is_read_only
        connection.open_ns = now_ns

    def ended(self, connection: Connection, why: str, now_ns: int) -> None:
        """A connection is over; why: cut, closed, refused (not served), expired."""
        connection.end_ns = now_ns
        connection.end = why

    def asked(self, connection: Connection, xid: int, op: int, body: bytes, now_ns: int, first: Request | None = None) -> Request:
        """A request leaves; `first`: it has left before, over another connection."""
        request = Request(len(self.requests) + 1, connection, xid, op, body, now_ns)
        if first is not None:
            request.first = first.first
        self.requests.append(request)
        return request

    def answered(self, request: Request, zxid: int, err: int, reply: bytes, now_ns: int) -> None:
        """The reply to it has come in."""
        connection = request.connection
        connection.rx += 1
        request.rx = connection.rx
        request.zxid = zxid
        request.err = err
        request.reply = reply
        request.returned_ns = now_ns

    def event(self, connection: Connection, zxid: int, kind: int, path: bytes, now_ns: int) -> None:
        """An event has come in."""
        connection.rx += 1
        self.events.append(Event(connection, connection.rx, zxid, kind, path, now_ns))

    def stray(self, connection: Connection, xid: int, zxid: int, now_ns: int) -> None:
        """A reply that answers no request has come in."""
        connection.rx += 1
        self.strays.append((connection, xid, zxid))

    def fault(self, what: str, now_ns: int, **details: Any) -> None:
        """The nemesis has done something."""
        self.nemesis.append((now_ns, what, details))

    def node(self, name: str, applied_zxid: int, digest: str, blocks: Iterable[bytes]) -> None:
        """What a node was left with, after all was over."""
        self.nodes.append(NodeEnd(name, applied_zxid, digest, list(blocks)))

    def ends(self, now_ns: int) -> None:
        """Nothing more is asked, and all that was due has had its time."""
        self.end_ns = now_ns


class Recording(History):
    """The same, written line by line into a directory, so that whatever kills the writer leaves what it wrote."""

    def __init__(self, directory: Path, file: IO[str], run: Mapping[str, Any] | None) -> None:
        super().__init__(run)
        self.directory = directory
        self._file = file
        self._connections = self._requests = 0
        if run is not None:
            self._write({"e": "run", "format": FORMAT, **run})

    @classmethod
    def create(cls, directory: Path, run: Mapping[str, Any] | None = None, name: str = "history") -> Self:
        """Begins a file of a directory.  Several processes may each write one: one of them says what the run is."""
        directory.mkdir(parents=True, exist_ok=True)
        return cls(directory, (directory / f"{name}.jsonl").open("x", encoding="ascii"), run)

    def close(self) -> None:
        """No more lines."""
        self._file.close()

    def flush(self) -> None:
        """What was noted so far survives the death of this process."""
        self._file.flush()

    def dial(self, client: str, server: str, wire: str, now_ns: int, session_id: int = 0, seen_zxid: int = 0) -> Connection:
        self._connections += 1
        connection = Connection(self._connections, client, server, wire, now_ns)
        connection.session_id, connection.seen_zxid = session_id, seen_zxid
        line = {"e": "dial", "t": now_ns, "connection": connection.number, "client": client, "server": server, "wire": wire}
        self._write(line | {"session": session_id, "seen": seen_zxid})
        return connection

    def connected(
        self, connection: Connection, session_id: int, timeout_ms: int, has_results: bool, is_read_only: bool, now_ns: int
    ) -> None:
        super().connected(connection, session_id, timeout_ms, has_results, is_read_only, now_ns)
        line = {"e": "connected", "t": now_ns, "connection": connection.number, "session": session_id, "timeout_ms": timeout_ms}
        self._write(line | {"has_results": has_results, "is_read_only": is_read_only})

    def ended(self, connection: Connection, why: str, now_ns: int) -> None:
        super().ended(connection, why, now_ns)
        self._write({"e": "ended", "t": now_ns, "connection": connection.number, "why": why})

    def asked(self, connection: Connection, xid: int, op: int, body: bytes, now_ns: int, first: Request | None = None) -> Request:
        self._requests += 1
        request = Request(self._requests, connection, xid, op, body, now_ns)
        line = {"e": "ask", "t": now_ns, "connection": connection.number, "request": request.number, "xid": xid, "op": op}
        line["body"] = _text(body)
        if first is not None:
            request.first = first.first
            line["first"] = request.first.number
        self._write(line)
        return request

    def answered(self, request: Request, zxid: int, err: int, reply: bytes, now_ns: int) -> None:
        super().answered(request, zxid, err, reply, now_ns)
        line = {"e": "answer", "t": now_ns, "request": request.number, "zxid": zxid, "err": err, "body": _text(reply)}
        self._write(line)

    def event(self, connection: Connection, zxid: int, kind: int, path: bytes, now_ns: int) -> None:
        connection.rx += 1
        line = {"e": "event", "t": now_ns, "connection": connection.number, "zxid": zxid, "type": kind, "path": _text(path)}
        self._write(line)

    def stray(self, connection: Connection, xid: int, zxid: int, now_ns: int) -> None:
        connection.rx += 1
        self._write({"e": "stray", "t": now_ns, "connection": connection.number, "xid": xid, "zxid": zxid})

    def fault(self, what: str, now_ns: int, **details: Any) -> None:
        self._write({"e": "nemesis", "t": now_ns, "what": what, **details})

    def node(self, name: str, applied_zxid: int, digest: str, blocks: Iterable[bytes]) -> None:
        with (self.directory / f"{name}.blocks").open("xb") as file:
            for block in blocks:
                file.write(block)
        self._write({"e": "node", "node": name, "applied_zxid": applied_zxid, "digest": digest, "log": f"{name}.blocks"})

    def ends(self, now_ns: int) -> None:
        self._write({"e": "end", "t": now_ns})
        self.flush()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


class Tap:
    """Listens in on one client's wire, over all its connections, and notes what it hears: records without their size.

    It knows a repeat: the same xid, operation and body again, on a connection whose server remembers results."""

    def __init__(self, into: History, client: str) -> None:
        self._into = into
        self._client = client
        self._server, self._wire, self._is_new = "", "", False
        self._connection: Connection | None = None
        self._asked: deque[Request] = deque()
        self._pings: deque[Request] = deque()
        # Unanswered when their connection was lost; may come again.
        self._lost: dict[int, Request] = {}

    @property
    def connection(self) -> Connection | None:
        """The one that stands, or is being made."""
        return self._connection

    def dial(self, server: str, wire: str) -> None:
        """The next record sent is a ConnectRequest to this server; wire: zookeeper or native."""
        assert self._connection is None, f"{self._connection} is not over"
        self._server, self._wire, self._is_new = server, wire, True

    def sent(self, record: bytes, now_ns: int) -> None:
        """A record leaves: say so before it does."""
        if self._is_new:
            self._is_new = False
            hello = records.ConnectRequest.decode(record)
            session_id = hello.session_id & 0xFFFFFFFFFFFFFFFF
            self._connection = self._into.dial(self._client, self._server, self._wire, now_ns, session_id, hello.last_zxid_seen)
            return
        assert self._connection is not None, "a record without a connection"
        xid, op = records.decode_request_header(record)
        body = record[records.REQUEST_HEADER_SIZE :]
        first = self._lost.get(xid) if self._connection.has_results and xid > 0 else None
        if first is not None and (first.op, first.body) != (op, body):
            first = None
        request = self._into.asked(self._connection, xid, op, body, now_ns, first)
        (self._pings if xid == Xid.PING else self._asked).append(request)

    def received(self, record: bytes, now_ns: int) -> None:
        """A record has come in: say so before anybody acts on it."""
        connection = self._connection
        assert connection is not None, "a record without a connection"
        if connection.open_ns is None:
            self._greeted(connection, records.ConnectResponse.decode(record), now_ns)
            return
        xid, zxid, err = records.decode_reply_header(record)
        if xid == EVENT:
            event = records.WatcherEvent.decode(record, records.REPLY_HEADER_SIZE)
            self._into.event(connection, zxid, event.type, event.path.encode(), now_ns)
            return
        waiting = self._pings if xid == Xid.PING else self._asked
        # A reply that is not the next one stands in the history where it came; the judge sees the order.
        place = next((at for at, request in enumerate(waiting) if request.xid == xid), None)
        if place is None:
            self._into.stray(connection, xid, zxid, now_ns)
            return
        request = waiting[place]
        del waiting[place]
        self._lost.pop(xid, None)
        self._into.answered(request, zxid, err, record[records.REPLY_HEADER_SIZE :], now_ns)

    def lost(self, why: str, now_ns: int) -> None:
        """The connection is over: cut, closed (asked for), refused, expired."""
        if self._connection is not None:
            for request in self._asked:
                self._lost[request.xid] = request.first
            self._into.ended(self._connection, why, now_ns)
        self._asked.clear()
        self._pings.clear()
        self._connection, self._is_new = None, False

    def _greeted(self, connection: Connection, response: records.ConnectResponse, now_ns: int) -> None:
        session_id = response.session_id & 0xFFFFFFFFFFFFFFFF
        if response.timeout_ms == 0 or session_id == 0:
            self.lost("expired", now_ns)
            return
        if connection.session_id != session_id or response.protocol_version == 0:
            self._lost.clear()
        is_read_only, has_results = bool(response.is_read_only), response.protocol_version == 1
        self._into.connected(connection, session_id, response.timeout_ms, has_results, is_read_only, now_ns)


# ---- reading


def read_history(directory: Path) -> History:
    """Everything that was recorded in a directory.  A last line that is not whole was being written: it is left out.

    Raises ValueError for a line that cannot be."""
    history = History()
    for file in sorted(directory.glob("*.jsonl")):
        reader = _Reader(history, directory)
        with file.open(encoding="ascii") as lines:
            for text in lines:
                if text.endswith("\n"):
                    reader.take(json.loads(text))
    return history


class _Reader:
    """Takes the lines of one file."""

    def __init__(self, history: History, directory: Path) -> None:
        self._history = history
        self._directory = directory
        self._connections: dict[int, Connection] = {}
        self._requests: dict[int, Request] = {}

    def take(self, line: dict[str, Any]) -> None:
        """One line."""
        history, kind = self._history, line.pop("e")
        if kind == "ask":
            first = self._requests[line["first"]] if "first" in line else None
            connection, body = self._connections[line["connection"]], a2b_base64(line["body"])
            self._requests[line["request"]] = history.asked(connection, line["xid"], line["op"], body, line["t"], first)
        elif kind == "answer":
            body = a2b_base64(line["body"])
            history.answered(self._requests[line["request"]], line["zxid"], line["err"], body, line["t"])
        elif kind == "event":
            connection = self._connections[line["connection"]]
            history.event(connection, line["zxid"], line["type"], a2b_base64(line["path"]), line["t"])
        else:
            self._take_rare(kind, line)

    def _take_rare(self, kind: str, line: dict[str, Any]) -> None:
        history = self._history
        if kind == "dial":
            given = (line["client"], line["server"], line["wire"], line["t"], line["session"], line["seen"])
            self._connections[line["connection"]] = history.dial(*given)
        elif kind == "connected":
            agreed = (line["session"], line["timeout_ms"], line["has_results"], line["is_read_only"], line["t"])
            history.connected(self._connections[line["connection"]], *agreed)
        elif kind == "ended":
            history.ended(self._connections[line["connection"]], line["why"], line["t"])
        elif kind == "stray":
            history.stray(self._connections[line["connection"]], line["xid"], line["zxid"], line["t"])
        elif kind == "nemesis":
            history.fault(line.pop("what"), line.pop("t"), **line)
        elif kind == "node":
            blocks = split_blocks((self._directory / line["log"]).read_bytes())
            history.node(line["node"], line["applied_zxid"], line["digest"], blocks)
        elif kind == "run":
            if line.pop("format") != FORMAT:
                raise ValueError(f"this history is not of format {FORMAT}")
            history.run = line
        elif kind == "end":
            history.ends(line["t"])
        else:
            raise ValueError(f"a line of kind {kind!r}")


def _text(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


# ---- for people


def describe(request: Request) -> str:
    """A request and its answer in a line."""
    try:
        asked = str(records.decode_request(request.op, request.body)) if request.op in records.REQUESTS else str(request.body)
        name = OpCode(request.op).name
    except ValueError:
        asked, name = str(request.body), f"op {request.op}"
    told = f"{name}{asked} as xid {request.xid} of session {request.session_id:#x} on connection {request.connection.number}"
    if request.returned_ns is None:
        return f"{told}, asked {request.asked_ns / 1e9:.6f}: unknown"
    reply: Any = ""
    if request.err == 0 and request.reply:
        try:
            reply = records.decode_reply(request.op, request.reply)
        except (ValueError, KeyError):
            reply = request.reply
    times = f"asked {request.asked_ns / 1e9:.6f}, answered {request.returned_ns / 1e9:.6f} as {request.rx}"
    return f"{told}, {times}: err {request.err} at {request.zxid:#x} {reply}"
