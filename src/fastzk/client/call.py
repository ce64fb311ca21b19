"""What goes into a Session and what comes out of it: calls, and outcomes.

Rule: a call keeps the xid of its first sending for as long as it is unanswered; a server that remembers results knows a
repeated write by it."""

from typing import Any, NamedTuple

from fastzk.client.watches import WatchFunction, WatchKind
from fastzk.data import WatchedEvent
from fastzk.defs import READ_OPS, KeeperState, OpCode, WatcherType, Xid
from fastzk.errors import FastzkError

# What a client may ask twice without harm, whether or not the first time was done.
_REPEATABLE_OPS = READ_OPS | {
    OpCode.SYNC,
    OpCode.AUTH,
    OpCode.SET_WATCHES,
    OpCode.SET_WATCHES2,
    OpCode.ADD_WATCH,
    OpCode.CHECK_WATCHES,
    OpCode.REMOVE_WATCHES,
}
# What is entered into the log, so that its result is among those that a server remembers.
_LOGGED_OPS = frozenset(
    {
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.CREATE_CONTAINER,
        OpCode.CREATE_TTL,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.SET_ACL,
        OpCode.MULTI,
        OpCode.SYNC,
        OpCode.RECONFIG,
        OpCode.CLOSE_SESSION,
    }
)
# Numbers that are not counted up.
_FIXED_XIDS: dict[int, int] = {
    OpCode.AUTH: Xid.AUTH,
    OpCode.SET_WATCHES: Xid.SET_WATCHES,
    OpCode.SET_WATCHES2: Xid.SET_WATCHES,
}


class Call:
    """One request on its way, encoded, and who waits for its answer."""

    __slots__ = (
        "body", "function", "is_logged", "is_own", "is_plain", "op", "path", "removes", "token", "tries", "watch", "xid",
    )  # fmt: skip

    def __init__(
        self,
        op: int,
        body: bytes,
        path: str | None = None,
        token: Any = None,
        watch: WatchKind | None = None,
        function: WatchFunction | None = None,
        removes: WatcherType | None = None,
        is_own: bool = False,
    ) -> None:
        """path: as the caller named it, for errors and events.  token: the driver's, handed back with the answer.
        watch: what function waits for.  removes: the watches that are taken off, all or those of function.
        is_own: the session's, nobody waits for it."""
        self.op = op
        self.body = body
        self.path = path
        self.token = token
        self.watch = watch
        self.function = function
        self.removes = removes
        self.is_own = is_own
        self.is_logged = op in _LOGGED_OPS
        # False: the session has more to do with it than to send it and to hand over its answer.
        self.is_plain = function is None and removes is None and not is_own and op != OpCode.AUTH
        # Number under which it is sent, 0 before the first time; and how often it was.
        self.xid = 0 if self.is_plain else _FIXED_XIDS.get(op, 0)
        self.tries = 0

    @property
    def is_repeatable(self) -> bool:
        """It may be done twice without harm."""
        return self.op in _REPEATABLE_OPS


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
