"""Whether two workers read twice as much as one, and what they share.

Two nodes that stand alone, one with one worker and one with two, in turns: getData, pipelined, 30 connections with 50 requests
under way.  `per_second` is what comes of it; the generator and the workers need cores of their own for that to double, and on
two cores they do not have them: there the generator takes one from the second worker.  `cpu_ns` is the processor time of the
workers for each getData; where cores are too few it grows a little with a second worker, since each then wakes more often
for fewer requests.

What can hinder them is memory that one writes and the other uses.  The hardware's counters of that (perf c2c) are seldom
offered by virtual machines, so it is shown by what there is to be written.  `writable_mappings`: the shared mappings of a
worker that it can write through, as the kernel tells them (/proc/PID/maps); it must be one, the page of counters
(fastzk/node/stats.py).  `lines_shared`: the cache lines of that page that hold counters of two workers, by what changed in it
under load; it must be 0.  What the kernel itself writes for several processes cannot be shown here."""

import os
from pathlib import Path

import stage
from fastzk.bench.load import Workload
from fastzk.bench.load import run as run_load
from fastzk.testing.ensemble import Node, monitored
from fastzk.transport._loop import SLOT_COUNTERS
from figures import Book, Condition, Figure

WORKERS = (1, 2)
TURNS = 5
SECONDS = 3.0
CONNECTIONS, WINDOW = 30, 50
LINE_BYTES = 64
COUNTER_BYTES = 8
STATS_NAME = "memfd:fastzk-stats"


def run(book: Book, scale: float) -> None:
    """Both nodes in turns, then what their workers share."""
    seconds, turns = max(0.1, SECONDS * scale), stage.scaled(TURNS, scale)
    cores = len(os.sched_getaffinity(0))
    if cores < max(WORKERS) + 1:
        stage.say(f"scaling: {cores} cores for {max(WORKERS)} workers and the generator: per_second cannot double here")
    load = Workload(CONNECTIONS, WINDOW, duration_s=seconds, warm_up_s=seconds / 6)
    with stage.nodes(1, ["--workers", "1"]) as first, stage.nodes(1, ["--workers", "2"]) as second:
        nodes = dict(zip(WORKERS, (first.node(1), second.node(1)), strict=True))
        for turn in range(1, turns + 1):
            for workers, node in nodes.items():
                stage.say(f"scaling: {workers} worker{'s' * (workers > 1)}, turn {turn} of {turns}")
                conditions: dict[str, Condition] = {
                    "op": "getData",
                    "workers": workers,
                    "cores": cores,
                    "connections": CONNECTIONS,
                    "window": WINDOW,
                }
                measure(book, node, load, conditions, turn)
        note_shared(book, nodes[2], load)


def measure(book: Book, node: Node, load: Workload, conditions: dict[str, Condition], turn: int) -> None:
    """One turn of one node.  Raises RuntimeError when it is worth nothing."""
    before, before_s = received(node), stage.cpu_s(node.worker_pids())
    result = run_load([node.zk], load)
    if not result.is_clean:
        raise RuntimeError(f"{result.errors} errors ({result.first_error}), {result.disorders} answers out of order")
    spent_s = stage.cpu_s(node.worker_pids()) - before_s
    # All that was asked since: the warm-up and the making of the znodes belong to the time.
    asked = received(node) - before
    book.note(Figure("scaling", "fastzk", "per_second", result.per_second, "1/s", conditions, turn))
    book.note(Figure("scaling", "fastzk", "cpu_ns", spent_s / asked * 1e9, "ns", conditions, turn))


def received(node: Node) -> int:
    """Requests that the node was ever asked."""
    return int(monitored(node.zk)["zk_packets_received"])


def note_shared(book: Book, node: Node, load: Workload) -> None:
    """What the workers of a node can write to, and what of it they share."""
    mappings = [writable_mappings(pid) for pid in node.worker_pids()]
    told = sorted({name for names in mappings for name in names})
    before = page_of(node)
    run_load([node.zk], load)
    shared = lines_shared(before, page_of(node))
    conditions: dict[str, Condition] = {"workers": len(mappings), "line_bytes": LINE_BYTES}
    stage.say(f"scaling: shared memory that workers can write to: {', '.join(told)}")
    book.note(Figure("scaling", "fastzk", "writable_mappings", max(map(len, mappings)), "", conditions))
    book.note(Figure("scaling", "fastzk", "lines_shared", shared, "", conditions))


def writable_mappings(pid: int) -> list[str]:
    """Names of the shared mappings that a process may write through.  Raises OSError when it is gone."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    # from-to perms offset device inode name
    fields = [line.split(maxsplit=5) for line in lines]
    return [field[5] if len(field) > 5 else "anonymous" for field in fields if field[1].startswith("rw") and field[1][3] == "s"]


def page_of(node: Node) -> bytes:
    """The node's page of counters as it is now.  Raises RuntimeError when none of its processes has one."""
    for pid in node.pids():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if STATS_NAME in os.readlink(descriptor):
                return descriptor.read_bytes()
    raise RuntimeError(f"no process of node {node.number} has {STATS_NAME}")


def lines_shared(before: bytes, after: bytes, first_byte: int = 0) -> int:
    """How many cache lines hold counters that changed and belong to different slots.  What is mapped begins at a line."""
    owners: dict[int, set[int]] = {}
    for at in range(0, len(after), COUNTER_BYTES):
        if before[at : at + COUNTER_BYTES] != after[at : at + COUNTER_BYTES]:
            owners.setdefault((first_byte + at) // LINE_BYTES, set()).add(at // COUNTER_BYTES // SLOT_COUNTERS)
    if not owners:
        raise RuntimeError("no counter of a node under load has changed: that is not its page")
    return sum(len(slots) > 1 for slots in owners.values())


if __name__ == "__main__":
    stage.main(run, __doc__)
