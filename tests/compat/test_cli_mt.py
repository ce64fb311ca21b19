"""Goal: ZooKeeper's own C client, as Debian packages it, works with fastzk.

Method: its command line `cli_mt`, with commands from its input and with one command as an argument; what it prints is
compared with what it prints of ZooKeeper.  Without Debian's package zookeeper-bin the tests are skipped."""

import queue
import re
import subprocess
import threading
from pathlib import Path

import pytest

CLI = Path("/usr/lib/zookeeper/bin/cli_mt")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not CLI.exists(), reason=f"{CLI} is not there: `apt-get install zookeeper-bin` brings it"),
]
RUN_S_MAX = 30.0


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest) -> str:
    """Where the servers are: given, or three nodes of fastzk."""
    given: str | None = request.config.getoption("--hosts")
    return given or request.getfixturevalue("shared_ensemble").zk_hosts


class Shell:
    """A running cli_mt.  It answers when it likes, so each command names what its answer must hold."""

    def __init__(self, hosts: str) -> None:
        self.process = subprocess.Popen(
            [CLI, hosts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Shell":
        self.reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.wait(timeout=RUN_S_MAX)
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if ":ZOO_" not in line:
                self.lines.put(line.rstrip("\n"))

    def ask(self, command: str, *patterns: str) -> list[str]:
        """Gives a command and reads lines until each pattern was found, in this order; what matched."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        seen: list[str] = []
        found: list[str] = []
        while len(found) < len(patterns):
            try:
                seen.append(self.lines.get(timeout=RUN_S_MAX))
            except queue.Empty:
                raise AssertionError(f"{command}: no {patterns[len(found)]!r} in {seen}") from None
            if match := re.search(patterns[len(found)], seen[-1]):
                found.append(match.group(match.lastindex or 0))
        return found


def batch(hosts: str, command: str) -> str:
    """What cli_mt prints for one command given as an argument."""
    done = subprocess.run(
        [CLI, hosts, f"cmd:{command}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=True,
    )
    return done.stdout + done.stderr


def test_one_command_as_an_argument(hosts: str) -> None:
    # It takes all that follows `create` for the path, the blank included.
    assert "name = /x y" in batch(hosts, "create /x y")
    assert "rc = 0" in batch(hosts, "get /x y")
    assert "rc = 0" in batch(hosts, "delete /x y")
    assert "rc = -101" in batch(hosts, "get /x y")


def test_create_read_list_and_delete(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("create /c", r"\[/c\]: rc = 0", r"name = /c$")
        shell.ask("set /c data", r"rc = 0|version=1")
        shell.ask("get /c", r"/c: rc = 0", r"^data$", r"version=1")
        shell.ask("ls /", r"/: rc = 0", r"^\tc$")
        shell.ask("delete /c", r"rc = 0")
        shell.ask("get /c", r"/c: rc = -101")


def test_create2_and_listing_with_the_stat(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("create2 /c2", r"rc = 0", r"name = /c2$", r"version=0")
        shell.ask("create /c2/child", r"rc = 0")
        shell.ask("ls2 /c2", r"/c2: rc = 0", r"^\tchild$")
        shell.ask("delete /c2", r"rc = -111")
        shell.ask("delete /c2/child", r"rc = 0")
        shell.ask("delete /c2", r"rc = 0")


def test_a_sequential_and_an_ephemeral_znode(hosts: str) -> None:
    with Shell(hosts) as shell:
        [name] = shell.ask("create +s /seq-", r"name = (/seq-\d{10})$")
        shell.ask("create +e /eph", r"name = /eph$")
        shell.ask("get /eph", r"ephemeralOwner = [0-9a-f]*[1-9a-f]$")
    with Shell(hosts) as shell:
        shell.ask("sync /eph", r"rc = 0")
        shell.ask("get /eph", r"/eph: rc = -101")
        shell.ask(f"delete {name}", r"rc = 0")


def test_a_watch_fires(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("create /w", r"rc = 0")
        shell.ask("wexists /w")  # waits for its answer and prints none
        shell.ask("set /w changed", r"CHANGED_EVENT")
        shell.ask("delete /w", r"rc = 0")
