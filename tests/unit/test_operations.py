"""Goal: what clients rely on in the operations beside create, delete and setData: multi, setACL, containers, TTL znodes,
quotas, identities; what the leader relies on in its own: reap and config; and that a full arena can be emptied.

Method: short stories with the bytes spelled out.  The answers are those of Apache ZooKeeper 3.9."""

import struct
from collections.abc import Sequence

import pytest

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.reads import answer
from fastzk._core.tree import digest, format_tree
from fastzk.testing.items import CHANGE, RESULT, Item, parse_items
from fastzk.testing.model import packed

NODE_ID, WORKER, SESSION_ID = 1, 5, 0x0100000000000001
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, SET_ACL, SYNC, CHECK, MULTI, CREATE2, RECONFIG = 1, 2, 3, 4, 5, 7, 9, 13, 14, 15, 16
CREATE_CONTAINER, REAP, CREATE_TTL = 19, 20, 21
CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION, IDENTIFY = -10, -11, -12, -13
CONFIG, MEMBERS, REJOIN, RECONFIGURED = -14, -15, -16, -17
PASSWORD = b"0123456789abcdef"
OPEN = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
READ_ONLY = struct.pack(">ii", 1, 1) + packed(b"world") + packed(b"anyone")
ALICE = struct.pack(">i", 1) + packed(b"digest") + packed(b"alice:hash")
ALICES = struct.pack(">ii", 1, 31) + packed(b"digest") + packed(b"alice:hash")
TERMINATOR = struct.pack(">i?i", -1, True, -1)
TIME_MS = 1_000_000


class Story:
    """A Machine with one session and one worker, and what it is given entry by entry."""

    def __init__(self, size: int = 1 << 20) -> None:
        self.arena = Arena.create(bytearray(size))
        format_tree(self.arena)
        self.machine = Machine(self.arena, NODE_ID)
        self.machine.add_worker(WORKER)
        self.zxid = 1 << 32
        self.serial = 0
        self.attach_zxid = self.zxid
        self.apply(CREATE_SESSION, struct.pack(">i", 4000) + PASSWORD, serial=77)

    def apply(self, op: int, body: bytes, serial: int = 0, time_ms: int = TIME_MS, session_id: int = SESSION_ID) -> list[Item]:
        attach_zxid = 0 if op in (CREATE_SESSION, ATTACH_SESSION, REAP, CONFIG, MEMBERS, REJOIN) else self.attach_zxid
        entry = make_entry(op, body, session_id, attach_zxid, serial, NODE_ID, WORKER, connection=9, cxid=42)
        self.machine.apply(seal([entry], 1, self.machine.applied_index + 1, self.zxid, time_ms, 0))
        self.zxid += 1
        return parse_items(self.machine.take_items(WORKER))

    def write(self, op: int, body: bytes, time_ms: int = TIME_MS) -> Item:
        """The session's next write: its result."""
        return self.told(op, body, time_ms)[-1]

    def told(self, op: int, body: bytes, time_ms: int = TIME_MS) -> list[Item]:
        """All the worker is told of the session's next write."""
        self.serial += 1
        told = self.apply(op, body, self.serial, time_ms)
        assert told[-1].kind == RESULT
        return told

    def own(self, op: int, body: bytes, time_ms: int = TIME_MS) -> list[tuple[int, bytes]]:
        """An entry of the leader's own: the changes it brings."""
        told = self.apply(op, body, 0, time_ms, session_id=0)
        assert all(item.kind == CHANGE for item in told)
        return [(item.event, item.body) for item in told]

    def data(self, path: bytes) -> bytes | None:
        """None: there is no such znode."""
        err, _, body = answer(self.arena, GET_DATA, path, struct.pack(">i", 1) + packed(b"super") + packed(b""))
        return body[4:-68] if err == 0 else None

    def stat(self, path: bytes) -> dict[str, int]:
        err, _, body = answer(self.arena, EXISTS, path, struct.pack(">i", 1) + packed(b"super") + packed(b""))
        assert err == 0
        return unpacked_stat(body)


