"""Goal: what the operator allows clients is what they get: session timeouts, connections per address, local sessions.

Method: real nodes started with the options, and plain connections."""

import contextlib
from pathlib import Path

import pytest

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.testing.ensemble import Ensemble, four_letter_word, monitored, wait_for
from fastzk.testing.rawclient import RawClient
from fastzk.wire.records import Create, Exists

pytestmark = pytest.mark.process

SECONDS = 20.0
OPEN = list(OPEN_ACL_UNSAFE)


def test_session_timeouts_are_the_operators(tmp_path: Path) -> None:
    options = ["--tick-time", "1000", "--min-session-timeout", "3000", "--max-session-timeout", "7000", "--workers", "1"]
    with Ensemble(1, tmp_path, options) as ensemble:
        for asked, granted in ((1, 3000), (5000, 5000), (100_000, 7000)):
            with RawClient(ensemble.node(1).zk) as client:
                assert client.connect(asked).timeout_ms == granted
                client.close_session()
        assert "minSessionTimeout=3000\nmaxSessionTimeout=7000\n" in four_letter_word(ensemble.node(1).zk, "conf")


def test_one_address_gets_so_many_connections(tmp_path: Path) -> None:
    with Ensemble(1, tmp_path, ["--max-client-cnxns", "3", "--workers", "1"]) as ensemble, contextlib.ExitStack() as held:
        address = ensemble.node(1).zk
        for _ in range(3):
            held.enter_context(RawClient(address)).connect(10_000)
        with pytest.raises((EOFError, ConnectionError)), RawClient(address) as one_more:
            one_more.connect(10_000)
        held.close()

        def is_room() -> bool:
            with contextlib.suppress(EOFError, ConnectionError), RawClient(address) as client:
                return bool(client.connect(10_000).session_id)
            return False

        wait_for(is_room, SECONDS, "room for another connection")


def test_local_sessions_are_known_to_their_worker_only_until_they_own_something(tmp_path: Path) -> None:
    with Ensemble(1, tmp_path, ["--local-sessions", "--workers", "1"]) as ensemble:
        address = ensemble.node(1).zk
        with RawClient(address) as client:
            client.connect(10_000)
            assert client.call(Exists("/", False)).err == 0
            wait_for(lambda: monitored(address)["zk_local_sessions"] == "1", SECONDS, "the local session to be counted")
            assert monitored(address)["zk_global_sessions"] == "0"
            assert client.call(Create("/mine", b"", OPEN, 1)).err == 0
            wait_for(lambda: monitored(address)["zk_global_sessions"] == "1", SECONDS, "the session to be everybody's")
            wait_for(lambda: monitored(address)["zk_local_sessions"] == "0", SECONDS, "it to be local no more")
            client.close_session()


def test_without_upgrades_a_local_session_owns_nothing(tmp_path: Path) -> None:
    options = ["--local-sessions", "--no-session-upgrade", "--workers", "1"]
    with Ensemble(1, tmp_path, options) as ensemble, RawClient(ensemble.node(1).zk) as client:
        client.connect(10_000)
        assert client.call(Create("/mine", b"", OPEN, 1)).err == -120
        client.close_session()
