"""A measurement from beginning to end: prepare the znodes, connect, load, sum up, clean up.

    result = run([("127.0.0.1", 2181)], Workload(connections=10, mix={"get": 90, "set": 10}))

Rules: preparing and cleaning up are not measured.  Threads of load share nothing; their histograms are added.  What is asked
again and again, preparing too, is asked by the compiled load; Ctrl-C is heard meanwhile.

How it works: each thread runs a Load (compiled, without the GIL) over its part of the connections, and this one waits for
them, telling once a second how far they are."""

import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from fastzk.bench._load import Load
from fastzk.bench._requests import OPERATIONS, Requests
from fastzk.bench.connections import (
    CONNECT_S_MAX,
    OPEN_ACL,
    SESSION_TIMEOUT_MS,
    Address,
    UnreachableError,
    connect,
    connections,
    create_frame,
    delete_frame,
    native_links,
    receive,
    receive_frame,
)
from fastzk.bench.workload import Result, Workload, error_name, percentiles

if TYPE_CHECKING:
    from fastzk.bench._load import Counts

__all__ = [
    "CONNECT_S_MAX",
    "NODE_EXISTS",
    "OPEN_ACL",
    "OPERATIONS",
    "SESSION_TIMEOUT_MS",
    "Address",
    "Interrupted",
    "Progress",
    "Result",
    "UnreachableError",
    "Workload",
    "connect",
    "connections",
    "create_frame",
    "error_name",
    "percentiles",
    "prepare",
    "receive",
    "receive_frame",
    "run",
]

PREPARE_WINDOW = 500  # requests sent ahead while the znodes are made
PREPARE_S_MAX = 3600.0
NODE_EXISTS, NO_NODE, NOT_EMPTY = -110, -101, -111
NUMBERS = 10**8  # a run's and thread's number has eight digits

Sockets = Sequence[socket.socket] | Sequence["zmq.Socket[bytes]"]


@dataclass(frozen=True)
class Progress:
    """How far a measurement is; told about once a second."""

    phase: str  # preparing, loading, cleaning up
    elapsed_s: float
    per_second: float  # answered since the last time


