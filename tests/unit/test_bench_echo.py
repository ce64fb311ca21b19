"""Goal: the echo servers answer whatever a load asks, well-formed and in order, so that their rate is that of a server.

Method: the loads themselves, kazoo and our own decoders as judges of the replies; requests in pieces, in heaps and in bad form.
The bare load over ZeroMQ is shown to see errors with a ROUTER, written here in plain Python, that answers wrongly on request."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import zmq
from kazoo.client import KazooClient

from fastzk.bench import dealer
from fastzk.bench._dealer import Dealers
from fastzk.bench._echo import GET_DATA_REPLY_BYTES
from fastzk.bench.dealer import DealerLoad
from fastzk.bench.echo import echoing
from fastzk.bench.load import Address, Workload, connect, receive, receive_frame, run
from fastzk.wire import records

UNIMPLEMENTED = -6
BRIEF = Workload(connections=3, window=20, keys=10, warm_up_s=0.0, operations=2000)


@pytest.fixture(scope="module")
def echo() -> Iterator[Address]:
    with echoing() as address:
        yield address


@pytest.fixture(scope="module")
def native_echo() -> Iterator[Address]:
    with echoing(is_native=True) as address:
        yield address


def request(xid: int, op: int, fields: bytes = b"") -> bytes:
    return struct.pack(">iii", 8 + len(fields), xid, op) + fields


def get_data(xid: int) -> bytes:
    return request(xid, 4, struct.pack(">i2s?", 2, b"/a", False))


@pytest.mark.parametrize(("get_percent", "create_percent"), [(100, 0), (0, 0), (0, 100), (40, 30)])
def test_a_load_over_tcp_is_answered_clean(echo: Address, get_percent: int, create_percent: int) -> None:
    workload = Workload(**{**vars(BRIEF), "get_percent": get_percent, "create_percent": create_percent})
    result = run([echo], workload)
    assert result.is_clean
    assert result.operations >= 2000


def test_kazoo_is_at_home(echo: Address) -> None:
    client = KazooClient(f"{echo[0]}:{echo[1]}", timeout=10)
    client.start(5)
    try:
        assert client.create("/some/path", b"", makepath=False) == "/some/path"
        data, stat = client.get("/some/path")
        assert (data, stat.dataLength) == (b"x" * 100, 100)
        assert client.set("/some/path", b"").dataLength == 100
        assert client.exists("/some/path") == stat
        assert client.delete("/some/path")
    finally:
        client.stop()
        client.close()


def test_a_reply_to_get_data_is_one_that_our_decoder_reads(echo: Address) -> None:
    with connect(echo) as stream:
        stream.sendall(get_data(77))
        reply = receive_frame(stream)
    assert len(reply) == GET_DATA_REPLY_BYTES - 4
    assert struct.unpack_from(">iqi", reply) == (77, 1, 0)
    data, stat = records.decode_reply(records.GetData.op, reply, 16)
    assert (data, stat.data_length) == (b"x" * 100, 100)


def test_pings_and_closing_are_answered_and_what_is_unknown_refused(echo: Address) -> None:
    with connect(echo) as stream:
        stream.sendall(request(-2, 11) + request(1, 8, struct.pack(">i2s?", 2, b"/a", False)) + request(2, -11))
        assert [struct.unpack(">iqi", receive_frame(stream)) for _ in range(3)] == [(-2, 1, 0), (1, 1, UNIMPLEMENTED), (2, 1, 0)]


def test_a_path_beyond_its_request_is_refused(echo: Address) -> None:
    with connect(echo) as stream:
        stream.sendall(request(1, 1, struct.pack(">i2s", 3, b"/a")))
        assert struct.unpack(">iqi", receive_frame(stream)) == (1, 1, UNIMPLEMENTED)


def test_requests_may_come_in_pieces(echo: Address) -> None:
    asked = get_data(1) + get_data(2)
    with connect(echo) as stream:
        for at in range(len(asked)):
            stream.sendall(asked[at : at + 1])
        assert [struct.unpack_from(">i", receive_frame(stream))[0] for _ in range(2)] == [1, 2]


def test_a_client_that_does_not_read_gets_all_in_order_later(echo: Address) -> None:
    """Far more replies than sockets hold (19 MB): the server must keep what does not fit, and not ask for more meanwhile."""
    count = 100_000
    asked = b"".join(map(get_data, range(1, count + 1)))
    with connect(echo) as stream:
        stream.settimeout(20)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sender = threading.Thread(target=stream.sendall, args=(asked,))
        sender.start()
        replies = receive(stream, count * GET_DATA_REPLY_BYTES)
        sender.join()
    xids = [struct.unpack_from(">i", replies, at + 4)[0] for at in range(0, len(replies), GET_DATA_REPLY_BYTES)]
    assert xids == list(range(1, count + 1))


@pytest.mark.parametrize("size", [0, 7, -1, (1 << 20) + 1])
def test_what_is_no_frame_ends_the_connection_and_no_other(echo: Address, size: int) -> None:
    with connect(echo) as other, connect(echo) as stream:
        stream.sendall(struct.pack(">i", size))
        with pytest.raises(ConnectionError):
            receive(stream, 1)
        other.sendall(get_data(1))
        assert receive_frame(other)


@pytest.mark.parametrize("native", [False, True])
def test_a_server_that_cannot_start_says_so(native: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="status 1"), echoing(is_native=native, cpus={100_000}):
        pass
    assert "Error" in capfd.readouterr().err


@pytest.mark.parametrize(("connections", "window", "batch"), [(1, 1, 1), (1, 50, 1), (1, 50, 50), (1, 20, 7), (3, 20, 5)])
def test_a_load_over_zeromq_is_answered_clean(native_echo: Address, connections: int, window: int, batch: int) -> None:
    result = dealer.run([native_echo], DealerLoad(connections, window, batch, warm_up_s=0.01, duration_s=0.04))
    assert result.is_clean
    assert result.operations >= batch * connections
    assert 0 < result.read_us["p50"] <= result.read_us["p99"] <= result.read_us["max"]


def test_a_message_of_requests_is_answered_by_one_of_replies(native_echo: Address) -> None:
    with dealer.connections([native_echo], 1) as [each]:
        each.send(get_data(1) + request(-2, 11) + get_data(3))
        reply = each.recv()
        assert len(reply) == 2 * GET_DATA_REPLY_BYTES + 20
        each.send_multipart([get_data(4), b"more"])
        each.send(b"")
        each.send(get_data(6))
        assert struct.unpack_from(">ii", each.recv())[1] == 6, "more than one part, or none, is answered with nothing"
        each.send(get_data(7)[:-1])
        assert each.recv() == b"", "what is not whole frames is the end of the connection"


@contextmanager
def liar(err: int = 0, xid_shift: int = 0, goodbye: bool = False) -> Iterator[Address]:
    """A ROUTER that answers getData with an error, another xid or a goodbye, from its third message on."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.PAIR) as end:
        router.linger = 0
        port = router.bind_to_random_port("tcp://127.0.0.1")
        end.bind("inproc://end")

        def serve() -> None:
            with context.socket(zmq.PAIR) as ended:
                ended.connect("inproc://end")
                poller = zmq.Poller()
                poller.register(router, zmq.POLLIN)
                poller.register(ended, zmq.POLLIN)
                while ended not in dict(poller.poll()):
                    name, message = router.recv_multipart()
                    if not message:
                        continue
                    xid, op = struct.unpack_from(">ii", message, 4)
                    if op == 0:
                        router.send_multipart([name, struct.pack(">iiiqi16s?", 37, 0, 30000, 1, 16, bytes(16), False)])
                    elif op != 4:
                        router.send_multipart([name, struct.pack(">iiqi", 16, xid, 1, 0)])
                    else:
                        lied = b"" if goodbye else struct.pack(">iiqi", 16, xid + xid_shift, 1, err)
                        router.send_multipart([name, lied])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "127.0.0.1", port
        finally:
            end.send(b"")
            thread.join()


