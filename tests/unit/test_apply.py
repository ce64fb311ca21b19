"""Goal: the Machine's manners towards its caller, and towards bytes that make no sense.

Method: short stories with the bytes spelled out.  (That it computes the right thing is the property test's.)"""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.reads import answer
from fastzk._core.tree import digest, format_tree
from fastzk.testing import items
from fastzk.testing.items import Item, parse_items
from fastzk.testing.model import packed

NODE_ID, WORKER = 1, 5
SESSION_ID = 0x0100000000000001
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_CHILDREN, SYNC, GET_CHILDREN2, CREATE2 = 1, 2, 3, 4, 5, 8, 9, 12, 15
EPOCH, CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION = 0, -10, -11, -12
OPEN = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
PASSWORD = b"0123456789abcdef"
SEQUENCE_AT = 64  # of the arena's header


class Story:
    """A Machine, and the entries it is given one after the other."""

    def __init__(self, size: int = 1 << 20) -> None:
        self.region = bytearray(size)
        self.arena = Arena.create(self.region)
        format_tree(self.arena)
        self.machine = Machine(self.arena, NODE_ID)
        self.machine.add_worker(WORKER)
        self.zxid = 1 << 32
        self.serial = 0
        self.attach_zxid = 0
        self.apply([make_entry(EPOCH)])

    def apply(self, entries: Sequence[bytes], time_ms: int = 1000) -> list[Item]:
        index = self.machine.applied_index + 1
        self.machine.apply(seal(list(entries), len(entries), index, self.zxid, time_ms, 0))
        self.zxid += len(entries)
        return parse_items(self.machine.take_items(WORKER))

    def session(self) -> list[Item]:
        """Makes the session."""
        self.attach_zxid = self.zxid
        return self.apply([entry(CREATE_SESSION, struct.pack(">i", 4000) + PASSWORD, serial=77)])

    def write(self, op: int, body: bytes, time_ms: int = 1000) -> list[Item]:
        """The session's next write."""
        self.serial += 1
        return self.apply([entry(op, body, attach_zxid=self.attach_zxid, serial=self.serial)], time_ms)

    def create(self, path: bytes, data: bytes | None = b"", flags: int = 0) -> int:
        (result,) = (i for i in self.write(CREATE, create_body(path, data, flags)) if i.kind == items.RESULT)
        return result.err


def entry(op: int, body: bytes = b"", attach_zxid: int = 0, serial: int = 0, node_id: int = NODE_ID) -> bytes:
    return make_entry(op, body, SESSION_ID, attach_zxid, serial, node_id, WORKER, connection=9, cxid=42)


def create_body(path: bytes, data: bytes | None = b"", flags: int = 0) -> bytes:
    return packed(path) + packed(data) + OPEN + struct.pack(">i", flags)


@pytest.fixture
def story() -> Story:
    begun = Story()
    begun.session()
    return begun


def test_a_session_from_create_to_close() -> None:
    story = Story()
    body = struct.pack(">i", 4000) + PASSWORD
    made_zxid = story.zxid
    assert story.session() == [
        Item(items.RESULT, made_zxid, 0, SESSION_ID, made_zxid, 77, 9, 42, 0, body),
    ]
    assert story.machine.sessions() == [(SESSION_ID, made_zxid, 4000)]
    story.create(b"/e", flags=1)

    new_zxid = story.zxid
    new_body = struct.pack(">i", 5000) + PASSWORD
    assert story.apply([entry(ATTACH_SESSION, new_body, serial=78)]) == [
        Item(items.RESULT, new_zxid, 0, SESSION_ID, new_zxid, 78, 9, 42, 0, new_body),
        Item(items.SESSION, new_zxid, session_id=SESSION_ID, attach_zxid=new_zxid),
    ]
    assert story.apply([entry(ATTACH_SESSION, new_body, serial=78)]) == []  # a repeat
    assert story.machine.sessions() == [(SESSION_ID, new_zxid, 5000)]

    zxid = story.zxid
    assert story.apply([entry(CLOSE_SESSION, attach_zxid=new_zxid, serial=1)]) == [
        items.change(zxid, 2, b"/e"),
        items.change(zxid, 4, b"/"),
        Item(items.RESULT, zxid, 0, SESSION_ID, new_zxid, 1, 9, 42, 0, b""),
        Item(items.SESSION, zxid, session_id=SESSION_ID, attach_zxid=0),
    ]
    assert story.machine.take_session_changes() == [
        ("created", SESSION_ID, made_zxid, 4000),
        ("attached", SESSION_ID, new_zxid, 5000),
        ("closed", SESSION_ID, new_zxid, 0),
    ]
    assert story.machine.take_session_changes() == []
    assert story.machine.sessions() == []


