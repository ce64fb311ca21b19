"""Goal: who a connection is, from its address to the credentials that Python has judged: what ACLs and whoAmI are told, what the
log is told, and the place of the replies among the others.
Method: one Node in one process (testing/serving.py); the test is the worker's Python."""

import struct

import pytest

from fastzk.testing.model import packed
from fastzk.testing.serving import CLOSE, ClientTwin, Node, connect_request, connected, framed, make_create, move, opened

WAITING, OPEN, CLOSING = 2, 3, 4
AUTH, SASL, WHO_AM_I, IDENTIFY = 100, 102, 107, -13
PATHS = (b"/", b"/a", b"/b")
DIGEST = "user:base64"


@pytest.fixture
def node() -> Node:
    return Node(PATHS)


def vector(*ids: tuple[bytes, bytes]) -> bytes:
    return struct.pack(">i", len(ids)) + b"".join(packed(scheme) + packed(name) for scheme, name in ids)


def auth(xid: int = -4, scheme: bytes = b"digest", secret: bytes = b"user:secret") -> bytes:
    return framed(struct.pack(">iii", xid, AUTH, 0) + packed(scheme) + packed(secret))


def came_from(node: Node, address: bytes, worker: int = 0) -> ClientTwin:
    slot = node.servers[worker].open_slot(0, node.now_ms, address, 4711)
    client = ClientTwin(node, worker, slot)
    client.send(connect_request())
    move(node)
    taken(client)
    return client


def taken(client: ClientTwin) -> list[tuple[int, int, int, bytes]]:
    """What the connection is sent: (xid, zxid, err, body) of each frame."""
    data = client.server.output(client.slot)
    client.server.output_sent(client.slot, len(data))
    frames = []
    while data:
        (size,) = struct.unpack_from(">i", data)
        frames.append((*struct.unpack_from(">iqi", data, 4), data[20 : 4 + size]))
        data = data[4 + size :]
    return frames


def who(client: ClientTwin) -> bytes:
    """What whoAmI says."""
    client.send(framed(struct.pack(">ii", 9, WHO_AM_I)))
    ((xid, _, err, body),) = taken(client)
    assert (xid, err) == (9, 0)
    return body


def proposed(node: Node) -> list[tuple[int, bytes]]:
    """What the workers have for the engine: (op, body) of each entry.  It is gone then."""
    found = []
    for server in node.servers:
        count, data = server.take_writes()
        at = 0
        for _ in range(count):
            size, body_size, op = struct.unpack_from("<IIi", data, at)
            found.append((op, data[at + 48 : at + 48 + body_size]))
            at += size
    return found


# --- addresses


def test_a_connection_is_its_address_at_first(node: Node) -> None:
    client = came_from(node, b"10.1.2.3")
    assert client.server.identities(client.slot) == vector((b"ip", b"10.1.2.3"))
    assert who(client) == vector((b"ip", b"10.1.2.3"))
    (facts,) = client.server.describe()
    assert (facts["address"], facts["port"], facts["is_gated"]) == ("10.1.2.3", 4711, False)


def test_the_log_is_told_who_speaks(node: Node) -> None:
    slot = node.servers[0].open_slot(0, 1, b"10.1.2.3")
    node.servers[0].take_bytes(slot, connect_request(), 1)
    ((op, body),) = proposed(node)
    assert (op, body[20:]) == (-10, vector((b"ip", b"10.1.2.3")))
    old = came_from(node, b"10.1.2.3")
    slot = node.servers[1].open_slot(0, 1, b"::1")
    node.servers[1].take_bytes(slot, connect_request(old.session_id, old.password), 1)
    assert [(op, body[20:]) for op, body in proposed(node) if op == -12] in ([], [(-12, vector((b"ip", b"::1")))])


def test_an_address_has_so_many_connections() -> None:
    node = Node(PATHS, workers=1, connections_max=20, connections_per_address_max=3)
    server = node.servers[0]
    slots = [server.open_slot(0, 1, b"10.0.0.1") for _ in range(3)]
    assert -1 not in slots
    assert server.open_slot(0, 1, b"10.0.0.1") == -1
    assert server.open_slot(0, 1, b"10.0.0.2") >= 0
    assert all(server.open_slot(1, 1) >= 0 for _ in range(4)), "what has no address is not counted"
    assert server.counters()["connections"] == 8
    server.close_slot(slots[1])
    assert server.open_slot(0, 1, b"10.0.0.1") >= 0
    assert server.open_slot(0, 1, b"10.0.0.1") == -1


@pytest.mark.parametrize(("most", "let_in"), [(0, 100), (None, 60)])
def test_the_limit_of_an_address_may_be_none_and_is_sixty(most: int | None, let_in: int) -> None:
    limits = {} if most is None else {"connections_per_address_max": most}
    node = Node(PATHS, workers=1, connections_max=100, **limits)
    slots = [node.servers[0].open_slot(0, 1, b"127.0.0.1") for _ in range(100)]
    assert sum(slot >= 0 for slot in slots) == let_in


