"""The compiled tree does what its plain twin does.

Goal: every error code, Stat, list, counter and digest is right after any sequence of operations, no block is lost or has two
owners, and a snapshot's pages stay as they were at the pin.  Method: hypothesis plays random operations on an arena and on
plain_tree.py, in a roomy arena and in one that soon is full; after a refusal for want of room nothing may have changed."""

import copy

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plain_tree import OPEN_ACL, READ_ACL, SYSTEM_ERROR, PlainTree

from fastzk._core import _testing_tree as probe
from fastzk._core import tree
from fastzk._core.arena import Arena

PAGE = 4096
ACLS = (OPEN_ACL, READ_ACL, b"\0\0\0\1\0\0\0\x03\0\0\0\6digest\0\0\0\3a:b", b"\0\0\0\1" + bytes(600))
SESSION_IDS = (1, 2 << 56 | 77, 3 << 56)

names = st.sampled_from([b"a", b"b", b"c", b"lock-", b"x" * 40, b"y" * 700, b"\xc3\xa4"])
data_sizes = st.sampled_from([None, 0, 1, 15, 16, 17, 100, 512, 513, 3000, 9000])
versions = st.integers(-1, 3)


def content(size: int | None, salt: int) -> bytes | None:
    return None if size is None else bytes((salt + i) % 256 for i in range(size))


def check_same(arena: Arena, twin: PlainTree) -> None:
    """Everything that can be asked of the tree, asked of both."""
    assert sorted(probe.paths(arena)) == sorted(twin.znodes)
    for path, znode in twin.znodes.items():
        ref = probe.find(arena, path)
        assert probe.stat(arena, ref) == twin.stat(path), path
        answer = probe.data(arena, ref)
        if znode.data is None:
            assert answer == b"\xff\xff\xff\xff"
        else:
            assert answer == len(znode.data).to_bytes(4, "big") + znode.data
        assert split_names(probe.children(arena, ref, 0)) == sorted(twin.children(path))
        assert probe.acl(arena, ref) == (znode.acl, twin.acl_references(znode.acl))
        below = [found for other, found in twin.znodes.items() if other.startswith(path.rstrip(b"/") + b"/") and other != b"/"]
        assert probe.weigh_below(arena, ref, 0) == (len(below), sum(len(found.data or b"") for found in below)), path
        assert probe.count_below(arena, ref, 0) == len(below), path
    assert probe.sessions(arena) == list(reversed(twin.sessions))
    for session_id, session in twin.sessions.items():
        assert probe.session(arena, session_id) == {
            "attach_zxid": session.attach_zxid,
            "attach_nonce": session.nonce,
            "last_serial": 0,
            "password": session.password,
            "timeout_ms": session.timeout_ms,
            "ephemerals": session.ephemerals,
        }
        for prefix in (b"", b"/a", b"/a/x", b"/zz"):
            listed = probe.ephemerals(arena, probe.find_session(arena, session_id), prefix, 0)
            assert listed is not None
            assert strings_of(listed) == [path for path in session.ephemerals if path.startswith(prefix)]
    check_counters(arena, twin)


def check_counters(arena: Arena, twin: PlainTree) -> None:
    counters = arena.counters()
    assert {name: counters[name] for name in twin.counters()} == twin.counters()
    assert tree.digest(arena) == counters["digest"]


def check_tiling(arena: Arena, others: list[tuple[int, int, str]]) -> None:
    """The tree's blocks and those others cover the heap, each byte once."""
    at = arena.heap_offset
    for offset, size, what in sorted(probe.blocks(arena) + others):
        assert offset == at, f"a {what} at {offset}, where the block before it ended at {at}"
        at += size
    assert at == arena.used


def split_names(vector: bytes | None) -> list[bytes]:
    assert vector is not None
    return sorted(strings_of(vector))


def strings_of(vector: bytes) -> list[bytes]:
    """The strings of a jute vector of them."""
    count, at, found = int.from_bytes(vector[:4], "big"), 4, []
    for _ in range(count):
        size = int.from_bytes(vector[at : at + 4], "big")
        found.append(vector[at + 4 : at + 4 + size])
        at += 4 + size
    assert at == len(vector)
    return found


