"""The pages of the report: the goals' table, the plots and all figures, as one HTML file and as Markdown with SVG files.

Rule: nothing here is written by hand but the templates (bench/templates); each verdict and number comes from the figures, with the
conditions they were taken under and the spread of their turns."""

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from figures import Condition
from goals import GOALS
from plots import PLOTS, Picture, draw, split
from results import Results, Series, Spread, load, number
from verdicts import Row, judge, unmatched

TEMPLATES = Path(__file__).resolve().parent / "templates"
SVG_BYTES_MAX = 100_000  # of all plots together: they are part of the repository
UNITS = {"us": "µs", "1/s": "/s"}


def with_unit(told: str, unit: str) -> str:
    """A number and its unit, as they are written."""
    unit = UNITS.get(unit, unit)
    return told + (unit if unit in ("/s", "%") else f" {unit}" if unit else "")


def amount(value: float, unit: str) -> str:
    """A figure with its unit."""
    return with_unit(number(value), unit)


def spread(found: Spread | None, unit: str = "") -> str:
    """`median (lowest to highest)`; a single turn has no spread, and says so."""
    if found is None:
        return ""
    told = amount(found.median, unit)
    if found.turns == 1:
        return f"{told} (1 turn)"
    return f"{told} ({number(found.low)} to {number(found.high)}; {found.turns} turns)"


def conditions(given: Mapping[str, Condition]) -> str:
    """In words, as the scenario calls them."""
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) and not isinstance(value, bool) else
                     f"{name.replace('_', ' ')} {value}" for name, value in given.items())  # fmt: skip


def bound(row: Row) -> str:
    """What was asked for: `>= 30 x zookeeper`."""
    goal = row.goal
    told = f"{'≥' if goal.at_least else '≤'} "
    if goal.beside is None:
        told += with_unit(f"{goal.bound:,g}", goal.unit)
    else:
        told += f"{goal.bound:g} × " + _beside(row)
    return told


def _beside(row: Row) -> str:
    beside = row.goal.beside
    assert beside is not None, "only a ratio has another side"
    words = [beside.system if beside.system != row.goal.system else "", beside.measure, conditions(beside.conditions)]
    return " ".join(word for word in words if word)


def table_of(series: Sequence[Series]) -> dict[str, Any]:
    """All figures of a scenario: what all share above, a line for each series."""
    shared, differing = split(series)
    lines = [[one.system, one.measure, *(str(one.conditions.get(name, "")) for name in differing), spread(one.spread, one.unit)]
             for one in series]  # fmt: skip
    return {
        "shared": conditions(shared),
        "columns": ["system", "measure", *differing, "median (lowest to highest)"],
        "lines": lines,
    }


def content(results: Results) -> dict[str, Any]:
    """What both templates show."""
    rows = [judge(goal, results) for goal in GOALS]
    pictures: list[Picture] = []
    missing = []
    for plot in PLOTS:
        picture = draw(plot, results)
        if picture is None:
            missing.append(plot.title)
        else:
            pictures.append(picture)
    runs = results.runs
    return {
        "machine": results.machine,
        "others": results.others.conditions if results.others else {},
        "rows": rows,
        "counts": {verdict: sum(row.verdict == verdict for row in rows) for verdict in dict.fromkeys(row.verdict for row in rows)},
        "pictures": pictures,
        "missing": missing,
        "runs": runs,
        "commits": sorted({run.commit for run in runs.values()}),
        "small": sorted(name for name, run in runs.items() if run.scale != 1.0),
        "broken": sorted(name for name, run in runs.items() if not run.is_whole),
        "tables": {name: table_of(found) for name in results.scenarios if (found := results.find(name))},
    }


def environment(is_html: bool) -> Environment:
    """The templates, with what they call."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "amount": lambda figure: amount(figure.value, figure.unit),
        "spread": spread,
        "number": number,
        "conditions": conditions,
        "bound": bound,
        "sentence": lambda text: text[:1].upper() + text[1:],
        "data_uri": lambda svg: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(),
        "cell": lambda text: str(text).replace("|", "\\|"),
    }
    return made


def make(book: Path, html: Path, markdown: Path) -> int:
    """Writes both; returns the exit status.  Raises OSError when a page cannot be written."""
    try:
        results = load(book)
    except FileNotFoundError:
        print(f"{book}: no figures yet; `python bench/report.py run` takes them", file=sys.stderr)
        return 1
    except ValueError as bad:
        print(f"{bad}\nwhat was written before and behind it is whole: remove that line", file=sys.stderr)
        return 1
    shown = content(results)
    for told in unmatched(shown["rows"]):
        print(f"WARNING: no figure for a goal: {told}", file=sys.stderr)
    plots = markdown.with_suffix("")
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(environment(is_html=True).get_template("report.html.j2").render(shown), encoding="utf-8")
    markdown.parent.mkdir(parents=True, exist_ok=True)
    text = environment(is_html=False).get_template("performance.md.j2").render({**shown, "plots": plots.name})
    markdown.write_text(text, encoding="utf-8")
    sizes = _write_plots(plots, shown["pictures"])
    print(f"{html} and {markdown}: {len(shown['rows'])} goals, {len(shown['pictures'])} plots of {sizes:,} bytes")
    if sizes > SVG_BYTES_MAX:
        print(f"WARNING: the plots are more than {SVG_BYTES_MAX:,} bytes together", file=sys.stderr)
    return 0


def _write_plots(folder: Path, pictures: Sequence[Picture]) -> int:
    """Bytes of all plots; those of an earlier page are removed first."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for picture in pictures:
        (folder / f"{picture.plot.name}.svg").write_text(picture.svg, encoding="utf-8")
    return sum(len(picture.svg.encode()) for picture in pictures)
