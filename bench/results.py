"""The figures of a book, put together: what belongs to the last run of each scenario, turns of the same thing side by side.

Rules: when a scenario was begun again, what it had noted before does not count.  A series is never averaged: it is told by the
median, the lowest and the highest of its turns.  Ratios are taken turn by turn where both sides have as many (they were taken
in turns, so what else the machine did fell on both), else to the median of the other side."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from figures import Condition, Figure, figures


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of the turns."""

    median: float
    low: float
    high: float
    turns: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        assert values, "a series has a turn at least"
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass
class Series:
    """Turns of the same thing, in the order in which they were taken."""

    scenario: str
    system: str
    measure: str
    unit: str
    conditions: Mapping[str, Condition]
    values: list[float] = field(default_factory=list)

    @property
    def spread(self) -> Spread:
        """What the turns gave."""
        return Spread.of(self.values)

    def fits(self, conditions: Mapping[str, Condition]) -> bool:
        """True when it was taken under these conditions; it may have more."""
        return all(self.conditions.get(name) == value for name, value in conditions.items())


@dataclass(frozen=True)
class Run:
    """The last run of a scenario."""

    commit: str
    scale: float
    state: str  # begun, took_s, failed_after_s
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """True when it ran to its end."""
        return self.state == "took_s"


class Results:
    """What a book says."""

    def __init__(self) -> None:
        self.machine: Figure | None = None
        self.others: Figure | None = None  # their conditions: which versions
        self.runs: dict[str, Run] = {}
        self._series: dict[tuple[object, ...], Series] = {}

    def add(self, figure: Figure) -> None:
        """One more line of the book, in their order."""
        if figure.scenario == "run":
            self._add_run(figure)
            return
        conditions = tuple(sorted((name, str(value)) for name, value in figure.conditions.items()))
        key = (figure.scenario, figure.system, figure.measure, conditions)
        if key not in self._series:
            made = Series(figure.scenario, figure.system, figure.measure, figure.unit, figure.conditions)
            self._series[key] = made
        self._series[key].values.append(figure.value)

    def _add_run(self, figure: Figure) -> None:
        if figure.system == "machine":
            self.machine = figure
            return
        if figure.system == "others":
            self.others = figure
            return
        about, name = figure.conditions, figure.system
        if figure.measure == "begun":
            self._series = {key: series for key, series in self._series.items() if series.scenario != name}
        seconds = 0.0 if figure.measure == "begun" else figure.value
        self.runs[name] = Run(str(about["commit"]), float(about["scale"]), figure.measure, seconds)

    def is_done(self, scenario: str, commit: str, scale: float) -> bool:
        """True when its last run was whole, of the same sources, at the same scale."""
        run = self.runs.get(scenario)
        return run is not None and run.is_whole and commit != "" and (run.commit, run.scale) == (commit, scale)

    @property
    def scenarios(self) -> list[str]:
        """Those that were begun, or left a figure."""
        return sorted({series.scenario for series in self._series.values()} | set(self.runs))

    def find(self, scenario: str, system: str = "", measure: str = "",
             conditions: Mapping[str, Condition] | None = None) -> list[Series]:  # fmt: skip
        """All series that fit; an empty word fits all."""
        return [
            series
            for series in self._series.values()
            if series.scenario == scenario
            and system in ("", series.system)
            and measure in ("", series.measure)
            and series.fits(conditions or {})
        ]


def ratios(one: Series, other: Series) -> list[float]:
    """One over the other, turn by turn; a turn of nothing has no ratio."""
    if len(one.values) == len(other.values):
        return [a / b for a, b in zip(one.values, other.values, strict=True) if b]
    middle = other.spread.median
    return [value / middle for value in one.values] if middle else []


def number(value: float) -> str:
    """Three digits that mean something."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{places}f}"


def gather(lines: Iterable[Figure]) -> Results:
    """Of figures in their order."""
    results = Results()
    for figure in lines:
        results.add(figure)
    return results


def load(path: Path) -> Results:
    """Of a book.  Raises OSError, and ValueError naming a line that is no figure."""
    return gather(figures(path))
