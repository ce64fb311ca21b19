"""A measurement from beginning to end: connect, prepare the znodes, load, sum up.

Rule: every connection is a session of its own, and the hosts get them in turn.  Preparing is not measured.
Threads of load share nothing; their histograms are added."""

import random
import socket
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastzk.bench._load import Load, bucket_floor

Address = tuple[str, int]

CONNECT_S_MAX = 10.0
SESSION_TIMEOUT_MS = 30_000
PREPARE_WINDOW = 500  # requests sent ahead while the znodes are made
NODE_EXISTS = -110
OPEN_ACL = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")


@dataclass(frozen=True)
class Workload:
    """What is asked, and how hard."""

    connections: int = 30
    window: int = 50  # requests under way on each connection
    get_percent: int = 100
    create_percent: int = 0  # what is left of 100 is setData
    value_bytes: int = 100
    keys: int = 1000
    warm_up_s: float = 0.5
    duration_s: float = 3.0
    operations: int = 0  # ends earlier after so many; 0: no bound
    threads: int = 1
    prefix: str = "/bench"


@dataclass
class Result:
    """What came of it.  Latencies are in microseconds, each the lower end of a step of 3 percent."""

    per_second: float = 0.0
    operations: int = 0
    errors: int = 0
    first_error: int = 0
    disorders: int = 0
    read_us: dict[str, float] = field(default_factory=dict)
    write_us: dict[str, float] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Nothing failed, and every reply came in order: only then do the figures mean anything."""
        return not self.errors and not self.disorders


def receive(stream: socket.socket, size: int) -> bytes:
    """Exactly so many bytes.  Raises ConnectionError when the other side closes before."""
    got = bytearray()
    while len(got) < size:
        more = stream.recv(size - len(got))
        if not more:
            raise ConnectionError(f"closed after {len(got)} of {size} bytes")
        got += more
    return bytes(got)


def receive_frame(stream: socket.socket) -> bytes:
    """One frame's payload."""
    return receive(stream, struct.unpack(">i", receive(stream, 4))[0])


def connect(address: Address) -> socket.socket:
    """A socket with a new session.  Raises ConnectionError when the server does not give one."""
    stream = socket.create_connection(address, timeout=CONNECT_S_MAX)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(struct.pack(">iiqiqi16s?", 45, 0, 0, SESSION_TIMEOUT_MS, 0, 16, bytes(16), False))
    _, timeout_ms, _ = struct.unpack_from(">iiq", receive_frame(stream))
    if timeout_ms <= 0:
        raise ConnectionError(f"{address}: no session was given")
    return stream


def create_frame(xid: int, path: bytes, value: bytes) -> bytes:
    """A create request of an open, persistent znode."""
    record = struct.pack(f">iii{len(path)}si{len(value)}s", xid, 1, len(path), path, len(value), value)
    return struct.pack(">i", len(record) + len(OPEN_ACL) + 4) + record + OPEN_ACL + bytes(4)


def prepare(address: Address, workload: Workload) -> None:
    """Makes the znodes that will be read and set.  Those of an earlier run serve again."""
    prefix, value = workload.prefix.encode(), random.randbytes(workload.value_bytes)
    paths = [prefix, *(prefix + b"/k%08d" % number for number in range(workload.keys))]
    with connections([address], 1) as [stream]:
        for start in range(0, len(paths), PREPARE_WINDOW):
            part = paths[start : start + PREPARE_WINDOW]
            stream.sendall(b"".join(create_frame(start + n + 1, path, value) for n, path in enumerate(part)))
            for path in part:
                err = struct.unpack_from(">iqi", receive_frame(stream))[2]
                if err not in (0, NODE_EXISTS):
                    raise RuntimeError(f"create {path.decode()} failed with {err}")


@contextmanager
def connections(hosts: Sequence[Address], count: int) -> Iterator[list[socket.socket]]:
    """So many connected sockets, over the hosts in turn; closed at the end, their sessions too."""
    streams: list[socket.socket] = []
    try:
        for number in range(count):
            streams.append(connect(hosts[number % len(hosts)]))
        yield streams
        for stream in streams:
            stream.sendall(struct.pack(">iii", 8, 0x7FFFFFFF, -11))
        for stream in streams:
            receive_frame(stream)
    finally:
        for stream in streams:
            stream.close()


def percentiles(histogram: list[int], max_ns: int) -> dict[str, float]:
    """p50, p99, p999 and max of a histogram, in microseconds; nothing when it is empty."""
    total = sum(histogram)
    if not total:
        return {}
    found: dict[str, float] = {}
    for label, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        seen = 0
        for place, count in enumerate(histogram):
            seen += count
            if seen >= share * total:
                found[label] = bucket_floor(place) / 1000
                break
    found["max"] = max_ns / 1000
    return found


def run(hosts: Sequence[Address], workload: Workload) -> Result:
    """Measures the hosts under the workload.

    Raises ConnectionError when a host is not there or closes a connection, RuntimeError when a znode cannot be made."""
    prepare(hosts[0], workload)
    value, number = random.randbytes(workload.value_bytes), random.randrange(10**8)
    with connections(hosts, workload.connections) as streams, ThreadPoolExecutor(workload.threads) as pool:
        loads = [
            Load(
                [stream.fileno() for stream in streams[thread :: workload.threads]],
                workload.window,
                workload.prefix.encode(),
                workload.keys,
                value,
                workload.get_percent,
                workload.create_percent,
                (number + thread) % 10**8,
            )
            for thread in range(min(workload.threads, len(streams)))
        ]
        warm_up_ns, duration_ns = int(workload.warm_up_s * 1e9), int(workload.duration_s * 1e9)
        running = [pool.submit(load.run, warm_up_ns, duration_ns, workload.operations // len(loads)) for load in loads]
        parts = [future.result() for future in running]
    return Result(
        per_second=sum(part["operations"] / part["elapsed_ns"] * 1e9 for part in parts),
        operations=sum(part["operations"] for part in parts),
        errors=sum(part["errors"] for part in parts),
        first_error=next((part["first_error"] for part in parts if part["first_error"]), 0),
        disorders=sum(part["disorders"] for part in parts),
        read_us=percentiles(
            [sum(places) for places in zip(*(part["reads"] for part in parts), strict=True)],
            max(part["read_max_ns"] for part in parts),
        ),
        write_us=percentiles(
            [sum(places) for places in zip(*(part["writes"] for part in parts), strict=True)],
            max(part["write_max_ns"] for part in parts),
        ),
    )
