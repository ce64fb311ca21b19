"""python -m fastzk.testing.judging DIR: judges the run that was recorded there.

Exit status: 0 passed, 1 something is wrong, 2 the run proves nothing."""

import argparse
import sys
from pathlib import Path

from fastzk.testing.history import read_history
from fastzk.testing.judging import judge


def main(arguments: list[str] | None = None) -> int:
    """Judges and prints."""
    parser = argparse.ArgumentParser(prog="python -m fastzk.testing.judging", description="Judges a recorded run.")
    parser.add_argument("directory", type=Path, help="holds *.jsonl and *.blocks")
    parser.add_argument("--no-wgl", action="store_true", help="leave out the search that trusts no zxid")
    given = parser.parse_args(arguments)
    verdict = judge(read_history(given.directory), has_wgl=not given.no_wgl)
    print(verdict)
    return 1 if verdict.found else 2 if verdict.invalid else 0


if __name__ == "__main__":
    sys.exit(main())
