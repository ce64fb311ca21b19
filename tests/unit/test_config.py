"""Goal: bad words on the command line get one clear line.  Method: each wrong form, and what its message must name."""

import pytest

from fastzk.config import Address, ConfigError, parse_cpus, parse_listen, parse_peers
from fastzk.node.process import share_cores

PEERS = "1=127.0.0.1:2881,2=127.0.0.1:2882,3=localhost:2883"


def test_peers_lists_every_node() -> None:
    assert parse_peers(PEERS, 2) == {
        1: Address("127.0.0.1", 2881),
        2: Address("127.0.0.1", 2882),
        3: Address("localhost", 2883),
    }
    assert parse_peers("", 7) == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1=127.0.0.1:2881,1=127.0.0.1:2882", "listed twice"),
        ("1=127.0.0.1:2881,2=127.0.0.1:2881", "127.0.0.1:2881 is listed twice"),
        ("2=127.0.0.1:2882", "not this one"),
        ("127.0.0.1:2881", "ID=HOST:PORT"),
        ("1=127.0.0.1", "HOST:PORT"),
        ("1=127.0.0.1:0", "1 to 65535"),
        ("1=127.0.0.1:x", "1 to 65535"),
        ("1=127.0.0.1:\u0664", "1 to 65535"),
        ("0=127.0.0.1:2881", "1 to 254"),
        ("255=127.0.0.1:2881", "1 to 254"),
        ("1=127.0.0.1:2881,", "ID=HOST:PORT"),
        ("1=10.0.0.1:2881", "loopback"),
        (",".join(f"{n}=127.0.0.1:{2880 + n}" for n in range(1, 18)), "at most"),
    ],
)
def test_unreadable_peers_are_named(text: str, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        parse_peers(text, 1)


@pytest.mark.parametrize("text", ["0.0.0.0:2181", "192.168.1.1:2181", "example.org:2181", "[::]:2181"])
def test_only_loopback_is_listened_on(text: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        parse_listen(text, "--zk")


def test_loopback_forms() -> None:
    assert parse_listen("[::1]:2181", "--zk") == Address("::1", 2181)
    assert parse_listen("127.1.2.3:2181", "--zk").is_loopback
    assert parse_listen("localhost:2181", "--zk").is_loopback


def test_cpus() -> None:
    assert parse_cpus("0,2,4-6,2") == (0, 2, 4, 5, 6)
    for text in ("", "a", "1-", "-1", "3-1", "0-99999999"):
        with pytest.raises(ConfigError):
            parse_cpus(text)


def test_processes_have_cores_of_their_own_where_there_are_enough() -> None:
    assert share_cores([0, 1, 5], 3, is_pinned=True) == [[0], [1], [5]]
    assert share_cores([0, 1], 3, is_pinned=True) == [[0, 1]] * 3
    assert share_cores([0, 1, 5], 2, is_pinned=False) == [[0, 1, 5]] * 2
