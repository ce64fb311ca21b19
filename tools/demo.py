"""`make demo`: fastzk's main job in under a minute, on real processes, sockets and files, with the figures.

Rule: it fails, with exit status 1, when anything acknowledged is missing or anything is there twice.  It cleans up."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss as KazooConnectionLoss

from fastzk import Client, errors
from fastzk.testing.clients import kazoo_client, native_client
from fastzk.testing.ensemble import Ensemble, file_system_of, wait_for
from fastzk.testing.ledger import WINDOW as WRITES_UNDER_WAY
from fastzk.testing.ledger import Writer, progress

DIRECTORY = Path("build/demo")
ZNODES = 10_000
WINDOW = 1000  # requests under way
SESSION_S = 20.0
ANSWER_S_MAX = 30.0
WRITES_AFTER_KILL = 500  # of each writer, to show that it goes on
LOST = (KazooConnectionLoss, errors.ConnectionLoss)

STARTED_S = time.monotonic()


def say(text: str) -> None:
    """A line, with the seconds since the start."""
    print(f"{time.monotonic() - STARTED_S:6.1f} s  {text}", flush=True)


def kazoo(hosts: str) -> contextlib.AbstractContextManager[KazooClient]:
    """A client of ZooKeeper's protocol."""
    return kazoo_client(hosts, SESSION_S)


def native(hosts: str) -> contextlib.AbstractContextManager[Client]:
    """fastzk's own client, over ZeroMQ."""
    return native_client(hosts, SESSION_S)


Connect = Callable[[str], contextlib.AbstractContextManager[Any]]


