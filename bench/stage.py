"""What the scenarios stand on: where their nodes keep files, how one is run alone, and what the kernel says of processes.

    if __name__ == "__main__":
        stage.main(run, __doc__)       # python -m scenarios.NAME [--scale 0.05], in bench/

Rule: Ctrl-C and SIGTERM end a scenario by an exception, so that every `with` ends and no node is left behind.
Rule: scale 1 is the real thing, 0.05 a smoke test of seconds; `scaled` never gives less than what still means something."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType

from fastzk.testing.ensemble import Ensemble, Node, file_system_of
from figures import Book

DIRECTORY = Path(__file__).resolve().parents[1] / "build" / "bench"
FIGURES = DIRECTORY / "figures.jsonl"


def say(text: str) -> None:
    """A line for whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def scaled(count: float, scale: float, least: int = 1) -> int:
    """So many at this scale."""
    return max(least, round(count * scale))


def nodes(size: int, options: Sequence[str] = ()) -> Ensemble:
    """An ensemble, or one node that stands alone, which takes any number of clients from one address; to be entered."""
    return Ensemble(size, DIRECTORY, ["--max-client-cnxns", "0", *options])


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that so large a share of all values does not exceed.  Raises ValueError when there are none."""
    ranked = sorted(values)
    if not ranked:
        raise ValueError("no values, no quantile")
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def main(run: Callable[[Book, float], None], about: str | None) -> None:
    """The command line of one scenario."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="1: the real thing; 0.05: a smoke test of seconds")
    parser.add_argument("--book", type=Path, default=FIGURES, help="file that the figures are appended to")
    options = parser.parse_args()
    if not options.scale > 0:
        parser.error("--scale must be above 0")
    signal.signal(signal.SIGTERM, _interrupt)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if file_system_of(DIRECTORY) in ("tmpfs", "ramfs"):
        say(f"{DIRECTORY} is on {file_system_of(DIRECTORY)}: syncs cost nothing there, so these are no figures of a disk")
    try:
        with Book(options.book) as book:
            run(book, options.scale)
    except KeyboardInterrupt:
        say("interrupted; the nodes are gone")
        sys.exit(130)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# ---- processes


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that live processes have had, to the nanosecond: stat counts hundredths of a second.  Raises OSError when
    one is gone, or where the kernel does not tell (CONFIG_SCHED_INFO)."""
    spent_ns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            spent_ns += int((thread / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


def cpu_percent(pids: Sequence[int], seconds: float) -> float:
    """What they take of a core for so long a time, in which the caller only waits.  Raises OSError when one ends."""
    before, began = cpu_s(pids), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pids) - before) / (time.monotonic() - began)


def memory(pids: Iterable[int], what: str) -> int:
    """Bytes of one line of /proc/PID/smaps_rollup over all processes.

    Pss: a page that several have counts in parts, so the sum counts it once.  Anonymous: what each has for itself.  Rss: all
    that is resident.  Raises OSError when a process is gone."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) << 10
    return total


def available_bytes() -> int:
    """Memory that may be asked for without swapping, and files' pages that would give way."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) << 10


def all_pids(members: Iterable[Node]) -> list[int]:
    """The processes of several nodes."""
    return [pid for node in members for pid in node.pids()]
