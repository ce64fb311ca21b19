"""How long clients wait when a leader dies or falls silent, and whether load alone ever makes nodes elect.

Three nodes on real disk.  A client on each, over ZooKeeper's protocol, keeps eight setData under way, each to its own znode.
    kill    all processes of the leader's node are killed with SIGKILL in mid-write, a hundred times
    stop    the same with SIGSTOP, ten times; SIGCONT when both others write again
`gap_ms` is the longest time between two answered writes of one client on a surviving node, from just before the signal until
300 of its writes were answered after it.  `gap_p50_ms`, `gap_p99_ms` and `gap_max_ms` are over all events of a kind, of each
the longer one of the two clients' gaps.  `connections_lost`: how often a client on a surviving node had to connect again.
    load    no signal: 30 connections with 50 requests under way, half of them writes, for an hour (at smaller scales: an hour
            times the square of the scale, so that a smoke test takes seconds)
`elections` is by how much the epoch grew (the upper half of the zxid), and must be 0; `turns_disturbed`, out of the ten-second
turns: in so many a connection broke or an answer was an error."""

import os
import signal
import time

import stage
from fastzk.bench.load import Workload
from fastzk.bench.load import run as run_load
from fastzk.testing.ensemble import SERVE_S_MAX, Ensemble, Node, monitored, wait_for
from figures import Book, Condition, Figure
from writers import WINDOW as WRITES
from writers import Writer, Writers

KILLS, STOPS = 100, 10
LOAD_MINUTES = 60.0
LOAD_TURN_S = 10.0  # a load cannot be interrupted, so it goes in short turns
CONNECTIONS, WINDOW = 30, 50
ANSWERS = 300  # of each client before the signal, and again after it


def run(book: Book, scale: float) -> None:
    """The three kinds, on ensembles of their own."""
    with stage.nodes(3) as ensemble:
        fail_over(book, ensemble, "kill", stage.scaled(KILLS, scale))
    with stage.nodes(3) as ensemble:
        fail_over(book, ensemble, "stop", stage.scaled(STOPS, scale))
    with stage.nodes(3) as ensemble:
        under_load(book, ensemble, LOAD_MINUTES * scale * min(1.0, scale))


def fail_over(book: Book, ensemble: Ensemble, kind: str, count: int) -> None:
    """So many leaders lost."""
    conditions: dict[str, Condition] = {"event": kind, "nodes": 3, "clients_per_node": 1, "window": WRITES}
    longest, lost = [], 0
    for turn in range(1, count + 1):
        stage.say(f"failover: {kind} {turn} of {count}")
        survivors = one(ensemble, kind)
        for number, survivor in enumerate(survivors, 1):
            gap_ms = survivor.longest_gap_s * 1000
            book.note(Figure("failover", "fastzk", "gap_ms", gap_ms, "ms", {**conditions, "client": number}, turn))
            lost += survivor.connections_lost
        longest.append(max(survivor.longest_gap_s for survivor in survivors) * 1000)
    conditions["events"] = count
    for measure, share in (("gap_p50_ms", 0.5), ("gap_p99_ms", 0.99), ("gap_max_ms", 1.0)):
        book.note(Figure("failover", "fastzk", measure, stage.quantile(longest, share), "ms", conditions))
    book.note(Figure("failover", "fastzk", "connections_lost", lost, "", conditions))


def one(ensemble: Ensemble, kind: str) -> list[Writer]:
    """One loss of a leader, and its return; the clients of the others, with what they have seen."""
    leader = ensemble.leader()
    pids = leader.pids()
    with Writers(ensemble.nodes) as writers:
        writers.run_until_answered(ANSWERS)
        survivors = writers.without(leader)
        for writer in survivors:
            writer.longest_gap_s = 0.0
        for pid in pids:
            os.kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        try:
            writers.run_until_answered(ANSWERS)
        finally:
            if kind == "stop":
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
    if kind == "kill":
        leader.kill9()
        leader.start()
    ensemble.wait_all_serving()
    return survivors


def epoch(node: Node) -> int:
    """The epoch that a node's tree is at."""
    said = wait_for(lambda: monitored(node.zk).get("zk_applied_zxid", ""), SERVE_S_MAX, f"what node {node.number} has applied")
    return int(said, 16) >> 32


def under_load(book: Book, ensemble: Ensemble, minutes: float) -> None:
    """Load, and nothing else, for so long."""
    hosts = [node.zk for node in ensemble.nodes]
    turn_s = min(LOAD_TURN_S, minutes * 60)
    load = Workload(CONNECTIONS, WINDOW, get_percent=50, duration_s=turn_s, warm_up_s=0.0)
    before = max(map(epoch, ensemble.nodes))
    turns = disturbed = 0
    began = time.monotonic()
    while (passed_s := time.monotonic() - began) < minutes * 60:
        turns += 1
        try:
            result = run_load(hosts, load)
            told = f"{result.per_second:,.0f} requests a second"
            disturbed += not result.is_clean
        except (OSError, RuntimeError) as error:
            disturbed += 1
            told = f"disturbed: {error}"
        elections = max(map(epoch, ensemble.nodes)) - before
        stage.say(f"failover: {passed_s / 60:.1f} of {minutes:g} minutes of load: {told}, {elections} elections")
    conditions: dict[str, Condition] = {
        "event": "load",
        "nodes": 3,
        "minutes": minutes,
        "connections": CONNECTIONS,
        "window": WINDOW,
        "turns": turns,
    }
    elections = max(map(epoch, ensemble.nodes)) - before
    book.note(Figure("failover", "fastzk", "elections", elections, "", conditions))
    book.note(Figure("failover", "fastzk", "turns_disturbed", disturbed, "", conditions))


if __name__ == "__main__":
    stage.main(run, __doc__)
