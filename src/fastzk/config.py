"""A node's configuration: words on the command line to checked values.  Opens nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastzk import defs, limits


class ConfigError(ValueError):
    """The operator's mistake, in one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port to listen on or to connect to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True for addresses that only this machine reaches."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """The port of ZooKeeper's protocol inside TLS."""

    address: Address
    certificate: Path  # PEM, with its chain
    key: Path  # PEM; may stand in the certificate's file
    authorities: Path | None  # PEM; whose certificates clients are believed with
    client_auth: str = "need"  # none, want or need


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything a node is started with."""

    node_id: int
    peers: Mapping[int, Address]  # every node's ensemble address, this one's included; empty = standalone
    zk: Address
    native: Address
    data_dir: Path
    workers: int
    cpus: Sequence[int] = field(default_factory=tuple)  # cores to run on
    is_pinned: bool = True  # each process on a core of its own, where there are enough
    log_level: str = "info"
    tick_time_ms: int = limits.TICK_TIME_MS
    container_check_ms: int = limits.CONTAINER_CHECK_MS  # between two looks for empty containers
    # What a client may ask for as its session's timeout; 0: 2 and 20 ticks.
    session_timeout_ms_min_asked: int = 0
    session_timeout_ms_max_asked: int = 0
    connections_per_address_max: int = limits.CONNECTIONS_PER_ADDRESS_MAX  # 0: any number
    # After how much log a snapshot is taken, whatever comes first, and how many are kept.
    snapshot_entries: int = limits.SNAPSHOT_ENTRIES
    snapshot_log_bytes: int = limits.SNAPSHOT_LOG_BYTES
    snapshots_kept: int = limits.SNAPSHOTS_KEPT
    words: frozenset[str] = defs.WORDS_OFFERED  # the four-letter words that are answered
    has_local_sessions: bool = False
    upgrades_sessions: bool = True  # a local session that creates an ephemeral becomes a global one
    has_read_only_mode: bool = False  # without a leader it serves reads to clients that ask for that
    super_digest: str = field(default="", repr=False)
    sasl_users: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: TlsConfig | None = None
    observers: frozenset[int] = frozenset()  # of peers: those that get everything and decide nothing
    is_reconfig_enabled: bool = True  # clients that may write /zookeeper/config may change the members

    @property
    def voters(self) -> list[int]:
        """Ids of the nodes that decide, in order, as --peers has it: once the log says otherwise, this counts no more."""
        return sorted(set(self.peers) - self.observers) if self.peers else [self.node_id]

    @property
    def session_timeout_ms_min(self) -> int:
        return self.session_timeout_ms_min_asked or 2 * self.tick_time_ms

    @property
    def session_timeout_ms_max(self) -> int:
        return self.session_timeout_ms_max_asked or max(20 * self.tick_time_ms, self.session_timeout_ms_min)

    @property
    def leaderless_ms_max(self) -> int:
        """How long it serves without a leader: half of the smallest session timeout, so that a client still has as long to find
        a node that serves; but longer than any election, or each of them would disconnect everybody."""
        return max(self.session_timeout_ms_min // 2, limits.LEADERLESS_MS_MIN)


def parse_address(text: str, option: str) -> Address:
    """`host:port` as an Address.  Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host:
        raise ConfigError(f"{option} {text!r}: expected HOST:PORT, for example 127.0.0.1:2181")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigError(f"{option} {text!r}: the port must be a number from 1 to 65535")
    return Address(host, int(port))


def parse_listen(text: str, option: str, *, is_consented: bool = False) -> Address:
    """An address to listen on without encryption: loopback only, unless the operator consents.  Raises ConfigError."""
    address = parse_address(text, option)
    if not address.is_loopback and not is_consented:
        raise ConfigError(
            f"{option} {text!r}: only loopback addresses (127.0.0.0/8, ::1, localhost) are accepted here, because nothing on this "
            "port is encrypted and whoever reaches it may do all that ACLs leave open. Clients on other machines: --zk-tls. "
            "A network that keeps strangers out: say so with --insecure-listen"
        )
    return address


def parse_peers(text: str, node_id: int, *, is_consented: bool = False) -> tuple[dict[int, Address], frozenset[int]]:
    """`1=host:port,2=host:port:observer,...` as addresses by node id, and who is an observer; "" is a standalone node.

    Raises ConfigError."""
    peers: dict[int, Address] = {}
    observers: set[int] = set()
    if not text.strip():
        return peers, frozenset()
    for word in text.split(","):
        key, equals, where = word.strip().partition("=")
        if not equals or not (key.isascii() and key.isdigit()):
            raise ConfigError(f"--peers: {word.strip()!r} is not ID=HOST:PORT (whole list: 1=127.0.0.1:2881,2=127.0.0.1:2882,...)")
        peer_id = check_node_id(int(key), "--peers")
        if peer_id in peers:
            raise ConfigError(f"--peers: node {peer_id} is listed twice")
        where, _, role = where.rpartition(":") if where.endswith((":observer", ":participant")) else (where, "", "")
        address = parse_listen(where, f"--peers: node {peer_id}", is_consented=is_consented)
        if address in peers.values():
            raise ConfigError(f"--peers: {address} is listed twice")
        peers[peer_id] = address
        if role == "observer":
            observers.add(peer_id)
    if node_id not in peers:
        listed = ", ".join(str(peer) for peer in sorted(peers))
        raise ConfigError(f"--peers lists nodes {listed} but not this one; add {node_id}=HOST:PORT or correct --id {node_id}")
    if len(peers) == len(observers):
        raise ConfigError("--peers lists observers only; somebody must decide")
    if len(peers) - len(observers) > limits.PEERS_MAX:
        raise ConfigError(f"--peers lists {len(peers) - len(observers)} voters; at most {limits.PEERS_MAX} are allowed")
    if len(peers) > limits.MEMBERS_MAX:
        raise ConfigError(f"--peers lists {len(peers)} nodes; at most {limits.MEMBERS_MAX} are allowed")
    return peers, frozenset(observers)


def check_node_id(node_id: int, option: str) -> int:
    """A node id: 1 to 254, since it is the top byte of session ids and 255 marks TTL znodes.  Raises ConfigError."""
    if not 1 <= node_id <= 254:
        raise ConfigError(f"{option}: a node id must be from 1 to 254, not {node_id}")
    return node_id


def parse_cpus(text: str) -> tuple[int, ...]:
    """`0,2,4-6` as core numbers.  Raises ConfigError."""
    cpus: list[int] = []
    for word in text.split(","):
        low, dash, high = word.strip().partition("-")
        if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
            raise ConfigError(f"--cpus {text!r}: expected core numbers such as 0,1 or 0-3")
        span = range(int(low), int(high if dash else low) + 1)
        if not span or span[-1] > 4095:
            raise ConfigError(f"--cpus {text!r}: {word.strip()!r} is not a range of cores")
        cpus.extend(cpu for cpu in span if cpu not in cpus)
    return tuple(cpus)


def parse_words(text: str) -> frozenset[str]:
    """`srvr,stat,...` or `*` as the four-letter words that are answered; srvr always is, as in ZooKeeper.  Raises ConfigError."""
    words = {word.strip() for word in text.split(",") if word.strip()}
    if "*" in words:
        return defs.WORDS
    if unknown := sorted(words - defs.WORDS):
        raise ConfigError(f"--4lw-whitelist: {unknown[0]!r} is none of {','.join(sorted(defs.WORDS))} (or * for all)")
    return frozenset(words | {"srvr"})


def check_container_interval(interval_ms: int) -> int:
    """How often empty containers are looked for, in milliseconds.  Raises ConfigError."""
    if not 1000 <= interval_ms <= 86_400_000:
        raise ConfigError(f"--container-check-interval {interval_ms}: must be from 1000 to 86400000 milliseconds")
    return interval_ms


def check_snapshots(entries: int, log_mib: int, kept: int) -> tuple[int, int, int]:
    """When snapshots are taken: entries, bytes of log, and how many are kept.  Raises ConfigError."""
    if not 10 <= entries <= 1 << 40:
        raise ConfigError(f"--snapshot-entries {entries}: must be from 10 to {1 << 40}")
    if not 1 <= log_mib <= 1 << 20:
        raise ConfigError(f"--snapshot-log-mib {log_mib}: must be from 1 to {1 << 20} MiB")
    if not 1 <= kept <= 1000:
        raise ConfigError(f"--snapshots-kept {kept}: must be from 1 to 1000")
    return entries, log_mib << 20, kept


def check_timeouts(tick_time_ms: int, min_ms: int | None, max_ms: int | None) -> tuple[int, int]:
    """The smallest and the largest session timeout that were asked for, 0 where none was.  Raises ConfigError."""
    if not 100 <= tick_time_ms <= 60_000:
        raise ConfigError(f"--tick-time {tick_time_ms}: must be from 100 to 60000 milliseconds")
    for option, value in (("--min-session-timeout", min_ms), ("--max-session-timeout", max_ms)):
        if value is not None and not 1 <= value <= limits.SESSION_TIMEOUT_MS_MAX:
            raise ConfigError(f"{option} {value}: must be from 1 to {limits.SESSION_TIMEOUT_MS_MAX} milliseconds")
    smallest = 2 * tick_time_ms if min_ms is None else min_ms
    if max_ms is not None and max_ms < smallest:
        raise ConfigError(f"--max-session-timeout {max_ms}: is below the smallest session timeout, {smallest}")
    return min_ms or 0, max_ms or 0


def check_tls(address: str, certificate: str, key: str, authorities: str, client_auth: str) -> TlsConfig | None:
    """What --zk-tls and the options beside it ask for.  Raises ConfigError."""
    if not address:
        if stray := next((name for name, value in (("cert", certificate), ("key", key), ("ca", authorities)) if value), ""):
            raise ConfigError(f"--tls-{stray}: is for --zk-tls HOST:PORT, which is not given")
        return None
    if not certificate:
        raise ConfigError(
            f"--zk-tls {address}: needs --tls-cert FILE (PEM), and --tls-key FILE unless the key stands in the same file"
        )
    if client_auth != "none" and not authorities:
        raise ConfigError(
            f"--zk-tls {address}: needs --tls-ca FILE (PEM), whose authorities clients' certificates are checked with; "
            "--tls-client-auth none asks clients for no certificate"
        )
    where = parse_address(address, "--zk-tls")
    return TlsConfig(where, Path(certificate), Path(key or certificate), Path(authorities) if authorities else None, client_auth)
