"""Goal: the manners of a worker's connections: frames in any pieces, hostile bytes, pauses, limits, what becomes of a
slot's last life, what is sent again.
Method: one Node in one process (testing/serving.py), stories of a few lines each; nothing sleeps, the clock is a number."""

import struct
from collections.abc import Callable

import pytest

from fastzk._core.blocks import entries, make_entry, seal
from fastzk.testing.model import packed
from fastzk.testing.serving import (
    CLOSE,
    EXISTS,
    GET_CHILDREN,
    GET_DATA,
    PING,
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

FREE, NEW, WAITING, OPEN, CLOSING = range(5)
PATHS = (b"/", b"/a", b"/b")


@pytest.fixture
def node() -> Node:
    return Node(PATHS)


# --- frames


def test_bytes_may_be_cut_anywhere() -> None:
    """The same story once for each place to cut it, and once byte by byte."""

    def play(cut: Callable[[bytes], list[bytes]]) -> bytes:
        node = Node(PATHS, workers=1, entropy=bytes(64))
        client = opened(node)
        data = connect_request() + client.request(1, make_create(b"/a", b"x")) + client.read(GET_DATA, b"/a", True)
        data += client.ping() + client.request(5, make_set(b"/a", b"yy")) + client.request(9, packed(b"/a"))
        data += client.read(EXISTS, b"/b", True) + client.read(GET_CHILDREN, b"/", False) + client.request(CLOSE, b"")
        for piece in cut(data):
            client.send(piece)
        for _ in range(8):
            move(node)
        received = heard(client)
        assert not client.asked
        assert not client.pings
        assert client.server.state(client.slot) == CLOSING
        return received

    whole = play(lambda data: [data])
    size = len(connect_request()) + 300
    for at in range(1, size):
        assert play(lambda data, at=at: [data[:at], data[at:]] if at < len(data) else [data]) == whole  # type: ignore[misc]
    assert play(lambda data: [data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize(
    "hostile",
    [
        struct.pack(">i", -1),
        struct.pack(">i", -(1 << 31)),
        struct.pack(">i", 0x7FFFFFFF),
        struct.pack(">i", 0x100000),
        framed(b""),
        framed(b"1234567"),
    ],
)
def test_a_hostile_frame_closes_its_connection_only(node: Node, hostile: bytes) -> None:
    other, client = connected(node), connected(node)
    client.send(client.read(EXISTS, b"/a", False) + hostile)
    heard(client)
    assert not client.asked, "what stood before it is answered"
    assert client.server.state(client.slot) == CLOSING
    client.send(client.read(EXISTS, b"/a", False))
    assert client.server.output(client.slot) == b""
    other.send(other.read(EXISTS, b"/a", False))
    heard(other)
    assert not other.asked


def test_an_announced_length_costs_nothing() -> None:
    """The largest legal frame is announced on many connections; what they hold is what has arrived."""
    many = Node(PATHS, workers=1, connections_max=500, entropy=bytes(500 * 24))
    for _ in range(500):
        client = connected(many)
        client.send(struct.pack(">i", 0xFFFFF) + b"abc")
    queued = [connection["queued"] for connection in many.servers[0].describe()]
    assert queued == [7] * 500


def test_broken_bodies_are_answered(node: Node) -> None:
    client = connected(node)
    for body, err in ((b"", -5), (packed(b"/a"), -5), (b"\x00\x00\x00\x09/a\x00", -5), (packed(None) + b"\x00", -5)):
        client.send(framed(struct.pack(">ii", 77, GET_DATA) + body))
        assert struct.unpack_from(">iiqi", client.server.output(client.slot)) == (16, 77, node.machine.applied_zxid, err)
        client.server.output_sent(client.slot, 20)
    assert client.server.state(client.slot) == OPEN


@pytest.mark.parametrize("op", [0, -1, 10, 13, 20, 23, 99, 108, -10, -12, 999])
def test_an_unknown_request_is_answered_in_order_and_closes(node: Node, op: int) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a")) + client.request(op, b"") + client.read(EXISTS, b"/a", False))
    client.asked.pop()  # never looked at
    move(node)
    heard(client)
    assert not client.asked
    assert client.server.state(client.slot) == CLOSING


def test_close_is_answered_and_then_the_connection_closes(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a", flags=1)) + client.request(CLOSE, b"") + client.ping())
    client.pings = 0  # never looked at
    move(node)
    heard(client)
    assert not client.asked
    assert client.server.state(client.slot) == CLOSING
    assert node.machine.counts["sessions"] == 0


# --- order


def test_a_watch_armed_between_a_change_and_its_batch_stays(node: Node) -> None:
    """The client reads with a watch, the znode changes, the client reads again and sees it, and only then the worker hears of
    the change.  Its event answers the first watch; the second must still be there for the next change."""
    watcher, writer = connected(node), connected(node, 1)
    watcher.send(watcher.read(EXISTS, b"/a", True))
    writer.send(writer.request(1, make_create(b"/a")))
    node.collect(1)
    node.apply()
    watcher.send(watcher.read(EXISTS, b"/a", True))
    node.deliver_all()
    heard(watcher)
    assert (watcher.events, len(watcher.asked)) == (1, 0)
    writer.send(writer.request(5, make_set(b"/a", b"new")))
    move(node)
    heard(watcher)
    assert watcher.events == 2


def test_a_ping_does_not_wait_for_writes(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a")) + client.ping())
    heard(client)
    assert client.pings == 0
    assert client.asked


def test_a_ping_with_a_number_keeps_its_place_and_is_answered_as_any(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a")) + framed(struct.pack(">ii", 77, PING)))
    assert client.server.output(client.slot) == b"", "the ping would overtake the create"
    move(node)
    output = client.server.output(client.slot)
    xids = []
    while output:
        size, xid = struct.unpack_from(">ii", output)
        xids.append(xid)
        output = output[4 + size :]
    assert xids == [client.next_xid - 1, -2]


def test_a_handed_over_read_is_answered_by_the_engine(node: Node) -> None:
    client = connected(node)
    node.writer_is_inside(True)
    client.send(client.read(EXISTS, b"/a", True) + client.read(GET_CHILDREN, b"/", False))
    assert client.server.output(client.slot) == b""
    node.writer_is_inside(False)
    move(node)
    heard(client)
    assert not client.asked
    other = connected(node)
    other.send(other.request(1, make_create(b"/a")))
    move(node)
    heard(client)
    assert client.events == 1


# --- slots used again


def test_a_late_read_is_not_the_next_clients(node: Node) -> None:
    first = connected(node)
    node.writer_is_inside(True)
    first.send(first.read(GET_DATA, b"/zookeeper", False))
    reads = first.server.take_reads()[1]
    first.server.close_slot(first.slot)
    node.writer_is_inside(False)
    second = connected(node)
    assert second.slot == first.slot
    node.writer_is_inside(True)
    second.send(second.read(EXISTS, b"/a", False))
    node.writer_is_inside(False)
    node.machine.read(reads)
    assert second.server.commit_items(node.machine.take_items(0), node.machine.applied_zxid, 1)
    assert second.server.output(second.slot) == b""
    move(node)
    heard(second)
    assert not second.asked


def test_a_late_result_is_not_the_next_attachments(node: Node) -> None:
    """The write of a connection that is gone arrives after its session has attached again, in the same slot: it has moved."""
    first = connected(node)
    first.send(first.request(1, make_create(b"/a")))
    late = first.server.take_writes()
    first.server.close_slot(first.slot)
    second = connected(node, session=first)
    assert second.slot == first.slot
    second.send(second.request(1, make_create(b"/b")))
    node.proposed.append(late)
    move(node)
    heard(second)
    assert not second.asked
    assert second.server.state(second.slot) == OPEN


def test_a_late_attachment_is_not_the_next_clients(node: Node) -> None:
    """Two connections in turn in one slot attach one session: only the second's own result opens it."""
    session = connected(node, 1)
    first = opened(node)
    first.send(connect_request(session.session_id, session.password))
    node.collect(0)
    first.server.close_slot(first.slot)
    second = opened(node)
    second.send(connect_request(session.session_id, session.password))
    node.apply()
    node.deliver_all()
    assert second.server.state(second.slot) == WAITING
    move(node)
    heard(second)
    second.send(second.request(1, make_create(b"/a")))
    move(node)
    heard(second)
    assert not second.asked


# --- the ring


def test_resend_brings_what_is_unanswered_once_and_in_order(node: Node) -> None:
    client, waiting = connected(node), opened(node)
    client.send(b"".join(client.request(1, make_create(b"/s", flags=2)) for _ in range(5)))
    node.collect(0)
    node.proposed[0] = (2, split(node.proposed[0][1])[0] + split(node.proposed[0][1])[1])
    waiting.send(connect_request())
    node.apply()  # two of five arrived
    node.deliver_all()
    for _ in range(3):
        client.server.resend_all()
    count, made = client.server.take_writes()
    kinds = [(entry.op, entry.serial) for entry in entries(seal(split(made), count, 1, 1, 0, 0))]
    assert [kind for kind in kinds if kind[0] == 1] == [(1, 3), (1, 4), (1, 5)]
    assert [kind[0] for kind in kinds] == [1, 1, 1, -10]
    node.proposed.append((count, made))
    move(node)
    heard(client)
    heard(waiting)
    assert not client.asked
    assert waiting.session_id
    assert client.server.counters()["unanswered_bytes"] == 0


def split(made: bytes) -> list[bytes]:
    """Entries one by one."""
    found = []
    while made:
        size = int.from_bytes(made[:4], "little")
        found.append(made[:size])
        made = made[size:]
    return found


def test_one_that_never_answers_does_not_fill_the_ring() -> None:
    """An entry without a result stands at the front; the answered ones behind it are let go all the same."""
    node = Node(PATHS, workers=1, unanswered_max=4096)
    stuck = connected(node)
    stuck.send(stuck.request(9, packed(b"/a")))
    stuck.server.take_writes()  # lost, and no round begins
    client = connected(node)
    for _ in range(200):
        client.send(client.request(9, packed(b"/a")))
        move(node)
        heard(client)
        assert not client.asked
    assert client.server.counters()["unanswered_bytes"] < 4096


def test_a_full_ring_makes_writes_wait() -> None:
    node = Node(PATHS, workers=1, unanswered_max=4096)
    client, other = connected(node), connected(node)
    for _ in range(100):
        client.send(client.request(9, packed(b"/a")))
        other.send(other.request(9, packed(b"/b")))
    assert 4096 <= client.server.counters()["unanswered_bytes"] < 4096 + 128
    for _ in range(20):
        move(node)
        heard(client)
        heard(other)
    assert not client.asked
    assert not other.asked


def test_one_client_has_so_many_writes_and_no_more(node: Node) -> None:
    client = connected(node)
    client.send(b"".join(client.request(9, packed(b"/a")) for _ in range(5000)))
    assert client.server.counters()["outstanding"] == 2048
    for _ in range(5):
        move(node)
        heard(client)
    assert not client.asked


# --- pauses and limits


def test_who_does_not_listen_is_not_read(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a", bytes(100_000))))
    move(node)
    heard(client)
    client.send(b"".join(client.read(GET_DATA, b"/a", False) for _ in range(50)))
    assert client.server.is_paused(client.slot)
    assert len(client.server.output(client.slot)) < 500_000
    turns = 0
    while client.asked:
        data = client.server.output(client.slot)[:50_000]
        client.server.output_sent(client.slot, len(data))
        client.hear(data)
        turns += 1
    assert turns > 90
    assert not client.server.is_paused(client.slot)


def test_who_says_too_much_behind_a_wait_is_paused(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a")))
    frame = client.read(EXISTS, b"/a", False)
    client.send(frame)
    for _ in range(0xFFFFF // len(frame) + 70_000 // len(frame)):
        client.send(client.read(EXISTS, b"/a", False))
    assert client.server.is_paused(client.slot)
    while client.asked:
        move(node)
        heard(client)
    assert not client.server.is_paused(client.slot)


def test_a_client_that_drowns_in_events_is_cut_off() -> None:
    node = Node(PATHS, workers=1, output_max=2000)
    watcher, writer = connected(node), connected(node)
    for _ in range(100):
        watcher.send(watcher.read(EXISTS, b"/a", True))
        writer.send(writer.request(1, make_create(b"/a")) + writer.request(2, packed(b"/a") + b"\xff\xff\xff\xff"))
        move(node)
        heard(writer)
    assert watcher.server.state(watcher.slot) == CLOSING
    assert watcher.server.output(watcher.slot) == b""
    assert writer.server.state(writer.slot) == OPEN


def test_a_reply_beyond_the_limit_is_not_sent() -> None:
    node = Node(PATHS, workers=1, output_max=2000)
    client = connected(node)
    client.send(client.request(1, make_create(b"/a", bytes(3000))))
    move(node)
    heard(client)
    client.send(client.read(GET_DATA, b"/a", False))
    assert client.server.state(client.slot) == CLOSING
    assert client.server.output(client.slot) == b""


def test_there_are_so_many_slots(node: Node) -> None:
    slots = [node.servers[0].open_slot(0, 1) for _ in range(9)]
    assert slots == [0, 1, 2, 3, 4, 5, 6, 7, -1]
    node.servers[0].close_slot(3)
    assert node.servers[0].open_slot(0, 1) == 3
    with pytest.raises(ValueError, match="slot 9"):
        node.servers[0].close_slot(9)


def test_the_sweep_closes_what_waits_too_long(node: Node) -> None:
    server = node.servers[0]
    silent, native, tcp = opened(node), connected(node, wire=1), connected(node)
    for now_ms, states in (
        (10_001, (NEW, OPEN, OPEN)),
        (10_002, (CLOSING, OPEN, OPEN)),
        (15_001, (CLOSING, OPEN, OPEN)),
        (15_002, (CLOSING, CLOSING, OPEN)),
    ):
        server.sweep_at(now_ms)
        assert tuple(server.state(client.slot) for client in (silent, native, tcp)) == states


def test_a_closing_client_that_does_not_read_is_cut_off(node: Node) -> None:
    client = connected(node)
    client.send(client.request(999, b""))
    assert client.server.output(client.slot) != b""
    client.server.sweep_at(10_002)
    assert client.server.output(client.slot) == b""


# --- the engine's side


def test_touched_names_each_session_once(node: Node) -> None:
    clients = [connected(node) for _ in range(3)]
    opened(node).send(b"\x00")
    node.servers[0].take_touched()
    for client in (clients[0], clients[2], clients[0]):
        client.send(client.ping())
    ids = struct.pack("<QQ", clients[0].session_id, clients[2].session_id)
    assert node.servers[0].take_touched() == ids
    assert node.servers[0].take_touched() == b""


def test_expiry_closes_the_connection(node: Node) -> None:
    client = connected(node)
    ((session_id, attach_zxid, _),) = node.machine.sessions()
    node.propose(make_entry(CLOSE, session_id=session_id, attach_zxid=attach_zxid))
    move(node)
    assert client.server.state(client.slot) == CLOSING


def test_items_that_make_no_sense_are_refused(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a")))
    node.collect(0)
    node.apply()
    good = b"".join(item.pack() for item in node.streams[0])
    zxid = node.machine.applied_zxid
    server = client.server
    for bad, up_to in (
        (good[:-1], zxid),
        (good[:55], zxid),
        (good, zxid - 1),
        (b"", zxid - 2),
        (b"\x39" + good[1:], zxid),
        (b"\x08" + good[1:], zxid),
        (good[:4] + b"\x09\x00" + good[6:], zxid),
        (good[:52] + b"\xff\xff\xff\x7f" + good[56:], zxid),
    ):
        fresh = Node(PATHS)
        assert not fresh.servers[0].commit_items(bad, up_to, 1) or bad == b""
    assert server.commit_items(good, zxid, 1)
    assert not server.commit_items(good, zxid, 1), "the same batch again"


def test_counters_count(node: Node) -> None:
    client = connected(node)
    client.send(client.request(1, make_create(b"/a")) + client.read(EXISTS, b"/a", True))
    node.now_ms = 6
    move(node)
    heard(client)
    counters = client.server.counters()
    assert counters == {
        "received": 2, "sent": 2, "connections": 1, "outstanding": 0, "watches": 1, "watched_paths": 1,
        "unanswered_bytes": 0, "latency_ms_min": 5, "latency_ms_avg": 5, "latency_ms_max": 5,
    }  # fmt: skip
    client.server.reset_counters()
    assert client.server.counters()["received"] == client.server.counters()["latency_ms_max"] == 0
    client.server.close_slot(client.slot)
    assert client.server.counters()["watches"] == client.server.counters()["connections"] == 0
