"""Goal: the small parts of the client do what they say: hosts, pauses, watches, results.
Method: tables and plain twins; threads only where waiting is what is tested."""

import threading
from collections import Counter
from random import Random
from typing import Any

import kazoo.hosts
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastzk.client.hosts import Address, HostRing, parse_hosts
from fastzk.client.results import AsyncResult, when_all
from fastzk.client.retry import Backoff
from fastzk.client.watches import WatchKind, WatchTable
from fastzk.data import WatchedEvent
from fastzk.defs import NATIVE_PORT, EventType, WatcherType
from fastzk.errors import ClientTimeoutError, ConfigurationError, InvalidPathError, NoNodeError

# ---- hosts


@pytest.mark.parametrize(
    ("text", "addresses", "chroot"),
    [
        ("h", [("h", NATIVE_PORT)], ""),
        ("h:1", [("h", 1)], ""),
        ("h:1,i:2", [("h", 1), ("i", 2)], ""),
        (" h:1 , i:2 ,", [("h", 1), ("i", 2)], ""),
        ("h:1,i:2/a/b", [("h", 1), ("i", 2)], "/a/b"),
        ("h:1/", [("h", 1)], ""),
        ("h:1//a//b/", [("h", 1)], "/a/b"),
        ("[::1]:5", [("::1", 5)], ""),
        ("[fe80::1]/a", [("fe80::1", NATIVE_PORT)], "/a"),
        (["h:1", "i:2", "/a"], [("h", 1), ("i", 2)], "/a"),
        (["h:1", "i:2/a"], [("h", 1), ("i", 2)], "/a"),
    ],
)
def test_hosts_are_parsed(text: Any, addresses: list[tuple[str, int]], chroot: str) -> None:
    assert parse_hosts(text) == (tuple(Address(*each) for each in addresses), chroot)


@pytest.mark.parametrize("text", ["", ",", ":1", "h:", "h:x", "h:0", "h:65536", "h:1:2", "::1", "[::1", "[::1]5", "h:-1", []])
def test_hosts_without_sense_are_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError):
        parse_hosts(text)


def test_a_wrong_chroot_is_refused() -> None:
    with pytest.raises(InvalidPathError):
        parse_hosts("h:1/a/../b")


@given(st.lists(st.tuples(st.sampled_from(["a", "b.c", "10.0.0.1"]), st.integers(1, 65535)), min_size=1, max_size=4))
def test_hosts_are_kazoos(pairs: list[tuple[str, int]]) -> None:
    text = ",".join(f"{host}:{port}" for host, port in pairs) + "/root"
    theirs, chroot = kazoo.hosts.collect_hosts(text)
    assert parse_hosts(text) == (tuple(Address(*each) for each in theirs), chroot)


def test_endpoints() -> None:
    assert Address("h", 1).endpoint == "tcp://h:1"
    assert Address("::1", 1).endpoint == "tcp://[::1]:1"


def test_the_ring_goes_round_and_counts_whole_rounds_of_failure() -> None:
    ring = HostRing([Address("a", 1), Address("b", 1), Address("c", 1)], None)
    assert [ring.take().host for _ in range(4)] == ["a", "b", "c", "a"]
    assert [ring.on_failed() for _ in range(4)] == [False, False, True, False]
    ring.on_served()
    assert [ring.on_failed() for _ in range(3)] == [False, False, True]


def test_clients_spread_over_the_hosts() -> None:
    addresses = [Address(name, 1) for name in "abc"]
    first = Counter(HostRing(addresses, Random(seed)).take().host for seed in range(300))
    assert all(60 < first[name] < 140 for name in "abc"), first


# ---- pauses


def test_pauses_double_up_to_the_longest_and_are_jittered() -> None:
    backoff = Backoff(0.1, 1.0, Random(1))
    for whole in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert whole / 2 <= backoff.next_s() <= whole
    backoff.reset()
    assert backoff.next_s() <= 0.1
    pauses = {Backoff(0.1, 1.0, Random(seed)).next_s() for seed in range(50)}
    assert len(pauses) == 50


