"""Goal: the judges of recorded runs pass what is right, and find every lie.

Method: right_histories.py makes histories from the model: many clients on both wires, servers that lag, cut connections, requests
that are done and never answered, expired sessions, watches.  Hypothesis draws seeds; each history must pass.  Then lies.py tells
one lie in each of a number of histories, and the check that is for it must find it in every one; those that are right in themselves
but prove nothing must be called invalid.  The search of wgl.py is compared with trying every order."""

import itertools
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lies import LIES, Lie, answered
from right_histories import World

from fastzk.defs import OpCode
from fastzk.testing.history import History, Recording, read_history
from fastzk.testing.judging import judge
from fastzk.testing.judging.__main__ import main
from fastzk.testing.judging.wgl import Operation, Search, State

HISTORIES = 10  # with each lie
SEEDS_MAX = 150
CHANCE = (OpCode.CREATE, OpCode.DELETE, OpCode.SET_DATA, OpCode.GET_DATA)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(50, 500), clients=st.integers(1, 7), servers=st.integers(1, 5))
def test_what_is_right_passes(seed: int, steps: int, clients: int, servers: int) -> None:
    verdict = judge(World(seed, steps, clients, servers).history)
    assert not verdict.found, str(verdict)
    assert not verdict.undecided, str(verdict)


@pytest.mark.parametrize(("lie", "checks"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_every_lie_is_found(lie: Lie, checks: set[str]) -> None:
    told = 0
    for seed in range(SEEDS_MAX):
        history = World(seed).history
        if lie(history, Random(seed)):
            told += 1
            verdict = judge(history, has_wgl=False)
            assert checks & verdict.found.keys(), f"seed {seed}: {lie.__doc__} {verdict}"
        if told == HISTORIES:
            return
    assert told >= 3, "hardly a history has a place for this lie"


def test_a_lie_that_no_zxid_tells_is_found_by_search() -> None:
    """A set is answered with a version that it cannot have made."""
    told = 0
    for seed in range(SEEDS_MAX):
        history = World(seed).history
        plain = [each for each in answered(history, OpCode.SET_DATA) if each.body[4:6] in (b"/p", b"/q")]
        if plain:
            told += 1
            request = Random(seed).choice(plain)
            version = int.from_bytes(request.reply[32:36], "big") + 100  # more than unknown writes could explain
            request.reply = request.reply[:32] + version.to_bytes(4, "big") + request.reply[36:]
            verdict = judge(history)
            assert "WGL" in verdict.found, f"seed {seed}: {verdict}"
    assert told >= HISTORIES


# ---- runs that prove nothing


@pytest.mark.parametrize(
    ("run", "word"),
    [
        ({"planned": ["kill"]}, "'kill' was planned"),
        ({"operations_min": 100_000}, "too few"),
        ({"unknown_share_max": 0.0}, "unknown"),
    ],
)
def test_a_run_that_proves_nothing_is_not_passed(run: dict[str, object], word: str) -> None:
    history = World(3).history
    history.run |= run
    verdict = judge(history)
    assert not verdict.found
    assert not verdict.is_passed
    assert word in str(verdict)


def test_an_empty_or_broken_off_recording_is_not_passed() -> None:
    history = World(3).history
    history.end_ns = None
    assert "does not come to an end" in str(judge(history))
    assert not judge(History()).is_passed
    history.nodes.clear()
    assert "no node's log" in str(judge(history))


def test_a_node_without_the_others_serves_what_the_log_does_not_know() -> None:
    """A connection to read only stands in no log; and what it hears the leader does not."""
    history = World(6).history
    like = next(each for each in history.connections if each.open_ns is not None and each.end_ns is not None)
    for _ in range(9):
        more = history.dial(like.client, like.server, like.wire, like.start_ns, like.session_id, 0)
        history.connected(more, like.session_id, like.timeout_ms, False, True, like.start_ns)
        history.ended(more, "cut", like.start_ns)
    assert judge(history).is_passed


def test_the_beginning_of_the_log_is_taken_from_whoever_has_it() -> None:
    history = World(4).history
    first, *others = history.nodes
    for node in others:
        node.blocks = node.blocks[5:]
    assert judge(history).is_passed
    first.blocks = first.blocks[5:]
    assert "no log has the entry 1" in str(judge(history))


def test_the_command_judges_what_was_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = Recording.create(tmp_path / "run", {"title": "made", "unknown_share_max": 1.0})
    World(5, history=recording)
    recording.close()
    assert main([str(tmp_path / "run")]) == 0
    assert "passed" in capsys.readouterr().out
    in_memory, read = World(5).history, read_history(tmp_path / "run")
    assert [repr(each) for each in read.requests] == [repr(each) for each in in_memory.requests]
    with (tmp_path / "run" / "node-1.blocks").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")
    assert main([str(tmp_path / "run"), "--no-wgl"]) == 1
    assert "C1: a block of node-1 is damaged" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2


# ---- the search


def explains(order: tuple[Operation, ...]) -> bool:
    """Whether the operations in this order explain all answers and agree with the times."""
    state: State = None
    for at, operation in enumerate(order):
        if any(later.returned_ns is not None and later.returned_ns < operation.asked_ns for later in order[at + 1 :]):
            return False
        is_right, after = operation.takes(state)
        if not is_right and operation.returned_ns is not None:
            return False
        state = after
    return True


def has_order(operations: list[Operation]) -> bool:
    """By trying all of them, with and without each of the unknown ones."""
    known = [each for each in operations if each.returned_ns is not None]
    unknown = [each for each in operations if each.returned_ns is None]
    chosen = itertools.chain.from_iterable(itertools.combinations(unknown, count) for count in range(len(unknown) + 1))
    return any(explains(order) for more in chosen for order in itertools.permutations([*known, *more]))


@st.composite
def operations(draw: st.DrawFn) -> list[Operation]:
    """A few operations, likely to make sense together."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        op = int(draw(st.sampled_from(CHANCE)))
        asked = draw(st.integers(0, 12))
        returned = draw(st.none() | st.integers(asked, 14)) if op != OpCode.GET_DATA else draw(st.integers(asked, 14))
        err = 0 if returned is None else draw(st.sampled_from((0, 0, 0, -110 if op == OpCode.CREATE else -101)))
        version, data = draw(st.integers(-1 if op != OpCode.GET_DATA else 0, 2)), draw(st.sampled_from((b"x", b"y")))
        found.append(Operation(op, asked, returned, err, version, data, draw(st.integers(0, 2)), None))
    return found


@settings(max_examples=1500, deadline=None)
@given(operations())
def test_the_search_finds_an_order_if_there_is_one(found: list[Operation]) -> None:
    assert Search(found).run() == has_order(found)


def test_a_search_without_end_is_no_verdict() -> None:
    """Sets whose order nothing tells, more than can be tried: neither passed nor violated."""
    asked = [Operation(OpCode.SET_DATA, at, 10_000, 0, -1, b"%d" % at, at % 7, None) for at in range(600)]
    assert Search(asked, (0, b"")).run() is None