def test_many_addresses_come_and_go() -> None:
    node = Node(PATHS, workers=1, connections_max=1000, connections_per_address_max=2)
    server = node.servers[0]
    for _ in range(3):
        slots = [server.open_slot(0, 1, b"10.0.%d.%d" % divmod(i, 250)) for i in range(1000)]
        assert -1 not in slots
        for slot in slots:
            server.close_slot(slot)


# --- the gate


def introduction(address: bytes | None, port: int, ids: bytes) -> bytes:
    return framed(packed(address) + struct.pack(">i", port) + ids)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_the_gate_says_for_whom_it_speaks(node: Node, cut: int) -> None:
    client = opened(node, wire=2)
    data = introduction(b"192.168.0.7", 50000, vector((b"x509", b"CN=client"))) + connect_request()
    for at in range(0, len(data), cut):
        client.send(data[at : at + cut])
    move(node)
    taken(client)
    assert client.server.state(client.slot) == OPEN
    assert who(client) == vector((b"ip", b"192.168.0.7"), (b"x509", b"CN=client"))
    (facts,) = client.server.describe()
    assert (facts["address"], facts["port"], facts["is_gated"]) == ("192.168.0.7", 50000, True)


def test_four_letter_words_come_through_the_gate(node: Node) -> None:
    client = opened(node, wire=2)
    client.send(introduction(b"192.168.0.7", 50000, vector()) + b"ruok")
    assert node.servers[0].words() == [(client.slot, b"ruok")]


@pytest.mark.parametrize(
    "frame",
    [
        b"ruok",
        connect_request(),
        introduction(b"", 1, vector()),
        introduction(None, 1, vector()),
        introduction(b"x" * 256, 1, vector()),
        introduction(b"10.0.0.1", -1, vector()),
        introduction(b"10.0.0.1", 65536, vector()),
        introduction(b"10.0.0.1", 1, b""),
        introduction(b"10.0.0.1", 1, struct.pack(">i", 1) + packed(b"x509") + packed(None)),
        introduction(b"10.0.0.1", 1, vector(*((b"x509", b"%d" % i) for i in range(64)))),
        introduction(b"10.0.0.1", 1, vector((b"x509", b"x" * 5000))),
        struct.pack(">i", 16385),
    ],
)
def test_a_gate_that_says_nonsense_is_closed(node: Node, frame: bytes) -> None:
    client = opened(node, wire=2)
    client.send(frame)
    assert client.server.state(client.slot) == CLOSING
    assert client.server.output(client.slot) == b""


def test_the_limit_holds_behind_the_gate() -> None:
    node = Node(PATHS, workers=1, connections_per_address_max=1)
    first, second = opened(node, wire=2), opened(node, wire=2)
    for client in (first, second):
        client.send(introduction(b"10.0.0.1", 1, vector()))
    assert (node.servers[0].state(first.slot), node.servers[0].state(second.slot)) == (1, CLOSING)


# --- auth


def test_credentials_wait_for_earlier_writes_and_later_requests_for_them(node: Node) -> None:
    client = connected(node)
    client.send(
        client.request(1, make_create(b"/a"))
        + auth()
        + client.read(3, b"/a", False)
        + client.request(2, packed(b"/a") + b"\xff" * 4)
    )
    assert client.server.asked() == []
    move(node)
    assert [frame[0] for frame in taken(client)] == [1]
    ((slot, op, xid, body),) = client.server.asked()
    assert (slot, op, xid, body) == (client.slot, AUTH, -4, struct.pack(">i", 0) + packed(b"digest") + packed(b"user:secret"))
    assert client.server.asked() == [], "each is asked once"
    client.server.admit(slot, 0, [("digest", DIGEST)])
    assert taken(client) == [], "the log comes first"
    move(node)
    zxid = node.machine.applied_zxid
    assert [frame[:3] for frame in taken(client)] == [(-4, 0, 0), (2, zxid, 0)]
    move(node)
    assert [frame[:3] for frame in taken(client)] == [(3, zxid + 1, 0)]


def test_an_accepted_identity_is_in_the_log_and_the_connections(node: Node) -> None:
    client = came_from(node, b"10.1.2.3")
    ids = vector((b"ip", b"10.1.2.3"), (b"digest", DIGEST.encode()), (b"super", b""))
    client.send(auth(xid=7))
    ((slot, _, _, _),) = client.server.asked()
    client.server.admit(slot, 0, [("digest", DIGEST), ("super", ""), ("digest", DIGEST)])
    assert client.server.identities(slot) == vector((b"ip", b"10.1.2.3")), "not before the log has it"
    count, data = client.server.take_writes()
    assert (count, struct.unpack_from("<i", data, 8), data[48 : 48 + len(ids)]) == (1, (IDENTIFY,), ids)
    node.proposed.append((count, data))
    move(node)
    assert taken(client) == [(7, 0, 0, b"")]
    assert client.server.identities(slot) == ids
    assert who(client) == vector((b"ip", b"10.1.2.3"), (b"digest", b"user"), (b"super", b""))


