"""Goal: the first thing a connection says, byte by byte: handshakes of old and new clients, refusals, four-letter words,
HTTP by mistake.
Method: one Node in one process (testing/serving.py), stories of a few lines each."""

import struct

import pytest

from fastzk.testing.model import packed
from fastzk.testing.serving import (
    Node,
    connect_request,
    connected,
    framed,
    heard,
    move,
    opened,
)

FREE, NEW, WAITING, OPEN, CLOSING = range(5)
PATHS = (b"/", b"/a", b"/b")
NOBODY = struct.pack(">iiiQ", 36, 0, 0, 0) + packed(bytes(16))


@pytest.fixture
def node() -> Node:
    return Node(PATHS)


# --- handshake


def test_the_response_has_the_byte_read_only_if_the_request_had_it(node: Node) -> None:
    for read_only, size in ((None, 36), (False, 37), (True, 37)):
        client = opened(node)
        client.has_read_only = read_only is not None
        client.send(connect_request(read_only=read_only))
        move(node)
        assert len(heard(client)) == 4 + size
        assert client.session_id >> 56 == 1


@pytest.mark.parametrize(("asked", "given"), [(-1, 4000), (0, 4000), (3999, 4000), (5000, 5000), (1 << 30, 40000)])
def test_the_timeout_is_clamped(node: Node, asked: int, given: int) -> None:
    client = opened(node)
    client.send(connect_request(timeout_ms=asked))
    move(node)
    assert struct.unpack_from(">i", heard(client), 8) == (given,)


@pytest.mark.parametrize("password", [None, b"", bytes(16), b"x" * 7])
def test_a_new_session_needs_no_password(node: Node, password: bytes | None) -> None:
    client = opened(node)
    client.send(connect_request(password=password))
    move(node)
    heard(client)
    assert client.session_id
    assert client.password != bytes(16)


def test_sessions_have_ids_and_passwords_of_their_own(node: Node) -> None:
    clients = [connected(node, worker) for worker in (0, 1) for _ in range(4)]
    assert len({client.session_id for client in clients}) == 8
    assert len({client.password for client in clients}) == 8


def test_a_client_that_has_seen_more_is_sent_on_without_a_reply(node: Node) -> None:
    applied_zxid = node.machine.applied_zxid
    for last_zxid_seen, state in ((applied_zxid, WAITING), (applied_zxid + 1, CLOSING), (-1, CLOSING)):
        client = opened(node)
        client.send(connect_request(last_zxid_seen=last_zxid_seen))
        assert client.server.state(client.slot) == state
        assert client.server.output(client.slot) == b""


@pytest.mark.parametrize("password", [None, b"", b"short", b"x" * 15, b"x" * 17, b"x" * 16])
def test_a_wrong_password_is_refused_at_once(node: Node, password: bytes | None) -> None:
    old = connected(node)
    client = opened(node, 1)
    client.has_read_only = False
    client.send(connect_request(old.session_id, password, read_only=None))
    assert client.server.state(client.slot) == CLOSING
    assert heard(client) == NOBODY
    assert client.server.take_writes() == (0, b"")
    assert old.server.state(old.slot) == OPEN


def test_a_session_that_is_over_is_refused_by_the_log(node: Node) -> None:
    client = opened(node)
    client.has_read_only = False
    client.send(connect_request(0x0123, b"p" * 16, read_only=None))
    assert client.server.state(client.slot) == WAITING  # it may only not be known here yet
    move(node)
    assert heard(client) == NOBODY
    assert client.server.state(client.slot) == CLOSING


def test_a_reconnect_closes_the_older_connection(node: Node) -> None:
    for worker in (0, 1):
        old = connected(node)
        client = connected(node, worker, session=old)
        assert (client.session_id, client.password) == (old.session_id, old.password)
        assert old.server.state(old.slot) == CLOSING


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",
        struct.pack(">i", 1025),
        struct.pack(">i", 0x7FFFFFFF),
        framed(b""),
        framed(bytes(27)),
        framed(struct.pack(">iqiQi", 0, 0, 0, 0, 17) + bytes(16)),
        framed(struct.pack(">iqiQi", 0, 0, 0, 0, -2) + bytes(16)),
    ],
)
def test_what_is_no_connect_request_is_closed_without_a_reply(node: Node, frame: bytes) -> None:
    client = opened(node)
    client.send(frame)
    assert client.server.state(client.slot) == CLOSING
    assert client.server.output(client.slot) == b""


def test_without_random_bytes_new_sessions_wait() -> None:
    """A password must not be guessable: rather none than a poor one."""
    dry = Node(entropy=b"x" * 23)
    client = opened(dry)
    client.send(connect_request())
    assert client.server.state(client.slot) == NEW
    client.send(client.request(9, packed(b"/a")))  # kept until the session is there
    client.server.add_entropy(b"y")
    assert client.server.state(client.slot) == WAITING
    move(dry)
    move(dry)
    heard(client)
    assert client.password == b"x" * 15 + b"y"
    assert not client.asked


def test_no_session_begins_while_not_serving(node: Node) -> None:
    client = connected(node)
    node.servers[0].is_serving = False
    node.servers[0].close_all()
    assert client.server.state(client.slot) == CLOSING
    other = opened(node)
    other.send(connect_request())
    assert other.server.state(other.slot) == CLOSING
    asking = opened(node)
    asking.send(b"ruok")
    assert node.servers[0].words() == [(asking.slot, b"ruok")]


# --- what is no ZooKeeper client


def test_a_four_letter_word_is_handed_to_the_worker(node: Node) -> None:
    server = node.servers[0]
    for piece in (1, 4):
        client = opened(node)
        for at in range(0, 4, piece):
            client.send(b"mntr"[at : at + piece])
        client.send(b"\n and more")
        assert server.words() == [(client.slot, b"mntr")]
        assert server.words() == []
        server.answer_word(client.slot, b"zk_version\n")
        assert server.output(client.slot) == b"zk_version\n"
        assert server.state(client.slot) == CLOSING
        with pytest.raises(ValueError, match="asked nothing"):
            server.answer_word(client.slot, b"")


def test_words_are_for_new_tcp_connections(node: Node) -> None:
    native = opened(node, wire=1)
    native.send(b"ruok")
    late = connected(node)
    late.send(b"ruok")
    unknown = opened(node)
    unknown.send(b"quit")
    assert node.servers[0].words() == []
    for client in (native, late, unknown):
        assert client.server.state(client.slot) == CLOSING
        assert client.server.output(client.slot) == b""


def test_a_web_browser_is_told_what_this_is(node: Node) -> None:
    client = opened(node)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.server.output(client.slot).startswith(b"HTTP/1.1 400 ")
    assert client.server.state(client.slot) == CLOSING