def unpacked_stat(stat: bytes) -> dict[str, int]:
    names = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner", "size", "children", "pzxid")
    return dict(zip(names, struct.unpack(">qqqqiiiqiiq", stat), strict=True))


def create(path: bytes, data: bytes = b"", acl: bytes = OPEN, flags: int = 0, ttl: int | None = None) -> bytes:
    return packed(path) + packed(data) + acl + struct.pack(">i", flags) + (b"" if ttl is None else struct.pack(">q", ttl))


def versioned(path: bytes, version: int = -1) -> bytes:
    return packed(path) + struct.pack(">i", version)


def set_data(path: bytes, data: bytes, version: int = -1) -> bytes:
    return packed(path) + packed(data) + struct.pack(">i", version)


def multi(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">i?i", op, False, -1) + body for op, body in parts) + TERMINATOR


def head(op: int, err: int = 0) -> bytes:
    return struct.pack(">i?i", op, False, err)


def failures(*errs: int) -> bytes:
    return b"".join(head(-1, err) + struct.pack(">i", err) for err in errs) + TERMINATOR


@pytest.fixture
def story() -> Story:
    return Story()


# multi


def test_a_multi_does_all_and_answers_each(story: Story) -> None:
    told = story.told(
        MULTI,
        multi(
            (CREATE, create(b"/a")),
            (CREATE2, create(b"/a/s-", b"xy", flags=2)),
            (SET_DATA, set_data(b"/a", b"new", 0)),
            (CHECK, versioned(b"/a", 1)),
            (SET_DATA, set_data(b"/a", b"newer", 1)),
            (DELETE, versioned(b"/a/s-0000000000")),
        ),
    )
    result = told[-1]
    assert result.err == 0
    zxid = result.zxid
    rest = result.body
    assert rest.startswith(head(CREATE) + packed(b"/a") + head(CREATE2) + packed(b"/a/s-0000000000"))
    rest = rest[len(head(CREATE) + packed(b"/a") + head(CREATE2) + packed(b"/a/s-0000000000")) :]
    assert unpacked_stat(rest[:68])["czxid"] == zxid
    assert rest[68:77] == head(SET_DATA)
    first = unpacked_stat(rest[77:145])
    assert (first["version"], first["size"], first["children"]) == (1, 3, 1), "the Stat of then, not of the end"
    assert rest[145:163] == head(CHECK) + head(SET_DATA)
    assert unpacked_stat(rest[163:231])["version"] == 2
    assert rest[231:] == head(DELETE) + TERMINATOR
    assert {item.zxid for item in told} == {zxid}
    assert [(item.event, item.body) for item in told[:-1]] == [
        (1, b"/a"), (4, b"/"), (1, b"/a/s-0000000000"), (4, b"/a"), (3, b"/a"), (3, b"/a"), (2, b"/a/s-0000000000"), (4, b"/a"),
    ]  # fmt: skip


def test_a_multi_that_fails_says_where_and_does_nothing(story: Story) -> None:
    before = story.machine.digest
    told = story.told(
        MULTI, multi((CREATE, create(b"/a")), (CREATE, create(b"/a/b")), (CHECK, versioned(b"/a", 7)), (CREATE, create(b"/c")))
    )
    assert [(item.kind, item.err, item.body) for item in told] == [(RESULT, 0, failures(0, 0, -103, -2))]
    assert story.machine.digest == before
    assert story.write(CREATE, create(b"/a")).err == 0, "the next write counts on"


def test_a_failed_multi_gives_its_sequence_numbers_back(story: Story) -> None:
    story.write(MULTI, multi((CREATE, create(b"/s-", flags=2)), (CHECK, versioned(b"/none"))))
    assert story.write(CREATE, create(b"/s-", flags=2)).body == packed(b"/s-0000000000")


