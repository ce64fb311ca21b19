"""Goal: the pages show what the figures say, all of it, with their conditions, and call what is missing missing.

Method: a book of made-up figures for every plot there is and for some of the goals; both pages are made from it and read."""

import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

import machine
import pages
import plots
import report
from figures import Book, Condition, Figure
from goals import GOALS
from results import load, number

ABOUT: dict[str, Condition] = {
    "cpu": "Made | Up 3000",
    "cores": 2,
    "memory_gib": 16.0,
    "kernel": "6.1",
    "file_system": "ext4",
    "python": "3.11.9",
    "libzmq": "4.3.5",
    "java": "17.0.15",
    "commit": "c0ffee",
    "busy_percent": 1.5,
    "load_average": 0.1,
    "date": "2026-11-23",
}
THIS = Figure("run", "machine", "fdatasync_p50_us", 812.4, "us", ABOUT)


def of_plot(plot: plots.Plot) -> Iterable[Figure]:
    """Two systems, two variants or measures, three points, three turns."""
    for measure in plot.measures:
        for system, factor in (("fastzk", 30.0), ("zookeeper", 1.0)):
            for variant in ("one", "two")[: 3 - len(plot.measures)]:
                for x in (1, 100, 10_000) if plot.x else (0,):
                    given = {**plot.where, "variant": variant, "nodes": 3} | ({plot.x: x} if plot.x else {})
                    for turn in (1, 2, 3):
                        yield Figure(plot.scenario, system, measure, factor * (x + 1) * (9 + turn), "us", given, turn)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures for every plot, and for the first goal: the ratio is 40, 40 and 20 of the 30 asked for."""
    path = tmp_path_factory.mktemp("book") / "figures.jsonl"
    goal = GOALS[0]
    with Book(path) as made:
        made.note(THIS)
        made.note(Figure("run", "others", "systems", 1, "", {"ZooKeeper": "Apache ZooKeeper 3.9.9, Java 17"}))
        for plot in plots.PLOTS:
            for figure in of_plot(plot):
                made.note(figure)
        for turn, (ours, theirs) in enumerate([(4.4e6, 1.1e5), (4.0e6, 1.0e5), (2.0e6, 1.0e5)], 1):
            made.note(Figure(goal.scenario, "fastzk", goal.measure, ours, "1/s", goal.conditions, turn))
            made.note(Figure(goal.scenario, "zookeeper", goal.measure, theirs, "1/s", goal.conditions, turn))
    return path


@dataclass(frozen=True)
class Pages:
    """What was made of a book."""

    html: str
    markdown: str
    plots: dict[str, str]


def made(book: Path, folder: Path) -> Pages:
    html, markdown = folder / "report.html", folder / "docs" / "performance.md"
    assert report.main(["page", "--figures", str(book), "--html", str(html), "--markdown", str(markdown)]) == 0
    drawn = {path.stem: path.read_text() for path in (folder / "docs" / "performance").iterdir()}
    return Pages(html.read_text(), markdown.read_text(), drawn)


@pytest.fixture(scope="module")
def both(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Both pages of that book."""
    return made(book, tmp_path_factory.mktemp("pages"))


def test_both_pages_have_every_plot(both: Pages) -> None:
    assert sorted(both.plots) == sorted(plot.name for plot in plots.PLOTS)
    for plot in plots.PLOTS:
        assert f"![{plot.title}](performance/{plot.name}.svg)" in both.markdown
        assert f'<figure id="{plot.name}">' in both.html
        assert ET.fromstring(both.plots[plot.name]).tag.endswith("svg")
        last = "two" if len(plot.measures) == 1 else plot.measures[1].partition("_")[0]
        assert f"zookeeper {last}" in both.plots[plot.name].replace("one ", "")
    assert both.html.count("data:image/svg+xml;base64,") == len(plots.PLOTS)
    assert not re.search(r'(?:src|href)="(?!data:)', both.html), "all in one file"
    assert "Not measured:" not in both.html + both.markdown


def test_the_plots_are_small_and_the_same_for_the_same_figures(book: Path, both: Pages) -> None:
    assert sum(map(len, both.plots.values())) < pages.SVG_BYTES_MAX
    again = plots.draw(plots.PLOTS[0], load(book))
    assert again is not None
    assert again.svg == both.plots[plots.PLOTS[0].name]


