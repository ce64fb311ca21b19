"""Goal: a node that has lost its ensemble serves what it knows to clients that accept that, and to no other.

Method: three real nodes, two of which are killed; kazoo's read-only sessions and plain requests."""

from pathlib import Path

import pytest

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.testing.ensemble import Ensemble, Node, four_letter_word, wait_for
from fastzk.testing.rawclient import RawClient
from fastzk.wire.records import Create, Exists, GetData

pytestmark = pytest.mark.process

SECONDS = 30.0


def lost(ensemble: Ensemble, *, but: Node) -> None:
    """Kills all other nodes."""
    for node in ensemble.nodes:
        if node is not but:
            node.kill9()


def test_reads_go_on_for_those_who_asked_for_no_more(tmp_path: Path) -> None:
    with Ensemble(3, tmp_path, ["--workers", "1", "--read-only-mode"]) as ensemble:
        survivor = ensemble.followers()[0]
        with RawClient(survivor.zk) as client:
            client.connect(10_000)
            assert client.call(Create("/known", b"before", list(OPEN_ACL_UNSAFE), 0)).err == 0
            assert four_letter_word(survivor.zk, "isro") == "rw"
            lost(ensemble, but=survivor)
            wait_for(lambda: four_letter_word(survivor.zk, "isro") == "ro", SECONDS, "the node to see that it is alone")
        told = four_letter_word(survivor.zk, "srvr")
        assert "READ-ONLY mode; serving only read-only clients\n" in told
        assert "Mode: read-only\n" in told
        with RawClient(survivor.zk) as client, pytest.raises((EOFError, ConnectionError)):
            client.connect(10_000)
        with RawClient(survivor.zk) as client:
            assert client.connect(10_000, is_read_only=True).session_id
            assert client.call(GetData("/known", False)).value(4)[0] == b"before"
            assert client.call(Exists("/none", True)).err == -101
            assert client.call(Create("/new", b"", list(OPEN_ACL_UNSAFE), 0)).err == -119
            for node in ensemble.nodes:
                if node is not survivor:
                    node.start()
            wait_for(lambda: four_letter_word(survivor.zk, "isro") == "rw", SECONDS, "the ensemble to be back")
            assert client.receive_end() == [], "a read-only session ends there"
        ensemble.wait_serving(ensemble.nodes)


def test_without_the_option_it_serves_nobody(tmp_path: Path) -> None:
    with Ensemble(3, tmp_path, ["--workers", "1"]) as ensemble:
        survivor = ensemble.followers()[0]
        lost(ensemble, but=survivor)
        wait_for(lambda: four_letter_word(survivor.zk, "isro") == "null", SECONDS, "the node to see that it is alone")
        with RawClient(survivor.zk) as client, pytest.raises((EOFError, ConnectionError)):
            client.connect(10_000, is_read_only=True)
        for node in ensemble.nodes:
            if node is not survivor:
                node.start()
        ensemble.wait_serving(ensemble.nodes)
