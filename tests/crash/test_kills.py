"""Goal: nothing acknowledged is lost and nothing is done twice, whatever is killed, and however often.

Method: three real nodes on a real disk.  Two writers over ZooKeeper's protocol (kazoo) and two over the native one keep
writing and note each acknowledgement.  Twenty times in a row a leader, a follower, a worker or everything is killed
with SIGKILL in mid-write and started again.  At the end each writer's notes are held against the tree, read at every
node, and the digests of all nodes must be equal."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kazoo.exceptions
import pytest
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from fastzk import Client, errors
from fastzk.testing.ensemble import Ensemble, Node, wait_for
from fastzk.testing.ledger import Writer, progress

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

CYCLES = 20
KINDS = ("leader", "follower", "worker", "all")
ACKNOWLEDGED_BEFORE_KILL = 40  # by each writer, in each cycle
PROGRESS_S_MAX = 60.0
SESSION_S = 30.0
# What leaves a write uncertain, in kazoo's words and in ours.
LOST = (
    *(kazoo.exceptions.ConnectionLoss, kazoo.exceptions.OperationTimeoutError, kazoo.exceptions.SessionExpiredError),
    *(errors.ConnectionLoss, errors.OperationTimeoutError, errors.SessionExpiredError),
)


@contextlib.contextmanager
def kazoo_client(hosts: str) -> Iterator[KazooClient]:
    """A kazoo client that never gives up and does not wait long between its tries."""
    retry = KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_delay=0.2)
    client = KazooClient(hosts, timeout=SESSION_S, connection_retry=retry)
    client.start(timeout=SESSION_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


@contextlib.contextmanager
def native_client(hosts: str) -> Iterator[Any]:
    """fastzk's own client."""
    client = Client(hosts, timeout=SESSION_S)
    client.start(timeout=SESSION_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def kill(nodes: Ensemble, kind: str) -> None:
    """One kill, and all that is needed until everything serves again."""
    if kind == "worker":
        victim = nodes.leader()
        before = set(victim.worker_pids())
        victim.kill_worker()
        wait_for(
            lambda: len(victim.worker_pids()) == len(before) and set(victim.worker_pids()) != before, 15, "a worker"
        )
    else:
        victims: list[Node] = {
            "leader": lambda: [nodes.leader()],
            "follower": lambda: nodes.followers()[:1],
            "all": lambda: nodes.nodes,
        }[kind]()
        for victim in victims:
            victim.kill9()
        for victim in victims:
            victim.start()
    nodes.wait_all_serving()


def test_twenty_kills_under_load_lose_nothing_and_double_nothing(disk: Path) -> None:
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(Ensemble(3, disk))
        clients = [stack.enter_context(kazoo_client(nodes.zk_hosts)) for _ in range(2)]
        clients += [stack.enter_context(native_client(nodes.native_hosts)) for _ in range(2)]
        clients[0].create("/ledger")
        writers = [
            Writer(f"{'native' if number > 1 else 'kazoo'}{number}", client, "/ledger", LOST)
            for number, client in enumerate(clients)
        ]
        for writer in writers:
            writer.prepare()
            writer.start()
        for cycle in range(CYCLES):
            kind = KINDS[cycle % len(KINDS)]
            wait_for(
                progress(writers, ACKNOWLEDGED_BEFORE_KILL), PROGRESS_S_MAX, f"writes before kill {cycle} ({kind})"
            )
            kill(nodes, kind)
        wait_for(progress(writers, ACKNOWLEDGED_BEFORE_KILL), PROGRESS_S_MAX, "writes after the last kill")
        for writer in writers:
            writer.stop()
        nodes.digest()
        for node in nodes.nodes:
            with kazoo_client(node.zk_host) as reader:
                complaints = [complaint for writer in writers for complaint in writer.complaints(reader)]
                assert not complaints, f"node {node.number}: {complaints[:20]}"
        assert nodes.digest()


def test_a_node_whose_engine_is_killed_ends_and_comes_back(ensemble: Ensemble) -> None:
    victim = ensemble.leader()
    with kazoo_client(ensemble.zk_hosts) as client:
        client.create("/before", b"kept")
        victim.kill_engine()
        assert victim.wait_end() != 0
        ensemble.wait_serving([node for node in ensemble.nodes if node is not victim])
        client.retry(client.create, "/after")
    ensemble.restart(victim)
    with kazoo_client(victim.zk_host) as client:
        client.sync("/")
        assert client.get("/before")[0] == b"kept"
        assert client.exists("/after")
    assert ensemble.digest()


def test_a_node_ends_on_sigterm_and_keeps_its_data(ensemble: Ensemble) -> None:
    with kazoo_client(ensemble.zk_hosts) as client:
        client.create("/kept", b"x")
    for node in ensemble.nodes:
        assert node.stop() == 0
    for node in ensemble.nodes:
        node.start()
    ensemble.wait_all_serving()
    for node in ensemble.nodes:
        with kazoo_client(node.zk_host) as client:
            client.sync("/")
            assert client.get("/kept")[0] == b"x"
