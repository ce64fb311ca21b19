"""Goal: nodes can be restarted in turn while clients write: the leader hands over before it ends, nobody waits for an election,
and no session ends.

Method: three real nodes, and three clients that write one after the other, each of which prefers another node.  Each node gets
SIGTERM and is started again once.  What counts is the longest time in which none of the clients was answered; the bound is
generous, since the machine may be loaded: on an idle one it is about 0.1 s (`-s` prints it)."""

import itertools
import threading
import time
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState

from fastzk.testing.ensemble import Ensemble

pytestmark = pytest.mark.process
GAP_S_MAX = 2.0


class Writer:
    """A client that writes for as long as it is let, and notes when it was answered."""

    def __init__(self, ensemble: Ensemble, number: int) -> None:
        hosts = [node.zk_host for node in ensemble.nodes]
        self.path = f"/writer-{number}"
        self.answered_s: list[float] = []
        self.states: list[str] = []
        self.client = KazooClient(",".join(hosts[number:] + hosts[:number]), timeout=10, randomize_hosts=False)
        self.client.add_listener(self.states.append)
        self.client.start(20)
        self.client.create(self.path, b"")
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for count in itertools.count():
            if self._is_ending.is_set():
                return
            try:
                self.client.set(self.path, b"%d" % count)
            except KazooException:
                continue  # its own connection was cut: whether it was written is not known
            self.answered_s.append(time.monotonic())

    def end(self) -> None:
        self._is_ending.set()
        self._thread.join()
        self.client.stop()
        self.client.close()


def test_a_rolling_restart_stops_nobody_and_ends_no_session(tmp_path: Path) -> None:
    with Ensemble(3, tmp_path) as ensemble:
        writers = [Writer(ensemble, number) for number in range(3)]
        try:
            for node in ensemble.nodes:
                assert node.stop() == 0
                ensemble.restart(node)
                ensemble.wait_all_serving()
        finally:
            for writer in writers:
                writer.end()
        every = sorted(itertools.chain(*(writer.answered_s for writer in writers)))
        gap_s = max(after - before for before, after in itertools.pairwise(every))
        own = [max(b - a for a, b in itertools.pairwise(writer.answered_s)) for writer in writers]
        print(f"{len(every)} writes; longest gap {gap_s * 1000:.0f} ms; of each client {[f'{each * 1000:.0f} ms' for each in own]}")
        assert gap_s < GAP_S_MAX
        assert all(KazooState.LOST not in writer.states[:-1] for writer in writers), "a session has ended"
        assert ensemble.digest()
