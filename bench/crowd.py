"""Many light connections of ZooKeeper's protocol in one thread: sessions, watches, pings and bursts of reads.

    with Crowd.open(hosts, 100) as crowd:
        crowd.ask([[request(1, GetData("/a", True))]] * 100)         # each asks, each is answered without error
        first_s, last_s = crowd.hear(100 * size)                     # until so many bytes of events are there

Rule: while time is taken nothing is decoded: who knows what must come counts its bytes, and looks at them afterwards.
Rule: an answer with an error, a closed connection, and silence are exceptions."""

import contextlib
import itertools
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from fastzk.defs import Xid
from fastzk.testing.ensemble import Address
from fastzk.wire import frames, records

SILENCE_S_MAX = 30.0  # without a byte for anybody; less than a session's timeout, so that silence is told as what it is
RECEIVE_BYTES = 1 << 16
AHEAD = 200  # requests of one connection that are sent together: fewer bytes than sockets take
OPENED_TOGETHER = 100  # connections; fewer than a listening socket lets wait
DESCRIPTORS_KEPT = 100  # for all else that has a descriptor
PING = frames.frame(records.RequestHeader(int(Xid.PING), int(records.Ping.op)).encode())
PING_REPLY_BYTES = 4 + records.REPLY_HEADER_SIZE
STAT_BYTES = 68
ERROR_BYTES = 4 + records.REPLY_HEADER_SIZE


def request(xid: int, asked: Any) -> bytes:
    """A request of fastzk.wire.records as a frame."""
    return frames.frame(records.RequestHeader(xid, asked.op).encode() + records.encode_request(asked))


def data_reply_bytes(size: int) -> int:
    """The frame that answers getData of so many bytes."""
    return 4 + records.REPLY_HEADER_SIZE + 4 + size + STAT_BYTES


def event_bytes(path: str) -> int:
    """The frame of an event at a path."""
    return 4 + records.REPLY_HEADER_SIZE + 12 + len(path)


