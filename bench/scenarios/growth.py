"""What one getData costs with 1,000 to 10 million znodes of 100 bytes, and one listing with 10 to 100,000 children.

Nodes that stand alone, one for each number of znodes, made from a snapshot and all running at once; in turns.  Pipelined:
10 connections send bursts of 50 requests for random ones of all znodes, each when the one before it is answered; `wall_ns` is
what passes for a getData, `cpu_ns` the processor time of the node's workers for it, which the generator beside them changes
less.  Synchronous: one connection, one request after the other, `p50_us` and `p99_us`.  Listings (getChildren) are asked for
one after the other; `cpu_ns_per_child` is the workers' time.

Numbers of znodes that do not fit into the free memory are left out, aloud."""

import contextlib
import random
from collections.abc import Sequence

import stage
from crowd import Crowd, data_reply_bytes, latencies_us, request
from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.testing.aged import DATA_BYTES, grow, path_of
from fastzk.testing.ensemble import Node, wait_for
from fastzk.wire import records
from figures import Book, Condition, Figure

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CHILDREN = (10, 1_000, 100_000)
TURNS = 3
CONNECTIONS = 10
WINDOW = 50
BURSTS = 4000  # different ones: 200,000 random paths, beyond what a processor caches
SECONDS = 3.0  # of each turn, pipelined
SYNCHRONOUS = 20_000  # of each turn
LISTINGS = 2_000_000  # children, of each turn
LISTINGS_MIN, LISTINGS_MAX = 20, 2000  # ... in so many requests
# The arena that grow() fills, the node's own, the snapshot's file in the page cache, and room for mistakes.
BYTES_PER_ZNODE = 900
SPARE_BYTES = 1 << 30
START_S_MAX = 600.0  # of a node with the most znodes, on a machine that does much else; alone it takes seconds
NAME_BYTES = 12  # of a child


def run(book: Book, scale: float) -> None:
    """The two measurements, one after the other."""
    sizes = sorted({stage.scaled(size, scale, 100) for size in SIZES})
    with contextlib.ExitStack() as stack:
        grown = {}
        for size in sizes:
            if node := grown_node(stack, size):
                grown[size] = node
        turns = stage.scaled(TURNS, scale)
        for turn in range(1, turns + 1):
            for size, node in grown.items():
                stage.say(f"growth: {size:,} znodes, turn {turn} of {turns}")
                measure_reads(book, node, size, turn, scale)
    with stage.nodes(1) as ensemble:
        measure_listings(book, ensemble.node(1), scale)


def grown_node(stack: contextlib.ExitStack, size: int) -> Node | None:
    """A node with so many znodes, which runs until the stack ends; None when the machine has no memory for them."""
    needed, free = size * BYTES_PER_ZNODE + SPARE_BYTES, stage.available_bytes()
    if needed > free:
        stage.say(f"growth: {size:,} znodes are LEFT OUT: they need {needed >> 20:,} MiB, and {free >> 20:,} MiB are free")
        return None
    stage.say(f"growth: making {size:,} znodes")
    ensemble = stack.enter_context(stage.nodes(1))
    node = ensemble.node(1)
    if node.stop() != 0:
        raise RuntimeError(f"the node did not end well\n{node.log_tail()}")
    grow(node.data_dir, size)
    stage.say(f"growth: starting the node that has {size:,} znodes")
    node.start()
    wait_for(lambda: node.mode() or not node.is_running, START_S_MAX, f"a node with {size:,} znodes to serve")
    if not node.is_running:
        raise RuntimeError(f"the node ended\n{node.log_tail()}")
    return node


