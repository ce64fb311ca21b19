"""Goal: what kazoo builds from watches (DataWatch, ChildrenWatch, PatientChildrenWatch, TreeCache) follows every change,
over a lost connection and a lost session too.

Method: one client watches, another changes, and what the watching function was told is compared with what was done.
Watches may join quick changes together, so a change is made when the one before was heard."""

import contextlib
import threading
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.protocol.states import EventType, WatchedEvent, ZnodeStat
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.watchers import PatientChildrenWatch

from fastzk.defs import OpCode
from fastzk.testing.ensemble import wait_for
from fastzk.testing.rawclient import RawClient
from fastzk.wire import frames, records

pytestmark = pytest.mark.process
WAIT_S = 20.0
Connect = Callable[..., KazooClient]


def heard(told: list[object], *expected: object) -> None:
    """Waits until the last that was told is this, in this order."""
    try:
        wait_for(lambda: told[-len(expected) :] == list(expected), WAIT_S, f"{expected}")
    except TimeoutError as late:
        raise AssertionError(f"{late}: heard {told}") from late


def end_session(hosts: str, session_id: int, password: bytes) -> None:
    """Ends the session of another client.  Attach and close are one packet; that client may still come back in between, and
    then it is tried again."""
    host, _, port = hosts.split(",")[0].rpartition(":")
    attach = records.ConnectRequest(0, 10_000, session_id, password).encode()
    close = records.RequestHeader(1, OpCode.CLOSE_SESSION).encode()

    def is_ended() -> bool:
        with RawClient((host, int(port))) as other, contextlib.suppress(EOFError):
            other.send_bytes(frames.frame(attach) + frames.frame(close))
            return not records.ConnectResponse.decode(other.receive_record()).session_id or bool(other.receive_record())
        return False

    wait_for(is_ended, WAIT_S, "the session to be over")


def cut(client: KazooClient) -> None:
    """Loses its connection and waits until it has another."""
    suspended, connected = threading.Event(), threading.Event()

    def on_state(state: str) -> None:
        if state == KazooState.SUSPENDED:
            suspended.set()
        elif state == KazooState.CONNECTED and suspended.is_set():
            connected.set()

    client.add_listener(on_state)
    client._connection._socket.shutdown(2)
    assert suspended.wait(WAIT_S)
    assert connected.wait(WAIT_S)
    client.remove_listener(on_state)


def test_a_data_watch_is_told_of_every_change(connect: Connect, place: str) -> None:
    watching, writer = connect(), connect()
    told: list[object] = []

    @watching.DataWatch(f"{place}/a")
    def on_data(data: bytes | None, stat: ZnodeStat | None, event: WatchedEvent | None) -> None:
        told.append((data, stat and stat.version, event and event.type))

    assert told == [(None, None, None)]
    writer.create(f"{place}/a", b"1")
    heard(told, (b"1", 0, EventType.CREATED))
    writer.set(f"{place}/a", b"2")
    heard(told, (b"2", 1, EventType.CHANGED))
    writer.delete(f"{place}/a")
    heard(told, (None, None, EventType.DELETED))
    writer.create(f"{place}/a", b"3")
    heard(told, (b"3", 0, EventType.CREATED))
    assert len(told) == 5


def test_a_data_watch_is_told_what_changed_while_it_was_away(connect: Connect, place: str) -> None:
    watching, writer = connect(), connect()
    told: list[object] = []
    writer.create(f"{place}/a", b"1")
    watching.sync(place)
    watching.DataWatch(f"{place}/a", lambda data, stat: told.append(data))
    heard(told, b"1")
    cut(watching)
    writer.set(f"{place}/a", b"2")
    heard(told, b"2")
    assert told == [b"1", b"2"]


def test_a_data_watch_ends_when_its_function_says_so(connect: Connect, place: str) -> None:
    client = connect()
    told: list[object] = []
    client.create(f"{place}/a", b"1")

    @client.DataWatch(f"{place}/a")
    def on_data(data: bytes, stat: ZnodeStat) -> bool:
        told.append(data)
        return data != b"2"

    client.set(f"{place}/a", b"2")
    heard(told, b"2")
    client.set(f"{place}/a", b"3")
    client.sync(place)
    assert told == [b"1", b"2"]


