"""Goal: the native client lives through everything that happens to servers, networks and processes, and leaves nothing behind.
Method: real workers and nodes that are killed and started again; servers that refuse, keep silent or talk nonsense; forks,
exits and many lives of one client, with threads and descriptors counted."""

import gc
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from fastzk import Client, limits
from fastzk.client.retry import Retry
from fastzk.data import CREATOR_ALL_ACL, WatchedEvent
from fastzk.defs import ClientState, EventType, KeeperState
from fastzk.errors import (
    ClientTimeoutError,
    ConnectionClosedError,
    ConnectionLoss,
    ForkedError,
    RetryFailedError,
    SessionExpiredError,
)
from fastzk.testing.engine import TinyEngine
from fastzk.testing.ensemble import Ensemble, free_ports, wait_for
from fastzk.testing.rawclient import RawClient

WAIT_S = 20.0


@pytest.fixture
def engine() -> Iterator[TinyEngine]:
    """An engine with one worker."""
    with tempfile.TemporaryDirectory() as directory, TinyEngine(Path(directory)) as engine:
        engine.start_worker()
        yield engine


def native(engine: TinyEngine) -> str:
    return engine.native_address.removeprefix("tcp://")


class States:
    """A listener that can be waited for."""

    def __init__(self, client: Client) -> None:
        self._queue: queue.Queue[ClientState] = queue.Queue()
        client.add_listener(self._queue.put)

    def next(self) -> ClientState:
        return self._queue.get(timeout=WAIT_S)


# ---- servers that go and come back


def test_a_killed_worker_is_noticed_at_once_and_the_session_goes_on_at_the_next(engine: TinyEngine) -> None:
    client = Client(native(engine), timeout=20.0)
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        session = client.client_id
        client.create("/e", b"mine", ephemeral=True)
        events: queue.Queue[WatchedEvent] = queue.Queue()
        client.get("/e", watch=events.put)
        killed_at = time.monotonic()
        engine._workers[0].kill()
        assert states.next() is ClientState.SUSPENDED
        assert time.monotonic() - killed_at < 3.0, "a killed server is not waited for"
        with pytest.raises(ConnectionLoss):
            client.server_info()
        waiting = client.get_async("/e")
        assert not waiting.ready()
        engine.start_worker(2)
        assert states.next() is ClientState.CONNECTED
        assert client.client_id == session
        data, stat = waiting.get(timeout=WAIT_S)
        assert session is not None
        assert (data, stat.owner_session_id) == (b"mine", session[0])
        assert events.empty(), "the watch is armed at the next server"
        client.set("/e", b"changed")
        assert events.get(timeout=WAIT_S) == WatchedEvent(EventType.CHANGED, KeeperState.CONNECTED, "/e")
    assert states.next() is ClientState.LOST


def test_a_write_under_way_when_the_worker_dies_is_asked_again(engine: TinyEngine) -> None:
    with Client(native(engine), timeout=20.0) as client:
        client.create("/a")
        engine.do(lambda: setattr(engine, "is_applying", False))
        write, read = client.set_async("/a", b"x", version=0), client.get_async("/a")
        wait_for(lambda: any(kind == 3 for kind, _ in engine.heard[2:]), WAIT_S, "the write to reach the engine")
        engine._workers[0].kill()
        engine.do(lambda: setattr(engine, "is_applying", True))
        engine.start_worker(2)
        assert write.get(timeout=WAIT_S).version == 1
        assert read.get(timeout=WAIT_S)[0] == b"x"


def test_a_write_that_was_done_and_not_answered_is_not_done_again(engine: TinyEngine) -> None:
    with Client(native(engine), timeout=20.0) as client:
        client.create("/a")
        before = engine.machine.applied_index
        engine.do(lambda: setattr(engine, "is_telling", False))
        write = client.set_async("/a", b"x", version=0)
        wait_for(lambda: engine.machine.applied_index > before, WAIT_S, "the write to be done")
        engine._workers[0].kill()
        engine.do(lambda: setattr(engine, "is_telling", True))
        engine.start_worker(2)
        assert write.get(timeout=WAIT_S).version == 1
        assert client.get("/a")[0] == b"x"


