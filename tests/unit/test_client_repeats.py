"""Goal: what a lost connection left unanswered is asked again as it should be: a write once, whatever the server remembers; who
we are and what we watch before all else.
Method: no threads, no sockets: a script plays server, link and clock, and looks at every message and outcome.  A server that
remembers is a dict from xid to reply, which tells how often each write was done."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk import limits
from fastzk.client.call import Answer, Call, Fired, StateChange
from fastzk.client.session import NO_PASSWORD, Phase
from fastzk.client.watches import WatchKind
from fastzk.data import WatchedEvent
from fastzk.defs import EventType, KeeperState, OpCode, WatcherType, Xid
from fastzk.errors import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    ErrorCode,
    NoWatcherError,
    SessionExpiredError,
)
from fastzk.testing.client_script import DATA_REPLY, PASSWORD, SESSION_ID, STAT, Script, get, put
from fastzk.wire import records
from fastzk.wire.records import SetWatches, SetWatches2

STAT_REPLY = records.encode_reply(OpCode.SET_DATA, STAT)
MAX = limits.RESULTS_REMEMBERED_MAX


def sent(script: Script) -> list[tuple[int, Any]]:
    """xid and path, or the request itself where it has none, of what is in the next message."""
    return [(header.xid, getattr(request, "path", request)) for header, request in script.sent()]


def answers(script: Script) -> list[tuple[str | None, type[Exception] | None]]:
    """Path and error of each answer since the last time."""
    taken = [outcome for outcome in script.take() if isinstance(outcome, Answer)]
    return [(answer.call.path, type(answer.error) if answer.error else None) for answer in taken]


# ---- writes


def test_what_is_unanswered_is_sent_again_in_order_under_its_xid() -> None:
    script = Script(version=1).connect()
    for request in (put("/1"), get("/2"), put("/3"), get("/4")):
        script.submit(request)
    assert sent(script) == [(1, "/1"), (2, "/2"), (3, "/3"), (4, "/4")]
    script.receive(script.reply(1, STAT_REPLY))
    script.take()
    script.session.on_lost(script.now, "cut")
    script.submit(put("/5"))
    assert answers(script) == [], "nothing has failed"
    script.advance(limits.BACKOFF_MAX_S)
    assert script.greet().protocol_version == 1
    script.respond()
    assert sent(script) == [(2, "/2"), (3, "/3"), (4, "/4"), (5, "/5")]
    script.receive(*(script.reply(xid, STAT_REPLY if xid % 2 else DATA_REPLY) for xid in (2, 3, 4, 5)))
    assert answers(script) == [("/2", None), ("/3", None), ("/4", None), ("/5", None)]


def test_a_write_is_sent_again_as_often_as_it_takes() -> None:
    script = Script(version=1).connect()
    script.submit(put("/1"))
    for _ in range(3 * limits.READ_TRIES_MAX):
        assert sent(script) == [(1, "/1")]
        script.lose()
        script.connect()
    assert answers(script) == []


def test_no_more_writes_are_under_way_than_a_server_remembers() -> None:
    script = Script(version=1).connect()
    for number in range(MAX + 2):
        script.submit(put(f"/{number}"))
        script.submit(get(f"/{number}"))
    first = sent(script)
    assert len(first) == 2 * MAX
    assert sent(script) == [], "reads behind a write that waits are done after it"
    script.receive(script.reply(1, STAT_REPLY))
    assert sent(script) == [(2 * MAX + 1, f"/{MAX}"), (2 * MAX + 2, f"/{MAX}")]
    script.lose()
    script.connect()
    assert sent(script) == [*first[1:], (2 * MAX + 1, f"/{MAX}"), (2 * MAX + 2, f"/{MAX}")]
    script.receive(script.reply(2, DATA_REPLY), script.reply(3, STAT_REPLY))
    assert sent(script) == [(2 * MAX + 3, f"/{MAX + 1}"), (2 * MAX + 4, f"/{MAX + 1}")]


def test_a_server_that_remembers_nothing_gets_any_number_of_writes() -> None:
    script = Script(version=0).connect()
    for _ in range(MAX + 1):
        script.submit(put())
    assert len(sent(script)) == MAX + 1


def test_a_write_fails_when_the_next_server_does_not_remember() -> None:
    script = Script(version=1).connect()
    script.submit(put("/1"))
    script.submit(get("/2"))
    script.sent()
    script.submit(put("/3"))
    script.lose()
    assert answers(script) == []
    script.version = 0
    script.connect()
    assert answers(script) == [("/1", ConnectionLoss)]
    assert sent(script) == [(2, "/2"), (3, "/3")]
    script.lose()
    assert answers(script) == [("/3", ConnectionLoss)], "a server that does not remember: it fails at once"


def test_another_clients_session_is_not_remembered() -> None:
    """Its writes may be remembered under xids that this client is about to use; the next session is its own."""
    script = Script(version=0, client_id=(SESSION_ID, PASSWORD))
    script.tick()
    for number in range(2):
        assert script.greet().protocol_version == 0
        script.respond()
        script.submit(put(f"/{number}"))
        script.sent()
        script.lose()
        assert answers(script) == [(f"/{number}", ConnectionLoss)]
    script.greet()
    script.respond(timeout_ms=0, session_id=0)
    script.tick()
    assert script.greet().protocol_version == 1


def test_a_session_that_is_over_takes_its_writes_along() -> None:
    script = Script(version=1).connect()
    script.submit(put("/1"))
    script.sent()
    script.lose()
    script.greet()
    script.respond(timeout_ms=0, session_id=0)
    assert answers(script) == [("/1", SessionExpiredError)]
    script.tick()
    assert script.greet() == records.ConnectRequest(0, 9000, 0, NO_PASSWORD, False, 1)


def test_a_write_that_was_sent_is_not_said_to_be_undone() -> None:
    script = Script(version=1).connect()
    script.submit(put("/1"))
    script.sent()
    script.session.on_lost(script.now, "cut")
    script.submit(put("/2"))
    script.session.close(script.now)
    assert answers(script) == [("/1", ConnectionLoss), ("/2", ConnectionClosedError)]


class Memory:
    """What a server that remembers does: each xid once."""

    def __init__(self) -> None:
        self.results: dict[int, bytes] = {}
        self.done: list[str] = []

    def reply(self, script: Script, header: records.RequestHeader, request: Any) -> bytes:
        if header.op == OpCode.GET_DATA:
            return script.reply(header.xid, DATA_REPLY)
        if header.xid not in self.results:
            self.done.append(request.path)
            self.results[header.xid] = STAT_REPLY
            while len(self.results) > MAX:
                del self.results[next(iter(self.results))]
        return script.reply(header.xid, self.results[header.xid])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=40))
def test_every_write_is_done_once_and_in_order_however_much_is_lost(steps: list[tuple[int, int]]) -> None:
    script, memory = Script(version=1).connect(), Memory()
    wire: list[tuple[records.RequestHeader, Any]] = []
    replies: list[bytes] = []
    asked: list[str] = []
    for what, count in [*steps, (1, 9999), (2, 9999), (3, 9999)]:
        if what == 0:
            for number in range(len(asked), len(asked) + count):
                asked.append(f"/{number}")
                script.submit(put(asked[-1]))
                script.submit(get(asked[-1]))
        elif what == 1:
            wire += script.sent()
            replies += [memory.reply(script, *each) for each in wire[:count]]
            del wire[:count]
        elif what == 2:
            script.receive(*replies[:count])
            del replies[:count]
        else:
            wire.clear()
            replies.clear()
            script.lose()
            script.connect()
    while batch := script.sent():
        script.receive(*(memory.reply(script, *each) for each in batch))
    assert memory.done == asked
    errors = [error for path, error in answers(script) if error]
    assert set(errors) <= {ConnectionLoss}, "a read that was lost too often, and nothing else"
    assert len(script.session.flow.pending) == 0


# ---- who we are


def test_who_we_are_is_said_before_anything_else_on_each_connection() -> None:
    credentials: list[tuple[str, str | bytes]] = [("digest", "a:b")]
    script = Script(credentials=credentials)
    script.submit(get())
    script.connect()
    assert script.sent() == [
        ((Xid.AUTH, OpCode.AUTH), records.Auth(0, "digest", b"a:b")),
        ((1, OpCode.GET_DATA), get()),
    ]
    credentials.append(("other", b"\xff"))
    script.submit(records.Auth(0, "other", b"\xff"))
    assert sent(script)[0][0] == Xid.AUTH
    script.receive(script.reply(Xid.AUTH, zxid=0), script.reply(1, DATA_REPLY), script.reply(Xid.AUTH, zxid=0))
    assert answers(script) == [("/a", None), (None, None)], "nobody waits for the first"
    script.lose()
    script.connect()
    assert [request.credential for _, request in script.sent()] == [b"a:b", b"\xff"]


@pytest.mark.parametrize("is_own", [True, False])
def test_a_server_that_refuses_who_we_are_ends_the_client(is_own: bool) -> None:
    credentials: list[tuple[str, str | bytes]] = [("nonsense", "x")] if is_own else []
    script = Script(credentials=credentials).connect()
    if not is_own:
        script.submit(records.Auth(0, "nonsense", b"x"))
    script.submit(put())
    script.sent()
    script.submit(get("/later"))
    script.take()
    script.receive(script.reply(Xid.AUTH, err=ErrorCode.AUTH_FAILED, zxid=0))
    assert script.session.phase is Phase.OVER
    outcomes = script.take()
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Answer)]
    assert [type(error) for error in errors] == [AuthFailedError] * (2 if is_own else 3)
    assert isinstance(outcomes[-1], StateChange)
    assert outcomes[-1].state is KeeperState.AUTH_FAILED
    late = script.submit(get())
    (answer,) = script.take()
    assert answer.call is late
    assert isinstance(answer.error, AuthFailedError)


# ---- what we watch


def arm(script: Script, kind: WatchKind, path: str, function: Any = print) -> None:
    """A watch, armed by the call that arms it, answered at the script's next zxid."""
    request: Any
    value: bytes = b""
    err = 0
    if kind is WatchKind.DATA:
        request, value = get(path, watch=True), DATA_REPLY
    elif kind is WatchKind.EXIST:
        request, kind, err = records.Exists(path, True), WatchKind.DATA, ErrorCode.NO_NODE
    elif kind is WatchKind.CHILD:
        request, value = records.GetChildren(path, True), records.encode_reply(OpCode.GET_CHILDREN, ())
    else:
        request, value = records.AddWatch(path, int(kind is WatchKind.RECURSIVE)), records.encode_reply(OpCode.ADD_WATCH, 0)
    script.submit(request, watch=kind, function=function)
    ((header, _),) = script.sent()
    script.receive(script.reply(header.xid, value, err))
    script.take()


