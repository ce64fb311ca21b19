"""Goal: sessions that only a worker knows: local ones until their first write, read-only ones while there is no leader.
Method: one Node in one process (testing/serving.py), stories of a few lines each; nothing sleeps, the clock is a number."""

import struct

import pytest

from fastzk.testing.model import packed
from fastzk.testing.serving import (
    CLOSE,
    EXISTS,
    GET_DATA,
    NODE_ID,
    OPEN_ACL,
    ClientTwin,
    Node,
    connect_request,
    connected,
    framed,
    heard,
    make_create,
    make_set,
    move,
    opened,
)

NEW, WAITING, OPEN, CLOSING = 1, 2, 3, 4
PATHS = (b"/", b"/a", b"/b")
MULTI_END = struct.pack(">i?i", -1, True, -1)


def local_node(**options: object) -> Node:
    return Node(PATHS, local_sessions=True, **options)


def begun(node: Node, worker: int = 0, **options: object) -> ClientTwin:
    """A client whose session is there without any help of the log."""
    client = opened(node, worker)
    client.send(connect_request(**options))  # type: ignore[arg-type]
    assert client.server.take_writes() == (0, b"")
    heard(client)
    assert client.server.state(client.slot) == OPEN
    return client


def write_errors(client: ClientTwin) -> list[tuple[int, int]]:
    """(xid, err) of the frames it is sent."""
    data = client.server.output(client.slot)
    client.server.output_sent(client.slot, len(data))
    found = []
    while data:
        size, xid, _, err = struct.unpack_from(">iiqi", data)
        found.append((xid, err))
        data = data[4 + size :]
    return found


# --- local sessions


def test_a_local_session_reads_and_watches_without_the_log() -> None:
    node = local_node()
    client, writer = begun(node), begun(node, 1)
    client.send(client.read(EXISTS, b"/a", True) + client.ping())
    heard(client)
    assert not client.asked
    assert node.machine.sessions() == []
    writer.send(writer.request(1, make_create(b"/a", b"x")))
    for _ in range(3):
        move(node)
    heard(writer)
    heard(client)
    assert client.events == 1
    assert [session_id for session_id, _, _ in node.machine.sessions()] == [writer.session_id]


def test_the_first_write_brings_the_session_into_the_log() -> None:
    node = local_node()
    client = begun(node)
    client.send(
        client.request(1, make_create(b"/a", b"x", 1))
        + client.read(GET_DATA, b"/a", False)
        + client.request(5, make_set(b"/a", b"y"))
    )
    for _ in range(4):
        move(node)
    heard(client)
    assert not client.asked
    ((session_id, _, timeout_ms),) = node.machine.sessions()
    assert (session_id, timeout_ms) == (client.session_id, 10000)
    again = connected(node, 1, session=client)
    assert again.session_id == client.session_id
    assert client.server.state(client.slot) == CLOSING


def test_a_lost_leader_does_not_lose_an_upgrade() -> None:
    node = local_node()
    client = begun(node)
    client.send(client.request(1, make_create(b"/a")))
    for _ in range(2):
        node.collect(0)
        node.lose()
    for _ in range(3):
        move(node)
    heard(client)
    assert not client.asked
    assert len(node.machine.sessions()) == 1


def test_a_local_session_closes_without_the_log() -> None:
    node = local_node()
    client = begun(node)
    client.send(client.read(EXISTS, b"/a", False) + framed(struct.pack(">ii", 2, CLOSE)))
    assert write_errors(client) == [(1, -101), (2, 0)]
    assert client.server.state(client.slot) == CLOSING
    assert client.server.take_writes() == (0, b"")


def test_a_local_session_is_not_the_engines_to_expire() -> None:
    node = local_node()
    client = begun(node)
    client.send(client.ping())
    assert client.server.take_touched() == b""
    client.server.sweep_at(1 + 10000)
    assert client.server.state(client.slot) == OPEN
    client.server.sweep_at(2 + 10000)
    assert client.server.state(client.slot) == CLOSING


def test_a_local_session_ends_with_its_connection() -> None:
    node = local_node()
    client = begun(node)
    node.servers[0].close_slot(client.slot)
    again = opened(node, 1)
    again.send(connect_request(client.session_id, client.password))
    move(node)
    heard(again)
    assert again.is_refused


def test_local_sessions_have_ids_and_passwords_of_their_own() -> None:
    node = local_node()
    clients = [begun(node, worker) for worker in (0, 1) for _ in range(4)]
    assert len({client.session_id for client in clients}) == 8
    assert len({client.password for client in clients}) == 8


def test_without_random_bytes_local_sessions_wait() -> None:
    node = local_node(entropy=b"x" * 15)
    client = opened(node)
    client.send(connect_request())
    assert client.server.state(client.slot) == NEW
    client.server.add_entropy(b"y")
    assert client.server.state(client.slot) == OPEN
    client.send(client.request(1, make_create(b"/a")))
    assert client.server.take_writes() == (0, b""), "its create needs a nonce"
    client.server.add_entropy(b"z" * 8)
    for _ in range(2):
        move(node)
    heard(client)
    assert client.password == b"x" * 15 + b"y"
    assert not client.asked


