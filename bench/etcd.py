"""etcd to compare with: one member or a cluster on loopback, built from its sources, and the load for it.

Rules: it gets what fastzk gets: the same machine, the same disk, a sync of each write before its answer, values of as many bytes.
Its own defaults otherwise, but for the quota of its database, which a long run would reach.  Its load is one of its own
(bench/etcd/load, over etcd's Go library): gRPC has no other way, and what a client costs is part of what users get.

The version is pinned in bench/etcd/go.mod; Go's module proxy brings the sources, once, and the two programs are kept below
build/etcd by the digest of what they are made of."""

import contextlib
import functools
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import foreign
from fastzk.testing.ensemble import LOOPBACK, Address, free_ports
from fastzk.testing.maven import Unavailable

MODULE = Path(__file__).parent / "etcd"
BUILT = Path(__file__).parents[1] / "build" / "etcd"
SERVER = "go.etcd.io/etcd/server/v3"
BUILD_S_MAX = 1200.0  # the first time, all sources come over the network
HEALTH_S_MAX = 2.0
SLACK_S = 120.0  # of a load, beyond its time: connecting, the keys, the last answers
QUOTA_BYTES = 8 << 30


@dataclass(frozen=True)
class Programs:
    """The two that are built."""

    server: Path
    load: Path


@dataclass(frozen=True)
class Loaded:
    """What came of a load; latencies in microseconds."""

    per_second: float
    operations: int
    p50_us: float
    p99_us: float


@functools.cache
def programs() -> Programs:
    """Builds both, unless they are there.  Raises Unavailable when there is no Go or no module proxy is reached."""
    sources = [MODULE / "go.mod", MODULE / "go.sum", MODULE / "load" / "main.go"]
    directory = BUILT / hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = Programs(directory / "etcd", directory / "load")
    if not (built.server.exists() and built.load.exists()):
        if shutil.which("go") is None:
            raise Unavailable("no Go, to build etcd with: https://go.dev/dl, or `apt-get install golang-go`")
        print("etcd: building it from its sources; the first time this takes minutes", flush=True)
        _build(SERVER, built.server)
        _build("./load", built.load)
    return built


def _build(package: str, to: Path) -> None:
    """Raises Unavailable with what Go said."""
    environment = os.environ | {"GOFLAGS": "-mod=readonly -buildvcs=false"}
    command = ["go", "build", "-o", str(to), package]
    try:
        done = subprocess.run(command, cwd=MODULE, env=environment, capture_output=True, text=True, timeout=BUILD_S_MAX)
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{' '.join(command)} did not end within {BUILD_S_MAX:g} s; is a module proxy reached?") from late
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} in {MODULE} failed; is a module proxy reached (go env GOPROXY)?\n{done.stderr}")


def describe() -> str:
    """Which etcd, and which Go it was built with.  Raises Unavailable."""
    said = subprocess.run([programs().server, "--version"], capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    return f"etcd {facts['etcd Version']} (Go's module proxy), {facts['Go Version']}"


def is_serving(address: Address) -> bool:
    """True when the member can reach a leader."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(*address, timeout=HEALTH_S_MAX)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        finally:
            connection.close()
    return False


def leads(address: Address) -> bool:
    """True when the member is the leader.  Raises OSError when it is not there."""
    connection = http.client.HTTPConnection(*address, timeout=HEALTH_S_MAX)
    try:
        connection.request("POST", "/v3/maintenance/status", "{}")
        status = json.load(connection.getresponse())
        return bool(status["leader"] == status["header"]["member_id"])
    finally:
        connection.close()


@contextlib.contextmanager
def running(size: int, directory: Path) -> Iterator[list[Address]]:
    """Starts so many members and gives their client addresses, the leader's first; ends them and removes their data afterwards.

    Raises Unavailable when etcd cannot be built, RuntimeError, with the logs, when they do not serve within a minute."""
    server = programs().server
    ports = free_ports(2 * size)
    clients: list[Address] = [(LOOPBACK, port) for port in ports[:size]]
    peers = [f"http://{LOOPBACK}:{port}" for port in ports[size:]]
    members = ",".join(f"m{number}={url}" for number, url in enumerate(peers, 1))
    with foreign.home_below(directory, "etcd") as home:
        commands = []
        for number, ((host, port), peer) in enumerate(zip(clients, peers, strict=True), 1):
            urls = {"client-urls": f"http://{host}:{port}", "peer-urls": peer}
            command = [str(server), f"--name=m{number}", f"--data-dir={home / str(number)}", "--log-level=warn"]
            command += [f"--listen-{name}={url}" for name, url in urls.items()]
            command += [f"--advertise-client-urls={urls['client-urls']}", f"--initial-advertise-peer-urls={peer}"]
            command += [f"--initial-cluster={members}", "--initial-cluster-state=new", f"--quota-backend-bytes={QUOTA_BYTES}"]
            commands.append(command)
        with foreign.serving(commands, home, lambda: all(map(is_serving, clients)), "etcd"):
            yield sorted(clients, key=lambda address: not leads(address))


def load(hosts: list[Address], op: str, connections: int, window: int, warm_up_s: float, seconds: float) -> Loaded:
    """One measurement: get (serializable), lget (linearizable), put, create or mix.  Raises RuntimeError when anything failed."""
    command = [str(programs().load), "-endpoints", ",".join(f"{host}:{port}" for host, port in hosts), "-op", op]
    command += ["-connections", str(connections), "-window", str(window)]
    command += ["-warm-up", f"{warm_up_s:.3f}s", "-duration", f"{seconds:.3f}s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=warm_up_s + seconds + SLACK_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return Loaded(**json.loads(done.stdout))


if __name__ == "__main__":
    print(describe(), flush=True)
    with running(3, Path("build/bench")) as hosts:
        print(",".join(f"{host}:{port}" for host, port in hosts), flush=True)
        while True:
            time.sleep(3600)
