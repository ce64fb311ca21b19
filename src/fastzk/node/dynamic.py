"""What an ensemble is made of, in ZooKeeper's own words: the text of /zookeeper/config, and what the word conf tells.

    server.1=127.0.0.1:2881:0:participant;127.0.0.1:2181           id = host : port : election port : role ; clients' host : port
    server.2=127.0.0.1:2882:0:participant                          node 2 has not said yet where its clients go
    version=0                                                      of the membership, in hex; no line feed behind it

Curator's EnsembleTracker, zkCli's `config` and others read this.  A node has one port for all that nodes say to each other, and
none for elections: that is told as 0, since ZooKeeper's own reader of this text refuses two ports that are the same.
Rule: values in, text out."""

from __future__ import annotations

import contextlib
import re

from fastzk.config import Address, ConfigError, NodeConfig, parse_address


def client_address(config: NodeConfig) -> Address | None:
    """Where this node's clients go, as others are told; None when the port is for this machine only and the ensemble is not:
    a client elsewhere would take it for its own machine's."""
    if config.zk.is_loopback and any(not address.is_loopback for address in config.peers.values()):
        return None
    return config.zk


def clients_of(text: str) -> dict[int, Address]:
    """The clients' addresses that a text of /zookeeper/config tells; lines that are not ours are passed over."""
    found = {}
    for number, where in re.findall(r"^server\.(\d+)=[^;\n]*;(\S+)$", text, re.MULTILINE):
        with contextlib.suppress(ConfigError):
            found[int(number)] = parse_address(where, "/zookeeper/config")
    return found


def config_lines(config: NodeConfig) -> list[tuple[str, object]]:
    """What `conf` tells, in ZooKeeper's order.  Sizes of directories are added where it is told."""
    directory = config.data_dir.resolve()
    lines: list[tuple[str, object]] = [
        ("clientPort", config.zk.port),
        ("secureClientPort", config.tls.address.port if config.tls else -1),
        ("dataDir", directory),
        ("dataLogDir", directory / "log"),
        ("tickTime", config.tick_time_ms),
        ("maxClientCnxns", config.connections_per_address_max),
        ("minSessionTimeout", config.session_timeout_ms_min),
        ("maxSessionTimeout", config.session_timeout_ms_max),
        ("clientPortListenBacklog", -1),
        ("serverId", config.node_id if config.peers else 0),
    ]
    if config.peers:
        port = config.peers[config.node_id].port
        # Limits in ticks, which have no counterpart here, are those of ZooKeeper's sample configuration.
        lines += [("initLimit", 10), ("syncLimit", 5), ("electionAlg", 3), ("electionPort", port), ("quorumPort", port)]
        lines += [("peerType", 0)]
    return lines
