"""Goal: an operation that has come to cost some percent more instructions, or less, is noticed, on any machine and however busy.

Method: valgrind counts all rows (bench/instructions.py), once; each must be what bench/instructions.json says, within its margin.
Where nothing can be counted, or the file's counts are those of another compiler, that test is skipped and says why.  The others
show that a change is seen, and what the rows' own asserts say without valgrind."""

import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"

sys.path.append(str(BENCH))
instructions: ModuleType = importlib.import_module("instructions")


def dump(row: str, count: int, total: int) -> str:
    return f"part: 1\n\ndesc: Timerange: Basic block 0 - 9\ndesc: Trigger: Client Request: {row} x {count}\n\ntotals: {total}\n"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of counts of the test's own."""
    path = tmp_path / "instructions.json"
    path.write_text(
        '{"make": {"compiler": "gcc 1", "python": "3"}, "margin_percent": {"create": 10},'
        ' "instructions": {"create": 1000, "getData": 1000, "ping": 10}}'
    )
    monkeypatch.setattr(instructions, "FILE", path)
    return path


def test_no_operation_costs_more_or_less_than_is_written() -> None:
    try:
        changes = instructions.checked()
    except (instructions.Uncountable, instructions.Incomparable) as why:
        pytest.skip(f"INSTRUCTIONS ARE NOT COMPARED: {why}")
    told = "\n".join(map(str, changes))
    assert all(change.is_within for change in changes), (
        f"what one operation costs has changed (row, written, counted):\n{told}\n"
        "If that is meant: `python bench/instructions.py --write`, and say so in the commit."
    )


def test_every_row_does_what_it_says() -> None:
    rows = runpy.run_path(str(BENCH / "counted.py"))
    rows["main"](None, 20)
    assert list(rows["ROWS"]) == list(instructions.read()["instructions"])


def test_the_cost_of_one_is_the_difference_of_twice_as_many() -> None:
    dumps = {
        "out.10": dump("create, twice", 20, 5000),
        "out.9": dump("create, twice", 10, 3000),
        "out.2": dump("getData", 20, 1900),
        "out.1": dump("getData", 10, 1000),
    }
    assert list(instructions.costs(dumps).items()) == [("getData", 90.0), ("create, twice", 200.0)]


def test_a_change_beyond_the_margin_is_told(written: Path) -> None:
    found = {each.name: each for each in instructions.compare({"create": 1090, "getData": 940, "ping": 10.4, "sync": 7})}
    assert {name: each.is_within for name, each in found.items()} == {
        "create": True, "getData": False, "ping": True, "sync": False,
    }  # fmt: skip
    assert str(found["getData"]).endswith("-6.00 %   MORE THAN 5 %")
    assert not instructions.compare({"create": 1000, "getData": 1000})[2].is_within, "a row that is gone"


def test_counts_of_another_compiler_are_not_compared(written: Path) -> None:
    assert instructions.differences({"compiler": "gcc 1", "python": "3"}) == []
    assert instructions.differences({"compiler": "gcc 2", "python": "3"}) == ["compiler was gcc 1, here it is gcc 2"]


def test_a_missing_valgrind_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(instructions.Uncountable, match="apt-get install valgrind"):
        instructions.count()
