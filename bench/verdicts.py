"""What the figures say of the goals: holds, falls short, not measured.

Rules: a goal is judged by the median of the turns; one that the median reaches and a turn does
not is said to hold "at the median".  What no figure speaks of is "not measured", with the reason, and so is what more than one
series could be meant by: no figure is picked for being the better one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from figures import Condition
from goals import Goal
from results import Results, Series, Spread, ratios

Verdict = Literal["holds", "holds at the median", "falls short", "not measured"]
ZOOKEEPER = "zookeeper"


@dataclass(frozen=True)
class Row:
    """A goal and what became of it."""

    goal: Goal
    verdict: Verdict
    why: str = ""  # nothing was measured
    unit: str = ""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    figure: Spread | None = None
    ratio: Spread | None = None  # to what the goal compares with
    zookeeper: Spread | None = None  # ratio to ZooKeeper's figure under the same conditions


def judge(goal: Goal, results: Results) -> Row:
    """What the figures say of a goal."""
    mine, why = _only(results, goal.scenario, goal.system, goal.measure, goal.conditions)
    if mine is None:
        return Row(goal, "not measured", why)
    theirs = results.find(goal.scenario, ZOOKEEPER, goal.measure, mine.conditions)
    if goal.unit not in ("", mine.unit):
        return Row(goal, "not measured", f"{goal.scenario}: {goal.measure} is in {mine.unit}, not in {goal.unit}")
    row = Row(
        goal,
        "not measured",
        unit=mine.unit,
        conditions=mine.conditions,
        figure=mine.spread,
        zookeeper=_spread(ratios(mine, theirs[0])) if len(theirs) == 1 else None,
    )
    if goal.beside is None:
        return _decided(row, mine.values)
    beside = goal.beside
    other, why = _only(
        results,
        beside.scenario or goal.scenario,
        beside.system or goal.system,
        beside.measure or goal.measure,
        {**(goal.conditions if not beside.scenario else {}), **beside.conditions},
    )
    found = ratios(mine, other) if other else []
    if not found:
        return replace(row, why=why or "what it is compared with is zero")
    return _decided(replace(row, ratio=_spread(found)), found)


def _decided(row: Row, values: Sequence[float]) -> Row:
    verdict: Verdict = "holds" if row.goal.holds_for(Spread.of(values).median) else "falls short"
    if verdict == "holds" and not all(map(row.goal.holds_for, values)):
        verdict = "holds at the median"
    return replace(row, verdict=verdict)


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread.of(values) if values else None


def _only(
    results: Results, scenario: str, system: str, measure: str, conditions: Mapping[str, Condition]
) -> tuple[Series | None, str]:
    """The one series that fits, or why there is none."""
    found = results.find(scenario, system, measure, conditions)
    if len(found) == 1:
        return found[0], ""
    told = " ".join([system, measure, *(f"{name}={value}" for name, value in conditions.items())])
    if found:
        differ = sorted({name for one in found for name, value in one.conditions.items() if not found[0].fits({name: value})})
        return None, f"{scenario}: {len(found)} series are {told}; they differ in {', '.join(differ)}"
    return None, f"{scenario}: {'no figure is ' + told if results.find(scenario) else 'it left no figures'}"


def unmatched(rows: Sequence[Row]) -> list[str]:
    """Goals whose scenario did run and has no such figure: the words of goal and scenario differ, most likely."""
    return [f"{row.goal.what}: {row.why}" for row in rows if row.why and "left no figures" not in row.why]
