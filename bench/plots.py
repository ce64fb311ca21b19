"""The plots of the report, as data, and how they are drawn (matplotlib, as SVG).

Rules: a plot shows medians, with a bar from the lowest to the highest turn.  It names scenario, measure and the condition along its
x axis; whatever other conditions differ among its series stand in the legend, those that do not stand below the plot.  Same
figures, same bytes: no date, no random name inside."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator

from figures import Condition
from results import Results, Series, Spread, number

COLORS = {"fastzk": "#1b6ca8", "zookeeper": "#c8553d", "etcd": "#588b3f", "floor": "#777777", "kazoo": "#b8860b"}
OTHER_COLORS = ("#6a4c93", "#2a9d8f", "#8d6e63")
LINES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
SIZE_INCHES = (7.0, 3.8)
BAR_INCHES = 0.28
BARE_GROUP = re.compile(r"<g>\n((?:(?!</?g\b).)*?)</g>\n", re.DOTALL)  # the innermost ones
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text as text: a third of the size
    "svg.hashsalt": "fastzk",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # each text names all of them
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@dataclass(frozen=True)
class Plot:
    """One picture: `lines` over a condition, `turns` as the share of them below a value, or `bars`, one for each series."""

    name: str
    title: str
    scenario: str
    measures: Sequence[str]
    axis: str  # what is measured, for people
    x: str = ""  # the condition along the x axis
    x_axis: str = ""
    kind: Literal["lines", "turns", "bars"] = "lines"
    where: Mapping[str, Condition] = field(default_factory=dict)
    aside: Sequence[str] = ()  # conditions that tell no two series apart: what differs in these alone is put together
    is_log_x: bool = True
    is_log_y: bool = True


@dataclass(frozen=True)
class Picture:
    """A plot as it was drawn."""

    plot: Plot
    svg: str
    conditions: Mapping[str, Condition]  # the same for all that it shows


def chosen(plot: Plot, results: Results) -> list[Series]:
    """What a plot shows, in an order of its own."""
    found = [series for measure in plot.measures for series in results.find(plot.scenario, measure=measure, conditions=plot.where)]
    found = [series for series in found if plot.kind != "lines" or plot.x in series.conditions]
    places = {name: place for place, name in enumerate(COLORS)}
    return sorted(found, key=lambda one: (places.get(one.system, len(places)), one.system, plot.measures.index(one.measure)))


def split(series: Sequence[Series], besides: Sequence[str] = ()) -> tuple[dict[str, Condition], list[str]]:
    """The conditions that all share, and the names of those that differ."""
    names = dict.fromkeys(name for one in series for name in one.conditions if name not in besides)
    shared = {name: series[0].conditions[name] for name in names if all(one.fits({name: series[0].conditions.get(name, "")})
              for one in series)}  # fmt: skip
    return shared, [name for name in names if name not in shared]


def draw(plot: Plot, results: Results) -> Picture | None:
    """The plot, or None when there are no figures for it."""
    series = chosen(plot, results)
    if not series:
        return None
    shared, differing = split(series, [plot.x, *plot.aside])
    with matplotlib.rc_context(STYLE):
        width, height = SIZE_INCHES
        if plot.kind == "bars":
            height = max(2.0, 0.8 + BAR_INCHES * len(_grouped(plot, series, differing)))
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.subplots()
        {"lines": _lines, "turns": _turns, "bars": _bars}[plot.kind](axes, plot, series, differing)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": plot.title})
    return Picture(plot, _smaller(out.getvalue()), shared)


def _label(one: Series, plot: Plot, differing: Sequence[str]) -> tuple[str, str]:
    """System and variant of a series, for the legend."""
    parts = [f"{value}" if isinstance(value, str) else f"{name.replace('_', ' ')} {value:,}" for name in differing
             if (value := one.conditions.get(name)) is not None]  # fmt: skip
    if len(plot.measures) > 1:
        parts.append(re.sub("_(ns|us|ms|s)$", "", one.measure))
    return one.system, " ".join(parts)


def _grouped(plot: Plot, series: Sequence[Series], differing: Sequence[str]) -> dict[tuple[str, str], list[Series]]:
    """By system and variant; bars that are to be compared stand together."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        groups.setdefault(_label(one, plot, differing), []).append(one)
    variants = list(dict.fromkeys(variant for _, variant in groups))
    return groups if plot.kind != "bars" else dict(sorted(groups.items(), key=lambda group: variants.index(group[0][1])))


def _lines(axes: Axes, plot: Plot, series: Sequence[Series], differing: Sequence[str]) -> None:
    groups = _grouped(plot, series, differing)
    variants = list(dict.fromkeys(variant for _, variant in groups))
    for (system, variant), points in groups.items():
        points.sort(key=lambda one: float(one.conditions[plot.x]))
        place = variants.index(variant)
        spreads = [one.spread for one in points]
        middle = [spread.median for spread in spreads]
        axes.errorbar(
            [float(one.conditions[plot.x]) for one in points],
            middle,
            yerr=[
                [value - spread.low for value, spread in zip(middle, spreads, strict=True)],
                [spread.high - value for value, spread in zip(middle, spreads, strict=True)],
            ],
            label=f"{system} {variant}".strip(),
            color=color_of(system, [one.system for one in series]),
            linestyle=LINES[place % len(LINES)],
            marker=MARKS[place % len(MARKS)],
            markersize=4,
            linewidth=1.3,
            elinewidth=0.8,
        )
    _scale(axes, plot, plot.x_axis, plot.axis)
    axes.legend()


