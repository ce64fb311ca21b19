"""Goal: a Java client that accepts a read-only server is served by a node that has lost its ensemble, and goes back to one
that takes writes as soon as there is one, with its session.

Method: zkCli 3.9 with -r at three nodes in read-only mode, two of which are killed and one of these started again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from zkshell import ANSWER_S_MAX, Shell

from fastzk.testing.ensemble import Ensemble, wait_for

# The first time, Maven fetches the jars.
pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def heard(shell: Shell, state: str) -> None:
    wait_for(lambda: f"WatchedEvent state:{state} type:None" in " ".join(shell.events), ANSWER_S_MAX, state)


def test_reads_go_on_without_a_quorum_and_writes_come_back_with_it(java_jars: Callable[[str], str], disk: Path) -> None:
    jars = java_jars("zookeeper-3.9")
    with Ensemble(3, disk, ["--read-only-mode"]) as nodes:
        with Shell(jars, nodes.leader().zk_host) as shell:
            assert shell.ask("create /before kept", 0)[-1] == "Created /before"
            shell.ask("sync /", 0)
            shell.quit()
        leader, other = nodes.leader(), nodes.followers()[0]
        leader.kill9()
        other.kill9()
        with Shell(jars, nodes.zk_hosts, flag="-r") as shell:
            heard(shell, "ConnectedReadOnly")
            assert shell.ask("get /before", 0)[-1] == "kept"
            assert shell.ask("set /before changed", 0) == ["Not a read-only call: /before"]
            leader.start()
            heard(shell, "SyncConnected")
            assert shell.ask("set /before changed", 0) == []
            assert shell.ask("get /before", 0) == ["changed"]
            shell.quit()
        other.start()
        nodes.wait_all_serving()
