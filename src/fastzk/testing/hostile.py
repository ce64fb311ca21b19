"""Bytes that no client means: for both client ports and for the ensemble's, and the means to send them.

Rule: each input comes with what must happen.  `is_refused` ones the node must close by itself; of all others it must
close its side once it has seen our end, and must not wait for more.

How it works: the same seed gives the same inputs.  ZeroMQ's ports are attacked below libzmq, with ZMTP 3.0 written by
hand (https://rfc.zeromq.org/spec/23): greeting, READY command, messages; so that each layer gets its share."""

import contextlib
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fastzk.testing.ensemble import Address

CLOSE_S_MAX = 20.0  # a handshake that does not come may be waited for so long
LENGTHS = (-1, 0, 2**31 - 1, -(2**31), 0x100000, 1, 3)
HTTP = b"GET /commands/stat HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n"
TLS_HELLO = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
SESSION_TIMEOUT_MS = 4000


@dataclass(frozen=True)
class Input:
    """One connection's worth of bytes."""

    name: str
    data: bytes
    is_refused: bool = False
    # ZMTP's handshake comes before, and its answer is waited for: until then a peer takes every frame for part of it.
    is_after_handshake: bool = False


def frame(payload: bytes) -> bytes:
    """ZooKeeper's framing."""
    return struct.pack(">i", len(payload)) + payload


def text(value: bytes) -> bytes:
    """A jute string or buffer."""
    return struct.pack(">i", len(value)) + value


CONNECT = frame(struct.pack(">iqiqi16s?", 0, 0, SESSION_TIMEOUT_MS, 0, 16, bytes(16), False))
OPEN_ACL = struct.pack(">ii", 1, 31) + text(b"world") + text(b"anyone")


def valid_requests() -> list[bytes]:
    """A request of each kind, all about one ephemeral znode, and the goodbye."""
    path = text(b"/hostile")
    bodies: list[tuple[int, bytes]] = [
        (1, path + text(b"data") + OPEN_ACL + struct.pack(">i", 1)),
        (15, path + text(b"data") + OPEN_ACL + struct.pack(">i", 3)),
        (4, path + b"\1"),
        (5, path + text(b"more") + struct.pack(">i", -1)),
        (3, path + b"\1"),
        (8, text(b"/") + b"\1"),
        (12, text(b"/") + b"\0"),
        (9, path),
        (2, path + struct.pack(">i", -1)),
        (-11, b""),
    ]
    ordinary = [frame(struct.pack(">ii", number, op) + body) for number, (op, body) in enumerate(bodies, 1)]
    return [frame(struct.pack(">ii", -2, 11)), *ordinary]


VALID_SESSION = CONNECT + b"".join(valid_requests())

# ---- ZMTP

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY_BODY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER\x08Identity" + struct.pack(">I", 0)
READY = b"\x04" + bytes([len(_READY_BODY)]) + _READY_BODY

HEARD_LAST = b"\x08Identity" + struct.pack(">I", 0)  # the end of libzmq's READY


def message(*parts: bytes) -> bytes:
    """A ZMTP message."""
    found = b""
    for number, part in enumerate(parts):
        more = number < len(parts) - 1
        head = struct.pack(">BQ", 2 | more, len(part)) if len(part) > 255 else bytes([more, len(part)])
        found += head + part
    return found


def link_head(sender: int, generator: random.Random) -> bytes:
    """The head of a message between nodes, as transport/links.py draws it."""
    return struct.pack("<HBBIQQ", 0x7A66, 1, 0, sender, generator.getrandbits(64), generator.randrange(1, 100))


# ---- inputs


def fixed_frames() -> Iterator[Input]:
    """Lengths that lie, and other protocols."""
    for length in LENGTHS:
        data = struct.pack(">i", length)
        yield Input(f"length {length}", data + b"x" * 64, is_refused=not 0 < length < 0x100000)
        yield Input(f"session, then length {length}", CONNECT + data + b"x" * 64, is_refused=not 0 < length < 0x100000)
    yield Input("HTTP", HTTP, is_refused=True)
    yield Input("TLS", TLS_HELLO + b"x" * 200, is_refused=True)
    yield Input("unknown word", b"kill", is_refused=True)
    yield Input("connect with a password of 2^31-1 bytes", frame(CONNECT[4:28] + struct.pack(">i", 2**31 - 1) + b"x" * 16))


def truncations(data: bytes, name: str, is_after_handshake: bool = False) -> Iterator[Input]:
    """The same bytes, cut after each."""
    for size in range(len(data)):
        yield Input(f"{name}, cut after {size} bytes", data[:size], is_after_handshake=is_after_handshake)


def random_frames(generator: random.Random) -> Iterator[Input]:
    """Without end: noise, noise in a frame, requests with noise for a body, valid sessions with flipped bytes."""
    while True:
        noise = generator.randbytes(generator.choice((1, 7, 40, 300, 2000)))
        yield Input(f"noise {noise[:20].hex()}", noise)
        yield Input(f"frame of noise {noise[:20].hex()}", frame(noise))
        op = generator.choice((*range(-12, 25), *range(100, 110), generator.getrandbits(31)))
        yield Input(f"session, then op {op} with noise", CONNECT + frame(struct.pack(">ii", 1, op) + noise))
        flipped = bytearray(VALID_SESSION)
        for _ in range(generator.randrange(1, 6)):
            flipped[generator.randrange(len(flipped))] = generator.getrandbits(8)
        yield Input(f"flipped {flipped.hex()}", bytes(flipped))
        request = bytearray(generator.choice(valid_requests()))
        at = generator.randrange(12, len(request)) if len(request) > 12 else 4
        request[at : at + 4] = struct.pack(">i", generator.choice(LENGTHS))[: len(request) - at]
        yield Input(f"length inside {request.hex()}", CONNECT + bytes(request))


