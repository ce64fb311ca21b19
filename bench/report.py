"""fastzk's figures: takes all of them, and makes the page that shows them.  `make bench-report` does both.

    python bench/report.py run [--scenarios failover,idle] [--scale 0.05] [--minutes 90] [--again]
    python bench/report.py page

`run` appends to build/bench/figures.jsonl and goes on where it was interrupted (runner.py).  `page` makes, from what is there,
build/bench/report.html, all in one file, and docs/performance.md with its plots (pages.py); what was not measured is called so."""

import argparse
import sys
from pathlib import Path

import runner

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "build" / "bench" / "figures.jsonl"


def parsed(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="take the figures")
    run.add_argument("--scenarios", default="", help="names with commas between; all when not given: " + ", ".join(runner.listed()))
    run.add_argument("--minutes", type=float, default=0.0, help="the run ends after so many; what is left, the next one does")
    run.add_argument("--again", action="store_true", help="what is done already, too")
    one = commands.add_parser("scenario", help="one scenario, in this process")
    one.add_argument("name")
    for each in (run, one):
        each.add_argument("--scale", type=float, default=1.0, help="1.0 is the real thing, 0.05 a smoke test")
        each.add_argument("--folder", type=Path, default=runner.SCENARIOS, help="where the scenarios are")
    page = commands.add_parser("page", help="make the pages from the figures")
    page.add_argument("--html", type=Path, default=BOOK.with_name("report.html"))
    page.add_argument("--markdown", type=Path, default=ROOT / "docs" / "performance.md", help="its plots get a directory beside it")
    for each in (run, one, page):
        each.add_argument("--figures", type=Path, default=BOOK, help="the file of the figures")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Exit status 1: a scenario failed, or a figure cannot be read; 2: the command line is wrong."""
    options = parsed(words)
    try:
        if options.command in ("run", "scenario"):
            runner.obey_signals()
        if options.command == "scenario":
            runner.run_here(options.name, options.scale, options.figures, options.folder)
            return 0
        if options.command == "run":
            names = options.scenarios.split(",") if options.scenarios else runner.listed(options.folder)
            return runner.run(runner.Plan(names, options.figures, options.scale, options.minutes, options.again, options.folder))
        import pages  # what draws is not loaded beside a measurement

        return pages.make(options.figures, options.html, options.markdown)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