class TreeMachine(RuleBasedStateMachine):
    @initialize(region_bytes=st.sampled_from([1 << 16, 1 << 20]))
    def start(self, region_bytes: int) -> None:
        self.region = bytearray(region_bytes)
        self.arena = Arena.create(self.region)
        tree.format_tree(self.arena)
        self.others = []  # blocks that are not the tree's
        if region_bytes < 1 << 20:  # so that it is soon full
            self.others = [(probe.alloc(self.arena, 40960) * 16, 40960, "filler")]
        self.twin = PlainTree()
        self.zxid = 0
        self.pinned: tuple[bytes, PlainTree] | None = None

    def step(self) -> tuple[int, int]:
        self.zxid += 1
        return self.zxid, self.zxid * 10

    def some_path(self, choice: int) -> bytes:
        """A path there is, or below one there is."""
        paths = list(self.twin.znodes)
        return paths[choice % len(paths)] if choice % 8 else paths[choice // 8 % len(paths)].rstrip(b"/") + b"/none"

    @rule(
        choice=st.integers(0, 10**6),
        name=names,
        size=data_sizes,
        acl=st.sampled_from(ACLS),
        flags=st.integers(0, 3),
        owner=st.sampled_from(SESSION_IDS),
    )
    def create(self, choice: int, name: bytes, size: int | None, acl: bytes, flags: int, owner: int) -> None:
        zxid, time_ms = self.step()
        path = self.some_path(choice).rstrip(b"/") + b"/" + name
        arguments = (path, content(size, choice), acl, flags, owner, zxid, time_ms)
        answer = probe.create(self.arena, *arguments)
        if answer[0] == SYSTEM_ERROR:
            assert self.is_crowded()
        else:
            assert answer == self.twin.create(*arguments)

    @rule(choice=st.integers(0, 10**6), count=st.integers(1, 30))
    def create_many(self, choice: int, count: int) -> None:
        """So that child lists move and the index splits."""
        path = self.some_path(choice).rstrip(b"/") + b"/s"
        for _ in range(count):
            zxid, time_ms = self.step()
            arguments = (path, b"", OPEN_ACL, 2, 0, zxid, time_ms)
            answer = probe.create(self.arena, *arguments)
            if answer[0] == SYSTEM_ERROR:
                assert self.is_crowded()
                return
            assert answer == self.twin.create(*arguments)

    @rule(choice=st.integers(0, 10**6), version=versions)
    def delete(self, choice: int, version: int) -> None:
        path = self.some_path(choice)
        zxid, _ = self.step()
        assert probe.delete(self.arena, path, version, zxid) == self.twin.delete(path, version, zxid)

    @rule(choice=st.integers(0, 10**6), count=st.integers(1, 40))
    def delete_many(self, choice: int, count: int) -> None:
        """The leaves below a path, so that child lists shrink."""
        parent = self.some_path(choice)
        for name in sorted(self.twin.children(parent))[:count]:
            zxid, _ = self.step()
            path = parent.rstrip(b"/") + b"/" + name
            assert probe.delete(self.arena, path, -1, zxid) == self.twin.delete(path, -1, zxid)

    @rule(choice=st.integers(0, 10**6), size=data_sizes, version=versions)
    def set_data(self, choice: int, size: int | None, version: int) -> None:
        zxid, time_ms = self.step()
        arguments = (self.some_path(choice), content(size, choice), version, zxid, time_ms)
        err = probe.set_data(self.arena, *arguments)
        if err == SYSTEM_ERROR:
            assert self.is_crowded()
        else:
            assert err == self.twin.set_data(*arguments)

    @rule(choice=st.integers(0, 10**6), acl=st.sampled_from(ACLS), version=versions)
    def set_acl(self, choice: int, acl: bytes, version: int) -> None:
        zxid, _ = self.step()
        path = self.some_path(choice)
        err = probe.set_acl(self.arena, path, acl, version, zxid)
        if err == SYSTEM_ERROR:
            assert self.is_crowded()
        else:
            assert err == self.twin.set_acl(path, acl, version)

    @rule(session_id=st.sampled_from(SESSION_IDS))
    def toggle_session(self, session_id: int) -> None:
        zxid, _ = self.step()
        if session_id in self.twin.sessions:
            assert probe.close_session(self.arena, session_id, zxid) == self.twin.close_session(session_id, zxid)
        elif probe.create_session(self.arena, session_id, 4000, bytes(range(16)), zxid, zxid + 1):
            self.twin.create_session(session_id, 4000, bytes(range(16)), zxid, zxid + 1)
        else:
            assert self.is_crowded()

    def is_crowded(self) -> bool:
        """The heap has no room above `used` for the largest block that any rule asks for."""
        return self.arena.capacity - self.arena.used < 16384

    @precondition(lambda self: self.pinned is None)
    @rule()
    def pin(self) -> None:
        self.arena.pin()
        self.pinned = (bytes(self.region), copy.deepcopy(self.twin))

    @precondition(lambda self: self.pinned is not None)
    @rule()
    def unpin(self) -> None:
        assert self.pinned is not None
        check_pinned(self.arena, *self.pinned, self.others)
        self.arena.unpin()
        self.pinned = None

    @invariant()
    def digest_is_right(self) -> None:
        check_counters(self.arena, self.twin)

    def teardown(self) -> None:
        if not hasattr(self, "arena"):
            return
        if self.pinned is not None:
            check_pinned(self.arena, *self.pinned, self.others)
        check_same(self.arena, self.twin)
        check_tiling(self.arena, self.others)


def check_pinned(arena: Arena, image: bytes, twin: PlainTree, others: list[tuple[int, int, str]]) -> None:
    """The pinned pages are those of the image, and a tree of their own."""
    rebuilt = bytearray(len(image))
    for first, end in arena.pinned_ranges():
        rebuilt[first * PAGE : end * PAGE] = arena.pinned_pages(first, end)
    assert rebuilt == image
    old = Arena.open(rebuilt, writer=True)
    check_same(old, twin)
    check_tiling(old, others)


# Without `explain`: it takes minutes, and a failing sequence of rules explains itself.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)

TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=50, deadline=None, phases=PHASES)


def test_a_create_without_room_leaves_no_empty_list() -> None:
    """A create that found room for its parent's first child list, and then none for its data, left the list behind; nobody
    gave it back when the parent went."""
    state = TreeMachine()
    state.start(region_bytes=65536)
    state.set_data(choice=1, size=9000, version=0)
    state.create(acl=OPEN_ACL, choice=0, flags=0, name=b"a", owner=1, size=None)
    state.create(acl=OPEN_ACL, choice=2, flags=0, name=b"a", owner=1, size=3000)
    state.delete(choice=2, version=0)
    state.teardown()