def test_watches_are_armed_again_before_anything_else() -> None:
    script = Script(chroot="/top", credentials=[("digest", "a:b")]).connect()
    script.receive(*(script.reply(header.xid, zxid=0) for header, _ in script.sent()))
    arm(script, WatchKind.DATA, "/")
    arm(script, WatchKind.EXIST, "/x")
    arm(script, WatchKind.CHILD, "/c")
    at = script.session.last_zxid
    script.submit(put("/sent"))
    script.sent()
    script.lose()
    script.submit(get("/waits"))
    script.connect()
    auth, watches, other = script.sent()
    assert auth[0].op == OpCode.AUTH
    assert watches == ((Xid.SET_WATCHES, OpCode.SET_WATCHES), SetWatches(at, ("/top",), ("/top/x",), ("/top/c",)))
    assert other[1].path == "/waits"
    script.take()
    script.receive(script.reply(Xid.AUTH, zxid=0), script.event(EventType.CREATED, "/top/x"), script.reply(Xid.SET_WATCHES))
    assert script.take() == [Fired([print], WatchedEvent(EventType.CREATED, KeeperState.CONNECTED, "/x"))]
    assert script.session.last_zxid == at, "a batch of watches says nothing of what later ones have missed"
    script.receive(script.reply(other[0].xid, DATA_REPLY))
    assert script.session.last_zxid > at
    script.lose()
    script.connect()
    _, watches = script.sent()
    assert watches[1] == SetWatches(script.session.last_zxid, ("/top",), (), ("/top/c",)), "the one that fired is no more"


