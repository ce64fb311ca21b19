"""Goal: ZooKeeper's own C client, as Debian packages it, works with fastzk.

Method: every command of its command line `cli_mt`, from its input and as an argument; what it prints is compared with what
it prints of ZooKeeper.  Without Debian's package zookeeper-bin the tests are skipped."""

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
HELP = (
    *("create", "create2", "delete", "set", "get", "ls", "ls2", "sync", "exists", "wexists", "myid", "verbose", "addauth"),
    *("config", "reconfig", "quit"),
)


class Shell:
    """A running cli_mt.  It answers when it likes, so each command names what its answer must hold."""

    def __init__(self, hosts: str, *options: str | Path) -> None:
        self.process = subprocess.Popen(
            [CLI, "-h", hosts, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Shell":
        self.reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        if self.process.poll() is None:
            self.process.stdin.write("quit\n")
            self.process.stdin.flush()
        self._ended()

    def crash(self) -> None:
        """It ends without a word to the server: its session stays."""
        self.process.kill()
        self._ended()

    def _ended(self) -> None:
        self.process.wait(timeout=RUN_S_MAX)
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # What its library logs, but for errors, is not what it says.
            if not re.search(r":ZOO_(INFO|DEBUG|WARN)@", line):
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


def test_help_tells_the_commands_that_are_tried_here(hosts: str) -> None:
    with Shell(hosts) as shell:
        told = shell.ask("help", *[rf"^ +({command})\b" for command in HELP])
    assert told == list(HELP)


def test_a_container_and_a_znode_with_a_time_to_live(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("create +c /container", r"mode: 4", r"rc = 0", r"name = /container$")
        shell.ask("create /container/child", r"rc = 0")
        shell.ask("create +t=600000 /ttl", r"mode: 5", r"rc = 0", r"name = /ttl$")
        [name] = shell.ask("create2 +st=600000 /ttl-", r"name = (/ttl-\d{10})$")
        # What it stores to know them by is for the server alone.
        shell.ask("get /container", r"ephemeralOwner = 0$")
        shell.ask("get /ttl", r"ephemeralOwner = 0$")
        for path in ("/container/child", "/container", "/ttl", name):
            shell.ask(f"delete {path}", r"rc = 0")


def test_an_ephemeral_sequential_znode(hosts: str) -> None:
    with Shell(hosts) as shell:
        [name] = shell.ask("create2 +es /both-", r"mode: 3", r"name = (/both-\d{10})$", r"ephemeralOwner = [0-9a-f]+$")[1:2]
        shell.ask(f"create {name}/child", r"rc = -108")
        shell.ask(f"delete {name}", r"rc = 0")


def test_a_session_that_is_left_and_one_that_is_closed(hosts: str, tmp_path: Path) -> None:
    with Shell(hosts, "-m", tmp_path / "session") as shell:
        [crashed] = shell.ask("create +e /left", r"Got a new session id: 0x([0-9a-f]+)$", r"rc = 0")[:1]
        shell.crash()
    with Shell(hosts) as shell:
        [session] = shell.ask("create +e /closed", r"Got a new session id: 0x([0-9a-f]+)$", r"rc = 0")[:1]
        shell.ask("get /left", rf"ephemeralOwner = {crashed}$")
        shell.ask("get /closed", rf"ephemeralOwner = {session}$")
        [session] = shell.ask("reinit", r"Got a new session id: 0x([0-9a-f]+)$")
        shell.ask("sync /closed", r"rc = 0")
        shell.ask("get /closed", r"/closed: rc = -101")
        shell.ask("delete /left", r"rc = 0")
        shell.ask("myid")
    # It prints this one when it ends.
    assert f"session Id = {session}" in shell.lines.queue


def test_exists_and_list_leave_watches(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("exists /x")  # waits for its answer and prints none but an error's number
        shell.ask("create /x", r"CREATED_EVENT .* for path /x$")
        shell.ask("ls /x", r"/x: rc = 0")
        shell.ask("create /x/y", r"CHILD_EVENT .* for path /x$")
        shell.ask("delete /x/y", r"rc = 0")
        shell.ask("get /x", r"/x: rc = 0")
        shell.ask("delete /x", r"DELETED_EVENT .* for path /x$")
        shell.ask("exists /x", r"Error -101 for /x$")


def test_two_hundred_writes_and_reads_of_64_kilobytes_at_once(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("create /od", r"rc = 0")
        shell.ask("od", r"od command response: rc = 0", r"Recvd 200 responses for 200 requests sent")
        shell.ask("get /od", r"value_len = 65535", r"version=c9")
        shell.ask("delete /od", r"rc = 0")


def test_the_configuration(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("config", r"^/zookeeper/config: rc = 0", r"version=")
        shell.ask("reconfig -remove 9", r"rc = -(?:123|102|8|6)$")


def test_who_it_is(hosts: str) -> None:
    with Shell(hosts) as shell:
        shell.ask("addauth digest user:secret")
        shell.ask("sync /", r"rc = 0")
        shell.ask("addauth no-such-scheme who", r"Authentication failure. Shutting down")
        shell.crash()  # it would shut down, and sometimes waits for itself for ever


def test_a_session_that_would_be_content_with_reading_and_one_that_tells_all(hosts: str) -> None:
    with Shell(hosts, "-r", "-d") as shell:
        shell.ask("verbose", r"logging level set to WARN")
        shell.ask("aexists /zookeeper", r"state = CONNECTED_STATE")
        shell.ask("als2 /", r"^\tzookeeper$")