def test_the_next_server_knows_who_we_are_and_all_that_we_watch(engine: TinyEngine) -> None:
    client = Client(native(engine), timeout=20.0)
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        client.add_auth("digest", "me:secret")
        client.create("/mine", b"x", acl=CREATOR_ALL_ACL)
        events: queue.Queue[tuple[str, EventType, str]] = queue.Queue()

        def hears(name: str) -> Callable[[WatchedEvent], None]:
            return lambda event: events.put((name, event.type, event.path))

        client.add_watch("/mine", hears("recursive"), recursive=True)
        client.add_watch("/", hears("persistent"))
        client.exists("/mine/none", watch=hears("exists"))
        engine._workers[0].kill()
        assert states.next() is ClientState.SUSPENDED
        making = client.create_async("/mine/none")
        engine.start_worker(2)
        assert states.next() is ClientState.CONNECTED
        making.get(timeout=WAIT_S)
        client.create("/other")
        heard = [events.get(timeout=WAIT_S) for _ in range(3)]
        assert sorted(heard[:2]) == [("exists", EventType.CREATED, "/mine/none"), ("recursive", EventType.CREATED, "/mine/none")]
        assert heard[2] == ("persistent", EventType.CHILD, "/")
        assert client.get("/mine")[0] == b"x"


def test_a_session_that_is_over_is_replaced(engine: TinyEngine) -> None:
    client = Client(native(engine))
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        assert client.client_id is not None
        session_id, password = client.client_id
        client.create("/e", ephemeral=True)
        events: queue.Queue[WatchedEvent] = queue.Queue()
        client.get("/e", watch=events.put)
        with RawClient(engine.tcp_address) as thief:
            assert thief.connect(session_id=session_id, password=password).session_id == session_id
            thief.close_session()
        assert states.next() is ClientState.SUSPENDED
        assert states.next() is ClientState.LOST
        assert states.next() is ClientState.CONNECTED
        assert client.client_id[0] != session_id
        assert events.get(timeout=WAIT_S).type in (EventType.NONE, EventType.DELETED)
        assert client.exists("/e") is None


def test_a_stolen_session_is_taken_back(engine: TinyEngine) -> None:
    client = Client(native(engine))
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        assert client.client_id is not None
        session_id, password = client.client_id
        with RawClient(engine.tcp_address) as thief:
            thief.connect(session_id=session_id, password=password)
            assert states.next() is ClientState.SUSPENDED
            assert states.next() is ClientState.CONNECTED
            assert thief.receive_end() == []
        assert client.client_id == (session_id, password)


def test_a_client_can_go_on_with_the_session_of_one_that_is_gone(engine: TinyEngine) -> None:
    with RawClient(engine.tcp_address) as raw:
        raw.connect()
    with Client(native(engine), client_id=(raw.session_id, raw.password)) as client:
        assert client.client_id == (raw.session_id, raw.password)
    with Client(native(engine), client_id=(raw.session_id, raw.password)) as client:
        assert client.client_id is not None
        assert client.client_id[0] != raw.session_id, "it was closed, so there is a new one"


@pytest.mark.process
def test_a_node_that_restarts_keeps_session_and_data(disk: Path) -> None:
    with Ensemble(1, disk) as nodes:
        (node,) = nodes.nodes
        client = Client(nodes.native_hosts, timeout=30.0)
        states = States(client)
        with client:
            assert states.next() is ClientState.CONNECTED
            session = client.client_id
            client.create("/kept", b"1")
            client.create("/e", ephemeral=True)
            before = client.last_zxid
            node.kill9()
            assert states.next() is ClientState.SUSPENDED
            waiting = client.set_async("/kept", b"2")
            nodes.restart(node)
            assert states.next() is ClientState.CONNECTED
            assert waiting.get(timeout=WAIT_S).version == 1
            assert waiting.zxid > before
            assert client.client_id == session
            stat = client.exists("/e")
            assert session is not None
            assert stat is not None
            assert stat.owner_session_id == session[0]


