"""Goal: to a native client a node or worker that dies under its writes is a short delay: each write is done exactly once, in
order, and none fails.

Method: three real nodes on a real disk.  One client keeps many writes under way: sequential creates, and sets of a counter that
each demand the version that the one before has left.  Again and again the worker or the node that it is connected to is killed
with SIGKILL.  A write done twice shows as a gap in the names or as a BadVersionError, one not done as a name or number that is
missing, one in the wrong place as a BadVersionError.  A watch that was set before the first kill hears of the change after the
last one, once."""

import os
import signal
import threading
from collections import deque
from pathlib import Path
from typing import Any, Self

import pytest

from fastzk import Client
from fastzk.data import WatchedEvent
from fastzk.defs import ClientState, EventType
from fastzk.testing.ensemble import Ensemble, Node, wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

KILLS = 4
KILLS_LONG = 20
WINDOW = 300  # writes asked for and unanswered: more than may be under way, so that some always wait
ANSWERS_BEFORE = 1000  # from one kill to the next
SESSION_S = 30.0
WAIT_S = 60.0


class Stream:
    """A client that keeps writing, and the first failure that it saw."""

    def __init__(self, nodes: Ensemble) -> None:
        self.client = Client(nodes.native_hosts, timeout=SESSION_S)
        self.names: list[str] = []
        self.version = 0
        self.failure: BaseException | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.client.start()
        self.client.create("/stream")
        self.client.create("/counter", b"0")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        self.client.stop()

    def finish(self) -> None:
        """Ends the writing, all of it answered."""
        self._is_stopping.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "a write is never answered"

    def wait_more(self, count: int) -> None:
        """Waits until so many more were answered.  Raises what a write failed with."""
        enough = len(self.names) + count
        wait_for(lambda: len(self.names) >= enough or self.failure is not None, WAIT_S, f"{count} more answers")
        if self.failure is not None:
            raise AssertionError(f"a write failed after {len(self.names)}") from self.failure

    def _run(self) -> None:
        pending: deque[tuple[Any, Any]] = deque()
        asked = 0
        try:
            while pending or not self._is_stopping.is_set():
                while len(pending) < WINDOW // 2 and not self._is_stopping.is_set():
                    created = self.client.create_async("/stream/n-", b"x", sequence=True)
                    pending.append((created, self.client.set_async("/counter", b"%d" % (asked + 1), version=asked)))
                    asked += 1
                created, counted = pending.popleft()
                self.names.append(created.get(timeout=WAIT_S))
                self.version = counted.get(timeout=WAIT_S).version
        except BaseException as failure:
            self.failure = failure
            raise


def kill(nodes: Ensemble, stream: Stream, number: int) -> Node | None:
    """SIGKILL to the worker, or to the whole node, that serves the client; gives the node that is no more."""
    port = stream.client.server_info().port
    (node,) = (node for node in nodes.nodes if node.native[1] == port)
    if number % 2:
        node.kill9()
        return node
    for pid in node.worker_pids():
        os.kill(pid, signal.SIGKILL)
    return None


def run_kills(disk: Path, kills: int) -> None:
    states: list[ClientState] = []
    events: list[WatchedEvent] = []
    with Ensemble(3, disk) as nodes:
        with Stream(nodes) as stream:
            client = stream.client
            session = client.client_id
            client.exists("/done", watch=events.append)
            client.add_listener(states.append)
            for number in range(kills):
                stream.wait_more(ANSWERS_BEFORE)
                before = len(states)
                killed = kill(nodes, stream, number)
                wait_for(lambda before=before: states[before:][-1:] == [ClientState.CONNECTED], WAIT_S, "another connection")
                stream.wait_more(ANSWERS_BEFORE)
                if killed is not None:
                    nodes.restart(killed)
                    nodes.wait_all_serving()
            stream.finish()
            assert stream.failure is None
            assert client.client_id == session
            assert states == [ClientState.SUSPENDED, ClientState.CONNECTED] * (len(states) // 2)
            count = len(stream.names)
            assert stream.names == [f"/stream/n-{number:010d}" for number in range(count)]
            client.sync("/")
            assert sorted(client.get_children("/stream")) == [name.rpartition("/")[2] for name in stream.names]
            data, stat = client.get("/counter")
            assert (int(data), stat.version, stream.version) == (count, count, count)
            client.create("/done")
            wait_for(lambda: events, WAIT_S, "the watch that has lived through it all")
            assert [event.type for event in events] == [EventType.CREATED]
        assert nodes.digest()


def test_writes_are_done_once_through_several_kills(disk: Path) -> None:
    run_kills(disk, KILLS)


@pytest.mark.long
def test_writes_are_done_once_through_twenty_kills(disk: Path) -> None:
    run_kills(disk, KILLS_LONG)
