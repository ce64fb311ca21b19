"""Goal: how many operations per second a node, and three, do together: part of `make bench`.

Method: 30 connections, over all nodes, with 50 requests under way on each; a round is 10,000 operations, or ten times as
many of the short reads.  The rates are printed at the end.  children lists 100 names."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastzk.bench.load import OPERATIONS, Workload
from loaded import RATES, Loaded, OpenLoad

ROUNDS = 5
ROUND = 10_000
ROUND_OF_READS = 100_000
KEYS = 100


@pytest.mark.parametrize("operation", OPERATIONS)
def test_throughput(
    benchmark: BenchmarkFixture, open_load: OpenLoad, request: pytest.FixtureRequest, protocol: str, operation: str
) -> None:
    workload = Workload(connections=30, window=50, keys=KEYS, protocol=protocol, prefix=f"/throughput-{operation}")
    count = ROUND_OF_READS if operation in ("get", "exists") else ROUND
    benchmark.group = f"{count:,} of {operation}"
    with open_load(workload) as loaded:
        make(loaded, operation)
        loaded.ask(operation, count)
        benchmark.pedantic(loaded.ask, args=(operation, count), setup=lambda: make(loaded, operation), rounds=ROUNDS)
    if benchmark.enabled:
        rate = count / benchmark.stats.stats.median
        benchmark.extra_info["per_second"] = rate
        RATES.append((request.node.name.removeprefix("test_throughput"), rate))


def make(loaded: Loaded, operation: str) -> None:
    """What a delete takes away."""
    if operation == "delete":
        loaded.ask("create", ROUND)