def test_a_children_watch_is_told_of_every_change(connect: Connect, place: str) -> None:
    watching, writer = connect(), connect()
    told: list[object] = []
    watching.sync(place)

    @watching.ChildrenWatch(place, send_event=True)
    def on_children(children: list[str], event: WatchedEvent | None) -> None:
        told.append((sorted(children), event and event.type))

    assert told == [([], None)]
    writer.create(f"{place}/a")
    heard(told, (["a"], EventType.CHILD))
    writer.set(f"{place}/a", b"is no change of the list")
    writer.create(f"{place}/b", ephemeral=True)
    heard(told, (["a", "b"], EventType.CHILD))
    cut(watching)
    writer.stop()
    # It comes as an event, or kazoo reads it when it watches again.
    wait_for(lambda: len(told) == 4, WAIT_S, "the ephemeral znode to be gone")
    assert told[3] in [(["a"], EventType.CHILD), (["a"], None)]


def test_watches_live_on_in_a_new_session(connect: Connect, place: str, hosts: str) -> None:
    watching, writer = connect(), connect()
    data, children, states = [], [], []
    watching.sync(place)
    watching.DataWatch(place, lambda value, stat: data.append(value))
    watching.ChildrenWatch(place, lambda names: children.append(names))
    heard(data, b"")
    watching.add_listener(states.append)
    # Whoever has the number and the password of a session may end it: so a client loses it in the middle of its work.
    end_session(hosts, *watching.client_id)
    wait_for(lambda: states[-1:] == [KazooState.CONNECTED], WAIT_S, "a new session")
    assert KazooState.LOST in states
    writer.set(place, b"new")
    heard(data, b"new")
    writer.create(f"{place}/a")
    heard(children, ["a"])


def test_a_patient_watch_waits_until_nothing_changes(connect: Connect, place: str) -> None:
    watching, writer = connect(), connect()
    writer.create(f"{place}/a")
    watching.sync(place)
    children, changed = PatientChildrenWatch(watching, place, time_boundary=0.1).start().get(timeout=WAIT_S)
    assert children == ["a"]
    assert not changed.ready()
    writer.create(f"{place}/b")
    assert changed.get(timeout=WAIT_S) > 0


def test_a_tree_cache_is_what_the_tree_is(connect: Connect, place: str) -> None:
    caching, writer = connect(), connect()
    for path in ("/a", "/a/b", "/c"):
        writer.create(place + path, path.encode())
    caching.sync(place)
    cache = TreeCache(caching, place)
    told: list[object] = []
    faults: list[BaseException] = []
    cache.listen_fault(faults.append)

    @cache.listen
    def on_event(event: TreeEvent) -> None:
        told.append((event.event_type, event.event_data and event.event_data.path[len(place) :]))

    cache.start()
    heard(told, (TreeEvent.INITIALIZED, None))
    assert sorted(told[:-1]) == [(TreeEvent.NODE_ADDED, path) for path in ("", "/a", "/a/b", "/c")]
    assert cache.get_data(f"{place}/a/b").data == b"/a/b"
    assert cache.get_children(f"{place}/a") == {"b"}
    assert cache.get_data(f"{place}/none") is None
    writer.set(f"{place}/a/b", b"new")
    heard(told, (TreeEvent.NODE_UPDATED, "/a/b"))
    assert cache.get_data(f"{place}/a/b").data == b"new"
    assert cache.get_data(f"{place}/a/b").stat == writer.exists(f"{place}/a/b")
    writer.create(f"{place}/a/b/d", b"deep")
    heard(told, (TreeEvent.NODE_ADDED, "/a/b/d"))
    writer.delete(f"{place}/a/b", recursive=True)
    wait_for(lambda: cache.get_children(f"{place}/a") == frozenset(), WAIT_S, "the branch to be gone from the cache")
    wait_for(lambda: told[-2:].count((TreeEvent.NODE_REMOVED, "/a/b")) == 1, WAIT_S, "to be told so")
    assert (TreeEvent.NODE_REMOVED, "/a/b/d") in told
    assert faults == []
    cache.close()


def test_a_tree_cache_catches_up_after_a_lost_connection(connect: Connect, place: str) -> None:
    caching, writer = connect(), connect()
    writer.create(f"{place}/a", b"1")
    writer.create(f"{place}/gone")
    caching.sync(place)
    cache = TreeCache(caching, place)
    told: list[int] = []
    cache.listen(lambda event: told.append(event.event_type))
    cache.start()
    heard(told, TreeEvent.INITIALIZED)
    cut(caching)
    writer.set(f"{place}/a", b"2")
    writer.delete(f"{place}/gone")
    writer.create(f"{place}/new", b"3")
    wait_for(lambda: cache.get_children(place) == {"a", "new"}, WAIT_S, "the cache to have what is there")
    wait_for(lambda: cache.get_data(f"{place}/a").data == b"2", WAIT_S, "the cache to have new data")
    wait_for(lambda: {TreeEvent.CONNECTION_SUSPENDED, TreeEvent.CONNECTION_RECONNECTED} <= set(told), WAIT_S, "to be told")
    cache.close()