# ---- watches

kinds = st.sampled_from(list(WatchKind))
events = st.sampled_from([EventType.CREATED, EventType.DELETED, EventType.CHANGED, EventType.CHILD, EventType.NONE])
watch_paths = st.sampled_from(["/", "/a", "/a/b", "/ab"])
steps = st.lists(
    st.tuples(st.just("add"), kinds, watch_paths, st.integers(0, 2))
    | st.tuples(st.just("fire"), events, watch_paths, st.just(0))
    | st.tuples(st.just("remove"), st.sampled_from(list(WatcherType)), watch_paths, st.none() | st.integers(0, 2)),
    max_size=30,
)
FUNCTIONS: list[Any] = [lambda event, number=number: number for number in range(3)]
REMOVED = {
    WatcherType.CHILDREN: {WatchKind.CHILD: EventType.CHILD_WATCH_REMOVED},
    WatcherType.DATA: dict.fromkeys((WatchKind.DATA, WatchKind.EXIST), EventType.DATA_WATCH_REMOVED),
    WatcherType.PERSISTENT: {WatchKind.PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED},
    WatcherType.PERSISTENT_RECURSIVE: {WatchKind.RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED},
}
REMOVED[WatcherType.ANY] = {kind: event for each in list(REMOVED.values()) for kind, event in each.items()}


@given(steps)
def test_watches_against_a_plain_list(script: list[tuple[str, Any, str, int | None]]) -> None:
    table, twin = WatchTable(), list[tuple[WatchKind, str, Any]]()
    for what, arg, path, number in script:
        function = None if number is None else FUNCTIONS[number]
        if what == "add":
            table.add(arg, path, function)
            if (arg, path, function) not in twin:
                twin.append((arg, path, function))
        elif what == "fire":
            fired = [w for w in twin if is_fired(*w[:2], arg, path)]
            twin = [w for w in twin if w not in fired or w[0] in (WatchKind.PERSISTENT, WatchKind.RECURSIVE)]
            found = table.fire(arg, path)
            assert len(found) == len(set(found))
            assert set(found) == {function for _, _, function in fired}
        else:
            there = [w for w in twin if w[0] in REMOVED[arg] and w[1] == path]
            doomed = [w for w in there if function in (None, w[2])]
            if function is not None:
                assert table.is_shared(arg, path, function) == any(w[2] is not function for w in there)
            twin = [w for w in twin if w not in doomed]
            removed = [(event, each) for event, functions in table.remove(arg, path, function) for each in functions]
            assert len(removed) == len(set(removed))
            assert set(removed) == {(REMOVED[arg][kind], function) for kind, _, function in doomed}
        assert len(table) == len(twin)
    armed = list(table.rearm(7, ""))
    assert {w[:2] for w in twin} == {(k, path) for r in armed for k, ps in zip(WatchKind, r[1:], strict=False) for path in ps}
    left = table.take_all()
    assert {(path, function) for path, functions in left for function in functions} == {(p, f) for _, p, f in twin}
    assert len({path for path, _ in left}) == len(left)
    assert len(table) == 0


def is_fired(kind: WatchKind, waits_at: str, event: EventType, path: str) -> bool:
    if event is EventType.NONE:
        return False
    if kind is WatchKind.RECURSIVE:
        return event is not EventType.CHILD and (path + "/").startswith("/" if waits_at == "/" else waits_at + "/")
    if kind is WatchKind.PERSISTENT:
        return path == waits_at
    if kind is WatchKind.CHILD:
        return path == waits_at and event in (EventType.CHILD, EventType.DELETED)
    return path == waits_at and event in (EventType.CREATED, EventType.CHANGED, EventType.DELETED)


def test_who_watches_a_subtree_hears_of_znodes_and_not_of_lists_of_children() -> None:
    table = WatchTable()
    table.add(WatchKind.RECURSIVE, "/a", FUNCTIONS[0])
    for event in (EventType.CREATED, EventType.CHANGED, EventType.DELETED):
        for path in ("/a", "/a/b", "/a/b/c"):
            assert table.fire(event, path) == FUNCTIONS[:1]
        assert table.fire(event, "/ab") == []
    assert table.fire(EventType.CHILD, "/a") == []


