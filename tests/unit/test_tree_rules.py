"""Rules of the tree that random operations reach too seldom: wraps, limits, the system znodes, large lists, lost races.

Method: one arena in a bytearray per test, asked and told through _testing_tree."""

import itertools
import mmap
import struct

import pytest

from fastzk._core import _testing_tree as probe
from fastzk._core import tree
from fastzk._core.arena import Arena

OPEN_ACL = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
READ_ACL = b"\0\0\0\1\0\0\0\x01\0\0\0\5world\0\0\0\6anyone"
BAD_ARGUMENTS, NO_NODE, BAD_VERSION, SYSTEM_ERROR = -8, -101, -103, -1
EPHEMERAL, SEQUENTIAL = 1, 2
STAT_FIELDS = (
    *("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner"),
    *("data_length", "num_children", "pzxid"),
)
MAX, MIN = 2**31 - 1, -(2**31)


@pytest.fixture
def arena() -> Arena:
    arena = Arena.create(bytearray(1 << 20))
    tree.format_tree(arena)
    return arena


def stat(arena: Arena, path: bytes) -> dict[str, int]:
    answer = probe.stat(arena, probe.find(arena, path))
    assert answer is not None
    return dict(zip(STAT_FIELDS, struct.unpack(">qqqqiiiQiiq", answer), strict=True))


def create(arena: Arena, path: bytes, flags: int = 0, owner: int = 0, data: bytes = b"") -> tuple[int, bytes | None]:
    return probe.create(arena, path, data, OPEN_ACL, flags, owner, arena.applied_zxid + 1, 1)


def delete(arena: Arena, path: bytes) -> int:
    return probe.delete(arena, path, -1, arena.applied_zxid + 1)