def test_an_empty_multi_succeeds(story: Story) -> None:
    result = story.write(MULTI, multi())
    assert (result.err, result.body) == (0, TERMINATOR)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        multi((CREATE, create(b"/a")))[:-1],
        multi((SET_ACL, packed(b"/") + OPEN + struct.pack(">i", -1))),
        multi((GET_DATA, packed(b"/") + b"\0")),
        multi((CREATE, create(b"/a")), (EXISTS, packed(b"/") + b"\0")),
        multi((REAP, packed(b"/a"))),
        multi((CREATE, create(b"/a", flags=7))),
        multi((CREATE2, create(b"/a", flags=5))),
        multi((CREATE, create(b"/a", acl=struct.pack(">i", -1)))),
        multi((CREATE, create(b"/a")), (SET_DATA, struct.pack(">i", -1) + packed(b"") + struct.pack(">i", -1))),
    ],
)
def test_a_multi_zookeeper_cannot_decode_is_refused_as_a_whole(story: Story, body: bytes) -> None:
    result = story.write(MULTI, body)
    assert (result.err, result.body) == (-5, b"")
    assert story.machine.counts["znodes"] == 4


def test_in_a_multi_the_flags_say_what_a_create_is(story: Story) -> None:
    result = story.write(
        MULTI,
        multi(
            (CREATE, create(b"/container", flags=4)),
            (CREATE_TTL, create(b"/plain", flags=0, ttl=0)),
            (CREATE_TTL, create(b"/ttl", flags=5, ttl=9)),
        ),
    )
    assert result.body.startswith(head(CREATE2) + packed(b"/container"))
    assert head(CREATE) + packed(b"/plain") + head(CREATE2) + packed(b"/ttl") in result.body
    assert failures(-8) == story.write(MULTI, multi((CREATE_TTL, create(b"/t", flags=7, ttl=9)))).body


def test_the_end_of_a_multi_is_where_done_says_so(story: Story) -> None:
    body = head(CREATE) + create(b"/a") + struct.pack(">i?i", SET_DATA, True, 0) + b"anything"
    assert story.write(MULTI, body).body == head(CREATE) + packed(b"/a") + TERMINATOR


# setACL, reconfig


def test_set_acl_replaces_and_counts(story: Story) -> None:
    story.write(CREATE, create(b"/a"))
    told = story.told(SET_ACL, packed(b"/a") + READ_ONLY + struct.pack(">i", 0))
    assert len(told) == 1, "watches hear nothing"
    stat = unpacked_stat(told[0].body)
    assert (stat["aversion"], stat["version"], stat["mzxid"]) == (1, 0, stat["czxid"])
    assert story.write(SET_DATA, set_data(b"/a", b"")).err == -102
    assert story.write(SET_ACL, packed(b"/a") + OPEN + struct.pack(">i", 1)).err == -102, "ADMIN is gone"


@pytest.mark.parametrize(
    ("path", "acl", "version", "err"),
    [
        (b"a", struct.pack(">i", 0), 9, -8),
        (None, OPEN, -1, -8),
        (b"/none", struct.pack(">i", 0), -1, -114),
        (b"/none", OPEN, -1, -101),
        (b"/zookeeper/config", OPEN, 9, -102),
        (b"/", OPEN, 9, -103),
        (b"/", OPEN, 0, 0),
    ],
)
def test_set_acl_is_judged_in_zookeepers_order(story: Story, path: bytes | None, acl: bytes, version: int, err: int) -> None:
    assert story.write(SET_ACL, packed(path) + acl + struct.pack(">i", version)).err == err


def test_a_reconfig_tells_what_the_leader_decided(story: Story) -> None:
    story.own(MEMBERS, b"anything")
    assert [story.write(RECONFIGURED, struct.pack(">i", err)).err for err in (-14, -13, -102)] == [-14, -13, -102]
    asked = packed(b"server.4=host:1:2;3") + packed(None) * 2 + struct.pack(">q", -1)
    assert story.write(RECONFIGURED, asked).err == -5
    assert story.write(RECONFIG, asked).err == -6, "what a client sent is no verdict, and no leader logs it"
    story.own(CONFIG, b"version=1")
    told = story.write(RECONFIGURED, struct.pack(">i", 0))
    assert told.err == 0
    _, _, body = answer(story.arena, GET_DATA, b"/zookeeper/config")
    assert told.body == body
    assert unpacked_stat(told.body[-68:])["mzxid"] == told.zxid - 1


