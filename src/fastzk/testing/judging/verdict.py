"""What judges say: violations, and the verdict on a run.

Rule: a run is passed, violated or invalid; an invalid one (too little done, too much unknown, a fault that never came, no log)
is not a passed one, and what it violates is told all the same.
Rule: of each check the first KEPT_MAX violations are kept with their events; all are counted."""

from collections import Counter
from typing import Any, NamedTuple

KEPT_MAX = 10


class Violation(NamedTuple):
    """A promise that was broken."""

    # C1 to C14, W1 to W7 or E1 to E6 of docs/internals/testing.md, or WGL.
    check: str
    what: str
    # What of the history shows it; repr() tells each.
    events: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.check}: {self.what}", *(f"    {event!r}" for event in self.events)])


class Verdict:
    """What is wrong with a run, and how much was looked at."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        # How many of each check, also of those that are not kept.
        self.found: Counter[str] = Counter()
        # Why the run proves nothing, if so.
        self.invalid: list[str] = []
        # What was looked at; and times, in milliseconds.
        self.counts: dict[str, int] = {}
        # Parts of the history on which a check came to no end; each is a line.
        self.undecided: list[str] = []

    @property
    def is_passed(self) -> bool:
        """The run was a run, and nothing is wrong with it."""
        return not self.found and not self.invalid

    def flag(self, check: str, what: str, *events: Any) -> None:
        """Something is wrong."""
        self.found[check] += 1
        if self.found[check] <= KEPT_MAX:
            self.violations.append(Violation(check, what, events))

    def __str__(self) -> str:
        lines = [str(violation) for violation in self.violations]
        lines += [f"{check}: {count} in all, {KEPT_MAX} shown" for check, count in self.found.items() if count > KEPT_MAX]
        lines += [f"no verdict: {what}" for what in self.undecided]
        lines += [f"invalid: {why}" for why in self.invalid]
        lines.append(", ".join(f"{count:,} {what}" for what, count in self.counts.items()))
        lines.append("passed" if self.is_passed else f"NOT PASSED: {sum(self.found.values())} violations")
        return "\n".join(lines)
