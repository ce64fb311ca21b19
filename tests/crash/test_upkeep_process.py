"""Goal: containers and TTL znodes go when their time has come, and /zookeeper/config tells clients where the ensemble is.

Method: real nodes and their leaders' deaths; requests as ZooKeeper's clients send them."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.testing.ensemble import Ensemble, Node, four_letter_word, wait_for
from fastzk.testing.rawclient import RawClient

pytestmark = pytest.mark.process

SECONDS = 30.0
CONTAINER, TTL = 19, 21


def packed(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def create_body(path: bytes, flags: int, ttl_ms: int | None = None) -> bytes:
    acl = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
    body = packed(path) + packed(b"") + acl + struct.pack(">i", flags)
    return body if ttl_ms is None else body + struct.pack(">q", ttl_ms)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with Ensemble(3, tmp_path_factory.mktemp("upkeep"), ["--workers", "1", "--container-check-interval", "1000"]) as ensemble:
        yield ensemble


def exists(client: RawClient, path: bytes) -> bool:
    client.send_raw(77, 3, packed(path) + b"\0")
    return client.receive().err == 0


def made(client: RawClient, op: int, body: bytes) -> None:
    client.send_raw(76, op, body)
    assert client.receive().err == 0


def test_what_has_had_its_time_goes_and_nothing_else(ensemble: Ensemble) -> None:
    with RawClient(ensemble.followers()[0].zk) as client:
        client.connect(10_000)
        made(client, TTL, create_body(b"/ttl", 5, 300))
        made(client, TTL, create_body(b"/long", 5, 3_600_000))
        made(client, CONTAINER, create_body(b"/container", 4))
        made(client, CONTAINER, create_body(b"/unused", 4))
        made(client, 1, create_body(b"/container/child", 0))
        wait_for(lambda: not exists(client, b"/ttl"), SECONDS, "the TTL znode to go")
        assert exists(client, b"/container"), "it has a child"
        client.send_raw(78, 2, packed(b"/container/child") + struct.pack(">i", -1))
        assert client.receive().err == 0
        wait_for(lambda: not exists(client, b"/container"), SECONDS, "the empty container to go")
        assert exists(client, b"/long")
        assert exists(client, b"/unused"), "a container that never had a child stays"
        client.close_session()
    assert ensemble.digest()


def config_of(node: Node) -> str:
    client = KazooClient(node.zk_host)
    client.start(timeout=SECONDS)
    try:
        return bytes(client.get("/zookeeper/config")[0]).decode()
    finally:
        client.stop()
        client.close()


def test_the_configuration_tells_where_clients_go_whoever_leads(ensemble: Ensemble) -> None:
    peers = ensemble.nodes[0].command[ensemble.nodes[0].command.index("--peers") + 1]
    ports = {int(word.partition("=")[0]): word.rpartition(":")[2] for word in peers.split(",")}
    lines = [f"server.{n.number}=127.0.0.1:{ports[n.number]}:0:participant;{n.zk_host}" for n in ensemble.nodes]
    expected = "\n".join([*lines, "version=0"])
    wait_for(lambda: all(config_of(node) == expected for node in ensemble.nodes), SECONDS, "all addresses to be known")
    assert four_letter_word(ensemble.nodes[0].zk, "conf").endswith(f"membership: \n{expected}")
    leader = ensemble.leader()
    leader.kill9()
    ensemble.leader()
    with RawClient(ensemble.followers()[0].zk) as client:
        client.connect(10_000)
        client.send_raw(5, 4, packed(b"/zookeeper/config") + b"\1")
        assert expected.encode() in client.receive().body
        ensemble.restart(leader)
        assert config_of(leader) == expected, "it was not written anew with what the new leader happened to know"
        client.close_session()


def test_a_standalone_node_has_an_empty_configuration(tmp_path: Path) -> None:
    """As ZooKeeper's."""
    with Ensemble(1, tmp_path, ["--workers", "1"]) as alone:
        assert config_of(alone.node(1)) == ""
        assert "membership" not in four_letter_word(alone.node(1).zk, "conf")
