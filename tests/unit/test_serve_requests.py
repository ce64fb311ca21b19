"""Goal: every operation of ZooKeeper's is taken as ZooKeeper takes it: what is answered from the arena, what goes to the log, what
of watches, and in what order.
Method: one Node in one process (testing/serving.py), stories of a few lines each; the answers of reads are also asked without
a worker (fastzk._core.reads)."""

import struct

import pytest

from fastzk._core.reads import answer_body
from fastzk.testing.model import packed
from fastzk.testing.serving import (
    EXISTS,
    ClientTwin,
    Node,
    connect_request,
    connected,
    framed,
    heard,
    make_create,
    make_delete,
    make_set,
    move,
)

OPEN, CLOSING = 3, 4
GET_ACL, CHECK_WATCHES, REMOVE_WATCHES, MULTI_READ, SET_WATCHES, GET_EPHEMERALS = 6, 17, 18, 22, 101, 103
GET_ALL_CHILDREN_NUMBER, SET_WATCHES2, ADD_WATCH, WHO_AM_I = 104, 105, 106, 107
CHILDREN, DATA, ANY, PERSISTENT, RECURSIVE = 1, 2, 3, 4, 5
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
PATHS = (b"/", b"/a", b"/b")


@pytest.fixture
def node() -> Node:
    return Node(PATHS)


def frames(client: ClientTwin) -> list[tuple[int, int, int, bytes]]:
    """What the connection is sent: (xid, zxid, err, body) of each frame."""
    data = client.server.output(client.slot)
    client.server.output_sent(client.slot, len(data))
    found = []
    while data:
        (size,) = struct.unpack_from(">i", data)
        found.append((*struct.unpack_from(">iqi", data, 4), data[20 : 4 + size]))
        data = data[4 + size :]
    return found


def ask(client: ClientTwin, op: int, body: bytes = b"", xid: int = 5) -> tuple[int, bytes]:
    """(err, body) of the answer that comes at once."""
    client.send(framed(struct.pack(">ii", xid, op) + body))
    ((got, _, err, answered),) = frames(client)
    assert got == xid
    return err, answered


def write(node: Node, client: ClientTwin, *writes: tuple[int, bytes]) -> list[int]:
    """The errors of writes, applied and told to everybody; what else the connection is sent meanwhile is dropped."""
    for op, body in writes:
        client.send(framed(struct.pack(">ii", 5, op) + body))
    move(node)
    return [err for xid, _, err, _ in frames(client) if xid == 5]


def event(kind: int, path: bytes) -> bytes:
    return struct.pack(">ii", kind, 3) + packed(path)


def strings(*texts: bytes) -> bytes:
    return struct.pack(">i", len(texts)) + b"".join(packed(text) for text in texts)


# --- reads


@pytest.mark.parametrize("op", [1, 2, 5, 7, 9, 14, 15, 16, 19, 21])
def test_writes_go_to_the_log_whatever_their_body(node: Node, op: int) -> None:
    client = connected(node)
    client.send(framed(struct.pack(">ii", 5, op)))
    count, entry = client.server.take_writes()
    assert (count, struct.unpack_from("<i", entry, 8)) == (1, (op,))
    assert client.server.state(client.slot) == OPEN


def acl(*entries: tuple[int, bytes, bytes]) -> bytes:
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + packed(scheme) + packed(name) for perms, scheme, name in entries
    )


def test_get_acl_hides_hashes_from_who_may_not_administer(node: Node) -> None:
    client = connected(node)
    secret = acl((1, b"world", b"anyone"), (31, b"digest", b"user:hash"), (31, b"ip", b"10.0.0.1"))
    shown = acl((1, b"world", b"anyone"), (31, b"digest", b"user:x"), (31, b"ip", b"10.0.0.1"))
    whole = acl((16, b"world", b"anyone"), (31, b"digest", b"user:hash"))
    shut = acl((2, b"world", b"anyone"), (31, b"digest", b"user:hash"))
    bodies = [packed(path) + packed(b"") + vector + bytes(4) for path, vector in ((b"/a", secret), (b"/b", whole), (b"/c", shut))]
    assert write(node, client, *((1, body) for body in bodies)) == [0, 0, 0]
    for path, vector in ((b"/a", shown), (b"/b", whole)):
        err, body = ask(client, GET_ACL, packed(path))
        assert (err, body[:-68]) == (0, vector)
        assert body[-68:] == node.history.model.znodes[path].stat()
    assert ask(client, GET_ACL, packed(b"/c")) == (-102, b"")
    assert ask(client, GET_ACL, packed(b"/none")) == (-101, b"")
    assert ask(client, GET_ACL, packed(None)) == ask(client, GET_ACL) == (-5, b"")


