"""Sessions to put a load on, over both protocols, and the few requests that are made one by one.

Rules: every connection is a session of its own, and the hosts get them in turn.  Who cannot be reached, or gives no session,
is named, with what may be the reason."""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import zmq

from fastzk.client.hosts import Address as Host
from fastzk.client.link import Link

Address = tuple[str, int]

CONNECT_S_MAX = 10.0
SESSION_TIMEOUT_MS = 30_000
CONNECT_AT_ONCE = 100  # a session is a write; one after the other, the first of thousands would expire before the last is there
POLL_MS = 20
CLOSE_XID, CLOSE = 0x7FFFFFFF, -11
OPEN_ACL = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")
GREETING = struct.pack(">iiqiqi16s?", 45, 0, 0, SESSION_TIMEOUT_MS, 0, 16, bytes(16), False)
FAREWELL = struct.pack(">iii", 8, CLOSE_XID, CLOSE)
FRAME_BYTES_MAX = 64 << 20


class UnreachableError(ConnectionError):
    """A server is not there, or gives no session."""


def receive(stream: socket.socket, size: int) -> bytes:
    """Exactly so many bytes.  Raises ConnectionError when the other side closes before."""
    got = bytearray()
    while len(got) < size:
        more = stream.recv(size - len(got))
        if not more:
            raise ConnectionError(f"closed after {len(got)} of {size} bytes")
        got += more
    return bytes(got)


def receive_frame(stream: socket.socket) -> bytes:
    """One frame's payload.  Raises ConnectionError when what comes is none."""
    (size,) = struct.unpack(">i", receive(stream, 4))
    if not 0 <= size <= FRAME_BYTES_MAX:
        raise ConnectionError("does not speak ZooKeeper's protocol")
    return receive(stream, size)


def create_frame(xid: int, path: bytes, value: bytes) -> bytes:
    """A create request of an open, persistent znode."""
    record = struct.pack(f">iii{len(path)}si{len(value)}s", xid, 1, len(path), path, len(value), value)
    return struct.pack(">i", len(record) + len(OPEN_ACL) + 4) + record + OPEN_ACL + bytes(4)


def delete_frame(xid: int, path: bytes) -> bytes:
    """A delete request for any version."""
    return struct.pack(f">iiii{len(path)}si", 16 + len(path), xid, 2, len(path), path, -1)


def refused(address: Address, number: int, why: str) -> NoReturn:
    """Raises UnreachableError that names the server."""
    place = f"connection {number + 1} to " if number else ""
    raise UnreachableError(f"{place}{address[0]}:{address[1]}: {why}") from None


def check_greeted(response: bytes) -> None:
    """Raises ConnectionError when the answer to GREETING is not a session."""
    if len(response) < 36:
        raise ConnectionError("does not speak ZooKeeper's protocol")
    if struct.unpack_from(">ii", response)[1] <= 0:
        raise ConnectionError("gave no session")


# ---- ZooKeeper's protocol


def connect(address: Address, number: int = 0) -> socket.socket:
    """A socket with a new session.  Raises UnreachableError."""
    stream = begin(address, number)
    try:
        await_session(stream, address, number)
    except BaseException:
        stream.close()
        raise
    return stream


def begin(address: Address, number: int) -> socket.socket:
    """A socket that has asked for a session.  Raises UnreachableError."""
    try:
        stream = socket.create_connection(address, timeout=CONNECT_S_MAX)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.send(GREETING)  # what a fresh socket takes whole
    except OSError as error:
        refused(address, number, (error.strerror or str(error)).lower())
    return stream


def await_session(stream: socket.socket, address: Address, number: int) -> None:
    """Waits for the answer to GREETING.  Raises UnreachableError."""
    try:
        check_greeted(receive_frame(stream))
    except TimeoutError:
        refused(address, number, f"no session within {CONNECT_S_MAX:g} s")
    except OSError as error:
        why = str(error)
        if why.startswith("closed") or isinstance(error, ConnectionResetError | BrokenPipeError):
            why = "it closed the connection: it does not serve, allows no more of them, or speaks another protocol"
        refused(address, number, why)


