"""Real nodes whose ensemble changes its members: Ensemble, and what joins it later.

Rule: every node is given --peers with all that are members when it is made, and itself; what they are is for the log to say."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from kazoo.client import KazooClient

from fastzk.node.secret_files import SUPER_DIGEST_VARIABLE
from fastzk.testing.ensemble import LOOPBACK, SERVE_S_MAX, Address, Ensemble, Node, free_ports, wait_for

SUPER = "super:test"
SUPER_DIGEST = "super:" + base64.b64encode(hashlib.sha1(SUPER.encode()).digest()).decode()
CONFIG_PATH = "/zookeeper/config"


class GrowingEnsemble(Ensemble):
    """So many nodes to begin with, some of them as observers, and a super user `SUPER`, who may change them."""

    def __init__(self, size: int, directory: Path, options: Sequence[str] = (), observers: Sequence[int] = ()) -> None:
        self._observers = observers
        self._options = ["--cpus", "any", "--workers", "1", *options]
        # Where each node's others reach it, by number.
        self.places: dict[int, Address] = {}
        super().__init__(size, directory, self._options)

    def _make_node(self, number: int, zk: Address, native: Address, peers: str, options: Sequence[str]) -> Node:
        if not self.places:
            self.places = dict(enumerate(self.peers, 1))
        node = super()._make_node(number, zk, native, self._listed(), self._options)
        node.environment[SUPER_DIGEST_VARIABLE] = SUPER_DIGEST
        return node

    def _listed(self) -> str:
        return ",".join(
            f"{n}={host}:{port}" + (":observer" if n in self._observers else "") for n, (host, port) in sorted(self.places.items())
        )

    def add(self, number: int | None = None) -> Node:
        """Starts a new node that is no member yet; does not wait."""
        number = max(self.places) + 1 if number is None else number
        zk, native, self.places[number] = [(LOOPBACK, port) for port in free_ports(3)]
        node = self._make_node(number, zk, native, "", [])
        self.nodes.append(node)
        node.start()
        return node

    def leave(self, node: Node) -> None:
        """The node is no member any more: it is killed, and forgotten by those that are made later."""
        node.kill9()
        self.nodes.remove(node)
        del self.places[node.number]

    def spec(self, node: Node, role: str = "participant") -> str:
        """The node as a reconfig names it."""
        host, port = self.places[node.number]
        return f"server.{node.number}={host}:{port}:0:{role};{node.zk_host}"

    def client(self, *nodes: Node, is_super: bool = False) -> KazooClient:
        """A kazoo client of some nodes, started."""
        hosts = ",".join(node.zk_host for node in nodes or self.nodes)
        client = KazooClient(hosts, timeout=10.0, auth_data=[("digest", SUPER)] if is_super else None)
        client.start(SERVE_S_MAX)
        return client

    def wait_members(self, members: Sequence[str], nodes: Sequence[Node]) -> None:
        """Waits until these nodes tell these servers, and no others."""

        def is_told() -> bool:
            return all(sorted(told_members(node)) == sorted(members) for node in nodes)

        wait_for(is_told, SERVE_S_MAX, f"nodes {[node.number for node in nodes]} to tell {members}")


def told_members(node: Node) -> list[str]:
    """The servers that a node's /zookeeper/config names."""
    client = KazooClient(node.zk_host, timeout=10.0)
    client.start(SERVE_S_MAX)
    try:
        data, _ = client.get(CONFIG_PATH)
        return [line for line in data.decode().splitlines() if line.startswith("server.")]
    finally:
        client.stop()
        client.close()
