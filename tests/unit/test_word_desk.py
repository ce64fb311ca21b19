"""Goal: a word that needs others waits for them, but not for ever, and its answer reaches who asked and nobody else.

Method: two desks over real sockets between two places of one process; a server of a few lines that notes what it is told; the
clock is the test's."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastzk.defs import WORDS
from fastzk.node.asks import Answer, Asks, Question
from fastzk.node.stats import ENGINE_NAMES, GATE_NAMES, OWN_NAMES
from fastzk.node.word_desk import WordDesk
from fastzk.node.words import NodeFacts
from fastzk.transport._loop import STAT_NAMES

FACTS = NodeFacts(
    is_serving=True,
    is_read_only=False,
    mode="standalone",
    zxid=1,
    digest=1,
    uptime_ms=1,
    now_ms=1,
    open_descriptors=1,
    descriptors_max=1,
    voter_count=1,
    arena={"znode_count": 4, "ephemeral_count": 0, "data_bytes": 0, "session_count": 0},
    total=dict.fromkeys((*STAT_NAMES, *OWN_NAMES), 0),
    engine=dict.fromkeys(ENGINE_NAMES, 0),
    gate=dict.fromkeys(GATE_NAMES, 0),
    environment={},
    conf=[],
    membership="",
    data_bytes=0,
    log_bytes=0,
)


class Twin:
    """The Server's side: words that came, answers that went, and which connection has each slot."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.told: dict[int, str] = {}
        self.lives: dict[int, int] = {}

    def ask(self, slot: int, word: bytes) -> None:
        self.lives[slot] = self.lives.get(slot, 0) + 1
        self.asked.append((slot, word))

    def words(self) -> list[tuple[int, bytes]]:
        asked, self.asked = self.asked, []
        return asked

    def life(self, slot: int) -> int:
        if slot not in self.lives:
            raise ValueError(f"slot {slot} is free")
        return self.lives[slot]

    def answer_word(self, slot: int, text: bytes) -> None:
        assert slot not in self.told, "answered twice"
        self.told[slot] = text.decode()


class Place:
    """One process's desk; `knows` is its part of whatever is asked."""

    def __init__(self, directory_fd: int, number: int, others: list[str], offered: frozenset[str] = WORDS) -> None:
        self.server = Twin()
        self.knows: list[dict[str, Any]] = [{"session_id": number, "paths": [f"/{number}"]}]
        self.done: list[str] = []
        self.asks = Asks(directory_fd, f"worker{number}")
        self.facts = FACTS
        self.desk = WordDesk(self.server, self.asks, others, offered, lambda word: self.facts, self.do)

    def do(self, what: str) -> Any:
        self.done.append(what)
        return self.knows


@pytest.fixture
def directory_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def places(directory_fd: int) -> Iterator[tuple[Place, Place]]:
    first, second = Place(directory_fd, 1, ["worker2"]), Place(directory_fd, 2, ["worker1"])
    yield first, second
    first.asks.close()
    second.asks.close()


def test_a_word_is_answered_when_all_have_said_their_part(places: tuple[Place, Place]) -> None:
    first, second = places
    first.server.ask(5, b"wchs")
    first.desk.take(1000)
    assert (first.desk.is_waiting, first.server.told) == (True, {})
    assert first.desk.wait_ms(1400, 5000) == 600
    second.desk.hear(1001)
    assert second.done == ["watches"]
    first.desk.hear(1002)
    assert first.server.told == {5: "2 connections watching 2 paths\nTotal watches:2\n"}
    assert not first.desk.is_waiting


def test_who_does_not_answer_is_not_waited_for_longer_than_a_second(places: tuple[Place, Place]) -> None:
    first, second = places
    first.server.ask(5, b"wchs")
    first.desk.take(1000)
    first.desk.expire(1999)
    assert first.server.told == {}
    first.desk.expire(2000)
    assert first.server.told[5].endswith("Total watches:1\n(worker2 did not answer: what they know is missing)\n")
    second.desk.hear(2001)
    first.desk.hear(2002)
    assert len(first.server.told) == 1, "an answer that comes too late is nobody's"


def test_who_is_not_there_is_not_waited_for_at_all(directory_fd: int) -> None:
    place = Place(directory_fd, 1, ["worker9"])
    place.server.ask(5, b"wchs")
    place.desk.take(1000)
    assert "(worker9 did not answer" in place.server.told[5]
    place.asks.close()


def test_a_slot_that_has_another_connection_meanwhile_is_not_told(places: tuple[Place, Place]) -> None:
    first, second = places
    first.server.ask(5, b"wchs")
    first.desk.take(1000)
    first.server.ask(5, b"ruok")  # it has hung up, and another one came
    first.desk.take(1001)
    assert first.server.told == {5: "imok"}
    second.desk.hear(1002)
    first.desk.hear(1003)
    assert first.server.told == {5: "imok"}
    first.server.ask(6, b"wchs")
    first.desk.take(1004)
    del first.server.lives[6]
    first.desk.expire(9999)
    assert 6 not in first.server.told


def test_what_needs_nobody_and_what_is_not_offered_is_answered_at_once(directory_fd: int) -> None:
    place = Place(directory_fd, 1, ["worker2"], frozenset({"ruok", "wchs"}))
    place.server.ask(1, b"ruok")
    place.server.ask(2, b"cons")
    place.desk.take(1000)
    assert place.server.told == {1: "imok", 2: "cons is not executed because it is not in the whitelist.\n"}
    place.facts = dataclasses.replace(FACTS, is_serving=False)
    place.server.ask(3, b"wchs")
    place.desk.take(1000)
    assert place.server.told[3] == "This ZooKeeper instance is not currently serving requests\n"
    assert place.done == []
    place.asks.close()


def test_an_answer_of_any_size_is_one_message(places: tuple[Place, Place]) -> None:
    first, second = (place.asks for place in places)
    number, asked = first.ask(["worker2", "nobody"], "connections")
    assert asked == ["worker2"]
    (question,) = second.take()
    assert question == Question(number, "worker1", "connections")
    payload = ["x" * 1000] * 20_000
    second.answer(question, payload)
    assert first.take() == [Answer(number, "worker2", payload)]
    assert first.take() == []


def test_bytes_that_make_no_sense_are_dropped(places: tuple[Place, Place], directory_fd: int) -> None:
    first, second = (place.asks for place in places)
    for data in (b"", b"{", b"[]", b'{"answer": 1, "from": "x"}', b'{"ask": "x", "from": 1, "what": 2}', b"\xff"):
        second._socket.sendto(data, f"/proc/self/fd/{directory_fd}/ask-worker1")
    assert first.take() == []
