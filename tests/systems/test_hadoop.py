"""Goal: Hadoop's leader election (ActiveStandbyElector, which NameNodes and ResourceManagers stand on) works on fastzk.

Method: two electors as processes of their own.  The active one is killed, paused until its session is lost, and leaves
in good order; each time the other must become active, after fencing exactly whom it must fence.  Then a server's leader
is killed, which must change nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Figures, Servers
from jvm import Jvm

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(180)]

SESSION_MS = 4000
WAIT_S = 30.0


def elector(name: str, jars: str, servers: Servers, home: Path) -> Jvm:
    return Jvm(name, jars, ["Elector", servers.hosts, name, str(SESSION_MS)], home)


def test_hadoop(servers: Servers, home: Path, with_driver: Callable[[str], str], figures: Figures) -> None:
    jars = with_driver("hadoop")
    with elector("nn1", jars, servers, home) as one, elector("nn2", jars, servers, home) as two:
        figures.begin()
        first = one if one.await_line("^(ACTIVE|STANDBY)$", WAIT_S)[1] == "ACTIVE" else two
        second = two if first is one else one
        first.await_line("^ACTIVE$", WAIT_S)
        second.await_line("^STANDBY$", WAIT_S)
        assert second.ask("active", "^DATA (.*)$")[1] == first.name
        figures.done("two electors, one active")

        first.kill9()
        second.await_line(f"^FENCE {first.name}$", WAIT_S)
        second.await_line("^ACTIVE$", WAIT_S)
        figures.done(f"the active one killed, the other active after fencing it (session {SESSION_MS} ms)")

        before = len(first.said)
        first.start()
        first.await_line("^STANDBY$", WAIT_S, before)
        assert first.ask("active", "^DATA (.*)$")[1] == second.name
        figures.begin()
        second.pause()
        first.await_line(f"^FENCE {second.name}$", WAIT_S, before)
        first.await_line("^ACTIVE$", WAIT_S, before)
        figures.done("the active one silent, the other active after fencing it")
        before = len(second.said)
        second.resume()
        second.await_line("^NEUTRAL$", WAIT_S, before)
        second.await_line("^STANDBY$", WAIT_S, before)
        assert "ACTIVE" not in second.said[before:]
        figures.done("the silent one back, standing by")

        before = len(second.said)
        first.ask("quit", "^QUIT$")
        second.await_line("^ACTIVE$", WAIT_S, before)
        assert not [line for line in second.said[before:] if line.startswith("FENCE")]
        figures.done("the active one left, the other active without fencing")

        before = len(second.said), len(first.said)
        first.ask("join", "^STANDBY$")
        if servers.replace_leader():
            assert first.ask("active", "^DATA (.*)$")[1] == second.name
            assert not [line for line in second.said[before[0] :] if line != "NEUTRAL"], "the active one stays so"
            figures.done("the servers' leader killed, the same one active")
        assert not [line for line in first.said + second.said if line.startswith("FATAL")]
