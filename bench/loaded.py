"""Open connections to ask through, for the measurements under pytest-benchmark, and the rates that they gave."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fastzk.bench._load import Load
from fastzk.bench._requests import OPERATIONS, Requests
from fastzk.bench.load import Workload

DIRECTORY = Path(__file__).parents[1] / "build" / "bench"
ROUND_NS_MAX = 60_000_000_000
RATES: list[tuple[str, float]] = []  # what each throughput gave per second, the median of its rounds


@dataclass
class Loaded:
    """Open connections, and what is asked through them."""

    load: Load
    requests: Requests

    def ask(self, operation: str, count: int) -> None:
        """So many of an operation, all answered; delete takes what was created before, and that must be so many."""
        if operation == "delete":
            self.requests.remove_own()
        else:
            self.requests.mix([int(each == operation) for each in OPERATIONS])
        counts = self.load.run(0, ROUND_NS_MAX, count)
        assert counts["operations"] == count, counts
        assert not counts["errors"] and not counts["disorders"], counts  # noqa: PT018


OpenLoad = Callable[[Workload], AbstractContextManager[Loaded]]
