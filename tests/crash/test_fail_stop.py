"""Goal: a node whose disk refuses a write or a sync ends within a second and says where, acknowledges nothing after it, and starts
again when there is room; its peers go on.  And what its user may not read it names.

Method: real nodes under a shim (faults.c) that makes the kernel's answer a failure, from a moment on that the test chooses; clients
write before, meanwhile and after."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from fastzk.testing.ensemble import Ensemble, Node, wait_for

pytestmark = pytest.mark.process
SECONDS = 20
END_S_MAX = 1.0  # from the write that meets the failure to the node's end
EIO, ENOSPC, SHORT = 5, 28, 0

LOG_FAULTS = [
    ("fdatasync", EIO, "sync failed: EIO"),
    ("write", EIO, "write failed: EIO"),
    ("write", ENOSPC, "write failed: ENOSPC"),
    ("write", SHORT, "write failed: ENOSPC"),  # the kernel stops early where the next byte would fail
]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """faults.c, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: install gcc, and disks can be made to fail")
    made = tmp_path_factory.mktemp("shim") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made


class Faults:
    """The disk of one node."""

    def __init__(self, node: Node, shim: Path) -> None:
        self.path = node.home.parent / f"fault-{node.number}"
        node.command = ["env", f"LD_PRELOAD={shim}", f"FASTZK_FAULT={self.path}", *node.command]

    def begin(self, call: str, part: str, code: int, skip: int = 0) -> None:
        """From now on, after `skip` more, such calls fail."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{call} {part} {code} {skip}\n")
        new.rename(self.path)

    def end(self) -> None:
        self.path.unlink()


@pytest.fixture
def one(disk: Path, shim: Path) -> Iterator[tuple[Ensemble, Faults]]:
    """A node that stands alone."""
    ensemble = Ensemble(1, disk)
    faults = Faults(ensemble.node(1), shim)
    with ensemble:
        yield ensemble, faults


@pytest.fixture
def three(disk: Path, shim: Path) -> Iterator[tuple[Ensemble, list[Faults]]]:
    """Three nodes, each with a disk of its own that may fail."""
    ensemble = Ensemble(3, disk)
    faults = [Faults(node, shim) for node in ensemble.nodes]
    with ensemble:
        yield ensemble, faults


class Writer:
    """A client of one node, and what was acknowledged to it."""

    def __init__(self, node: Node, prefix: str) -> None:
        self.client = KazooClient(node.zk_host, timeout=10, connection_retry={"max_tries": 0}, command_retry={"max_tries": 0})
        self.client.start(SECONDS)
        self.prefix = prefix
        self.acknowledged: list[str] = []

    def write(self, count: int = 1) -> bool:
        """Writes one after the other; False when one was not acknowledged."""
        for _ in range(count):
            path = f"/{self.prefix}-{len(self.acknowledged)}"
            try:
                self.client.create_async(path, b"x" * 100).get(timeout=1.5)
            except (KazooException, KazooTimeoutError):
                return False
            self.acknowledged.append(path)
        return True

    def close(self) -> None:
        self.client.stop()
        self.client.close()


def all_present(node: Node, paths: list[str]) -> None:
    reader = Writer(node, "reader")
    reader.client.sync("/")
    missing = [path for path in paths if reader.client.exists(path) is None]
    reader.close()
    assert not missing, f"{len(missing)} of {len(paths)} acknowledged writes are lost"


def ends(node: Node, *told: str) -> None:
    """It ends soon, with an error that says why and where."""
    began_s = time.monotonic()
    status = node.wait_end()
    took_s = time.monotonic() - began_s
    assert status == 1
    assert took_s < END_S_MAX, f"it took {took_s:.2f} s"
    text = node.log_tail()
    assert all(word in text for word in told), text
    assert "Traceback" not in text


@pytest.mark.parametrize(("call", "code", "reason", "skip"), [*((*fault, 0) for fault in LOG_FAULTS), (*LOG_FAULTS[0], 3)])
def test_a_node_alone_acknowledges_nothing_after_its_log_failed(
    one: tuple[Ensemble, Faults], call: str, code: int, reason: str, skip: int
) -> None:
    ensemble, faults = one
    node = ensemble.node(1)
    writer = Writer(node, "alone")
    assert writer.write(20)
    faults.begin(call, "/log/log.", code, skip)
    began_s = time.monotonic()
    assert not writer.write(skip + 1), "a write was acknowledged that met the failure"
    ends(node, reason, "/log/log.0000000000000001: offset ")
    assert time.monotonic() - began_s < END_S_MAX + 0.5
    assert not writer.write(), "nobody is there"
    writer.close()
    node.start()
    if call == "fdatasync" and not skip:  # its disk still refuses: it must not serve
        assert node.wait_end() != 0
    else:
        node.kill9()
    faults.end()
    ensemble.restart(node)
    all_present(node, writer.acknowledged)


@pytest.mark.parametrize(
    ("who", "call", "code", "reason"),
    [("leader", *LOG_FAULTS[0]), ("follower", *LOG_FAULTS[0]), ("leader", *LOG_FAULTS[2]), ("follower", *LOG_FAULTS[3])],
)
def test_a_member_ends_and_its_peers_go_on(
    three: tuple[Ensemble, list[Faults]], who: str, call: str, code: int, reason: str
) -> None:
    ensemble, faults = three
    node = ensemble.leader() if who == "leader" else ensemble.followers()[0]
    others = [other for other in ensemble.nodes if other is not node]
    through, beside = Writer(node, "through"), Writer(others[0], "beside")
    assert through.write(10)
    assert beside.write(10)
    faults[node.number - 1].begin(call, "/log/log.", code)
    beside.write()  # the client's connection may be lost with the leader; what counts is what it was told
    ends(node, reason, "/log/log.0000000000000001: offset ")
    assert not through.write()
    wait_for(lambda: any(other.mode() == "leader" for other in others), SECONDS, "a leader among the others")
    after = Writer(others[1], "after")
    assert after.write(10)
    faults[node.number - 1].end()
    ensemble.restart(node)
    for writer in (through, beside, after):
        writer.close()
    for each in ensemble.nodes:
        all_present(each, through.acknowledged + beside.acknowledged + after.acknowledged)
    assert ensemble.digest()


@pytest.mark.parametrize(
    ("call", "code", "reason"), [("fdatasync", EIO, "sync failed: Input/output"), ("write", ENOSPC, "failed: No space")]
)
def test_a_vote_that_cannot_be_stored_is_not_given(three: tuple[Ensemble, list[Faults]], call: str, code: int, reason: str) -> None:
    ensemble, faults = three
    leader = ensemble.leader()
    node, other = [each for each in ensemble.nodes if each is not leader]
    writer = Writer(leader, "before")
    assert writer.write(10)
    writer.close()
    faults[node.number - 1].begin(call, "/data/vote", code)
    leader.kill9()
    assert node.wait_end() == 1
    text = node.log_tail()
    assert str(node.data_dir / "vote") in text
    assert reason in text
    assert "Traceback" not in text
    assert other.mode() != "leader", "with one vote of three"
    leader.start()
    wait_for(lambda: {leader.mode(), other.mode()} == {"leader", "follower"}, SECONDS, "two of three")
    faults[node.number - 1].end()
    ensemble.restart(node)
    ensemble.wait_all_serving()
    all_present(node, writer.acknowledged)


@pytest.mark.parametrize("call", ["write", "fdatasync", "rename"])
def test_a_first_use_on_a_full_disk_is_said_and_begun_again_later(disk: Path, shim: Path, call: str) -> None:
    ensemble = Ensemble(1, disk)
    node = ensemble.node(1)
    faults = Faults(node, shim)
    try:
        faults.begin(call, "/data/", ENOSPC)
        node.start()
        assert node.wait_end() == 2
        text = node.log_tail()
        assert "no space left on device" in text
        assert str(node.data_dir) in text
        assert "Traceback" not in text
        faults.end()
        ensemble.restart(node)
        writer = Writer(node, "first")
        assert writer.write(3)
        writer.close()
    finally:
        ensemble.__exit__(None, None, None)


NOBODY = 65534
# Root may read everything by these two capabilities; a program that is executed without them may not, and is an ordinary user here.
AS_ORDINARY = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("what", ["vote", "log", "segment", "identity", "soundness", "members"])
def test_what_an_ordinary_user_may_not_read_is_named(one: tuple[Ensemble, Faults], what: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user: run this test as root")
    ensemble, _ = one
    node = ensemble.node(1)
    writer = Writer(node, "root")
    assert writer.write(3)
    writer.close()
    assert node.stop() == 0
    path = next((node.data_dir / "log").iterdir()) if what == "segment" else node.data_dir / what
    shutil.chown(path, NOBODY, NOBODY)
    main = "import sys; from fastzk.node.main import main; sys.exit(main())"
    command = [sys.executable, "-c", AS_ORDINARY, "-c", main, *node.command[node.command.index("--id") :]]
    found = run_until_it_ends(command)
    assert found.returncode == 2, found.stderr
    assert str(path) in found.stderr
    assert "Traceback" not in found.stderr


def run_until_it_ends(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, start_new_session=True)


def test_the_shim_is_seen(one: tuple[Ensemble, Faults]) -> None:
    """Otherwise the tests above say nothing: with nothing to fail, nothing fails."""
    ensemble, faults = one
    faults.begin("write", "/no-such-file/", EIO)
    writer = Writer(ensemble.node(1), "seen")
    assert writer.write(20)
    writer.close()
    assert ensemble.node(1).is_running
    check: Callable[[str], bool] = (ensemble.home / "1" / "log").read_text().__contains__
    assert not check("failed")