@pytest.mark.process
def test_three_nodes_of_which_the_one_in_use_dies(shared_ensemble: Ensemble) -> None:
    nodes = shared_ensemble
    client = Client(nodes.native_hosts, timeout=20.0)
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        session = client.client_id
        client.create("/three", b"x")
        used = next(node for node in nodes.nodes if node.native_host.endswith(f":{client.server_info().port}"))
        used.kill9()
        assert states.next() is ClientState.SUSPENDED
        assert states.next() is ClientState.CONNECTED
        assert client.client_id == session
        assert client.get("/three")[0] == b"x"
        client.delete("/three")
    nodes.restart(used)


@pytest.mark.process
def test_the_loss_of_a_leader_is_a_delay_at_the_nodes_that_stay(shared_ensemble: Ensemble) -> None:
    nodes = shared_ensemble
    leader = nodes.leader()
    client = Client(nodes.followers()[0].native_host, timeout=20.0)
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        client.create("/stays", b"0")
        events: queue.Queue[WatchedEvent] = queue.Queue()
        client.get("/stays", watch=events.put)
        leader.kill9()
        writes = [client.create_async("/stays/n-", sequence=True) for _ in range(100)]
        assert [write.get(timeout=WAIT_S) for write in writes] == [f"/stays/n-{number:010d}" for number in range(100)]
        assert client.set("/stays", b"1").version == 1
        assert events.get(timeout=WAIT_S).type is EventType.CHANGED, "the watch has lived through it"
        client.delete("/stays", recursive=True)
        assert client.connected
    assert states.next() is ClientState.LOST, "and nothing in between"
    nodes.restart(leader)


@pytest.mark.process
def test_a_session_that_no_one_speaks_for_expires(shared_ensemble: Ensemble) -> None:
    """The session of a process that was stopped; it finds out when it goes on."""
    script = "import sys; from fastzk import Client; client = Client(sys.argv[1], timeout=4.0); client.add_listener("
    script += "lambda state: print(state, flush=True)); client.start(); client.create('/mortal', ephemeral=True); "
    script += "print('made', flush=True); sys.stdin.read()"
    with Client(shared_ensemble.native_hosts) as client:
        command = [sys.executable, "-c", script, shared_ensemble.native_hosts]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = {process.stdout.readline().strip(), process.stdout.readline().strip()}
            assert said == {"CONNECTED", "made"}
            gone = threading.Event()
            assert client.exists("/mortal", watch=lambda event: gone.set(), linearizable=True) is not None
            process.send_signal(19)  # SIGSTOP
            assert gone.wait(WAIT_S)
            assert client.exists("/mortal") is None
            process.send_signal(18)  # SIGCONT
            heard = [process.stdout.readline().strip()]
            while heard[-1] in ("SUSPENDED", "CONNECTED"):  # more than once where the machine is slow
                heard.append(process.stdout.readline().strip())
            assert (heard[0], heard[-1]) == ("SUSPENDED", "LOST"), heard
            assert process.stdout.readline().strip() == "CONNECTED"
            process.communicate()
            assert process.returncode == 0


# ---- servers that are none


def test_no_server_at_all() -> None:
    client = Client("127.0.0.1:1", timeout=4.0)
    with pytest.raises(ClientTimeoutError, match="none of 1 servers"):
        client.start(timeout=0.3)
    assert client.state is ClientState.LOST


