"""What the foreign judges share: the servers they judge and a clean place in the tree.

Rule: a judge sees addresses only.  `pytest tests/compat --hosts HOST:PORT,...` names any servers of ZooKeeper's protocol:
so one sees that a test itself is right.  Without it, it is three nodes of fastzk that the module starts.

The native client has its own: a bare worker, and a node."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.testing.engine import TinyEngine
from fastzk.testing.ensemble import Ensemble

START_S_MAX = 20.0


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the servers are: given, or three nodes of fastzk that answer all four-letter words."""
    given: str | None = request.config.getoption("--hosts")
    if given:
        yield given
    else:
        with Ensemble(3, request.getfixturevalue("disk"), ["--4lw-whitelist", "*"]) as nodes:
            yield nodes.zk_hosts


@pytest.fixture
def connect(hosts: str) -> Iterator[Callable[..., KazooClient]]:
    """Gives started kazoo clients, whatever their options; stops those that the test did not."""
    clients: list[KazooClient] = []

    def started(chroot: str = "", **options: object) -> KazooClient:
        client = KazooClient(hosts + chroot, **{"timeout": 10.0, **options})
        clients.append(client)
        client.start(timeout=START_S_MAX)
        return client

    yield started
    for client in clients:
        client.stop()
        client.close()


@pytest.fixture
def place(connect: Callable[..., KazooClient], request: pytest.FixtureRequest) -> Iterator[str]:
    """The path of an empty znode for this test alone; gone afterwards with all that is below."""
    client = connect()
    path = client.create("/judged-", sequence=True)
    yield path
    client.sync(path)
    client.delete(path, recursive=True)


@pytest.fixture(scope="module", params=["worker", pytest.param("node", marks=pytest.mark.process)])
def native_hosts(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Where a native client and one of ZooKeeper's reach the same server: a real worker under an engine that stores nothing,
    and a whole node of real processes."""
    if request.param == "worker":
        with tempfile.TemporaryDirectory() as directory, TinyEngine(Path(directory)) as engine:
            engine.start_worker()
            yield engine.native_address.removeprefix("tcp://"), "{}:{}".format(*engine.tcp_address)
    else:
        with Ensemble(1, request.getfixturevalue("disk")) as nodes:
            yield nodes.native_hosts, nodes.zk_hosts
