"""Goal: the four-letter words tell of the whole node, whichever worker is asked, and of an ensemble what ZooKeeper would tell.

Method: real nodes with two workers and many connections over both; a worker that is stopped must be missed, not waited for."""

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.testing.ensemble import Ensemble, Node, four_letter_word, monitored, wait_for
from fastzk.testing.rawclient import RawClient
from fastzk.wire.records import Create, Exists

pytestmark = pytest.mark.process

OPEN = list(OPEN_ACL_UNSAFE)
CLIENTS = 8
SECONDS = 20.0
ALL = ["--4lw-whitelist", "*", "--workers", "2"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Ensemble(1, tmp_path_factory.mktemp("words"), ALL) as ensemble:
        yield ensemble.node(1)


@pytest.fixture
def clients(node: Node) -> Iterator[list[RawClient]]:
    clients = [RawClient(node.zk) for _ in range(CLIENTS)]
    for client in clients:
        client.connect(10_000)
    yield clients
    for client in clients:
        client.close_session()
        client.close()


def test_lists_are_of_all_workers(node: Node, clients: list[RawClient]) -> None:
    for number, client in enumerate(clients):
        assert client.call(Exists(f"/watched/{number}", True)).err == -101
        assert client.call(Create(f"/ephemeral-{number}", b"", OPEN, 1)).err == 0
    for _ in range(4):  # whichever worker is asked
        text = four_letter_word(node.zk, "cons")
        assert len(re.findall(r"^ /127\.0\.0\.1:\d+\[1\]\(queued=0,recved=2,sent=2,sid=0x1[0-9a-f]{10,},", text, re.M)) == CLIENTS
        assert len(re.findall(r"^ /127", four_letter_word(node.zk, "stat"), re.M)) == CLIENTS + 1, "and the one who asks"
        assert four_letter_word(node.zk, "wchs") == f"{CLIENTS} connections watching {CLIENTS} paths\nTotal watches:{CLIENTS}\n"
        by_path = four_letter_word(node.zk, "wchp")
        assert sorted(re.findall(r"^/watched/\d$", by_path, re.M)) == [f"/watched/{number}" for number in range(CLIENTS)]
        assert by_path.count("\t0x1") == CLIENTS == four_letter_word(node.zk, "wchc").count("\t/watched/")
    dump = four_letter_word(node.zk, "dump")
    assert re.search(rf"^Session Sets \(\d+\)/\({CLIENTS}\):$", dump, re.M)
    assert f"Sessions with Ephemerals ({CLIENTS}):" in dump
    assert sorted(re.findall(r"^\t(/ephemeral-\d)$", dump, re.M)) == [f"/ephemeral-{number}" for number in range(CLIENTS)]
    assert dump.count("sessionId: 0x1") == CLIENTS


def test_resets_are_of_all_workers(node: Node, clients: list[RawClient]) -> None:
    for client in clients:
        client.call(Exists("/", False))
    assert int(monitored(node.zk)["zk_packets_received"]) >= CLIENTS
    assert four_letter_word(node.zk, "srst") == "Server stats reset.\n"
    wait_for(lambda: int(monitored(node.zk)["zk_packets_received"]) < CLIENTS, SECONDS, "the counters to begin anew")
    assert four_letter_word(node.zk, "crst") == "Connection stats reset.\n"
    assert len(re.findall(r"recved=0,sent=0,sid", four_letter_word(node.zk, "cons"))) == CLIENTS


def test_a_worker_that_does_not_answer_is_named(node: Node, clients: list[RawClient]) -> None:
    stopped = node.worker_pids()[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        answers = []

        def is_partial() -> bool:
            answers.append(four_letter_word(node.zk, "cons"))
            return "worker2 did not answer: what they know is missing" in answers[-1]

        wait_for(is_partial, SECONDS, "an answer of the worker that runs")
        assert 0 < answers[-1].count("sid=0x1") < CLIENTS
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_for(lambda: four_letter_word(node.zk, "cons").count("sid=0x1") == CLIENTS, SECONDS, "all workers to answer again")


def test_conf_and_dirs_tell_where_the_data_is(node: Node) -> None:
    conf = dict(line.split("=", 1) for line in four_letter_word(node.zk, "conf").splitlines())
    assert conf["clientPort"] == str(node.zk[1])
    assert conf["dataDir"] == str(node.data_dir)
    assert int(conf["dataDirSize"]) >= int(conf["dataLogSize"]) > 0
    assert (conf["tickTime"], conf["minSessionTimeout"], conf["maxSessionTimeout"]) == ("2000", "4000", "40000")
    assert re.fullmatch(r"datadir_size: \d+\nlogdir_size: \d+\n", four_letter_word(node.zk, "dirs"))


def test_the_leader_counts_those_who_follow(tmp_path: Path) -> None:
    with Ensemble(3, tmp_path, ["--workers", "1"]) as ensemble:
        leader = ensemble.leader()
        wait_for(lambda: monitored(leader.zk).get("zk_synced_followers") == "2", SECONDS, "two synced followers")
        told = monitored(leader.zk)
        assert (told["zk_learners"], told["zk_quorum_size"], told["zk_server_state"]) == ("2", "3", "leader")
        assert int(told["zk_last_proposal_size"]) > 0
        follower = ensemble.followers()[0]
        assert monitored(follower.zk)["zk_server_state"] == "follower"
        assert "zk_synced_followers" not in monitored(follower.zk)
        assert four_letter_word(follower.zk, "dump") == "dump is not executed because it is not in the whitelist.\n"
        follower.kill9()
        counts = partial(monitored, leader.zk)
        wait_for(lambda: counts().get("zk_synced_followers") == "1", SECONDS, "the dead one to be counted no more")
