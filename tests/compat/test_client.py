"""Goal: every call of the native client does what kazoo's does, and tells the same of the same tree.
Method: a real worker under an engine that stores nothing, and a whole node of real processes; each test in a tree of its own.
kazoo, over ZooKeeper's protocol, is the judge of what the native client has written and read."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.exceptions import ZookeeperError as KazooZookeeperError

from fastzk import Client, limits
from fastzk.data import ACL, Id, WatchedEvent, ZnodeStat
from fastzk.defs import ClientState, EventType, KeeperState
from fastzk.errors import (
    BadArgumentsError,
    BadVersionError,
    ClientTimeoutError,
    ConnectionClosedError,
    InvalidACLError,
    InvalidPathError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    ZookeeperError,
)
from fastzk.testing.ensemble import wait_for

WAIT_S = 10.0
Hosts = tuple[str, str]  # native, ZooKeeper's


@pytest.fixture(scope="module")
def hosts(native_hosts: Hosts) -> Hosts:
    """Where the servers are."""
    return native_hosts


@pytest.fixture
def client(hosts: Hosts, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client in a tree of the test's own."""
    with Client(f"{hosts[0]}/{request.node.originalname}") as client:
        client.delete("/", recursive=True)
        client.ensure_path("/")
        yield client


def events_of(count: int) -> tuple[list[WatchedEvent], Callable[[], None]]:
    """A list to be filled by watches, and a wait until it has so many."""
    events: list[WatchedEvent] = []
    return events, lambda: wait_for(lambda: len(events) >= count, WAIT_S, f"{count} events, not only {events}") and None


def changed(event: EventType, path: str) -> WatchedEvent:
    return WatchedEvent(event, KeeperState.CONNECTED, path)


# ---- calls


def test_create_get_set_delete(client: Client) -> None:
    assert client.create("/a", b"one") == "/a"
    data, stat = client.get("/a")
    assert (data, stat.version, stat.dataLength, stat.numChildren) == (b"one", 0, 3, 0)
    assert client.exists("/a") == stat
    newer = client.set("/a", b"two!", version=0)
    assert (newer.version, newer.czxid, newer.dataLength) == (1, stat.czxid, 4)
    assert newer.mzxid > stat.mzxid
    assert client.get("/a") == (b"two!", newer)
    assert client.delete("/a", version=1) is True
    assert client.exists("/a") is None


def test_create_gives_its_stat_when_asked(client: Client) -> None:
    path, stat = client.create("/a", b"x", include_data=True)
    assert (path, stat) == ("/a", client.exists("/a"))


def test_null_data_reads_as_empty(client: Client) -> None:
    client.create("/a", None)
    assert client.get("/a")[0] == b""
    client.set("/a", None)
    assert client.get("/a")[0] == b""


def test_children(client: Client) -> None:
    for name in ("x", "y", "ü"):
        client.create(f"/{name}")
    assert sorted(client.get_children("/")) == ["x", "y", "ü"]
    names, stat = client.get_children("/", include_data=True)
    assert sorted(names) == ["x", "y", "ü"]
    assert stat == client.exists("/")
    assert stat.numChildren == 3


def test_sequential_names_count_on(client: Client) -> None:
    assert client.create("/s-", sequence=True) == "/s-0000000000"
    assert client.create("/s-", sequence=True, ephemeral=True) == "/s-0000000001"
    assert client.create("/", sequence=True) == "/0000000002"
    assert client.create("/deep/er/", sequence=True, makepath=True) == "/deep/er/0000000000"


def test_ephemerals_go_with_their_session(client: Client, hosts: Hosts) -> None:
    with Client(hosts[0] + client.chroot) as other:
        other.create("/e", ephemeral=True)
        stat = client.exists("/e")
        assert stat is not None
        assert other.client_id is not None
        assert stat.owner_session_id == other.client_id[0]
        with pytest.raises(NoChildrenForEphemeralsError):
            client.create("/e/child")
    assert client.exists("/e") is None


def test_makepath_and_ensure_path(client: Client) -> None:
    with pytest.raises(NoNodeError):
        client.create("/a/b/c", b"x")
    assert client.create("/a/b/c", b"x", makepath=True) == "/a/b/c"
    assert client.create("/a/b/d", b"x", makepath=True) == "/a/b/d"
    with pytest.raises(NodeExistsError):
        client.create("/a/b/c", b"x", makepath=True)
    assert client.ensure_path("/a/b/c/d/e") is True
    assert client.ensure_path("/a/b/c/d/e") is True
    assert client.exists("/a/b/c/d/e") is not None
    assert client.ensure_path("/") is True