def connections_max(wanted: int) -> int:
    """As many connections as this process and its children may have descriptors for, at most `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = hard if hard != resource.RLIM_INFINITY else wanted + DESCRIPTORS_KEPT
    wanted = min(wanted, room - DESCRIPTORS_KEPT)
    if soft != resource.RLIM_INFINITY and soft < wanted + DESCRIPTORS_KEPT:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + DESCRIPTORS_KEPT, hard))
    return wanted


class Crowd:
    """Connections with a session each.  Raises ConnectionError when one is closed, TimeoutError when all are silent."""

    def __init__(self, streams: Sequence[socket.socket]) -> None:
        self.streams = streams
        self.inputs = [bytearray() for _ in streams]
        self.events: list[bytes] = []  # frames of events that came while something else was asked
        self._numbers = {stream.fileno(): number for number, stream in enumerate(streams)}
        self._poll = select.epoll()
        for stream in streams:
            self._poll.register(stream.fileno(), select.EPOLLIN)

    @classmethod
    @contextlib.contextmanager
    def open(cls, hosts: Sequence[Address], count: int, timeout_ms: int = 40_000) -> Iterator[Self]:
        """So many new sessions, over the hosts in turn; their connections are dropped at the end, without a word."""
        hello = frames.frame(records.ConnectRequest(0, timeout_ms, 0, bytes(16)).encode())
        streams: list[socket.socket] = []
        with contextlib.ExitStack() as stack:
            for begin in range(0, count, OPENED_TOGETHER):
                some = []
                for number in range(begin, min(count, begin + OPENED_TOGETHER)):
                    stream = stack.enter_context(socket.create_connection(hosts[number % len(hosts)], SILENCE_S_MAX))
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    stream.sendall(hello)
                    some.append(stream)
                for stream in some:
                    if records.ConnectResponse.decode(_record(stream)).timeout_ms <= 0:
                        raise ConnectionError(f"{stream.getpeername()} gives no session")
                streams += some
            with cls(streams) as crowd:
                yield crowd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._poll.close()

    def _ready(self) -> Iterator[tuple[int, bytes]]:
        """Waits, and gives what has come, by connection."""
        is_silent = True
        for number, data in self._take(SILENCE_S_MAX):
            is_silent = False
            yield number, data
        if is_silent:
            raise TimeoutError(f"not a byte came on {len(self.streams)} connections for {SILENCE_S_MAX:g} s")

    def _take(self, seconds: float) -> Iterator[tuple[int, bytes]]:
        for descriptor, _ in self._poll.poll(seconds):
            number = self._numbers[descriptor]
            # Not socket.recv: with a timeout that asks the kernel twice.
            data = os.read(descriptor, RECEIVE_BYTES)
            if not data:
                raise ConnectionError(f"connection {number} of {len(self.streams)} was closed by its node")
            yield number, data

    def ask(self, asked: Sequence[Iterable[bytes]]) -> int:
        """Sends each connection's requests, some at a time, until all are answered; how many they were.

        Raises RuntimeError when an answer is an error."""
        sources = [iter(each) for each in asked]
        waiting = [0] * len(sources)
        total = 0

        def refill(number: int) -> None:
            some = list(itertools.islice(sources[number], AHEAD))
            waiting[number] = len(some)
            if some:
                self.streams[number].sendall(b"".join(some))

        for number in range(len(sources)):
            refill(number)
        while any(waiting):
            for number, data in self._ready():
                self.inputs[number] += data
                for frame in take_frames(self.inputs[number]):
                    xid, _, err = records.decode_reply_header(frame)
                    if xid == Xid.NOTIFICATION:
                        self.events.append(frame)
                        continue
                    if err:
                        raise RuntimeError(f"request {xid} of connection {number} was answered with error {err}")
                    waiting[number] -= 1
                    total += 1
                if number < len(sources) and not waiting[number]:
                    refill(number)
        return total

    def hear(self, size: int) -> tuple[float, float]:
        """Waits until so many bytes have come to all together, which stay in `inputs`; when the first and the last of them
        came (perf_counter).  Raises RuntimeError when more has come."""
        first_s = last_s = 0.0
        while size > 0:
            for number, data in self._ready():
                first_s = first_s or time.perf_counter()
                self.inputs[number] += data
                size -= len(data)
            last_s = time.perf_counter()
        if size < 0:
            raise RuntimeError(f"{-size} bytes came that nobody expected")
        return first_s, last_s

    def discard(self, seconds: float) -> int:
        """Waits so long for anything, and throws it away; how many bytes that was.  Raises ConnectionError."""
        return sum(len(data) for _, data in self._take(seconds))

    def pump(self, bursts: Sequence[bytes], window: int, reply_bytes: int, seconds: float) -> tuple[int, float]:
        """Sends bursts of `window` requests on every connection, each when the one before it is answered, for so long; requests,
        and the seconds they took.  Every answer must have `reply_bytes`: an error has fewer, so it ends in silence."""
        following = itertools.cycle(bursts)
        missing = [window * reply_bytes] * len(self.streams)
        under_way, answered = len(self.streams), 0
        began = time.perf_counter()
        for stream in self.streams:
            stream.sendall(next(following))
        try:
            while under_way:
                for number, data in self._ready():
                    missing[number] -= len(data)
                    if missing[number] > 0:
                        continue
                    if missing[number] < 0:
                        raise RuntimeError("more was answered than was asked")
                    answered += window
                    if time.perf_counter() - began < seconds:
                        missing[number] = window * reply_bytes
                        self.streams[number].sendall(next(following))
                    else:
                        under_way -= 1
        except TimeoutError as error:
            error.add_note(f"bytes that each waits for: {missing}; an error has {ERROR_BYTES}, and {reply_bytes} were to come")
            raise
        return answered, time.perf_counter() - began


def latencies_us(stream: socket.socket, requests: Iterable[bytes], reply_bytes: int) -> list[float]:
    """Asks one after the other on one connection, each when the one before it is answered: how long each took."""
    room = bytearray(reply_bytes)
    took = []
    for each in requests:
        begin = time.perf_counter_ns()
        stream.sendall(each)
        missing = reply_bytes
        while missing:
            got = stream.recv_into(room, missing)
            if not got:
                raise ConnectionError("the node closed the connection")
            missing -= got
        took.append((time.perf_counter_ns() - begin) / 1000)
    return took


def take_frames(buffer: bytearray) -> list[bytes]:
    """Whole frames without their lengths, which leave the buffer."""
    found = []
    at = 0
    while len(buffer) - at >= 4:
        (size,) = struct.unpack_from(">i", buffer, at)
        if len(buffer) - at - 4 < size:
            break
        found.append(bytes(buffer[at + 4 : at + 4 + size]))
        at += 4 + size
    del buffer[:at]
    return found


def _record(stream: socket.socket) -> bytes:
    """One frame, and nothing behind it: for the answer that begins a session."""
    (size,) = struct.unpack(">i", _exactly(stream, 4))
    return _exactly(stream, size)


def _exactly(stream: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        data = stream.recv(size - len(got))
        if not data:
            raise ConnectionError("the node closed the connection")
        got += data
    return bytes(got)
