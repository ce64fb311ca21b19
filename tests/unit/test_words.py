"""Goal: the four-letter words say what ZooKeeper 3.9 says, so that the tools that parse it go on working.

Method: whole texts for one set of facts, and the patterns of known tools: kazoo's for envi, go-zookeeper's for srvr."""

import dataclasses
import re

import pytest
from kazoo.client import ENVI_VERSION

from fastzk.node.words import FULL_VERSION, NOT_SERVING, ClientFacts, NodeFacts, answer
from fastzk.transport._loop import STAT_NAMES

FACTS = NodeFacts(
    is_serving=True,
    mode="leader",
    zxid=0x2_0000_000A,
    digest=0xAB,
    uptime_ms=1234,
    open_descriptors=17,
    descriptors_max=1024,
    arena={"znode_count": 5, "ephemeral_count": 1, "data_bytes": 44, "session_count": 2},
    total=dict.fromkeys(STAT_NAMES, 0)
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
    clients=[ClientFacts("127.0.0.1", 4000, 0, 10, 9), ClientFacts("::1", 4001, 2, 1, 0)],
)
IDLE = dataclasses.replace(FACTS, is_serving=False)
STATISTICS = (
    "Latency min/avg/max: 1/3.3333/7\nReceived: 10\nSent: 9\nConnections: 3\nOutstanding: 1\n"
    "Zxid: 0x20000000a\nMode: leader\nNode count: 5\n"
)


def text(word: bytes, facts: NodeFacts = FACTS) -> str:
    return answer(word, facts).decode()


def test_the_short_ones() -> None:
    assert text(b"ruok") == "imok"
    assert text(b"isro") == "rw"
    assert text(b"dump") == "dump is not executed because it is not in the whitelist.\n"


def test_srvr_and_stat() -> None:
    assert text(b"srvr") == f"Zookeeper version: {FULL_VERSION}\n{STATISTICS}"
    clients = " /127.0.0.1:4000[1](queued=0,recved=10,sent=9)\n /[::1]:4001[1](queued=2,recved=1,sent=0)\n"
    assert text(b"stat") == f"Zookeeper version: {FULL_VERSION}\nClients:\n{clients}\n{STATISTICS}"


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
        "zk_znode_count": "5",
        "zk_watch_count": "4",
        "zk_ephemerals_count": "1",
        "zk_approximate_data_size": "44",
        "zk_open_file_descriptor_count": "17",
        "zk_max_file_descriptor_count": "1024",
        "zk_applied_zxid": "0x20000000a",
        "zk_tree_digest": "000000000000000000000000000000ab",
    }
    assert {key: values[key] for key in expected} == expected


def test_no_write_yet_is_latency_0() -> None:
    facts = dataclasses.replace(FACTS, total=dict.fromkeys(STAT_NAMES, 0))
    assert "Latency min/avg/max: 0/0.0/0\n" in text(b"srvr", facts)


@pytest.mark.parametrize("word", [b"srvr", b"stat", b"mntr"])
def test_a_node_that_does_not_serve_says_so(word: bytes) -> None:
    assert text(word, IDLE) == NOT_SERVING == "This ZooKeeper instance is not currently serving requests\n"


def test_what_a_node_that_does_not_serve_still_answers() -> None:
    assert (text(b"ruok", IDLE), text(b"isro", IDLE)) == ("imok", "null")
    assert text(b"envi", IDLE) == text(b"envi")


def test_tools_find_the_version() -> None:
    lines = dict(line.split("=", 1) for line in text(b"envi").splitlines()[1:])
    match = ENVI_VERSION.match(lines["zookeeper.version"])
    assert match is not None
    assert match.group(1) == "3.9.3"
    # As go-zookeeper reads srvr.
    assert re.match(
        r"^Zookeeper version: ([A-Za-z0-9\.\-]+), built on (\d\d\d\d-\d\d-\d\d \d\d:\d\d [A-Za-z0-9:\+\-]+)", text(b"srvr")
    )
