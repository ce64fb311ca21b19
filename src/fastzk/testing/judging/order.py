"""C4, C6, C7, C8: writes in the order of real time, each session in its own order, sync, and how old reads are.

C4  No answer shows a zxid before the write of that zxid, or of a lower one, was asked for.  As each write takes effect at its
    zxid, this order is itself the proof of linearizability.
C6  The replies of a connection come in the order of the requests, none left out; zxids never fall on a connection, nor from one
    connection of a session to the next; the writes of a session are done in the order in which they were asked for.
C7  A sync is answered at a zxid that nothing has reached of what anybody was told before it was asked: a quorum was asked.
C8  A read is no older than a session's timeout: so long after anybody has seen the next zxid nobody is answered without it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from fastzk.defs import OpCode
from fastzk.testing.history import Connection, Event, Request
from fastzk.testing.judging.case import UNSEEN_XIDS, Case
from fastzk.testing.judging.writes import Done

NS_PER_MS = 1_000_000


def judge_order(case: Case, done: Done) -> None:
    """All of it."""
    judge_real_time(case, done)
    sessions: dict[int, list[Connection]] = defaultdict(list)
    for connection in case.history.connections:
        judge_connection(case, connection)
        if connection.open_ns is not None:
            sessions[connection.session_id].append(connection)
    for connections in sessions.values():
        judge_session(case, sorted(connections, key=lambda connection: connection.start_ns))
    judge_session_writes(case, done)
    judge_syncs(case)
    judge_age(case)
    for connection, xid, zxid in case.history.strays:
        case.flag("C6", f"a reply to xid {xid} at {zxid:#x}, which nobody waits for", connection)


def judge_real_time(case: Case, done: Done) -> None:
    """C4."""
    for zxid, request in done.by_zxid.items():
        seen = case.first_seen(zxid)
        if seen is not None and seen.returned_ns is not None and seen.returned_ns < request.asked_ns:
            case.flag("C4", f"{seen.zxid:#x} was seen before the write of {zxid:#x} was asked for", seen, request)


def judge_connection(case: Case, connection: Connection) -> None:
    """C6 on one connection."""
    zxid, request_number = 0, 0
    last: Request | Event | None = None
    for came in case.received.get(connection, ()):
        if came.zxid > 0:
            if came.zxid < zxid:
                case.flag("C6", f"the zxid falls from {zxid:#x} to {came.zxid:#x} on one connection", last, came)
            zxid, last = came.zxid, came
        if isinstance(came, Request) and came.op != OpCode.PING:
            if came.number < request_number:
                case.flag("C6", "replies are not in the order of the requests", last, came)
            request_number = came.number


def judge_session(case: Case, connections: list[Connection]) -> None:
    """C6 from one connection to the next."""
    floor, floor_of = 0, None
    for connection in connections:
        came = case.received.get(connection, [])
        first = next((each for each in came if each.zxid > 0), None)
        if connection.seen_zxid > floor:
            floor, floor_of = connection.seen_zxid, None
        if first is not None and first.zxid < floor:
            case.flag("C6", f"a session that has seen {floor:#x} is shown {first.zxid:#x}", floor_of, first)
        for each in came:
            if isinstance(each, Request) and each.xid not in UNSEEN_XIDS and each.zxid > floor:
                floor, floor_of = each.zxid, each


def judge_session_writes(case: Case, done: Done) -> None:
    """C6: done in the order asked for; and on each connection no reply is left out before another."""
    last: dict[int, tuple[int, Request]] = {}
    for zxid in sorted(done.by_zxid):
        request = done.by_zxid[zxid]
        before = last.get(request.session_id)
        if before is not None and before[1].asked_ns > request.asked_ns:
            case.flag("C6", "a session's writes are not done in the order asked for", before[1], request)
        last[request.session_id] = (zxid, request)
    unanswered: dict[Connection, Request] = {}
    for request in case.history.requests:
        if request.op == OpCode.PING:
            continue
        if request.returned_ns is None:
            unanswered.setdefault(request.connection, request)
        elif request.connection in unanswered:
            case.flag("C6", "a later request is answered, an earlier one is not", unanswered[request.connection], request)


def judge_syncs(case: Case) -> None:
    """C7."""
    by_time = sorted(case.answered, key=lambda request: request.returned_ns or 0)
    times: list[int] = []
    highest: list[Request] = []
    for request in by_time:
        assert request.returned_ns is not None, "only what was answered"
        times.append(request.returned_ns)
        highest.append(request if not highest or request.zxid > highest[-1].zxid else highest[-1])
    for sync in case.answered:
        if sync.op != OpCode.SYNC or sync.err != 0:
            continue
        place = bisect_left(times, sync.asked_ns)
        if place and highest[place - 1].zxid > sync.zxid:
            case.flag("C7", f"a sync is answered at {sync.zxid:#x} after somebody has seen more", highest[place - 1], sync)


def judge_age(case: Case) -> None:
    """C8, with the ages for people."""
    ages: list[int] = []
    for request in case.answered:
        connection = request.connection
        newer = case.first_seen(request.zxid + 1)
        if newer is None or connection.is_read_only or request.returned_ns is None or newer.returned_ns is None:
            continue
        age_ns = request.returned_ns - newer.returned_ns
        if age_ns <= 0:
            continue
        ages.append(age_ns)
        if age_ns > connection.timeout_ms * NS_PER_MS:
            case.flag("C8", f"an answer is {age_ns / NS_PER_MS:.0f} ms old", newer, request)
    ages.sort()
    case.verdict.counts["ms: the 99th percentile of how old answers were"] = ages[len(ages) * 99 // 100] // NS_PER_MS if ages else 0
    case.verdict.counts["ms: the oldest answer"] = ages[-1] // NS_PER_MS if ages else 0
