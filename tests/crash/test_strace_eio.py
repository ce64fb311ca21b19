"""Goal: a sync that fails in the kernel's own words ends the node at once, and nothing that was acknowledged before is lost.

Method: strace makes the n-th fdatasync of the node's log thread fail with EIO: a second opinion besides the preloaded shim of
fastzk.testing.chaos, which the node might call past.  A client creates znodes until it is answered no more; then the node is
started again without strace, and every acknowledged znode must be there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fastzk import Client, errors
from fastzk.testing.ensemble import Ensemble, wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

FAILS_AT = 30
WRITES_MAX = 1000
SESSION_S = 4.0
END_S_MAX = 10.0
TRACE = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]


@pytest.fixture
def strace() -> list[str]:
    """A command that makes a sync of the command behind it fail."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here to make a sync fail: apt-get install strace")
    command = [*TRACE, "-e", f"inject=fdatasync:error=EIO:when={FAILS_AT}"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace cannot trace here: {tried.stderr.strip()}")
    return command


def test_a_failing_sync_ends_the_node_and_loses_nothing(disk: Path, strace: list[str]) -> None:
    ensemble = Ensemble(1, disk)
    (node,) = ensemble.nodes
    node.prefix = strace
    created = []
    with ensemble:
        with Client(node.native_host, timeout=SESSION_S) as client:
            client.create("/kept")
            try:
                for number in range(WRITES_MAX):
                    created.append(client.create(f"/kept/{number}").rpartition("/")[2])
            except errors.ConnectionLoss:
                pass
        assert 0 < len(created) < WRITES_MAX, "no sync failed"
        assert node.process is not None
        wait_for(lambda: not node.is_running, END_S_MAX, "the node to end, since a sync failed")
        assert node.wait_end() == 1
        assert "sync failed: EIO; the node ends" in node.log_tail()
        node.prefix = []
        ensemble.restart(node)
        with Client(node.native_host, timeout=SESSION_S) as client:
            assert set(created) <= set(client.get_children("/kept"))