def test_functions_are_called_in_order_of_registration() -> None:
    table = WatchTable()
    for function in reversed(FUNCTIONS):
        table.add(WatchKind.CHILD, "/a", function)
    assert table.fire(EventType.CHILD, "/a") == FUNCTIONS[::-1]


# ---- results


class Here:
    """Results whose functions run at once, or, when it is closed, in the caller."""

    def __init__(self) -> None:
        self.ran: list[Any] = []

    def dispatch(self, function: Any, argument: Any) -> bool:
        self.ran.append(function)
        function(argument)
        return True

    def result(self, finish: Any = None) -> AsyncResult[Any]:
        return AsyncResult(self.dispatch, finish)


def test_a_result_is_waited_for() -> None:
    result = Here().result()
    assert not result.wait(0)
    assert (result.ready(), result.successful(), result.value, result.exception) == (False, False, None, None)
    with pytest.raises(ClientTimeoutError):
        result.get(timeout=0.01)
    with pytest.raises(ClientTimeoutError):
        result.get_nowait()
    got: list[Any] = []
    waiters = [threading.Thread(target=lambda: got.append(result.get(timeout=10))) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    result.complete(7, None, 9)
    for waiter in waiters:
        waiter.join()
    assert (got, result.get(), result.zxid) == ([7] * 4, 7, 9)


def test_a_result_is_set_once() -> None:
    result = Here().result()
    result.complete(1, None)
    with pytest.raises(AssertionError):
        result.complete(2, None)
    assert result.value == 1


def test_finish_makes_the_value_or_raises() -> None:
    def finish(reply: Any, error: Any) -> Any:
        if isinstance(error, NoNodeError):
            return None
        if error:
            raise error
        return reply * 2

    here = Here()
    results = [here.result(finish) for _ in range(3)]
    results[0].complete(3, None)
    results[1].complete(None, NoNodeError())
    results[2].complete(None, ConfigurationError())
    assert results[0].get() == 6
    assert (results[1].get(), results[1].successful()) == (None, True)
    with pytest.raises(ConfigurationError):
        results[2].get()


def test_links_run_once_each_and_can_be_taken_back() -> None:
    here, heard = Here(), list[str]()
    result = here.result()

    def link(done: AsyncResult[Any]) -> None:
        heard.append("link")

    def taken_back(done: AsyncResult[Any]) -> None:
        heard.append("taken back")

    result.rawlink(link)
    result.rawlink(link)
    result.rawlink(taken_back)
    result.unlink(taken_back)
    result.complete(1, None)
    result.rawlink(link)
    assert heard == ["link", "link"], "once when it is set, and once when it had been set"
    assert here.ran == [link, link]


def test_links_run_in_the_caller_when_there_is_no_thread_for_them_any_more() -> None:
    result: AsyncResult[Any] = AsyncResult(lambda function, argument: False)
    result.complete(1, None)
    heard: list[Any] = []
    result.rawlink(heard.append)
    assert heard == [result]


@given(st.permutations(range(5)), st.integers(0, 5))
def test_when_all_are_ready_in_any_order(order: list[int], early: int) -> None:
    here = Here()
    results = [here.result() for _ in range(5)]
    done: list[int] = []
    for index in order[:early]:
        results[index].complete(index, None)
    when_all(results, lambda: done.append(1))
    for index in order[early:]:
        assert done == []
        results[index].complete(index, None)
    assert done == [1]


def test_when_all_of_very_many_are_ready() -> None:
    here = Here()
    results = [here.result() for _ in range(5000)]
    done: list[int] = []
    when_all(results, lambda: done.append(1))
    for result in reversed(results):
        result.complete(None, None)
    assert done == [1]


def test_an_event_unpacks() -> None:
    kind, _, path = WatchedEvent(EventType.CHILD, 3, "/a")  # type: ignore[arg-type]
    assert (kind, path) == (EventType.CHILD, "/a")
