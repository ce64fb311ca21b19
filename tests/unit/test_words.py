"""Goal: the four-letter words say what ZooKeeper 3.9 says, so that the tools that parse it go on working.

Method: whole texts for one set of facts, and the patterns of known tools: kazoo's for envi, go-zookeeper's for srvr."""

import dataclasses
import re

import pytest
from kazoo.client import ENVI_VERSION

from fastzk.node.stats import ENGINE_NAMES, GATE_NAMES, OWN_NAMES
from fastzk.node.words import FULL_VERSION, NOT_SERVING, Gathered, NodeFacts, answer, refusal
from fastzk.transport._loop import STAT_NAMES

COUNTERS = dict.fromkeys((*STAT_NAMES, *OWN_NAMES), 0)

FACTS = NodeFacts(
    is_serving=True,
    is_read_only=False,
    mode="leader",
    zxid=0x2_0000_000A,
    digest=0xAB,
    uptime_ms=1234,
    now_ms=5000,
    voter_count=3,
    open_descriptors=17,
    descriptors_max=1024,
    arena={"znode_count": 5, "ephemeral_count": 1, "data_bytes": 44, "session_count": 2},
    total=COUNTERS
    | {
        "received": 10,
        "sent": 9,
        "connections": 3,
        "outstanding": 1,
        "watches": 4,
        "latency_count": 3,
        "latency_ms_total": 10,
        "latency_ms_min": 1,
        "latency_ms_max": 7,
    },
    environment={"host.name": "here"},
    engine=dict.fromkeys(ENGINE_NAMES, 0)
    | {
        "leader_since_ms": 4000,
        "learners": 2,
        "synced_followers": 1,
        "synced_observers": 2,
        "proposal_bytes_last": 86,
        "proposal_bytes_min": 48,
        "proposal_bytes_max": 90,
        "proposals": 7,
    },
    gate=dict.fromkeys(GATE_NAMES, 0) | {"tls_connections": 4},
    conf=[("clientPort", 2181), ("dataDir", "/data"), ("dataLogDir", "/data/log"), ("serverId", 1)],
    membership="server.1=127.0.0.1:2881:0:participant;127.0.0.1:2181\nversion=0",
    data_bytes=100,
    log_bytes=90,
)
CONNECTION = {
    "address": "127.0.0.1",
    "port": 4000,
    "is_paused": False,
    "queued": 0,
    "received": 6,
    "sent": 7,
    "session_id": 0x10000B32E070000,
    "timeout_ms": 10000,
    "established_ms": 1795375527999,
    "last_op": 1,
    "last_xid": 5,
    "zxid": 3,
    "heard_ms": 11764948,
    "ends_ms": 1795375543500,
}
STRANGER = CONNECTION | {"address": "::1", "port": 4001, "is_paused": True, "session_id": 0, "queued": 2, "received": 1, "sent": 0}
CONNECTED = Gathered([CONNECTION, STRANGER])
SESSIONS = [[0x10000B32E070000, 10000, ["/e", "/f"]], [0x2, 4000, []]]
WATCHES = Gathered([{"session_id": 0x1, "paths": ["/e", "/none"]}, {"session_id": 0x2, "paths": ["/e"]}])
IDLE = dataclasses.replace(FACTS, is_serving=False)
STATISTICS = (
    "Latency min/avg/max: 1/3.3333/7\nReceived: 10\nSent: 9\nConnections: 3\nOutstanding: 1\n"
    "Zxid: 0x20000000a\nMode: leader\nNode count: 6\nProposal sizes last/min/max: 86/48/90\n"
)


def text(word: bytes, facts: NodeFacts = FACTS, gathered: Gathered = Gathered()) -> str:  # noqa: B008
    return answer(word, facts, gathered).decode()


def test_the_short_ones() -> None:
    assert text(b"ruok") == "imok"
    assert text(b"isro") == "rw"
    assert text(b"isro", dataclasses.replace(FACTS, is_read_only=True)) == "ro"
    assert (text(b"gtmk"), text(b"stmk")) == ("306", "306")
    assert (text(b"srst"), text(b"crst")) == ("Server stats reset.\n", "Connection stats reset.\n")
    assert refusal(b"dump") == b"dump is not executed because it is not in the whitelist.\n"