def multi(*ops: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">i?i", op, False, -1) + body for op, body in ops) + MULTI_END


@pytest.mark.parametrize(
    ("op", "body", "is_ephemeral"),
    [
        (1, make_create(b"/a", b"", 1), True),
        (15, make_create(b"/a", b"", 3), True),
        (1, make_create(b"/a", b"", 2), False),
        (1, make_create(b"/a", b"", 5), False),
        (2, packed(b"/a") + b"\xff" * 4, False),
        (14, multi((1, make_create(b"/a"))), False),
        (14, multi((2, packed(b"/a") + bytes(4)), (5, make_set(b"/a", b"x")), (13, packed(b"/a") + bytes(4)),
                   (21, make_create(b"/t", b"", 5) + bytes(8)), (15, make_create(b"/a", b"", 1))), True),
        (14, multi((99, b""), (1, make_create(b"/a", b"", 1))), False),
        (1, packed(b"/a") + packed(None) + OPEN_ACL, False),
        (1, packed(b"/a") + packed(None) + struct.pack(">i", 0x7FFFFFFF), False),
        (14, b"", False),
    ],
)  # fmt: skip
def test_without_upgrades_a_local_session_has_no_ephemerals(op: int, body: bytes, is_ephemeral: bool) -> None:
    node = local_node(upgrade_sessions=False)
    client = begun(node)
    client.send(framed(struct.pack(">ii", 5, op) + body))
    if is_ephemeral:
        assert write_errors(client) == [(5, -120)]
        assert client.server.state(client.slot) == OPEN
    node.collect(0)
    assert len(node.proposed) == (0 if is_ephemeral else 1)


# --- read-only sessions


def lonely_node() -> Node:
    """A node that has lost its leader and may be read nonetheless."""
    node = Node(PATHS)
    old = connected(node)
    old.send(old.request(1, make_create(b"/a", b"x")))
    move(node)
    heard(old)
    for server in node.servers:
        server.is_serving = False
        server.close_all()
        server.is_read_only = True
    return node


def test_a_node_without_a_leader_can_be_read() -> None:
    node = lonely_node()
    client = opened(node)
    client.send(connect_request(read_only=True))
    greeting = heard(client)
    assert greeting[-1] == 1
    client.send(client.read(GET_DATA, b"/a", True) + client.ping())
    heard(client)
    assert not client.asked
    for op, body in (
        (1, make_create(b"/b")),
        (2, packed(b"/a") + bytes(4)),
        (9, packed(b"/a")),
        (14, MULTI_END),
        (16, b""),
        (7, b""),
    ):
        client.send(framed(struct.pack(">ii", 5, op) + body))
        assert write_errors(client) == [(5, -119)]
    assert node.servers[0].take_writes() == (0, b"")
    client.send(framed(struct.pack(">ii", 6, CLOSE)))
    assert write_errors(client) == [(6, 0)]
    assert client.server.state(client.slot) == CLOSING


@pytest.mark.parametrize(
    "request_frame", [connect_request(), connect_request(read_only=None), connect_request(7, b"p" * 16, read_only=True)]
)
def test_who_would_write_is_sent_on_without_a_reply(request_frame: bytes) -> None:
    node = lonely_node()
    client = opened(node)
    client.send(request_frame)
    assert client.server.state(client.slot) == CLOSING
    assert client.server.output(client.slot) == b""


def test_a_session_that_was_local_here_is_over() -> None:
    """Its client was told of it before the leader was lost; sent on without a word it would come back with it for ever."""
    node = lonely_node()
    ours, theirs, logged = NODE_ID << 56 | 77, (NODE_ID + 1) << 56 | 77, node.machine.sessions()[0][0]
    for session_id, refusal in ((ours, bytes(12)), (theirs, b""), (logged, b"")):
        client = opened(node)
        client.send(connect_request(session_id, b"p" * 16, read_only=True))
        assert client.server.state(client.slot) == CLOSING
        assert client.server.output(client.slot)[8:20] == refusal


def test_readers_are_sent_away_when_the_node_serves_again() -> None:
    node = lonely_node()
    client, other = begun(node, read_only=True), opened(node)
    for server in node.servers:
        server.is_read_only = False
        server.is_serving = True
    assert node.servers[0].state(client.slot) == CLOSING
    assert node.servers[0].state(other.slot) == NEW
    other.send(connect_request(read_only=True))
    move(node)
    assert heard(other)[-1] == 0, "it can be written to"
    assert node.servers[0].state(other.slot) == OPEN


def test_credentials_count_without_a_leader() -> None:
    node = lonely_node()
    client = begun(node, read_only=True)
    client.send(framed(struct.pack(">iii", -4, 100, 0) + packed(b"digest") + packed(b"user:secret")))
    client.server.admit(client.slot, 0, [("digest", "user:hash")])
    assert write_errors(client) == [(-4, 0)]
    assert client.server.identities(client.slot) == struct.pack(">i", 1) + packed(b"digest") + packed(b"user:hash")
