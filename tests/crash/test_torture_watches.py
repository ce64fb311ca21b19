"""A short torture of watches (torture_watches.py tells goal and method), and the proof that its judge can fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torture_watches import KINDS, WORKERS, torture

from fastzk.testing.ensemble import Address, Ensemble

pytestmark = pytest.mark.process

ROUNDS = 20_000
SPOILED_ROUNDS = 4000


@pytest.fixture(scope="module")
def hosts(disk: Path) -> Iterator[list[Address]]:
    """Two nodes, and on each two workers: events and reads come by four processes that know nothing of each other."""
    with Ensemble(2, disk, ["--workers", str(WORKERS)]) as nodes:
        yield [node.zk for node in nodes.nodes]


def test_no_event_is_late_lost_or_doubled(hosts: list[Address]) -> None:
    outcome = torture(hosts, ROUNDS, prefix=b"/true")
    assert not outcome.wrong, outcome.first_wrong
    assert outcome.events >= ROUNDS
    assert all(outcome.events_of[kind] > ROUNDS // 50 for kind in KINDS.values()), outcome.events_of


@pytest.mark.parametrize(("spoil", "names"), [("late", {"unsorted"}), ("lost", {"missing"}), ("doubled", {"doubled"})])
def test_what_is_late_lost_or_doubled_on_its_way_is_found(hosts: list[Address], spoil: str, names: set[str]) -> None:
    """The same nodes, with every hundredth event spoiled on its way to the judges."""
    outcome = torture(hosts, SPOILED_ROUNDS, spoil=spoil, prefix=f"/{spoil}".encode())
    assert names <= set(outcome.wrong), outcome.wrong
    assert not outcome.is_good


def test_a_failover_loses_no_event(disk: Path) -> None:
    """The clients of the two surviving nodes hear of every change, those of the writes that had to be sent again included."""
    with Ensemble(3, disk, ["--workers", str(WORKERS)]) as nodes:
        survivors = [node.zk for node in nodes.followers()]
        outcome = torture(survivors, ROUNDS, midway=nodes.leader().kill9)
        assert not outcome.wrong, outcome.first_wrong
        assert outcome.events >= ROUNDS