def test_the_empty_path_is_the_root(node: Node) -> None:
    client = connected(node)
    for op in (3, 4, 8, 12):
        assert ask(client, op, packed(b"") + b"\x00") == ask(client, op, packed(b"/") + b"\x00")
    assert ask(client, GET_ACL, packed(b"")) == ask(client, GET_ACL, packed(b"/"))


def result(op: int, body: bytes) -> bytes:
    return struct.pack(">i?i", op, False, 0) + body


def failure(err: int) -> bytes:
    return struct.pack(">i?ii", -1, False, err, err)


END = struct.pack(">i?i", -1, True, -1)


def test_multi_read_answers_each_and_watches_none(node: Node) -> None:
    client = connected(node)
    shut = packed(b"/b") + packed(b"") + acl((2, b"world", b"anyone")) + bytes(4)
    assert write(node, client, (1, make_create(b"/a", b"data")), (1, shut)) == [0, 0]
    asked = [(4, b"/a"), (8, b"/"), (4, b"/none"), (8, b"/b"), (4, b"/a")]
    body = b"".join(struct.pack(">i?i", op, False, -1) + packed(path) + b"\x01" for op, path in asked) + END
    data, names = ask(client, 4, packed(b"/a") + b"\x00")[1], ask(client, 8, packed(b"/") + b"\x00")[1]
    expected = result(4, data) + result(8, names) + failure(-101) + failure(-102) + result(4, data) + END
    assert ask(client, MULTI_READ, body) == (0, expected)
    assert ask(client, MULTI_READ, END) == (0, END)
    assert client.server.counters()["watches"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        END[:-1],
        struct.pack(">i?i", 4, False, -1) + packed(b"/a") + b"\x00",
        struct.pack(">i?i", 4, False, -1) + packed(None) + b"\x00" + END,
        struct.pack(">i?i", 4, False, -1) + packed(b"/a") + END,
        struct.pack(">i?i", 3, False, -1) + packed(b"/a") + b"\x00" + END,
        struct.pack(">i?i", 1, False, -1) + make_create(b"/a") + END,
    ],
)
def test_a_multi_read_of_anything_else_is_a_marshalling_error(node: Node, body: bytes) -> None:
    client = connected(node)
    assert ask(client, MULTI_READ, body) == (-5, b"")
    assert client.server.state(client.slot) == OPEN


def test_a_multi_read_has_a_limit(node: Node) -> None:
    """A request of a megabyte may ask for sixty gigabytes."""
    client = connected(node)
    assert write(node, client, (1, make_create(b"/a", bytes(200_000)))) == [0]
    one = struct.pack(">i?i", 4, False, -1) + packed(b"/a") + b"\x00"
    err, body = answer_body(node.machine_arena, MULTI_READ, one * 300 + END)[::2]
    assert (err, len(body) > 300 * 200_000) == (0, True)
    assert answer_body(node.machine_arena, MULTI_READ, one * 60_000 + END)[::2] == (-1, b"")


