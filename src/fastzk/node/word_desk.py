"""Where a worker answers four-letter words: at once where it can, else after it has asked the node's other processes.

    word -> offered? -> needs nothing of others: answered now
                     -> asks (asks.py) -> all have answered, or WORD_WAIT_MS_MAX is over: answered with what there is

It answers the questions of other workers, too.  Rules: a word waits for a bounded time; an answer that lacks what somebody knows
says so.  A slot whose connection has gone may have another one meanwhile: what it did not ask is not told to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastzk import limits
from fastzk.node import words
from fastzk.node.asks import Answer, Asks, Question
from fastzk.node.words import Gathered, NodeFacts

ENGINE = "engine"

logger = logging.getLogger("fastzk.worker")


class Server(Protocol):
    """What the desk needs of the compiled Server."""

    def words(self) -> list[tuple[int, bytes]]: ...
    def answer_word(self, slot: int, text: bytes) -> None: ...
    def life(self, slot: int) -> int: ...


@dataclass(slots=True)
class _Pending:
    """A word that waits for answers."""

    slot: int
    life: int  # of the connection: another one may have its slot by now
    word: bytes
    ends_ms: int
    waits_for: dict[str, None] = field(default_factory=dict)  # processes that were asked and have not answered
    unreached: list[str] = field(default_factory=list)  # those that could not be asked
    numbers: tuple[int, ...] = ()  # of the questions
    parts: list[Any] = field(default_factory=list)
    sessions: Any = None


class WordDesk:
    """The words of one worker.  `do` tells what this worker knows, or does what is asked, by the names of words.py."""

    def __init__(
        self,
        server: Server,
        asks: Asks | None,
        others: Sequence[str],
        offered: Collection[str],
        facts: Callable[[bytes], NodeFacts],
        do: Callable[[str], Any],
    ) -> None:
        self._server = server
        self._asks = asks
        self._others = list(others)
        self._offered = {word.encode() for word in offered}
        self._facts = facts
        self._do = do
        self._pending: list[_Pending] = []

    def take(self, now_ms: int) -> None:
        """Answers the words that have come, or begins to gather for them."""
        for slot, word in self._server.words():
            if word not in self._offered:
                self._tell(slot, words.refusal(word))
                continue
            facts = self._facts(word)
            of_workers, of_engine = words.needs(word)
            if not facts.is_serving or of_workers is None:
                self._tell(slot, words.answer(word, facts))
                continue
            self._gather(slot, word, of_workers, of_engine, now_ms)

    def hear(self, now_ms: int) -> None:
        """Takes what other processes ask and answer."""
        if self._asks is None:
            return
        for message in self._asks.take():
            match message:
                case Question():
                    self._asks.answer(message, self._do(message.what))
                case Answer():
                    self._take_answer(message)
        self.expire(now_ms)

    def expire(self, now_ms: int) -> None:
        """Answers the words that have all they need, and those that have waited for too long."""
        ready = [each for each in self._pending if not each.waits_for or now_ms >= each.ends_ms]
        self._pending = [each for each in self._pending if each not in ready]
        for each in ready:
            sessions = each.sessions or {"sessions": [], "expiring": None}
            gathered = Gathered(each.parts, sessions, [*each.unreached, *each.waits_for])
            self._tell(each.slot, words.answer(each.word, self._facts(each.word), gathered), each.life)

    @property
    def is_waiting(self) -> bool:
        """True while a word waits for answers."""
        return bool(self._pending)

    def wait_ms(self, now_ms: int, longest_ms: int) -> int:
        """How long the worker may sleep, at most `longest_ms`."""
        return max(0, min([longest_ms, *(each.ends_ms - now_ms for each in self._pending)]))

    def _gather(self, slot: int, word: bytes, of_workers: str, of_engine: str | None, now_ms: int) -> None:
        pending = _Pending(slot, self._server.life(slot), word, now_ms + limits.WORD_WAIT_MS_MAX)
        self._add_part(pending, self._do(of_workers))
        if self._asks is not None:
            for names, what in ((self._others, of_workers), ([ENGINE], of_engine)):
                if what is not None:
                    number, asked = self._asks.ask(names, what)
                    pending.numbers += (number,)
                    pending.waits_for |= dict.fromkeys(asked)
                    pending.unreached += [name for name in names if name not in asked]
        self._pending.append(pending)
        self.expire(now_ms)

    def _take_answer(self, answer: Answer) -> None:
        for each in self._pending:
            if answer.number in each.numbers and answer.sender in each.waits_for:
                del each.waits_for[answer.sender]
                if answer.sender == ENGINE:
                    each.sessions = answer.payload
                else:
                    self._add_part(each, answer.payload)

    def _add_part(self, pending: _Pending, part: Any) -> None:
        if isinstance(part, list):
            pending.parts += part

    def _tell(self, slot: int, text: bytes, life: int = 0) -> None:
        """Answers; with `life`, only if it is still that connection."""
        try:
            if life in (0, self._server.life(slot)):
                self._server.answer_word(slot, text)
        except ValueError:  # who asked has hung up
            logger.debug("slot %d no longer waits for the answer to its word", slot)
