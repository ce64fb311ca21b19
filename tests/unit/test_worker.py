"""Goal: a worker serves clients over both wires, survives whatever they do, and follows its engine or ends.

Method: real worker processes under an engine without a log (fastzk.testing.engine), whose thread is told to fall silent, to
begin a new round or to leave a hole.  Clients are plain sockets."""

import contextlib
import itertools
import mmap
import random
import re
import resource
import select
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import zmq
from kazoo.client import KazooClient

from fastzk._core.blocks import make_entry
from fastzk.data import ACL, OPEN_ACL_UNSAFE
from fastzk.defs import AddWatchMode
from fastzk.node.workers import READ, STANDALONE, TOUCH, WRITES, NodeStatus
from fastzk.storage.shm import map_shared
from fastzk.testing import ensemble
from fastzk.testing.engine import ARENA_BYTES, TinyEngine
from fastzk.testing.rawclient import RawClient
from fastzk.wire import frames, records
from fastzk.wire.records import AddWatch, Create, Delete, Exists, GetChildren, GetData, SetData

SERVING = NodeStatus(1, 1, STANDALONE, True)
OPEN: list[ACL] = list(OPEN_ACL_UNSAFE)
wait_for = partial(ensemble.wait_for, seconds=10.0, what="the condition")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyEngine]:
    """An engine and one worker that the tests of this module share; they leave both as they were."""
    with TinyEngine(tmp_path_factory.mktemp("node")) as engine:
        engine.start_worker()
        yield engine


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[TinyEngine]:
    with TinyEngine(tmp_path) as engine:  # for a test that treats it badly
        yield engine


def create(path: str, data: bytes = b"", flags: int = 0) -> Create:
    return Create(path, data, OPEN, flags)


def connected(engine: TinyEngine, timeout_ms: int = 10_000) -> RawClient:
    client = RawClient(engine.tcp_address)
    assert client.connect(timeout_ms).timeout_ms == timeout_ms
    return client


def ask(engine: TinyEngine, word: bytes) -> str:
    with socket.create_connection(engine.tcp_address, 10) as asking:
        asking.sendall(word)
        return asking.makefile("rb").read().decode()


# ---- ZooKeeper's protocol


def test_requests_of_every_kind(engine: TinyEngine) -> None:
    with connected(engine) as client:
        assert client.call(create("/kinds", b"one")).value(1) == "/kinds"
        assert client.call(create("/kinds", b"one")).err == -110
        reply = client.call(GetData("/kinds", False))
        assert reply.value(4)[0] == b"one"
        assert client.call(SetData("/kinds", b"two", 0)).err == 0
        assert client.call(SetData("/kinds", b"three", 0)).err == -103
        assert client.call(create("/kinds/child")).err == 0
        assert client.call(GetChildren("/kinds", False)).value(8) == ("child",)
        assert client.call(Exists("/kinds/none", True)).err == -101
        client.send(create("/kinds/none"))
        assert client.receive().event().path == "/kinds/none"
        assert client.receive().err == 0
        for path in ("/kinds/none", "/kinds/child", "/kinds"):
            assert client.call(Delete(path, -1)).err == 0
        client.send_raw(-2, 11)
        assert client.receive().xid == -2
        assert client.close_session().err == 0
        assert client.receive_end() == []


def test_ten_thousand_requests_cut_anywhere(engine: TinyEngine) -> None:
    """Replies come in the order of requests, whatever pieces the bytes arrive in."""
    chance = random.Random(7)
    requests: list[records.Request] = [create("/cut")]
    for number in range(9_998):
        path = f"/cut/{number % 100}"
        requests.append(
            chance.choice([create(path, b"x"), GetData(path, False), SetData(path, b"y" * (number % 300), -1), Delete(path, -1)])
        )
    requests.append(Exists("/cut", False))
    data = b"".join(
        frames.frame(records.RequestHeader(xid, request.op).encode() + records.encode_request(request))
        for xid, request in enumerate(requests, 1)
    )

    def send(client: RawClient) -> None:
        at = 0
        while at < len(data):
            size = chance.choice([1, 3, 47, 1000, 20_000, 150_000])
            client.send_bytes(data[at : at + size])
            at += size

    with connected(engine) as client:
        sender = threading.Thread(target=send, args=(client,))
        sender.start()
        replies = [client.receive() for _ in requests]
        sender.join()
    assert [reply.xid for reply in replies] == list(range(1, len(requests) + 1))
    assert all(earlier.zxid <= later.zxid for earlier, later in itertools.pairwise(replies))
    assert {reply.err for reply in replies} == {0, -101, -110}
    assert replies[-1].err == 0