def test_ephemerals_are_the_sessions_own(node: Node) -> None:
    client, other = connected(node), connected(node)
    made = [make_create(path, b"", 1) for path in (b"/e1", b"/e2", b"/a", b"/abc")]
    assert write(node, client, *((1, body) for body in made)) == [0, 0, 0, 0]
    assert write(node, other, (1, make_create(b"/e3", b"", 1))) == [0]

    def ephemerals(one: ClientTwin, prefix: bytes | None) -> set[bytes]:
        err, body = ask(one, GET_EPHEMERALS, packed(prefix))
        assert err == 0
        paths, at = set(), 4
        for _ in range(struct.unpack_from(">i", body)[0]):
            (size,) = struct.unpack_from(">i", body, at)
            paths.add(body[at + 4 : at + 4 + size])
            at += 4 + size
        assert at == len(body)
        return paths

    for prefix in (b"/", b"", b"  ", b" / ", None):
        assert ephemerals(client, prefix) == {b"/e1", b"/e2", b"/a", b"/abc"}
    assert ephemerals(client, b"/e") == {b"/e1", b"/e2"}
    assert ephemerals(client, b"/a") == {b"/a", b"/abc"}
    assert ephemerals(client, b"/none") == set()
    assert ephemerals(other, None) == {b"/e3"}
    assert ephemerals(connected(node), None) == set()
    assert ask(client, GET_EPHEMERALS) == (-5, b"")


def test_all_children_are_counted(node: Node) -> None:
    client = connected(node)
    paths = (b"/a", b"/a/b", b"/a/b/c", b"/a/d", b"/ab")
    assert write(node, client, *((1, make_create(path)) for path in paths)) == [0] * 5
    for path, count in ((b"/a", 3), (b"/a/b", 1), (b"/ab", 0), (b"/", 8)):
        assert ask(client, GET_ALL_CHILDREN_NUMBER, packed(path)) == (0, struct.pack(">i", count))
    assert ask(client, GET_ALL_CHILDREN_NUMBER, packed(b"/none")) == (-101, b"")
    assert ask(client, GET_ALL_CHILDREN_NUMBER, packed(None)) == ask(client, GET_ALL_CHILDREN_NUMBER) == (-5, b"")


def test_reads_that_are_handed_over_are_answered_as_well(node: Node) -> None:
    """All that a worker may read the engine may have to, with the identities of who asks."""
    client = ClientTwin(node, 0, node.servers[0].open_slot(0, node.now_ms, b"10.0.0.1"))
    client.send(connect_request())
    move(node)
    heard(client)
    assert write(node, client, (1, make_create(b"/a", b"x")), (1, make_create(b"/a/e", b"", 1))) == [0, 0]
    multi = struct.pack(">i?i", 4, False, -1) + packed(b"/a") + b"\x00" + END
    rewatch = struct.pack(">q", 0) + strings(b"/a") + strings() + strings()
    requests = [(3, packed(b"/a") + b"\x00"), (GET_ACL, packed(b"/a")), (MULTI_READ, multi), (WHO_AM_I, b"")]
    requests += [(SET_WATCHES, rewatch), (GET_EPHEMERALS, packed(None)), (GET_ALL_CHILDREN_NUMBER, packed(b"/"))]
    for op, body in requests:
        client.send(framed(struct.pack(">ii", 5, op) + body))
    direct = frames(client)
    node.writer_is_inside(True)
    for op, body in requests:
        client.send(framed(struct.pack(">ii", 5, op) + body))
    assert frames(client) == []
    for _ in requests:
        count, entries = client.server.take_reads()
        assert count == 1
        node.writer_is_inside(False)
        node.machine.read(entries)
        node._hear_machine()
        node.writer_is_inside(True)
        node.deliver_all()
    assert frames(client) == direct
    node.writer_is_inside(False)


# --- watches


def test_watches_are_added_checked_and_removed(node: Node) -> None:
    client, writer = connected(node), connected(node)
    for mode, kind in ((0, PERSISTENT), (1, RECURSIVE)):
        assert ask(client, CHECK_WATCHES, packed(b"/a") + struct.pack(">i", kind)) == (-121, b"")
        assert ask(client, ADD_WATCH, packed(b"/a") + struct.pack(">i", mode)) == (0, bytes(4))
        assert ask(client, CHECK_WATCHES, packed(b"/a") + struct.pack(">i", kind)) == (0, b"")
        assert ask(client, CHECK_WATCHES, packed(b"/a") + struct.pack(">i", ANY)) == (0, b"")
        assert ask(client, REMOVE_WATCHES, packed(b"/a") + struct.pack(">i", kind)) == (0, b"")
        assert ask(client, REMOVE_WATCHES, packed(b"/a") + struct.pack(">i", kind)) == (-121, b"")
    ask(client, EXISTS, packed(b"/a") + b"\x01")
    assert ask(client, REMOVE_WATCHES, packed(b"/a") + struct.pack(">i", DATA)) == (0, b"")
    assert write(node, writer, (1, make_create(b"/a"))) == [0]
    assert frames(client) == []


