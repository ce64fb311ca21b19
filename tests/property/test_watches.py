"""Goal: the watch tables tell exactly the connections that must be told, once, and hold exactly what is still waited for.
Method: hypothesis drives them beside a dumb twin, a dict of sets of zxids; hostile sizes and a million watches by hand."""

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastzk._core.watches import Watches

DATA, CHILD = 1, 2
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
KINDS_OF_EVENT = {CREATED: (DATA,), DELETED: (DATA, CHILD), DATA_CHANGED: (DATA,), CHILDREN_CHANGED: (CHILD,)}
PATHS = [b"/", b"/a", b"/a/b", b"/b", b"/" + b"x" * 200, b"/" + b"x" * 230, b"/" + b"y" * 4000]
BYTES_PER_WATCH_MAX = 100


class Twin:
    """(path, kind, connection) -> the zxids it is armed as of."""

    def __init__(self) -> None:
        self.armed: dict[tuple[bytes, int, int], set[int]] = defaultdict(set)

    def arm(self, path: bytes, kind: int, connection: int, zxid: int) -> None:
        self.armed[path, kind, connection].add(zxid)

    def fire(self, path: bytes, event: int, zxid: int) -> set[int]:
        fired = set()
        for (at, kind, connection), zxids in self.armed.items():
            if at == path and kind in KINDS_OF_EVENT[event] and any(armed < zxid for armed in zxids):
                fired.add(connection)
                self.armed[at, kind, connection] = {armed for armed in zxids if armed >= zxid}
        return fired

    def drop(self, connection: int) -> None:
        for key in self.armed:
            if key[2] == connection:
                self.armed[key] = set()

    def counts(self, handled: int) -> tuple[int, int]:
        """The fewest and the most records: watches that nothing can tell apart may be one record or several."""
        least = sum(len({max(armed, handled) for armed in zxids}) for zxids in self.armed.values())
        return least, sum(len(zxids) for zxids in self.armed.values())

    def paths(self) -> int:
        return len({key[0] for key, zxids in self.armed.items() if zxids})


class WatchesMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**64 - 1))
    def begin(self, seed: int) -> None:
        self.watches = Watches(seed)
        self.twin = Twin()
        self.handled = 0  # changes at or below it were fired

    @rule(
        path=st.sampled_from(PATHS),
        kind=st.sampled_from([DATA, CHILD]),
        connection=st.sampled_from([0, 1, 2, 3, 100, 5000]),
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

    @rule(connection=st.sampled_from([0, 1, 2, 3, 100, 5000, 70000]))
    def drop(self, connection: int) -> None:
        self.watches.drop(connection)
        self.twin.drop(connection)

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "twin"):
            return
        least, most = self.twin.counts(self.handled)
        assert least <= len(self.watches) <= most
        assert self.watches.path_count == self.twin.paths()


TestWatches = WatchesMachine.TestCase
TestWatches.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


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
        watches.arm(b"/a", DATA, 3, zxid, zxid - 1)
    assert len(watches) <= 2


def test_a_path_no_znode_can_have_is_not_armed() -> None:
    watches = Watches(1)
    watches.arm(b"/" + b"z" * 4096, DATA, 3, 5, 5)
    assert len(watches) == 0
    assert watches.fire(b"/" + b"z" * 4096, CREATED, 6) == []


def test_what_cannot_be_is_refused() -> None:
    watches = Watches(1)
    with pytest.raises(ValueError, match="kind"):
        watches.arm(b"/a", 3, 1, 1, 1)
    with pytest.raises(ValueError, match="connection"):
        watches.arm(b"/a", DATA, -1, 1, 1)


def test_a_million_watches_are_small() -> None:
    """Distinct paths of 27 bytes over 10,000 connections; then all of them are fired and the memory is used again."""
    watches = Watches(1)
    paths = [b"/application/member-%07d" % number for number in range(1_000_000)]
    for number, path in enumerate(paths):
        watches.arm(path, DATA, number % 10_000, 1, 1)
    held = watches.bytes_held
    assert len(watches) == watches.path_count == len(paths)
    assert held <= BYTES_PER_WATCH_MAX * len(paths), f"{held / len(paths)} bytes for each watch"
    for number, path in enumerate(paths):
        assert watches.fire(path, DATA_CHANGED, 2) == [number % 10_000]
    assert len(watches) == watches.path_count == 0
    for number, path in enumerate(paths):
        watches.arm(path, CHILD, number % 10_000, 3, 3)
    for connection in range(10_000):
        watches.drop(connection)
    assert len(watches) == watches.path_count == 0
    assert watches.bytes_held == held
