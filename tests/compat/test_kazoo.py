"""Goal: kazoo, as PyPI has it, works with fastzk as it does with ZooKeeper.

Method: what its users do, against three real nodes, each call judged by what ZooKeeper documents.  `pytest tests/compat
--hosts HOST:PORT,...` puts the same questions to any ZooKeeper: so one sees that the test itself is right."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kazoo.protocol.states import EventType, WatchedEvent

from fastzk.testing.ensemble import wait_for

pytestmark = pytest.mark.process
WAIT_S = 20.0


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest) -> str:
    """Where the servers are: given, or three nodes of fastzk."""
    given: str | None = request.config.getoption("--hosts")
    return given or request.getfixturevalue("shared_ensemble").zk_hosts


@pytest.fixture
def client(hosts: str) -> Iterator[KazooClient]:
    with connected(hosts) as found:
        if found.exists("/t"):
            found.delete("/t", recursive=True)
        found.create("/t")
        yield found


class connected:  # noqa: N801  (it reads as what it gives)
    """A started client for the length of a `with`."""

    def __init__(self, hosts: str, timeout_s: float = 10.0) -> None:
        self.client = KazooClient(hosts, timeout=timeout_s)

    def __enter__(self) -> KazooClient:
        self.client.start(timeout=WAIT_S)
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.stop()
        self.client.close()


def test_create_read_set_and_delete(client: KazooClient) -> None:
    assert client.create("/t/a", b"one") == "/t/a"
    data, stat = client.get("/t/a")
    assert data == b"one"
    assert (stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren) == (0, 0, 0, 3, 0)
    assert stat.czxid == stat.mzxid == stat.pzxid > 0
    assert stat.ctime == stat.mtime > 1_600_000_000_000
    assert stat.ephemeralOwner == 0
    changed = client.set("/t/a", b"second", version=0)
    assert (changed.version, changed.dataLength, changed.czxid) == (1, 6, stat.czxid)
    assert changed.mzxid > stat.mzxid
    assert client.get("/t/a") == (b"second", changed)
    assert client.exists("/t/a") == changed
    client.delete("/t/a", version=1)
    assert client.exists("/t/a") is None


def test_create2_gives_the_stat(client: KazooClient) -> None:
    path, stat = client.create("/t/a", b"x", include_data=True)
    assert path == "/t/a"
    assert stat == client.exists("/t/a")


def test_mistakes_are_told_by_their_names(client: KazooClient) -> None:
    client.create("/t/a")
    with pytest.raises(NodeExistsError):
        client.create("/t/a")
    with pytest.raises(NoNodeError):
        client.create("/t/none/a")
    with pytest.raises(NoNodeError):
        client.get("/t/none")
    with pytest.raises(NoNodeError):
        client.get_children("/t/none")
    with pytest.raises(BadVersionError):
        client.set("/t/a", b"", version=7)
    with pytest.raises(BadVersionError):
        client.delete("/t/a", version=7)
    with pytest.raises(NotEmptyError):
        client.delete("/t")
    client.create("/t/e", ephemeral=True)
    with pytest.raises(NoChildrenForEphemeralsError):
        client.create("/t/e/a")


def test_children_are_listed_with_their_parents_stat(client: KazooClient) -> None:
    for name in ("a", "b", "c"):
        client.create(f"/t/{name}")
    client.delete("/t/b")
    names, stat = client.get_children("/t", include_data=True)
    assert sorted(names) == ["a", "c"]
    assert (stat.numChildren, stat.cversion) == (2, 4)
    assert sorted(client.get_children("/t")) == ["a", "c"]
    assert {"t", "zookeeper"} <= set(client.get_children("/"))


def test_sequential_znodes_count_what_was_created(client: KazooClient) -> None:
    assert client.create("/t/s-", sequence=True) == "/t/s-0000000000"
    client.create("/t/other")
    assert client.create("/t/s-", sequence=True) == "/t/s-0000000002"
    client.delete("/t/s-0000000002")
    assert client.create("/t/s-", sequence=True, ephemeral=True) == "/t/s-0000000003"


def test_data_may_be_empty_and_large(client: KazooClient) -> None:
    client.create("/t/empty", b"")
    assert client.get("/t/empty")[0] == b""
    large = bytes(range(256)) * 4000
    client.create("/t/large", large)
    assert client.get("/t/large")[0] == large


def test_names_may_be_of_any_script(client: KazooClient) -> None:
    client.create("/t/ключ-鍵", "значение".encode())
    assert client.get_children("/t") == ["ключ-鍵"]
    assert client.get("/t/ключ-鍵")[0].decode() == "значение"


def test_each_kind_of_watch_fires_once(client: KazooClient) -> None:
    seen: list[tuple[str, str, str]] = []
    heard = threading.Event()

    def watch(name: str) -> object:
        def on_event(event: WatchedEvent) -> None:
            seen.append((name, event.type, event.path))
            heard.set()

        return on_event

    client.create("/t/a")
    client.get("/t/a", watch=watch("data"))
    client.exists("/t/new", watch=watch("exists"))
    client.get_children("/t", watch=watch("children"))
    client.set("/t/a", b"1")
    client.create("/t/new")
    client.set("/t/a", b"2")
    client.delete("/t/a")
    expected = [
        ("children", EventType.CHILD, "/t"),
        ("data", EventType.CHANGED, "/t/a"),
        ("exists", EventType.CREATED, "/t/new"),
    ]
    wait_for(lambda: sorted(seen) == expected, WAIT_S, "three events")
    client.sync("/t")
    assert sorted(seen) == expected


def test_a_deleted_znode_tells_its_watchers(client: KazooClient) -> None:
    seen: list[tuple[str, str]] = []
    client.create("/t/a")
    client.get("/t/a", watch=lambda event: seen.append((event.type, event.path)))
    client.get_children("/t/a", watch=lambda event: seen.append((event.type, event.path)))
    client.delete("/t/a")
    wait_for(lambda: len(seen) >= 2, WAIT_S, "the watches of a deleted znode")
    assert set(seen) == {(EventType.DELETED, "/t/a")}


def test_an_ephemeral_goes_with_its_session_and_watchers_elsewhere_learn_of_it(client: KazooClient, hosts: str) -> None:
    gone = threading.Event()
    with connected(hosts) as owner:
        owner.create("/t/lock", b"mine", ephemeral=True)
        client.sync("/t")
        stat = client.exists("/t/lock", watch=lambda event: gone.set() if event.type == EventType.DELETED else None)
        assert stat.ephemeralOwner == owner.client_id[0]
    assert gone.wait(WAIT_S)
    assert client.exists("/t/lock") is None


def test_an_abandoned_session_expires_and_takes_its_ephemerals(client: KazooClient, hosts: str) -> None:
    gone = threading.Event()
    script = (
        "import sys; from kazoo.client import KazooClient; c = KazooClient(sys.argv[1], timeout=4.0); c.start();"
        "c.create('/t/lock', ephemeral=True); print('made', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, hosts]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"made\n"
        client.sync("/t")
        assert client.exists("/t/lock", watch=lambda event: gone.set()) is not None
        owner.kill()
    assert not gone.is_set(), "the session must outlive its connection"
    assert gone.wait(WAIT_S)
    assert client.exists("/t/lock") is None


def test_a_session_lives_on_at_another_server(client: KazooClient, hosts: str) -> None:
    states: list[str] = []
    with connected(hosts) as moving:
        moving.create("/t/mine", ephemeral=True)
        session_id = moving.client_id[0]
        moving.add_listener(states.append)
        moving._connection._socket.shutdown(2)
        wait_for(lambda: KazooState.CONNECTED in states, WAIT_S, "the client to be connected again")
        assert KazooState.LOST not in states
        assert moving.client_id[0] == session_id
        assert moving.exists("/t/mine").ephemeralOwner == session_id
        client.sync("/t")
        assert client.exists("/t/mine") is not None


def test_many_requests_under_way_are_answered_in_order(client: KazooClient) -> None:
    results = [client.create_async(f"/t/n-{n}", b"%d" % n) for n in range(500)]
    results += [client.get_async(f"/t/n-{n}") for n in range(500)]
    answers = [result.get(timeout=WAIT_S) for result in results]
    assert answers[:500] == [f"/t/n-{n}" for n in range(500)]
    assert [data for data, _ in answers[500:]] == [b"%d" % n for n in range(500)]


def test_the_words_kazoo_asks_for(client: KazooClient) -> None:
    assert client.server_version() >= (3, 4)
    assert client.command(b"ruok") == "imok"
