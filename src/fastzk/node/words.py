"""ZooKeeper's four-letter words: what monitoring tools and scripts ask a server, answered in ZooKeeper 3.9's own texts.

Rule: values in, text out.  Tools parse these lines with patterns, so names, order and separators are ZooKeeper's; what is
fastzk's own comes last.  Rule: a node that does not serve says so, except to ruok, isro, envi, gtmk and stmk.

What lists connections, sessions or watches needs what other processes know: `needs` says which words do, word_desk.py gathers it
and word_lists.py writes it.  ZooKeeper's trace mask says what it writes into its log of traces; there is no such log here, so gtmk
tells the mask that a ZooKeeper begins with, and stmk leaves it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastzk.node.word_lists import (
    Part,
    clients_text,
    cons_text,
    dump_text,
    missing_text,
    watches_by_connection,
    watches_by_path,
    watches_summary,
)
from fastzk.version import VERSION

# Tools compare the first three numbers with ZooKeeper's.
FULL_VERSION = f"3.9.5-fastzk-{VERSION}, built on 2026-11-22 00:00 UTC"

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NOT_LISTED = " is not executed because it is not in the whitelist.\n"
READ_ONLY = "READ-ONLY mode; serving only read-only clients\n"
TRACE_MASK = "306"

_PEER_STATES = {"leader": "leading", "follower": "following", "observer": "observing"}

# What has to be asked of every process before a word can be answered: of workers, and of the engine.
CONNECTIONS, WATCHES, SESSIONS, RESET, RESET_CONNECTIONS = "connections", "watches", "sessions", "reset", "reset connections"
_OF_WORKERS = {
    b"stat": CONNECTIONS,
    b"cons": CONNECTIONS,
    b"dump": CONNECTIONS,
    b"wchs": WATCHES,
    b"wchc": WATCHES,
    b"wchp": WATCHES,
    b"srst": RESET,
    b"crst": RESET_CONNECTIONS,
}
_OF_ENGINE = {b"dump": SESSIONS, b"srst": RESET}


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the processes of the node have told for one word."""

    parts: Sequence[Part] = ()  # of all workers: connections or watches
    sessions: Part = field(default_factory=lambda: {"sessions": [], "expiring": None})  # the engine's
    missing: Sequence[str] = ()  # those who have not answered


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the words tell of a node at one moment."""

    is_serving: bool
    is_read_only: bool
    mode: str  # leader, follower, observer, standalone, read-only, looking
    zxid: int
    digest: int
    uptime_ms: int
    now_ms: int  # monotonic
    open_descriptors: int
    descriptors_max: int
    voter_count: int
    arena: Mapping[str, int]  # Arena.counters()
    total: Mapping[str, int]  # StatsPage.total()
    engine: Mapping[str, int]  # StatsPage.engine()
    gate: Mapping[str, int]  # StatsPage.gate()
    environment: Mapping[str, str]
    conf: Sequence[tuple[str, object]]
    membership: str  # the ensemble as /zookeeper/config has it; empty for a standalone node
    data_bytes: int  # of all files in the data directory
    log_bytes: int  # of those of the log

    @property
    def znode_count(self) -> int:
        """As ZooKeeper counts, whose root stands in its table under two names."""
        return self.arena["znode_count"] + 1

    @property
    def latency_ms_avg(self) -> float:
        """Mean time a write took."""
        count = self.total["latency_count"]
        return round(self.total["latency_ms_total"] / count, 4) if count else 0.0


def needs(word: bytes) -> tuple[str | None, str | None]:
    """What the word needs to be asked of workers and of the engine."""
    return _OF_WORKERS.get(word), _OF_ENGINE.get(word)


def is_told_while_not_serving(word: bytes) -> bool:
    """False for a word that a node that does not serve answers by saying just that."""
    return word in (b"ruok", b"isro", b"envi", b"gtmk", b"stmk")


def refusal(word: bytes) -> bytes:
    """The answer to a word that the operator does not offer."""
    return word + NOT_LISTED.encode()


def answer(word: bytes, facts: NodeFacts, gathered: Gathered = Gathered()) -> bytes:
    """The text for one of ZooKeeper's words."""
    if not facts.is_serving and not is_told_while_not_serving(word):
        return NOT_SERVING.encode()
    text = _TELLERS[word](facts, gathered)
    return (text + missing_text(gathered.missing)).encode()


def _ruok(facts: NodeFacts, gathered: Gathered) -> str:
    return "imok"


def _isro(facts: NodeFacts, gathered: Gathered) -> str:
    if not facts.is_serving:
        return "null"
    return "ro" if facts.is_read_only else "rw"


def _mask(facts: NodeFacts, gathered: Gathered) -> str:
    return TRACE_MASK


def _srvr(facts: NodeFacts, gathered: Gathered) -> str:
    return f"{_version(facts)}{_statistics(facts)}"


def _stat(facts: NodeFacts, gathered: Gathered) -> str:
    return f"{_version(facts)}Clients:\n{clients_text(gathered.parts)}\n{_statistics(facts)}"


def _version(facts: NodeFacts) -> str:
    return f"Zookeeper version: {FULL_VERSION}\n" + (READ_ONLY if facts.is_read_only else "")


def _statistics(facts: NodeFacts) -> str:
    total, engine = facts.total, facts.engine
    text = (
        f"Latency min/avg/max: {total['latency_ms_min']}/{facts.latency_ms_avg}/{total['latency_ms_max']}\n"
        f"Received: {total['received']}\n"
        f"Sent: {total['sent']}\n"
        f"Connections: {total['connections']}\n"
        f"Outstanding: {total['outstanding']}\n"
        f"Zxid: {facts.zxid:#x}\n"
        f"Mode: {facts.mode}\n"
        f"Node count: {facts.znode_count}\n"
    )
    if facts.mode == "leader":
        text += "Proposal sizes last/min/max: {}/{}/{}\n".format(*_proposal_sizes(engine))
    return text


