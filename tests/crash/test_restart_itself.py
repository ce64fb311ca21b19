"""Goal: a node whose engine asks for it starts itself anew, keeps its process id, and does so a bounded number of times.

Method: the supervisor with an engine that asks some times before it works, as a real process; the bound on a clock of the
test's own."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.node.restart import RESTARTS_MAX, RESTARTS_WITHIN_S, VARIABLE, Restarts
from fastzk.testing.ensemble import free_ports, processes_of, wait_for

SECONDS = 30

NODE = """
import logging, sys
from pathlib import Path
from fastzk.node.main import parse_arguments
from fastzk.node.restart import StartAnew
from fastzk.node.supervisor import Supervisor

asks, home, zk, native = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]

class Asking(Supervisor):
    def _run_engine(self):
        with (home / "starts").open("a") as starts:
            starts.write("x")
        if len((home / "starts").read_text()) <= asks:
            raise StartAnew("a test wants it")
        super()._run_engine()

logging.basicConfig(level="INFO")
options = ["--zk", f"127.0.0.1:{zk}", "--native", f"127.0.0.1:{native}", "--data-dir", str(home / "data"), "--cpus", "any"]
sys.exit(Asking(parse_arguments([*options, "--workers", "1"])).run())
"""


@pytest.fixture
def home(disk: Path) -> Iterator[Path]:
    """A directory of the test's own on a real file system."""
    with tempfile.TemporaryDirectory(dir=disk) as path:
        yield Path(path)


def start(home: Path, asks: int) -> tuple[subprocess.Popen[bytes], int]:
    """A node that asks so often, and its port."""
    zk, native = free_ports(2)
    command = [sys.executable, "-c", NODE, str(asks), str(home), str(zk), str(native)]
    with (home / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True), zk


@pytest.mark.process
def test_a_node_that_asks_for_it_starts_anew_and_serves(home: Path) -> None:
    node, zk = start(home, 3)
    try:
        client = KazooClient(f"127.0.0.1:{zk}", timeout=10)
        client.start(SECONDS)
        client.create("/here", b"x")
        client.stop()
        client.close()
        assert (home / "starts").read_text() == "xxxx"
        assert node.poll() is None, "it is the same process"
        assert len(processes_of(node.pid)) == 3, "a supervisor, an engine, a worker: nothing of its earlier lives is left"
        assert (home / "log").read_text().count("starts itself anew") == 3
        node.send_signal(signal.SIGTERM)
        assert node.wait(SECONDS) == 0
    finally:
        node.kill()
        node.wait(SECONDS)


@pytest.mark.process
def test_a_node_that_always_asks_for_it_gives_up(home: Path) -> None:
    node, _ = start(home, 1000)
    try:
        assert node.wait(SECONDS) == 1
        assert len((home / "starts").read_text()) == RESTARTS_MAX + 1
        assert f"more than {RESTARTS_MAX} times within" in (home / "log").read_text()
        wait_for(lambda: not processes_of(node.pid), SECONDS, "its processes to be gone")
    finally:
        node.kill()
        node.wait(SECONDS)


@pytest.mark.process
def test_a_node_that_waits_to_start_anew_ends_when_told_to(home: Path) -> None:
    node, _ = start(home, 1000)
    try:
        wait_for(lambda: "anew in 0.8 s" in (home / "log").read_text(), SECONDS, "a longer pause")
        node.send_signal(signal.SIGTERM)
        assert node.wait(SECONDS) == 0
    finally:
        node.kill()
        node.wait(SECONDS)


def test_the_pauses_grow_and_there_is_a_bound() -> None:
    restarts = Restarts({})
    asked = [restarts.ask(1000.0 + number) for number in range(RESTARTS_MAX + 2)]
    assert asked == [0.0, 0.1, 0.2, 0.4, 0.8, None, None]
    assert restarts.ask(1000.0 + RESTARTS_WITHIN_S + 0.5) == 0.8, "the oldest is forgotten"
    assert restarts.ask(5000.0) == 0.0


def test_what_stands_in_the_environment_counts_if_it_makes_sense() -> None:
    assert Restarts({VARIABLE: "999500,999600"}).ask(1000.0) == 0.2
    for text in ("", "x", "999500,,-5", "1", "99999999999"):
        assert Restarts({VARIABLE: text}).ask(1000.0) in (0.0, 0.1)
