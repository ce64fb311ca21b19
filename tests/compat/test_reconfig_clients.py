"""Goal: members are changed with the tools that people have for ZooKeeper: its shell.

Method: the shell's own commands against three real nodes; what they print, and what /zookeeper/config says then.  An observer
comes and goes that nobody starts, as in kazoo's own tests: it need not be there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from zkshell import Shell

from fastzk.testing.growing import SUPER, GrowingEnsemble

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

ABSENT = "server.9=127.0.0.1:9:7:observer;127.0.0.1:9"


@pytest.fixture(scope="module")
def ensemble(disk: Path) -> Iterator[GrowingEnsemble]:
    with GrowingEnsemble(3, disk) as ensemble:
        ensemble.wait_members([ensemble.spec(node) for node in ensemble.nodes], ensemble.nodes)
        yield ensemble


@pytest.fixture(params=["3.8", "3.9"])
def shell(request: pytest.FixtureRequest, java_jars: Callable[[str], str], ensemble: GrowingEnsemble) -> Iterator[Shell]:
    """ZooKeeper's shell, on a follower."""
    with Shell(java_jars(f"zookeeper-{request.param}"), ensemble.followers()[0].zk_host) as shell:
        yield shell


def said(shell: Shell, command: str, events: int = 0) -> str:
    return "\n".join(shell.ask(command, events))


def test_zkcli_changes_the_members(shell: Shell, ensemble: GrowingEnsemble) -> None:
    members = [ensemble.spec(node) for node in ensemble.nodes]
    assert "Insufficient permission" in said(shell, f"reconfig -add {ABSENT}")
    said(shell, f"addauth digest {SUPER}")
    version = int(said(shell, "config").rpartition("version=")[2], 16)
    assert members[0] in said(shell, "config -w")
    told = said(shell, f"reconfig -add {ABSENT}", events=1)
    assert "Committed new configuration:" in told
    assert ABSENT in told
    assert told.endswith(f"version={version + 1:x}")
    assert "127.0.0.1:9" in said(shell, "config -c")
    assert ABSENT not in said(shell, "reconfig -remove 9")
    refused = said(shell, f"reconfig -v {version:x} -add {ABSENT}")
    assert "Committed" not in refused
    assert "version" in refused.lower()
    told = said(shell, f"reconfig -members {','.join([*members, ABSENT])}")
    assert ABSENT in told
    told = said(shell, f"reconfig -members {','.join(members)}")
    assert [line for line in told.splitlines() if line.startswith("server.")] == members
    assert "Committed" not in said(shell, "reconfig -add nonsense")
    shell.quit()