def test_expiry_spares_a_session_that_moved(story: Story) -> None:
    old_zxid = story.attach_zxid
    new_zxid = story.zxid
    story.apply([entry(ATTACH_SESSION, struct.pack(">i", 4000) + PASSWORD, serial=78)])
    assert story.apply([entry(CLOSE_SESSION, attach_zxid=old_zxid)]) == []
    assert len(story.machine.sessions()) == 1
    zxid = story.zxid
    assert story.apply([entry(CLOSE_SESSION, attach_zxid=new_zxid)]) == [
        Item(items.SESSION, zxid, session_id=SESSION_ID, attach_zxid=0),
    ]
    assert story.apply([entry(CLOSE_SESSION, attach_zxid=new_zxid)]) == []


def test_every_wrong_password_is_refused(story: Story) -> None:
    for at in range(16):
        wrong = bytearray(PASSWORD)
        wrong[at] ^= 1
        (result,) = story.apply([entry(ATTACH_SESSION, struct.pack(">i", 4000) + wrong, serial=99 + at)])
        assert (result.err, result.body) == (-112, b"")
    assert story.machine.sessions() == [(SESSION_ID, story.attach_zxid, 4000)]


def test_the_bytes_of_each_result(story: Story) -> None:
    zxid = story.zxid
    made = story.write(CREATE2, create_body(b"/a", None), time_ms=1111)
    stat = struct.pack(">qqqqiiiqiiq", zxid, zxid, 1111, 1111, 0, 0, 0, 0, 0, 0, zxid)
    assert made == [
        items.change(zxid, 1, b"/a"),
        items.change(zxid, 4, b"/"),
        Item(items.RESULT, zxid, 0, SESSION_ID, story.attach_zxid, 1, 9, 42, 0, packed(b"/a") + stat),
    ]
    changed = story.write(SET_DATA, packed(b"/a") + packed(b"xyz") + struct.pack(">i", 0) + b"garbage", time_ms=2222)
    stat = struct.pack(">qqqqiiiqiiq", zxid, zxid + 1, 1111, 2222, 1, 0, 0, 0, 3, 0, zxid)
    assert changed == [
        items.change(zxid + 1, 3, b"/a"),
        Item(items.RESULT, zxid + 1, 0, SESSION_ID, story.attach_zxid, 2, 9, 42, 0, stat),
    ]
    (synced,) = story.write(SYNC, packed(b"anything"))
    assert (synced.err, synced.body) == (0, packed(b"anything"))
    (synced,) = story.write(SYNC, packed(None))
    assert (synced.err, synced.body) == (0, packed(None))
    gone = story.write(DELETE, packed(b"/a") + struct.pack(">i", 1))
    assert [(item.kind, item.event, item.body) for item in gone] == [
        (items.CHANGE, 2, b"/a"),
        (items.CHANGE, 4, b"/"),
        (items.RESULT, 0, b""),
    ]


def test_null_data_is_not_empty_data(story: Story) -> None:
    story.create(b"/null", None)
    story.create(b"/empty", b"")
    assert answer(story.arena, GET_DATA, b"/null")[2][:4] == b"\xff\xff\xff\xff"
    assert answer(story.arena, GET_DATA, b"/empty")[2][:4] == b"\0\0\0\0"


def test_only_the_workers_attached_are_told(story: Story) -> None:
    story.machine.add_worker(6)
    assert len(story.write(CREATE, create_body(b"/a"))) == 3
    told = parse_items(story.machine.take_items(6))
    assert [item.kind for item in told] == [items.CHANGE, items.CHANGE]
    story.machine.remove_worker(WORKER)
    with pytest.raises(KeyError):
        story.machine.take_items(WORKER)
    with pytest.raises(KeyError):
        story.machine.remove_worker(WORKER)
    story.machine.add_worker(WORKER)
    assert story.machine.take_items(WORKER) == b""
    with pytest.raises(ValueError, match="attached already"):
        story.machine.add_worker(6)
    for worker in range(100, 162):
        story.machine.add_worker(worker)
    with pytest.raises(ValueError, match="no more than 64"):
        story.machine.add_worker(7)


def test_another_nodes_write_changes_us_and_answers_nobody(story: Story) -> None:
    theirs = entry(CREATE, create_body(b"/a"), story.attach_zxid, 1, node_id=2)
    assert [item.kind for item in story.apply([theirs])] == [items.CHANGE, items.CHANGE]


