"""fastzk beside a server that only echoes, over the native protocol: getData through libzmq, with as little else as can be.

The echo is compiled, one thread on a ROUTER, and gives every getData the same reply of 100 bytes and a stat
(fastzk.bench.echo --native).  The load is compiled DEALERs (fastzk.bench.dealer), the same for both, in turns; `batch` requests
go in one message, and the reply to a message of the echo is one message.

  pipelined     1 and 30 connections with a window of 50, single frames and batches of 50, over three nodes of fastzk on disk
  synchronous   one connection, one getData after the other, at one node that stands alone.  Pinned alike (condition `cores`):
                server and load on the same core (1), or each on one of its own (2)."""

import sys

from fastzk.bench import dealer
from fastzk.bench.echo import echoing
from fastzk.bench.load import Address
from fastzk.testing.ensemble import Ensemble
from figures import Book
from pinning import PLACES, pinned_to, places
from turns import DIRECTORY, Load, Measure, Noter, Outcome, Pace, rotated

NODES = 3
PIPELINED = [Load("getData", connections=1), Load("getData", connections=30)]
BATCHES = (1, 50)
SYNCHRONOUS = Load("getData", connections=1, window=1)
UNLIMITED = ["--max-client-cnxns", "0"]


def over_zmq(hosts: list[Address], batch: int) -> Measure:
    """Any system that speaks the native protocol."""

    def measure(load: Load, pace: Pace, turn: int) -> Outcome:
        asked = dealer.DealerLoad(load.connections, load.window, batch, warm_up_s=pace.warm_up_s, duration_s=pace.seconds)
        return Outcome.of(dealer.run(rotated(hosts, turn), asked), f"{load.op} at {hosts}, over ZeroMQ")

    return measure


def run(book: Book, scale: float) -> None:
    """Both parts.  Raises RuntimeError when a turn is worth nothing or the echo does not start."""
    noter = Noter(book, "floors_native", Pace.at(scale))
    pipelined(noter)
    synchronous(noter)


def pipelined(noter: Noter) -> None:
    """Many requests under way, at three nodes and at the echo."""
    with Ensemble(NODES, DIRECTORY, UNLIMITED) as ensemble, echoing(is_native=True) as echo:
        natives = [node.native for node in ensemble.nodes]
        for load in PIPELINED:
            for batch in BATCHES:
                systems = {"fastzk": over_zmq(natives, batch), "floor": over_zmq([echo], batch)}
                noter.note_turns(systems, load, {"protocol": "native", "nodes": NODES, "batch": batch})


def synchronous(noter: Noter) -> None:
    """One request after the other, at one node and at the echo, pinned alike."""
    for place, (server, client) in places().items():
        with (
            Ensemble(1, DIRECTORY, [*UNLIMITED, "--cpus", str(server)]) as ensemble,
            echoing(is_native=True, cpus={server}) as echo,
            pinned_to(client),
        ):
            systems = {"fastzk": over_zmq([ensemble.nodes[0].native], 1), "floor": over_zmq([echo], 1)}
            about = {"protocol": "native", "nodes": 1, "batch": 1, "cores": PLACES[place]}
            noter.note_turns(systems, SYNCHRONOUS, about)


if __name__ == "__main__":
    with Book(DIRECTORY / "figures.jsonl") as open_book:
        run(open_book, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
