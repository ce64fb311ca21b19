"""Goal: the scenarios of bench/scenarios give the figures that they promise, and what they count is so.

Method: their parts at a tiny scale, on real nodes that the tests share; what needs no node, on values that are known.  The
whole of each scenario is run at a tiny scale among the long tests."""

import contextlib
import importlib
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stage
from crowd import Crowd, connections_max, event_bytes, request, take_frames
from fastzk.testing.ensemble import Ensemble, Node
from fastzk.transport._loop import SLOT_COUNTERS
from fastzk.wire import frames, records
from figures import Book, figures
from scenarios import failover, fanout, growth, idle, memory, restart, scaling
from writers import Writers

process = pytest.mark.process
BENCH = Path(__file__).parents[2] / "bench"
MEASURES = {
    "growth": {"wall_ns", "cpu_ns", "p50_us", "p99_us", "p50_ns_per_child", "cpu_ns_per_child"},
    "memory": {"bytes_per_znode", "bytes_per_znode_added", "bytes_per_watch"},
    "restart": {"first_read_s", "cpu_s", "part_s"},
    "failover": {"gap_ms", "gap_p50_ms", "gap_p99_ms", "gap_max_ms", "connections_lost", "elections", "turns_disturbed"},
    "fanout": {"first_ms", "last_ms"},
    "idle": {"cpu_percent"},
    "scaling": {"per_second", "cpu_ns", "writable_mappings", "lines_shared"},
}
ZNODES = 2000
TINY = 0.001


