"""`make run`: an ensemble of three nodes on loopback, in the foreground, on ZooKeeper's usual ports.

Ctrl-C ends the nodes; their data stays in data/ and is there again the next time."""

import signal
import sys
from pathlib import Path

from fastzk.testing.ensemble import LOOPBACK, SERVE_S_MAX, Node, wait_for

SIZE = 3
ZK_PORT, NATIVE_PORT, PEER_PORT = 2181, 2281, 2881


def main() -> int:
    """Starts the nodes and stays until Ctrl-C, SIGTERM or the end of one of them."""
    peers = ",".join(f"{n}={LOOPBACK}:{PEER_PORT + n - 1}" for n in range(1, SIZE + 1))
    nodes = [
        Node(n, (LOOPBACK, ZK_PORT + n - 1), (LOOPBACK, NATIVE_PORT + n - 1), peers, Path("data/run") / str(n), ["--cpus", "any"])
        for n in range(1, SIZE + 1)
    ]

    def has_ended() -> bool:
        return not all(node.is_running for node in nodes)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for node in nodes:
            node.start()
        wait_for(lambda: has_ended() or all(node.mode() for node in nodes), SERVE_S_MAX, "the nodes to serve")
        if not has_ended():
            tell(nodes)
        wait_for(has_ended, float("inf"), "the end of a node")
        print("\n".join(node.log_tail() for node in nodes if not node.is_running), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nending the nodes")
        return 0
    finally:
        for node in nodes:
            if node.is_running:
                node.stop()


def tell(nodes: list[Node]) -> None:
    """How to connect."""
    zk, native = ",".join(node.zk_host for node in nodes), ",".join(node.native_host for node in nodes)
    print(f"three nodes serve; their logs and data are in {nodes[0].home.parent}/")
    for node in nodes:
        print(f"  node {node.number}: {node.mode():8}  ZooKeeper {node.zk_host}  native {node.native_host}")
    print("connect with any ZooKeeper client:")
    print(f'  kazoo:  KazooClient("{zk}")')
    print(f"  C:      cli_mt {nodes[0].zk_host}")
    print("or with fastzk's own:")
    print(f'  from fastzk import Client; client = Client("{native}"); client.start()')
    print("Ctrl-C ends them", flush=True)


if __name__ == "__main__":
    sys.exit(main())