def test_a_client_that_reads_nothing_is_not_read_from_and_hinders_nobody(engine: TinyEngine) -> None:
    with connected(engine) as lazy, connected(engine) as busy:
        assert lazy.call(create("/lazy", b"d" * 100_000)).err == 0
        lazy_socket = lazy._socket
        lazy_socket.setblocking(False)
        request = records.encode_request(GetData("/lazy", False))
        xid, rest = 1, b""
        while select.select([], [lazy_socket], [], 0.5)[1]:  # until the worker has stopped reading and the kernel is full
            if not rest:
                first = xid
                xid += 1000
                rest = b"".join(frames.frame(records.RequestHeader(number, 4).encode() + request) for number in range(first, xid))
            rest = rest[lazy_socket.send(rest) :]
            assert busy.call(Exists("/lazy", False)).err == 0
            assert xid < 5_000_000, "the worker takes in whatever it is sent"
        for _ in range(100):
            assert busy.call(SetData("/", b"", -1)).err == 0
        sent = engine.stats.worker(0)["bytes_sent"]
        assert sent < 64 << 20, f"{sent} bytes were sent to a client that reads nothing"
        lazy_socket.settimeout(10)
        for number in range(1, 300):
            assert lazy.receive().xid == number
    with connected(engine) as client:
        assert client.call(Delete("/lazy", -1)).err == 0


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!i", -1),
        struct.pack("!i", 0x7FFFFFFF),
        struct.pack("!i", 0xFFFFF + 1),
        struct.pack("!i", 8) + b"\0" * 8,
        struct.pack("!i", 44) + b"\xff" * 44,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f",
    ],
)
def test_bytes_that_are_not_the_protocol_end_the_connection(engine: TinyEngine, data: bytes) -> None:
    with RawClient(engine.tcp_address) as hostile:
        hostile.send_bytes(data)
        try:
            while hostile._socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
    with connected(engine) as client:
        assert client.call(Exists("/", False)).err == 0


def test_hostile_bytes_behind_a_session(engine: TinyEngine) -> None:
    chance = random.Random(3)
    for _ in range(200):
        with connected(engine) as hostile:
            body = chance.randbytes(chance.randrange(60))
            hostile.send_record(struct.pack("!ii", chance.randrange(-9, 99), chance.randrange(-12, 25)) + body)
            hostile.send_bytes(chance.randbytes(chance.randrange(1, 5)) + b"\xff" * 8)
            hostile.receive_end()
    with connected(engine) as client:
        assert client.call(Exists("/", False)).err == 0


def test_a_client_that_has_said_all_gets_its_answers(engine: TinyEngine) -> None:
    """Half-closed: the answers to what was asked come, and then the end."""
    with connected(engine) as client:
        client.send(create("/half"), GetData("/half", False), Delete("/half", -1))
        client.shut()
        assert [reply.err for reply in client.receive_end()] == [0, 0, 0]


def test_many_connections_come_and_go(engine: TinyEngine) -> None:
    def count() -> int:
        counters = engine.stats.worker(0)
        return counters["connections"] - counters["native_connections"]

    wait_for(lambda: count() == 0)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(engine.tcp_address)) for _ in range(500)]
        for client in clients:
            client.send_record(records.ConnectRequest(0, 10_000, 0, bytes(16), False).encode())
        ids = {records.ConnectResponse.decode(client.receive_record()).session_id for client in clients}
        assert len(ids) == 500
        assert count() == 500
    wait_for(lambda: count() == 0)


