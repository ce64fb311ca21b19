"""Goal: the verdicts of the report are those that the figures deserve, and no figure is picked for being the better one.

Method: books of made-up figures, and goals of our own; each verdict is reached once from each side of its bound."""

import re

import pytest

from figures import Condition, Figure
from goals import GOALS, Beside, Goal
from results import Results, Spread, gather
from verdicts import judge, unmatched

LOAD: dict[str, Condition] = {"op": "getData", "connections": 30}


def turns(system: str, values: list[float], measure: str = "per_second", unit: str = "1/s", **more: Condition) -> list[Figure]:
    return [Figure("made", system, measure, value, unit, LOAD | more, turn) for turn, value in enumerate(values, 1)]


def begun(scenario: str, measure: str = "begun", value: float = 0.0, commit: str = "c0ffee", scale: float = 1.0) -> Figure:
    return Figure("run", scenario, measure, value, "s", {"commit": commit, "scale": scale})


def ratio_goal(bound: float, at_least: bool = True) -> Goal:
    return Goal("a ratio", "made", "per_second", LOAD, bound, at_least=at_least, beside=Beside("zookeeper"))


@pytest.mark.parametrize(
    ("bound", "at_least", "verdict"),
    [
        (250.0, False, "falls short"),
        (300.0, False, "holds at the median"),
        (400.0, False, "holds"),
        (400.0, True, "falls short"),
        (300.0, True, "holds at the median"),
        (200.0, True, "holds"),
    ],
)
def test_a_bound_of_the_figure_itself(bound: float, at_least: bool, verdict: str) -> None:
    goal = Goal("a figure", "made", "bytes_per_znode", LOAD, bound, "bytes", at_least)
    row = judge(goal, gather(turns("fastzk", [400.0, 200.0, 300.0], "bytes_per_znode", "bytes")))
    assert row.verdict == verdict
    assert row.figure == Spread(300.0, 200.0, 400.0, 3)
    assert row.ratio is None


def test_a_ratio_is_taken_turn_by_turn() -> None:
    """The machine became three times slower between the turns: the ratio of the medians would be another."""
    results = gather(turns("fastzk", [300.0, 100.0, 90.0]) + turns("zookeeper", [10.0, 10.0, 3.0]))
    row = judge(ratio_goal(30), results)
    assert row.ratio == row.zookeeper == Spread(30.0, 10.0, 30.0, 3)
    assert row.verdict == "holds at the median"
    assert judge(ratio_goal(31), results).verdict == "falls short"
    assert judge(ratio_goal(10), results).verdict == "holds"


def test_a_ratio_to_something_with_fewer_turns_is_one_to_its_median() -> None:
    row = judge(ratio_goal(3), gather(turns("fastzk", [30.0, 60.0, 90.0]) + turns("zookeeper", [5.0, 15.0])))
    assert row.ratio == Spread(6.0, 3.0, 9.0, 3)


def test_beside_a_floor_the_ratio_to_zookeeper_is_told_too() -> None:
    goal = Goal("beside a floor", "made", "p50_us", LOAD, 1.3, beside=Beside("floor"))
    figures = [*turns("fastzk", [12.0], "p50_us"), *turns("floor", [10.0], "p50_us"), *turns("zookeeper", [48.0], "p50_us")]
    row = judge(goal, gather(figures))
    assert row.verdict == "holds"
    assert row.ratio == Spread(1.2, 1.2, 1.2, 1)
    assert row.zookeeper == Spread(0.25, 0.25, 0.25, 1)


def test_beside_its_own_figure_under_other_conditions() -> None:
    goal = Goal("growth", "made", "per_second", {"znodes": 10**7}, 1.5, beside=Beside(conditions={"znodes": 1000}))
    results = gather(turns("fastzk", [2.0], znodes=1000) + turns("fastzk", [2.5], znodes=10**7))
    assert judge(goal, results).verdict == "holds"
    results = gather(turns("fastzk", [2.0], znodes=1000) + turns("fastzk", [3.5], znodes=10**7))
    assert judge(goal, results).verdict == "falls short"


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ([], "it left no figures"),
        (turns("zookeeper", [1.0]), "no figure is fastzk per_second op=getData connections=30"),
        (turns("fastzk", [1.0]), "no figure is zookeeper per_second"),
        (turns("fastzk", [1.0]) + turns("zookeeper", [0.0]), "zero"),
        (turns("fastzk", [1.0], window=20) + turns("fastzk", [2.0], window=50), "2 series .* they differ in window"),
    ],
)
def test_what_no_figure_speaks_of_is_not_measured_and_says_why(figures: list[Figure], why: str) -> None:
    row = judge(ratio_goal(1), gather(figures))
    assert row.verdict == "not measured"
    assert re.search(why, row.why)
    assert bool(unmatched([row])) == bool(figures), "only a scenario that ran can have the wrong words"


def test_a_figure_in_another_unit_is_not_compared() -> None:
    row = judge(Goal("gap", "made", "gap", LOAD, 200, "ms"), gather(turns("fastzk", [0.1], "gap", "s")))
    assert row.verdict == "not measured"
    assert "is in s, not in ms" in row.why


def test_only_the_last_run_of_a_scenario_counts() -> None:
    results = gather([begun("made"), *turns("fastzk", [1.0]), begun("made"), *turns("fastzk", [2.0, 3.0])])
    [series] = results.find("made")
    assert series.values == [2.0, 3.0]
    assert not results.runs["made"].is_whole


def test_done_is_what_ran_to_its_end_from_the_same_sources_at_the_same_scale() -> None:
    results = gather([begun("whole"), begun("whole", "took_s", 7.0), begun("failed"), begun("failed", "failed_after_s", 7.0)])
    assert results.is_done("whole", "c0ffee", 1.0)
    assert not results.is_done("whole", "c0ffee", 0.5)
    assert not results.is_done("whole", "decade", 1.0)
    assert not results.is_done("failed", "c0ffee", 1.0)
    assert not results.is_done("never", "c0ffee", 1.0)
    unknown = gather([begun("whole", commit=""), begun("whole", "took_s", commit="")])
    assert not unknown.is_done("whole", "", 1.0), "nobody knows what was measured"


def test_every_goal_of_the_project_is_in_the_table_once() -> None:
    rows = [judge(goal, Results()) for goal in GOALS]
    assert {row.verdict for row in rows} == {"not measured"}
    assert len({(goal.what, goal.bound) for goal in GOALS}) == len(GOALS)
