"""Goal: the watch tables tell exactly the connections that must be told, once for each change, hold exactly what is still
waited for, and count it as ZooKeeper does.

Method: hypothesis drives them beside a dumb twin, a dict of sets of zxids that looks at every watch for every change;
hostile sizes and a million watches by hand."""

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastzk._core.watches import Watches

DATA, CHILD, PERSISTENT, RECURSIVE = 1, 2, 3, 4
KINDS = (DATA, CHILD, PERSISTENT, RECURSIVE)
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
KINDS_OF_EVENT = {
    CREATED: (DATA, PERSISTENT, RECURSIVE),
    DELETED: KINDS,
    DATA_CHANGED: (DATA, PERSISTENT, RECURSIVE),
    CHILDREN_CHANGED: (CHILD, PERSISTENT),
}
TYPES = {1: (CHILD,), 2: (DATA,), 3: KINDS, 4: (PERSISTENT,), 5: (RECURSIVE,), 0: (), 6: (), -1: (), 33: ()}
TABLES = ((DATA, PERSISTENT, RECURSIVE), (CHILD, PERSISTENT))
PATHS = [b"/", b"/a", b"/a/b", b"/a/b/c", b"/ab", b"/b", b"/" + b"x" * 200, b"/" + b"x" * 230 + b"/y", b"/" + b"y" * 4000]
ANY_CONNECTION = st.sampled_from([0, 1, 2, 3, 100, 5000])
BYTES_PER_WATCH_MAX = 100


def parents(path: bytes) -> list[bytes]:
    """All that stand above a path."""
    elements = path.split(b"/")[1:] if path != b"/" else []
    return [b"/" + b"/".join(elements[:depth]) for depth in range(len(elements))]


class Twin:
    """(path, kind, connection) -> the zxids it is armed as of."""

    def __init__(self) -> None:
        self.armed: dict[tuple[bytes, int, int], set[int]] = defaultdict(set)

    def arm(self, path: bytes, kind: int, connection: int, zxid: int) -> None:
        self.armed[path, kind, connection].add(zxid)

    def fire(self, path: bytes, event: int, zxid: int) -> set[int]:
        fired = set()
        above = parents(path) if event != CHILDREN_CHANGED else []
        for (at, kind, connection), zxids in self.armed.items():
            is_meant = (at == path and kind in KINDS_OF_EVENT[event]) or (at in above and kind == RECURSIVE)
            if is_meant and any(armed < zxid for armed in zxids):
                fired.add(connection)
                if kind in (DATA, CHILD):
                    self.armed[at, kind, connection] = {armed for armed in zxids if armed >= zxid}
        return fired

    def check(self, path: bytes, type: int, connection: int) -> bool:
        return any(self.armed[path, kind, connection] for kind in TYPES[type])

    def remove(self, path: bytes, type: int, connection: int) -> bool:
        was_there = self.check(path, type, connection)
        for kind in TYPES[type]:
            self.armed[path, kind, connection] = set()
        return was_there

    def drop(self, connection: int) -> None:
        for key in self.armed:
            if key[2] == connection:
                self.armed[key] = set()

    def counts(self, kind: int, handled: int) -> tuple[int, int]:
        """The fewest and the most records: watches that nothing can tell apart may be one record or several."""
        found = [zxids for key, zxids in self.armed.items() if key[1] == kind and zxids]
        if kind in (PERSISTENT, RECURSIVE):
            return len(found), len(found)
        return sum(len({max(armed, handled) for armed in zxids}) for zxids in found), sum(map(len, found))

    def pairs(self, kinds: tuple[int, ...]) -> set[tuple[bytes, int]]:
        return {(path, connection) for (path, kind, connection), zxids in self.armed.items() if zxids and kind in kinds}


class WatchesMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**64 - 1))
    def begin(self, seed: int) -> None:
        self.watches = Watches(seed)
        self.twin = Twin()
        self.handled = 0  # changes at or below it were fired

    @rule(
        path=st.sampled_from(PATHS),
        kind=st.sampled_from(KINDS),
        connection=ANY_CONNECTION,
        ahead=st.integers(0, 4),
    )
    def arm(self, path: bytes, kind: int, connection: int, ahead: int) -> None:
        self.watches.arm(path, kind, connection, self.handled + ahead, self.handled)
        self.twin.arm(path, kind, connection, self.handled + ahead)

    @rule(path=st.sampled_from(PATHS), event=st.sampled_from(sorted(KINDS_OF_EVENT)), step=st.integers(1, 2))
    def fire(self, path: bytes, event: int, step: int) -> None:
        zxid = self.handled + step
        fired = self.watches.fire(path, event, zxid)
        assert len(set(fired)) == len(fired), "a connection was told twice"
        assert set(fired) == self.twin.fire(path, event, zxid)
        self.handled = zxid

    @rule(path=st.sampled_from(PATHS), type=st.sampled_from(sorted(TYPES)), connection=ANY_CONNECTION)
    def remove(self, path: bytes, type: int, connection: int) -> None:
        assert self.watches.check(path, type, connection) == self.twin.check(path, type, connection)
        assert self.watches.remove(path, type, connection) == self.twin.remove(path, type, connection)
        assert not self.watches.check(path, type, connection)

    @rule(connection=st.sampled_from([0, 1, 2, 3, 100, 5000, 70000]))
    def drop(self, connection: int) -> None:
        self.watches.drop(connection)
        self.twin.drop(connection)

    @rule(step=st.sampled_from([1, 7, 1024, 100_000]))
    def list_all(self, step: int) -> None:
        listed: list[tuple[bytes, int]] = []
        first = 1
        while first:
            first, some = self.watches.listed(first, step) if step > 1 else self.watches.listed(first)
            listed += some
        assert sorted(listed) == sorted(self.twin.pairs(TABLES[0]))

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "twin"):
            return
        data, child = (self.twin.pairs(kinds) for kinds in TABLES)
        assert len(self.watches) == len(data) + len(child)
        assert self.watches.summary() == (len({pair[1] for pair in data}), len({pair[0] for pair in data}), len(data))
        assert self.watches.path_count == len({pair[0] for pair in data | child})
        for kind in KINDS:
            least, most = self.twin.counts(kind, self.handled)
            assert least <= self.watches.count_of(kind) <= most


TestWatches = WatchesMachine.TestCase
TestWatches.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def test_all_kinds_of_one_connection_on_one_path_make_one_event() -> None:
    """ZooKeeper's rule for a connection that waits several times: its two tables tell of a deletion once."""
    watches = Watches(1)
    for kind in KINDS:
        watches.arm(b"/a/b", kind, 7, 5, 5)
    watches.arm(b"/a", RECURSIVE, 7, 5, 5)
    assert watches.summary() == (1, 2, 2)
    assert len(watches) == 3
    for zxid, event in ((6, DELETED), (7, CREATED), (8, DATA_CHANGED), (9, CHILDREN_CHANGED)):
        assert watches.fire(b"/a/b", event, zxid) == [7]
    assert [watches.count_of(kind) for kind in KINDS] == [0, 0, 1, 2]


def test_recursive_watches_hear_of_all_below_and_of_no_children() -> None:
    watches = Watches(1)
    watches.arm(b"/", RECURSIVE, 1, 5, 5)
    watches.arm(b"/a", RECURSIVE, 2, 5, 5)
    watches.arm(b"/a", PERSISTENT, 3, 5, 5)
    assert sorted(watches.fire(b"/a/b/c", CREATED, 6)) == [1, 2]
    assert watches.fire(b"/ab", CREATED, 7) == [1]
    assert watches.fire(b"/a/b", CHILDREN_CHANGED, 8) == []
    assert watches.fire(b"/a", CHILDREN_CHANGED, 9) == [3]
    assert sorted(watches.fire(b"/a", DATA_CHANGED, 10)) == [1, 2, 3]
    assert watches.fire(b"/", DATA_CHANGED, 11) == [1]