def _proposal_sizes(engine: Mapping[str, int]) -> tuple[int, int, int]:
    """Last, smallest, largest; -1 before the first, as in ZooKeeper."""
    if not engine["proposals"]:
        return -1, -1, -1
    return engine["proposal_bytes_last"], engine["proposal_bytes_min"], engine["proposal_bytes_max"]


def _envi(facts: NodeFacts, gathered: Gathered) -> str:
    lines = {"zookeeper.version": FULL_VERSION, **facts.environment}
    return "Environment:\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _conf(facts: NodeFacts, gathered: Gathered) -> str:
    lines = []
    for key, value in facts.conf:
        lines.append(f"{key}={int(facts.mode == 'observer') if key == 'peerType' else value}\n")
        if key == "dataDir":
            lines.append(f"dataDirSize={facts.data_bytes}\n")
        elif key == "dataLogDir":
            lines.append(f"dataLogSize={facts.log_bytes}\n")
    return "".join(lines) + (f"membership: \n{facts.membership}" if facts.membership else "")


def _dirs(facts: NodeFacts, gathered: Gathered) -> str:
    return f"datadir_size: {facts.data_bytes}\nlogdir_size: {facts.log_bytes}\n"


def _hash(facts: NodeFacts, gathered: Gathered) -> str:
    return f"{facts.zxid:x}: {facts.digest}\n"


def _cons(facts: NodeFacts, gathered: Gathered) -> str:
    return cons_text(gathered.parts)


def _dump(facts: NodeFacts, gathered: Gathered) -> str:
    return dump_text(gathered.sessions, gathered.parts)


def _wchs(facts: NodeFacts, gathered: Gathered) -> str:
    return watches_summary(gathered.parts)


def _wchc(facts: NodeFacts, gathered: Gathered) -> str:
    return watches_by_connection(gathered.parts)


def _wchp(facts: NodeFacts, gathered: Gathered) -> str:
    return watches_by_path(gathered.parts)


def _srst(facts: NodeFacts, gathered: Gathered) -> str:
    return "Server stats reset.\n"


def _crst(facts: NodeFacts, gathered: Gathered) -> str:
    return "Connection stats reset.\n"


def _mntr(facts: NodeFacts, gathered: Gathered) -> str:
    total, arena = facts.total, facts.arena
    values: dict[str, int | float | str] = {"version": FULL_VERSION, "server_state": facts.mode}
    if facts.mode in _PEER_STATES:
        values["peer_state"] = f"{_PEER_STATES[facts.mode]} - broadcast"
        values["quorum_size"] = facts.voter_count
    values |= {
        "ephemerals_count": arena["ephemeral_count"],
        "avg_latency": facts.latency_ms_avg,
        "num_alive_connections": total["connections"],
        "outstanding_requests": total["outstanding"],
        "znode_count": facts.znode_count,
        "global_sessions": arena["session_count"],
        "packets_sent": total["sent"],
        "packets_received": total["received"],
        "connection_drop_probability": 0.0,
        "watch_count": total["watches"],
        "auth_failed_count": total["auth_failed"],
        "min_latency": total["latency_ms_min"],
        "approximate_data_size": arena["data_bytes"],
        "open_file_descriptor_count": facts.open_descriptors,
        "local_sessions": total["local_sessions"],
        "uptime": facts.uptime_ms,
        "max_latency": total["latency_ms_max"],
        "outstanding_tls_handshake": facts.gate["tls_handshakes"],
        "max_file_descriptor_count": facts.descriptors_max,
        "connection_rejected": total["refused"],
        "connection_request_count": total["accepted"],
        "bytes_received_count": total["bytes_received"],
    }
    values |= _leader_values(facts)
    values |= {  # fastzk's own
        "applied_zxid": f"{facts.zxid:#x}",
        "tree_digest": f"{facts.digest:032x}",
        "bytes_received": total["bytes_received"],
        "bytes_sent": total["bytes_sent"],
        "native_connections": total["native_connections"],
        "refused_connections": total["refused"],
        "resends": total["resends"],
        "tls_connections": facts.gate["tls_connections"],
        "tls_refused_connections": facts.gate["tls_refused"],
    }
    return "".join(f"zk_{key}\t{value}\n" for key, value in values.items())


def _leader_values(facts: NodeFacts) -> dict[str, int | float | str]:
    """What mntr tells of a leader only."""
    if facts.mode != "leader":
        return {"synced_observers": 0} if facts.mode in _PEER_STATES else {}
    engine = facts.engine
    last, smallest, largest = _proposal_sizes(engine)
    return {
        "synced_followers": engine["synced_followers"],
        "synced_non_voting_followers": 0,
        "synced_observers": engine["synced_observers"],
        "learners": engine["learners"],
        "pending_syncs": engine["pending_syncs"],
        "leader_uptime": max(0, facts.now_ms - engine["leader_since_ms"]),
        "last_proposal_size": last,
        "max_proposal_size": largest,
        "min_proposal_size": smallest,
    }


_TELLERS = {
    b"ruok": _ruok,
    b"isro": _isro,
    b"srvr": _srvr,
    b"stat": _stat,
    b"envi": _envi,
    b"mntr": _mntr,
    b"conf": _conf,
    b"cons": _cons,
    b"crst": _crst,
    b"dirs": _dirs,
    b"dump": _dump,
    b"gtmk": _mask,
    b"stmk": _mask,
    b"hash": _hash,
    b"srst": _srst,
    b"wchs": _wchs,
    b"wchc": _wchc,
    b"wchp": _wchp,
}
