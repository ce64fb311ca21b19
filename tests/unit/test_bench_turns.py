"""Goal: what the comparing scenarios note is complete and comparable: every system, every turn, the same conditions; what could not
be measured is told.

Method: systems that are cheap and real: the echo server twice, for the order and for the shape of figures; then scenarios at a
hundredth of their scale, with nodes of fastzk alone.  A load that fails must leave no figure."""

import os
from collections import Counter
from pathlib import Path

import pytest

import etcd
import foreign
import pinning
import turns
import zookeeper
from fastzk.bench.echo import echoing
from fastzk.bench.load import Result
from fastzk.testing.ensemble import processes_of, wait_for
from fastzk.testing.maven import Unavailable
from figures import Book, Figure, figures
from scenarios import floors, floors_native, versus
from turns import Load, Noter, Outcome, Pace, over_tcp

SCALE = 0.01


def taken(path: Path) -> list[Figure]:
    """The figures of the book, checked as far as all of them are alike."""
    found = list(figures(path))
    for figure in found:
        assert figure.value > 0, figure
        assert figure.unit == {"per_second": "1/s", "p50_us": "us", "p99_us": "us"}[figure.measure]
        assert figure.conditions["value_bytes"] == 100
    return found


def series(found: list[Figure], system: str) -> Counter[str]:
    """How many figures a system has of each measure and conditions."""
    return Counter(str((figure.measure, sorted(figure.conditions.items()))) for figure in found if figure.system == system)


def test_systems_take_turns_and_are_noted_alike(tmp_path: Path) -> None:
    pace = Pace(0.02, 0.0, 2)
    with echoing() as address, Book(tmp_path / "book") as book:
        systems = {"a": over_tcp([address]), "b": over_tcp([address, address])}
        order = [(turn, name) for turn, name, _ in turns.in_turns(systems, Load("getData", 2, 5), pace)]
        noter = Noter(book, "made", pace)
        for op in turns.MIXES:
            noter.note_turns(systems, Load(op, 2, 5), {"nodes": 1})
    assert order == [(turn, name) for turn in (1, 2) for name in "ab"]
    found = taken(tmp_path / "book")
    assert series(found, "a") == series(found, "b")
    assert set(series(found, "a").values()) == {2}
    # The mix has no latency of its own: reads and writes are not one kind.
    measured = {(figure.conditions["op"], figure.measure) for figure in found}
    ops = ("getData", "setData", "create")
    assert measured == {(op, what) for op in ops for what in ("per_second", "p50_us", "p99_us")} | {("90/10", "per_second")}


def test_a_single_connection_goes_round_the_hosts() -> None:
    hosts = [("a", 1), ("b", 2), ("c", 3)]
    assert [turns.rotated(hosts, turn)[0] for turn in (1, 2, 3, 4)] == [*hosts, hosts[0]]
    assert sorted(turns.rotated(hosts, 2)) == hosts


@pytest.mark.parametrize("result", [Result(1.0, 10, errors=1), Result(1.0, 10, disorders=1), Result(0.0, 0)])
def test_a_turn_that_is_worth_nothing_ends_the_scenario(result: Result) -> None:
    with pytest.raises(RuntimeError, match=r"what: .* errors"):
        Outcome.of(result, "what")


@pytest.mark.parametrize("module", [etcd, zookeeper])
def test_what_cannot_be_had_is_told_with_how_to_get_it(
    module: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(etcd, "BUILT", tmp_path)
    monkeypatch.setattr(etcd, "programs", etcd.programs.__wrapped__)
    monkeypatch.setattr(zookeeper, "classpath", zookeeper.classpath.__wrapped__)
    name = module.__name__
    with versus.running([name], 1, tmp_path) as (systems, missing):
        assert systems == {}
    assert list(missing) == [name]
    assert f"NOT MEASURED: {name}: " in capsys.readouterr().err
    assert "apt-get install" in missing[name]
    with pytest.raises(Unavailable):
        module.describe()


def test_a_server_of_others_that_ends_is_told_with_its_log(tmp_path: Path) -> None:
    commands = [["sleep", "1000"], ["sh", "-c", "echo no such luck; exit 3"]]
    with (
        pytest.raises(RuntimeError, match=r"(?s)Others: a server ended with \[None, 3\].*no such luck"),
        foreign.serving(commands, tmp_path, lambda: False, "Others"),
    ):
        pass


def test_servers_of_others_are_gone_with_all_they_wrote(tmp_path: Path) -> None:
    with foreign.home_below(tmp_path, "others") as home:
        session = home / "session"
        command = ["sh", "-c", f"sleep 1000 & echo $$ > {session}; wait"]
        with foreign.serving([command], home, lambda: session.exists() and session.read_text() != "", "Others"):
            leader = int(session.read_text())
            assert len(processes_of(leader)) == 2
        wait_for(lambda: not processes_of(leader), 5, "the server and its own child to be gone")
    assert list(tmp_path.iterdir()) == []


def test_a_load_stays_on_its_core_and_comes_back() -> None:
    before = os.sched_getaffinity(0)
    for server, client in pinning.places().values():
        with pinning.pinned_to(client):
            assert os.sched_getaffinity(0) == {client}
        assert server in before
    assert os.sched_getaffinity(0) == before


@pytest.mark.process
def test_floors_are_noted_beside_fastzk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "NODES", 1)  # three take longer to start than all the rest
    with Book(tmp_path / "book") as book:
        floors.pipelined(Noter(book, "floors", Pace.at(SCALE)))
        floors_native.synchronous(Noter(book, "floors_native", Pace.at(SCALE)))
    found = taken(tmp_path / "book")
    assert series(found, "fastzk") == series(found, "floor")
    assert set(series(found, "floor").values()) == {1}
    rates = [figure.conditions for figure in found if figure.measure == "per_second" and figure.system == "floor"]
    assert [(about["op"], about["window"], about["nodes"]) for about in rates if about["protocol"] == "zookeeper"] == [
        ("getData", 50, 1),
        ("setData", 50, 1),
        ("create", 20, 1),
        ("90/10", 20, 1),
    ]
    assert [about["cores"] for about in rates if about["protocol"] == "native"] == [
        pinning.PLACES[place] for place in pinning.places()
    ]


@pytest.mark.process
def test_versus_notes_disk_and_tmpfs(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versus, "NODES", 1)
    with Book(tmp_path / "book") as book:
        versus.measure(book, SCALE, ["fastzk"])
    rates = [figure.conditions for figure in taken(tmp_path / "book") if figure.measure == "per_second"]
    assert [(about["op"], about["connections"], about["window"], about["file_system"]) for about in rates] == [
        ("getData", 30, 50, "disk"),
        ("setData", 30, 50, "disk"),
        ("90/10", 30, 20, "disk"),
        ("getData", 1, 1, "disk"),
        ("setData", 1, 1, "disk"),
        ("create", 30, 20, "disk"),
        ("setData", 1, 1, "tmpfs"),
    ]


@pytest.mark.long
@pytest.mark.timeout(2000)
def test_versus_compares_all_three(tmp_path: Path, disk: Path) -> None:
    """Needs Java, Maven and Go; the first time etcd is built."""
    with Book(tmp_path / "book") as book:
        versus.measure(book, 0.02)
    found = taken(tmp_path / "book")
    assert series(found, "fastzk") == series(found, "zookeeper")
    extra = series(found, "etcd") - series(found, "fastzk")
    assert all("linearizable" in told for told in extra)
    assert all("tmpfs" in told for told in series(found, "fastzk") - series(found, "etcd"))