def _turns(axes: Axes, plot: Plot, series: Sequence[Series], differing: Sequence[str]) -> None:
    for place, ((system, variant), ones) in enumerate(_grouped(plot, series, differing).items()):
        values = sorted(value for one in ones for value in one.values)
        axes.step(
            values,
            [100 * (number + 1) / len(values) for number in range(len(values))],
            where="post",
            label=f"{system} {variant} ({len(values)} values)",
            color=color_of(system, [one.system for one in series]),
            linestyle=LINES[place % len(LINES)],
            linewidth=1.3,
        )
    _scale(axes, plot, plot.axis, "share of the turns, %")
    axes.set_yscale("linear")
    axes.set_ylim(0, 101)
    axes.legend()


def _bars(axes: Axes, plot: Plot, series: Sequence[Series], differing: Sequence[str]) -> None:
    groups = _grouped(plot, series, differing)
    spreads = [Spread.of([value for one in ones for value in one.values]) for ones in groups.values()]
    middle = [spread.median for spread in spreads]
    places = range(len(groups))
    axes.barh(
        places,
        middle,
        xerr=[
            [value - spread.low for value, spread in zip(middle, spreads, strict=True)],
            [spread.high - value for value, spread in zip(middle, spreads, strict=True)],
        ],
        color=[color_of(system, [one.system for one in series]) for system, _ in groups],
        height=0.6,
        error_kw={"elinewidth": 0.8},
    )
    axes.set_yticks(places, [f"{system} {variant}".strip() for system, variant in groups])
    for place, spread in zip(places, spreads, strict=True):
        axes.annotate(number(spread.median), (spread.high, place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(plot.axis)
    axes.xaxis.set_major_formatter(FuncFormatter(_number))


def _scale(axes: Axes, plot: Plot, x_axis: str, y_axis: str) -> None:
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    for is_log, axis, scale in ((plot.is_log_x, axes.xaxis, axes.set_xscale), (plot.is_log_y, axes.yaxis, axes.set_yscale)):
        if is_log:
            scale("log")
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,)))
        else:
            axes.set_ylim(bottom=0) if axis is axes.yaxis else axes.set_xlim(left=0)
        axis.set_major_formatter(FuncFormatter(_number))
    axes.minorticks_off()


def _number(value: float, _: int | None) -> str:
    """1,000,000 as 1M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def color_of(system: str, systems: Sequence[str]) -> str:
    """A system has the same colour everywhere; those we do not know get what is left, in their order."""
    strangers = [name for name in dict.fromkeys(systems) if name not in COLORS]
    return COLORS[system] if system in COLORS else OTHER_COLORS[strangers.index(system) % len(OTHER_COLORS)]


def _smaller(svg: str) -> str:
    """Without what no browser needs: the prologue, comments, groups of nothing, thousandths of a point.

    Styles, which are most of what is left, are said once each."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    styles = {style: f"s{place}" for place, style in enumerate(dict.fromkeys(re.findall(r' style="([^"]*)"', svg)))}
    svg = re.sub(r' style="([^"]*)"', lambda found: f' class="{styles[found[1]]}"', svg)
    svg = svg.replace("</style>", "".join(f"\n.{name}{{{style}}}" for style, name in styles.items()) + "</style>", 1)
    svg = re.sub(r"\n\s*", "\n", svg).strip() + "\n"
    while (without := BARE_GROUP.sub(r"\1", svg)) != svg:
        svg = without
    return svg


PLOTS = [
    Plot("systems", "Requests per second of 30 connections", "versus", ["per_second"], "requests per second", kind="bars",
         where={"connections": 30, "file_system": "disk"}),
    Plot("throughput", "Throughput against connections", "curves", ["per_second"], "requests per second", "connections",
         "connections, each with a window of 50", where={"sweep": "connections"}),
    Plot("latency-reads", "Latency of getData against load", "curves", ["p50_us", "p99_us"], "microseconds", "rate",
         "requests per second, offered", where={"sweep": "rate", "op": "getData"}, aside=["load_percent"]),
    Plot("latency-writes", "Latency of setData against load", "curves", ["p50_us", "p99_us"], "microseconds", "rate",
         "requests per second, offered", where={"sweep": "rate", "op": "setData"}, aside=["load_percent"]),
    Plot("values", "Throughput against the size of the values", "curves", ["per_second"], "requests per second", "value_bytes",
         "bytes of each value", where={"sweep": "value_bytes"}),
    Plot("growth", "Cost of a getData against the number of znodes", "growth", ["cpu_ns", "wall_ns"], "nanoseconds for each",
         "znodes", "znodes in the tree", where={"op": "getData", "mode": "pipelined"}),
    Plot("listing", "Cost of a listing against the number of children", "growth", ["p50_us"], "microseconds", "children",
         "children", where={"op": "getChildren"}),
    Plot("memory", "Memory of a znode", "memory", ["bytes_per_znode"], "bytes", kind="bars"),
    Plot("restart", "From the start of a node to its first answer", "restart", ["first_read_s"], "seconds", kind="bars",
         aside=["blocks", "to_apply"]),
    Plot("failover", "The longest time without an answer when the leader is lost", "failover", ["gap_ms"], "milliseconds",
         kind="turns", aside=["client"]),
    Plot("fanout", "One change, told to many watchers", "fanout", ["first_ms", "last_ms"], "milliseconds", kind="bars",
         aside=["watchers"]),
    Plot("idle", "What idleness costs", "idle", ["cpu_percent"], "percent of a core", kind="bars",
         aside=["pings_per_second", "nodes"]),
    Plot("pyclient", "The Python client, one call after the other", "pyclient", ["per_second"], "calls per second", kind="bars",
         where={"mode": "sequential"}),
    Plot("scaling", "Throughput with more workers", "scaling", ["per_second"], "requests per second", "workers", "workers",
         is_log_x=False, is_log_y=False),
]  # fmt: skip
