"""Goal: a node that does not belong to an ensemble, or calls itself what another is called, harms only itself, and is told of.

Method: real nodes whose options or data directories have been mixed up, as an operator might."""

import shutil
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.testing.ensemble import Ensemble, Node, free_ports, monitored, wait_for

pytestmark = pytest.mark.process
SECONDS = 20


def write(node: Node, path: str) -> None:
    """One acknowledged write through a node."""
    client = KazooClient(node.zk_host, timeout=10)
    client.start(SECONDS)
    client.create(path, b"x")
    client.stop()
    client.close()


def await_in_log(node: Node, text: str) -> None:
    wait_for(lambda: text in node.log_path.read_text(), SECONDS, f"{text!r} in the log of node {node.number}")


def test_a_second_node_of_a_number_harms_nobody(ensemble: Ensemble) -> None:
    """It once displaced the real node, which then served stale reads for ever, its writes hanging, and looked healthy."""
    real = ensemble.followers()[0]
    others = [node for node in ensemble.nodes if node is not real]
    zk, native, peer = free_ports(3)
    peers = [f"{node.number}=127.0.0.1:{port}" for node, (_, port) in zip(ensemble.nodes, ensemble.peers, strict=True)]
    peers[real.number - 1] = f"{real.number}=127.0.0.1:{peer}"
    home = ensemble.home / "double"
    double = Node(real.number, ("127.0.0.1", zk), ("127.0.0.1", native), ",".join(peers), home, [])
    double.start()
    try:
        for node in others:
            await_in_log(node, f"two nodes call themselves {real.number}")
        write(ensemble.leader(), "/while-it-runs")
        write(real, "/through-the-real-one")
        assert double.mode() == "", "it must not serve"
    finally:
        double.kill9()
    write(real, "/after")
    assert ensemble.digest()


def test_a_node_with_the_data_of_another_ensemble_harms_nobody(ensemble: Ensemble, disk: Path) -> None:
    """It once won an election with its higher epoch, and the blocks it sent ended the other nodes."""
    with Ensemble(3, disk) as other:
        write(other.node(1), "/elsewhere")
        for _ in range(3):  # each leader's end is an epoch
            leader = other.leader()
            leader.kill9()
            other.restart(leader)
        assert other.node(1).stop() == 0
        write(ensemble.node(1), "/here")
        stranger, others = ensemble.node(1), [ensemble.node(2), ensemble.node(3)]
        stranger.kill9()
        shutil.rmtree(stranger.data_dir)
        shutil.copytree(other.node(1).data_dir, stranger.data_dir, ignore=shutil.ignore_patterns("run"))
    stranger.start()
    await_in_log(stranger, "of another ensemble")
    await_in_log(stranger, "waits for a leader")
    write(others[0], "/after")
    write(others[1], "/after/too")
    assert stranger.mode() == "", "it must not serve"
    assert monitored(others[0].zk)["zk_znode_count"] == monitored(others[1].zk)["zk_znode_count"]
    for node in others:
        assert node.is_running
    stranger.kill9()
    shutil.rmtree(stranger.data_dir)
    ensemble.restart(stranger)  # with an empty directory it is welcome, once its number is free
    ensemble.wait_all_serving()
    assert ensemble.digest()


def test_a_restart_replays_results_of_workers_long_gone(disk: Path) -> None:
    """A worker has the number of one of the node's earlier life, whose results are in the log; it once ended over them."""
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        clients = [KazooClient(node.zk_host, timeout=10) for _ in range(5)]
        for number, client in enumerate(clients):
            client.start(SECONDS)
            client.create(f"/z{number}", b"x")
        for client in clients:
            client.stop()
            client.close()
        workers = node.worker_pids()
        node.kill9()
        ensemble.restart(node)
        write(node, "/after")
        assert node.worker_pids() != workers
        text = node.log_path.read_text()
        assert "makes no sense" not in text
        assert "started anew" not in text
