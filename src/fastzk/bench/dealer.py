"""A measurement over the native protocol, as bare as it can be: sessions, one znode, getData of it again and again.

Rules: every socket is a session of its own.  The load is the same whatever answers it (_dealer.pyx), so that an echo and a
node can be held against each other.  Preparing is not measured."""

import contextlib
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zmq

from fastzk.bench._dealer import Dealers
from fastzk.bench.load import NODE_EXISTS, SESSION_TIMEOUT_MS, Address, Result, create_frame

ANSWER_S_MAX = 10.0
SAMPLES_MAX = 1 << 20
CLOSE = -11
CLOSE_XID = 0x7FFFFFFF
LINGER_MS = 200  # for the goodbye


@dataclass(frozen=True)
class DealerLoad:
    """How hard getData is asked."""

    connections: int = 1
    window: int = 50  # requests under way on each connection
    batch: int = 1  # of them in a message
    value_bytes: int = 100
    warm_up_s: float = 0.5
    duration_s: float = 3.0
    path: str = "/bench-dealer"


def connect(context: "zmq.Context[zmq.Socket[bytes]]", address: Address) -> "zmq.Socket[bytes]":
    """A socket with a new session.  Raises ConnectionError when none is given."""
    dealer = context.socket(zmq.DEALER)
    dealer.set(zmq.LINGER, LINGER_MS)
    dealer.set(zmq.RCVTIMEO, int(ANSWER_S_MAX * 1000))
    dealer.set_hwm(0)
    dealer.connect(f"tcp://{address[0]}:{address[1]}")
    record = struct.pack(">iqiqi16s?", 0, 0, SESSION_TIMEOUT_MS, 0, 16, bytes(16), False)
    answer = ask(dealer, record)
    if len(answer) < 8 or struct.unpack_from(">ii", answer)[1] <= 0:
        dealer.close()
        raise ConnectionError(f"{address}: no session was given")
    return dealer


def ask(dealer: "zmq.Socket[bytes]", record: bytes) -> bytes:
    """One request and its reply, both without their sizes.  Raises ConnectionError when none comes."""
    dealer.send(struct.pack(">i", len(record)) + record)
    try:
        return dealer.recv()[4:]
    except zmq.Again as late:
        raise ConnectionError(f"no answer within {ANSWER_S_MAX:g} s") from late


@contextlib.contextmanager
def connections(hosts: Sequence[Address], count: int) -> Iterator[list["zmq.Socket[bytes]"]]:
    """So many sockets with sessions, over the hosts in turn; closed at the end, their sessions too."""
    with zmq.Context() as context:
        dealers: list[zmq.Socket[bytes]] = []
        try:
            for number in range(count):
                dealers.append(connect(context, hosts[number % len(hosts)]))
            yield dealers
            for dealer in dealers:
                ask(dealer, struct.pack(">ii", CLOSE_XID, CLOSE))
                dealer.send(b"")
        finally:
            for dealer in dealers:
                dealer.close()


def prepare(address: Address, load: DealerLoad) -> None:
    """Makes the znode.  Raises RuntimeError when that fails."""
    with connections([address], 1) as [dealer]:
        frame = create_frame(1, load.path.encode(), random.randbytes(load.value_bytes))
        err = struct.unpack_from(">iqi", ask(dealer, frame[4:]))[2]
        if err not in (0, NODE_EXISTS):
            raise RuntimeError(f"create {load.path} failed with {err}")


def run(hosts: Sequence[Address], load: DealerLoad) -> Result:
    """Measures the hosts' native port.  Raises ConnectionError when a host is not there, OSError when it falls silent."""
    prepare(hosts[0], load)
    path = load.path.encode()
    record = struct.pack(f">iii{len(path)}s?", 0, 4, len(path), path, False)
    samples = np.zeros(SAMPLES_MAX, np.uint64)
    with connections(hosts, load.connections) as dealers:
        under_load = Dealers(dealers, struct.pack(">i", len(record)) + record, load.window, load.batch, samples)
        if load.warm_up_s:
            under_load.run(int(load.warm_up_s * 1e9))
        operations, elapsed_ns, kept, errors, disorders = under_load.run(int(load.duration_s * 1e9))
    shares = {"p50": 50, "p99": 99, "p999": 99.9, "max": 100}
    return Result(
        per_second=operations / elapsed_ns * 1e9,
        operations=operations,
        errors=errors,
        disorders=disorders,
        read_us={name: float(np.percentile(samples[:kept], share)) / 1000 for name, share in shares.items() if kept},
    )
