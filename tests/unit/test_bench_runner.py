"""Goal: whoever starts all scenarios and goes away finds what could be measured, is told what could not, and goes on from there.

Method: the real runner and real processes, on a folder of made-up scenarios: one that works, one that fails, one that hangs."""

from collections import Counter
from pathlib import Path

import pytest

import runner
from figures import figures
from results import load

WORKS = '''"""Works."""
from figures import Figure
def run(book, scale):
    for turn in (1, 2):
        book.note(Figure("{name}", "fastzk", "p50_us", 10.0 * turn * scale, "us", {{"op": "getData"}}, turn))
'''
FAILS = '"""Fails."""\ndef run(book, scale):\n    raise RuntimeError("no disk")\n'
HANGS = '"""Hangs."""\nimport threading\ndef run(book, scale):\n    threading.Event().wait()\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made_up"
    made.mkdir()
    (made / "a_fails.py").write_text(FAILS)
    (made / "b_works.py").write_text(WORKS.format(name="b_works"))
    (made / "_helper.py").write_text("raise AssertionError('not a scenario')\n")
    return made


def test_a_failure_is_told_at_the_end_and_only_what_is_not_done_is_run_again(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, names = tmp_path / "figures.jsonl", runner.listed(folder)
    assert names == ["a_fails", "b_works"]
    assert runner.run(runner.Plan(names, path, folder=folder)) == 1
    told = capfd.readouterr()
    assert "RuntimeError: no disk" in told.err
    assert told.err.strip().splitlines()[-1].startswith("FAILED: a_fails: exit status 1, after")
    assert [series.values for series in load(path).find("b_works")] == [[10.0, 20.0]], "the failure stopped the other"
    assert load(path).machine is not None

    (folder / "a_fails.py").write_text(WORKS.format(name="a_fails"))
    assert runner.run(runner.Plan(names, path, folder=folder)) == 0
    told = capfd.readouterr()
    assert "b_works: done already" in told.out
    assert "all scenarios ran to their ends" in told.out
    begun = Counter(figure.system for figure in figures(path) if figure.measure == "begun")
    assert begun == {"a_fails": 2, "b_works": 1}

    assert runner.run(runner.Plan(names, path, folder=folder)) == 0, "nothing is left to do, and no machine to be described"
    assert sum(figure.system == "machine" for figure in figures(path)) == 2


def test_what_is_done_is_run_again_when_asked_for_and_takes_the_place_of_the_first(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    for scale in (0.5, 0.1):
        assert runner.run(runner.Plan(["b_works"], path, scale, is_again=True, folder=folder)) == 0
    assert sum(figure.measure == "begun" for figure in figures(path)) == 2
    assert [series.values for series in load(path).find("b_works")] == [[1.0, 2.0]]


def test_when_the_minutes_are_over_a_scenario_is_stopped_and_the_rest_left(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "a_hangs.py").write_text(HANGS)
    path = tmp_path / "figures.jsonl"
    assert runner.run(runner.Plan(["a_hangs", "b_works"], path, minutes=1 / 60, folder=folder)) == 1
    told = capfd.readouterr().err
    assert "FAILED: a_hangs: it was stopped" in told
    assert "FAILED: b_works: not begun" in told
    assert not load(path).runs["a_hangs"].is_whole


def test_a_name_that_is_none_is_refused_before_anything_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.jsonl"
    assert runner.run(runner.Plan(["b_works", "versed"], path, folder=folder)) == 2
    assert "no such scenario: versed; there are a_fails, b_works" in capsys.readouterr().err
    assert not path.exists()


def test_the_scenarios_of_the_project_say_what_they_measure() -> None:
    names = runner.listed()
    assert "curves" in names
    for name in names:
        text = (runner.SCENARIOS / f"{name}.py").read_text()
        assert text.startswith(('"""', "#!")), f"{name} does not say what it measures"
        assert "def run(book: Book, scale: float) -> None:" in text