@contextmanager
def connections(hosts: Sequence[Address], count: int) -> Iterator[list[socket.socket]]:
    """So many connected sockets, over the hosts in turn; closed at the end, their sessions too.  Raises UnreachableError."""
    streams: list[socket.socket] = []
    try:
        for first in range(0, count, CONNECT_AT_ONCE):
            numbers = range(first, min(first + CONNECT_AT_ONCE, count))
            for number in numbers:
                streams.append(begin(hosts[number % len(hosts)], number))
            for number in numbers:
                await_session(streams[number], hosts[number % len(hosts)], number)
        yield streams
        # Who does not answer a goodbye has been measured all the same; its sessions end by their timeout.
        with suppress(OSError):
            for stream in streams:
                stream.sendall(FAREWELL)
            for stream in streams:
                while struct.unpack_from(">i", receive_frame(stream))[0] != CLOSE_XID:
                    pass
    finally:
        for stream in streams:
            stream.close()


# ---- the native protocol


def begin_native(context: "zmq.Context[zmq.Socket[bytes]]", address: Address, number: int) -> Link:
    """A link that is being made.  Raises UnreachableError."""
    try:
        socket.getaddrinfo(*address)  # libzmq says nothing of a name that nobody knows
        return Link(context, Host(*address), number, CONNECT_S_MAX)
    except (OSError, zmq.ZMQError) as error:
        refused(address, number, (error.strerror or str(error)).lower())


def await_link(link: Link, address: Address, number: int) -> None:
    """Waits until the link stands, and asks for a session.  Raises UnreachableError."""
    ends, is_open, over = time.monotonic() + CONNECT_S_MAX, False, None
    while not is_open and over is None and time.monotonic() < ends:
        link.monitor.poll(POLL_MS)
        is_open, over = link.take_news()
    if not is_open or not link.send(GREETING):
        why = over.partition(" ")[2] if over else f"no answer within {CONNECT_S_MAX:g} s"
        refused(address, number, why if why == "could not connect" else f"{why}; is it the port of the native protocol?")


def await_native_session(link: Link, address: Address, number: int) -> None:
    """Waits for the answer to GREETING.  Raises UnreachableError."""
    try:
        check_greeted(ask_native(link, time.monotonic() + CONNECT_S_MAX)[4:])
    except ConnectionError as error:
        refused(address, number, str(error))


def ask_native(link: Link, ends: float) -> bytes:
    """The next message.  Raises ConnectionError when there is none."""
    while time.monotonic() < ends:
        if link.socket.poll(POLL_MS):
            if message := link.socket.recv():
                return message
            raise ConnectionError("it does not serve")
        _, over = link.take_news()
        if over is not None:
            raise ConnectionError(over.partition(" ")[2])
    raise ConnectionError(f"no answer within {CONNECT_S_MAX:g} s")


@contextmanager
def native_links(hosts: Sequence[Address], count: int, io_threads: int) -> Iterator[list[Link]]:
    """So many links, over the hosts in turn; closed at the end, their sessions too.  Raises UnreachableError."""
    links: list[Link] = []
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads)
    # Windows bound what is under way; at libzmq's own bound a message would not be taken.
    context.setsockopt(zmq.SNDHWM, 0)
    context.setsockopt(zmq.RCVHWM, 0)
    # A socket and the pair of its monitor for each connection.
    context.set(zmq.MAX_SOCKETS, min(3 * count + 64, context.get(zmq.SOCKET_LIMIT)))
    try:
        for first in range(0, count, CONNECT_AT_ONCE):
            numbers = range(first, min(first + CONNECT_AT_ONCE, count))
            for number in numbers:
                links.append(begin_native(context, hosts[number % len(hosts)], number))
            for wait in (await_link, await_native_session):
                for number in numbers:
                    wait(links[number], hosts[number % len(hosts)], number)
        yield links
        with suppress(ConnectionError):
            for link in links:
                link.send(FAREWELL)
            ends = time.monotonic() + CONNECT_S_MAX
            for link in links:
                ask_native(link, ends)
    finally:
        for link in links:
            link.close()
        context.term()