def test_a_block_must_follow(story: Story) -> None:
    index, zxid = story.machine.applied_index, story.machine.applied_zxid
    epoch = [make_entry(EPOCH)]
    good = seal(epoch, 1, index + 1, zxid + 1, 0, 0)
    two = seal(epoch * 2, 2, index + 1, zxid + 1, 0, 0)
    before = bytes(story.region)
    for block, reason in [
        (seal(epoch, 1, index, zxid + 1, 0, 0), "index"),
        (seal(epoch, 1, index + 2, zxid + 1, 0, 0), "index"),
        (seal(epoch, 1, index + 1, zxid, 0, 0), "Z1"),
        (good[:-8], "bytes"),
        (good[:64], "bytes"),
        (b"", "bytes"),
        (b"\0" + good[1:], "bytes"),
        (good[:48] + struct.pack("<I", 2) + good[52:], "2 entries"),
        (two[:24] + struct.pack("<Q", 0x1_FFFFFFFF) + two[32:], "Z1: 0x1ffffffff . 2"),
    ]:
        with pytest.raises(AssertionError, match=reason):
            story.machine.apply(block)
    assert bytes(story.region) == before
    story.machine.apply(memoryview(b"..." + good)[3:])
    assert (story.machine.applied_index, story.machine.applied_zxid) == (index + 1, zxid + 1)


def test_a_new_epoch_may_skip_zxids(story: Story) -> None:
    story.zxid = 7 << 32
    story.apply([make_entry(EPOCH)], time_ms=5)
    assert (story.machine.applied_zxid, story.machine.applied_time_ms) == (7 << 32, 5)


def test_reads_that_were_handed_over(story: Story) -> None:
    story.create(b"/a", b"x")
    zxid = story.machine.applied_zxid
    requests = [(EXISTS, b"/a"), (GET_DATA, b"/a"), (GET_CHILDREN, b"/"), (GET_CHILDREN2, b"/"), (GET_DATA, b"/b")]
    handed = b"".join(entry(op, packed(path) + b"\1", serial=3) for op, path in requests)
    story.machine.read(memoryview(b"1234" + handed)[4:])
    answered = parse_items(story.machine.take_items(WORKER))
    for (op, path), item in zip(requests, answered, strict=True):
        err, _, body = answer(story.arena, op, path)
        assert item == Item(items.READ, zxid, 0, SESSION_ID, 0, 3, 9, 42, err, body)
    story.machine.read(b"")
    story.machine.read(entry(GET_DATA, packed(b"/a") + b"\1", node_id=2))
    assert story.machine.take_items(WORKER) == b""
    for body in (b"", packed(b"/a"), packed(None) + b"\0"):
        story.machine.read(entry(GET_DATA, body))
        (item,) = parse_items(story.machine.take_items(WORKER))
        assert (item.err, item.body) == (-5, b"")
    for wrong in (b"x", entry(CREATE), entry(GET_DATA)[:-8] + bytes(8)[:7]):
        with pytest.raises(ValueError, match="not entries of reads"):
            story.machine.read(wrong)


def test_a_read_that_always_loses_is_given_up(story: Story) -> None:
    (sequence,) = struct.unpack_from("<Q", story.region, SEQUENCE_AT)
    struct.pack_into("<Q", story.region, SEQUENCE_AT, sequence + 1)  # the writer is inside, and stays
    with pytest.raises(BlockingIOError):
        answer(story.arena, EXISTS, b"/")
    struct.pack_into("<Q", story.region, SEQUENCE_AT, sequence + 2)
    assert answer(story.arena, EXISTS, b"/")[0] == 0


def test_a_znode_nobody_may_read(story: Story) -> None:
    acl = struct.pack(">ii", 1, 30) + packed(b"world") + packed(b"anyone")
    story.write(CREATE, packed(b"/shut") + packed(b"secret") + acl + struct.pack(">i", 0))
    for op in (EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2):
        assert answer(story.arena, op, b"/shut") == (-102, story.machine.applied_zxid, b"")


def test_a_failed_create_leaves_no_acl_behind(story: Story) -> None:
    acl = struct.pack(">ii", 1, 7) + packed(b"world") + packed(b"anyone")
    body = packed(b"/a") + packed(b"") + acl + struct.pack(">i", 0)
    known = story.machine.counts["acls"]
    story.write(CREATE, body)
    story.write(CREATE, body)  # NodeExists
    assert story.machine.counts["acls"] == known + 1
    story.write(DELETE, packed(b"/a") + struct.pack(">i", -1))
    assert story.machine.counts["acls"] == known


