"""Cores for a measurement: which there are, and a load that stays on one of them.

Rule: a server and its load are pinned alike in everything that is compared: where the kernel puts them decides more about a
round trip than what they do."""

import contextlib
import os
from collections.abc import Iterator

PLACES = {"same core": 1, "two cores": 2}  # server and load on so many cores


def places() -> dict[str, tuple[int, int]]:
    """The server's core and the load's, for each place that this machine has; what it lacks is told."""
    cores = sorted(os.sched_getaffinity(0))
    found = {}
    for name, count in PLACES.items():
        if count <= len(cores):
            found[name] = (cores[0], cores[count - 1])
        else:
            print(f"NOT MEASURED: server and load on {name}: this process may use core {cores[0]} alone", flush=True)
    return found


@contextlib.contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """This thread, and those that it starts meanwhile, run on one core; then where they might before."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