def test_servers_that_refuse_or_do_not_exist_are_passed_over(engine: TinyEngine) -> None:
    (port,) = free_ports(1)
    with Client(f"127.0.0.1:{port},127.0.0.1:1,{native(engine)}", randomize_hosts=False) as client:
        assert client.server_info().port == int(native(engine).rpartition(":")[2])


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n", bytes(200), b"\xff" * 200])
def test_servers_that_speak_something_else_are_passed_over(engine: TinyEngine, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def talk() -> None:
            taken, _ = odd.accept()
            with taken:
                taken.sendall(greeting)
                taken.settimeout(WAIT_S)
                try:
                    while taken.recv(1000):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=talk)
        thread.start()
        with Client(f"127.0.0.1:{odd.getsockname()[1]},{native(engine)}", 1.5, randomize_hosts=False) as client:
            assert client.exists("/") is not None
        thread.join()


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [b""],
        [b"x"],
        [bytes(3)],
        [b"\x7f\xff\xff\xff"],
        [b"\x00\x00\x00\x25" + bytes(37)],
        [b"\xff" * 100],
    ],
)
def test_servers_that_answer_with_nonsense_are_passed_over(engine: TinyEngine, answers: list[bytes]) -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    port = router.bind_to_random_port("tcp://127.0.0.1")
    farewells: list[bool] = []

    def talk() -> None:
        if router.poll(WAIT_S * 1000):
            identity, _ = router.recv_multipart()
            for answer in answers:
                router.send_multipart([identity, answer])
            if router.poll(WAIT_S * 1000):
                farewells.append(router.recv_multipart() == [identity, b""])

    thread = threading.Thread(target=talk)
    thread.start()
    with Client(f"127.0.0.1:{port},{native(engine)}", timeout=1.5, randomize_hosts=False) as client:
        assert client.exists("/") is not None
    thread.join()
    assert farewells == [True], "ZeroMQ would not tell it that the client has gone"
    router.close()
    context.term()


def test_stop_does_not_wait_for_a_server_that_is_frozen(engine: TinyEngine) -> None:
    client = Client(native(engine), timeout=4.0)
    client.start()
    worker = engine._workers[0]
    worker.send_signal(19)
    try:
        began = time.monotonic()
        write = client.create_async("/a")
        client.stop()
        assert time.monotonic() - began < 4.0
        with pytest.raises(ConnectionLoss):
            write.get()
    finally:
        worker.send_signal(18)


def test_a_frozen_server_is_left(engine: TinyEngine) -> None:
    client = Client(native(engine), timeout=4.0)
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        engine._workers[0].send_signal(19)
        engine.start_worker(2)
        assert states.next() is ClientState.SUSPENDED
        assert states.next() is ClientState.CONNECTED
        engine._workers[0].send_signal(18)


def test_an_idle_client_stays_connected(engine: TinyEngine) -> None:
    client = Client(native(engine), timeout=4.0)
    states = States(client)
    with client:
        assert states.next() is ClientState.CONNECTED
        with pytest.raises(queue.Empty):
            states._queue.get(timeout=4.5)
        assert client.connected


# ---- processes and what is left


def test_a_forked_process_is_told_to_make_its_own(engine: TinyEngine) -> None:
    with Client(native(engine)) as client:
        client.create("/a")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                try:
                    client.get("/a")
                except ForkedError:
                    client.stop()
                    with Client(native(engine)) as other:
                        status = 0 if other.exists("/a") else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert client.get("/a")[0] == b"", "the parent's goes on"


def test_many_lives_leave_nothing_behind(engine: TinyEngine) -> None:
    def counted() -> tuple[int, int]:
        gc.collect()  # what other tests have left
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def live() -> weakref.ref[Client]:
        client = Client(f"127.0.0.1:1,{native(engine)}")
        client.start()
        client.exists("/", watch=lambda event: None)
        client.restart()
        client.stop()
        return weakref.ref(client)

    live()
    before = counted()
    lives = [live() for _ in range(15)]
    assert counted() == before
    assert [life() for life in lives] == [None] * 15