def test_ensure_path_tells_why_it_could_not(client: Client) -> None:
    client.create("/e", ephemeral=True)
    with pytest.raises(NoChildrenForEphemeralsError):
        client.ensure_path("/e/a/b")
    with pytest.raises(NoChildrenForEphemeralsError):
        client.create("/e/a/b", makepath=True)


def test_a_very_deep_path(client: Client) -> None:
    path = "/d" * 1500
    client.ensure_path(path)
    assert client.exists(path) is not None
    assert client.delete("/d", recursive=True) is True
    assert client.get_children("/") == []


def test_delete_recursive(client: Client) -> None:
    for path in ("/a/b/c", "/a/b/d", "/a/e"):
        client.ensure_path(path)
    with pytest.raises(NotEmptyError):
        client.delete("/a")
    assert client.delete("/a", recursive=True) is True
    assert client.delete("/a", recursive=True) is True
    assert client.get_children("/") == []


def test_sync_gives_the_path(client: Client) -> None:
    assert client.sync("/") == "/"
    assert client.sync("/a/b") == "/a/b"


def test_errors(client: Client) -> None:
    client.create("/a")
    calls: list[tuple[type[ZookeeperError], Callable[[], Any]]] = [
        (NoNodeError, lambda: client.get("/no")),
        (NoNodeError, lambda: client.set("/no", b"")),
        (NoNodeError, lambda: client.delete("/no")),
        (NoNodeError, lambda: client.get_children("/no")),
        (NoNodeError, lambda: client.get_children("/no", include_data=True)),
        (NoNodeError, lambda: client.create("/no/a")),
        (NodeExistsError, lambda: client.create("/a")),
        (BadVersionError, lambda: client.set("/a", b"", version=7)),
        (BadVersionError, lambda: client.delete("/a", version=7)),
        (InvalidACLError, lambda: client.create("/b", acl=[])),
        (InvalidACLError, lambda: client.create("/b", acl=[ACL(31, Id("nonsense", "x"))])),
        (InvalidPathError, lambda: client.get("/a/../b")),
        (BadArgumentsError, lambda: client.get("/\0")),
        (BadArgumentsError, lambda: client.set("/a", bytes(limits.FRAME_BYTES_MAX))),
    ]
    for error, call in calls:
        with pytest.raises(error) as raised:
            call()
        assert raised.value.code == error.code
    with pytest.raises(NoNodeError, match=r"^/no$"):
        client.get("/no")


def test_wrong_types_are_named_before_anything_is_sent(client: Client) -> None:
    wrong: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        ("path", client.get, (7,)),
        ("value", client.set, ("/a", "text")),
        ("value", client.create, ("/a", "text")),
        ("version", client.delete, ("/a", "1")),
        ("acl", client.create, ("/a", b"", ACL(31, Id("world", "anyone")))),
        ("acl", client.ensure_path, ("/a", [7])),
        ("watch", client.get, ("/", 7)),
    ]
    for name, call, arguments in wrong:
        with pytest.raises(TypeError, match=name):
            call(*arguments)


def test_paths_are_put_right_as_kazoo_does(client: Client) -> None:
    assert client.create("a//b/", makepath=True) == "/a/b"
    assert client.exists("//a///b") is not None


# ---- watches


def test_watches_fire_once_and_in_order(client: Client) -> None:
    events, wait = events_of(5)
    client.exists("/a", watch=events.append)
    client.get_children("/", watch=events.append)
    client.create("/a")
    client.get("/a", watch=events.append)
    client.set("/a", b"1")
    client.set("/a", b"2")
    client.exists("/a", watch=events.append)
    client.get_children("/", watch=events.append)
    client.delete("/a")
    wait()
    assert events == [
        changed(EventType.CREATED, "/a"),
        changed(EventType.CHILD, "/"),
        changed(EventType.CHANGED, "/a"),
        changed(EventType.DELETED, "/a"),
        changed(EventType.CHILD, "/"),
    ]


