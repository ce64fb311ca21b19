"""Goal: links between nodes say who spoke, notice holes, echoes and closed peers, and survive nonsense.

Method: real Links over loopback in one process, and a bare DEALER that says what no node would."""

import socket
from collections.abc import Callable, Iterator

import pytest
import zmq

from fastzk.config import Address
from fastzk.transport.links import HEAD, MAGIC, VERSION, Links
from fastzk.transport.listen import listen

WAIT_MS = 5000


class Pair:
    """Two nodes' links, 1 and 2; node 2 can end and come back."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.listeners: dict[int, socket.socket] = {}
        self.peers: dict[int, Address] = {}
        for node_id in (1, 2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.peers[node_id] = Address("127.0.0.1", probe.getsockname()[1])
        self.one = self.start(1, incarnation=11)
        self.two = self.start(2, incarnation=22)

    def start(self, node_id: int, incarnation: int, uid: int = 0, history: int = 0) -> Links:
        listener = listen(self.peers[node_id], "--peers")
        listener_fd = listener.detach()  # libzmq closes it
        links = Links(self.context, node_id, self.peers, listener_fd, incarnation, zmq.Poller(), uid=uid or node_id)
        links.history = history
        return links

    def close(self) -> None:
        self.one.close()
        self.two.close()
        self.context.term()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def until(links: Links, condition: Callable[[], bool]) -> None:
    """Waits for what arrives until the condition holds."""
    for _ in range(500):
        if condition():
            return
        links.poller.poll(WAIT_MS // 500)
    raise AssertionError("the condition did not come true in time")


def send(links: Links, peer: int, *parts: bytes) -> None:
    until(links, lambda: links.send(peer, parts))


def receive(links: Links, count: int) -> list[tuple[int, list[bytes]]]:
    heard: list[tuple[int, list[bytes]]] = []

    def enough() -> bool:
        heard.extend(links.receive())
        return len(heard) >= count

    until(links, enough)
    return heard


def test_messages_arrive_in_order_with_their_sender(pair: Pair) -> None:
    for number in range(100):
        send(pair.one, 2, b"%d" % number, b"more")
    assert receive(pair.two, 100) == [(1, [b"%d" % number, b"more"]) for number in range(100)]
    assert pair.two.take_holes() == []


def test_a_closed_peer_is_noticed_and_a_new_one_is_heard(pair: Pair) -> None:
    send(pair.one, 2, b"a")
    receive(pair.two, 1)
    pair.two.close()

    def lost() -> bool:
        pair.one.watch()
        return pair.one.take_lost() == [2]

    until(pair.one, lost)
    until(pair.one, lambda: not pair.one.send(2, [b"into the void"]))
    pair.two = pair.start(2, incarnation=23)
    send(pair.one, 2, b"b")
    assert receive(pair.two, 1) == [(1, [b"b"])]
    send(pair.two, 1, b"c")
    assert receive(pair.one, 1) == [(2, [b"c"])]
    assert pair.one.take_holes() == []


def bare(pair: Pair) -> zmq.Socket[bytes]:
    """A DEALER of nobody, connected to node 2."""
    dealer = pair.context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.connect(f"tcp://{pair.peers[2]}")
    return dealer


def test_holes_and_echoes(pair: Pair) -> None:
    with bare(pair) as dealer:
        for incarnation, sequence in [(5, 1), (5, 2), (5, 4), (5, 4), (5, 3), (6, 1), (5, 5), (6, 2)]:
            head = HEAD.pack(MAGIC, VERSION, 0, 1, 1, 0, incarnation, sequence)
            dealer.send_multipart([head, b"%d.%d" % (incarnation, sequence)])
        heard = [parts[0] for _, parts in receive(pair.two, 5)]
    assert heard == [b"5.1", b"5.2", b"5.4", b"6.1", b"6.2"]
    assert pair.two.take_holes() == [1]
    assert pair.two.take_holes() == []


def test_nonsense_is_dropped(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with bare(pair) as dealer:
        good = HEAD.pack(MAGIC, VERSION, 0, 1, 1, 0, 7, 1)
        for parts in (
            [b"x"],
            [b""],
            [good],
            [good[:-1], b"short"],
            [b"\xff" * HEAD.size, b"magic"],
            [HEAD.pack(MAGIC, VERSION + 1, 0, 1, 1, 0, 7, 1), b"version"],
            [HEAD.pack(MAGIC, VERSION, 0, 255, 1, 0, 7, 1), b"no such node"],
            [HEAD.pack(MAGIC, VERSION, 0, 9, 1, 8, 7, 1), b"no member, and of another history"],
            [HEAD.pack(MAGIC, VERSION, 0, 2, 1, 0, 7, 1), b"says it is the receiver"],
        ):
            dealer.send_multipart(parts)
        dealer.send_multipart([good, b"sense"])
        assert receive(pair.two, 1) == [(1, [b"sense"])]
    assert "dropped a message on the ensemble port" in caplog.text


def test_the_members_may_change(pair: Pair) -> None:
    """Whom we talk to is what we were told; who has our history is listened to, whether we know of it or not."""
    pair.two.history = 7
    pair.one.set_addresses({1: pair.peers[1]})
    pair.two.set_addresses({2: pair.peers[2]})
    assert not pair.one.send(2, [b"to nobody"])
    pair.one.history = 7
    pair.one.set_addresses(pair.peers)
    send(pair.one, 2, b"from one that node 2 does not know")
    assert receive(pair.two, 1) == [(1, [b"from one that node 2 does not know"])]
    pair.two.set_addresses(pair.peers)
    send(pair.two, 1, b"an answer")
    assert receive(pair.one, 1) == [(2, [b"an answer"])]


def test_a_second_node_of_a_number_is_not_listened_to(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Started by mistake with a number in use, it once displaced the real node, which then read stale data for ever."""
    send(pair.one, 2, b"real")
    assert receive(pair.two, 1) == [(1, [b"real"])]
    with bare(pair) as dealer:
        dealer.send_multipart([HEAD.pack(MAGIC, VERSION, 0, 1, 99, 0, 5, 1), b"false"])
        dealer.send_multipart([HEAD.pack(MAGIC, VERSION, 0, 1, 1, 0, 6, 1), b"the real one after a restart"])
        assert receive(pair.two, 1) == [(1, [b"the real one after a restart"])]
    assert "two nodes call themselves 1" in caplog.text


def test_a_node_of_another_ensemble_is_not_listened_to(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    pair.two.history = 7
    with bare(pair) as dealer:
        dealer.send_multipart([HEAD.pack(MAGIC, VERSION, 0, 1, 1, 8, 5, 1), b"another history"])
        dealer.send_multipart([HEAD.pack(MAGIC, VERSION, 0, 1, 1, 0, 5, 2), b"none yet"])
        dealer.send_multipart([HEAD.pack(MAGIC, VERSION, 0, 1, 1, 7, 5, 3), b"ours"])
        assert receive(pair.two, 2) == [(1, [b"none yet"]), (1, [b"ours"])]
    assert "another ensemble" in caplog.text