Tell = Callable[[Progress], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while loading: `result` has what was measured until then."""

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted")
        self.result = result


def run(hosts: Sequence[Address], workload: Workload, tell: Tell | None = None) -> Result:
    """Measures the hosts under the workload.

    Raises UnreachableError when a host is not there or gives no session, ConnectionError when one closes a connection later,
    RuntimeError when a znode cannot be made or removed, Interrupted at Ctrl-C while loading."""
    allow_descriptors()
    made = prepare(hosts[0], workload, tell)
    requests: list[Requests] = []
    try:
        with sockets(hosts, workload, workload.connections) as opened:
            threads = min(workload.threads, len(opened))
            number = random.randrange(NUMBERS)
            requests += [new_requests(workload, (number + thread) % NUMBERS) for thread in range(threads)]
            loads = [new_load(workload, opened[thread::threads], requests[thread], len(opened)) for thread in range(threads)]
            result, is_interrupted = measure(loads, workload, tell)
            if workload.is_cleaning:
                remove_own(loads, requests, tell)
    finally:
        if workload.is_cleaning:
            remove_keys(hosts[0], workload, made, tell)
    if is_interrupted:
        raise Interrupted(result)
    return result


@contextmanager
def sockets(hosts: Sequence[Address], workload: Workload, count: int) -> Iterator[Sockets]:
    """So many sockets with a session each, of the workload's protocol."""
    if workload.protocol == "native":
        with native_links(hosts, count, workload.threads) as links:
            yield [link.socket for link in links]
    else:
        with connections(hosts, count) as streams:
            yield streams


def allow_descriptors() -> None:
    """Takes as many file descriptors as the system allows at most; a ZeroMQ connection needs several."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def new_requests(workload: Workload, number: int) -> Requests:
    """What one thread asks."""
    return Requests(
        prefix=workload.prefix.encode(),
        keys=workload.keys,
        value=random.randbytes(workload.value_bytes),
        weights=workload.weights(),
        number=number,
        multi=workload.multi,
        table=workload.key_table(),
    )


def new_load(workload: Workload, opened: Sockets, requests: Requests, connection_count: int) -> Load:
    """The load of one thread, which has these of all the connections."""
    return Load(
        opened,
        requests,
        window=workload.window,
        batch=workload.batch if workload.protocol == "native" else 0,
        interval_ns=1e9 * connection_count / (workload.rate * len(opened)) if workload.rate else 0,
    )


# ---- loading


def measure(loads: Sequence[Load], workload: Workload, tell: Tell | None) -> tuple[Result, bool]:
    """Runs the loads at once, sums up, and says whether Ctrl-C ended them.  Raises ConnectionError."""
    warm_up_ns, duration_ns = int(workload.warm_up_s * 1e9), int(workload.duration_s * 1e9)
    operations = -(-workload.operations // len(loads))
    parts, is_interrupted = run_all(loads, lambda load: load.run(warm_up_ns, duration_ns, operations), "loading", tell)
    reads, writes = ([sum(at) for at in zip(*(load.histogram(kind) for load in loads), strict=True)] for kind in (False, True))
    first = next((part for part in parts if part["first_error"]), parts[0])
    result = Result(
        per_second=sum(part["operations"] / max(part["elapsed_ns"], 1) * 1e9 for part in parts),
        operations=sum(part["operations"] for part in parts),
        errors=sum(part["errors"] for part in parts),
        first_error=first["first_error"],
        first_error_operation=first["first_error_operation"],
        disorders=sum(part["disorders"] for part in parts),
        unanswered=sum(part["unanswered"] for part in parts),
        unsent=sum(part["unsent"] for part in parts),
        elapsed_s=max(part["elapsed_ns"] for part in parts) / 1e9,
        read_us=percentiles(reads, max(load.maximum_ns(False) for load in loads)),
        write_us=percentiles(writes, max(load.maximum_ns(True) for load in loads)),
        reads=reads,
        writes=writes,
    )
    return result, is_interrupted


def run_all(loads: Sequence[Load], work: Callable[[Load], "Counts"], phase: str, tell: Tell | None) -> "tuple[list[Counts], bool]":
    """Each load in a thread of its own; gives what they counted, and whether Ctrl-C ended them."""
    is_interrupted = False
    with ThreadPoolExecutor(len(loads)) as pool:
        began = last = time.monotonic()
        running: list[Future[Counts]] = [pool.submit(work, load) for load in loads]
        answered = 0
        while True:
            try:
                _, rest = wait(running, timeout=1.0)
            except KeyboardInterrupt:
                is_interrupted = True
                for load in loads:
                    load.stop()
                wait(running)
                rest = set()
            if not rest:
                try:
                    return [future.result() for future in running], is_interrupted
                except ConnectionError as error:
                    raise ConnectionError(f"{error} while {phase}") from None
            now, before = time.monotonic(), answered
            answered = sum(load.answered for load in loads)
            if tell is not None:
                tell(Progress(phase, now - began, (answered - before) / (now - last)))
            last = now


# ---- the znodes


def prefix_paths(workload: Workload) -> list[bytes]:
    """The znodes that lead to the keys, from the root on."""
    parts = workload.prefix.encode().split(b"/")
    return [b"/".join(parts[:count]) for count in range(2, len(parts) + 1)]


def prepare(address: Address, workload: Workload, tell: Tell | None = None) -> list[bytes]:
    """Makes the znodes that will be read and set.  Those of an earlier run serve again.  Gives those made above the keys.

    Raises UnreachableError, and RuntimeError when one cannot be made."""
    made = []
    with sockets([address], workload, 1) as opened:
        for xid, path in enumerate(prefix_paths(workload), 1):
            err = ask(opened[0], create_frame(xid, path, b""))
            if err not in (0, NODE_EXISTS):
                raise RuntimeError(f"create {path.decode()} failed with {error_name(err)}")
            if err == 0:
                made.append(path)
        requests = new_requests(workload, 0)
        requests.make_keys()
        sweep(opened, requests, workload, NODE_EXISTS, "preparing", tell)
    return made


def remove_keys(address: Address, workload: Workload, made: Sequence[bytes], tell: Tell | None) -> None:
    """Removes the keys, and those above them that prepare() made, unless something else is there now."""
    with sockets([address], workload, 1) as opened:
        requests = new_requests(workload, 0)
        requests.remove_keys()
        sweep(opened, requests, workload, NO_NODE, "cleaning up", tell)
        for xid, path in enumerate(reversed(made), 1):
            err = ask(opened[0], delete_frame(xid, path))
            if err not in (0, NO_NODE, NOT_EMPTY):
                raise RuntimeError(f"delete {path.decode()} failed with {error_name(err)}")


def remove_own(loads: Sequence[Load], requests: Sequence[Requests], tell: Tell | None) -> None:
    """Removes what the loads have created."""
    for each, load in zip(requests, loads, strict=True):
        each.remove_own()
        load.interval_ns, load.tolerated = 0, NO_NODE
    parts, is_interrupted = run_all(loads, lambda load: load.run(0, int(PREPARE_S_MAX * 1e9)), "cleaning up", tell)
    check_swept(parts)
    if is_interrupted:
        raise KeyboardInterrupt


def sweep(opened: Sockets, requests: Requests, workload: Workload, tolerated: int, phase: str, tell: Tell | None) -> None:
    """Asks all that the requests have, once.  Raises RuntimeError when one fails."""
    batch = PREPARE_WINDOW // 10 if workload.protocol == "native" else 0
    load = Load(opened, requests, window=PREPARE_WINDOW, batch=batch, tolerated=tolerated)
    parts, is_interrupted = run_all([load], lambda load: load.run(0, int(PREPARE_S_MAX * 1e9)), phase, tell)
    if is_interrupted:
        raise KeyboardInterrupt
    check_swept(parts)


def check_swept(parts: "Sequence[Counts]") -> None:
    """Raises RuntimeError when a znode could not be made or removed."""
    for part in parts:
        if part["errors"]:
            raise RuntimeError(f"{part['first_error_operation']} failed with {error_name(part['first_error'])}")
        if part["unanswered"]:
            raise RuntimeError(f"{part['unanswered']:,} requests were never answered")


def ask(opened: "socket.socket | zmq.Socket[bytes]", frame: bytes) -> int:
    """The error of one request, 0 for none."""
    if isinstance(opened, socket.socket):
        opened.sendall(frame)
        reply = receive_frame(opened)
    else:
        opened.send(frame)
        if not opened.poll(int(CONNECT_S_MAX * 1000)):
            raise UnreachableError(f"no answer within {CONNECT_S_MAX:g} s")
        reply = opened.recv()[4:]
    if len(reply) < 16:
        raise UnreachableError("the server said goodbye")
    err: int = struct.unpack_from(">iqi", reply)[2]
    return err
