"""Goal: threads share a client, whoever of them moves its messages, and a signal in the middle of a call harms nothing.
Method: a real worker under an engine that stores nothing and can be told to keep its answers back.  Threads call in all ways at
once; a timer's handler raises in the main thread wherever that is; what the client's own thread does is counted by the kernel."""

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

from fastzk import Client
from fastzk.data import WatchedEvent
from fastzk.defs import ClientState
from fastzk.errors import ClientTimeoutError, NoNodeError
from fastzk.testing.engine import TinyEngine
from fastzk.testing.ensemble import wait_for

WAIT_S = 8.0
SESSION_S = 40.0  # a third of it passes before a ping, at which the client's own thread looks around: more than WAIT_S


@pytest.fixture(scope="module")
def engine() -> Iterator[TinyEngine]:
    """An engine with one worker."""
    with tempfile.TemporaryDirectory() as directory, TinyEngine(Path(directory)) as engine:
        engine.start_worker()
        yield engine


@pytest.fixture
def client(engine: TinyEngine, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client in a tree of the test's own."""
    with Client(f"{engine.native_address.removeprefix('tcp://')}/{request.node.name}", timeout=SESSION_S) as client:
        assert client.server_info().timeout == SESSION_S
        client.ensure_path("/")
        yield client


def keep_back(engine: TinyEngine, is_kept: bool) -> None:
    engine.do(lambda: setattr(engine, "is_telling", not is_kept))


def pending_count(client: Client) -> int:
    assert client._session is not None
    return len(client._session.flow.pending)


def test_threads_that_wait_ask_and_watch_at_once_all_get_their_own(client: Client) -> None:
    faults: list[BaseException] = []
    events: list[WatchedEvent] = []

    def live(number: int) -> None:
        path, random = f"/{number}", Random(number)
        try:
            client.create(path, b"0")
            for count in range(1, 80):
                value = f"{number} {count}".encode()
                if random.random() < 0.5:
                    client.get(path, watch=events.append)
                    client.set(path, value)
                else:
                    asked = [client.set_async(path, value), client.exists_async(path), client.get_async(path)]
                    assert asked[2].get()[0] == value
                    assert asked[0].get() == asked[1].get()
                data, stat = client.get(path)
                assert (data, stat.version) == (value, count)
                assert client.exists(path + "/none") is None
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=live, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert faults == []
    assert sum(client.get(f"/{number}")[1].version for number in range(6)) == 6 * 79
    assert {event.path for event in events} == {f"/{number}" for number in range(6)}


class StruckError(Exception):
    """What a signal's handler raises."""


def test_a_signals_handler_may_raise_anywhere_in_a_call(client: Client) -> None:
    states: list[ClientState] = []
    client.add_listener(states.append)
    client.create("/a", b"0")
    random, strikes, versions = Random(7), 0, [0]

    def handle(number: int, frame: FrameType | None) -> None:
        raise StruckError

    before = signal.signal(signal.SIGALRM, handle)
    try:
        for _ in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 6e-4))
                asked = [client.set_async("/a", b"x"), *(client.get_async("/a") for _ in range(random.randrange(8)))]
                for result in asked:
                    result.get()
                with pytest.raises(NoNodeError):
                    client.get("/none")
                versions.append(client.get("/a")[1].version)
            except StruckError:
                strikes += 1
            finally:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except StruckError:
                    strikes += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert strikes > 40, "the timer has struck"
    assert versions == sorted(versions)
    assert client.get("/a")[1].version >= versions[-1]
    wait_for(lambda: pending_count(client) == 0, WAIT_S, "all that was asked to be answered")
    assert client._driver is not None
    assert client._driver.lane.unanswered == 0
    assert states == [], "the connection stood all the time"