def test_a_process_that_ends_ends_its_session(engine: TinyEngine) -> None:
    script = "import sys; from fastzk import Client; client = Client(sys.argv[1]); client.start(); "
    script += "client.create('/mine', ephemeral=True); client.get_async('/mine').rawlink(lambda result: print('linked'))"
    with Client(native(engine)) as client:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", script, native(engine)], capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "linked\n", "")
        assert time.monotonic() - began < 8.0
        client.sync("/")
        assert client.exists("/mine") is None


def test_a_callback_may_stop_and_restart_the_client(engine: TinyEngine) -> None:
    client = Client(native(engine))
    client.start()
    client.delete("/a", recursive=True)
    done = threading.Event()

    def restart(event: WatchedEvent) -> None:
        if event.type is EventType.CREATED:
            client.restart()
            done.set()

    client.exists("/a", watch=restart)
    client.create_async("/a")
    assert done.wait(WAIT_S)
    assert client.exists("/a") is not None
    client.stop()


def test_stop_from_many_threads(engine: TinyEngine) -> None:
    client = Client(native(engine))
    client.start()
    results: list[Any] = [client.create_async("/n-", sequence=True) for _ in range(500)]
    threads = [threading.Thread(target=client.stop) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result.successful() for result in results), "what was asked before is done before"


def test_every_call_is_answered_though_the_client_stops_meanwhile(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_REQUESTS_MAX", 20_000)
    for _ in range(2):
        client = Client(native(engine), timeout=40.0)
        client.start()
        results: list[Any] = []
        is_enough = threading.Event()

        def ask(client: Client = client, results: list[Any] = results, is_enough: threading.Event = is_enough) -> None:
            while not is_enough.is_set():
                results.append(client.exists_async("/"))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda results=results: len(results) > 100, WAIT_S, "some calls")
        client.stop()
        is_enough.set()
        for thread in threads:
            thread.join()
        assert all(result.ready() for result in results)
        kinds = {type(result.exception) for result in results}
        assert kinds <= {type(None), ConnectionClosedError}, "reads that were asked before the stop are answered"


def test_listeners_come_and_go(engine: TinyEngine) -> None:
    client = Client(native(engine))
    heard: list[tuple[str, ClientState]] = []
    client.add_listener(lambda state: heard.append(("once", state)) or True)

    def fail(state: ClientState) -> None:
        raise RuntimeError("on purpose")

    client.add_listener(fail)

    def always(state: ClientState) -> None:
        heard.append(("always", state))

    client.add_listener(always)
    client.start()
    client.restart()
    wait_for(lambda: len(heard) == 4, WAIT_S, "the listeners")
    client.remove_listener(always)
    client.stop()
    assert heard == [
        ("once", ClientState.CONNECTED),
        ("always", ClientState.CONNECTED),
        ("always", ClientState.LOST),
        ("always", ClientState.CONNECTED),
    ]


# ---- retry


def test_retry_repeats_what_failed_for_want_of_a_connection() -> None:
    pauses: list[float] = []
    errors: list[Exception] = [ConnectionLoss(), SessionExpiredError()]

    def call(value: int) -> int:
        if errors:
            raise errors.pop(0)
        return value

    retry = Retry(max_tries=-1, delay=1.0, sleep=pauses.append)
    assert retry(call, 7) == 7
    assert len(pauses) == 2
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 2.0
    errors = [ConnectionLoss()] * 3
    with pytest.raises(RetryFailedError):
        Retry(max_tries=3, sleep=pauses.append)(call, 7)
    errors = [SessionExpiredError()]
    with pytest.raises(SessionExpiredError):
        Retry(max_tries=3, ignore_expire=False)(call, 7)
    errors = [ConnectionLoss()]
    with pytest.raises(RetryFailedError):
        Retry(max_tries=-1, delay=1.0, deadline=0.1)(call, 7)