def measure_reads(book: Book, node: Node, size: int, turn: int, scale: float) -> None:
    """One turn of getData, pipelined and synchronous."""
    chance = random.Random(turn)
    count = stage.scaled(BURSTS, scale, 10)
    requests = [request(1 + n % WINDOW, records.GetData(path_of(chance.randrange(size)), False)) for n in range(count * WINDOW)]
    bursts = [b"".join(requests[at : at + WINDOW]) for at in range(0, len(requests), WINDOW)]
    reply_bytes = data_reply_bytes(DATA_BYTES)
    conditions: dict[str, Condition] = {
        "op": "getData",
        "znodes": size,
        "mode": "pipelined",
        "connections": CONNECTIONS,
        "window": WINDOW,
    }
    with Crowd.open([node.zk], CONNECTIONS) as crowd:
        # Every path before: the first touch of a page is the kernel's work and comes once in a node's life.
        crowd.pump(bursts, WINDOW, reply_bytes, SECONDS * scale)
        before_s = stage.cpu_s(node.worker_pids())
        answered, took_s = crowd.pump(bursts, WINDOW, reply_bytes, SECONDS * scale)
        spent_s = stage.cpu_s(node.worker_pids()) - before_s
        book.note(Figure("growth", "fastzk", "wall_ns", took_s / answered * 1e9, "ns", conditions, turn))
        book.note(Figure("growth", "fastzk", "cpu_ns", spent_s / answered * 1e9, "ns", conditions, turn))
        some = requests[: stage.scaled(SYNCHRONOUS, scale, 100)]
        took_us = latencies_us(crowd.streams[0], some, reply_bytes)
    conditions = {"op": "getData", "znodes": size, "mode": "synchronous", "connections": 1, "window": 1}
    for measure, share in (("p50_us", 0.5), ("p99_us", 0.99)):
        book.note(Figure("growth", "fastzk", measure, stage.quantile(took_us, share), "us", conditions, turn))


def measure_listings(book: Book, node: Node, scale: float) -> None:
    """getChildren of parents with few and with many children, in turns."""
    counts = sorted({stage.scaled(count, scale, 10) for count in CHILDREN})
    turns = stage.scaled(TURNS, scale)
    with Crowd.open([node.zk], 1) as crowd:
        for count in counts:
            stage.say(f"growth: making {count:,} children")
            crowd.ask([made(count)])
        for turn in range(1, turns + 1):
            for count in counts:
                listed(book, crowd, node, count, turn, scale)


def made(count: int) -> Sequence[bytes]:
    """The requests that make a parent and its children."""
    paths = [f"/of-{count}", *(child_path(count, number) for number in range(count))]
    return [request(xid + 1, records.Create(path, b"", OPEN_ACL_UNSAFE, 0)) for xid, path in enumerate(paths)]


def child_path(count: int, number: int) -> str:
    """Where one of the children is."""
    return f"/of-{count}/{f'child-{number}':-<{NAME_BYTES}}"


def listed(book: Book, crowd: Crowd, node: Node, count: int, turn: int, scale: float) -> None:
    """One turn of one parent."""
    asked = min(LISTINGS_MAX, max(LISTINGS_MIN, round(LISTINGS * scale / count)))
    reply_bytes = 4 + records.REPLY_HEADER_SIZE + 4 + count * (4 + NAME_BYTES)
    some = [request(xid + 1, records.GetChildren(f"/of-{count}", False)) for xid in range(asked)]
    before_s = stage.cpu_s(node.worker_pids())
    took_us = latencies_us(crowd.streams[0], some, reply_bytes)
    spent_s = stage.cpu_s(node.worker_pids()) - before_s
    conditions: dict[str, Condition] = {
        "op": "getChildren",
        "children": count,
        "mode": "synchronous",
        "connections": 1,
        "window": 1,
    }
    p50_us = stage.quantile(took_us, 0.5)
    book.note(Figure("growth", "fastzk", "p50_us", p50_us, "us", conditions, turn))
    book.note(Figure("growth", "fastzk", "p50_ns_per_child", p50_us * 1000 / count, "ns", conditions, turn))
    book.note(Figure("growth", "fastzk", "cpu_ns_per_child", spent_s * 1e9 / asked / count, "ns", conditions, turn))


if __name__ == "__main__":
    stage.main(run, __doc__)