def test_a_reconfig_is_judged_by_who_asks_and_by_its_number(story: Story) -> None:
    judge, wrong_session = story.machine.judge_reconfig, SESSION_ID + 1
    assert judge(SESSION_ID, story.attach_zxid, 1, 42) == -102, "nobody has WRITE on /zookeeper/config"
    story.write(IDENTIFY, struct.pack(">i", 1) + packed(b"super") + packed(b""))
    assert judge(SESSION_ID, story.attach_zxid, 2, 42) == 0
    assert [judge(SESSION_ID, story.attach_zxid, serial, 42) for serial in (1, 3)] == [1, 1], "a repeat; behind a hole"
    assert judge(SESSION_ID, story.attach_zxid + 1, 2, 42) == -118
    assert judge(wrong_session, story.attach_zxid, 2, 42) == -112
    story.write(SET_ACL, packed(b"/zookeeper/config") + ALICES + struct.pack(">i", -1))
    story.write(IDENTIFY, ALICE)
    assert judge(SESSION_ID, story.attach_zxid, 4, 42) == 0, "an ACL may allow it to others"


def test_a_reconfig_that_was_answered_on_another_connection_is_known() -> None:
    story = Story()
    entry = make_entry(CREATE_SESSION, struct.pack(">i", 4000) + PASSWORD, SESSION_ID + 1, 0, 78, NODE_ID, WORKER, cxid=1)
    story.machine.apply(seal([entry], 1, story.machine.applied_index + 1, story.zxid, TIME_MS, 0))
    attach_zxid = story.zxid
    entry = make_entry(RECONFIGURED, struct.pack(">i", -14), SESSION_ID + 1, attach_zxid, 1, NODE_ID, WORKER, cxid=7)
    story.machine.apply(seal([entry], 1, story.machine.applied_index + 1, story.zxid + 1, TIME_MS, 0))
    assert story.machine.judge_reconfig(SESSION_ID + 1, attach_zxid, 2, 7) == 2
    assert story.machine.judge_reconfig(SESSION_ID + 1, attach_zxid, 2, 8) == -102


def test_rejoins_are_told_to_the_engine_and_change_nothing(story: Story) -> None:
    before = digest(story.arena)
    assert not story.own(REJOIN, struct.pack("<HQ", 3, 2**64 - 1))
    assert not story.own(REJOIN, struct.pack("<HQ", 3, 7)[:-1]), "malformed: nothing comes of it"
    assert not story.own(REJOIN, struct.pack("<HQ", 2, 9))
    assert story.machine.take_rejoins() == [(3, 2**64 - 1), (2, 9)]
    assert story.machine.take_rejoins() == []
    assert digest(story.arena) == before


# containers, TTL


@pytest.mark.parametrize(
    ("op", "flags", "ttl", "err"),
    [
        (CREATE, 4, None, 0), (CREATE, 5, None, -8), (CREATE, 6, None, -8), (CREATE, 7, None, -8), (CREATE2, 4, None, 0),
        (CREATE_CONTAINER, 0, None, 0), (CREATE_CONTAINER, 3, None, 0), (CREATE_CONTAINER, 5, None, -8),
        (CREATE_TTL, 5, 1, 0), (CREATE_TTL, 6, (1 << 40) - 1, 0), (CREATE_TTL, 5, 0, -8), (CREATE_TTL, 5, 1 << 40, -8),
        (CREATE_TTL, 5, -1, -8), (CREATE_TTL, 0, 5, -8), (CREATE_TTL, 4, 5, -8), (CREATE_TTL, 0, -1, -8),
    ],
)  # fmt: skip
def test_flags_and_ttl_of_single_creates(story: Story, op: int, flags: int, ttl: int | None, err: int) -> None:
    result = story.write(op, create(b"/x", flags=flags, ttl=ttl))
    assert result.err == err
    if err == 0:
        (size,) = struct.unpack_from(">i", result.body)
        path = result.body[4 : 4 + size]
        assert path == (b"/x0000000000" if flags in (2, 3, 6) else b"/x")
        assert story.stat(path)["owner"] == 0
        assert len(result.body) == 4 + size + (0 if op == CREATE else 68)
        assert story.write(CREATE, create(path + b"/child")).err == 0
        assert story.machine.counts["ephemerals"] == 0