def test_a_session_goes_on_over_another_connection(engine: TinyEngine) -> None:
    first = connected(engine)
    assert first.call(create("/mine", b"", 1)).err == 0
    with RawClient(engine.tcp_address) as second:
        assert second.connect(10_000, first.session_id, first.password).session_id == first.session_id
        assert first.receive_end() == []
        assert second.call(Exists("/mine", False)).err == 0
        assert second.close_session().err == 0
    first.close()
    with RawClient(engine.tcp_address) as late:
        assert late.connect(10_000, first.session_id, first.password).session_id == 0


# ---- four-letter words


def test_words(engine: TinyEngine) -> None:
    assert ask(engine, b"ruok") == "imok"
    assert ask(engine, b"isro") == "rw"
    assert "Mode: standalone\n" in ask(engine, b"srvr")
    assert re.search(r"^zk_tree_digest\t[0-9a-f]{32}$", ask(engine, b"mntr"), re.MULTILINE)
    assert ask(engine, b"wchs").startswith("0 connections watching 0 paths\n")
    with connected(engine) as client:
        assert client.call(Exists("/", False)).err == 0
        assert re.search(r"^ /127\.0\.0\.1:\d+\[1\]\(queued=0,recved=1,sent=\d\)$", ask(engine, b"stat"), re.MULTILINE)


def test_a_word_from_a_client_that_ends_at_once(engine: TinyEngine) -> None:
    """As `echo ruok | nc`: the word and the end of the connection arrive together."""
    with socket.create_connection(engine.tcp_address, 10) as asking:
        asking.sendall(b"ruok")
        asking.shutdown(socket.SHUT_WR)
        assert asking.makefile("rb").read() == b"imok"


# ---- ZeroMQ


class Native:
    """A DEALER that speaks the native protocol by hand."""

    def __init__(self, engine: TinyEngine, routing_id: bytes = b"") -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 100)
        if routing_id:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.socket.connect(engine.native_address)
        self.records: list[bytes] = []

    def __enter__(self) -> "Native":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    def is_ready(self, timeout_ms: int = 10_000) -> bool:
        return bool(self.records) or self.socket.poll(timeout_ms) != 0

    def receive(self) -> bytes:
        """The next record; b"" is the goodbye."""
        while not self.records:
            assert self.socket.poll(10_000), "no answer"
            message = self.socket.recv()
            if not message:
                return b""
            self.records = frames.split_message(message, 1 << 26)
        return self.records.pop(0)

    def connect(self) -> records.ConnectResponse:
        self.socket.send(frames.frame(records.ConnectRequest(0, 10_000, 0, bytes(16), False).encode()))
        return records.ConnectResponse.decode(self.receive())

    def send(self, first_xid: int, *requests: records.Request) -> None:
        self.socket.send(
            b"".join(
                frames.frame(records.RequestHeader(xid, request.op).encode() + records.encode_request(request))
                for xid, request in enumerate(requests, first_xid)
            )
        )

    def reply(self) -> tuple[int, int]:
        """Xid and error of the next reply."""
        header = records.decode_reply_header(self.receive())
        return header.xid, header.err


def test_native_requests(engine: TinyEngine) -> None:
    with Native(engine) as client:
        assert client.connect().timeout_ms == 10_000
        client.send(1, create("/native"), GetData("/native", True), SetData("/native", b"", -1), Delete("/native", -1))
        assert [client.reply() for _ in range(5)] == [(1, 0), (2, 0), (-1, 0), (3, 0), (4, 0)]
        for first in range(10, 10_010, 100):
            client.send(first, *[Exists("/", False)] * 100)
        assert [client.reply() for _ in range(10_000)] == [(xid, 0) for xid in range(10, 10_010)]


def test_a_native_goodbye_ends_the_connection_and_not_the_session(engine: TinyEngine) -> None:
    with Native(engine) as client:
        before = engine.stats.worker(0)["native_connections"]
        response = client.connect()
        assert engine.stats.worker(0)["native_connections"] == before + 1
        client.socket.send(b"")
        wait_for(lambda: engine.stats.worker(0)["native_connections"] <= before)
        # The socket still stands, but what it now says begins a new connection, and this begins none.
        client.send(1, Exists("/", False))
        assert client.receive() == b""
    with RawClient(engine.tcp_address) as again:
        assert again.connect(10_000, response.session_id, response.password).session_id == response.session_id