def zk_inputs(generator: random.Random) -> Iterator[Input]:
    """For the port of ZooKeeper's protocol; without end."""
    yield from fixed_frames()
    yield from truncations(VALID_SESSION, "session")
    yield from random_frames(generator)


def zmtp_inputs(generator: random.Random) -> Iterator[Input]:
    """What any ZeroMQ port must withstand: other protocols, broken greetings and handshakes."""
    yield Input("HTTP", HTTP, is_refused=True)
    yield Input("TLS", TLS_HELLO + b"x" * 200, is_refused=True)
    for length in (0, 2**31 - 1, 0x100000):
        yield Input(f"length {length}", struct.pack(">i", length) + b"x" * 64, is_refused=True)
    yield Input("length -1", struct.pack(">i", -1) + b"x" * 64)
    for length in (2**31 - 1, 2**63 - 1, 2**64 - 1, 0):
        announced = struct.pack(">BQ", 2, length) + b"x" * 64
        yield Input(f"message of {length}", announced, is_after_handshake=True)
        yield Input(f"command of {length}", GREETING + struct.pack(">BQ", 6, length) + b"x" * 64)
    yield from truncations(GREETING + READY, "handshake")


def zmtp_noise(generator: random.Random) -> Iterator[Input]:
    """Without end: noise at each layer of ZMTP."""
    while True:
        noise = generator.randbytes(generator.choice((1, 9, 64, 300)))
        yield Input(f"noise {noise[:20].hex()}", noise)
        yield Input(f"greeting, noise {noise[:20].hex()}", GREETING + noise)
        yield Input(f"handshake, noise {noise[:20].hex()}", noise, is_after_handshake=True)
        flipped = bytearray(GREETING + READY)
        flipped[generator.randrange(len(flipped))] = generator.getrandbits(8)
        yield Input(f"flipped {flipped.hex()}", bytes(flipped))


def in_messages(inputs: Iterator[Input]) -> Iterator[Input]:
    """Each input as one message of a peer whose handshake was right."""
    for each in inputs:
        yield Input(f"message: {each.name}", message(each.data), is_after_handshake=True)


def native_inputs(generator: random.Random) -> Iterator[Input]:
    """For the port of the native protocol; without end."""
    yield from zmtp_inputs(generator)
    yield from in_messages(fixed_frames())
    yield Input("message of two parts", message(CONNECT, b"x"), is_after_handshake=True)
    yield Input("empty message", message(b""), is_after_handshake=True)
    yield from truncations(message(VALID_SESSION), "message with a session", is_after_handshake=True)
    yield from in_messages(truncations(VALID_SESSION, "session"))
    for below, above in zip(zmtp_noise(generator), in_messages(random_frames(generator)), strict=False):
        yield below
        yield above


def ensemble_inputs(generator: random.Random) -> Iterator[Input]:
    """For the port of the ensemble; without end.  Heads are well formed but of no peer: who can write a peer's head is
    taken for that peer, which is why the port listens on loopback only."""
    yield from zmtp_inputs(generator)
    yield from in_messages(fixed_frames())
    whole = message(link_head(9, generator), b"\1" + bytes(25), b"x" * 300)
    yield from truncations(whole, "message of a stranger", is_after_handshake=True)
    for below in zmtp_noise(generator):
        yield below
        noise = generator.randbytes(generator.choice((0, 1, 24, 26, 64, 300)))
        stranger = link_head(9, generator)
        yield Input(f"message of noise {noise[:20].hex()}", message(noise), is_after_handshake=True)
        yield Input(f"noise and noise {noise[:20].hex()}", message(noise, noise), is_after_handshake=True)
        yield Input(f"a stranger's noise {noise[:20].hex()}", message(stranger, noise, noise), is_after_handshake=True)
        yield Input("many parts", message(*[noise[:8]] * generator.randrange(2, 40)), is_after_handshake=True)


def shake_hands(stream: socket.socket) -> None:
    """ZMTP's handshake as a client that means it does it.  Raises ConnectionError when the other side closes."""
    stream.sendall(GREETING + READY)
    heard = b""
    while not heard.endswith(HEARD_LAST):
        more = stream.recv(65536)
        if not more:
            raise ConnectionError("closed in the handshake")
        heard += more


def attack(address: Address, each: Input) -> None:
    """Sends one input on a connection of its own and sees it closed.  Raises AssertionError when it is not."""
    # A source address of its own now and then: so many connections need more ports than one address has.
    source = (f"127.0.0.{random.randrange(2, 250)}", 0)
    with socket.create_connection(address, timeout=CLOSE_S_MAX, source_address=source) as stream:
        try:
            if each.is_after_handshake:
                shake_hands(stream)
            stream.sendall(each.data)
            if not each.is_refused:
                stream.shutdown(socket.SHUT_WR)
            while stream.recv(65536):
                pass
        except TimeoutError:
            raise AssertionError(f"still open after {CLOSE_S_MAX:g} s: {each.name}") from None
        except OSError:
            with contextlib.suppress(OSError):  # reset: closed with our bytes unread, which is as good
                stream.shutdown(socket.SHUT_RDWR)