def test_lasting_watches_last(node: Node) -> None:
    client, writer = connected(node), connected(node)
    ask(client, ADD_WATCH, packed(b"/a") + struct.pack(">i", 0))
    ask(client, ADD_WATCH, packed(b"/") + struct.pack(">i", 1))
    write(node, writer, (1, make_create(b"/a")), (5, make_set(b"/a", b"x")), (1, make_create(b"/a/b")), (2, make_delete(b"/a/b")))
    assert [(xid, body) for xid, _, _, body in frames(client)] == [
        (-1, event(CREATED, b"/a")),
        (-1, event(DATA_CHANGED, b"/a")),
        (-1, event(CREATED, b"/a/b")),
        (-1, event(CHILDREN_CHANGED, b"/a")),
        (-1, event(DELETED, b"/a/b")),
        (-1, event(CHILDREN_CHANGED, b"/a")),
    ]


@pytest.mark.parametrize("op", [ADD_WATCH, CHECK_WATCHES, REMOVE_WATCHES])
@pytest.mark.parametrize(
    "body", [b"", packed(b"/a"), packed(None) + bytes(4), packed(b"/a") + b"\xff" * 4, packed(b"/a") + struct.pack(">i", 6)]
)
def test_watches_of_no_kind_are_a_marshalling_error(node: Node, op: int, body: bytes) -> None:
    client = connected(node)
    assert ask(client, op, body) == (-5, b"")
    assert client.server.state(client.slot) == OPEN


def test_a_watch_is_removed_after_the_events_that_are_due(node: Node) -> None:
    """What reads have shown is ahead of the events; a removal at once would swallow them."""
    client, writer = connected(node), connected(node)
    ask(client, EXISTS, packed(b"/a") + b"\x01")
    writer.send(framed(struct.pack(">ii", 5, 1) + make_create(b"/a")))
    node.collect(0)
    node.apply()
    client.send(framed(struct.pack(">ii", 6, EXISTS) + packed(b"/a") + b"\x00"))
    client.send(framed(struct.pack(">ii", 7, REMOVE_WATCHES) + packed(b"/a") + struct.pack(">i", ANY)))
    assert frames(client) == []
    node.deliver_all()
    assert [(xid, err) for xid, _, err, _ in frames(client)] == [(-1, 0), (6, 0), (7, -121)]


# --- setWatches


def rewatched(client: ClientTwin, seen: int, *lists: list[bytes]) -> tuple[list[bytes], int]:
    """Events that are replayed, and the zxid of the reply behind them."""
    op = SET_WATCHES if len(lists) == 3 else SET_WATCHES2
    client.send(framed(struct.pack(">iiq", -8, op, seen) + b"".join(strings(*paths) for paths in lists)))
    *events, (xid, zxid, err, body) = frames(client)
    assert (xid, err, body) == (-8, 0, b"")
    assert all(frame[:3] == (-1, -1, 0) for frame in events)
    return [frame[3] for frame in events], zxid