def test_hostile_native_messages(engine: TinyEngine) -> None:
    chance = random.Random(5)
    with Native(engine) as client:
        for _ in range(200):
            client.socket.send(chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\x2d" + chance.randbytes(45), b"\0\0\0\x01\0"]))
            assert client.receive() == b""
        client.socket.send_multipart([b"two", b"parts"])
        client.socket.send_multipart([b"", b"", b""])
        assert client.connect().timeout_ms == 10_000
    wait_for(lambda: engine.stats.worker(0)["connections"] == engine.stats.worker(0)["native_connections"])


def test_a_native_peer_cannot_choose_its_name(engine: TinyEngine) -> None:
    """A name that a client chose might be another client's."""
    before = engine.stats.worker(0)["accepted"]
    with Native(engine, b"mine!") as named, Native(engine) as plain:
        named.socket.send(frames.frame(records.ConnectRequest(0, 10_000, 0, bytes(16), False).encode()))
        assert plain.connect().timeout_ms == 10_000
        assert not named.is_ready(100)
        assert engine.stats.worker(0)["accepted"] == before + 1


def test_a_native_client_that_is_gone_is_forgotten(own_engine: TinyEngine) -> None:
    """libzmq says nothing when a peer goes; the next thing that is sent to it does."""
    (engine := own_engine).start_worker()
    with connected(engine) as other:
        with Native(engine) as client:
            client.connect()
            client.send(1, AddWatch("/event", AddWatchMode.PERSISTENT))
            assert client.reply() == (1, 0)
            wait_for(lambda: engine.stats.worker(0)["native_connections"] == 1)
            client.socket.setsockopt(zmq.LINGER, 0)

        def is_gone() -> bool:  # the first events may leave before libzmq knows that nobody is there
            assert [other.call(request).err for request in (create("/event"), Delete("/event", -1))] == [0, 0]
            return engine.stats.worker(0)["native_connections"] == 0

        wait_for(is_gone)


# ---- the engine


def test_sessions_that_were_heard_of_are_told(engine: TinyEngine) -> None:
    with connected(engine) as client:
        wait_for(lambda: client.session_id & 0xFFFFFFFFFFFFFFFF in engine.touched)
        assert TOUCH in {kind for kind, _ in engine.heard}


def test_a_read_that_the_writer_always_beats_is_answered_by_the_engine(own_engine: TinyEngine) -> None:
    """The arena's sequence is held odd, as by a writer that is inside: the worker gives up and hands the read over."""
    engine = own_engine
    engine.start_worker()
    region = map_shared(engine.arena_fd, ARENA_BYTES, is_writable=True)
    with connected(engine) as client:
        assert client.call(create("/beaten", b"data")).err == 0
        engine.before_read = lambda: add_to_sequence(region, -1)
        engine.do(lambda: add_to_sequence(region, 1))
        reply = client.call(GetData("/beaten", False))
        assert reply.value(4)[0] == b"data"
        assert (READ, 1) in engine.heard
        assert client.call(SetData("/beaten", b"", -1)).err == 0
    region.close()


def add_to_sequence(region: mmap.mmap, change: int) -> None:
    """The counter that the arena's header has at 64."""
    region[64:72] = struct.pack("<Q", struct.unpack("<Q", region[64:72])[0] + change)


def steady_descriptors(pid: int) -> set[int]:
    """The open descriptors of a process; empty when they changed while one looked."""
    seen = [{int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()} for _ in range(10)]
    return seen[0] if all(one == seen[0] for one in seen) else set()


def test_out_of_descriptors_new_clients_wait(own_engine: TinyEngine) -> None:
    """They are not accepted, nothing spins, those who are there are served; and when there is room again they are let in."""
    engine, process = own_engine, own_engine.start_worker()
    with connected(engine) as client, contextlib.ExitStack() as stack:
        used = wait_for(lambda: steady_descriptors(process.pid))
        third_free = [number for number in range(max(used) + 4) if number not in used][2]  # there may be gaps
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (third_free + 1, hard))
        late = [stack.enter_context(RawClient(engine.tcp_address)) for _ in range(20)]
        for one in late:
            one.send_record(records.ConnectRequest(0, 10_000, 0, bytes(16), False).encode())
        wait_for(lambda: engine.stats.worker(0)["accepted"] >= 4)
        turns = engine.stats.worker(0)["turns"]
        assert all(client.call(Exists("/", False)).err == 0 for _ in range(50))
        assert engine.stats.worker(0)["turns"] - turns < 1000
        assert engine.stats.worker(0)["accepted"] < 20
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        for one in late:
            assert records.ConnectResponse.decode(one.receive_record()).timeout_ms == 10_000