def test_a_container_goes_when_its_last_child_has_gone(story: Story) -> None:
    story.write(CREATE_CONTAINER, create(b"/c", flags=4))
    assert story.machine.find_reapable(0, 1 << 20, TIME_MS) == (0, []), "it never had a child"
    assert story.own(REAP, packed(b"/c")) == []
    story.write(CREATE, create(b"/c/x"))
    assert story.own(REAP, packed(b"/c")) == [], "it has a child"
    story.write(DELETE, versioned(b"/c/x"))
    assert story.machine.find_reapable(0, 1 << 20, TIME_MS) == (0, [b"/c"])
    assert story.own(REAP, packed(b"/c")) == [(2, b"/c"), (4, b"/")]
    assert story.own(REAP, packed(b"/c")) == [], "said twice"
    assert story.data(b"/c") is None
    assert story.machine.digest == digest(story.arena)


def test_a_ttl_znode_goes_when_its_time_is_over(story: Story) -> None:
    story.write(CREATE_TTL, create(b"/t", flags=5, ttl=1000))
    story.write(SET_DATA, set_data(b"/t", b"x"), TIME_MS + 500)
    for time_ms, reapable in ((TIME_MS + 1400, []), (TIME_MS + 1500, []), (TIME_MS + 1501, [b"/t"])):
        assert story.machine.find_reapable(0, 1 << 20, time_ms) == (0, reapable)
    story.write(CREATE, create(b"/t/x"))
    assert story.machine.find_reapable(0, 1 << 20, TIME_MS + 9000) == (0, [])
    assert story.own(REAP, packed(b"/t"), TIME_MS + 9000) == []
    story.write(DELETE, versioned(b"/t/x"))
    assert story.own(REAP, packed(b"/t"), TIME_MS + 1500) == [], "its modification counts, and the block's time"
    assert story.own(REAP, packed(b"/t"), TIME_MS + 1501) == [(2, b"/t"), (4, b"/")]


@pytest.mark.parametrize("body", [b"", packed(None), packed(b"/none"), packed(b"/zookeeper"), packed(b"/plain"), packed(b"/e")])
def test_a_reap_of_anything_else_does_nothing(story: Story, body: bytes) -> None:
    story.write(CREATE, create(b"/plain"))
    story.write(CREATE, create(b"/e", flags=1))
    assert story.own(REAP, body) == []
    assert story.machine.counts["znodes"] == 6


def test_the_scan_finds_every_reapable_znode_step_by_step(story: Story) -> None:
    paths = [b"/t-%010d" % i for i in range(600)]
    for _ in paths:
        story.write(CREATE_TTL, create(b"/t-", flags=6, ttl=1))
    cursor, found, steps = 0, [], 0
    while True:
        cursor, more = story.machine.find_reapable(cursor, 16, TIME_MS + 2)
        found += more
        steps += 1
        if cursor == 0:
            break
    assert sorted(found) == paths
    assert steps >= 600 // 16
    cursor, more = story.machine.find_reapable(0, 1 << 20, TIME_MS + 2)
    assert cursor > 0
    assert 256 <= len(more) < 300, "a list is bounded, however many buckets are asked for"


# the configuration


def test_the_configuration_is_set_when_it_is_another(story: Story) -> None:
    before = story.stat(b"/zookeeper/config")
    assert story.own(CONFIG, b"server.1=a") == [(3, b"/zookeeper/config")]
    assert story.own(CONFIG, b"server.1=a") == []
    assert story.data(b"/zookeeper/config") == b"server.1=a"
    after = story.stat(b"/zookeeper/config")
    assert (after["version"], after["mzxid"]) == (before["version"] + 1, story.zxid - 2)
    assert story.write(SET_DATA, set_data(b"/zookeeper/config", b"mine")).err == -102


# quotas

LIMITS, STATS = b"/zookeeper/quota/q/zookeeper_limits", b"/zookeeper/quota/q/zookeeper_stats"


def quota(story: Story, limits: bytes) -> None:
    for path, data in ((b"/q", b"12345"), (b"/q/x", b"123"), (b"/zookeeper/quota/q", b""), (LIMITS, limits), (STATS, b"")):
        assert story.write(CREATE, create(path, data)).err == 0


