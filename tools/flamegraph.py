"""A flame graph: folded stacks in, an SVG out, whose frames tell themselves, zoom and can be searched for in any browser.

    python tools/flamegraph.py FOLDED [SVG] [--title TEXT]

A line of FOLDED is a stack from its root to its leaf, frames parted by `;`, a blank, and how often it was seen.  The end of a
frame's name says of what kind it is, which gives its colour: `_[k]` the kernel, `_[c]` fastzk's compiled core, `_[p]` Python,
`_[i]` the interpreter, none of them: anybody's compiled code.

The root is at the top.  A frame is as wide as the share of the samples that it is in, and stands below its caller; its
neighbours are sorted by name, so left and right mean nothing.  What flamegraph.js does needs no more than this file."""

import argparse
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

Stack = tuple[str, ...]

WIDTH = 1400
ROW = 17
TOP = 46  # what stands above the frames: the title, and what the mouse is on
CHARACTER = 6.62  # how wide one is, in pixels; flamegraph.js cuts names by the same
PIXELS_MIN = 0.25  # a frame below that is left out, with all that it calls
KINDS = {"_[k]": "kernel", "_[c]": "core", "_[p]": "python", "_[i]": "interpreter"}
# Of each kind: hue, its spread, saturation and lightness in percent.
COLOURS = {
    "python": (210, 18, 68, 72),
    "interpreter": (262, 14, 45, 76),
    "core": (135, 24, 45, 64),
    "kernel": (32, 12, 88, 68),
    "other": (4, 12, 68, 74),
}
SCRIPT = Path(__file__).with_suffix(".js")
STYLE = """
text { font: 11px monospace; fill: #111; pointer-events: none; }
#title { font-size: 15px; }
.button { pointer-events: all; cursor: pointer; text-decoration: underline; }
.frame { cursor: pointer; }
.frame:hover rect { stroke: #000; }
.above { opacity: 0.5; }
.found rect { fill: #d32ee6; }
"""


@dataclass
class Frame:
    """A function called by one chain of callers, and how many samples it is in."""

    name: str = "all"
    count: int = 0
    callees: dict[str, "Frame"] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How many frames one upon another begin here."""
        return 1 + max((callee.depth for callee in self.callees.values()), default=0)


@dataclass(frozen=True)
class Box:
    """A frame where it is drawn: left edge and width are shares of the whole."""

    frame: Frame
    left: float
    width: float
    depth: int


def tree_of(stacks: Mapping[Stack, int]) -> Frame:
    """All stacks, joined from the root on."""
    root = Frame()
    for stack, count in stacks.items():
        here = root
        here.count += count
        for name in stack:
            here = here.callees.setdefault(name, Frame(name))
            here.count += count
    return root


def boxes_of(root: Frame) -> Iterator[Box]:
    """What is wide enough to be drawn, callers before callees."""
    waiting = [Box(root, 0.0, 1.0, 0)]
    while waiting:
        box = waiting.pop()
        yield box
        left = box.left
        for _, callee in sorted(box.frame.callees.items()):
            width = callee.count / root.count
            if width * WIDTH >= PIXELS_MIN:
                waiting.append(Box(callee, left, width, box.depth + 1))
            left += width


def shown(name: str) -> tuple[str, str]:
    """A frame's name as it is read, and its kind."""
    return (name[:-4], KINDS[name[-4:]]) if name[-4:] in KINDS else (name, "other")


def colour(name: str, kind: str) -> str:
    """The same for the same name in every graph, so that two of them can be compared."""
    hue, spread, saturation, lightness = COLOURS[kind]
    mixed = zlib.crc32(name.encode())
    return f"hsl({hue + mixed % (2 * spread + 1) - spread},{saturation}%,{lightness + mixed // 64 % 9 - 4}%)"


def drawn(box: Box, total: int) -> str:
    """One frame of the SVG."""
    name, kind = shown(box.frame.name)
    told = f"{name}: {box.frame.count:,} samples, {100 * box.frame.count / total:.2f} %"
    left, width, top = box.left * WIDTH, box.width * WIDTH, TOP + box.depth * ROW
    fits = int((width - 4) / CHARACTER)
    text = name if len(name) <= fits else name[: fits - 2] + ".." if fits >= 4 else ""
    return (
        f'<g class="frame" data-left="{box.left:.7f}" data-width="{box.width:.7f}" data-depth="{box.depth}" '
        f"data-name={quoteattr(name)}><title>{escape(told)}</title>"
        f'<rect x="{left:.2f}" y="{top}" width="{max(width - 0.4, 0.2):.2f}" height="{ROW - 1}" rx="1" '
        f'fill="{colour(name, kind)}"/>'
        f'<text x="{left + 3:.2f}" y="{top + 12}">{escape(text)}</text></g>'
    )


def flame_graph(stacks: Mapping[Stack, int], title: str) -> str:
    """The SVG of some stacks.  Raises ValueError when there is no sample in them."""
    root = tree_of(stacks)
    if root.count == 0:
        raise ValueError(f"{title}: there is no sample to be drawn")
    height = TOP + root.depth * ROW + 8
    legend = "".join(
        f'<tspan dx="14" fill="{colour("", kind)}">&#9632;</tspan><tspan> {text}</tspan>'
        for kind, text in zip(COLOURS, ("Python", "interpreter", "compiled core", "kernel", "other"), strict=True)
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fcfcfa"/>',
        f'<text id="title" x="4" y="18">{escape(title)}</text>',
        f'<text x="{WIDTH - 640}" y="18">{legend}</text>',
        f'<text id="search" class="button" x="{WIDTH - 130}" y="18">search</text>',
        f'<text id="whole" class="button" x="{WIDTH - 70}" y="18">whole</text>',
        '<text id="told" x="4" y="36"> </text>',
        f'<text id="share" x="{WIDTH - 130}" y="36"> </text>',
        *(drawn(box, root.count) for box in boxes_of(root)),
        f"<script><![CDATA[{SCRIPT.read_text(encoding='utf-8')}]]></script>",
        "</svg>\n",
    ]
    return "\n".join(parts)


def parse_folded(lines: Iterator[str]) -> Counter[Stack]:
    """Stacks and their counts.  Raises ValueError, naming the line, when one has no count."""
    stacks: Counter[Stack] = Counter()
    for number, line in enumerate(lines, 1):
        stack, _, count = line.strip().rpartition(" ")
        if not stack or not count.isdigit():
            raise ValueError(f"line {number} is no stack with a count: {line!r}")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def folded(stacks: Mapping[Stack, int]) -> str:
    """The lines that parse_folded reads, sorted."""
    return "".join(sorted(f"{';'.join(stack)} {count}\n" for stack, count in stacks.items()))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folded", type=Path)
    parser.add_argument("svg", type=Path, nargs="?", help="FOLDED with the ending .svg when left out")
    parser.add_argument("--title", help="the file's name when left out")
    options = parser.parse_args()
    svg = options.svg or options.folded.with_suffix(".svg")
    try:
        with options.folded.open(encoding="utf-8") as lines:
            svg.write_text(flame_graph(parse_folded(lines), options.title or options.folded.stem), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"flamegraph: {error}", file=sys.stderr)
        return 2
    print(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