class Notes(Book):
    """A book that can be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def values(self, measure: str, **conditions: object) -> list[float]:
        """Of all figures with these conditions among theirs."""
        return [
            figure.value
            for figure in figures(self.path)
            if figure.measure == measure and conditions.items() <= dict(figure.conditions).items()
        ]


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    with Notes(tmp_path / "figures.jsonl") as book:
        yield book


@pytest.fixture(scope="module")
def grown() -> Iterator[Node]:
    """A node with ZNODES znodes."""
    with contextlib.ExitStack() as stack:
        node = growth.grown_node(stack, ZNODES)
        assert node is not None
        yield node


@process
def test_growth(grown: Node, notes: Notes) -> None:
    growth.measure_reads(notes, grown, ZNODES, 1, TINY)
    growth.measure_listings(notes, grown, TINY)
    for mode in ("pipelined", "synchronous"):
        assert {"wall_ns", "p50_us"} & {figure.measure for figure in figures(notes.path) if figure.conditions["mode"] == mode}
    (wall_ns,) = notes.values("wall_ns")
    assert 20 < wall_ns < 1e6
    assert [bool(value > 0) for value in notes.values("cpu_ns_per_child")] == [True, True]
    few, many = notes.values("p50_ns_per_child")
    assert many < few, "what each listing costs anyway is shared by more children"


def test_what_does_not_fit_is_left_out_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.ExitStack() as stack:
        assert growth.grown_node(stack, 1 << 40) is None
    assert "LEFT OUT" in capsys.readouterr().out


@process
def test_memory(grown: Node, shared_ensemble: Ensemble, notes: Notes) -> None:
    memory.note_znodes(notes, grown, ZNODES, "from a snapshot", dict.fromkeys(memory.MEASURES, 0))
    engine, whole = (notes.values("bytes_per_znode", of=of)[0] for of in ("engine RSS", "node PSS"))
    assert 100 < engine < whole * 2
    memory.note_watches(notes, grown, ZNODES, ZNODES)
    assert notes.values("bytes_per_watch", watches=ZNODES)[0] < 2000
    memory.create(shared_ensemble.node(1), ZNODES)
    with Crowd.open([shared_ensemble.node(1).zk], 1) as crowd:
        assert crowd.ask([[request(1, records.GetData(memory.path_of(ZNODES - 1), False))]]) == 1


@process
def test_restart(notes: Notes) -> None:
    restart.measure(notes, {"log": "short", "znodes": ZNODES, "blocks": 100, "to_apply": 10}, 1)
    (first_read_s,), (cpu_s,) = notes.values("first_read_s"), notes.values("cpu_s")
    assert 0 < cpu_s < first_read_s * (os.cpu_count() or 1)
    assert len(notes.values("part_s")) == 5


@process
def test_a_killed_leader_is_a_gap_and_a_stopped_one_a_longer_one(shared_ensemble: Ensemble, notes: Notes) -> None:
    before = failover.epoch(shared_ensemble.leader())
    for kind in ("kill", "stop"):
        failover.fail_over(notes, shared_ensemble, kind, 1)
        gaps_ms = notes.values("gap_ms", event=kind)
        assert len(gaps_ms) == 2
        assert max(gaps_ms) == notes.values("gap_max_ms", event=kind)[0] == notes.values("gap_p50_ms", event=kind)[0]
    assert 0 < min(notes.values("gap_ms", event="kill")) < min(notes.values("gap_ms", event="stop"))
    assert min(notes.values("gap_ms", event="stop")) > 500, "a silent leader is waited for"
    assert notes.values("connections_lost") == [0, 0]
    assert failover.epoch(shared_ensemble.leader()) >= before + 2, "elections are seen by the epoch"


@process
def test_load_alone_makes_nobody_elect(shared_ensemble: Ensemble, notes: Notes) -> None:
    failover.under_load(notes, shared_ensemble, 0.005)
    assert notes.values("elections") == notes.values("turns_disturbed") == [0]


@process
def test_a_writer_that_lost_its_connection_goes_on(shared_ensemble: Ensemble) -> None:
    with Writers(shared_ensemble.nodes) as writers:
        writers.run_until_answered(10)
        shared_ensemble.node(1).kill_worker()
        writers.run_until_answered(1000)
        first, *others = writers.without(shared_ensemble.node(2))
        assert first.connections_lost == 1
        assert first.longest_gap_s > 0
        assert [other.connections_lost for other in others] == [0]


@process
def test_fanout(shared_ensemble: Ensemble, notes: Notes) -> None:
    hosts = [node.zk for node in shared_ensemble.nodes]
    fanout.measure(notes, "multi", hosts, 6, ["/fan-1", "/fan-2", "/fan-3"], 2)
    first_ms, last_ms = notes.values("first_ms", watchers=18), notes.values("last_ms", watchers=18)
    assert len(first_ms) == len(last_ms) == 2
    assert all(0 < first <= last for first, last in zip(first_ms, last_ms, strict=True))


def test_a_watcher_that_was_told_of_something_else_is_found() -> None:
    def event(path: str, kind: int = 3) -> bytes:
        return frames.frame(records.ReplyHeader(-1, 5, 0).encode() + records.WatcherEvent(kind, 3, path).encode())

    assert len(event("/a")) == event_bytes("/a")
    for heard in ([event("/b")], [event("/a")] * 2, [], [event("/a", kind=2)]):
        with pytest.raises(RuntimeError, match="was told"):
            fanout.check_heard([bytearray(b"".join(heard))], ["/a"])
    fanout.check_heard([bytearray(event("/b") + event("/a"))], ["/a", "/b"])


@process
def test_idle(grown: Node, shared_ensemble: Ensemble, notes: Notes) -> None:
    idle.with_sessions(notes, grown, 50, 0.0, 0.3)
    idle.idle(notes, "ensemble", shared_ensemble.nodes, 0.0, 0.2)
    assert all(0 < percent < 100 for percent in notes.values("cpu_percent"))
    assert notes.values("cpu_percent", what="sessions", sessions=50)
    assert notes.values("cpu_percent", what="ensemble", nodes=3)


@process
def test_scaling(notes: Notes) -> None:
    scaling.run(notes, TINY)
    assert len(notes.values("per_second")) == len(notes.values("cpu_ns")) == 2
    assert notes.values("writable_mappings") == [1]
    assert notes.values("lines_shared") == [0]


def test_a_cache_line_with_counters_of_two_workers_is_found() -> None:
    before = bytes(4 * SLOT_COUNTERS * 8)
    changed = bytearray(before)
    for word in (0, SLOT_COUNTERS - 1, SLOT_COUNTERS):
        struct.pack_into("<Q", changed, word * 8, 7)
    assert scaling.lines_shared(before, bytes(changed)) == 0
    # The same changes in a page that begins in the middle of a line.
    assert scaling.lines_shared(before, bytes(changed), first_byte=32) == 1
    with pytest.raises(RuntimeError, match="not its page"):
        scaling.lines_shared(before, before)


@process
def test_an_answer_with_an_error_is_no_answer(shared_ensemble: Ensemble) -> None:
    with Crowd.open([shared_ensemble.node(1).zk], 2) as crowd, pytest.raises(RuntimeError, match="error -101"):
        crowd.ask([[], [request(1, records.GetData("/not-there", False))]])


def test_frames_are_taken_whole() -> None:
    stream = bytearray(frames.frame(b"one") + frames.frame(b"") + frames.frame(b"three")[:-1])
    assert take_frames(stream) == [b"one", b""]
    stream += b"e"
    assert take_frames(stream) == [b"three"]
    assert stream == b""


def test_quantiles_are_values_that_were_there() -> None:
    values = [float(value) for value in range(1, 101)]
    random.Random(1).shuffle(values)
    assert [stage.quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert stage.quantile([3.0], 0.5) == stage.quantile([3.0], 0.99) == 3
    with pytest.raises(ValueError, match="no values"):
        stage.quantile([], 0.5)


def test_as_many_connections_as_descriptors_allow() -> None:
    assert connections_max(10) == 10
    assert connections_max(1 << 40) < 1 << 40


@process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_interrupted_leaves_no_node_behind(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scenarios.idle", "--book", str(tmp_path / "book"), "--scale", "0.01"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCH.parent / "src"), str(BENCH)])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as scenario:
        assert scenario.stdout is not None
        next(line for line in scenario.stdout if "without, 1 node" in line)
        children = Path(f"/proc/{scenario.pid}/task/{scenario.pid}/children").read_text().split()
        assert children
        scenario.send_signal(number)
        assert "interrupted" in scenario.stdout.read()
        assert scenario.wait(30) == 130
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@process
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MEASURES)
def test_a_whole_scenario_gives_what_it_promises(name: str, notes: Notes) -> None:
    importlib.import_module(f"scenarios.{name}").run(notes, TINY)
    found = {figure.measure for figure in figures(notes.path)}
    assert found == MEASURES[name]
    assert {figure.scenario for figure in figures(notes.path)} == {name}