def test_a_new_round_brings_back_what_was_lost(own_engine: TinyEngine) -> None:
    engine = own_engine
    engine.start_worker()
    with connected(engine) as client:
        engine.do(lambda: setattr(engine, "is_applying", False))
        engine.heard.clear()
        client.send(*[create(f"/lost{number}") for number in range(100)], Exists("/lost99", False))
        wait_for(lambda: sum(count for kind, count in engine.heard if kind == WRITES) >= 100)
        engine.do(lambda: setattr(engine, "is_applying", True))
        engine.do(lambda: engine.say_status(NodeStatus(2, 1, STANDALONE, True), 2))
        assert [client.receive().err for _ in range(101)] == [0] * 101


def test_a_write_that_nobody_answers_is_sent_again(own_engine: TinyEngine) -> None:
    engine = own_engine
    engine.start_worker()
    with connected(engine) as client:
        engine.do(lambda: setattr(engine, "is_applying", False))
        client.send(create("/again"))
        engine.heard.clear()
        wait_for(lambda: (WRITES, 1) in engine.heard)
        engine.do(lambda: setattr(engine, "is_applying", True))
        assert client.receive().err == 0
        assert engine.stats.worker(0)["resends"] >= 1


def test_without_a_leader_writes_wait_and_reads_do_not(own_engine: TinyEngine) -> None:
    engine = own_engine
    engine.start_worker()
    with connected(engine) as client, connected(engine) as reader:
        engine.do(lambda: engine.say_status(NodeStatus(1, 0, 0, True), 1))
        wait_for(lambda: "Mode: looking" in ask(engine, b"srvr"))
        engine.heard.clear()
        client.send(create("/waits"))
        assert reader.call(Exists("/waits", False)).err == -101
        assert WRITES not in {kind for kind, _ in engine.heard}
        engine.do(lambda: engine.say_status(SERVING, 2))
        assert client.receive().err == 0


def test_a_node_that_does_not_serve_closes_its_clients_and_lets_none_in(own_engine: TinyEngine) -> None:
    engine = own_engine
    engine.start_worker()
    with connected(engine) as client, Native(engine) as native:
        native.connect()
        engine.do(lambda: engine.say_status(NodeStatus(1, 0, 0, False), 1))
        assert client.receive_end() == []
        assert native.receive() == b""
        with RawClient(engine.tcp_address) as late, pytest.raises((EOFError, ConnectionResetError)):
            late.connect()
        assert ask(engine, b"srvr") == "This ZooKeeper instance is not currently serving requests\n"
        assert (ask(engine, b"ruok"), ask(engine, b"isro")) == ("imok", "null")
        engine.do(lambda: engine.say_status(SERVING, 2))
        wait_for(lambda: ask(engine, b"isro") == "rw")
        with RawClient(engine.tcp_address) as back:
            assert back.connect(10_000, client.session_id, client.password).session_id == client.session_id


@pytest.mark.parametrize("harm", ["hole", "stranger", "short", "unknown kind", "bad items"])
def test_a_worker_that_cannot_follow_its_engine_ends(own_engine: TinyEngine, harm: str) -> None:
    engine = own_engine
    process = engine.start_worker()
    with connected(engine) as client:

        def do_harm() -> None:
            worker = engine.links._workers[1]
            if harm == "hole":
                worker.said += 1
            elif harm == "stranger":
                engine.links._incarnation ^= 1
            elif harm == "short":
                engine.links.router.send_multipart([worker.routing_id, b"x"])
            elif harm == "unknown kind":
                engine.links._send(1, 77)
            else:
                engine.links.commit(1, b"\xff" * 64, engine.machine.applied_zxid)
            engine.links.commit(1, b"", engine.machine.applied_zxid)

        engine.do(do_harm)
        assert process.wait(10) == 1
        assert client.receive_end() == []