def pipelined(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """The answers to so many requests, many of them under way at once."""
    answers: list[Any] = []
    for start in range(0, count, WINDOW):
        asked = [ask(number) for number in range(start, min(start + WINDOW, count))]
        answers += [each.get(timeout=ANSWER_S_MAX) for each in asked]
    return answers


def write_and_read(ensemble: Ensemble) -> None:
    """Half of the znodes through each client; each half is read at every node through the other one."""
    half = ZNODES // 2
    kinds: list[tuple[str, Connect, str, Connect, str, list[str]]] = [
        ("native", native, ensemble.native_hosts, kazoo, "kazoo", [node.zk_host for node in ensemble.nodes]),
        ("kazoo", kazoo, ensemble.zk_hosts, native, "native", [node.native_host for node in ensemble.nodes]),
    ]
    for name, connect, hosts, other, other_name, places in kinds:
        parent = f"/demo-{name}"
        with connect(hosts) as client:
            client.create(parent, b"")
            began_s = time.monotonic()
            pipelined(half, lambda n: client.create_async(f"{parent}/{n:05d}", b"%d" % n))  # noqa: B023
            took_s = time.monotonic() - began_s
        say(f"{half:,} znodes written through {name}: {half / took_s:,.0f} per second")
        for place in places:
            with other(place) as client:
                client.sync("/")
                began_s = time.monotonic()
                found = pipelined(half, lambda n: client.get_async(f"{parent}/{n:05d}"))  # noqa: B023
                took_s = time.monotonic() - began_s
                wrong = sum(data != b"%d" % n for n, (data, _) in enumerate(found))
                check(not wrong, f"{wrong} of them are wrong at {place}")
            say(f"   all read at {place} through {other_name}: {half / took_s:,.0f} per second")


def lock(ensemble: Ensemble) -> None:
    """An ephemeral znode as a lock; whoever watches it learns when its holder has gone."""
    gone = threading.Event()
    with kazoo(ensemble.zk_hosts) as waiting:
        with native(ensemble.native_hosts) as holder:
            holder.create("/demo-lock", b"mine", ephemeral=True)
            waiting.sync("/demo-lock")
            stat = waiting.exists("/demo-lock", watch=lambda event: gone.set())
            say(f"the native client holds /demo-lock in session {stat.ephemeralOwner:#x}; kazoo watches it")
            began_s = time.monotonic()
        check(gone.wait(SESSION_S), "the watch of the lock did not fire")
        check(waiting.exists("/demo-lock") is None, "the lock is still there")
        say(f"the holder's session ended: the lock vanished and the watch fired after {ms_since(began_s)}")


def ms_since(began_s: float) -> str:
    return f"{(time.monotonic() - began_s) * 1000:.0f} ms"


def kill_the_leader(ensemble: Ensemble, writers: list[Writer]) -> None:
    """SIGKILL to all processes of the leader while everyone writes."""
    leader = ensemble.leader()
    wait_for(progress(writers, 100), ANSWER_S_MAX, "writes before the kill")
    began_s = time.monotonic()
    leader.kill9()
    goes_on = progress(writers, WRITES_UNDER_WAY + 1)  # more than can have been answered before the kill
    say(f"killed node {leader.number}, the leader, in mid-write (kill -9)")
    wait_for(goes_on, ANSWER_S_MAX, "writes after the kill")
    say(f"every writer goes on: {ms_since(began_s)} after the kill each has had a new write acknowledged")
    for writer in writers:
        writer.allow(WRITES_AFTER_KILL)
    wait_for(progress(writers, WRITES_AFTER_KILL // 2), ANSWER_S_MAX, "more writes")
    say(f"node {ensemble.leader().number} leads now")
    ensemble.restart(leader)
    ensemble.wait_all_serving()
    say(f"node {leader.number} is started again and has caught up; all trees are equal: {ensemble.digest()[:16]}...")


def kill_all(ensemble: Ensemble, writers: list[Writer]) -> None:
    """SIGKILL to everything while everyone writes; then the notes are held against the tree."""
    for writer in writers:
        writer.allow(1000)
    wait_for(progress(writers, 100), ANSWER_S_MAX, "writes before everything is killed")
    for node in ensemble.nodes:
        node.kill9()
    say("killed all three nodes in mid-write (kill -9)")
    began_s = time.monotonic()
    for node in ensemble.nodes:
        node.start()
    ensemble.wait_all_serving()
    say(f"started again; all serve after {ms_since(began_s)}")
    wait_for(progress(writers, 1), ANSWER_S_MAX, "writes after the restart")
    for writer in writers:
        writer.stop()
    digest = ensemble.digest()
    for node in ensemble.nodes:
        with kazoo(node.zk_host) as reader:
            complaints = [complaint for writer in writers for complaint in writer.complaints(reader)]
            check(not complaints, "\n".join(complaints[:20]))
            for name in ("native", "kazoo"):
                count = len(reader.get_children(f"/demo-{name}"))
                check(count == ZNODES // 2, f"{count} znodes of {ZNODES // 2} are left in /demo-{name} at node {node.number}")
    acknowledged = sum(writer.acknowledged for writer in writers)
    uncertain = sum(len(writer.uncertain_creates) + writer.uncertain_sets for writer in writers)
    say(
        f"every one of {ZNODES + acknowledged:,} acknowledged writes is there, once, at each node "
        f"({uncertain} had no answer because their node was killed); all trees are equal: {digest[:16]}..."
    )


class Missing(Exception):  # noqa: N818
    """What was promised is not so."""


def check(is_so: bool, otherwise: str) -> None:
    """Ends the demonstration when something is not as promised."""
    if not is_so:
        raise Missing(otherwise)


def demonstrate() -> None:
    """All of it, in order."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    say(f"starting three nodes below {DIRECTORY}/ ({file_system_of(DIRECTORY)}; every write is synced)")
    with contextlib.ExitStack() as stack:
        ensemble = stack.enter_context(Ensemble(3, DIRECTORY))
        roles = ", ".join(f"node {node.number} ({node.mode()}) on {node.zk_host}" for node in ensemble.nodes)
        say(f"they serve: {roles}")
        write_and_read(ensemble)
        lock(ensemble)
        clients = [
            ("native", stack.enter_context(native(ensemble.native_hosts))),
            ("kazoo", stack.enter_context(kazoo(ensemble.zk_hosts))),
        ]
        clients[0][1].create("/ledger", b"")
        writers = [Writer(name, client, "/ledger", LOST) for name, client in clients]
        for writer in writers:
            writer.prepare()
            writer.allow(5000)
            writer.start()
        kill_the_leader(ensemble, writers)
        kill_all(ensemble, writers)
    say("ended, and cleaned up")


def main() -> int:
    """Exit status 0 when all was as promised."""
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # it tells of each lost connection, and here many are lost
    logging.getLogger("fastzk").setLevel(logging.CRITICAL)
    try:
        demonstrate()
    except Missing as missing:
        print(f"FAILED: {missing}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