def test_a_new_tree_looks_like_zookeepers(arena: Arena) -> None:
    assert sorted(probe.paths(arena)) == [b"/", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota"]
    root = stat(arena, b"/")
    assert (root["cversion"], root["num_children"]) == (-1, 1)
    system = stat(arena, b"/zookeeper")
    assert (system["cversion"], system["num_children"]) == (-2, 2)
    assert {name: value for name, value in stat(arena, b"/zookeeper/config").items() if value} == {"aversion": -1}
    acls = [probe.acl(arena, probe.find(arena, path)) for path in (b"/", b"/zookeeper/config")]
    assert acls == [(OPEN_ACL, 4), (READ_ACL, 1)]
    assert create(arena, b"/s-", SEQUENTIAL)[1] == b"/s-0000000000"


def test_a_tree_is_made_once(arena: Arena) -> None:
    with pytest.raises(ValueError, match="already"):
        tree.format_tree(arena)


@pytest.mark.parametrize(
    ("stored", "made", "after"),
    [
        (0, b"/p/0000000000", 1),
        (1234567890, b"/p/1234567890", 1234567891),
        (MAX, b"/p/2147483647", MIN),
        (MIN, b"/p/-2147483648", MIN + 1),
        (-1, b"/p/-000000001", 0),
    ],
)
def test_sequence_numbers_wrap_as_javas_do(arena: Arena, stored: int, made: bytes, after: int) -> None:
    create(arena, b"/p")
    probe.set_counters(arena, b"/p", 0, stored)
    assert create(arena, b"/p/", SEQUENTIAL) == (0, made)
    expected = (2 * after - 1 + 2**31) % 2**32 - 2**31
    assert stat(arena, b"/p")["cversion"] == expected


@pytest.mark.parametrize(("before", "after"), [(0, 1), (MAX, MIN), (MIN, MIN + 1), (-3, -2), (-2, -1)])
def test_versions_wrap_as_javas_do(arena: Arena, before: int, after: int) -> None:
    create(arena, b"/v")
    probe.set_counters(arena, b"/v", before, 0)
    assert probe.set_data(arena, b"/v", b"", before, 9, 2) == 0
    assert stat(arena, b"/v")["version"] == after


def test_deletes_do_not_count_as_children_but_set_the_parents_pzxid(arena: Arena) -> None:
    create(arena, b"/p")
    create(arena, b"/p/a")
    create(arena, b"/p/b")
    delete(arena, b"/p/a")
    parent = stat(arena, b"/p")
    assert (parent["cversion"], parent["num_children"], parent["pzxid"]) == (3, 1, 4)
    assert (parent["mzxid"], parent["version"]) == (1, 0)
    assert create(arena, b"/p/s", SEQUENTIAL)[1] == b"/p/s0000000002"


@pytest.mark.parametrize("path", [b"", b"a", b"/zookeeper/", b"/"])
def test_malformed_paths_are_bad_arguments(arena: Arena, path: bytes) -> None:
    assert create(arena, path) == (BAD_ARGUMENTS, None)


def test_sizes_have_limits(arena: Arena) -> None:
    assert create(arena, b"/" + b"x" * 65523)[0] == 0
    assert create(arena, b"/" + b"y" * 65523, SEQUENTIAL)[0] == 0
    assert create(arena, b"/" + b"x" * 65524)[0] == BAD_ARGUMENTS
    large = bytes((1 << 24) + 1)
    assert create(arena, b"/d", data=large)[0] == BAD_ARGUMENTS
    assert create(arena, b"/d", data=large[1:])[0] == SYSTEM_ERROR, "larger than this arena"
    assert probe.set_data(arena, b"/", large, -1, 9, 1) == BAD_ARGUMENTS
    assert probe.set_data(arena, b"/", large[1:], -1, 9, 1) == SYSTEM_ERROR


def test_the_root_stays(arena: Arena) -> None:
    assert delete(arena, b"/") == BAD_ARGUMENTS


@pytest.mark.parametrize("session_id", [0, 1 << 63, 0xFF << 56 | 5])
def test_marks_of_containers_and_ttls_are_no_sessions(arena: Arena, session_id: int) -> None:
    assert probe.create_session(arena, session_id, 1, bytes(16), 1, 1) == 0


def test_an_ephemeral_needs_its_session(arena: Arena) -> None:
    assert create(arena, b"/e", EPHEMERAL, 5)[0] == -112
    probe.create_session(arena, 5, 1, bytes(16), 1, 1)
    assert create(arena, b"/e", EPHEMERAL, 5)[0] == 0
    assert stat(arena, b"/e")["owner"] == 5
    assert probe.close_session(arena, 5, 9) == 1
    assert probe.find(arena, b"/e") == 0
    assert stat(arena, b"/")["pzxid"] == 9


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_ephemerals_leave_their_sessions_list_in_any_order(arena: Arena, order: tuple[int, ...]) -> None:
    probe.create_session(arena, 5, 1, bytes(16), 1, 1)
    left = [b"/e%d" % i for i in range(4)]
    for path in left:
        create(arena, path, EPHEMERAL, 5)
    for i in order:
        delete(arena, b"/e%d" % i)
        left.remove(b"/e%d" % i)
        session = probe.session(arena, 5)
        assert session is not None
        assert session["ephemerals"] == left[::-1]


def test_many_sessions_share_few_buckets(arena: Arena) -> None:
    ids = [1 << 56 | i for i in range(1000)]
    for session_id in ids:
        assert probe.create_session(arena, session_id, 1, bytes(16), 1, 1)
    for session_id in ids[::2]:
        probe.close_session(arena, session_id, 1)
    assert probe.sessions(arena) == ids[1::2][::-1]
    for i, session_id in enumerate(ids):
        assert (probe.session(arena, session_id) is None) == (i % 2 == 0)


@pytest.mark.timeout(60)
def test_a_hundred_thousand_children_come_and_go() -> None:
    """Every bucket splits, the child list moves some thirty times, and at the end the heap is tiled by blocks."""
    arena = Arena.create(mmap.mmap(-1, 1 << 28))
    tree.format_tree(arena)
    create(arena, b"/p")
    count = 100_000
    for i in range(count):
        assert create(arena, b"/p/%d" % i)[0] == 0
    answer = probe.children(arena, probe.find(arena, b"/p"), 0)
    assert answer is not None
    assert answer[:4] == count.to_bytes(4, "big")
    assert stat(arena, b"/p")["num_children"] == count
    assert all(probe.find(arena, b"/p/%d" % i) for i in range(count))
    assert not probe.find(arena, b"/p/%d" % count)
    for i in range(count - 3):
        assert delete(arena, b"/p/%d" % i) == 0
    sizes = [size for _, size, what in probe.blocks(arena) if what == "children"]
    assert max(sizes) <= 256, "an emptied list gives its block back"
    at = arena.heap_offset
    for offset, size, _ in probe.blocks(arena):
        assert offset == at
        at += size
    assert arena.counters()["digest"] == tree.digest(arena)


def test_a_listing_that_has_lost_its_race_ends_early(arena: Arena) -> None:
    create(arena, b"/p")
    for i in range(300):
        create(arena, b"/p/%d" % i)
    ref = probe.find(arena, b"/p")
    sequence = probe.read_begin(arena)
    assert probe.children(arena, ref, sequence) is not None
    create(arena, b"/q")
    assert probe.children(arena, ref, sequence) is None
    assert probe.children(arena, ref, 0) is not None, "the writer is never interrupted"


def test_the_index_goes_on_when_its_buckets_are_used_up() -> None:
    """A region of few buckets: the chains grow, and every znode is still found."""
    arena = Arena.create(bytearray(1 << 16))
    tree.format_tree(arena)
    made = 0
    while create(arena, b"/%d" % made)[0] == 0:
        made += 1
    assert made > 200
    assert all(probe.find(arena, b"/%d" % i) for i in range(made))
    assert all(delete(arena, b"/%d" % i) == 0 for i in range(made))


def test_a_full_arena_refuses_and_changes_nothing() -> None:
    arena = Arena.create(bytearray(1 << 16))
    tree.format_tree(arena)
    i = 0
    while create(arena, b"/%d" % i, data=bytes(1000))[0] == 0:
        i += 1
    before = arena.counters()
    assert create(arena, b"/more", data=bytes(1000))[0] == SYSTEM_ERROR
    assert probe.set_data(arena, b"/0", bytes(1025), -1, 999, 2) == SYSTEM_ERROR
    after = arena.counters()
    assert {name: after[name] for name in ("znode_count", "data_bytes", "digest", "acl_count")} == {
        name: before[name] for name in ("znode_count", "data_bytes", "digest", "acl_count")
    }
    assert delete(arena, b"/0") == 0
    assert create(arena, b"/more", data=bytes(1000))[0] == 0


def test_an_arena_too_small_for_its_tree_says_so() -> None:
    arena = Arena.create(bytearray(1 << 16))
    while probe.alloc(arena, 16):
        pass
    with pytest.raises(MemoryError):
        tree.format_tree(arena)
