"""What idle sessions cost, and an ensemble without clients.

`sessions`: one node, with 10,000 sessions of 30 s that ping every 10 s, as ZooKeeper's clients do, spread evenly.
`ensemble`: three nodes without a client.  `cpu_percent` is the processor time of all processes of all nodes over half a
minute, in per cent of one core.  `without`: the node of `sessions` before they came."""

import time
from collections.abc import Sequence

import stage
from crowd import PING, PING_REPLY_BYTES, SILENCE_S_MAX, Crowd, connections_max
from fastzk.testing.ensemble import Node
from figures import Book, Condition, Figure

SESSIONS = 10_000
SESSION_MS = 30_000
PINGS = 3  # of each session in its timeout
SECONDS = 30.0
SETTLE_S = 3.0  # from the last of what was done to idleness


def run(book: Book, scale: float) -> None:
    """One node with sessions and without, then three without."""
    seconds, settle_s = max(0.5, SECONDS * scale), SETTLE_S * min(1.0, scale)
    wanted = stage.scaled(SESSIONS, scale, 10)
    sessions = connections_max(wanted)
    if sessions < wanted:
        stage.say(f"idle: {sessions:,} sessions and not {wanted:,}: more descriptors are not allowed (ulimit -Hn)")
    with stage.nodes(1) as ensemble:
        idle(book, "without", ensemble.nodes, settle_s, seconds)
        with_sessions(book, ensemble.node(1), sessions, settle_s, seconds)
    with stage.nodes(3) as ensemble:
        idle(book, "ensemble", ensemble.nodes, settle_s, seconds)


def idle(book: Book, what: str, members: Sequence[Node], settle_s: float, seconds: float) -> None:
    """What nodes take that nobody asks anything."""
    stage.say(f"idle: {what}, {len(members)} node{'s' * (len(members) > 1)}, for {seconds:g} s")
    time.sleep(settle_s)
    percent = stage.cpu_percent(stage.all_pids(members), seconds)
    book.note(Figure("idle", "fastzk", "cpu_percent", percent, "%", {"what": what, "nodes": len(members)}))


def with_sessions(book: Book, node: Node, sessions: int, settle_s: float, seconds: float) -> None:
    """What a node takes whose sessions do nothing but ping."""
    stage.say(f"idle: beginning {sessions:,} sessions")
    with Crowd.open([node.zk], sessions, SESSION_MS) as crowd:
        pids = node.pids()
        ping(crowd, settle_s)
        stage.say(f"idle: {sessions:,} sessions ping for {seconds:g} s")
        before_s, began = stage.cpu_s(pids), time.monotonic()
        pings = ping(crowd, seconds)
        percent = 100 * (stage.cpu_s(pids) - before_s) / (time.monotonic() - began)
    conditions: dict[str, Condition] = {
        "what": "sessions",
        "nodes": 1,
        "sessions": sessions,
        "pings_per_second": round(pings / seconds),
    }
    book.note(Figure("idle", "fastzk", "cpu_percent", percent, "%", conditions))


def ping(crowd: Crowd, seconds: float) -> int:
    """Has each session ping three times in its timeout, the sessions one after the other; how many pings that were.

    Raises ConnectionError when the node closes one, TimeoutError when it does not answer."""
    began = time.monotonic()
    sent = 0
    heard = 0
    per_second = len(crowd.streams) * PINGS * 1000 / SESSION_MS
    while (now_s := time.monotonic() - began) < seconds:
        due = int(now_s * per_second) - sent
        for number in range(sent, sent + due):
            crowd.streams[number % len(crowd.streams)].sendall(PING)
        sent += due
        heard += crowd.discard(1 / per_second)
    while heard < sent * PING_REPLY_BYTES:
        heard += crowd.discard(SILENCE_S_MAX)
    return sent


if __name__ == "__main__":
    stage.main(run, __doc__)