def test_set_watches_replays_what_was_missed_and_arms_the_rest(node: Node) -> None:
    writer, client = connected(node), connected(node)
    write(node, writer, *((1, make_create(path)) for path in (b"/same", b"/changed", b"/parent", b"/calm")))
    seen = node.machine.applied_zxid
    write(node, writer, (5, make_set(b"/changed", b"x")), (1, make_create(b"/parent/child")), (1, make_create(b"/new")))
    zxid = node.machine.applied_zxid
    assert rewatched(
        client, seen, [b"/same", b"/changed", b"/gone"], [b"/none", b"/new"], [b"/calm", b"/parent", b"/lost"], [b"/p"], [b"/r"]
    ) == (
        [
            event(DATA_CHANGED, b"/changed"),
            event(DELETED, b"/gone"),
            event(CREATED, b"/new"),
            event(CHILDREN_CHANGED, b"/parent"),
            event(DELETED, b"/lost"),
        ],
        zxid,
    )
    for path, kind, is_armed in (
        (b"/same", DATA, True), (b"/changed", ANY, False), (b"/gone", ANY, False), (b"/none", DATA, True), (b"/new", ANY, False),
        (b"/calm", CHILDREN, True), (b"/parent", ANY, False), (b"/lost", ANY, False), (b"/p", PERSISTENT, True),
        (b"/r", RECURSIVE, True),
    ):  # fmt: skip
        assert ask(client, CHECK_WATCHES, packed(path) + struct.pack(">i", kind)) == (0 if is_armed else -121, b"")


def test_set_watches_is_armed_as_of_its_reply(node: Node) -> None:
    """It may be answered ahead of the commit batches: what happened in between is replayed, and not told again."""
    writer, client = connected(node), connected(node)
    write(node, writer, (1, make_create(b"/a")), (1, make_create(b"/b")))
    seen = node.machine.applied_zxid
    writer.send(framed(struct.pack(">ii", 5, 5) + make_set(b"/a", b"x")))
    node.collect(0)
    node.apply()
    client.send(framed(struct.pack(">iiq", 8, SET_WATCHES, seen) + strings(b"/a", b"/b") + strings() + strings(b"/a")))
    assert frames(client) == [], "the event at its zxid has not been heard of"
    node.deliver_all()
    assert frames(client) == [(-1, -1, 0, event(DATA_CHANGED, b"/a")), (8, seen + 1, 0, b"")]
    write(node, writer, (5, make_set(b"/a", b"y")), (5, make_set(b"/b", b"y")))
    assert [body for _, _, _, body in frames(client)] == [event(DATA_CHANGED, b"/b")]


def test_what_the_client_has_seen_elsewhere_is_not_told_again(node: Node) -> None:
    """It comes from a node that was ahead; the watch is armed above the change that is still on its way to this worker."""
    writer, client = connected(node), connected(node)
    write(node, writer, (1, make_create(b"/a")))
    writer.send(framed(struct.pack(">ii", 5, 5) + make_set(b"/a", b"x")))
    node.collect(0)
    node.apply()
    client.send(framed(struct.pack(">iiq", 8, SET_WATCHES, node.machine.applied_zxid) + strings(b"/a") + strings() + strings()))
    node.deliver_all()
    assert [frame[0] for frame in frames(client)] == [8]
    write(node, writer, (5, make_set(b"/a", b"y")))
    assert [body for _, _, _, body in frames(client)] == [event(DATA_CHANGED, b"/a")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(8),
        struct.pack(">q", 0) + strings() + strings(),
        struct.pack(">q", 0) + strings(b"/a") + strings() + packed(None),
        struct.pack(">q", 0) + struct.pack(">i", 1) + packed(None) + strings() + strings(),
        struct.pack(">q", 0) + struct.pack(">i", 0x7FFFFFFF) + packed(b"/a"),
    ],
)
def test_set_watches_that_cannot_be_read_arms_nothing(node: Node, body: bytes) -> None:
    client = connected(node)
    assert ask(client, SET_WATCHES, body) == (-5, b"")
    assert ask(client, SET_WATCHES2, body) == (-5, b"")
    assert client.server.counters()["watches"] == 0


def test_many_watches_at_once(node: Node) -> None:
    client, writer = connected(node), connected(node)
    paths = [b"/%d" % i for i in range(5000)]
    assert rewatched(client, node.machine.applied_zxid, [], paths, []) == ([], node.machine.applied_zxid)
    assert client.server.counters()["watches"] == 5000
    write(node, writer, (1, make_create(b"/4999")))
    assert [body for _, _, _, body in frames(client)] == [event(CREATED, b"/4999")]
    assert len(rewatched(client, 0, paths, [], [])[0]) == 5000
