"""C10: sessions end when they should, once, and take their ephemerals with them.

E1  No answer, and no node, shows an ephemeral of a session at or above the zxid that ended it.
E2  No session expires while its server hears of it: there is a moment before the end was seen at which everything that was
    surely heard was older than the timeout.  What was sent and not yet answered may not have been heard.
E4  Nothing is answered without error to a session above the zxid that ended it.
E5  A session's id is given once; each connection that a session got stands in the log.
E6  Every node has the same ephemerals (with C14)."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter, defaultdict

from fastzk.defs import OpCode
from fastzk.testing.history import Connection, Event
from fastzk.testing.judging.case import Case
from fastzk.testing.judging.writes import Done

NS_PER_MS = 1_000_000
STAT_SIZE, OWNER_OFFSET = 68, 44
WITH_STAT = (OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN2, OpCode.GET_ACL)


def judge_sessions(case: Case, done: Done) -> None:
    """All of it."""
    judge_owners(case)
    judge_after_end(case)
    judge_ids(case)
    judge_expiries(case, done)


def owner_of(reply: bytes) -> int:
    """The ephemeral owner in the Stat at the end of a reply."""
    if len(reply) < STAT_SIZE:
        return 0
    (owner,) = struct.unpack_from(">Q", reply, len(reply) - STAT_SIZE + OWNER_OFFSET)
    return int(owner)


def judge_owners(case: Case) -> None:
    """E1."""
    ended = {session_id: life.closed_zxid for session_id, life in case.lives.items() if life.closed_zxid}
    for request in case.answered:
        if request.op in WITH_STAT and request.err == 0:
            owner = owner_of(request.reply)
            if owner in ended and request.zxid >= ended[owner]:
                case.flag("E1", f"an ephemeral outlives its session {owner:#x}", case.lives[owner].closed, request)
    for node in case.history.nodes:
        for path, answer in (node.znodes or {}).items():
            owner = owner_of(answer)
            if owner in ended and node.applied_zxid >= ended[owner]:
                case.flag("E1", f"{node.name} has {path!r}, an ephemeral of session {owner:#x}", case.lives[owner].closed)


def judge_after_end(case: Case) -> None:
    """E4."""
    for connection, received in case.received.items():
        life = case.lives.get(connection.session_id)
        if life is None or not life.closed_zxid:
            continue
        for came in received:
            is_good = isinstance(came, Event) or came.err == 0
            if is_good and came.zxid > life.closed_zxid:
                case.flag("E4", "a session that is over is served", life.closed, came)


def judge_ids(case: Case) -> None:
    """E5; ids that are given to two sessions in the log are found by the replay."""
    opened: Counter[int] = Counter()
    for connection in case.history.connections:
        if not speaks(connection) or connection.session_id not in case.lives:
            continue
        life = case.lives[connection.session_id]
        opened[connection.session_id] += 1
        if opened[connection.session_id] == life.attached + 1:
            case.flag("E5", f"more connections than the log has for session {connection.session_id:#x}", connection)
        seen = case.first_seen(life.closed_zxid) if life.closed_zxid else None
        if seen is not None and seen.returned_ns is not None and seen.returned_ns < connection.start_ns:
            case.flag("E4", "a session that is over is taken up again", life.closed, seen, connection)


def judge_expiries(case: Case, done: Done) -> None:
    """E2."""
    slack_ns = int(case.history.run.get("expiry_slack_ms", 0)) * NS_PER_MS
    heard: dict[int, list[tuple[int, int, object]]] = defaultdict(list)
    timeouts_ns: dict[int, int] = defaultdict(int)  # the longest that was agreed
    for connection in case.history.connections:
        if speaks(connection):
            timeouts_ns[connection.session_id] = max(timeouts_ns[connection.session_id], connection.timeout_ms * NS_PER_MS)
            # It stands in the log before the session's end, so it was heard, whenever it was answered.
            heard[connection.session_id].append((0, connection.start_ns, connection))
    for request in case.history.requests:
        life = case.lives.get(request.session_id)
        if request.returned_ns is not None and speaks(request.connection) and life is not None and life.is_expired:
            heard[request.session_id].append((request.returned_ns, request.asked_ns, request))
    zxids = sorted(done.by_zxid)
    asked = [done.by_zxid[zxid].asked_ns for zxid in zxids]
    latest = list(running_max(asked))
    for session_id, life in case.lives.items():
        seen = case.first_seen(life.closed_zxid)
        if life.is_expired and heard[session_id] and seen is not None and seen.returned_ns is not None:
            place = bisect_left(zxids, life.closed_zxid)
            begin_ns = latest[place - 1] if place else 0
            known = sorted(heard[session_id], key=lambda each: each[0])
            early = why_early(known, begin_ns, seen.returned_ns, slack_ns, timeouts_ns[session_id])
            if early is not None:
                case.flag("E2", f"session {session_id:#x} expires while it is heard of", early, life.closed, seen)


def speaks(connection: Connection) -> bool:
    """Whether the ensemble knows of it: a node that has lost the others serves reads without them."""
    return connection.open_ns is not None and not connection.is_read_only


def running_max(values: list[int]) -> list[int]:
    """For each place the largest value up to it."""
    found: list[int] = []
    for value in values:
        found.append(max(value, found[-1]) if found else value)
    return found


def why_early(heard: list[tuple[int, int, object]], begin_ns: int, end_ns: int, slack_ns: int, timeout_ns: int) -> object | None:
    """What was surely heard less than the timeout before any moment from begin to end; None: there is a moment for the expiry.

    heard: (answered, asked, what), by when it was answered: what was answered was heard after it was asked for."""
    last_asked, last_what, at = -timeout_ns, None, 0
    moments = sorted({begin_ns, end_ns, *(answered - 1 for answered, _, _ in heard if begin_ns < answered <= end_ns)})
    for moment in moments:
        while at < len(heard) and heard[at][0] <= moment:
            if heard[at][1] > last_asked:
                last_asked, last_what = heard[at][1], heard[at][2]
            at += 1
        if last_asked + timeout_ns <= moment + slack_ns:
            return None
    return last_what