def test_the_same_identity_again_is_answered_at_once(node: Node) -> None:
    client = came_from(node, b"10.1.2.3")
    client.send(auth())
    client.server.admit(client.slot, 0, [("ip", "10.1.2.3")])
    assert taken(client) == [(-4, 0, 0, b"")]
    assert proposed(node) == []


def test_refused_credentials_close_the_connection_after_the_reply(node: Node) -> None:
    client = connected(node)
    client.send(auth() + client.read(3, b"/a", False))
    client.server.admit(client.slot, -115)
    assert taken(client) == [(-4, 0, -115, b"")]
    assert client.server.state(client.slot) == CLOSING


def test_a_connection_has_so_many_identities(node: Node) -> None:
    client = connected(node)
    for i in range(64):
        client.send(auth())
        client.server.admit(client.slot, 0, [("digest", f"u{i}:h")])
        move(node)
        assert taken(client) == [(-4, 0, 0, b"")]
    client.send(auth())
    client.server.admit(client.slot, 0, [("digest", "one:more")])
    assert taken(client) == [(-4, 0, -115, b"")]
    assert client.server.state(client.slot) == CLOSING


def test_an_identity_that_is_too_long_is_refused(node: Node) -> None:
    client = connected(node)
    client.send(auth())
    client.server.admit(client.slot, 0, [("digest", "x" * 4096)])
    assert taken(client) == [(-4, 0, -115, b"")]


def test_sasl_is_answered_with_a_token(node: Node) -> None:
    client = connected(node)
    for token, identities, answer in ((b"challenge", [], b"challenge"), (None, [("sasl", "user")], None), (b"", [], b"")):
        client.send(framed(struct.pack(">ii", 5, SASL) + packed(b"token")))
        ((slot, op, xid, body),) = client.server.asked()
        assert (slot, op, xid, body) == (client.slot, SASL, 5, packed(b"token"))
        client.server.admit(slot, 0, identities, token)
        move(node)
        assert taken(client) == [(5, 0, 0, packed(answer))]
    client.send(framed(struct.pack(">ii", 6, SASL) + packed(b"token")))
    client.server.admit(client.slot, -115)
    assert taken(client) == [(6, 0, -115, packed(None))]
    assert client.server.state(client.slot) == CLOSING


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (AUTH, b""),
        (AUTH, struct.pack(">i", 0) + packed(b"digest")),
        (AUTH, struct.pack(">ii", 0, -2)),
        (SASL, b""),
        (SASL, packed(None)),
    ],
)
def test_credentials_that_cannot_be_read_close_the_connection_without_a_reply(node: Node, op: int, body: bytes) -> None:
    client = connected(node)
    client.send(framed(struct.pack(">ii", 5, op) + body))
    assert client.server.state(client.slot) == CLOSING
    assert taken(client) == client.server.asked() == []


def test_a_leader_that_is_lost_does_not_lose_an_identity(node: Node) -> None:
    client = connected(node)
    client.send(auth() + client.request(1, make_create(b"/a")))
    client.server.admit(client.slot, 0, [("digest", DIGEST)])
    proposed(node)
    node.lose()
    move(node)
    assert [frame[:1] + frame[2:3] for frame in taken(client)] == [(-4, 0), (2 - 1, 0)]


def test_who_has_hung_up_is_not_asked_about(node: Node) -> None:
    client, other = connected(node), connected(node)
    for one in (client, other):
        one.send(auth())
    life = node.servers[0].life(client.slot)
    node.servers[0].close_slot(client.slot)
    assert [slot for slot, *_ in node.servers[0].asked()] == [other.slot]
    again = connected(node)
    assert again.slot == client.slot
    assert node.servers[0].life(again.slot) not in (life, node.servers[0].life(other.slot))
    with pytest.raises(ValueError, match="no credentials"):
        node.servers[0].admit(again.slot, 0)


def test_a_client_that_closes_behind_its_credentials_gets_both_replies(node: Node) -> None:
    client = connected(node)
    client.send(auth() + framed(struct.pack(">ii", 8, CLOSE)))
    client.server.admit(client.slot, 0, [("digest", DIGEST)])
    move(node)
    assert [frame[0] for frame in taken(client)] == [-4, 8]
    assert client.server.state(client.slot) == CLOSING
