"""The command `fastzk-node`: words to a configuration, and into the supervisor."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy must not start threads in a process that forks

from fastzk import defs, limits
from fastzk.config import (
    Address,
    ConfigError,
    NodeConfig,
    check_container_interval,
    check_node_id,
    check_snapshots,
    check_timeouts,
    check_tls,
    parse_cpus,
    parse_listen,
    parse_peers,
    parse_words,
)
from fastzk.node.secret_files import SUPER_DIGEST_VARIABLE, read_super_digest, read_users
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
    min_ms, max_ms = check_timeouts(options.tick_time, options.min_session_timeout, options.max_session_timeout)
    if options.max_client_cnxns < 0:
        raise ConfigError(f"--max-client-cnxns {options.max_client_cnxns}: must be a number of connections, or 0 for any number")
    if not options.data_dir.isprintable():
        raise ConfigError(f"--data-dir {options.data_dir!a}: the path must be valid UTF-8 without control characters")
    is_consented = options.insecure_listen
    zk = parse_listen(options.zk, "--zk", is_consented=is_consented)
    native = parse_listen(options.native, "--native", is_consented=is_consented)
    peers, observers = parse_peers(options.peers, node_id, is_consented=is_consented)
    tls = check_tls(options.zk_tls, options.tls_cert, options.tls_key, options.tls_ca, options.tls_client_auth)
    _check_listeners({"--zk": zk, "--native": native, "--peers": peers.get(node_id), "--zk-tls": tls.address if tls else None})
    entries, log_bytes, kept = check_snapshots(options.snapshot_entries, options.snapshot_log_mib, options.snapshots_kept)
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
        container_check_ms=check_container_interval(options.container_check_interval),
        session_timeout_ms_min_asked=min_ms,
        session_timeout_ms_max_asked=max_ms,
        snapshot_entries=entries,
        snapshot_log_bytes=log_bytes,
        snapshots_kept=kept,
        connections_per_address_max=options.max_client_cnxns,
        words=defs.WORDS_OFFERED if options.words is None else parse_words(options.words),
        has_local_sessions=options.local_sessions,
        upgrades_sessions=options.session_upgrade,
        has_read_only_mode=options.read_only_mode,
        super_digest=read_super_digest(options.super_digest_file, os.environ),
        sasl_users=read_users(options.sasl_users),
        tls=tls,
        observers=observers,
        is_reconfig_enabled=options.reconfig,
    )


def _check_listeners(listeners: Mapping[str, Address | None]) -> None:
    """Raises ConfigError when two listeners of this node have one address."""
    seen: list[Address] = []
    for option, address in listeners.items():
        if address in seen:
            raise ConfigError(f"{option} {address}: the same address is given to two listeners")
        if address is not None:
            seen.append(address)


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
        metavar="ID=HOST:PORT[:observer],...",
        help="every node's ensemble address, this one's included; without it the node stands alone. Counts at the first use of a "
        "data directory: later on members change by reconfig",
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
    _add_snapshot_options(parser)
    _add_session_options(parser)
    _add_security_options(parser)
    option(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="what goes to stderr (default %(default)s)",
    )
    option("--version", action="version", version=f"fastzk-node {VERSION}")
    return parser


def _add_snapshot_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("snapshots, and the log that they make needless")
    option = group.add_argument
    option(
        "--snapshot-entries",
        type=int,
        default=limits.SNAPSHOT_ENTRIES,
        metavar="N",
        help="a snapshot is taken after so many writes (default %(default)s)",
    )
    option(
        "--snapshot-log-mib",
        type=int,
        default=limits.SNAPSHOT_LOG_BYTES >> 20,
        metavar="MIB",
        help="or after so much log, if that comes first (default %(default)s)",
    )
    option(
        "--snapshots-kept",
        type=int,
        default=limits.SNAPSHOTS_KEPT,
        metavar="N",
        help="so many are kept, with the log behind the oldest of them; the rest is removed (default %(default)s)",
    )


def _add_session_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sessions and what clients may ask")
    option = group.add_argument
    option(
        "--tick-time",
        type=int,
        default=limits.TICK_TIME_MS,
        metavar="MS",
        help="the unit of session timeouts, which are from 2 to 20 of it (default %(default)s)",
    )
    option(
        "--container-check-interval",
        type=int,
        default=limits.CONTAINER_CHECK_MS,
        metavar="MS",
        help="how often containers that have become empty are removed (default %(default)s)",
    )
    option("--min-session-timeout", type=int, metavar="MS", help="the smallest session timeout (default: 2 ticks)")
    option("--max-session-timeout", type=int, metavar="MS", help="the largest session timeout (default: 20 ticks)")
    option(
        "--max-client-cnxns",
        type=int,
        default=limits.CONNECTIONS_PER_ADDRESS_MAX,
        metavar="N",
        help="connections from one address to each worker; 0: any number (default %(default)s)",
    )
    option(
        "--local-sessions",
        action="store_true",
        help="sessions begin local to their worker, without a write to the ensemble, and cannot own ephemerals",
    )
    option(
        "--session-upgrade",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a local session that creates an ephemeral becomes a global one (default: yes)",
    )
    option(
        "--read-only-mode",
        action="store_true",
        help="a node that has lost its ensemble serves reads to clients that accept a read-only node",
    )
    option(
        "--4lw-whitelist",
        dest="words",
        metavar="WORD,...",
        help="four-letter words that are answered; * for all (default: " + ",".join(sorted(defs.WORDS_OFFERED)) + ")",
    )


def _add_security_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may come in, and what")
    option = group.add_argument
    option(
        "--reconfig",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="clients that may write /zookeeper/config (the super user, unless its ACL is changed) may change the members of "
        "the ensemble (default: yes)",
    )
    option("--zk-tls", default="", metavar="HOST:PORT", help="where ZooKeeper's protocol is served inside TLS")
    option("--tls-cert", default="", metavar="FILE", help="certificate and chain of --zk-tls, PEM; read anew when it changes")
    option("--tls-key", default="", metavar="FILE", help="its key, PEM (default: stands in --tls-cert)")
    option("--tls-ca", default="", metavar="FILE", help="authorities that clients' certificates are checked with, PEM")
    option(
        "--tls-client-auth",
        default="need",
        choices=["none", "want", "need"],
        help="whether clients must show a certificate; its name becomes the identity x509:NAME (default %(default)s)",
    )
    option(
        "--super-digest-file",
        default="",
        metavar="FILE",
        help=f"holds USER:BASE64(SHA1(USER:PASSWORD)) of the client that may do everything; or in {SUPER_DIGEST_VARIABLE}",
    )
    option("--sasl-users", default="", metavar="FILE", help="USER:PASSWORD lines for SASL DIGEST-MD5; readable by its owner only")
    option(
        "--insecure-listen",
        action="store_true",
        help="let --zk, --native and --peers listen beyond loopback, where they are neither encrypted nor authenticated",
    )


def _spans(cpus: Sequence[int]) -> str:
    return ",".join(map(str, cpus)) if len(cpus) <= 8 else f"{cpus[0]}-{cpus[-1]}"


def main() -> int:
    """Runs a node until it is told to end.  Gives the exit status."""
    try:
        config = parse_arguments(sys.argv[1:])
        logging.basicConfig(
            level=config.log_level.upper(),
            format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
            datefmt="%Y-%m-%d %H:%M:%S",
        )
        return Supervisor(config).run()
    except (ConfigError, IdentityError) as error:
        print(f"fastzk-node: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
