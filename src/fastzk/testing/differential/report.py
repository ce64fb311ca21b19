"""A difference, told: the conversation up to it, line by line, with what both servers answered."""

from collections.abc import Sequence
from typing import Any

from fastzk.testing.differential.duel import Difference, Exchange
from fastzk.testing.differential.steps import Drop, describe

_TEXT_MAX = 400


def tell(difference: Difference, exchanges: Sequence[Exchange]) -> str:
    """The conversation and its end.  "9 a" is what step 9 made come on another connection."""
    lines = []
    for number, step, seen in exchanges:
        is_barrier = isinstance(step, Drop) and seen[0] and seen[0][-1] != "dropped"
        lines.append(f"{number:4} a   on connection {step.slot}" if is_barrier else f"{number:4} {_cut(describe(step))}")
        if seen[0] == seen[1]:
            lines += [f"            {_cut(one)}" for one in seen[0]]
        else:
            lines += _both(*seen)
    lines.append(f"THE DIFFERENCE, at step {difference.number}, {difference.where}:")
    return "\n".join([*lines, *_both(difference.oracle, difference.candidate)])


def _both(oracle: Any, candidate: Any) -> list[str]:
    return [*_side("ZooKeeper", oracle), *_side("fastzk", candidate)]


def _side(name: str, seen: Any) -> list[str]:
    parts = seen if isinstance(seen, tuple | list) else [seen]
    return [f"  {name if n == 0 else '':9} {_cut(one)}" for n, one in enumerate(parts)]


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}... ({len(text)} characters)"
