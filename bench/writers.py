"""Clients that write all the time, one on each node, in one thread: what they see of a leader's loss is a gap between answers.

    with Writers(nodes) as writers:
        writers.run_until_answered(300)         # each of them so many more
        survivors = writers.without(leader)     # its client is not driven any more
        ...
        survivors[0].longest_gap_s

Rule: a client whose connection ends connects again at once, to the same node; the time that takes is part of its gap.
Rule: an answer with an error is an exception: no write may fail."""

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from crowd import RECEIVE_BYTES, request, take_frames
from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.errors import ErrorCode
from fastzk.testing.ensemble import Node
from fastzk.testing.rawclient import RawClient
from fastzk.wire import frames, records

ANSWERS_S_MAX = 60.0  # for all that run_until_answered() waits for
CONNECT_S_MAX = 1.0  # on loopback it is there at once, or refuses
RETRY_S = 0.02  # between two tries to connect
WINDOW = 8  # writes under way of each client
VALUE = bytes(100)
XID_MAX = 1 << 30
HELLO = frames.frame(records.ConnectRequest(0, 10_000, 0, bytes(16)).encode())


class Writer:
    """One client of one node: a connection, and how long it waited for answers."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.path = f"/writer-{node.number}"
        self.answered = 0
        self.longest_gap_s = 0.0
        self.connections_lost = 0
        self.stream: socket.socket | None = None
        self._has_session = False
        self._heard_s = 0.0
        self._xids = itertools.cycle(range(1, XID_MAX))
        self._input = bytearray()

    def connect(self) -> bool:
        """Tries once; the session begins with the answer, in take()."""
        with contextlib.suppress(OSError):
            self.stream = socket.create_connection(self.node.zk, CONNECT_S_MAX)
            self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.stream.sendall(HELLO)
            self.stream.setblocking(False)
            return True
        self.close()
        return False

    def close(self) -> None:
        """Drops the connection."""
        if self.stream is not None:
            self.stream.close()
        self.stream, self._has_session = None, False
        self._input.clear()

    def take(self) -> bool:
        """Takes what has come and writes on; False when the connection is over.  Raises RuntimeError when a write failed."""
        assert self.stream is not None, "only a connected client is ready"
        try:
            data = self.stream.recv(RECEIVE_BYTES)
            if not data:
                return False
            self._input += data
            for frame in take_frames(self._input):
                if not self._take_frame(frame):
                    return False
        except OSError:
            return False
        return True

    def _take_frame(self, frame: bytes) -> bool:
        if not self._has_session:
            if records.ConnectResponse.decode(frame).timeout_ms <= 0:
                return False
            self._has_session = True
            self._heard_s = self._heard_s or time.perf_counter()
            self._write(WINDOW)
            return True
        xid, _, err = records.decode_reply_header(frame)
        if err:
            raise RuntimeError(f"write {xid} of the client on node {self.node.number} failed with {err}")
        now_s = time.perf_counter()
        self.longest_gap_s = max(self.longest_gap_s, now_s - self._heard_s)
        self._heard_s = now_s
        self.answered += 1
        self._write(1)
        return True

    def _write(self, count: int) -> None:
        """A few hundred bytes, so a socket takes them whole."""
        assert self.stream is not None, "only a connected client writes"
        some = [request(next(self._xids), records.SetData(self.path, VALUE, -1)) for _ in range(count)]
        self.stream.sendall(b"".join(some))

    @property
    def has_session(self) -> bool:
        """Its connection has a session."""
        return self._has_session


class Writers:
    """A client for each node; `with` makes their znodes and begins."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._writers = [Writer(node) for node in nodes]
        self._poll = select.epoll()
        self._ready: dict[int, Writer] = {}  # by descriptor
        self._retry_s: dict[Writer, float] = {}  # when those without a connection try again

    def __enter__(self) -> Self:
        with RawClient(self._writers[0].node.zk, ANSWERS_S_MAX) as raw:
            raw.connect()
            for writer in self._writers:
                err = raw.call(records.Create(writer.path, b"", OPEN_ACL_UNSAFE, 0)).err
                if err not in (0, ErrorCode.NODE_EXISTS):
                    raise RuntimeError(f"create {writer.path} failed with {err}")
        for writer in self._writers:
            self._retry_s[writer] = 0.0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._poll.close()
        for writer in self._writers:
            writer.close()

    def without(self, node: Node) -> list[Writer]:
        """Lets go of a node's client; the others."""
        (gone,) = (writer for writer in self._writers if writer.node is node)
        self._drop(gone)
        self._retry_s.pop(gone, None)
        self._writers.remove(gone)
        return list(self._writers)

    def run_until_answered(self, count: int) -> None:
        """Drives the clients until each has so many more answers.  Raises TimeoutError when that takes too long."""
        wanted = {writer: writer.answered + count for writer in self._writers}
        ends_s = time.perf_counter() + ANSWERS_S_MAX
        while waiting := [writer for writer in self._writers if writer.answered < wanted[writer]]:
            now_s = time.perf_counter()
            if now_s > ends_s:
                raise TimeoutError(f"the clients on nodes {[each.node.number for each in waiting]} wait in vain for answers")
            for writer in [writer for writer, at_s in self._retry_s.items() if at_s <= now_s]:
                self._retry(writer, now_s)
            for descriptor, _ in self._poll.poll(RETRY_S):
                writer = self._ready[descriptor]
                if not writer.take():
                    writer.connections_lost += writer.has_session
                    self._drop(writer)
                    self._retry_s[writer] = now_s

    def _retry(self, writer: Writer, now_s: float) -> None:
        if not writer.connect():
            self._retry_s[writer] = now_s + RETRY_S
            return
        assert writer.stream is not None, "it has just connected"
        del self._retry_s[writer]
        self._ready[writer.stream.fileno()] = writer
        self._poll.register(writer.stream.fileno(), select.EPOLLIN)

    def _drop(self, writer: Writer) -> None:
        if writer.stream is not None:
            self._poll.unregister(writer.stream.fileno())
            del self._ready[writer.stream.fileno()]
        writer.close()
