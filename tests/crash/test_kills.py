"""Goal: nothing acknowledged is lost and nothing is done twice, whatever is killed, and however often.

Method: three real nodes on a real disk.  Two writers over ZooKeeper's protocol (kazoo) and two over the native one keep
writing and note each acknowledgement.  Twelve times in a row a leader, a follower, a worker or everything is killed
with SIGKILL in mid-write and started again.  At the end each writer's notes are held against the tree, read at every
node, and the digests of all nodes must be equal."""

import contextlib
import itertools
from pathlib import Path

import kazoo.exceptions
import pytest

from fastzk import errors
from fastzk.testing.clients import kazoo_client, native_client
from fastzk.testing.ensemble import Ensemble, Node, wait_for
from fastzk.testing.ledger import Writer, progress

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

CYCLES = 12
KINDS = ("leader", "follower", "worker", "all")
ACKNOWLEDGED_BEFORE_KILL = 40  # by each writer, in each cycle
WRITES_MAX = 1000  # of each writer, from one kill to the next: enough to be in mid-write at the kill and while it is mended
PROGRESS_S_MAX = 60.0
SESSION_S = 30.0
# What leaves a write uncertain, in kazoo's words and in ours.
LOST = (
    *(kazoo.exceptions.ConnectionLoss, kazoo.exceptions.OperationTimeoutError, kazoo.exceptions.SessionExpiredError),
    *(errors.ConnectionLoss, errors.OperationTimeoutError, errors.SessionExpiredError),
)


def kill(nodes: Ensemble, kind: str) -> None:
    """One kill, and all that is needed until everything serves again."""
    if kind == "worker":
        victim = nodes.leader()
        before = set(victim.worker_pids())
        victim.kill_worker()
        wait_for(lambda: len(victim.worker_pids()) == len(before) and set(victim.worker_pids()) != before, 15, "a worker")
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


def test_twelve_kills_under_load_lose_nothing_and_double_nothing(disk: Path) -> None:
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(Ensemble(3, disk))
        clients = [stack.enter_context(kazoo_client(nodes.zk_hosts, SESSION_S)) for _ in range(2)]
        clients += [stack.enter_context(native_client(nodes.native_hosts, SESSION_S)) for _ in range(2)]
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
            write_on(writers, f"before kill {cycle} ({kind})")
            kill(nodes, kind)
        write_on(writers, "after the last kill")
        for writer in writers:
            writer.stop()
        assert nodes.digest()
        for writer, node in zip(writers, itertools.cycle(nodes.nodes), strict=False):  # equal digests: any node will do
            with kazoo_client(node.zk_host, SESSION_S) as reader:
                complaints = writer.complaints(reader)
                assert not complaints, f"writer {writer.name}, read at node {node.number}: {complaints[:20]}"


def write_on(writers: list[Writer], when: str) -> None:
    """Lets all write, and returns while they are at it."""
    for writer in writers:
        writer.allow(WRITES_MAX)
    wait_for(progress(writers, ACKNOWLEDGED_BEFORE_KILL), PROGRESS_S_MAX, f"writes {when}")


def test_a_node_whose_engine_is_killed_ends_and_comes_back(ensemble: Ensemble) -> None:
    victim = ensemble.leader()
    with kazoo_client(ensemble.zk_hosts, SESSION_S) as client:
        client.create("/before", b"kept")
        victim.kill_engine()
        assert victim.wait_end() != 0
        ensemble.wait_serving([node for node in ensemble.nodes if node is not victim])
        client.retry(client.create, "/after")
    ensemble.restart(victim)
    with kazoo_client(victim.zk_host, SESSION_S) as client:
        client.sync("/")
        assert client.get("/before")[0] == b"kept"
        assert client.exists("/after")
    assert ensemble.digest()


def test_a_node_ends_on_sigterm_and_keeps_its_data(ensemble: Ensemble) -> None:
    with kazoo_client(ensemble.zk_hosts, SESSION_S) as client:
        client.create("/kept", b"x")
    for node in ensemble.nodes:
        assert node.stop() == 0
    for node in ensemble.nodes:
        node.start()
    ensemble.wait_all_serving()
    for node in ensemble.nodes:
        with kazoo_client(node.zk_host, SESSION_S) as client:
            client.sync("/")
            assert client.get("/kept")[0] == b"x"
