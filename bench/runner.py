"""Runs scenarios, one after the other, each in a process of its own: `python bench/report.py run`.

Rules: a scenario that fails is told at the end and stops no other.  What is done already, for this commit and at this scale,
is not done again unless asked for, so that an interrupted run goes on where it was.  Nothing runs beside a scenario.

How it works: beside the scenarios' own figures the book gets lines of scenario `run`: the machine at the start of a run, and
for each scenario `begun`, then `took_s` or `failed_after_s`.  They carry commit and scale; what a scenario noted before it was
begun again does not count any more (results.py)."""

import importlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import machine
from figures import Book, Condition, Figure
from results import Results, load

BENCH = Path(__file__).resolve().parent
SCENARIOS = BENCH / "scenarios"
COMPARED = {"versus", "curves"}  # need the other systems
LONGEST = ("growth", "failover")  # come last, so that a run that is ended has all the others
SCENARIO_MINUTES_MAX = 180.0  # of one; what takes longer hangs
LEAVE_S_MAX = 60.0  # from the interrupt to the end, in which a scenario ends its nodes and removes their data


@dataclass(frozen=True)
class Plan:
    """What is to be run, and where the figures go."""

    names: Sequence[str]
    book: Path
    scale: float = 1.0
    minutes: float = 0.0  # the whole run ends after so many; 0: no bound
    is_again: bool = False  # what is done already, too
    folder: Path = SCENARIOS


def listed(folder: Path = SCENARIOS) -> list[str]:
    """The scenarios there are: the modules of the folder, in the order in which they are run."""
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return sorted(names, key=lambda name: LONGEST.index(name) if name in LONGEST else -1)


def run_here(name: str, scale: float, book: Path, folder: Path = SCENARIOS) -> None:
    """One scenario, in this process.  Raises what it raises."""
    sys.path.insert(0, str(folder.resolve().parent))
    module = importlib.import_module(f"{folder.name}.{name}")
    print((module.__doc__ or "").strip(), flush=True)
    with Book(book) as open_book:
        module.run(open_book, scale)


def run(plan: Plan) -> int:
    """Runs what is planned and not done yet; returns the exit status: 1 when something failed or was left.

    Raises ValueError when the book has a line that is no figure: whatever would follow could not be read either."""
    unknown = sorted(set(plan.names) - set(listed(plan.folder)))
    if unknown:
        print(f"no such scenario: {', '.join(unknown)}; there are {', '.join(listed(plan.folder))}", file=sys.stderr)
        return 2
    done = load(plan.book) if plan.book.exists() else Results()
    commit = machine.commit()
    todo = [name for name in plan.names if plan.is_again or not done.is_done(name, commit, plan.scale)]
    for name in plan.names:
        if name not in todo:
            print(f"{name}: done already for {commit} at scale {plan.scale:g} (--again repeats it)")
    if not todo:
        return 0
    described = machine.of_machine(plan.book.parent)
    with Book(plan.book) as book:
        book.note(described)
        if not COMPARED.isdisjoint(todo):
            book.note(machine.of_others())
        machine.warn_if_busy(described)
        return tell(_run_all(todo, plan, commit, book))


def tell(failures: dict[str, str]) -> int:
    """Says at the end what failed; returns the exit status."""
    for name, why in failures.items():
        print(f"FAILED: {name}: {why}", file=sys.stderr, flush=True)
    if not failures:
        print("all scenarios ran to their ends")
    return 1 if failures else 0


def _run_all(todo: Sequence[str], plan: Plan, commit: str, book: Book) -> dict[str, str]:
    """What failed, and why."""
    failures: dict[str, str] = {}
    ends = time.monotonic() + plan.minutes * 60 if plan.minutes else float("inf")
    for number, name in enumerate(todo, 1):
        left_s = min(ends - time.monotonic(), SCENARIO_MINUTES_MAX * 60)
        if left_s <= 0:
            failures[name] = f"not begun: the {plan.minutes:g} minutes were over; the same command goes on from here"
            continue
        print(f"\n[{number}/{len(todo)}] {time.strftime('%H:%M:%S')} {name}, scale {plan.scale:g}", flush=True)
        about: dict[str, Condition] = {"commit": commit, "scale": plan.scale}
        book.note(Figure("run", name, "begun", time.time(), "s", about))
        begin = time.monotonic()
        why = _run_one(name, plan, left_s)
        took_s = time.monotonic() - begin
        book.note(Figure("run", name, "failed_after_s" if why else "took_s", took_s, "s", about))
        if why:
            failures[name] = f"{why}, after {took_s:.0f} s"
            print(f"FAILED: {name}: {failures[name]}", file=sys.stderr, flush=True)
        if why.endswith("killed"):
            rest = todo[number:]
            failures |= dict.fromkeys(rest, f"not begun: what {name} had started may still run; see that it is gone")
            break
    return failures


def _run_one(name: str, plan: Plan, seconds: float) -> str:
    """One scenario in a process of its own; why it failed, or nothing."""
    command = [sys.executable, str(BENCH / "report.py"), "scenario", name, "--scale", str(plan.scale)]
    command += ["--figures", str(plan.book), "--folder", str(plan.folder)]
    # A session of its own: Ctrl-C reaches it through us, and once.
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            if not _ended(process):
                return f"it did not end {LEAVE_S_MAX:.0f} s after it was told to, and was killed"
            return f"it was stopped when its {seconds / 60:.1f} minutes were over"
        except KeyboardInterrupt:
            _ended(process)
            raise
    return f"exit status {status}" if status else ""


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    """Tells a scenario to end; False when it had to be killed.

    Not a kill at once: the scenario's nodes are sessions of their own, which only it can end."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(LEAVE_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        return False
    return True


def obey_signals() -> None:
    """SIGINT and SIGTERM raise KeyboardInterrupt, in a shell's background, too, where SIGINT is ignored otherwise."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