def test_a_watch_function_may_make_blocking_calls(client: Client) -> None:
    client.create("/n", b"0")
    seen: list[bytes] = []

    def follow(event: WatchedEvent | None = None) -> None:
        seen.append(client.get("/n", watch=follow)[0])

    follow()
    for number in range(1, 6):
        client.set("/n", b"%d" % number)
        wait_for(lambda: seen[-1] == b"%d" % number, WAIT_S, f"{number}, not only {seen}")  # noqa: B023
    assert seen == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_watch_function_that_fails_takes_nobodys_turn(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    events, wait = events_of(1)

    def fail(event: WatchedEvent) -> None:
        raise RuntimeError("on purpose")

    client.exists("/a", watch=fail)
    client.exists("/a", watch=events.append)
    client.create("/a")
    wait()
    assert "on purpose" in caplog.text


def test_the_event_comes_before_what_it_announces(client: Client, hosts: Hosts) -> None:
    """Z6, as the client's user sees it: a rawlink and a watch run on one thread, in the order of the wire."""
    client.create("/a", b"0")
    with Client(hosts[0] + client.chroot) as writer:
        for number in range(1, 51):
            heard: list[str] = []
            client.get("/a", watch=lambda event, heard=heard: heard.append("event"))
            writing = writer.set_async("/a", b"%d" % number)
            while True:
                result = client.get_async("/a")
                result.rawlink(lambda result, heard=heard: heard.append(result.value[0].decode()))
                if result.get()[0] == b"%d" % number:
                    break
            writing.get()
            wait_for(lambda heard=heard, number=number: heard[-1:] == [str(number)], WAIT_S, "the last link")
            assert heard.index("event") < heard.index(str(number))


# ---- _async


def test_ten_thousand_calls_at_once(client: Client) -> None:
    client.create("/n", b"0")
    results: list[Any] = []
    for number in range(1, 5001):
        results.append(client.set_async("/n", b"%d" % number))
        results.append(client.get_async("/n"))
    answers = [result.get(timeout=60) for result in results]
    for number, (stat, (data, read)) in enumerate(zip(answers[::2], answers[1::2], strict=True), 1):
        assert (stat.version, data, read) == (number, b"%d" % number, stat)
    zxids = [result.zxid for result in results]
    assert zxids == sorted(zxids), "Z5"


def test_results_are_kazoos(client: Client) -> None:
    good, bad = client.create_async("/a"), client.get_async("/no")
    linked: list[tuple[Any, str]] = []
    done = threading.Event()
    bad.rawlink(lambda result: linked.append((result, threading.current_thread().name)))
    bad.rawlink(lambda result: done.set())
    assert good.wait(WAIT_S)
    assert (good.get(), good.value, good.exception, good.ready(), good.successful()) == ("/a", "/a", None, True, True)
    assert done.wait(WAIT_S)
    assert linked == [(bad, "fastzk-callbacks")]
    assert (bad.value, bad.ready(), bad.successful()) == (None, True, False)
    assert isinstance(bad.exception, NoNodeError)
    with pytest.raises(NoNodeError):
        bad.get_nowait()
    late = threading.Event()
    bad.rawlink(lambda result: late.set())
    assert late.wait(WAIT_S)


def test_threads_share_a_client(client: Client) -> None:
    def work(thread: int) -> None:
        for number in range(100):
            client.create(f"/{thread}-{number}", b"%d" % number)
            assert client.get(f"/{thread}-{number}")[0] == b"%d" % number

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.get_children("/")) == 800