def test_the_table_has_every_goal_with_figure_spread_ratio_and_verdict(both: Pages) -> None:
    rows = [line for line in both.markdown.splitlines() if re.search(r"\| (\*\*)?(holds|falls short|not measured)", line)]
    assert len(rows) == len(GOALS)
    assert rows[0].split(" | ")[1:] == [
        "≥ 30 × zookeeper",
        "4,000,000/s (2,000,000 to 4,400,000; 3 turns)",
        "40.0 (20.0 to 40.0; 3 turns)",
        "40.0 (20.0 to 40.0; 3 turns)",
        "holds at the median |",
    ]
    assert rows[0].startswith(f"| {GOALS[0].what}<br><sub>connections 30, nodes 3, op getData, value bytes 100, window 50<")
    assert rows[1].endswith("| not measured |")
    assert "≤ 1,500 ms" in both.markdown
    for goal in GOALS:
        assert goal.what in both.markdown
    assert both.html.count('class="not"') == len(GOALS) - 1


def test_the_machine_stands_on_top_of_both(both: Pages) -> None:
    for page in (both.html, both.markdown):
        head = page[: page.index("The goals")]
        for told in ("Up 3000", "Linux 6.1", "ext4", "812 µs", "3.11.9", "4.3.5", "17.0.15", "1.5 %", "Apache ZooKeeper 3.9.9"):
            assert told in head
    assert r"2 × Made \| Up 3000" in both.markdown, "a bar in a cell of Markdown"


def test_what_was_small_failed_or_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.jsonl"
    about: dict[str, Condition] = {"commit": "c0ffee", "scale": 0.05}
    with Book(path) as book:
        book.note(Figure("run", "versus", "begun", 0.0, "s", about))
        book.note(Figure("versus", "fastzk", "per_second", 7.0, "1/s", {"op": "other"}))
        book.note(Figure("run", "versus", "failed_after_s", 3.0, "s", about))
    found = made(path, tmp_path)
    for page in (found.html, found.markdown):
        assert "versus ran at a smaller scale" in page
        assert "versus did not run to the end" in page
        assert plots.PLOTS[0].title in page[page.index("Not measured:") :]
        assert "not described" in page.lower()
    assert "WARNING: no figure for a goal: " + GOALS[0].what in capsys.readouterr().err


def test_a_line_that_is_no_figure_is_told(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, torn = book.read_text().splitlines(), tmp_path / "torn.jsonl"
    torn.write_text("\n".join([*lines[:3], lines[3][: len(lines[3]) // 2], *lines[4:]]) + "\n")
    words = ["--figures", str(torn), "--html", str(tmp_path / "x.html"), "--markdown", str(tmp_path / "x.md")]
    assert report.main(["page", *words]) == 1
    assert "line 4 is no figure" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_without_figures_the_page_says_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["page", "--figures", str(tmp_path / "none.jsonl")]) == 1
    assert "report.py run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (0.01234, "0.0123"), (1.0, "1.00"), (42.46, "42.5"), (999.6, "1,000"), (4_312_345.0, "4,310,000")],
)
def test_numbers_have_three_digits_that_mean_something(value: float, told: str) -> None:
    assert number(value) == told


def test_a_commit_says_whether_it_is_what_was_measured(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words], cwd=tmp_path, check=True)

    assert machine.commit(tmp_path) == "", "no repository"
    git("init", "-q")
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "a.py"
    source.write_text("1\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    told = []
    for text in ("1\n", "2\n", "3\n", "1\n"):
        source.write_text(text)
        told.append(machine.commit(tmp_path))
    assert re.fullmatch("[0-9a-f]{12}", told[0])
    assert told[3] == told[0]
    assert len({*told}) == 3, "two changes are two versions"


def test_this_machine_can_be_described(tmp_path: Path) -> None:
    figure = machine.of_machine(tmp_path)
    assert set(figure.conditions) == set(ABOUT), "the pages show what the made-up one has"
    assert figure.value > 0
    assert not any(str(tmp_path) in str(value) for value in asdict(figure).values()), "no place of this machine"
