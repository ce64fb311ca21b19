"""Goal: Curator's recipes keep their promises while the servers' leader is killed again and again.

Method: the program of tests/compat/test_curator.py, all recipes side by side, round after round on the same three nodes,
one of which is always being killed or coming back.  Every recipe must pass as it does in peace: its clients retry as
Curator does by itself, and nothing else may be seen of a kill."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Figures, Servers
from jvm import Jvm

from fastzk.testing.ensemble import wait_for

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(400)]

ROUNDS = 4
ROUND_S_MAX = 90.0
PEACE_S = 1.5  # from one node's return to the next kill
OPTIONS = ("-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off")


class Killer:
    """Kills the leader and starts it again, until the `with` ends."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.kills = 0
        self.is_over = threading.Event()
        self.failed: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.thread.join()

    def _run(self) -> None:
        try:
            while not self.is_over.wait(PEACE_S):
                self.servers.replace_leader()
                self.kills += 1
        except Exception as error:  # whatever it is, the test that waits here must tell it
            self.failed = error


def test_curator(servers: Servers, home: Path, with_driver: Callable[[str], str], figures: Figures) -> None:
    if servers.ensemble is None:
        pytest.skip("the servers' leader is to be killed, and those of --hosts are not ours")
    jars = with_driver("curator")
    figures.begin()
    for number in range(1, ROUNDS + 1):
        with (
            Killer(servers) as killer,
            Jvm(f"round-{number}", jars, ["Judge", servers.hosts], home, (*OPTIONS, f"-Dround={number}")) as judge,
        ):
            wait_for(lambda: not judge.is_running, ROUND_S_MAX, f"the end of round {number}")
            judge.kill9()
            verdicts = [line for line in judge.said if line.startswith(("PASS", "FAIL"))]
            failed = [line for line in verdicts if line.startswith("FAIL")]
            assert not failed, "\n".join(failed)
            assert verdicts, judge.tail()
        assert killer.failed is None, f"the killer gave up: {killer.failed}"
        figures.done(f"round {number}: {len(verdicts)} recipes passed while the leader was killed {killer.kills} times")
