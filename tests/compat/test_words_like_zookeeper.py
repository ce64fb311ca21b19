"""Goal: a tool that reads ZooKeeper's four-letter words reads ours: line by line the same texts, numbers apart.

Method: the same clients do the same at a real ZooKeeper 3.9 and at a real node; then each word is asked of both, and what must
differ (numbers, addresses, dates, Java) is made equal before the comparison."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.defs import WORDS
from fastzk.testing import maven
from fastzk.testing.ensemble import Address, Ensemble, four_letter_word
from fastzk.testing.rawclient import RawClient
from fastzk.testing.zookeeper import ZooKeeper
from fastzk.wire.records import Create, Exists, GetChildren, GetData

pytestmark = pytest.mark.process

POM = Path(__file__).parent / "java" / "zookeeper-3.9" / "pom.xml"
OPEN = list(OPEN_ACL_UNSAFE)
# What fastzk tells and ZooKeeper does not.
OWN_VALUES = {
    *("applied_zxid", "tree_digest", "bytes_received", "bytes_sent", "native_connections", "refused_connections", "resends"),
    *("tls_connections", "tls_refused_connections"),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Address]]:
    """Where ZooKeeper and fastzk are, each with the same sessions, znodes and watches."""
    try:
        jars = maven.classpath(POM)
    except maven.Unavailable as missing:
        pytest.skip(f"there is no ZooKeeper to compare with: {missing}")
    directory = tmp_path_factory.mktemp("words")
    alike = ["--workers", "1", "--4lw-whitelist", "*", "--max-client-cnxns", "0"]
    with ZooKeeper(jars, directory) as theirs, Ensemble(1, directory, alike) as ours:
        addresses = theirs.address, ours.node(1).zk
        clients = [client for address in addresses for client in (RawClient(address), RawClient(address))]
        for first, second in (clients[:2], clients[2:]):
            for client in (first, second):
                client.connect(10_000)
            assert first.call(Create("/e", b"xyz", OPEN, 1)).err == 0
            assert first.call(GetData("/e", True)).err == 0
            assert first.call(Exists("/none", True)).err == -101
            assert first.call(GetChildren("/", True)).err == 0
            assert second.call(Exists("/e", True)).err == 0
        yield addresses
        for client in clients:
            client.close()


def alike(word: str, text: str) -> list[str]:
    """The lines of an answer with all that may differ made equal."""
    text = re.sub(r"version: \S+, built on [-\d]+ [\d:]+ UTC", "version: V, built on D", text)
    text = re.sub(r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d [\d:]{8} UTC \d{4}", "DATE", text)
    text = re.sub(r"0x[0-9a-f]+|-?\d+(\.\d+)?", "N", text)
    lines = text.split("\n")
    return sorted(lines) if word in ("cons", "stat", "wchc", "wchp", "dump") else lines


@pytest.mark.parametrize("word", sorted(WORDS - {"mntr", "envi", "conf", "stmk", "hash"}))
def test_the_same_lines(both: tuple[Address, Address], word: str) -> None:
    theirs, ours = (alike(word, four_letter_word(address, word)) for address in both)
    if word == "dump":  # sets of connections and sessions depend on the second in which they are looked at
        theirs, ours = ([line for line in lines if not re.match(r"N expire at|.*Sets \(", line)] for lines in (theirs, ours))
    assert ours == theirs


def test_conf_has_the_same_keys_in_the_same_order(both: tuple[Address, Address]) -> None:
    theirs, ours = ([line.partition("=")[0] for line in four_letter_word(address, "conf").splitlines()] for address in both)
    assert ours == theirs


def test_envi_has_what_is_not_javas(both: tuple[Address, Address]) -> None:
    theirs, ours = (four_letter_word(address, "envi").splitlines() for address in both)
    assert ours[0] == theirs[0] == "Environment:"
    keys = {line.partition("=")[0] for line in theirs[1:]} - {"user.name", "user.home"}
    assert {key for key in keys if not key.startswith(("java.", "os.memory"))} <= {line.partition("=")[0] for line in ours[1:]}


def test_every_value_of_mntr_is_one_of_zookeepers_and_alike(both: tuple[Address, Address]) -> None:
    theirs, ours = (dict(line.split("\t", 1) for line in four_letter_word(address, "mntr").splitlines()) for address in both)
    unknown = {key.removeprefix("zk_") for key in set(ours) - set(theirs)}
    assert unknown == OWN_VALUES
    for key in ("ephemerals_count", "znode_count", "watch_count", "global_sessions", "server_state", "local_sessions"):
        assert ours[f"zk_{key}"] == theirs[f"zk_{key}"], key
    for key in set(ours) & set(theirs) - {"zk_version", "zk_server_state"}:
        assert ("." in ours[key]) == ("." in theirs[key]), f"{key}: {ours[key]} and {theirs[key]}"


def test_a_trace_mask_is_answered_with_a_number(both: tuple[Address, Address]) -> None:
    for address in both:
        with RawClient(address) as asking:
            asking.send_bytes(b"stmk" + struct.pack(">q", 306))
            assert asking._socket.recv(100) == b"306"
