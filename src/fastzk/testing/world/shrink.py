"""The smallest world in which a seed fails as it does: faults turned off one by one, then the run made shorter.

Rule: what must remain is the kind of the violation (its first word), not its every detail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from fastzk.testing.network import NetworkFaults
from fastzk.testing.world.draw import FAULTS, Draw
from fastzk.testing.world.world import Simulation, SimulationFailed

EVENTS_MIN = 200


def kind_of(failure: str) -> str:
    """`seed 3: Violation: C9: event...` -> `Violation: C9`."""
    return ":".join(failure.splitlines()[0].split(":")[1:3]).strip()


def failure_of(seed: int, events: int, settings: dict[str, object]) -> str:
    """What a seed fails with in a world with these settings; empty: it does not."""

    def change(draw: Draw) -> None:
        for name, value in settings.items():
            setattr(draw, name, value)

    try:
        Simulation(seed, events=events, change=change).run()
    except SimulationFailed as failed:
        return str(failed)
    return ""


def shrink(seed: int, events: int, say: Callable[[str], None]) -> str:
    """The command that runs the smallest world found."""
    logging.disable(logging.CRITICAL)
    settings: dict[str, object] = {}
    failure = failure_of(seed, events, settings)
    if not failure:
        return f"seed {seed} does not fail"
    kind = kind_of(failure)
    say(f"seed {seed}: {kind}")
    draw = Simulation(seed).draw
    offers: list[tuple[str, object]] = [("network", replace(NetworkFaults())), ("clients", 2), ("workers", 1), *FAULTS]
    for name, value in offers:
        if getattr(draw, name) == value:
            continue
        if kind_of(failure_of(seed, events, {**settings, name: value}) or "::") == kind:
            settings[name] = value
            say(f"  without {name}: still {kind}")
    low = EVENTS_MIN
    while events - low > events // 10:
        middle = (low + events) // 2
        if kind_of(failure_of(seed, middle, settings) or "::") == kind:
            events = middle
        else:
            low = middle
    words = " ".join(f"--set '{name}={value!r}'" for name, value in settings.items() if name != "network")
    return f"{failure_of(seed, events, settings)}\npython tools/sim.py --seed {seed} --events {events} {words} --trace"