def test_a_worker_that_its_engine_has_given_up_ends(own_engine: TinyEngine) -> None:
    """Nothing comes any more, so it sees no hole; but the arena goes on without it."""
    engine = own_engine
    process = engine.start_worker()
    with connected(engine) as client:

        def give_up() -> None:
            del engine.links._workers[1]
            engine.machine.remove_worker(1)
            engine.apply([make_entry(9)], 1)

        engine.do(give_up)
        assert process.wait(20) == 1
        assert client.receive_end() == []


def test_sigterm_ends_a_worker_in_good_order(own_engine: TinyEngine) -> None:
    """Clients are let go of; their sessions live on, and the next worker takes them in."""
    engine = own_engine
    process = engine.start_worker(1)
    with connected(engine) as client:
        assert client.call(create("/kept", b"", 1)).err == 0
        process.terminate()
        assert client.receive_end() == []
        assert process.wait(5) == 0
        engine.start_worker(2)
        with RawClient(engine.tcp_address) as again:
            assert again.connect(10_000, client.session_id, client.password).session_id == client.session_id
            assert again.call(Exists("/kept", False)).err == 0


def test_sigterm_before_the_engine_has_answered(own_engine: TinyEngine, tmp_path: Path) -> None:
    own_engine.address = f"ipc://{tmp_path}/nobody"
    process = own_engine.start_worker()
    wait_for(lambda: "SigCgt" in _handled(process.pid))
    process.terminate()
    assert process.wait(5) == 0


def test_two_workers_share_the_ports(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(TinyEngine(tmp_path, places=2))
        for place in (0, 1):
            engine.start_worker(place + 1, place)
        wait_for(lambda: all(engine.stats.worker(place)["turns"] for place in (0, 1)))
        clients = [stack.enter_context(connected(engine)) for _ in range(40)]
        natives = [stack.enter_context(Native(engine)) for _ in range(40)]
        share_ports(engine, clients, natives)


def share_ports(engine: TinyEngine, clients: list[RawClient], natives: list[Native]) -> None:
    for native in natives:
        native.connect()
    counts = [engine.stats.worker(place) for place in (0, 1)]
    assert sum(count["connections"] for count in counts) == 80
    # Over TCP the workers see to it themselves; over ZeroMQ it is the kernel's choice by chance.
    assert all(18 <= count["connections"] - count["native_connections"] <= 22 for count in counts), counts
    assert all(count["native_connections"] >= 5 for count in counts), counts
    for client in clients:
        assert client.call(Exists("/shared", True)).err == -101
    natives[0].send(1, create("/shared"))
    assert {client.receive().event().path for client in clients} == {"/shared"}
    assert "Connections: 81\n" in ask(engine, b"srvr")


def test_kazoo_keeps_its_session_when_a_worker_is_killed(own_engine: TinyEngine) -> None:
    engine = own_engine
    process = engine.start_worker(1)
    kazoo = KazooClient("{}:{}".format(*engine.tcp_address))
    kazoo.start(timeout=10)
    try:
        assert kazoo.server_version()[:2] == (3, 9)
        session = kazoo.client_id
        kazoo.create("/of-kazoo", b"1", ephemeral=True)
        seen = threading.Event()
        process.kill()
        process.wait()
        engine.start_worker(2)
        wait_for(lambda: kazoo.connected)
        assert kazoo.retry(kazoo.get, "/of-kazoo", watch=lambda _: seen.set())[0] == b"1"
        assert kazoo.client_id == session
        kazoo.set("/of-kazoo", b"2")
        assert seen.wait(10)
    finally:
        kazoo.stop()
        kazoo.close()


def _handled(pid: int) -> str:
    """The line SigCgt of the process's status once it handles SIGTERM, else nothing."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt") and int(line.split()[1], 16) >> 14 & 1:
            return line
    return ""
