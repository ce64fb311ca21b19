"""What the measurements under pytest-benchmark share: real nodes, loads on them, and a line with the rates at the end.

Rules: one ensemble runs at a time.  A measurement in which a request failed is no measurement: it fails.  Nodes keep their data
below build/, so that a sync is one where build/ is on a disk."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastzk.bench.load import Address, Workload, new_load, new_requests, prepare, sockets
from fastzk.bench.workload import PROTOCOLS
from fastzk.testing.ensemble import Ensemble, file_system_of
from loaded import DIRECTORY, RATES, ROUND_NS_MAX, Loaded, OpenLoad


@pytest.fixture(params=[1, 3], ids=["1 node", "3 nodes"], scope="session")
def ensemble(request: pytest.FixtureRequest) -> Iterator[Ensemble]:
    """One node alone, or three."""
    with Ensemble(request.param, DIRECTORY, ["--max-client-cnxns", "0"]) as nodes:
        yield nodes


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    """How clients speak."""
    return str(request.param)


@pytest.fixture
def open_load(ensemble: Ensemble, protocol: str) -> OpenLoad:
    """Opens the connections of a workload: one goes to a follower, if there is one, several to all nodes."""

    @contextmanager
    def opened(workload: Workload) -> Iterator[Loaded]:
        nodes = (ensemble.followers() or ensemble.nodes)[:1] if workload.connections == 1 else ensemble.nodes
        hosts: list[Address] = [node.native if protocol == "native" else node.zk for node in nodes]
        prepare(hosts[0], workload)
        with sockets(hosts, workload, workload.connections) as connected:
            requests = new_requests(workload, 0)
            load = new_load(workload, connected, requests, len(connected))
            yield Loaded(load, requests)
            requests.remove_own()
            load.run(0, ROUND_NS_MAX)

    return opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The rates, for people."""
    if RATES:
        terminalreporter.section(f"per second ({file_system_of(DIRECTORY)})")
        for name, rate in RATES:
            terminalreporter.write_line(f"{rate:14,.0f}   {name}")
