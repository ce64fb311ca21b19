"""The command `fastzk-node`: words to a configuration, and into the supervisor."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy must not start threads in a process that forks

from fastzk import limits
from fastzk.config import ConfigError, NodeConfig, check_node_id, parse_cpus, parse_listen, parse_peers
from fastzk.node.supervisor import Supervisor
from fastzk.storage.identity import IdentityError
from fastzk.version import VERSION

_EPILOG = """\
A three-node ensemble on one machine (each command in its own terminal):
  PEERS=1=127.0.0.1:2881,2=127.0.0.1:2882,3=127.0.0.1:2883
  fastzk-node --id 1 --peers $PEERS --zk 127.0.0.1:2181 --native 127.0.0.1:2281 --data-dir data/1
  fastzk-node --id 2 --peers $PEERS --zk 127.0.0.1:2182 --native 127.0.0.1:2282 --data-dir data/2
  fastzk-node --id 3 --peers $PEERS --zk 127.0.0.1:2183 --native 127.0.0.1:2283 --data-dir data/3

Exit status: 0 ended by SIGTERM or SIGINT; 1 a failure, told on stderr; 2 a mistake in the options or the data directory.
"""


def parse_arguments(arguments: Sequence[str]) -> NodeConfig:
    """The configuration that the options ask for.  Raises ConfigError; argparse itself exits with status 2."""
    options = _parser().parse_args(arguments)
    node_id = check_node_id(options.id, "--id")
    allowed = sorted(os.sched_getaffinity(0))
    is_pinned = options.cpus != "any"
    cpus = parse_cpus(options.cpus) if options.cpus and is_pinned else tuple(allowed)
    if missing := [cpu for cpu in cpus if cpu not in allowed]:
        raise ConfigError(f"--cpus {options.cpus!r}: core {missing[0]} is not among those this process may use ({_spans(allowed)})")
    workers = max(1, min(len(cpus) - 1, 8)) if options.workers is None else options.workers
    if not 1 <= workers <= limits.WORKERS_MAX:
        raise ConfigError(f"--workers {workers}: must be from 1 to {limits.WORKERS_MAX}")
    if not 100 <= options.tick_time <= 60_000:
        raise ConfigError(f"--tick-time {options.tick_time}: must be from 100 to 60000 milliseconds")
    if not options.data_dir.isprintable():
        raise ConfigError(f"--data-dir {options.data_dir!a}: the path must be valid UTF-8 without control characters")
    zk, native = parse_listen(options.zk, "--zk"), parse_listen(options.native, "--native")
    peers = parse_peers(options.peers, node_id)
    for name, address in [("--native", native), *(("--peers", peer) for peer in peers.values() if peer == peers[node_id])]:
        if address == zk or (name == "--peers" and address == native):
            raise ConfigError(f"{name} {address}: the same address is given to two listeners")
    return NodeConfig(
        node_id=node_id,
        peers=peers,
        zk=zk,
        native=native,
        data_dir=Path(options.data_dir or f"data/{node_id}"),
        workers=workers,
        cpus=cpus,
        is_pinned=is_pinned,
        log_level=options.log_level,
        tick_time_ms=options.tick_time,
    )


def _parser() -> argparse.ArgumentParser:
    """The options, as `--help` tells them."""
    parser = argparse.ArgumentParser(
        prog="fastzk-node",
        description="One node of a fastzk ensemble: ZooKeeper's data model and guarantees.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--id", type=int, default=1, metavar="N", help="this node's number, 1 to 254 (default 1)")
    option(
        "--peers",
        default="",
        metavar="ID=HOST:PORT,...",
        help="every node's ensemble address, this one's included; without it the node stands alone",
    )
    option(
        "--zk",
        default="127.0.0.1:2181",
        metavar="HOST:PORT",
        help="where ZooKeeper's protocol is served (default %(default)s)",
    )
    option(
        "--native",
        default="127.0.0.1:2281",
        metavar="HOST:PORT",
        help="where ZeroMQ clients are served (default %(default)s)",
    )
    option("--data-dir", default="", metavar="DIR", help="where log and votes are kept (default data/ID)")
    option(
        "--workers",
        type=int,
        metavar="N",
        help="processes that serve clients (default: one for each core but the engine's, at most 8)",
    )
    option(
        "--cpus",
        default="",
        metavar="0,1,...",
        help="cores to run on, the engine's first (default: all that are allowed); `any`: the kernel chooses, "
        "which is better where several nodes share a machine",
    )
    option(
        "--tick-time",
        type=int,
        default=limits.TICK_TIME_MS,
        metavar="MS",
        help="session timeouts are clamped to 2 to 20 times this (default %(default)s)",
    )
    option(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="what goes to stderr (default %(default)s)",
    )
    option("--version", action="version", version=f"fastzk-node {VERSION}")
    return parser


def _spans(cpus: Sequence[int]) -> str:
    return ",".join(map(str, cpus)) if len(cpus) <= 8 else f"{cpus[0]}-{cpus[-1]}"


def main() -> int:
    """Runs a node until it is told to end.  Gives the exit status."""
    try:
        config = parse_arguments(sys.argv[1:])
        logging.basicConfig(
            level=config.log_level.upper(),
            format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
            datefmt="%H:%M:%S",
        )
        return Supervisor(config).run()
    except (ConfigError, IdentityError) as error:
        print(f"fastzk-node: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
