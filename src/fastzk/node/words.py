"""ZooKeeper's four-letter words: what monitoring tools and scripts ask a server, answered in ZooKeeper 3.9's own texts.

Rule: values in, text out.  Tools parse these lines with patterns, so names, order and separators are ZooKeeper's; what is
fastzk's own comes last.  Rule: a node that does not serve says so, except to ruok and envi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastzk.version import VERSION

# Tools compare the first three numbers with ZooKeeper's.
FULL_VERSION = f"3.9.3-fastzk-{VERSION}, built on 2026-11-22 00:00 UTC"

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NOT_LISTED = " is not executed because it is not in the whitelist.\n"


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """One connection, as `stat` lists it."""

    address: str
    port: int
    queued: int
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the words tell of a node at one moment."""

    is_serving: bool
    mode: str  # leader, follower, standalone, looking
    zxid: int
    digest: int
    uptime_ms: int
    open_descriptors: int
    descriptors_max: int
    arena: Mapping[str, int]  # Arena.counters()
    total: Mapping[str, int]  # StatsPage.total()
    environment: Mapping[str, str]
    clients: Sequence[ClientFacts]  # of the worker that answers

    @property
    def latency_ms_avg(self) -> float:
        """Mean time a write took."""
        count = self.total["latency_count"]
        return round(self.total["latency_ms_total"] / count, 4) if count else 0.0


def answer(word: bytes, facts: NodeFacts) -> bytes:
    """The text for a word that ZooKeeper knows; one that is not offered here gets the sentence of the whitelist."""
    teller = _TELLERS.get(word)
    if teller is None:
        return (word.decode("ascii", "replace") + NOT_LISTED).encode()
    return teller(facts).encode()


def _ruok(facts: NodeFacts) -> str:
    return "imok"


def _isro(facts: NodeFacts) -> str:
    return "rw" if facts.is_serving else "null"


def _srvr(facts: NodeFacts) -> str:
    if not facts.is_serving:
        return NOT_SERVING
    return f"Zookeeper version: {FULL_VERSION}\n{_statistics(facts)}"


def _stat(facts: NodeFacts) -> str:
    if not facts.is_serving:
        return NOT_SERVING
    clients = "".join(
        f" /{_bracketed(client.address)}:{client.port}[1](queued={client.queued},recved={client.received},sent={client.sent})\n"
        for client in facts.clients
    )
    return f"Zookeeper version: {FULL_VERSION}\nClients:\n{clients}\n{_statistics(facts)}"


def _statistics(facts: NodeFacts) -> str:
    total = facts.total
    return (
        f"Latency min/avg/max: {total['latency_ms_min']}/{facts.latency_ms_avg}/{total['latency_ms_max']}\n"
        f"Received: {total['received']}\n"
        f"Sent: {total['sent']}\n"
        f"Connections: {total['connections']}\n"
        f"Outstanding: {total['outstanding']}\n"
        f"Zxid: {facts.zxid:#x}\n"
        f"Mode: {facts.mode}\n"
        f"Node count: {facts.arena['znode_count']}\n"
    )


def _envi(facts: NodeFacts) -> str:
    lines = {"zookeeper.version": FULL_VERSION, **facts.environment}
    return "Environment:\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _mntr(facts: NodeFacts) -> str:
    if not facts.is_serving:
        return NOT_SERVING
    total, arena = facts.total, facts.arena
    values: dict[str, int | float | str] = {
        "version": FULL_VERSION,
        "server_state": facts.mode,
        "avg_latency": facts.latency_ms_avg,
        "max_latency": total["latency_ms_max"],
        "min_latency": total["latency_ms_min"],
        "packets_received": total["received"],
        "packets_sent": total["sent"],
        "num_alive_connections": total["connections"],
        "outstanding_requests": total["outstanding"],
        "znode_count": arena["znode_count"],
        "watch_count": total["watches"],
        "ephemerals_count": arena["ephemeral_count"],
        "approximate_data_size": arena["data_bytes"],
        "open_file_descriptor_count": facts.open_descriptors,
        "max_file_descriptor_count": facts.descriptors_max,
        "global_sessions": arena["session_count"],
        "uptime": facts.uptime_ms,
        # fastzk's own.
        "applied_zxid": f"{facts.zxid:#x}",
        "tree_digest": f"{facts.digest:032x}",
        "bytes_received": total["bytes_received"],
        "bytes_sent": total["bytes_sent"],
        "native_connections": total["native_connections"],
        "refused_connections": total["refused"],
        "resends": total["resends"],
    }
    return "".join(f"zk_{key}\t{value}\n" for key, value in values.items())


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


_TELLERS = {b"ruok": _ruok, b"isro": _isro, b"srvr": _srvr, b"stat": _stat, b"envi": _envi, b"mntr": _mntr}
