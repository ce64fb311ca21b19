"""Goal: what Codis, a sharded Redis, keeps in ZooKeeper it can keep in fastzk, through the Go client it has (samuel's).

Method: processes of a Go program that asks what Codis asks: dashboards contend for the right to decide and write 1024
slots, proxies hold ephemeral znodes, clients follow the list of proxies.  A proxy, a dashboard and the leader's node are
killed while they work."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Figures, Servers
from program import Program

SOURCES = Path(__file__).parent / "codis"
BUILD_S_MAX = 200.0
WAIT_S = 40.0
SLOTS = 1024
pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not shutil.which("go"), reason="there is no Go: `apt-get install golang-go` brings it"),
]


@pytest.fixture
def start(home: Path, servers: Servers) -> Iterator[Callable[[str], Program]]:
    """Starts a process of the program by name."""
    program = home / "codis"
    command = ["go", "build", "-o", str(program), "."]
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    for step in (["go", "mod", "download"], command):
        done = subprocess.run(step, cwd=SOURCES, env=environment, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False)
        if done.returncode:
            assert step is not command, done.stderr
            pytest.skip(f"`go mod download` in {SOURCES} failed, is a module proxy reachable? {done.stderr}")
    with ExitStack() as running:
        yield lambda name: running.enter_context(Program(name, [str(program), servers.hosts, "user:secret"], home))


def does(program: Program, command: str) -> None:
    """Gives a command until it is done: Codis' client tries again after a lost connection, on a new one."""
    for _ in range(5):
        if program.ask(command, "^(OK|ERROR)", WAIT_S)[1] == "OK":
            return
    raise AssertionError(f"{command}: {program.said[-5:]}")


def test_codis(start: Callable[[str], Program], servers: Servers, figures: Figures) -> None:
    dashboard, other = start("dashboard"), start("other")
    does(dashboard, "acquire dashboard")
    assert other.ask("acquire other", "^(OK|ERROR.*)$")[1] == "ERROR zk: node already exists"
    assert other.ask("owner", "^OWNER (.*)$")[1] == "dashboard"
    figures.begin()
    does(dashboard, "assign 1")
    figures.done(f"{SLOTS} slots made, one after the other")
    does(dashboard, "assign 2")
    figures.done(f"{SLOTS} slots changed, one after the other")
    does(other, "check 2")
    figures.done(f"{SLOTS} slots read elsewhere")

    proxies = [start(f"proxy-{number}") for number in (1, 2)]
    follower = start("follower")
    for number, proxy in enumerate(proxies, 1):
        proxy.ask(f"proxy {number}", f"^ONLINE {number} true$", WAIT_S)
    follower.ask("follow", "^PROXIES proxy-1,proxy-2$", WAIT_S)
    figures.begin()
    since = len(follower.said)
    proxies[0].kill9()
    follower.await_line("^PROXIES proxy-2$", WAIT_S, since)
    figures.done("a proxy killed, its clients told (session 5000 ms)")
    since = len(follower.said)
    proxies[0].start()
    proxies[0].ask("proxy 1", "^ONLINE 1 true$", WAIT_S)
    follower.await_line("^PROXIES proxy-1,proxy-2$", WAIT_S, since)

    dashboard.kill9()
    assert other.ask("acquire other", "^(OK|ERROR.*)$")[1] == "ERROR zk: node already exists", "this lock outlives its owner"
    does(other, "release")
    does(other, "acquire other")
    figures.begin()
    since = len(follower.said)
    if servers.replace_leader():
        does(other, "assign 3")
        does(other, "check 3")
        figures.done(f"the leader killed, and {SLOTS} slots changed and read")
        assert {line for line in follower.said[since:] if line.startswith("PROXIES")} <= {"PROXIES proxy-1,proxy-2"}
    made = [other.ask(f"candidate {n}", r"^CANDIDATE (/codis3/candidates/\d{10})$")[1] for n in range(3)]
    numbers = [int(re.sub(r".*/", "", path)) for path in made]
    assert numbers == list(range(numbers[0], numbers[0] + 3)), "a sequence alone makes a name"
    does(other, "release")
