"""A node's configuration: words on the command line to checked values.  Opens nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastzk import limits


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

    @property
    def voters(self) -> list[int]:
        """Ids of the nodes that decide, in order."""
        return sorted(self.peers) if self.peers else [self.node_id]

    @property
    def session_timeout_ms_min(self) -> int:
        return 2 * self.tick_time_ms

    @property
    def session_timeout_ms_max(self) -> int:
        return 20 * self.tick_time_ms


def parse_address(text: str, option: str) -> Address:
    """`host:port` as an Address.  Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host:
        raise ConfigError(f"{option} {text!r}: expected HOST:PORT, for example 127.0.0.1:2181")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigError(f"{option} {text!r}: the port must be a number from 1 to 65535")
    return Address(host, int(port))


def parse_listen(text: str, option: str) -> Address:
    """An address to listen on: loopback only.  Raises ConfigError."""
    address = parse_address(text, option)
    if not address.is_loopback:
        raise ConfigError(
            f"{option} {text!r}: only loopback addresses (127.0.0.0/8, ::1, localhost) are accepted, "
            "because neither TLS nor authentication is there yet and anyone who reaches the port could read and write everything"
        )
    return address


def parse_peers(text: str, node_id: int) -> dict[int, Address]:
    """`1=host:port,2=host:port,...` as addresses by node id; "" is a standalone node.  Raises ConfigError."""
    peers: dict[int, Address] = {}
    if not text.strip():
        return peers
    for word in text.split(","):
        key, equals, where = word.strip().partition("=")
        if not equals or not (key.isascii() and key.isdigit()):
            raise ConfigError(f"--peers: {word.strip()!r} is not ID=HOST:PORT (whole list: 1=127.0.0.1:2881,2=127.0.0.1:2882,...)")
        peer_id = check_node_id(int(key), "--peers")
        if peer_id in peers:
            raise ConfigError(f"--peers: node {peer_id} is listed twice")
        address = parse_listen(where, f"--peers: node {peer_id}")
        if address in peers.values():
            raise ConfigError(f"--peers: {address} is listed twice")
        peers[peer_id] = address
    if node_id not in peers:
        listed = ", ".join(str(peer) for peer in sorted(peers))
        raise ConfigError(f"--peers lists nodes {listed} but not this one; add {node_id}=HOST:PORT or correct --id {node_id}")
    if len(peers) > limits.PEERS_MAX:
        raise ConfigError(f"--peers lists {len(peers)} nodes; at most {limits.PEERS_MAX} are allowed")
    return peers


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