@pytest.mark.parametrize("perms", range(32))
def test_each_permission_permits_its_own(story: Story, perms: int) -> None:
    acl = struct.pack(">ii", 1, perms) + packed(b"world") + packed(b"anyone")
    story.write(CREATE, packed(b"/p") + packed(b"") + acl + struct.pack(">i", 0))

    def err(op: int, body: bytes) -> int:
        return next(item for item in story.write(op, body) if item.kind == items.RESULT).err

    for op in (EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2):
        assert answer(story.arena, op, b"/p")[0] == (0 if perms & 1 else -102)
    assert err(SET_DATA, packed(b"/p") + packed(b"x") + struct.pack(">i", -1)) == (0 if perms & 2 else -102)
    assert err(CREATE, create_body(b"/p/child")) == (0 if perms & 4 else -102)
    # Who may not delete a child does not learn whether it exists.
    assert err(DELETE, packed(b"/p/none") + struct.pack(">i", -1)) == (-101 if perms & 8 else -102)


def test_a_full_arena_refuses_and_goes_on() -> None:
    story = Story(1 << 17)
    story.session()
    errors = [story.create(b"/%d" % i, b"x" * 3000) for i in range(60)]
    assert errors[0] == 0
    assert errors[-1] == -1
    made = errors.count(0)
    assert errors == [0] * made + [-1] * (60 - made)
    assert story.machine.counts["znodes"] == 4 + made
    assert story.machine.digest == digest(story.arena)
    (result,) = (i for i in story.write(DELETE, packed(b"/0") + struct.pack(">i", -1)) if i.kind == items.RESULT)
    assert result.err == 0
    assert story.create(b"/again", b"x" * 3000) == 0


BODIES = {
    CREATE: create_body(b"/t", b"data", 2),
    CREATE2: create_body(b"/t", b"data", 2),
    SET_DATA: packed(b"/z") + packed(b"data") + struct.pack(">i", -1),
    DELETE: packed(b"/z") + struct.pack(">i", 0),
    SYNC: packed(b"/z"),
}


@pytest.mark.parametrize("op", BODIES)
def test_every_truncated_body_is_a_marshalling_error(story: Story, op: int) -> None:
    story.create(b"/z")
    znodes = story.machine.counts["znodes"]
    for size in range(len(BODIES[op])):
        (result,) = story.write(op, BODIES[op][:size])
        assert (result.err, result.body) == (-5, b"")
    assert story.machine.counts["znodes"] == znodes
    assert next(item for item in story.write(op, BODIES[op]) if item.kind == items.RESULT).err == 0


@settings(deadline=None)
@given(st.data())
def test_damaged_bodies_do_no_harm(data: st.DataObject) -> None:
    story = Story()
    story.session()
    story.create(b"/z")
    for _ in range(20):
        op = data.draw(st.sampled_from([*BODIES, CREATE_SESSION, ATTACH_SESSION, CLOSE_SESSION, 14, 100]))
        body = bytearray(BODIES.get(op, b""))
        for at in data.draw(st.lists(st.integers(0, max(len(body) - 1, 0)), max_size=3)):
            if body:
                body[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        body += data.draw(st.one_of(st.just(b""), st.binary(max_size=40)))
        results = [item for item in story.write(op, bytes(body)) if item.kind == items.RESULT]
        assert len(results) <= 1
        assert story.machine.digest == digest(story.arena)


def test_samples_of_the_digest_do_not_depend_on_how_entries_came_in_blocks() -> None:
    """Nodes compare them by index, and one may have got in two blocks what another got in one."""
    one, other = Story(), Story()
    entries = [make_entry(EPOCH) for _ in range(300)]
    one.apply(entries)
    for at in range(0, 300, 7):
        other.apply(entries[at : at + 7])
    assert one.machine.newest_sample == other.machine.newest_sample == 256
    assert one.machine.sample_at(128) == other.machine.sample_at(128) != one.machine.sample_at(256)
    assert one.machine.digest_chain == other.machine.digest_chain
    assert one.machine.sample_at(256) == (one.machine.digest, one.machine.digest_chain)
    assert one.machine.sample_at(300) is None


def test_a_difference_stays_in_the_chain_when_the_trees_are_equal_again() -> None:
    one, other = Story(), Story()
    for story in (one, other):
        story.session()
    one.create(b"/a")
    other.create(b"/b")
    for story in (one, other):
        story.apply([make_entry(EPOCH) for _ in range(130)])
    assert one.machine.sample_at(128) != other.machine.sample_at(128)
    assert one.machine.digest_chain != other.machine.digest_chain
    one.create(b"/b")
    other.create(b"/a")
    one.apply([make_entry(EPOCH) for _ in range(130)])
    other.machine.begin_chain(one.machine.digest_chain)
    assert one.machine.newest_sample == 256
    assert other.machine.digest_chain == one.machine.digest_chain
