"""`python -m fastzk.bench.echo`: an echo server of ZooKeeper's protocol, or of the native one, in a process of its own.

It prints its address, `host:port`, and answers until it is killed.  Any load of the protocol runs against it unchanged: its
rate and its latency are what the machine allows at most.

    with echoing() as address: ...                  the same from Python, gone when the `with` ends
    with echoing(is_native=True, cpus={0}) as address: ..."""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator

import zmq

from fastzk.bench._echo import Echo
from fastzk.bench._router_echo import RouterEcho

Address = tuple[str, int]
BACKLOG = 1024


@contextlib.contextmanager
def echoing(is_native: bool = False, cpus: Collection[int] = ()) -> Iterator[Address]:
    """A server in a process of its own, on these cores or on any.  Raises RuntimeError when it does not start."""
    command = [sys.executable, "-m", "fastzk.bench.echo"]
    command += ["--native"] * is_native + (["--cpus", ",".join(map(str, sorted(cpus)))] if cpus else [])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None, "it is a pipe"
            host, _, port = server.stdout.readline().strip().rpartition(":")
            if not port:
                raise RuntimeError(f"the echo server ended with status {server.wait()}: {' '.join(command)}")
            yield host, int(port)
        finally:
            server.kill()


def serve_zookeeper(host: str, port: int) -> None:
    """Answers over TCP; never returns.  Raises OSError when it cannot listen there."""
    with socket.create_server((host, port), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        host, port = listener.getsockname()
        print(f"{host}:{port}", flush=True)
        Echo(listener.fileno()).serve()


def serve_native(host: str, port: int) -> None:
    """Answers over ZeroMQ; never returns.  Raises zmq.ZMQError, an OSError, when it cannot listen there."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        router.set_hwm(0)  # nothing is dropped; a load bounds what it has under way
        router.bind(f"tcp://{host}:{port}")
        print(router.get_string(zmq.LAST_ENDPOINT).removeprefix("tcp://"), flush=True)
        RouterEcho(router).serve()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m fastzk.bench.echo", description="an echo server that prints its address")
    parser.add_argument("--native", action="store_true", help="the native protocol, over ZeroMQ")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cpus", default="", help="cores to run on: 0,1; any when not given")
    options = parser.parse_args()
    # The compiled loops do not come back to Python, which would hear of a signal only there.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if options.cpus:
        os.sched_setaffinity(0, map(int, options.cpus.split(",")))
    serve = serve_native if options.native else serve_zookeeper
    serve(options.host, options.port)


if __name__ == "__main__":
    main()
