"""Goal: whatever bytes a client sends, the worker lives, holds no more than what arrived, and serves the others.
Method: hypothesis sends frames that are right, cut short, too long or noise, in any pieces, before or after a handshake, to
a Node in one process; beside it a well-behaved client must get all it asks for, and the engine only entries that are whole."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk._core.blocks import count_entries
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
    move,
    opened,
)

CLOSING = 4
OPS = [*range(-15, 24), *range(99, 109), 1 << 30, -(1 << 31)]
JUTE = st.one_of(
    st.binary(max_size=30),
    st.builds(packed, st.one_of(st.none(), st.binary(max_size=20), st.sampled_from([b"/", b"/a", b"/a/b"]))),
    st.sampled_from([b"\x00", b"\x01", b"\xff" * 4, b"\x80\x00\x00\x00", b"\x7f\xff\xff\xff"]),
    st.just(make_create(b"/a")),
    st.builds(lambda op, rest: struct.pack(">i?i", op, False, -1) + rest, st.sampled_from([1, 4, 8, 14]), st.binary(max_size=9)),
    st.sampled_from([struct.pack(">i", 1), struct.pack(">i?i", -1, True, -1), struct.pack(">q", 3)]),
)
REQUESTS = st.builds(
    lambda xid, op, parts: framed(struct.pack(">ii", xid, op) + b"".join(parts)),
    st.integers(-9, 9),
    st.sampled_from(OPS),
    st.lists(JUTE, max_size=4),
)
NOISE = st.one_of(
    st.binary(max_size=40),
    st.builds(framed, st.binary(max_size=40)),
    st.sampled_from([b"ruok", b"GET / HTTP/1.1\r\n", b"\xff\xf4\xff\xfd\x06"]),
    st.builds(lambda size: struct.pack(">i", size), st.integers(-(1 << 31), (1 << 31) - 1)),
)
PIECES = st.lists(st.one_of(REQUESTS, REQUESTS, NOISE), max_size=12)


@settings(max_examples=250, deadline=None)
@given(
    wire=st.integers(0, 2), is_greeted=st.booleans(), is_local=st.booleans(), pieces=PIECES, cut=st.integers(1, 60),
    batch=st.integers(1, 40),
)  # fmt: skip
def test_hostile_bytes(wire: int, is_greeted: bool, is_local: bool, pieces: list[bytes], cut: int, batch: int) -> None:
    node = Node((b"/a",), workers=1, local_sessions=is_local)
    bystander = connected(node)
    is_greeted = is_greeted and wire != 2
    hostile = connected(node, wire=wire) if is_greeted else opened(node, wire=wire)
    if wire == 2 and batch % 2:  # the gate has spoken
        hostile.send(framed(packed(b"10.0.0.1") + struct.pack(">ii", 1, 0)))
    data = b"".join(pieces) if is_greeted or len(pieces) % 2 else connect_request() + b"".join(pieces)
    server = node.servers[0]
    for turn, at in enumerate(range(0, len(data), cut)):
        server.take_bytes(hostile.slot, data[at : at + cut], node.now_ms)
        (held,) = (connection for connection in server.describe() if connection["slot"] == hostile.slot)
        assert held["queued"] <= len(data) + len(server.output(hostile.slot))
        if turn % batch == 0:
            turn_over(node, bystander, hostile)
    for _ in range(3):
        turn_over(node, bystander, hostile)
    server.close_slot(hostile.slot)
    turn_over(node, bystander, None)
    assert server.counters()["outstanding"] == 0


def turn_over(node: Node, bystander: ClientTwin, hostile: ClientTwin | None) -> None:
    """Everything moves one step, and the bystander gets what it asked."""
    bystander.send(bystander.read(EXISTS, b"/a", True))
    for slot, op, xid, body in node.servers[0].asked():
        assert op in (100, 102)
        node.servers[0].admit(slot, -115 if xid % 2 else 0, [("digest", f"{len(body)}:x")], body)
    count, made = node.servers[0].take_writes()
    if count:
        assert count_entries(made, node_id=1, worker=0) == count
        node.proposed.append((count, made))
    move(node)
    heard(bystander)
    assert not bystander.asked
    if hostile is not None:
        server = hostile.server
        server.output_sent(hostile.slot, len(server.output(hostile.slot)))
        if server.state(hostile.slot) == CLOSING:
            assert server.output(hostile.slot) == b""
