"""How soon a change is known to 10,000 watchers.

Three nodes, on real disk, the watchers' connections over all of them in turn.  ZooKeeper's protocol tells a connection of one
change of one znode once, however many of its watches that meets.  So there are two ways to have 10,000 watchers:
    multi   100 znodes, each watched by all of 100 connections; one multi changes them all: 10,000 events on 100 connections
    single  one znode, watched by 10,000 connections (as many as descriptors allow); one setData: an event on each
`last_ms` is from the sending of the change until the last event is there, `first_ms` until the first; both have the write's own
time in them, its sync on two disks too.  The watches are data watches, armed again by getData before each turn.  All watchers
are one thread of this process, which takes a part of what it measures: it counts bytes then and decodes afterwards."""

import struct
import time
from collections.abc import Sequence

import stage
from crowd import SILENCE_S_MAX, Crowd, connections_max, event_bytes, request, take_frames
from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.defs import EventType, Xid
from fastzk.testing.ensemble import Address
from fastzk.testing.rawclient import RawClient
from fastzk.wire import records
from figures import Book, Condition, Figure

WATCHERS = 10_000
CONNECTIONS = 100  # of the first way
TURNS = 20


def run(book: Book, scale: float) -> None:
    """Both ways."""
    connections = stage.scaled(CONNECTIONS, scale, 10)
    znodes = stage.scaled(WATCHERS / CONNECTIONS, scale, 10)
    turns = stage.scaled(TURNS, scale, 2)
    wanted = stage.scaled(WATCHERS, scale, 10)
    many = connections_max(wanted)
    if many < wanted:
        stage.say(f"fanout: {many:,} connections and not {wanted:,}: more descriptors are not allowed (ulimit -Hn)")
    with stage.nodes(3) as ensemble:
        hosts = [node.zk for node in ensemble.nodes]
        measure(book, "multi", hosts, connections, [f"/fan-{number:04d}" for number in range(znodes)], turns)
        measure(book, "single", hosts, many, ["/fan-single"], turns)


def measure(book: Book, way: str, hosts: Sequence[Address], connections: int, paths: Sequence[str], turns: int) -> None:
    """One way: every connection watches all the paths, and one request changes them all."""
    stage.say(f"fanout: {connections * len(paths):,} watchers on {connections:,} connections")
    with RawClient(hosts[0], SILENCE_S_MAX) as writer, Crowd.open(hosts, connections) as crowd:
        writer.connect(40_000)
        for path in paths:
            if err := writer.call(records.Create(path, b"", OPEN_ACL_UNSAFE, 0)).err:
                raise RuntimeError(f"create {path} failed with {err}")
        # A node that lags behind does not have them yet.
        crowd.ask([[request(1, records.Sync(paths[0]))]] * connections)
        arming = [request(xid, records.GetData(path, True)) for xid, path in enumerate(paths, 1)]
        conditions: dict[str, Condition] = {
            "way": way,
            "nodes": len(hosts),
            "connections": connections,
            "watchers": connections * len(paths),
        }
        for turn in range(1, turns + 1):
            crowd.ask([arming] * connections)
            sets = tuple(records.SetData(path, struct.pack(">q", turn), -1) for path in paths)
            change = sets[0] if len(sets) == 1 else records.Multi(sets)
            began_s = time.perf_counter()
            writer.send(change)
            first_s, last_s = crowd.hear(connections * sum(map(event_bytes, paths)))
            if err := writer.receive().err:
                raise RuntimeError(f"the change failed with {err}")
            check_heard(crowd.inputs, paths)
            book.note(Figure("fanout", "fastzk", "first_ms", (first_s - began_s) * 1000, "ms", conditions, turn))
            book.note(Figure("fanout", "fastzk", "last_ms", (last_s - began_s) * 1000, "ms", conditions, turn))


def check_heard(inputs: Sequence[bytearray], paths: Sequence[str]) -> None:
    """Every connection was told of each path once, and of nothing else; takes what it was told.  Raises RuntimeError."""
    for number, buffer in enumerate(inputs):
        told = []
        for frame in take_frames(buffer):
            xid, _, _ = records.decode_reply_header(frame)
            event = records.WatcherEvent.decode(frame[records.REPLY_HEADER_SIZE :])
            if (xid, event.type) != (Xid.NOTIFICATION, EventType.CHANGED):
                raise RuntimeError(f"connection {number} was told {event} with xid {xid}")
            told.append(event.path)
        if sorted(told) != sorted(paths):
            raise RuntimeError(f"connection {number} was told of {len(told)} changes, and not of {len(paths)}")


if __name__ == "__main__":
    stage.main(run, __doc__)
