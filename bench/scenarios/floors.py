"""fastzk beside a server that only echoes, over ZooKeeper's protocol: how much of what the machine allows is left.

The echo is compiled, one thread on epoll, and gives every request the same well-formed reply (fastzk.bench.echo); the load is
the same for both, in turns.

  pipelined     30 connections with a window of 50 (create and the mix: 20), spread over three nodes of fastzk on disk; the echo
                is one process.  Not pinned: load and servers share all cores as they like.
  synchronous   one connection, one getData after the other, at one node that stands alone.  Pinned alike (condition `cores`):
                server and load on the same core (1), or each on one of its own (2)."""

import sys

from fastzk.bench.echo import echoing
from fastzk.testing.ensemble import Ensemble
from figures import Book
from pinning import PLACES, pinned_to, places
from turns import DIRECTORY, Load, Noter, Pace, over_tcp

NODES = 3
PIPELINED = [Load("getData"), Load("setData"), Load("create", window=20), Load("90/10", window=20)]
SYNCHRONOUS = Load("getData", connections=1, window=1)
UNLIMITED = ["--max-client-cnxns", "0"]


def run(book: Book, scale: float) -> None:
    """Both parts.  Raises RuntimeError when a turn is worth nothing or the echo does not start."""
    noter = Noter(book, "floors", Pace.at(scale))
    pipelined(noter)
    synchronous(noter)


def pipelined(noter: Noter) -> None:
    """Many requests under way, at three nodes and at the echo."""
    with Ensemble(NODES, DIRECTORY, UNLIMITED) as ensemble, echoing() as echo:
        systems = {"fastzk": over_tcp([node.zk for node in ensemble.nodes]), "floor": over_tcp([echo])}
        for load in PIPELINED:
            noter.note_turns(systems, load, {"protocol": "zookeeper", "nodes": NODES})


def synchronous(noter: Noter) -> None:
    """One request after the other, at one node and at the echo, pinned alike."""
    for place, (server, client) in places().items():
        with (
            Ensemble(1, DIRECTORY, [*UNLIMITED, "--cpus", str(server)]) as ensemble,
            echoing(cpus={server}) as echo,
            pinned_to(client),
        ):
            systems = {"fastzk": over_tcp([ensemble.nodes[0].zk]), "floor": over_tcp([echo])}
            noter.note_turns(systems, SYNCHRONOUS, {"protocol": "zookeeper", "nodes": 1, "cores": PLACES[place]})


if __name__ == "__main__":
    with Book(DIRECTORY / "figures.jsonl") as open_book:
        run(open_book, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