def test_srvr_and_stat() -> None:
    assert text(b"srvr") == f"Zookeeper version: {FULL_VERSION}\n{STATISTICS}"
    clients = " /127.0.0.1:4000[1](queued=0,recved=6,sent=7)\n /[::1]:4001[0](queued=2,recved=1,sent=0)\n"
    assert text(b"stat", gathered=CONNECTED) == f"Zookeeper version: {FULL_VERSION}\nClients:\n{clients}\n{STATISTICS}"


def test_mntr_is_keys_and_values_with_a_tab_between() -> None:
    lines = text(b"mntr").splitlines()
    values = dict(line.split("\t") for line in lines)
    assert len(values) == len(lines)
    assert all(key.startswith("zk_") for key in values)
    expected = {
        "zk_server_state": "leader",
        "zk_avg_latency": "3.3333",
        "zk_packets_received": "10",
        "zk_num_alive_connections": "3",
        "zk_outstanding_requests": "1",
        "zk_znode_count": "6",
        "zk_watch_count": "4",
        "zk_ephemerals_count": "1",
        "zk_approximate_data_size": "44",
        "zk_open_file_descriptor_count": "17",
        "zk_max_file_descriptor_count": "1024",
        "zk_tls_connections": "4",
        "zk_peer_state": "leading - broadcast",
        "zk_quorum_size": "3",
        "zk_learners": "2",
        "zk_synced_followers": "1",
        "zk_pending_syncs": "0",
        "zk_leader_uptime": "1000",
        "zk_last_proposal_size": "86",
        "zk_applied_zxid": "0x20000000a",
        "zk_tree_digest": "000000000000000000000000000000ab",
    }
    assert {key: values[key] for key in expected} == expected


def test_what_only_a_leader_tells() -> None:
    follower = dataclasses.replace(FACTS, mode="follower")
    assert "Proposal sizes" not in text(b"srvr", follower)
    told = text(b"mntr", follower)
    assert "zk_synced_followers" not in told
    assert "zk_peer_state\tfollowing - broadcast\n" in told
    assert "zk_peer_state" not in text(b"mntr", dataclasses.replace(FACTS, mode="standalone"))
    assert "zk_synced_observers\t2\n" in text(b"mntr", FACTS)


def test_an_observer_says_so() -> None:
    facts = dataclasses.replace(FACTS, mode="observer", conf=[("peerType", 0)])
    assert "Mode: observer\n" in text(b"srvr", facts)
    told = text(b"mntr", facts)
    assert "zk_server_state\tobserver\n" in told
    assert "zk_peer_state\tobserving - broadcast\n" in told
    assert text(b"conf", facts).startswith("peerType=1\n")


def test_what_a_leader_tells_before_its_first_proposal() -> None:
    fresh = dataclasses.replace(FACTS, engine=dict.fromkeys(ENGINE_NAMES, 0))
    assert "Proposal sizes last/min/max: -1/-1/-1\n" in text(b"srvr", fresh)


def test_a_node_that_only_reads_says_so() -> None:
    facts = dataclasses.replace(FACTS, is_read_only=True, mode="read-only")
    assert text(b"srvr", facts).splitlines()[1] == "READ-ONLY mode; serving only read-only clients"
    assert text(b"stat", facts).splitlines()[1:3] == ["READ-ONLY mode; serving only read-only clients", "Clients:"]
    assert "Mode: read-only\n" in text(b"srvr", facts)


def test_conf_and_dirs() -> None:
    assert text(b"dirs") == "datadir_size: 100\nlogdir_size: 90\n"
    assert text(b"conf") == (
        "clientPort=2181\ndataDir=/data\ndataDirSize=100\ndataLogDir=/data/log\ndataLogSize=90\nserverId=1\nmembership: \n"
        "server.1=127.0.0.1:2881:0:participant;127.0.0.1:2181\nversion=0"
    )
    assert text(b"conf", dataclasses.replace(FACTS, membership="")).endswith("serverId=1\n")
    assert text(b"hash") == "20000000a: 171\n"


def test_cons_has_the_session_of_each_connection() -> None:
    assert text(b"cons", gathered=CONNECTED) == (
        " /127.0.0.1:4000[1](queued=0,recved=6,sent=7,sid=0x10000b32e070000,lop=CREA,est=1795375527999,to=10000,lcxid=0x5,"
        "lzxid=0x3,lresp=11764948,llat=0,minlat=0,avglat=0,maxlat=0)\n"
        " /[::1]:4001[0](queued=2,recved=1,sent=0)\n\n"
    )


