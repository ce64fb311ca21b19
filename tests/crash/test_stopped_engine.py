"""Goal: a client of a node whose engine is stopped, while its worker is not, finds another node before its session ends.

Method: three real nodes; SIGSTOP to one engine, the follower's and then the leader's, under a kazoo client that may go to any
node.  The worker alone would answer pings and reads for ever, at an old zxid, and nobody would hear that the session lives."""

import os
import signal
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk import limits
from fastzk.testing.ensemble import Ensemble, wait_for

pytestmark = pytest.mark.process

SESSION_S = 10.0


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_client_leaves_a_node_whose_engine_is_stopped(disk: Path, role: str) -> None:
    with Ensemble(3, disk) as nodes:
        stopped = nodes.leader() if role == "leader" else nodes.followers()[0]
        others = [node for node in nodes.nodes if node is not stopped]
        # The stopped node comes first, and is left for another.
        client = KazooClient(",".join(node.zk_host for node in (stopped, *others)), timeout=SESSION_S, randomize_hosts=False)
        client.start(SESSION_S)
        session = client.client_id
        client.create("/before")
        os.kill(stopped.engine_pid(), signal.SIGSTOP)
        try:
            wait_for(lambda: stopped.mode() == "", limits.LEADERLESS_MS_MIN / 1000 + 3, "the worker to let go of its clients")
            writer = KazooClient(",".join(node.zk_host for node in others), timeout=SESSION_S)
            writer.start(SESSION_S)
            writer.create("/meanwhile")
            client.retry(client.sync, "/meanwhile")  # its new node may not have it yet
            assert client.retry(client.exists, "/meanwhile") is not None
            assert client.client_id == session
        finally:
            os.kill(stopped.engine_pid(), signal.SIGCONT)
        wait_for(lambda: stopped.mode() == "follower", 10, "the node to serve again")
        back = KazooClient(stopped.zk_host, timeout=SESSION_S)
        back.start(SESSION_S)
        back.retry(back.sync, "/meanwhile")
        assert back.retry(back.exists, "/meanwhile") is not None
        for each in (client, writer, back):
            each.stop()
            each.close()
        nodes.digest()
