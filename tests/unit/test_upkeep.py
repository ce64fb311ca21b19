"""Goal: a leader proposes removals and the configuration once, and again only when they did not come to pass.

Method: Upkeep over a machine of a few lines that has what it is told to have, and over a real arena for the configuration; a log
whose end and whose application the test moves."""

import mmap

import pytest

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.tree import format_tree
from fastzk.config import Address, NodeConfig
from fastzk.node.dynamic import client_address, clients_of
from fastzk.node.main import parse_arguments
from fastzk.node.roster import first_members
from fastzk.node.upkeep import CONFIG_MS, SWEEP_MS, Upkeep, config_text

PEERS = "1=127.0.0.1:2881,2=127.0.0.1:2882,3=[::1]:2883"
FULL = (
    "server.1=127.0.0.1:2881:0:participant;127.0.0.1:2181\n"
    "server.2=127.0.0.1:2882:0:participant;127.0.0.1:2182\n"
    "server.3=[::1]:2883:0:participant\n"
    "version=0"
)


class Twin:
    """A state machine with so many reapable znodes, ten buckets apart."""

    def __init__(self, count: int = 0) -> None:
        self.paths = [b"/c%d" % number for number in range(count)]
        self.applied_index = 0
        self.looks: list[tuple[int, int]] = []
        self.minded_containers: list[bool] = []

    def find_reapable(self, cursor: int, buckets: int, now_ms: int, has_containers: bool) -> tuple[int, list[bytes]]:
        self.looks.append((cursor, now_ms))
        self.minded_containers.append(has_containers)
        at = cursor // buckets
        return (cursor + buckets if at + 1 < len(self.paths) else 0), self.paths[at : at + 1]


@pytest.fixture(scope="module")
def arena() -> Arena:
    arena = Arena.create(mmap.mmap(-1, 1 << 20))
    format_tree(arena)
    return arena


def alone() -> NodeConfig:
    return parse_arguments([])


def ensemble() -> NodeConfig:
    return parse_arguments(["--peers", PEERS])


def test_what_is_found_is_proposed_once_and_the_sweep_goes_on_when_it_is_applied(arena: Arena) -> None:
    machine = Twin(2)
    upkeep = Upkeep(alone(), machine, arena)
    (first,) = upkeep.due(1, 10_000, 5, 7, None, is_idle=True)
    assert b"\0\0\0\3/c0" in first
    assert upkeep.due(1, 10_050, 5, 7, None, is_idle=False) == [], "it is not in the log yet"
    assert upkeep.due(1, 10_100, 5, 8, None, is_idle=True) == [], "it is in the log, at 8, and not applied"
    machine.applied_index = 7
    assert upkeep.due(1, 10_150, 5, 9, None, is_idle=True) == []
    machine.applied_index = 8
    (second,) = upkeep.due(1, 10_200, 6, 9, None, is_idle=True)
    assert b"\0\0\0\3/c1" in second
    machine.applied_index = 9
    assert upkeep.due(1, 10_250, 6, 9, None, is_idle=True) == [], "that round ends"
    machine.paths = []
    machine.looks.clear()
    for now_ms in range(10_300, 10_000 + SWEEP_MS, 50):
        assert upkeep.due(1, now_ms, 6, 9, None, is_idle=True) == []
    assert machine.looks == [], "a sweep has ended, and the next has its time"
    upkeep.due(1, 10_000 + SWEEP_MS, 7, 9, None, is_idle=True)
    assert machine.looks == [(0, 7)]


def test_a_new_epoch_begins_anew(arena: Arena) -> None:
    machine = Twin(3)
    upkeep = Upkeep(alone(), machine, arena)
    assert upkeep.due(1, 0, 0, 1, None, is_idle=True)
    assert upkeep.due(1, 50, 0, 1, None, is_idle=True) == []
    (again,) = upkeep.due(2, 100, 0, 1, None, is_idle=True)
    assert b"/c0" in again, "the old epoch's proposal may be lost"


def test_the_configuration_is_proposed_while_it_differs(arena: Arena) -> None:
    upkeep = Upkeep(ensemble(), Twin(), arena)
    upkeep.hear_client_address(2, "127.0.0.1:2182")
    upkeep.hear_client_address(3, "")
    upkeep.hear_client_address(3, "nonsense")
    (entry,) = upkeep.due(1, 0, 0, 1, first_members(ensemble()), is_idle=True)
    assert FULL.encode() in entry
    assert config_text(arena) == "", "this test applies nothing"
    assert upkeep.due(1, CONFIG_MS, 0, 1, first_members(ensemble()), is_idle=True) == [], "it is under way"


def test_a_new_leader_that_knows_less_writes_nothing() -> None:
    """Addresses of nodes that it has not heard of are taken from the znode; what it has heard counts for more."""
    arena = Arena.create(mmap.mmap(-1, 1 << 20))
    format_tree(arena)
    Machine(arena, 1).apply(seal([make_entry(-14, FULL.encode())], 1, first_index=1, first_zxid=1 << 32, time_ms=1, previous=0))
    assert config_text(arena) == FULL
    upkeep = Upkeep(ensemble(), Twin(), arena)
    assert upkeep.due(1, 0, 0, 1, first_members(ensemble()), is_idle=True) == []
    upkeep.hear_client_address(2, "127.0.0.1:9999")
    (entry,) = upkeep.due(1, CONFIG_MS, 0, 1, first_members(ensemble()), is_idle=True)
    assert b"participant;127.0.0.1:9999\n" in entry


def test_containers_are_minded_less_often_than_times_to_live(arena: Arena) -> None:
    machine = Twin()
    upkeep = Upkeep(alone(), machine, arena)
    for now_ms in range(0, 3 * limits.CONTAINER_CHECK_MS + 1, SWEEP_MS):
        assert upkeep.due(1, now_ms, 5, 7, None, is_idle=True) == []
    sweeps_apart = limits.CONTAINER_CHECK_MS // SWEEP_MS
    minded = [at for at, is_minded in enumerate(machine.minded_containers) if is_minded]
    assert minded == [sweeps_apart, 2 * sweeps_apart, 3 * sweeps_apart]


def test_a_node_that_stands_alone_has_no_configuration(arena: Arena) -> None:
    """As ZooKeeper's."""
    assert Upkeep(alone(), Twin(), arena).due(1, 0, 0, 1, None, is_idle=True) == []


def test_the_text_is_zookeepers_and_can_be_read_back() -> None:
    clients = {1: Address("127.0.0.1", 2181), 2: Address("127.0.0.1", 2182)}
    assert first_members(ensemble()).zookeeper_text(clients) == FULL
    assert clients_of(FULL) == clients
    assert clients_of("server.1=a:1:1:participant;[::1]:2181\nserver.2=a:1:1\nversion=100000000") == {1: Address("::1", 2181)}
    assert clients_of("") == clients_of("garbage;\nserver.x=;y") == {}


def test_a_port_of_this_machine_only_is_not_told_to_others() -> None:
    assert client_address(ensemble()) == Address("127.0.0.1", 2181)
    far = parse_arguments(["--peers", "1=10.0.0.1:2881,2=10.0.0.2:2881", "--insecure-listen"])
    assert client_address(far) is None
    open_far = parse_arguments(["--peers", "1=10.0.0.1:2881,2=10.0.0.2:2881", "--insecure-listen", "--zk", "10.0.0.1:2181"])
    assert client_address(open_far) == Address("10.0.0.1", 2181)
