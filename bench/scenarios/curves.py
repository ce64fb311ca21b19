"""How throughput and latency depend on the load: fastzk and Apache ZooKeeper, three nodes each, in turns (A B A B).

Three sweeps (condition `sweep`), each for getData and for setData on 1,000 znodes, over ZooKeeper's protocol:
  connections   1 to 300 connections with a window of 50: requests per second, latencies.  A closed loop, so the latencies are
                mostly those of the queue that the windows make.
  value_bytes   100, 1,000 and 10,000 bytes at 30 connections with a window of 50.
  rate          an open loop: requests leave when they are due, at 10 to 90 percent of what this server gave at 30 connections,
                and a latency counts from when its request was due.  `load_percent` is that share, `rate` the requests per
                second offered, `unsent` those that were due and not sent, the server being behind.

Both servers run all the time, and whose turn it is not is idle.  Both are warmed up first, for Java's sake.  A turn with an error
or a reply out of order ends the scenario."""

import contextlib
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import zookeeper
from fastzk.bench.load import Address, Result, Workload
from fastzk.bench.load import run as load
from fastzk.testing.ensemble import Ensemble
from figures import Book, Condition, Figure

DIRECTORY = Path(__file__).resolve().parents[2] / "build" / "bench"
NODES = 3
OPS = {"getData": 100, "setData": 0}  # percent of reads
CONNECTIONS = (1, 3, 10, 30, 100, 300)
VALUE_BYTES = (100, 1_000, 10_000)
LOAD_PERCENTS = (10, 25, 50, 75, 90)
USUAL = Workload(connections=30, window=50, value_bytes=100)
WARM_UP_S = 8.0
TURN_S = 3.0
TURN_S_MIN = 0.2  # at the smallest scale
TURNS = 3

Hosts = dict[str, list[Address]]


@dataclass(frozen=True)
class Sweep:
    """What a sweep needs to take its figures."""

    hosts: Hosts
    book: Book
    seconds: float
    turns: int

    def measure(self, system: str, op: str, workload: Workload) -> Result:
        """One turn.  Raises RuntimeError when it is worth nothing."""
        # Values of another size are other znodes: those of an earlier turn serve again as they are.
        asked = replace(workload, get_percent=OPS[op], duration_s=self.seconds, prefix=f"/values-{workload.value_bytes}")
        result = load(self.hosts[system], asked)
        if not result.is_clean:
            raise RuntimeError(f"{system} {op}: {result.errors} errors ({result.first_error}), {result.disorders} out of order")
        return result

    def note(self, system: str, op: str, result: Result, turn: int, conditions: dict[str, Condition]) -> None:
        """Rate and latencies of a turn."""
        about = {"op": op, "nodes": NODES, **conditions}
        values = {"per_second": result.per_second}
        latency = result.read_us if op == "getData" else result.write_us
        values |= {f"{name}_us": latency[name] for name in ("p50", "p99")}
        for measure, value in values.items():
            unit = "1/s" if measure == "per_second" else "us"
            self.book.note(Figure("curves", system, measure, value, unit, about, turn))

    def in_turns(self, op: str, workload: Workload, name: str, value: int) -> dict[str, float]:
        """Each system as often as there are turns, one after the other; the median rate of each."""
        rates: dict[str, list[float]] = {system: [] for system in self.hosts}
        about = conditions_of(workload) | {"sweep": name, name: value}
        for turn in range(1, self.turns + 1):
            for system in self.hosts:
                result = self.measure(system, op, workload)
                rates[system].append(result.per_second)
                self.note(system, op, result, turn, about)
        return {system: statistics.median(of_turns) for system, of_turns in rates.items()}


def conditions_of(workload: Workload) -> dict[str, Condition]:
    """What a figure depends on."""
    return {"connections": workload.connections, "window": workload.window, "value_bytes": workload.value_bytes}


@contextlib.contextmanager
def servers() -> Iterator[Hosts]:
    """Both, running at once.  Raises what either raises when it cannot be had."""
    with Ensemble(NODES, DIRECTORY, ["--max-client-cnxns", "0"]) as ensemble, zookeeper.running(NODES, DIRECTORY) as theirs:
        yield {"fastzk": [node.zk for node in ensemble.nodes], "zookeeper": theirs}


def over_rates(sweep: Sweep, op: str, most: dict[str, float]) -> None:
    """The open loop: each system at shares of its own most."""
    for percent in LOAD_PERCENTS:
        for turn in range(1, sweep.turns + 1):
            for system in sweep.hosts:
                rate = round(most[system] * percent / 100)
                result = sweep.measure(system, op, replace(USUAL, rate=float(rate)))
                about = conditions_of(USUAL) | {"sweep": "rate", "load_percent": percent, "rate": rate}
                sweep.note(system, op, result, turn, about)
                sweep.book.note(Figure("curves", system, "unsent", result.unsent, "", {"op": op, "nodes": NODES, **about}, turn))


def run(book: Book, scale: float) -> None:
    """All three sweeps.  Raises RuntimeError when a server is missing or a turn is worth nothing."""
    turns = TURNS if scale >= 0.5 else 1
    with servers() as hosts:
        sweep = Sweep(hosts, book, max(TURN_S_MIN, TURN_S * scale), turns)
        for system in hosts:
            for op in OPS:
                print(f"warming up {system}, {op}", flush=True)
                warm = replace(sweep, seconds=max(TURN_S_MIN, WARM_UP_S * scale))
                warm.measure(system, op, USUAL)
        most: dict[str, dict[str, float]] = {}
        for op in OPS:
            for connections in picked(CONNECTIONS, scale):
                found = sweep.in_turns(op, replace(USUAL, connections=connections), "connections", connections)
                if connections == USUAL.connections:
                    most[op] = found
        for op in OPS:
            for value_bytes in VALUE_BYTES:
                sweep.in_turns(op, replace(USUAL, value_bytes=value_bytes), "value_bytes", value_bytes)
        for op in OPS:
            over_rates(sweep, op, most[op])


def picked(values: Sequence[int], scale: float) -> Sequence[int]:
    """All, and for a smoke test those up to the usual."""
    return values if scale >= 0.5 else [value for value in values if value <= USUAL.connections]


if __name__ == "__main__":
    with Book(DIRECTORY / "figures.jsonl") as open_book:
        run(open_book, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
