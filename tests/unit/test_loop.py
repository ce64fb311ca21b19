"""Goal: the limits of the worker's loop and of its link to the engine, and what happens at them.

Method: the loop runs in this process, turn by turn; the test is the engine at the other end of the link."""

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest
import zmq

from fastzk._core.arena import Arena
from fastzk._core.serve import Server
from fastzk._core.tree import format_tree
from fastzk.config import Address
from fastzk.transport import _loop
from fastzk.transport._link import EngineLink, LinkError
from fastzk.transport._loop import SLOT_COUNTERS, Loop
from fastzk.transport.listen import listen
from fastzk.wire import frames
from fastzk.wire.records import ConnectRequest

LINK = struct.Struct("<HHIQQQQ")
STATUS = struct.Struct("<QIHH")
WRITES, STATUS_KIND, COMMIT = 3, 6, 7
CONNECT = frames.frame(ConnectRequest(0, 10_000, 0, bytes(16), False).encode())


class Bench:
    """A loop with room for `connections_max` clients, and the engine's end of its link."""

    def __init__(self, connections_max: int, listener: socket.socket | None = None) -> None:
        arena = Arena.create(bytearray(1 << 24))
        format_tree(arena)
        self.server = Server(
            arena,
            node_id=1,
            worker=1,
            incarnation=1,
            timeout_min_ms=1000,
            timeout_max_ms=20_000,
            connections_max=connections_max,
            start_zxid=0,
            session_seed=1,
            hash_seed=1,
        )
        self.server.add_entropy(os.urandom(1 << 16))
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.engine, dealer = self.context.socket(zmq.PAIR), self.context.socket(zmq.PAIR)
        self.engine.bind("inproc://engine")
        dealer.connect("inproc://engine")
        self.dealer = dealer
        self.link = EngineLink(
            self.server, dealer, worker=1, incarnation=1, engine_incarnation=2, sent_sequence=1, heard_sequence=1
        )
        self.listener = listener or listen(Address("127.0.0.1", 0), "test")
        self.gate = socket.socket(socket.AF_UNIX)
        self.gate.setblocking(False)
        self.gate.bind("")  # an abstract name of the kernel's choosing
        self.gate.listen()
        self.router = self.context.socket(zmq.ROUTER)
        self.router_port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.wake, self.waker = socket.socketpair()
        self.wake.setblocking(False)
        self.stats = memoryview(bytearray(2 * 8 * SLOT_COUNTERS)).cast("Q")  # of two workers; this is the first
        self.loop = Loop(
            self.server,
            self.link,
            listen_fd=self.listener.fileno(),
            wake_fd=self.wake.fileno(),
            router=self.router,
            stats=self.stats,
            place=0,
            gate_fd=self.gate.fileno(),
        )
        self.sequence = 1

    def close(self) -> None:
        self.loop.drop_all()
        self.engine.close()
        self.dealer.close()
        self.router.close(0)
        self.context.term()
        for closing in (self.listener, self.gate, self.wake, self.waker):
            closing.close()

    def say(self, kind: int, payload: bytes = b"", *, zxid: int = 0, round_: int = 1) -> None:
        self.sequence += 1
        self.engine.send(LINK.pack(kind, 1, 0, 2, self.sequence, zxid, round_) + payload)

    def say_status(self, leader_id: int = 1, round_: int = 1) -> None:
        self.say(STATUS_KIND, STATUS.pack(1, leader_id, 2, 1), round_=round_)

    def heard(self) -> list[tuple[int, ...]]:
        """(kind, count, sequence, round, bytes) of what the engine was sent."""
        messages = []
        while self.engine.poll(0):
            message = self.engine.recv()
            kind, _, count, _, sequence, _, round_ = LINK.unpack_from(message)
            messages.append((kind, count, sequence, round_, len(message) - LINK.size))
        return messages

    def turns(self, count: int = 5) -> int:
        """Some turns; the flags of all of them."""
        flags = 0
        for _ in range(count):
            flags |= self.loop.turn(20)
        return flags

    def stat(self, name: str) -> int:
        return self.stats[_loop.STAT_NAMES.index(name)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(connections_max=3)
    yield bench
    bench.close()


def test_a_client_beyond_the_limit_is_turned_away(bench: Bench) -> None:
    bench.loop.listen(True)
    clients = [socket.create_connection(bench.listener.getsockname(), 5) for _ in range(5)]
    bench.turns()
    assert (bench.loop.connection_count, bench.stat("refused")) == (3, 2)
    assert [client.recv(1) for client in clients[3:]] == [b"", b""]
    clients[0].close()
    bench.turns()
    late = socket.create_connection(bench.listener.getsockname(), 5)
    bench.turns()
    assert (bench.loop.connection_count, bench.stat("accepted"), bench.stat("dropped")) == (3, 4, 1)
    for client in (late, *clients):
        client.close()


def test_nobody_is_accepted_before_and_after(bench: Bench) -> None:
    with socket.create_connection(bench.listener.getsockname(), 5):
        bench.turns()
        assert bench.loop.connection_count == 0
        bench.loop.listen(True)
        bench.turns()
        assert bench.loop.connection_count == 1
        bench.loop.listen(False)
        with socket.create_connection(bench.listener.getsockname(), 5):
            bench.turns()
            assert bench.loop.connection_count == 1


def test_a_new_connection_is_left_to_a_worker_with_fewer_but_not_for_long(bench: Bench) -> None:
    bench.loop.listen(True)
    other = SLOT_COUNTERS
    with socket.create_connection(bench.listener.getsockname(), 5):
        bench.turns()
        assert bench.loop.connection_count == 1
        bench.stats[other + _loop.STAT_NAMES.index("heartbeat_ms")] = time.monotonic_ns() // 1_000_000
        with socket.create_connection(bench.listener.getsockname(), 5):
            bench.turns(1)
            assert bench.loop.connection_count == 1
            bench.turns(20)
            assert bench.loop.connection_count == 2
            bench.stats[other + _loop.STAT_NAMES.index("connections")] = 2
            with socket.create_connection(bench.listener.getsockname(), 5):
                bench.turns(1)
                assert bench.loop.connection_count == 3


def test_writes_wait_for_a_leader_and_carry_the_round(bench: Bench) -> None:
    bench.loop.listen(True)
    with socket.create_connection(bench.listener.getsockname(), 5) as client:
        client.sendall(CONNECT)
        bench.turns()
        assert bench.heard() == []
        bench.say_status(leader_id=0, round_=7)
        assert bench.turns() == _loop.STATUS
        assert bench.heard() == []
        bench.say_status(leader_id=3, round_=7)
        bench.turns()
        assert [message[:4] for message in bench.heard()] == [(WRITES, 1, 2, 7)]
        bench.say_status(leader_id=3, round_=7)
        bench.turns()
        assert bench.heard() == []
        bench.say_status(leader_id=1, round_=8)
        bench.turns()
        assert [message[:4] for message in bench.heard()] == [(WRITES, 1, 3, 8)]
        assert bench.link.engine_status() == (8, 1, 1, 2, True)


def test_a_word_and_a_signal_ask_for_python(bench: Bench) -> None:
    bench.loop.listen(True)
    with socket.create_connection(bench.listener.getsockname(), 5) as client:
        client.sendall(b"ruok")
        bench.waker.send(b"\x0f")
        assert bench.turns() == _loop.WORDS | _loop.WOKEN
        ((slot, word),) = bench.server.words()
        assert word == b"ruok"
        assert bench.loop.peer_fd(slot) >= 0
        bench.server.answer_word(slot, b"imok")
        bench.turns(1)
        assert client.recv(100) == b"imok"
        assert client.recv(100) == b""
        assert bench.loop.peer_fd(slot) == bench.loop.peer_fd(99) == -1


def test_a_message_too_many_or_too_few_ends_it(bench: Bench) -> None:
    bench.say(COMMIT)
    bench.turns(1)
    bench.sequence += 1
    bench.say(COMMIT)
    with pytest.raises(LinkError, match="missing after number 2"):
        bench.turns()
    with pytest.raises(LinkError):  # for good
        bench.turns(1)


def test_a_repeated_message_ends_it(bench: Bench) -> None:
    bench.say(COMMIT)
    bench.sequence -= 1
    bench.say(COMMIT)
    with pytest.raises(LinkError, match="missing after number 2"):
        bench.turns()


@pytest.mark.parametrize("kind", [0, 1, WRITES, 8, 0xFFFF])
def test_a_message_of_another_kind_ends_it(bench: Bench, kind: int) -> None:
    bench.say(kind)
    with pytest.raises(LinkError, match="makes no sense"):
        bench.turns()


@pytest.mark.parametrize("size", [0, 1, 39])
def test_a_message_without_a_head_ends_it(bench: Bench, size: int) -> None:
    bench.engine.send(bytes(size))
    with pytest.raises(LinkError, match="makes no sense"):
        bench.turns()


def test_a_status_of_the_wrong_size_ends_it(bench: Bench) -> None:
    bench.say(STATUS_KIND, bytes(15))
    with pytest.raises(LinkError, match="makes no sense"):
        bench.turns()


def test_a_message_in_two_parts_ends_it(bench: Bench) -> None:
    bench.engine.send_multipart([LINK.pack(COMMIT, 1, 0, 2, 2, 0, 0), b""])
    with pytest.raises(LinkError, match="makes no sense"):
        bench.turns()


# --- who they are


def described(bench: Bench) -> tuple[object, ...]:
    """Address, port, wire and gate of the only connection."""
    (facts,) = bench.server.describe()
    return facts["address"], facts["port"], facts["wire"], facts["is_gated"]


def test_a_connection_bears_the_address_of_its_peer(bench: Bench) -> None:
    bench.loop.listen(True)
    with socket.create_connection(bench.listener.getsockname(), 5) as client:
        bench.turns()
        assert described(bench) == ("127.0.0.1", client.getsockname()[1], 0, False)
        assert bench.server.identities(0) == b"\0\0\0\1\0\0\0\2ip\0\0\0\x09127.0.0.1"


@pytest.mark.parametrize(("host", "address"), [("::1", "::1"), ("127.0.0.1", "127.0.0.1")])
def test_addresses_of_both_kinds_come_over_a_socket_of_both_kinds(host: str, address: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("SKIPPED: this machine has no IPv6; run on one whose loopback has ::1")
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    listener.setblocking(False)
    bench = Bench(3, listener)
    try:
        bench.loop.listen(True)
        with socket.create_connection((host, listener.getsockname()[1]), 5) as client:
            bench.turns()
            assert described(bench) == (address, client.getsockname()[1], 0, False)
    finally:
        bench.close()


def test_the_gate_has_its_own_socket(bench: Bench) -> None:
    bench.loop.listen(True)
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(bench.gate.getsockname())
        bench.turns()
        assert described(bench) == ("", 0, 2, False)
        gate.sendall(frames.frame(b"\0\0\0\x0810.1.2.3" + struct.pack(">ii", 5000, 0)) + b"ruok")
        assert bench.turns() & _loop.WORDS
        assert described(bench) == ("10.1.2.3", 5000, 0, True)
        ((slot, _),) = bench.server.words()
        bench.server.answer_word(slot, b"imok")
        bench.turns()
        assert gate.recv(10) == b"imok"


def test_nobody_comes_through_the_gate_before_and_after(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(bench.gate.getsockname())
        bench.turns()
        assert bench.loop.connection_count == 0
        bench.loop.listen(True)
        bench.turns()
        assert bench.loop.connection_count == 1
        bench.loop.listen(False)
        with socket.socket(socket.AF_UNIX) as late:
            late.connect(bench.gate.getsockname())
            bench.turns()
            assert bench.loop.connection_count == 1


def test_a_native_client_bears_its_address(bench: Bench) -> None:
    client = bench.context.socket(zmq.DEALER)
    client.connect(f"tcp://127.0.0.1:{bench.router_port}")
    try:
        client.send(CONNECT)
        deadline = time.monotonic() + 5
        while not bench.server.describe() and time.monotonic() < deadline:
            bench.turns(1)
        assert described(bench) == ("127.0.0.1", 0, 1, False)
    finally:
        client.close(0)


def test_credentials_are_asked_of_python() -> None:
    bench = Bench(3)
    try:
        bench.server.is_serving = False
        bench.server.is_read_only = True  # a session without the log
        bench.loop.listen(True)
        with socket.create_connection(bench.listener.getsockname(), 5) as client:
            client.sendall(frames.frame(ConnectRequest(0, 10_000, 0, bytes(16), True).encode()))
            client.sendall(frames.frame(struct.pack(">iii", -4, 100, 0) + b"\0\0\0\6digest\0\0\0\3u:p"))
            assert bench.turns() & _loop.CREDENTIALS
            ((slot, op, xid, _),) = bench.server.asked()
            assert (op, xid) == (100, -4)
            bench.server.admit(slot, -115)
            bench.loop.hurry()
            bench.turns()
            assert client.recv(100)[-20:] == struct.pack(">iiqi", 16, -4, 0, -115)
            assert client.recv(1) == b""
    finally:
        bench.close()
