"""Several systems under one load, in turns: A B C A B C, so that what else the machine does falls on all of them.

Rules: a turn with an error or a reply out of order is worth nothing and ends the scenario.  Figures of one load have the same
conditions for every system, so that a report finds which belong together."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fastzk.bench.load import Address, Result, Workload
from fastzk.bench.load import run as run_load
from figures import Book, Condition, Figure

DIRECTORY = Path(__file__).resolve().parents[1] / "build" / "bench"
SECONDS = 3.0  # of a turn, at scale 1
SECONDS_MIN = 0.05
WARM_UP_S = 0.5  # at the beginning of each turn
TURNS = 3
# Percent of getData and of create; what is left of 100 is setData.
MIXES = {"getData": (100, 0), "setData": (0, 0), "create": (0, 100), "90/10": (90, 0)}


@dataclass(frozen=True)
class Load:
    """What is asked, and how hard."""

    op: str
    connections: int = 30
    window: int = 50

    @property
    def conditions(self) -> dict[str, Condition]:
        """As a figure tells them."""
        return {"op": self.op, "connections": self.connections, "window": self.window}


@dataclass(frozen=True)
class Outcome:
    """Of a turn; latencies in microseconds, where the load is of one kind."""

    per_second: float
    p50_us: float | None = None
    p99_us: float | None = None

    @staticmethod
    def of(result: Result, what: str) -> "Outcome":
        """What a load of ours says.  Raises RuntimeError when it is worth nothing."""
        if not result.is_clean or not result.operations:
            errors = f"{result.errors} errors ({result.first_error})"
            raise RuntimeError(f"{what}: {result.operations} answers, {errors}, {result.disorders} out of order")
        latency = {} if result.read_us and result.write_us else result.read_us or result.write_us
        return Outcome(result.per_second, latency.get("p50"), latency.get("p99"))


@dataclass(frozen=True)
class Pace:
    """How long, at some scale."""

    seconds: float = SECONDS
    warm_up_s: float = WARM_UP_S
    turns: int = TURNS

    @staticmethod
    def at(scale: float) -> "Pace":
        """1.0 is the real thing."""
        return Pace(max(SECONDS_MIN, SECONDS * scale), WARM_UP_S * min(1.0, scale), max(1, round(TURNS * min(1.0, scale))))


# Measures a system once, in the turn of that number.  Raises RuntimeError when the turn is worth nothing.
Measure = Callable[[Load, Pace, int], Outcome]


def rotated(hosts: list[Address], turn: int) -> list[Address]:
    """The hosts with another one first in each turn: the one that a single connection goes to."""
    first = (turn - 1) % len(hosts)
    return hosts[first:] + hosts[:first]


def over_tcp(hosts: list[Address]) -> Measure:
    """Any system that speaks ZooKeeper's protocol, under fastzk's own load.

    A turn in which nothing was answered is repeated with more time: those of a smoke test are shorter than what a Java that
    has just started needs for one write."""

    def measure(load: Load, pace: Pace, turn: int) -> Outcome:
        in_order = rotated(hosts, turn)
        get_percent, create_percent = MIXES[load.op]
        workload = Workload(
            connections=load.connections,
            window=load.window,
            get_percent=get_percent,
            create_percent=create_percent,
            warm_up_s=pace.warm_up_s,
            duration_s=pace.seconds,
        )
        result = run_load(in_order, workload)
        while not result.operations and workload.duration_s < SECONDS:
            workload = replace(workload, duration_s=4 * workload.duration_s)
            result = run_load(in_order, workload)
        return Outcome.of(result, f"{load.op} at {in_order}")

    return measure


def in_turns(systems: Mapping[str, Measure], load: Load, pace: Pace) -> Iterator[tuple[int, str, Outcome]]:
    """Each system once a turn: the turn's number, the system, what came of it."""
    for turn in range(1, pace.turns + 1):
        for name, measure in systems.items():
            yield turn, name, measure(load, pace, turn)


@dataclass(frozen=True)
class Noter:
    """Puts outcomes into the book, for one scenario."""

    book: Book
    scenario: str
    pace: Pace

    def note_turns(self, systems: Mapping[str, Measure], load: Load, conditions: Mapping[str, Condition]) -> None:
        """Measures the systems in turns and notes rate and latencies."""
        about = load.conditions | {"value_bytes": Workload.value_bytes} | dict(conditions)
        for turn, name, outcome in in_turns(systems, load, self.pace):
            units = {"per_second": "1/s", "p50_us": "us", "p99_us": "us"}
            for measure, unit in units.items():
                value = getattr(outcome, measure)
                if value is not None:
                    self.book.note(Figure(self.scenario, name, measure, value, unit, about, turn))
