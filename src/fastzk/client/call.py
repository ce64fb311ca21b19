"""What goes into a Session and what comes out of it: calls, and outcomes.

Rule: a call keeps the xid of its first sending for as long as it is unanswered; a server that remembers results knows a
repeated write by it."""

from typing import Any, NamedTuple

from fastzk.client._call import Call as Call
from fastzk.client.watches import WatchFunction
from fastzk.data import WatchedEvent
from fastzk.defs import KeeperState
from fastzk.errors import FastzkError


class Answer(NamedTuple):
    """A call is done: its reply's value, or why there is none; zxid is the state it was answered at (0: by nobody)."""

    call: Call
    value: Any
    error: FastzkError | None
    zxid: int


class Fired(NamedTuple):
    """Functions to call with an event."""

    functions: list[WatchFunction]
    event: WatchedEvent


class StateChange(NamedTuple):
    """The connection or the session has changed, and why."""

    state: KeeperState
    reason: str


Outcome = Answer | Fired | StateChange