def test_persistent_watches_are_armed_again_too() -> None:
    script = Script().connect()
    arm(script, WatchKind.PERSISTENT, "/p")
    arm(script, WatchKind.RECURSIVE, "/r")
    arm(script, WatchKind.DATA, "/d")
    at = script.session.last_zxid
    script.lose()
    script.connect()
    assert [request for _, request in script.sent()] == [SetWatches2(at, ("/d",), (), (), ("/p",), ("/r",))]


def test_very_many_watches_leave_in_batches_of_one_zxid() -> None:
    script = Script().connect()
    paths = [f"/{number:0200d}" for number in range(3 * limits.SET_WATCHES_BYTES_MAX // 200)]
    for path in paths:
        script.session.watches.add(WatchKind.DATA, path, print)
    arm(script, WatchKind.CHILD, "/c")
    at = script.session.last_zxid
    script.lose()
    script.connect()
    first, *rest = batches = [request for _, request in script.sent()]
    assert len(rest) == 3
    assert {batch.relative_zxid for batch in batches} == {at}
    assert [path for batch in batches for path in batch.data] == paths
    assert [path for batch in batches for path in batch.child] == ["/c"]
    assert all(len(records.encode_request(batch)) < limits.SET_WATCHES_BYTES_MAX + 300 for batch in batches)
    script.receive(script.reply(Xid.SET_WATCHES))
    script.lose()
    script.connect()
    assert script.sent()[0][1] == first, "what was armed at a server that is gone is armed anew"


def test_a_loss_before_all_batches_have_left_leaves_none_behind() -> None:
    script = Script(credentials=[("digest", "a:b")])
    for number in range(2 * limits.SEND_BYTES_MAX // 4000):
        script.session.watches.add(WatchKind.DATA, "/" + str(number) + "x" * 4000, print)
    script.submit(get("/waits"))
    script.connect()
    first = script.sent()
    assert first[-1][0].op == OpCode.SET_WATCHES, "more is to follow"
    script.lose()
    script.connect()
    again = script.sent()
    assert again == first
    while more := script.sent():
        again += more
    assert [header.op for header, _ in again].count(OpCode.AUTH) == 1
    assert again[-1][1] == get("/waits")
    paths = [path for _, request in again[1:-1] for path in request.data]
    assert len(paths) == len(set(paths)) == len(script.session.watches)


def test_a_server_that_does_not_arm_watches_is_left() -> None:
    script = Script().connect()
    arm(script, WatchKind.DATA, "/a")
    script.lose()
    script.connect()
    script.sent()
    script.receive(script.reply(Xid.SET_WATCHES, err=ErrorCode.MARSHALLING_ERROR))
    assert script.session.phase is Phase.IDLE
    assert len(script.session.watches) == 1


@pytest.mark.parametrize("how", ["expired", "closed"])
def test_watches_end_with_the_session(how: str) -> None:
    script = Script().connect()
    arm(script, WatchKind.DATA, "/a")
    arm(script, WatchKind.PERSISTENT, "/a", repr)
    if how == "expired":
        script.lose()
        script.greet()
        script.take()
        script.respond(timeout_ms=0, session_id=0)
        state = KeeperState.EXPIRED_SESSION
    else:
        script.session.on_lost(script.now, "cut")
        script.take()
        script.session.close(script.now)
        state = KeeperState.CLOSED
    change, fired = script.take()
    assert change.state is state
    assert fired == Fired([print, repr], WatchedEvent(EventType.NONE, state, "/a"))
    assert len(script.session.watches) == 0


# ---- watches that are taken off


def remove(script: Script, path: str, function: Any, watcher_type: WatcherType = WatcherType.ANY) -> Call:
    return script.submit(records.RemoveWatches(path, watcher_type), removes=watcher_type, function=function)


def test_the_server_is_told_when_the_last_function_goes() -> None:
    script = Script().connect()
    arm(script, WatchKind.PERSISTENT, "/a", print)
    arm(script, WatchKind.PERSISTENT, "/a", repr)
    for function, op in ((print, OpCode.CHECK_WATCHES), (repr, OpCode.REMOVE_WATCHES)):
        remove(script, "/a", function)
        ((header, request),) = script.sent()
        assert (header.op, request) == (op, (records.CheckWatches, records.RemoveWatches)[op == 18]("/a", 3))
        script.take()
        script.receive(script.reply(header.xid))
        fired, answer = script.take()
        assert fired == Fired([function], WatchedEvent(EventType.PERSISTENT_WATCH_REMOVED, KeeperState.CONNECTED, "/a"))
        assert answer.error is None
    remove(script, "/a", repr)
    ((header, _),) = script.sent()
    script.receive(script.reply(header.xid, err=ErrorCode.NO_WATCHER))
    assert answers(script) == [("/a", NoWatcherError)]


def test_a_function_that_is_just_being_armed_keeps_its_watch() -> None:
    script = Script().connect()
    arm(script, WatchKind.DATA, "/a", print)
    script.submit(get("/a", watch=True), watch=WatchKind.DATA, function=repr)
    remove(script, "/a", print)
    assert [header.op for header, _ in script.sent()] == [OpCode.GET_DATA, OpCode.CHECK_WATCHES]


def test_all_of_a_type_are_taken_off() -> None:
    script = Script().connect()
    arm(script, WatchKind.DATA, "/a", print)
    arm(script, WatchKind.EXIST, "/a", repr)
    arm(script, WatchKind.CHILD, "/a", len)
    remove(script, "/a", None, WatcherType.DATA)
    ((header, _),) = script.sent()
    script.receive(script.reply(header.xid))
    fired, _ = script.take()
    assert fired == Fired([print, repr], WatchedEvent(EventType.DATA_WATCH_REMOVED, KeeperState.CONNECTED, "/a"))
    script.receive(script.event(EventType.CHANGED, "/a"))
    assert script.take() == []
    remove(script, "/a", None)
    ((header, _),) = script.sent()
    script.receive(script.event(EventType.CHILD, "/b"), script.reply(header.xid, err=ErrorCode.NO_WATCHER))
    fired, answer = script.take()
    assert fired.functions == [len]
    assert answer.error is None, "the server had sent it just before"
    remove(script, "/a", None)
    ((header, _),) = script.sent()
    script.receive(script.reply(header.xid, err=ErrorCode.NO_WATCHER))
    assert answers(script) == [("/a", NoWatcherError)]