def test_a_lasting_watch_is_armed_as_of_its_request() -> None:
    """Asked for twice it counts from the first time: between the two nothing may be missed."""
    watches = Watches(1)
    for kind, path in ((PERSISTENT, b"/p"), (RECURSIVE, b"/r")):
        watches.arm(path, kind, 3, 9, 5)
        assert watches.fire(path, DATA_CHANGED, 9) == []
        watches.arm(path, kind, 3, 12, 9)
        assert watches.fire(path, DATA_CHANGED, 10) == [3]
        assert watches.count_of(kind) == 1


def test_paths_as_deep_as_they_can_be() -> None:
    """A change 2048 levels down walks up to every one that has a recursive watch."""
    watches = Watches(1)
    deepest = b"/a" * 2048
    for level in range(2049):
        watches.arm(deepest[: 2 * level] or b"/", RECURSIVE, level, 1, 1)
    assert sorted(watches.fire(deepest, CREATED, 2)) == list(range(2049))
    assert sorted(watches.fire(deepest[:2], CREATED, 3)) == [0, 1]


def test_a_change_between_two_reads_leaves_the_second_watch() -> None:
    """A read at 5, a change at 7 not handled yet, a read at 9 that shows it: the event of 7 answers the first read's
    watch, and the client waits on with the second.  With one record per path the second would have been lost."""
    watches = Watches(1)
    watches.arm(b"/a", DATA, 3, 5, 5)
    watches.arm(b"/a", DATA, 3, 9, 5)
    assert watches.fire(b"/a", DATA_CHANGED, 7) == [3]
    assert watches.fire(b"/a", DATA_CHANGED, 8) == []
    assert watches.fire(b"/a", DATA_CHANGED, 10) == [3]
    assert len(watches) == 0


def test_arming_again_takes_no_memory() -> None:
    """A client that polls with a watch arms the same one at every zxid."""
    watches = Watches(1)
    for zxid in range(1, 1000):
        for kind in KINDS:
            watches.arm(b"/a", kind, 3, zxid, zxid - 1)
    assert all(watches.count_of(kind) <= most for kind, most in zip(KINDS, (2, 2, 1, 1), strict=True))
    assert len(watches) == 2


def test_a_path_no_znode_can_have_is_not_armed() -> None:
    watches = Watches(1)
    watches.arm(b"/" + b"z" * 4096, DATA, 3, 5, 5)
    assert len(watches) == 0
    assert watches.fire(b"/" + b"z" * 4096, CREATED, 6) == []


def test_what_cannot_be_is_refused() -> None:
    watches = Watches(1)
    with pytest.raises(ValueError, match="kind"):
        watches.arm(b"/a", 5, 1, 1, 1)
    with pytest.raises(ValueError, match="kind"):
        watches.count_of(0)
    for connection in (-1, 2**30):
        with pytest.raises(ValueError, match="connection"):
            watches.arm(b"/a", DATA, connection, 1, 1)


def test_a_million_watches_are_small() -> None:
    """Distinct paths of 27 bytes over 10,000 connections; then all of them are fired and the memory is used again."""
    watches = Watches(1)
    watches.arm(b"/elsewhere", RECURSIVE, 1, 1, 1)
    paths = [b"/application/member-%07d" % number for number in range(1_000_000)]
    for number, path in enumerate(paths):
        watches.arm(path, DATA, number % 10_000, 1, 1)
    held = watches.bytes_held
    assert len(watches) == watches.path_count == len(paths) + 1
    assert held <= BYTES_PER_WATCH_MAX * len(paths), f"{held / len(paths)} bytes for each watch"
    for number, path in enumerate(paths):
        assert watches.fire(path, DATA_CHANGED, 2) == [number % 10_000]
    assert len(watches) == watches.path_count == 1
    for number, path in enumerate(paths):
        watches.arm(path, CHILD, number % 10_000, 3, 3)
    for connection in range(10_000):
        watches.drop(connection)
    assert len(watches) == watches.path_count == 0
    assert watches.bytes_held == held
