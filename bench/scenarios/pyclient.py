"""fastzk's Python client beside kazoo at the same node, and beside pyzmq alone.

One node that stands alone, on disk, and one znode of 100 bytes.  In turns, all in this process:
    fastzk   fastzk.Client, over ZeroMQ
    kazoo    KazooClient, over ZooKeeper's protocol
    floor    a DEALER of pyzmq that sends the bytes of a getData and waits for those of the reply, to a compiled ROUTER that
             only echoes: what Python can do over ZeroMQ when nothing is numbered, decoded or kept

  sequential   one call after the other: calls per second, and the latencies of single ones.  Pinned alike (condition `cores`):
               node and client on the same core (1), or each on one of its own (2)
  pipelined    WINDOW calls are asked for (get_async), then all are waited for, and again: calls per second; not pinned"""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from kazoo.client import KazooClient

from fastzk import Client
from fastzk.bench.echo import echoing
from fastzk.defs import OpCode
from fastzk.testing.ensemble import Ensemble, Node
from fastzk.wire import frames, records
from figures import Book, Condition, Figure
from pinning import PLACES, pinned_to, places

DIRECTORY = Path(__file__).resolve().parents[2] / "build" / "bench"
PATH = "/pyclient"
VALUE = b"v" * 100
WINDOW = 1000  # calls under way at once, when pipelined
SECONDS, WARM_UP_S, TURNS = 3.0, 0.5, 5  # of a turn, at scale 1
TURNS_MIN = 2

Ask = Callable[[], object]


@dataclass(frozen=True)
class System:
    """One of those that are compared: how it is asked one thing, and how it gives a result to be waited for."""

    name: str
    get: Ask
    set: Ask | None = None
    get_async: Callable[[], Any] | None = None
    set_async: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Noter:
    """Measures, and puts it into the book."""

    book: Book
    seconds: float
    warm_up_s: float
    turns: int

    def note(self, system: System, measure: str, value: float, unit: str, about: dict[str, Condition], turn: int) -> None:
        """One figure."""
        everything = about | {"nodes": 1, "value_bytes": len(VALUE)}
        self.book.note(Figure("pyclient", system.name, measure, value, unit, everything, turn))

    def sequential(self, systems: list[System], op: str, cores: int) -> None:
        """One call after the other, by those that have it, in turns."""
        about: dict[str, Condition] = {"op": op, "mode": "sequential", "cores": cores}
        for turn in range(1, self.turns + 1):
            for system in systems:
                ask = system.get if op == "getData" else system.set
                if ask is None:
                    continue
                timed(ask, self.warm_up_s)
                took = timed(ask, self.seconds)
                percentiles = statistics.quantiles(took, n=100, method="inclusive")
                self.note(system, "per_second", len(took) / sum(took), "1/s", about, turn)
                self.note(system, "p50_us", percentiles[49] * 1e6, "us", about, turn)
                self.note(system, "p99_us", percentiles[98] * 1e6, "us", about, turn)

    def pipelined(self, systems: list[System], op: str) -> None:
        """Windows of calls, by those that can, in turns."""
        about: dict[str, Condition] = {"op": op, "mode": "pipelined", "window": WINDOW}
        for turn in range(1, self.turns + 1):
            for system in systems:
                ask = system.get_async if op == "getData" else system.set_async
                if ask is None:
                    continue
                windows(ask, self.warm_up_s)
                self.note(system, "per_second", windows(ask, self.seconds), "1/s", about, turn)


def timed(ask: Ask, seconds: float) -> list[float]:
    """Asks for so long; how many seconds each call took."""
    clock = time.perf_counter
    took: list[float] = []
    begun = now = clock()
    while now - begun < seconds or len(took) < 2:
        ask()
        before, now = now, clock()
        took.append(now - before)
    return took


def windows(ask: Callable[[], Any], seconds: float) -> float:
    """Asks WINDOW times and waits for all, for so long: calls per second."""
    count, begun = 0, time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds or not count:
        for result in [ask() for _ in range(WINDOW)]:
            result.get()
        count += WINDOW
    return count / (now - begun)


@contextlib.contextmanager
def systems_at(node: Node, echo: tuple[str, int]) -> Iterator[list[System]]:
    """Connected, and each asked once."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(node.native_host))
        kazoo = KazooClient(hosts=node.zk_host)
        kazoo.start()
        stack.callback(kazoo.close)
        stack.callback(kazoo.stop)
        if not client.exists(PATH):
            client.create(PATH, VALUE)
        yield [
            System(
                "fastzk",
                lambda: client.get(PATH),
                lambda: client.set(PATH, VALUE),
                lambda: client.get_async(PATH),
                lambda: client.set_async(PATH, VALUE),
            ),
            System(
                "kazoo",
                lambda: kazoo.get(PATH),
                lambda: kazoo.set(PATH, VALUE),
                lambda: kazoo.get_async(PATH),
                lambda: kazoo.set_async(PATH, VALUE),
            ),
            System("floor", stack.enter_context(dealer(echo))),
        ]


@contextlib.contextmanager
def dealer(address: tuple[str, int]) -> Iterator[Ask]:
    """A getData over pyzmq alone.  Raises RuntimeError when the echo gives none of its replies."""
    request = records.GetData(PATH, False)
    header = records.RequestHeader(1, OpCode.GET_DATA).encode()
    message = frames.frame(header + records.encode_request(request))
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = 10_000
        socket.connect("tcp://{}:{}".format(*address))

        def ask() -> bytes:
            socket.send(message)
            return socket.recv()

        (reply,) = frames.split_message(ask(), len(VALUE) * 10)
        data, _ = records.decode_reply(OpCode.GET_DATA, reply, records.REPLY_HEADER_SIZE)
        if len(data) != len(VALUE):
            raise RuntimeError(f"the echo answers with {len(data)} bytes")
        yield ask


def run(book: Book, scale: float) -> None:
    """Both parts.  Raises what a client raises, RuntimeError when the echo does not start."""
    turns = max(TURNS_MIN, round(TURNS * min(1.0, scale)))
    noter = Noter(book, SECONDS * scale, WARM_UP_S * scale, turns)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for place, (server, own) in places().items():
        with (
            Ensemble(1, DIRECTORY, ["--cpus", str(server)]) as ensemble,
            echoing(is_native=True, cpus={server}) as echo,
            pinned_to(own),
            systems_at(ensemble.nodes[0], echo) as systems,
        ):
            for op in ("getData", "setData"):
                noter.sequential(systems, op, PLACES[place])
    with Ensemble(1, DIRECTORY) as ensemble, echoing(is_native=True) as echo, systems_at(ensemble.nodes[0], echo) as systems:
        for op in ("getData", "setData"):
            noter.pipelined(systems, op)


if __name__ == "__main__":
    with Book(DIRECTORY / "figures.jsonl") as open_book:
        run(open_book, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
