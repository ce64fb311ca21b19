"""What every measurement here leaves behind: one line of JSON for each figure, which the report gathers (bench/report.py).

    with Book(Path("build/bench/figures.jsonl")) as book:
        book.note(Figure("throughput", "fastzk", "per_second", 4.3e6, "1/s", {"op": "getData", "connections": 30}, turn=2))

Rules: a figure is one turn of one measurement, never a mean over several; what it depends on stands in `conditions`, in the
words of its scenario; figures with equal scenario, system, measure and conditions are turns of the same thing."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

Condition = str | int | float | bool


@dataclass(frozen=True)
class Figure:
    """One measured value."""

    scenario: str  # the module in bench/scenarios that took it
    system: str  # fastzk, zookeeper, etcd, floor, kazoo
    measure: str  # per_second, p50_us, p99_us, bytes_per_znode, ...
    value: float
    unit: str  # 1/s, us, ms, s, bytes, %
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    turn: int = 1


class Book:
    """A context manager: the file that figures are appended to, each as it is taken.  Raises OSError."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def note(self, figure: Figure) -> None:
        """Writes one figure, and prints it."""
        self._file.write(json.dumps(asdict(figure), sort_keys=True) + "\n")
        self._file.flush()
        told = " ".join(f"{name}={value}" for name, value in figure.conditions.items())
        print(f"{figure.scenario} {figure.system} {told}: {figure.measure} {figure.value:,.6g} {figure.unit}", flush=True)


def figures(path: Path) -> Iterator[Figure]:
    """All that were noted.  Raises ValueError, naming the line, when one cannot be read."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield Figure(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: line {number} is no figure: {error}") from error
