"""Goal: how long one operation takes, asked alone: part of `make bench`.

Method: one connection, one request under way; each round is one request and its answer, as the compiled load sees it (and 2 or
3 microseconds of Python for the call).  Of three nodes, a follower is asked."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastzk.bench.load import OPERATIONS, Workload
from loaded import Loaded, OpenLoad

ROUNDS, WARM_UPS = 200, 20
KEYS = 100


@pytest.mark.parametrize("operation", OPERATIONS)
def test_latency(benchmark: BenchmarkFixture, open_load: OpenLoad, protocol: str, operation: str) -> None:
    workload = Workload(connections=1, window=1, keys=KEYS, protocol=protocol, prefix=f"/latency-{operation}")
    benchmark.group = f"latency of {operation}"
    with open_load(workload) as loaded:
        for _ in range(WARM_UPS):
            make(loaded, operation)
            loaded.ask(operation, 1)
        benchmark.pedantic(loaded.ask, args=(operation, 1), setup=lambda: make(loaded, operation), rounds=ROUNDS)


def make(loaded: Loaded, operation: str) -> None:
    """What a delete takes away."""
    if operation == "delete":
        loaded.ask("create", 1)