def test_a_signals_handler_may_use_the_client_in_the_middle_of_a_call(client: Client, engine: TinyEngine) -> None:
    client.create("/a", b"0")
    seen: list[Any] = []

    def handle(number: int, frame: FrameType | None) -> None:
        keep_back(engine, False)
        seen.append(client.get("/a")[0])
        seen.append(client.get_async("/a").get()[0])

    before = signal.signal(signal.SIGALRM, handle)
    try:
        keep_back(engine, True)
        write = client.set_async("/a", b"1")
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert write.get(timeout=WAIT_S).version == 1
        wait_for(lambda: seen == [b"1", b"1"], WAIT_S, "the handler's reads")
        assert time.monotonic() - begun < WAIT_S, "nobody received for the handler until a ping was due"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_call_is_sent_while_another_thread_waits_for_the_answer_to_its_own(client: Client, engine: TinyEngine) -> None:
    client.create("/a")
    keep_back(engine, True)
    waiting = threading.Thread(target=client.set, args=["/a", b"1"])
    waiting.start()
    wait_for(lambda: pending_count(client) == 1, WAIT_S, "the first to be sent")
    asked = client.set_async("/a", b"2")
    wait_for(lambda: pending_count(client) == 2, WAIT_S, "the second to be sent")
    assert not asked.ready()
    keep_back(engine, False)
    assert asked.get(timeout=WAIT_S).version == 2
    waiting.join(WAIT_S)
    assert not waiting.is_alive()


def test_what_is_more_than_a_plain_call_does_not_wait_for_anything_either(client: Client) -> None:
    client.create("/a")
    events: list[WatchedEvent] = []
    assert client.add_watch_async("/a", events.append).get(timeout=WAIT_S)
    assert client.exists_async("/a", watch=events.append).get(timeout=WAIT_S)
    assert client.remove_watch_async("/a", events.append).get(timeout=WAIT_S)
    assert client.add_auth_async("digest", "user:password").get(timeout=WAIT_S)
    assert client.create_async("/b/c", makepath=True).get(timeout=WAIT_S) == "/b/c"
    assert client.sync_async("/").get(timeout=WAIT_S) == "/"
    assert client.get_async("/a", linearizable=True).get(timeout=WAIT_S)[0] == b""


def test_who_waits_for_so_long_only_goes_and_the_answer_comes_all_the_same(client: Client, engine: TinyEngine) -> None:
    client.create("/a")
    keep_back(engine, True)
    write = client.set_async("/a", b"1")
    begun = time.monotonic()
    with pytest.raises(ClientTimeoutError):
        write.get(timeout=0.1)
    assert 0.1 <= time.monotonic() - begun < 5
    heard: list[Any] = []
    write.rawlink(heard.append)
    keep_back(engine, False)
    wait_for(lambda: heard == [write], WAIT_S, "the answer, with nobody waiting")
    assert client.get("/a")[0] == b"1"


def test_an_event_is_told_before_what_has_changed_is_seen(client: Client, engine: TinyEngine) -> None:
    client.create("/a", b"0")
    with Client(client.hosts[0].endpoint.removeprefix("tcp://") + client.chroot) as other:
        for count in range(1, 100):
            events: list[WatchedEvent] = []
            client.get("/a", watch=events.append)
            write = other.set_async("/a", b"%d" % count)
            while client.get("/a")[1].version < count:
                pass
            # It has been given to the thread that runs functions; which runs them in order.
            assert client._driver is not None
            is_told = threading.Event()
            client._driver.callbacks.put(lambda told, events=events: events and told.set(), is_told)
            assert is_told.wait(WAIT_S)
            write.get()


def test_one_call_after_the_other_wakes_no_thread_of_the_clients(client: Client) -> None:
    client.create("/a", b"0")
    ids = {thread.native_id for thread in threading.enumerate() if thread.name.startswith("fastzk")}

    def switches() -> int:
        texts = [Path(f"/proc/self/task/{native_id}/status").read_text() for native_id in ids]
        return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)

    before = switches()
    for _ in range(500):
        client.get("/a")
        client.exists("/a")
        client.get_async("/a").get()
    # An answer that comes between get_async() and get() is the own thread's, and it gets some on a machine that is busy.
    assert switches() - before < 500, "of 1,500 calls"