def test_callers_beyond_the_limit_wait_for_room(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_REQUESTS_MAX", 50)
    client.create("/a")
    results = [client.get_async("/a") for _ in range(1000)]
    assert all(result.get()[0] == b"" for result in results)
    client.ensure_path("/b" * 100)
    assert client.exists("/b" * 100) is not None


# ---- chroot


def test_chroot(hosts: Hosts, client: Client) -> None:
    with Client(f"{hosts[0]}{client.chroot}/in/side") as inner:
        assert inner.exists("/") is None
        assert inner.create("/a", b"x", makepath=True) == "/a"
        assert client.get("/in/side/a")[0] == b"x"
        events, wait = events_of(2)
        inner.get("/a", watch=events.append)
        inner.get_children("/", watch=events.append)
        client.delete("/in/side/a")
        wait()
        assert events == [changed(EventType.DELETED, "/a"), changed(EventType.CHILD, "/")]
        assert inner.sync("/") == "/"
        assert inner.create("/", sequence=True) == "/0000000001"
        with pytest.raises(NoNodeError, match=r"^/b$"):
            inner.get("/b")
        inner.delete("/", recursive=True)
    assert client.get_children("/in") == []


# ---- kazoo as the judge


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of what it raises; nothing in it that differs between two trees."""
    try:
        value = call()
    except (ZookeeperError, KazooZookeeperError, KazooException) as error:
        return type(error).__name__
    return plain(value)


def plain(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) == len(ZnodeStat._fields):
        stat = ZnodeStat._make(value)
        return (stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren, bool(stat.ephemeralOwner))
    if isinstance(value, (tuple, list)):
        parts = [plain(part) for part in value]
        return sorted(parts) if parts and all(isinstance(part, str) for part in parts) else parts
    return value


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("create", ("/a", b"one"), {}),
    ("create", ("/a", b"one"), {}),
    ("create", ("/a/b/c", b""), {}),
    ("create", ("/a/b/c", b"x"), {"makepath": True}),
    ("create", ("/a/s-",), {"sequence": True}),
    ("create", ("/a/e-",), {"sequence": True, "ephemeral": True}),
    ("create", ("/a/e/",), {"sequence": True, "makepath": True}),
    ("create", ("/two", b"22"), {"include_data": True}),
    ("get", ("/a",), {}),
    ("get", ("/none",), {}),
    ("exists", ("/a",), {}),
    ("exists", ("/none",), {}),
    ("get_children", ("/a",), {}),
    ("get_children", ("/a",), {"include_data": True}),
    ("get_children", ("/none",), {}),
    ("set", ("/a", b"two"), {}),
    ("set", ("/a", b"three", 7), {}),
    ("set", ("/a", b"three", 1), {}),
    ("set", ("/none", b""), {}),
    ("ensure_path", ("/p/q/r",), {}),
    ("ensure_path", ("/p/q/r",), {}),
    ("delete", ("/p",), {}),
    ("delete", ("/p/q/r", 3), {}),
    ("delete", ("/p/q/r", 0), {}),
    ("delete", ("/none",), {}),
    ("sync", ("/a",), {}),
    ("get_children", ("/",), {}),
    ("get_children", ("/",), {"include_data": True}),
]


def test_every_call_does_what_kazoos_does(hosts: Hosts, client: Client) -> None:
    client.ensure_path("/kazoo")
    client.ensure_path("/fastzk")
    kazoo = KazooClient(f"{hosts[1]}{client.chroot}/kazoo")
    kazoo.start()
    try:
        with Client(f"{hosts[0]}{client.chroot}/fastzk") as ours:
            for name, arguments, options in CALLS:
                theirs = outcome(partial(getattr(kazoo, name), *arguments, **options))
                if name == "ensure_path":
                    theirs = True  # kazoo gives a path when it has made it
                assert outcome(partial(getattr(ours, name), *arguments, **options)) == theirs, (name, arguments)
    finally:
        kazoo.stop()
        kazoo.close()


def test_each_sees_what_the_other_wrote(hosts: Hosts, client: Client) -> None:
    kazoo = KazooClient(f"{hosts[1]}{client.chroot}")
    kazoo.start()
    try:
        client.create("/native", b"n")
        kazoo.sync("/")
        data, stat = kazoo.get("/native")
        assert (data, tuple(stat)) == (b"n", tuple(client.get("/native")[1]))
        events, wait = events_of(1)
        client.exists("/kazoo", watch=events.append)
        kazoo.create("/kazoo", b"k", ephemeral=True)
        wait()
        assert client.get("/kazoo")[0] == b"k"
        heard: list[Any] = []
        kazoo.get("/native", watch=heard.append)
        client.delete("/native")
        wait_for(lambda: heard, WAIT_S, "kazoo's event")
        assert (heard[0].type, heard[0].path) == ("DELETED", "/native")
    finally:
        kazoo.stop()
        kazoo.close()


# ---- before and after


def test_what_a_client_says_of_itself(hosts: Hosts) -> None:
    client = Client(hosts[0], timeout=8.0)
    assert (client.connected, client.client_id, client.state) == (False, None, ClientState.LOST)
    states: list[ClientState] = []
    client.add_listener(states.append)
    with client:
        host, _, port = hosts[0].partition(":")
        info = client.server_info()
        assert (info.host, info.port, info.timeout) == (host, int(port), 8.0)
        assert client.client_id is not None
        assert client.client_id[0] == info.session_id
        assert (client.connected, client.client_state, client.state) == (True, KeeperState.CONNECTED, "CONNECTED")
        client.create(f"/zxid-{info.session_id}", ephemeral=True)
        assert client.last_zxid > 0
    assert states == [ClientState.CONNECTED, ClientState.LOST]
    assert (client.connected, client.client_state, client.state) == (False, KeeperState.CLOSED, "LOST")


def test_a_client_that_is_not_started(hosts: Hosts) -> None:
    client = Client(hosts[0])
    with pytest.raises(ConnectionClosedError):
        client.get("/")
    client.stop()
    client.start()
    client.start()
    first = client.client_id
    client.restart()
    assert client.client_id != first
    assert client.exists("/") is not None
    client.close()
    with pytest.raises(ConnectionClosedError):
        client.get("/")


def test_a_client_repeats_calls_on_request(client: Client) -> None:
    assert client.retry(client.exists, "/no") is None
    with pytest.raises(NoNodeError):
        client.retry(client.get, "/no")


def test_a_result_that_takes_too_long(hosts: Hosts) -> None:
    client = Client("127.0.0.1:1")
    client.start_async()
    result = client.get_async("/")
    with pytest.raises(ClientTimeoutError):
        result.get(timeout=0.01)
    with pytest.raises(TimeoutError):
        result.get_nowait()
    client.stop()
    with pytest.raises(ConnectionClosedError):
        result.get()