def test_statistics_are_counted_and_kept_unseen(story: Story) -> None:
    quota(story, b"count=-1,bytes=-1")
    assert story.data(STATS) == b"count=2,bytes=8"
    before = story.stat(STATS)
    story.write(CREATE, create(b"/q/y", b"1"))
    story.write(SET_DATA, set_data(b"/q/x", b"1234567"))
    told = story.told(DELETE, versioned(b"/q/y"))
    assert [item.body for item in told if item.kind == CHANGE] == [b"/q/y", b"/q"], "no event for the statistics"
    assert story.data(STATS) == b"count=2,bytes=12"
    after = story.stat(STATS)
    assert (after.pop("size"), before.pop("size")) == (16, 15)
    assert after == before
    assert story.machine.digest == digest(story.arena)


def test_hard_limits_refuse_and_soft_ones_are_counted(story: Story) -> None:
    quota(story, b"count=2,bytes=8=;byteHardLimit=20;countHardLimit=3")
    assert story.write(CREATE, create(b"/q/y", b"1")).err == 0
    assert story.write(CREATE, create(b"/q/z")).err == -125
    assert story.write(SET_DATA, set_data(b"/q/y", b"1" * 13)).err == -125
    assert story.write(SET_DATA, set_data(b"/q/y", b"1" * 12)).err == 0
    assert story.machine.soft_breaches == 0, "where there is a hard limit the soft one is not asked"
    story.write(SET_DATA, set_data(LIMITS, b"count=2,bytes=30"))
    assert story.write(CREATE, create(b"/q/z")).err == 0
    assert story.machine.soft_breaches == 1
    assert story.data(STATS) == b"count=4,bytes=20"


def test_a_quota_is_judged_before_the_version_and_after_the_acl(story: Story) -> None:
    quota(story, b"count=-1,bytes=-1=;byteHardLimit=8")
    assert story.write(SET_DATA, set_data(b"/q/x", b"1234", 9)).err == -125
    story.write(SET_DATA, set_data(LIMITS, b"garbage"))
    assert story.write(SET_DATA, set_data(b"/q/x", b"1")).err == -5
    assert story.write(DELETE, versioned(b"/q/x")).err == 0, "deletes are never refused"


def test_a_quota_ends_with_its_limits(story: Story) -> None:
    quota(story, b"count=-1,bytes=-1=;countHardLimit=2")
    assert story.write(CREATE, create(b"/q/y")).err == -125
    story.write(DELETE, versioned(LIMITS))
    assert story.write(CREATE, create(b"/q/y")).err == 0
    assert story.data(STATS) == b"count=2,bytes=8"


def test_the_deepest_quota_counts_and_a_neighbour_does_not(story: Story) -> None:
    quota(story, b"count=-1,bytes=-1=;countHardLimit=2")
    for path in (b"/zookeeper/quota/q/x", b"/zookeeper/quota/q/x/zookeeper_limits", b"/zookeeper/quota/q/x/zookeeper_stats"):
        assert story.write(CREATE, create(path)).err == 0
    assert story.write(CREATE, create(b"/q/x/deep", b"12")).err == 0
    assert story.data(b"/zookeeper/quota/q/x/zookeeper_stats") == b"count=2,bytes=5"
    assert story.data(STATS) == b"count=2,bytes=8"
    assert story.write(CREATE, create(b"/quite")).err == 0


def test_a_closed_sessions_ephemerals_leave_the_statistics(story: Story) -> None:
    quota(story, b"count=-1,bytes=-1")
    story.write(CREATE, create(b"/q/e", b"1234", flags=1))
    assert story.data(STATS) == b"count=3,bytes=12"
    story.apply(CLOSE_SESSION, b"", story.serial + 1)
    assert story.data(STATS) == b"count=2,bytes=8"


# identities


