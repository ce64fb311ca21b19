"""What all judges look at: the history, the committed log, and what the model made of it.

A Case is filled once, by replay.py, and only read afterwards."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

from fastzk.defs import READ_OPS, OpCode, Xid
from fastzk.testing.history import Connection, Event, History, LogEntry, Request
from fastzk.testing.judging.verdict import Verdict
from fastzk.testing.model import SESSION_EXPIRED, SESSION_MOVED, Outcome
from fastzk.testing.model_rules import Id

WRITES = frozenset(
    (
        OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.DELETE, OpCode.SET_DATA, OpCode.SET_ACL,
        OpCode.SYNC, OpCode.MULTI, OpCode.RECONFIG, OpCode.CLOSE_SESSION,
    )
)  # fmt: skip
READS = READ_OPS - {OpCode.WHO_AM_I}
REWATCHES = frozenset((OpCode.SET_WATCHES, OpCode.SET_WATCHES2))
# Ignored; the session is over; it speaks through another connection.
NO_EFFECT = (None, SESSION_EXPIRED, SESSION_MOVED)
UNSEEN_XIDS = frozenset((int(Xid.PING), int(Xid.AUTH), int(Xid.SET_WATCHES)))


class Change:
    """A change of the tree that watches may wait for."""

    __slots__ = ("event", "guard", "path", "zxid")

    def __init__(self, zxid: int, event: int, path: bytes, guard: bytes) -> None:
        self.zxid = zxid
        self.event = event
        self.path = path
        # The ACL vector that a watcher needs READ in; empty: anyone may know.
        self.guard = guard

    @property
    def key(self) -> tuple[int, int, bytes]:
        """What its event says."""
        return self.zxid, self.event, self.path

    def __repr__(self) -> str:
        return f"change {self.event} of {self.path!r} at {self.zxid:#x}"


class Life:
    """A session as the log has it."""

    __slots__ = ("attached", "closed", "closed_zxid", "created_zxid", "identities", "identity_zxids", "is_expired")

    def __init__(self, created_zxid: int) -> None:
        self.created_zxid = created_zxid
        self.attached = 1
        # 0: it was alive when the log ended.
        self.closed_zxid = 0
        self.closed: LogEntry | None = None
        self.is_expired = False
        # Who it was from each of these zxids on.
        self.identity_zxids: list[int] = []
        self.identities: list[tuple[Id, ...]] = []

    def identities_at(self, zxid: int) -> tuple[Id, ...]:
        """Who it was."""
        place = bisect_right(self.identity_zxids, zxid)
        return self.identities[place - 1] if place else ()


def has_effect(outcome: Outcome) -> bool:
    """Whether an entry did what was asked, or found that it cannot be done: not a repeat, nor one whose session is elsewhere."""
    return outcome.err not in NO_EFFECT and not outcome.is_repeat


class Rewatched(NamedTuple):
    """What a setWatches must lead to."""

    missed: list[tuple[int, bytes]]  # events and paths, in order
    armed: list[tuple[bytes, str]]  # paths and kinds


class Case:
    """A run, laid out."""

    def __init__(self, history: History, verdict: Verdict) -> None:
        self.history = history
        self.verdict = verdict
        self.flag = verdict.flag
        # The committed log: entry and what it must have led to, by zxid, in order.
        self.log: dict[int, tuple[LogEntry, Outcome]] = {}
        self.last_zxid = 0
        # For a write that was answered as a repeat: the zxid at which it was done.
        self.done_zxid: dict[int, int] = {}
        self.changes: list[Change] = []
        self.lives: dict[int, Life] = {}
        # What setWatches must be told before its answer, and what it arms.
        self.rewatched: dict[Request, Rewatched] = {}
        # What came in on each connection, in order.
        self.received: dict[Connection, list[Request | Event]] = defaultdict(list)
        self._lay_out()
        # Answers that show a zxid, by that.
        answered = [request for request in history.requests if request.returned_ns is not None and request.zxid > 0]
        self.answered = sorted(answered, key=lambda request: request.zxid)
        self._answered_zxids = [request.zxid for request in self.answered]
        self._first_seen = first_returns(self.answered)

    def first_seen(self, zxid: int) -> Request | None:
        """The answer that was the first to show this zxid or a higher one."""
        place = bisect_right(self._answered_zxids, zxid - 1)
        return self._first_seen[place] if place < len(self._first_seen) else None

    def _lay_out(self) -> None:
        for request in self.history.requests:
            if request.returned_ns is not None:
                self.received[request.connection].append(request)
        for event in self.history.events:
            self.received[event.connection].append(event)
        for came in self.received.values():
            came.sort(key=lambda each: each.rx)


def first_returns(answered: list[Request]) -> list[Request]:
    """For each place the earliest answer from there on."""
    found: list[Request] = []
    for request in reversed(answered):
        assert request.returned_ns is not None, "only what was answered"
        is_first = not found or request.returned_ns < (found[-1].returned_ns or 0)
        found.append(request if is_first else found[-1])
    return found[::-1]
