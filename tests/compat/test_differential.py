"""Goal: whatever a client asks, in whatever order, fastzk answers it as Apache ZooKeeper does.

Method: generated conversations (fastzk.testing.differential) with both servers at once, each answer compared: codes, bodies,
Stats, events and their order, closed connections, and the whole tree at the end.  What differs on purpose is a rule with a
name, and stands in docs/compatibility.md under it.  `make differential` plays 20,000 of them; here a few hundred.

The test itself is checked, too: two ZooKeepers do not differ, and a server that lies in one place is caught
(test_differential_liars.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastzk.defs import OpCode
from fastzk.errors import ErrorCode
from fastzk.testing import maven
from fastzk.testing.differential import steps
from fastzk.testing.differential.bodies import SUPER
from fastzk.testing.differential.duel import Duel, compare_trees, shrink
from fastzk.testing.differential.generator import TEMPERS, conversation
from fastzk.testing.differential.player import Player
from fastzk.testing.differential.report import tell
from fastzk.testing.differential.rules import RULES, allowed
from fastzk.testing.differential.servers import duellists
from fastzk.testing.differential.steps import Connect, Drop, Request, Resume, Step
from fastzk.testing.ensemble import Address, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
SEQUENCES = 300
SELF_CHECK_SEQUENCES = 20
OPERATIONS = 50
EXPIRY_S_MAX = 30.0
FIRST_SEED = 1_000_000  # `make differential` begins with 1


@pytest.fixture(scope="module")
def addresses(disk: Path) -> Iterator[tuple[Address, Address]]:
    """ZooKeeper's and fastzk's."""
    try:
        with duellists(disk) as both:
            yield both
    except maven.Unavailable as missing:
        pytest.skip(f"no Apache ZooKeeper to compare with: {missing}")


@pytest.fixture(scope="module")
def duel(addresses: tuple[Address, Address]) -> Iterator[Duel]:
    """ZooKeeper and fastzk."""
    with Duel(*addresses, SUPER) as both:
        yield both


def play(duel: Duel, first_seed: int, count: int) -> None:
    for seed in range(first_seed, first_seed + count):
        difference = duel.judge(conversation(seed, OPERATIONS))
        if difference is not None:
            told = tell(difference, duel.exchanges)
            pytest.fail(f"python tests/compat/differential.py --seed {seed} shrinks it\n{told}", pytrace=False)


@pytest.mark.process
def test_a_new_server_has_the_same_tree(duel: Duel) -> None:
    assert compare_trees(0, duel.fresh) is None


@pytest.mark.process
@pytest.mark.timeout(400)  # twenty seconds, unless the machine has much else to do
def test_every_answer_is_zookeepers(duel: Duel) -> None:
    play(duel, FIRST_SEED, SEQUENCES)


@pytest.mark.process
def test_a_session_that_expires_leaves_the_same(duel: Duel, addresses: tuple[Address, Address]) -> None:
    """The only thing that needs time: a session of the shortest timeout is abandoned, and somebody watches."""
    acl = steps.vector([steps.acl_entry(31, "world", "anyone")])
    made = [steps.string(path) + steps.buffer(b"") + acl for path in ("/left", "/left/one", "/left/two")]
    prologue: list[Step] = [
        Connect(0, 1, 1, None, False),
        Connect(1, 2, 40_000, None, False),
        Request(1, OpCode.CREATE, 1, made[0] + steps.integer(0)),
        *(Request(0, OpCode.CREATE, 2 + n, body + steps.integer(1)) for n, body in enumerate(made[1:])),
        Request(1, OpCode.ADD_WATCH, 4, steps.string("/left") + steps.integer(1)),
        Request(1, OpCode.GET_CHILDREN, 5, steps.string("/left") + steps.boolean(1)),
        Drop(0),
    ]
    players = [Player(address) for address in addresses]
    for player in players:
        for step in prologue:
            assert player.begin(step)
            assert player.finish(step).end in ("open", "dropped")
    heard: list[list[bytes]] = [[], []]

    def is_over() -> bool:
        for player, events in zip(players, heard, strict=True):
            player.ask([1])
            events += [record for record in player.hear(1).records if record[:4] == b"\xff\xff\xff\xff"]
        return all(len(events) >= 3 for events in heard)

    wait_for(is_over, EXPIRY_S_MAX, "both to have told of the ephemerals")
    told = [sorted(record[16:] for record in events) for events in heard]
    assert told[0] == told[1]
    assert all(len({record[4:12] for record in events}) == 1 for events in heard), "they all go in one transaction"
    for player in players:
        player.reset(0)
    assert duel.play([Connect(0, 1, 30_000, None, False)]) is None, "and the trees are the same"


@pytest.mark.process
def test_two_zookeepers_do_not_differ(disk: Path) -> None:
    try:
        with duellists(disk, is_self_check=True) as addresses, Duel(*addresses, SUPER, is_self_check=True) as twins:
            play(twins, FIRST_SEED, SELF_CHECK_SEQUENCES)
    except maven.Unavailable as missing:
        pytest.skip(f"no Apache ZooKeeper to compare with: {missing}")


def test_every_rule_is_documented_under_its_name() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    assert RULES
    for rule in RULES:
        assert any(row.startswith(f"| {rule.name} |") for row in rows), f"{rule.name} is missing in {DOCUMENT.name}"


def reply(err: int, value: object = None) -> tuple[object, ...]:
    """What a view makes of an answer of one reply."""
    return (("reply", 1, ("after", 1), err, value), "open")


WATCH, NULL = steps.boolean(1), steps.string(None)
NO_RULE = reply(ErrorCode.SYSTEM_ERROR)
ALLOWED: dict[str, tuple[Step, str, object, object]] = {
    "session of a stranger": (
        Resume(0, 1, 30_000, b"", False), "connection 2", ("closed",), reply(0),
    ),
    "setWatches with a null path": (
        Request(0, OpCode.SET_WATCHES, 1, b""), "answer", (("event", -1, 0, 2, 3, "/t"), *reply(-5)), reply(-5),
    ),
    "multiRead with a null path": (Request(0, OpCode.MULTI_READ, 1, b""), "answer", reply(-5, []), reply(-5)),
    "watch on a null path": (Request(0, OpCode.CHECK_WATCHES, 1, NULL), "answer", reply(-121), reply(-5)),
    "addresses in ACLs": (
        Request(0, OpCode.SET_ACL, 1, steps.vector([steps.acl_entry(1, "ip", "10.0.0.01")])), "answer", reply(0, ()), reply(-114),
    ),
    "null id in an ACL": (
        Request(0, OpCode.SET_ACL, 1, steps.vector([steps.acl_entry(1, "world", None)])), "answer", reply(-5), reply(-114),
    ),
    "quotas in a multi": (
        Request(0, OpCode.MULTI, 1, b""), "answer", reply(0, [(1, 0, "/t")]), reply(0, [(-1, -125, None)]),
    ),
    "descendants of the empty path": (
        Request(0, OpCode.GET_ALL_CHILDREN_NUMBER, 1, steps.string("")), "answer", reply(0, 6), reply(0, 5),
    ),
    "sasl and x509 in ACLs": (
        Request(0, OpCode.SET_ACL, 1, steps.vector([steps.acl_entry(1, "sasl", "ann")])), "answer", reply(-114), reply(0, ()),
    ),
    "entries that auth repeats": (
        Request(0, OpCode.GET_ACL, 1, b""), "answer", reply(0, [(1, "digest", "a:b")] * 2), reply(0, [(1, "digest", "a:b")]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_a_rule_allows_its_difference_and_no_other(name: str) -> None:
    step, where, oracle, candidate = ALLOWED[name]
    rule = allowed(step, where, oracle, candidate)
    assert rule is not None
    assert rule.name == name
    if name != "quotas in a multi":  # one may also go beyond a quota that the other has made room in
        assert allowed(step, where, candidate, oracle) is None, "the other way round"
    assert allowed(step, where, oracle, NO_RULE if name != "session of a stranger" else ("silent",)) is None
    assert allowed(Drop(0), where, oracle, candidate) is None or name == "entries that auth repeats"


def test_a_seed_is_a_conversation() -> None:
    assert conversation(7, OPERATIONS) == conversation(7, OPERATIONS)
    assert conversation(7, OPERATIONS) != conversation(8, OPERATIONS)
    assert len(conversation(7, OPERATIONS)) >= OPERATIONS
    assert len(TEMPERS) == 8


def test_a_conversation_is_shrunk_to_the_steps_that_matter() -> None:
    played: list[Step] = [Request(0, 3, xid, b"") for xid in range(60)]

    def shows(steps: object) -> bool:
        assert isinstance(steps, list)
        xids = {step.xid for step in steps}
        return {3, 31, 32, 58} <= xids

    assert [step.xid for step in shrink(played, shows) if isinstance(step, Request)] == [3, 31, 32, 58]
