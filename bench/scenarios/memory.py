"""What a znode with 100 bytes of data takes, and what a watch takes.

One node that stands alone.  Znodes: a million of them, made through the protocol (creates, many under way) or loaded from a
snapshot; their paths have 20 characters.  `bytes_per_znode` is all that there is, divided by the znodes;
`bytes_per_znode_added` what is there more than when the node was empty.  Of `engine RSS` (the resident memory of the process
that holds the tree), of `node PSS` (all processes; memory that several share counts once: smaps_rollup) and of the `tree` alone
(what is shared, nearly all of it the arena; the rest of an engine after many writes is buffers that do not grow with the znodes).
Watches: a million on znodes of their own, armed by exists from 1,000 connections; `bytes_per_watch` is what the node's
processes have more for themselves (Anonymous of smaps_rollup) than after the same reads without a watch, which
have given every connection the buffers it needs."""

from collections.abc import Callable, Iterator

import stage
from crowd import Crowd, connections_max, request
from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.testing.aged import DATA_BYTES, DIRECTORIES, grow, path_of
from fastzk.testing.ensemble import Node, wait_for
from fastzk.wire import records
from figures import Book, Condition, Figure

ZNODES = 1_000_000
WATCHES = 1_000_000
CONNECTIONS = 8  # that create
WATCHERS = 1000
SNAPSHOT_S_MAX = 120.0  # to be written; a million znodes take a second
MEASURES: dict[str, Callable[[Node], int]] = {
    "engine RSS": lambda node: stage.memory([node.engine_pid()], "Rss"),
    "node PSS": lambda node: stage.memory(node.pids(), "Pss"),
    "tree": lambda node: stage.memory(node.pids(), "Pss_Shmem"),
}


def run(book: Book, scale: float) -> None:
    """Through the protocol; from a snapshot; and watches on what the latter has."""
    count = stage.scaled(ZNODES, scale, 1000)
    with stage.nodes(1) as ensemble:
        node = ensemble.node(1)
        empty = measured(node)
        stage.say(f"memory: making {count:,} znodes through the protocol")
        create(node, count)
        note_znodes(book, node, count, "through the protocol", empty)
    with stage.nodes(1) as ensemble:
        node = ensemble.node(1)
        empty = measured(node)
        if node.stop() != 0:
            raise RuntimeError(f"the node did not end well\n{node.log_tail()}")
        stage.say(f"memory: making a snapshot of {count:,} znodes")
        grow(node.data_dir, count)
        ensemble.restart(node)
        note_znodes(book, node, count, "from a snapshot", empty)
        note_watches(book, node, count, stage.scaled(WATCHES, scale, 1000))


def measured(node: Node) -> dict[str, int]:
    """The bytes of all measures."""
    return {of: measure(node) for of, measure in MEASURES.items()}


def note_znodes(book: Book, node: Node, count: int, how: str, empty: dict[str, int]) -> None:
    """What so many znodes take now."""
    # One that was begun by the last of many writes keeps copies of pages.
    wait_for(lambda: not list((node.data_dir / "snapshots").glob("*.tmp")), SNAPSHOT_S_MAX, "a snapshot to be written")
    for of, size in measured(node).items():
        conditions: dict[str, Condition] = {"znodes": count, "data_bytes": DATA_BYTES, "made": how, "of": of}
        book.note(Figure("memory", "fastzk", "bytes_per_znode", size / count, "bytes", conditions))
        book.note(Figure("memory", "fastzk", "bytes_per_znode_added", (size - empty[of]) / count, "bytes", conditions))


def create(node: Node, count: int) -> None:
    """Makes the znodes that grow() makes, through the protocol."""
    data = bytes(DATA_BYTES)

    def asked(paths: Iterator[str], data: bytes) -> Iterator[bytes]:
        for xid, path in enumerate(paths, 1):
            yield request(xid, records.Create(path, data, OPEN_ACL_UNSAFE, 0))

    with Crowd.open([node.zk], CONNECTIONS) as crowd:
        crowd.ask([asked((f"/d{number:03d}" for number in range(DIRECTORIES)), b"")])
        crowd.ask([asked(map(path_of, range(lane, count, CONNECTIONS)), data) for lane in range(CONNECTIONS)])


def note_watches(book: Book, node: Node, znodes: int, count: int) -> None:
    """What so many watches take, each on a znode of its own."""
    watchers = connections_max(min(WATCHERS, count // 10))
    count = min(count, znodes)

    def asked(watcher: int, is_watching: bool) -> Iterator[bytes]:
        for xid, number in enumerate(range(watcher, count, watchers), 1):
            yield request(xid, records.Exists(path_of(number), is_watching))

    with Crowd.open([node.zk], watchers) as crowd:
        stage.say(f"memory: {count:,} reads by {watchers:,} connections, and the same with watches")
        crowd.ask([asked(watcher, False) for watcher in range(watchers)])
        before = stage.memory(node.pids(), "Anonymous")
        crowd.ask([asked(watcher, True) for watcher in range(watchers)])
        after = stage.memory(node.pids(), "Anonymous")
    conditions: dict[str, Condition] = {"watches": count, "connections": watchers, "path_bytes": len(path_of(0))}
    book.note(Figure("memory", "fastzk", "bytes_per_watch", (after - before) / count, "bytes", conditions))


if __name__ == "__main__":
    stage.main(run, __doc__)