def test_cons_as_go_zookeeper_reads_it() -> None:
    """Its pattern wants every field."""
    line = text(b"cons", gathered=Gathered([CONNECTION])).splitlines()[0]
    fields = "queued=(\\d+),recved=(\\d+),sent=(\\d+),sid=(0x[A-Za-z0-9]+),lop=(\\w+),est=(\\d+),to=(\\d+),lcxid=(0x[A-Za-z0-9]+)"
    more = "lzxid=(0x[A-Za-z0-9]+),lresp=(\\d+),llat=(\\d+),minlat=(\\d+),avglat=(\\d+),maxlat=(\\d+)"
    assert re.match(rf"^ /((?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}):(\d+)\[\d+\]\({fields},{more}\)$", line)


def test_dump_of_a_leader_and_of_a_follower() -> None:
    leader = Gathered([CONNECTION], {"sessions": SESSIONS, "expiring": {"1795375539000": [0x10000B32E070000, 2]}})
    ephemerals = "ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x10000b32e070000:\n\t/e\n\t/f\n"
    connections = (
        "Connections dump:\nConnections Sets (1)/(1):\n1 expire at Sun Nov 22 19:25:43 UTC 2026:\n"
        "\tip: /127.0.0.1:4000 sessionId: 0x10000b32e070000\n"
    )
    assert text(b"dump", gathered=leader) == (
        "SessionTracker dump:\nSession Sets (1)/(2):\n2 expire at Sun Nov 22 19:25:39 UTC 2026:\n\t0x10000b32e070000\n\t0x2\n"
        f"{ephemerals}{connections}"
    )
    follower = Gathered([CONNECTION], {"sessions": SESSIONS, "expiring": None})
    assert text(b"dump", gathered=follower) == (
        f"SessionTracker dump:\nGlobal Sessions(2):\n0x10000b32e070000\t10000ms\n0x2\t4000ms\n{ephemerals}{connections}"
    )


def test_watches_by_connection_by_path_and_in_numbers() -> None:
    assert text(b"wchs", gathered=WATCHES) == "2 connections watching 2 paths\nTotal watches:3\n"
    assert text(b"wchc", gathered=WATCHES) == "0x1\n\t/e\n\t/none\n0x2\n\t/e\n\n"
    assert text(b"wchp", gathered=WATCHES) == "/e\n\t0x1\n\t0x2\n/none\n\t0x1\n\n"


def test_who_has_not_answered_is_named() -> None:
    told = text(b"wchs", gathered=dataclasses.replace(WATCHES, missing=["worker2", "engine"]))
    assert told.splitlines()[-1] == "(worker2, engine did not answer: what they know is missing)"


def test_no_write_yet_is_latency_0() -> None:
    facts = dataclasses.replace(FACTS, total=COUNTERS)
    assert "Latency min/avg/max: 0/0.0/0\n" in text(b"srvr", facts)


@pytest.mark.parametrize(
    "word", [b"srvr", b"stat", b"mntr", b"conf", b"cons", b"crst", b"dirs", b"dump", b"hash", b"srst", b"wchs"]
)
def test_a_node_that_does_not_serve_says_so(word: bytes) -> None:
    assert text(word, IDLE) == NOT_SERVING == "This ZooKeeper instance is not currently serving requests\n"


def test_what_a_node_that_does_not_serve_still_answers() -> None:
    assert (text(b"ruok", IDLE), text(b"isro", IDLE)) == ("imok", "null")
    assert text(b"envi", IDLE) == text(b"envi")


def test_tools_find_the_version() -> None:
    lines = dict(line.split("=", 1) for line in text(b"envi").splitlines()[1:])
    match = ENVI_VERSION.match(lines["zookeeper.version"])
    assert match is not None
    assert match.group(1) == "3.9.5"
    # As go-zookeeper reads srvr.
    assert re.match(
        r"^Zookeeper version: ([A-Za-z0-9\.\-]+), built on (\d\d\d\d-\d\d-\d\d \d\d:\d\d [A-Za-z0-9:\+\-]+)", text(b"srvr")
    )
