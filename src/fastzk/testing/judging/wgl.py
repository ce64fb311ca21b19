"""WGL: is there an order that explains every answer about a znode?  It trusts no zxid and no log, only times and answers.

After Wing and Gong, with Lowe's memory.  A history is linearizable if each of its objects is, so it is searched znode by znode:
a znode is a register with a version, which is made, removed, set and read.

Rule: reads of a session are ordered and may be old, so of the reads only those count that were sent right behind a sync of their
connection: such a read takes effect between the asking of the sync and its own answer.
Rule: an unknown write takes effect at any time from its asking on, or never.
Rule: a znode whose changes come from elsewhere too (multi, ephemerals, sequential names, containers, TTL, ACLs) is left out.
Rule: what the budget does not suffice for is listed as undecided: not passed, not violated.

How it works: a configuration is which operations were done, and the state then.  From each, any operation may be next that was
asked for before the first answer that is still to come.  No configuration is looked at twice.  Where every known operation before
a moment is answered before any behind it is asked for, the history is cut, which keeps what is noted of a configuration small."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastzk.defs import OpCode
from fastzk.testing.history import Connection, History, Request
from fastzk.testing.judging.sessions import STAT_SIZE
from fastzk.testing.judging.verdict import Verdict
from fastzk.testing.model import CREATES, Create, Reader, WriteError, iterate

OK, NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY = 0, -101, -103, -110, -111
CONNECTION_LOSS = -4
UNDERSTOOD = (OK, NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY)
VERSION_OFFSET = 32  # in a Stat
SUFFIX_DIGITS = 10
PIECE_MAX = 500  # operations between two cuts
STEPS_MAX = 1_000_000  # for one znode
STEPS_TOTAL_MAX = 5_000_000
SHOWN_MAX = 12

# The version and the data; None: there is no such znode.
State = tuple[int, bytes] | None


class Operation(NamedTuple):
    """One operation on one znode, and what came of it."""

    op: int
    asked_ns: int
    returned_ns: int | None
    err: int
    version: int  # demanded, or for a read: told
    data: bytes | None  # given, or for getData: told
    told_version: int  # by the Stat of a write's answer
    request: Request | None

    def takes(self, state: State) -> tuple[bool, State]:
        """Whether the answer may have come of this state, and the state then."""
        if self.returned_ns is None:
            after = self._after(state)
            return after != state, after
        if self.err == NO_NODE:
            return state is None, state
        if self.err == NODE_EXISTS:
            return state is not None, state
        if state is None:
            return self.op in CREATES and self.err == OK, self._after(state)
        if self.err == NOT_EMPTY:
            return True, state
        if self.err == BAD_VERSION:
            return self.version not in (-1, state[0]), state
        if self.op in (OpCode.GET_DATA, OpCode.EXISTS):
            return self.version == state[0] and self.data in (None, state[1]), state
        after = self._after(state)
        if self.op == OpCode.SET_DATA:
            return after is not state and after is not None and after[0] == self.told_version, after
        return self.op == OpCode.DELETE and after is None, after

    def _after(self, state: State) -> State:
        """The state when it is done, if it can be done."""
        if self.op in CREATES:
            return (0, self.data or b"") if state is None else state
        if state is None or self.version not in (-1, state[0]):
            return state
        return None if self.op == OpCode.DELETE else (state[0] + 1, self.data or b"")


def judge_znodes(history: History, verdict: Verdict) -> None:
    """Searches every znode that can be searched."""
    searched = steps = 0
    for path, operations in by_znode(history).items():
        if steps >= STEPS_TOTAL_MAX:
            verdict.undecided.append(f"WGL: {path!r}: the budget of all znodes is used up")
            continue
        search = Search(operations)
        found = search.run()
        steps += search.steps
        searched += 1
        if found is None:
            verdict.undecided.append(f"WGL: {path!r}: {len(operations)} operations, {search.steps} steps")
        elif not found:
            shown = [each.request for each in search.stuck][:SHOWN_MAX]
            verdict.flag("WGL", f"no order explains the answers about {path!r}; they fail at", *shown)
    verdict.counts["znodes searched"] = searched


class Search:
    """The search for an order of the operations of one znode."""

    def __init__(self, operations: Iterable[Operation], start: State = None) -> None:
        ordered = sorted(operations, key=lambda each: each.asked_ns)
        self._known = [each for each in ordered if each.returned_ns is not None]
        self._unknown = [each for each in ordered if each.returned_ns is None]
        self._start = start
        self.steps = 0
        # Where it came no further.
        self.stuck: Sequence[Operation] = ()

    def run(self) -> bool | None:
        """Whether there is an order; None: no verdict."""
        parts = pieces(self._known)
        if any(len(piece) > PIECE_MAX for piece in parts):
            return None
        furthest = (-1, -1)
        # Which piece; what is done of it, and of the unknown ones; the state.  What is likely to be right lies on top.
        stack: list[tuple[int, int, int, State]] = [(0, 0, 0, self._start)]
        seen = set(stack)
        while stack:
            number, done, used, state = stack.pop()
            if number < len(parts) and done == (1 << len(parts[number])) - 1:
                number, done = number + 1, 0
            if number == len(parts):
                return True
            if self.steps > STEPS_MAX:
                return None
            piece = parts[number]
            first = (~done & (done + 1)).bit_length() - 1
            limit_ns = first_answer(piece, done, first)
            if (number, first) > furthest:
                furthest = (number, first)
                self.stuck = [each for each in piece[first:] if each.asked_ns <= limit_ns]
            for more in self._following(piece, (done, used, state), first, limit_ns):
                configuration = (number, *more)
                if configuration not in seen:
                    seen.add(configuration)
                    stack.append(configuration)
        return False

    def _following(
        self, piece: list[Operation], configuration: tuple[int, int, State], first: int, limit_ns: int
    ) -> list[tuple[int, int, State]]:
        """What one more operation leads to.  One that changes nothing and can be next is next: nothing is lost by that."""
        done, used, state = configuration
        following: list[tuple[int, int, State]] = []
        for at in range(first, len(piece)):
            if piece[at].asked_ns > limit_ns:
                break
            if not done >> at & 1:
                self.steps += 1
                is_right, after = piece[at].takes(state)
                if is_right and after == state:
                    return [(done | 1 << at, used, state)]
                if is_right:
                    following.append((done | 1 << at, used, after))
        for at, operation in enumerate(self._unknown):
            if operation.asked_ns > limit_ns:
                break
            if not used >> at & 1:
                self.steps += 1
                is_right, after = operation.takes(state)
                if is_right:
                    following.append((done, used | 1 << at, after))
        return following[::-1]


def first_answer(piece: list[Operation], done: int, first: int) -> int:
    """When the first of the answers came that are not explained yet."""
    limit_ns = piece[first].returned_ns or 0
    for at in range(first + 1, len(piece)):
        if piece[at].asked_ns > limit_ns:
            break
        if not done >> at & 1:
            limit_ns = min(limit_ns, piece[at].returned_ns or 0)
    return limit_ns


def pieces(known: list[Operation]) -> list[list[Operation]]:
    """Cut wherever all before is answered before anything behind is asked for."""
    found: list[list[Operation]] = []
    last_ns = -1
    for operation in known:
        if not found or operation.asked_ns > last_ns:
            found.append([])
        found[-1].append(operation)
        last_ns = max(last_ns, operation.returned_ns or 0)
    return found


# ---- from requests to operations


def by_znode(history: History) -> dict[bytes, list[Operation]]:
    """The operations on each znode that can be judged alone."""
    found: dict[bytes, list[Operation]] = defaultdict(list)
    left_out: set[bytes] = {b"/"}
    prefixes: set[bytes] = set()
    syncs: dict[Connection, Request] = {}
    answers = {request.first: request for request in history.requests if request.returned_ns is not None}
    for request in history.requests:
        if request.op == OpCode.SYNC:
            syncs[request.connection] = request
            continue
        sync = syncs.pop(request.connection, None) if request.op != OpCode.PING else None
        try:
            if request.op in (OpCode.GET_DATA, OpCode.EXISTS):
                if sync is not None and sync.returned_ns is not None and sync.err == OK and request.returned_ns is not None:
                    path = Reader(request.body).string() or b""
                    found[path].append(read_of(request, sync))
            elif request is request.first:
                note_write(request, answers.get(request, request), found, left_out, prefixes)
        except (WriteError, struct.error):
            continue
    return {
        path: operations
        for path, operations in sorted(found.items())
        if path not in left_out and path[:-SUFFIX_DIGITS] not in prefixes and not path.startswith(b"/zookeeper")
        if all(each.returned_ns is None or each.err in UNDERSTOOD for each in operations)
    }


def read_of(request: Request, sync: Request) -> Operation:
    """A read that is as new as its sync."""
    version, data = 0, None
    if request.err == OK:
        (version,) = struct.unpack_from(">i", request.reply, len(request.reply) - STAT_SIZE + VERSION_OFFSET)
        data = (Reader(request.reply).string() or b"") if request.op == OpCode.GET_DATA else None
    return Operation(request.op, sync.first.asked_ns, request.returned_ns, request.err, version, data, 0, request)


def note_write(
    request: Request, answered: Request, found: dict[bytes, list[Operation]], left_out: set[bytes], prefixes: set[bytes]
) -> None:
    """A write, to the znode it is about; or what is left out because of it."""
    op, reader = request.op, Reader(request.body)
    if op == OpCode.MULTI:
        for asked in iterate(reader):
            left_out.add((asked.path if isinstance(asked, Create) else asked[1]) or b"")
            if isinstance(asked, Create):
                prefixes.add(asked.path or b"")
        return
    if op not in (*CREATES, OpCode.DELETE, OpCode.SET_DATA, OpCode.SET_ACL):
        return
    path = reader.string() or b""
    data: bytes | None = None
    version = -1
    if op in CREATES:
        data, _, flags = reader.string(), reader.acl(), reader.number()
        if flags != 0 or op == OpCode.CREATE_CONTAINER:
            left_out.add(path)
            if flags in (2, 3, 6):
                prefixes.add(path)
            return
    elif op == OpCode.SET_ACL:
        left_out.add(path)
        return
    else:
        data = reader.string() if op == OpCode.SET_DATA else None
        version = reader.number()
    told = 0
    if op == OpCode.SET_DATA and answered.returned_ns is not None and answered.err == OK:
        (told,) = struct.unpack_from(">i", answered.reply, VERSION_OFFSET)
    # Of a write that came again and whose answer was too long to keep only this is known, that it was done.
    returned_ns = None if answered.err == CONNECTION_LOSS else answered.returned_ns
    found[path].append(Operation(op, request.asked_ns, returned_ns, answered.err, version, data, told, answered))