def test_identities_speak_for_the_session_until_others_do(story: Story) -> None:
    assert story.write(CREATE, create(b"/mine", acl=ALICES)).err == 0
    assert story.write(SET_DATA, set_data(b"/mine", b"")).err == -102
    result = story.write(IDENTIFY, ALICE)
    assert (result.err, result.body) == (0, b"")
    assert story.write(SET_DATA, set_data(b"/mine", b"")).err == 0
    story.attach_zxid = story.zxid
    story.apply(ATTACH_SESSION, struct.pack(">i", 4000) + PASSWORD, serial=78)
    story.serial = 0
    assert story.write(SET_DATA, set_data(b"/mine", b"")).err == -102, "another connection is somebody else"
    story.attach_zxid = story.zxid
    story.apply(ATTACH_SESSION, struct.pack(">i", 4000) + PASSWORD + ALICE, serial=79)
    story.serial = 0
    assert story.write(SET_DATA, set_data(b"/mine", b"")).err == 0
    story.write(IDENTIFY, struct.pack(">i", 0))
    assert story.write(SET_DATA, set_data(b"/mine", b"")).err == -102


@pytest.mark.parametrize("vector", [b"\0", ALICE[:-1], ALICE + b"\0", struct.pack(">i", -1), struct.pack(">iii", 1, -1, -1)])
def test_malformed_identities_are_refused(story: Story, vector: bytes) -> None:
    story.write(IDENTIFY, ALICE)
    assert story.write(IDENTIFY, vector).err == -5
    assert story.write(CREATE, create(b"/mine", acl=struct.pack(">ii", 1, 31) + packed(b"auth") + packed(b""))).err == 0, "kept"
    (result,) = story.apply(ATTACH_SESSION, struct.pack(">i", 4000) + PASSWORD + vector, serial=78)
    assert result.err == -5
    (result,) = story.apply(CREATE_SESSION, struct.pack(">i", 4000) + PASSWORD + vector, serial=79, session_id=2)
    assert result.err == -5
    assert story.machine.counts["sessions"] == 1


# changes say who may know


def vectors(told: Sequence[Item]) -> list[tuple[int, bytes, bytes]]:
    return [(item.event, item.body[: item.connection], item.body[item.connection :]) for item in told if item.kind == CHANGE]


def test_changes_carry_the_acl_that_a_watcher_needs(story: Story) -> None:
    story.write(IDENTIFY, ALICE)
    assert vectors(story.told(CREATE, create(b"/m", acl=ALICES))) == [(1, b"/m", ALICES), (4, b"/", b"")]
    assert vectors(story.told(CREATE, create(b"/m/r", acl=READ_ONLY))) == [(1, b"/m/r", b""), (4, b"/m", ALICES)]
    assert vectors(story.told(SET_DATA, set_data(b"/m", b"x"))) == [(3, b"/m", ALICES)]
    assert vectors(story.told(DELETE, versioned(b"/m/r"))) == [(2, b"/m/r", b""), (4, b"/m", ALICES)]
    assert vectors(story.told(DELETE, versioned(b"/m"))) == [(2, b"/m", ALICES), (4, b"/", b"")]


# a full arena


def test_a_full_arena_refuses_what_grows_and_lets_go_of_what_is_there() -> None:
    story = Story(1 << 17)
    made = []
    while True:
        result = story.write(CREATE, create(b"/f-", b"x" * 500, flags=3))
        if result.err:
            break
        made.append(result.body[4:])
    assert result.err == -1
    assert len(made) > 50
    assert story.write(SET_DATA, set_data(made[0], b"y" * 3000)).err == -1
    before = story.machine.digest
    big = multi((DELETE, versioned(made[0])), (CREATE, create(b"/big", b"z" * 3000)))
    assert story.write(MULTI, big).body == failures(0, -1)
    assert story.machine.digest == before
    (result,) = story.apply(CREATE_SESSION, struct.pack(">i", 4000) + PASSWORD, serial=5, session_id=7)
    assert result.err == 0, "who wants to delete must be able to come in"
    assert story.write(DELETE, versioned(made[1])).err == 0
    assert story.write(CREATE, create(b"/again", b"x" * 500)).err == 0
    assert story.apply(CLOSE_SESSION, b"", story.serial + 1)[-1].session_id == SESSION_ID
    assert story.machine.counts["ephemerals"] == 0