BRIEF_DEALER = DealerLoad(1, 4, 1, warm_up_s=0.0, duration_s=0.05)


def test_errors_and_disorder_make_a_run_over_zeromq_worthless() -> None:
    with liar(err=-101) as address:
        result = dealer.run([address], BRIEF_DEALER)
        assert not result.is_clean
        assert result.errors >= result.operations > 0
    with liar(xid_shift=1) as address:
        result = dealer.run([address], BRIEF_DEALER)
        assert not result.is_clean
        assert result.disorders >= result.operations > 0


def test_a_goodbye_ends_a_run_over_zeromq() -> None:
    with liar(goodbye=True) as address, pytest.raises(OSError, match="failed"):
        dealer.run([address], BRIEF_DEALER)


def test_a_load_that_cannot_be_is_refused(native_echo: Address) -> None:
    samples = np.zeros(1, np.uint64)
    with dealer.connections([native_echo], 1) as sockets:
        for window, batch in ((0, 1), (1, 0), (4, 5)):
            with pytest.raises(ValueError, match="window"):
                Dealers(sockets, get_data(0), window, batch, samples)
        with pytest.raises(ValueError, match="0 sockets"):
            Dealers([], get_data(0), 1, 1, samples)


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()
    with pytest.raises(ConnectionError):
        run([address], BRIEF)
