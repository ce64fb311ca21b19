"""Goal: a multi that fails leaves the arena as it was, bit for bit: the tree, the free blocks, the counters, the digest.

Method: hypothesis draws a history, then a multi whose last operation cannot succeed.  The region is compared with its copy
from before: only the header's words that tell how far we are, and the session's count of its writes, may differ.  Afterwards
the same history goes on, so that what was left behind, if anything, would show."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_commands import (
    CHECK,
    CLOSE_SESSION,
    COMMANDS,
    DELETE,
    MULTI,
    NODE_ID,
    PARTS,
    SESSION_IDS,
    Command,
    create_of,
    entry_of,
    multi_part,
    session_of,
)

from fastzk._core import _testing_tree as probe
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import entries, make_entry, seal
from fastzk._core.reads import answer
from fastzk._core.tree import digest, format_tree
from fastzk.testing.items import CHANGE, RESULT, parse_items
from fastzk.testing.model import Model, packed

EPOCH = 3
GET_DATA = 4
TIME_MS = 1_700_000_000_000
SEQUENCE, APPLIED_ZXID, APPLIED_INDEX, APPLIED_TIME = 64, 72, 104, 120  # of the arena's header
END = struct.pack(">i?i", -1, True, -1)
IMPOSSIBLE = struct.pack(">i?i", CHECK, False, -1) + packed(b"/there/is/none") + struct.pack(">i", 0)


class Story:
    """A Machine and its model, fed together; each entry is a block of its own."""

    def __init__(self) -> None:
        self.region = bytearray(1 << 20)
        self.arena = Arena.create(self.region)
        format_tree(self.arena)
        self.machine = Machine(self.arena, NODE_ID)
        self.machine.add_worker(1)
        self.model = Model()
        self.count = 0
        for path in (None, b"/a", b"/a/b", b"/zookeeper/quota/a", b"/zookeeper/quota/a/zookeeper_stats"):
            self.do(session_of(0) if path is None else create_of(path))
        self.do(create_of(b"/zookeeper/quota/a/zookeeper_limits", b"count=-1,bytes=-1=;countHardLimit=9"))

    def do(self, command: Command) -> None:
        self.apply(entry_of(command, self.model, 100 + self.count))

    def apply(self, entry: bytes) -> list[bytes]:
        """Bodies of the results that the worker is told."""
        zxid = (EPOCH << 32) + self.count
        block = seal([entry], 1, self.count + 1, zxid, TIME_MS, 0)
        self.count += 1
        (parsed,) = entries(block)
        self.outcome = self.model.apply(parsed, zxid, TIME_MS)
        self.machine.apply(block)
        told = parse_items(self.machine.take_items(1))
        self.changed = [item.body[: item.connection] for item in told if item.kind == CHANGE]
        return [item.body for item in told if item.kind == RESULT]


def changed_words(before: bytes, after: bytes) -> list[int]:
    return [at for at in range(0, len(before), 8) if before[at : at + 8] != after[at : at + 8]]


@settings(max_examples=60, deadline=None)
@given(history=COMMANDS, parts=st.lists(PARTS, min_size=1, max_size=12), is_pinned=st.booleans())
def test_a_multi_that_fails_leaves_no_trace(history: list[Command], parts: list[Command], is_pinned: bool) -> None:
    story = Story()
    for command in history[: len(history) // 2]:
        story.do(command)
    story.do(session_of(1))
    session = story.model.sessions[0x0100000000000002]
    body = b"".join(multi_part(part, story.model) for part in parts) + IMPOSSIBLE + END
    entry = make_entry(
        MULTI, body, 0x0100000000000002, session.attach_zxid, session.last_serial + 1, node_id=NODE_ID, worker=1, cxid=5
    )
    before, used = bytes(story.region), story.arena.used
    counters = story.arena.counters()
    if is_pinned:
        story.arena.pin()
    story.apply(entry)
    if is_pinned:
        assert story.arena.pinned_pages(0, used // 4096) == before[: used // 4096 * 4096]
        story.arena.unpin()
    words = set(changed_words(before[:used], story.region[:used]))
    serial_at = probe.find_session(story.arena, 0x0100000000000002) * 16 + 24
    assert words <= {SEQUENCE, APPLIED_ZXID, APPLIED_INDEX, APPLIED_TIME, serial_at}
    assert {SEQUENCE, APPLIED_ZXID, APPLIED_INDEX, serial_at} <= words
    assert story.arena.used == used
    after = story.arena.counters()
    told = ("applied_zxid", "applied_index", "applied_time_ms")
    assert {name: after[name] for name in after if name not in told} == {
        name: counters[name] for name in counters if name not in told
    }
    for command in history[len(history) // 2 :]:
        story.do(command)
    assert story.machine.digest == digest(story.arena)
    assert story.machine.counts["znodes"] == len(story.model.znodes)


def test_undoing_reaches_the_index_and_long_lists() -> None:
    """A thousand creates and deletes in one multi: the index splits, a child list grows and moves, blocks change owners."""
    story = Story()
    story.do(create_of(b"/b"))
    for i in range(40):
        story.do(create_of(b"/b/old-%d" % i, b"x" * i))
    session = story.model.sessions[0x0100000000000001]
    parts = [struct.pack(">i?i", 2, False, -1) + packed(b"/b/old-%d" % i) + struct.pack(">i", -1) for i in range(40)]
    made = [create_of(b"/b/new-%d" % i, b"y" * (i % 50)) for i in range(1000)]
    body = b"".join(parts) + b"".join(multi_part(part, story.model) for part in made) + IMPOSSIBLE + END
    before, used = bytes(story.region), story.arena.used
    entry = make_entry(
        MULTI, body, 0x0100000000000001, session.attach_zxid, session.last_serial + 1, node_id=NODE_ID, worker=1, cxid=5
    )
    (reply,) = story.apply(entry)
    assert struct.unpack_from(">i?i", reply, 1040 * 13)[2] == -101
    serial_at = probe.find_session(story.arena, 0x0100000000000001) * 16 + 24
    assert set(changed_words(before[:used], story.region[:used])) == {SEQUENCE, APPLIED_ZXID, APPLIED_INDEX, serial_at}
    assert story.arena.used == used


def test_a_session_ends_with_its_youngest_znode_first_whatever_a_multi_undid() -> None:
    """The order of the events of one zxid; the model once took them as a dict has them, where what a multi got back is last."""
    story = Story()
    owner = SESSION_IDS[0]
    for name in (b"/a/old", b"/a/young"):
        story.do(create_of(name)._replace(flags=1))
    session = story.model.sessions[owner]
    delete = struct.pack(">i?i", DELETE, False, -1) + packed(b"/a/old") + struct.pack(">i", -1)
    mark = {"session_id": owner, "attach_zxid": session.attach_zxid, "node_id": NODE_ID, "worker": 1, "cxid": 5}
    story.apply(make_entry(MULTI, delete + IMPOSSIBLE + END, serial=session.last_serial + 1, **mark))
    story.apply(make_entry(CLOSE_SESSION, b"", serial=session.last_serial + 1, **mark))
    assert story.changed == [path for _, path, _ in story.outcome.changes] == [b"/a/young", b"/a", b"/a/old", b"/a"]


@pytest.mark.parametrize("order", list(itertools.permutations((b"/a/b/x", b"/zookeeper/quota/a/b/zookeeper_limits"))))
def test_a_session_that_ends_takes_its_own_quota_with_it(order: tuple[bytes, bytes]) -> None:
    """What is counted depends on which of its znodes goes first, and so is part of what all nodes must agree on."""
    story = Story()
    stats = b"/zookeeper/quota/a/b/zookeeper_stats"
    for path in (b"/zookeeper/quota/a/b", stats):
        story.do(create_of(path))
    story.do(session_of(1))
    for path in order:
        story.do(create_of(path, b"count=5")._replace(session=1, flags=1))
    session = story.model.sessions[SESSION_IDS[1]]
    story.apply(make_entry(CLOSE_SESSION, b"", SESSION_IDS[1], session.attach_zxid, session.last_serial + 1, NODE_ID, 1))
    err, _, body = answer(story.arena, GET_DATA, stats)
    assert (err, body) == story.model.read(GET_DATA, stats)
