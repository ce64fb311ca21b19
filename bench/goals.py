"""What fastzk is to reach, as data; the table of the report is made from it (verdicts.py, pages.py), never written.

Rules: a goal names the figures it is about in the words of their scenario.  A condition that is not named may be anything, but
there must be one series only that fits.  All goals hold for three nodes on a real disk and values of 100 bytes, on two cores, and
those beside another system for figures taken in turns in the same run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from figures import Condition


@dataclass(frozen=True)
class Beside:
    """The figure that a goal's own is divided by: what is left empty is the goal's own."""

    system: str = ""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    scenario: str = ""
    measure: str = ""


@dataclass(frozen=True)
class Goal:
    """One line of the table."""

    what: str
    scenario: str
    measure: str
    conditions: Mapping[str, Condition]
    bound: float
    unit: str = ""  # of the figure, when the bound is one of the figure itself
    at_least: bool = False  # else at most
    beside: Beside | None = None  # then the bound is one of the ratio
    system: str = "fastzk"

    def holds_for(self, value: float) -> bool:
        """True when the value is within the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


ZK = Beside("zookeeper")
KAZOO = Beside("kazoo")
FLOOR = Beside("floor")
MILLION = 1_000_000


def _load(op: str, window: int, connections: int = 30, **more: Condition) -> Mapping[str, Condition]:
    return {"op": op, "connections": connections, "window": window, "nodes": 3, "value_bytes": 100, **more}


def _one(op: str, **more: Condition) -> Mapping[str, Condition]:
    return {"op": op, "connections": 1, "window": 1, **more}


def _called(mode: str, **more: Condition) -> Mapping[str, Condition]:
    return {"op": "getData", "mode": mode, "value_bytes": 100, **more}


DISK: Mapping[str, Condition] = {"nodes": 3, "file_system": "disk"}
TMPFS: Mapping[str, Condition] = {"nodes": 3, "file_system": "tmpfs"}

GOALS = [
    # ZooKeeper's protocol
    Goal("getData, pipelined", "versus", "per_second", _load("getData", 50), 30, at_least=True, beside=ZK),
    Goal("getData, pipelined, beside a server that only echoes", "floors", "per_second", _load("getData", 50), 0.5,
         at_least=True, beside=FLOOR),
    Goal("setData, pipelined", "versus", "per_second", _load("setData", 50), 15, at_least=True, beside=ZK),
    Goal("create, pipelined", "versus", "per_second", _load("create", 20), 15, at_least=True, beside=ZK),
    Goal("90 % getData, 10 % setData, pipelined", "versus", "per_second", _load("90/10", 20), 20, at_least=True, beside=ZK),
    Goal("one getData after the other: p50", "versus", "p50_us", _one("getData", **DISK), 0.5, beside=ZK),
    Goal("one getData after the other, beside the echo, all on one core: p50", "floors", "p50_us", _one("getData", cores=1), 1.3,
         beside=FLOOR),
    Goal("one getData after the other, beside the echo, on a core each: p50", "floors", "p50_us", _one("getData", cores=2), 1.3,
         beside=FLOOR),
    Goal("one setData after the other, on disk: p50", "versus", "p50_us", _one("setData", **DISK), 0.85, beside=ZK),
    Goal("one setData after the other, on tmpfs: p50", "versus", "p50_us", _one("setData", **TMPFS), 0.85, beside=ZK),
    # the native protocol
    Goal("native getData, pipelined, single frames, beside the echo", "floors_native", "per_second",
         _load("getData", 50, batch=1), 0.8, at_least=True, beside=FLOOR),
    Goal("native getData, pipelined, batches of 50, beside the echo of single frames", "floors_native", "per_second",
         _load("getData", 50, batch=50), 1, at_least=True, beside=Beside("floor", {"batch": 1})),
    Goal("one native getData after the other, beside the echo, all on one core: p50", "floors_native", "p50_us",
         _one("getData", cores=1), 1.25, beside=FLOOR),
    Goal("one native getData after the other, beside the echo, on a core each: p50", "floors_native", "p50_us",
         _one("getData", cores=2), 1.25, beside=FLOOR),
    # the Python client
    Goal("Python client, one get after the other, all on one core", "pyclient", "per_second", _called("sequential", cores=1),
         1.4, at_least=True, beside=KAZOO),
    Goal("Python client, one get after the other, on a core each", "pyclient", "per_second", _called("sequential", cores=2),
         1.4, at_least=True, beside=KAZOO),
    Goal("Python client, one get after the other, all on one core, beside pyzmq alone", "pyclient", "per_second",
         _called("sequential", cores=1), 0.85, at_least=True, beside=FLOOR),
    Goal("Python client, one get after the other, on a core each, beside pyzmq alone", "pyclient", "per_second",
         _called("sequential", cores=2), 0.85, at_least=True, beside=FLOOR),
    Goal("Python client, pipelined gets", "pyclient", "per_second", _called("pipelined"), 20, at_least=True, beside=KAZOO),
    # what is not throughput
    Goal("memory of a znode of 100 bytes, made by a client", "memory", "bytes_per_znode",
         {"data_bytes": 100, "znodes": MILLION, "made": "through the protocol", "of": "engine RSS"}, 250, "bytes"),
    Goal("memory of a znode of 100 bytes, after a restart", "memory", "bytes_per_znode",
         {"data_bytes": 100, "znodes": MILLION, "made": "from a snapshot", "of": "engine RSS"}, 250, "bytes"),
    Goal("memory of a watch, a million of them", "memory", "bytes_per_watch", {"watches": MILLION}, 100, "bytes"),
    Goal("first read after a restart, a million znodes", "restart", "first_read_s", {"znodes": MILLION, "log": "short"}, 1, "s"),
    Goal("first read after a restart, a million znodes and a long log", "restart", "first_read_s",
         {"znodes": MILLION, "log": "long"}, 1, "s"),
    Goal("first read after a restart, a million znodes, a long log, a part of it to be applied", "restart", "first_read_s",
         {"znodes": MILLION, "log": "long, not all applied"}, 1, "s"),
    Goal("leader killed: longest gap, p50 of 100 kills", "failover", "gap_p50_ms", {"event": "kill", "events": 100}, 200, "ms"),
    Goal("leader killed: longest gap, p99 of 100 kills", "failover", "gap_p99_ms", {"event": "kill", "events": 100}, 500, "ms"),
    Goal("leader stopped (SIGSTOP): longest gap", "failover", "gap_max_ms", {"event": "stop"}, 1500, "ms"),
    Goal("one change, known to 10,000 watchers on 100 connections", "fanout", "last_ms",
         {"way": "multi", "connections": 100, "watchers": 10_000}, 50, "ms"),
    Goal("10,000 idle sessions", "idle", "cpu_percent", {"what": "sessions", "sessions": 10_000}, 5, "%"),
    Goal("an idle ensemble of three", "idle", "cpu_percent", {"what": "ensemble", "nodes": 3}, 3, "%"),
    Goal("processor time of a getData at 10 million znodes, beside 1,000", "growth", "cpu_ns",
         {"op": "getData", "mode": "pipelined", "znodes": 10 * MILLION}, 1.5, beside=Beside(conditions={"znodes": 1_000})),
    Goal("a listing, for each of its children: 100,000 beside 1,000", "growth", "cpu_ns_per_child",
         {"op": "getChildren", "children": 100_000}, 1.5, beside=Beside(conditions={"children": 1_000})),
]  # fmt: skip
