"""Goal: the client's session keeps its promises whatever the server, the network and the clock do.
Method: no threads, no sockets: a script plays server, link and clock, and looks at every message and outcome."""

from typing import Any

import pytest

from fastzk import limits
from fastzk.client.call import Answer, Call, Fired, StateChange
from fastzk.client.hosts import Address
from fastzk.client.session import FAREWELL, NO_PASSWORD, Phase
from fastzk.client.watches import WatchKind, outside
from fastzk.data import OPEN_ACL_UNSAFE, WatchedEvent
from fastzk.defs import EventType, KeeperState, OpCode, Xid
from fastzk.errors import (
    ConnectionClosedError,
    ConnectionLoss,
    ErrorCode,
    MarshallingError,
    NoNodeError,
    SessionExpiredError,
)
from fastzk.testing.client_script import DATA_REPLY, PASSWORD, SESSION_ID, STAT, Script, get, put
from fastzk.wire import records
from fastzk.wire.jute import INT

# ---- the handshake


def test_a_new_session() -> None:
    script = Script()
    script.tick()
    assert script.session.address == Address("h0", 2281)
    assert script.greet() == records.ConnectRequest(0, 9000, 0, NO_PASSWORD, False, 1)
    script.respond(timeout_ms=6000)
    assert script.take() == [StateChange(KeeperState.CONNECTED, f"session {SESSION_ID:#x} at {script.session.address}")]
    assert (script.session.session_id, script.session.password) == (SESSION_ID, PASSWORD)
    assert script.session.timeout_s == 6.0


def test_a_given_session_is_gone_on_with() -> None:
    script = Script(client_id=(SESSION_ID, PASSWORD))
    script.tick()
    assert script.greet() == records.ConnectRequest(0, 9000, SESSION_ID, PASSWORD, False)


def test_after_a_loss_the_session_goes_on_at_the_next_host() -> None:
    script = Script(hosts=3).connect()
    script.submit(get())
    ((header, _),) = script.sent()
    script.receive(script.reply(header.xid, DATA_REPLY, zxid=0x500000007))
    script.advance(limits.BACKOFF_MAX_S)
    script.session.on_lost(script.now, "cut")
    assert script.session.attempt == 1
    script.tick()
    assert script.session.attempt == 2
    assert script.session.address == Address("h1", 2281)
    assert script.greet() == records.ConnectRequest(0x500000007, 9000, SESSION_ID, PASSWORD, False, 1)


def test_hosts_are_tried_without_pause_until_all_have_failed() -> None:
    script = Script(hosts=2)
    script.tick()
    script.session.on_lost(script.now, "refused")
    script.tick()
    assert script.session.attempt == 2
    script.session.on_lost(script.now, "refused")
    script.tick()
    assert script.session.phase is Phase.IDLE
    due = script.session.deadline()
    assert due is not None
    assert script.now < due <= script.now + limits.BACKOFF_FIRST_S
    script.advance(due - script.now)
    assert script.session.attempt == 3


def test_a_silent_host_is_left() -> None:
    script = Script(hosts=3)
    script.tick()
    assert script.session.deadline() == script.now + 3.0
    script.advance(3.0)
    script.tick()
    assert script.session.address == Address("h1", 2281)
    script.greet()
    script.advance(2.9)
    assert script.session.phase is Phase.GREETING
    script.advance(0.2)
    script.tick()
    assert script.session.address == Address("h2", 2281)


def test_a_server_that_drops_us_at_once_is_not_stormed() -> None:
    script = Script().connect()
    script.session.on_message(FAREWELL, script.now)
    script.tick()
    assert script.session.phase is Phase.IDLE
    due = script.session.deadline()
    assert due is not None
    assert due > script.now


@pytest.mark.parametrize(
    "response",
    [
        records.ConnectResponse(9000, SESSION_ID, b"short"),
        records.ConnectResponse(9000, SESSION_ID, None),
        records.ConnectResponse(0, 0, NO_PASSWORD),
    ],
)
def test_a_response_without_sense_ends_the_attempt(response: records.ConnectResponse) -> None:
    script = Script()
    script.tick()
    script.greet()
    script.receive(response.encode())
    assert script.session.phase is Phase.IDLE
    assert script.take() == []


def test_another_session_than_asked_for_is_refused() -> None:
    script = Script(client_id=(SESSION_ID, PASSWORD))
    script.tick()
    script.greet()
    script.respond(session_id=SESSION_ID + 1)
    assert script.session.phase is Phase.IDLE


# ---- calls


def test_all_calls_leave_in_one_message_and_are_answered_in_order() -> None:
    script = Script().connect()
    calls = [script.submit(request) for request in (get("/a"), put("/b"), records.Delete("/c", 3))]
    sent = script.sent()
    assert [(header.xid, request) for header, request in sent] == [
        (1, get("/a")),
        (2, put("/b")),
        (3, records.Delete("/c", 3)),
    ]
    assert script.sent() == []
    script.take()
    script.receive(
        script.reply(1, DATA_REPLY),
        script.reply(2, records.encode_reply(OpCode.SET_DATA, STAT)),
        script.reply(3, err=ErrorCode.NO_NODE),
    )
    first, second, third = script.take()
    assert first == Answer(calls[0], (b"v", STAT), None, 101)
    assert second == Answer(calls[1], STAT, None, 102)
    assert third.call is calls[2]
    assert isinstance(third.error, NoNodeError)
    assert str(third.error) == "/c"
    assert script.session.last_zxid == 103


def test_calls_wait_for_a_connection() -> None:
    script = Script()
    script.submit(get("/a"))
    assert script.session.take_message(script.now) is None
    script.connect()
    assert [request for _, request in script.sent()] == [get("/a")]


def test_messages_are_bounded() -> None:
    script = Script().connect()
    for _ in range(limits.SEND_REQUESTS_MAX + 1):
        script.submit(get())
    assert len(script.sent()) == limits.SEND_REQUESTS_MAX
    assert len(script.sent()) == 1
    for _ in range(3):
        script.submit(records.SetData("/a", bytes(limits.SEND_BYTES_MAX // 2 + 1), -1))
    assert [len(script.sent()) for _ in range(3)] == [2, 1, 0]


def test_xids_begin_again_at_one() -> None:
    script = Script().connect()
    script.session.flow.xid = 0x7FFFFFFE
    for _ in range(3):
        script.submit(get())
    assert [header.xid for header, _ in script.sent()] == [0x7FFFFFFF, 1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda script: script.reply(2, DATA_REPLY),
        lambda script: script.reply(1, DATA_REPLY) + b"x",
        lambda script: script.reply(1, b"\xff"),
        lambda script: script.reply(-7),
        lambda script: b"short",
        lambda script: script.reply(Xid.NOTIFICATION, INT.encode(99) * 2 + INT.encode(0)),
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(wrong: Any) -> None:
    script = Script().connect()
    script.submit(get())
    script.sent()
    script.take()
    script.receive(wrong(script))
    assert script.session.phase is Phase.IDLE
    assert any(isinstance(outcome, StateChange) for outcome in script.take())


def test_a_malformed_reply_fails_its_call_and_is_not_asked_for_again() -> None:
    script = Script().connect()
    call, other = script.submit(get("/a")), script.submit(get("/b"))
    script.sent()
    script.take()
    script.receive(script.reply(1, b"\xff\xff"))
    answer = script.take()[0]
    assert answer.call is call
    assert isinstance(answer.error, MarshallingError)
    script.advance(limits.BACKOFF_MAX_S)
    script.connect()
    assert [request.path for _, request in script.sent()] == [other.path]


def test_a_server_that_goes_back_in_time_is_left() -> None:
    script = Script().connect()
    script.submit(get())
    script.submit(get())
    script.sent()
    script.receive(script.reply(1, DATA_REPLY, zxid=50), script.reply(2, DATA_REPLY, zxid=49))
    assert script.session.phase is Phase.IDLE
    assert script.session.last_zxid == 50


# ---- losses


def test_on_loss_reads_are_repeated_and_writes_fail() -> None:
    script = Script().connect()
    script.submit(get("/1"))
    write = script.submit(put("/2"))
    script.submit(get("/3"))
    script.sent()
    unsent = script.submit(put("/4"))
    script.take()
    script.session.on_lost(script.now, "cut")
    failed, state = script.take()
    assert failed.call is write
    assert isinstance(failed.error, ConnectionLoss)
    assert state == StateChange(KeeperState.CONNECTING, "cut")
    script.advance(1)
    script.connect()
    assert [(header.xid, request.path) for header, request in script.sent()] == [(1, "/1"), (3, "/3"), (4, unsent.path)]


def test_a_read_that_is_lost_too_often_fails() -> None:
    script = Script().connect()
    call = script.submit(get())
    for _ in range(limits.READ_TRIES_MAX):
        assert len(script.sent()) == 1
        script.session.on_lost(script.now, "cut")
        script.advance(limits.BACKOFF_MAX_S)
        script.connect()
    assert script.sent() == []
    answers = [outcome for outcome in script.take() if isinstance(outcome, Answer)]
    assert [(answer.call, type(answer.error)) for answer in answers] == [(call, ConnectionLoss)]


def test_without_a_server_calls_fail_after_a_sessions_time() -> None:
    script = Script(timeout_s=9.0).connect()
    script.advance(2.5)
    script.session.on_lost(script.now, "cut")
    script.take()
    call = script.submit(put())
    ends = script.now + 9.0
    while script.now < ends:
        assert script.take() == []
        due = script.session.deadline()
        assert due is not None
        assert due <= ends
        script.advance(due - script.now)
        if script.session.phase is Phase.OPENING:
            script.session.on_lost(script.now, "refused")
    (answer,) = script.take()
    assert answer.call is call
    assert isinstance(answer.error, ConnectionLoss)
    late = script.submit(put())
    script.tick()
    assert [outcome.call for outcome in script.take()] == [late]


def test_expiry_ends_everything_and_a_new_session_follows() -> None:
    script = Script().connect()
    script.submit(get("/sent", watch=True), watch=WatchKind.DATA, function=print)
    script.sent()
    script.session.on_lost(script.now, "cut")
    script.submit(put("/queued"))
    script.advance(1)
    script.take()
    script.greet()
    script.respond(timeout_ms=0, session_id=0)
    state, *answers = script.take()
    assert state.state is KeeperState.EXPIRED_SESSION
    assert [(answer.call.path, type(answer.error)) for answer in answers] == [
        ("/sent", SessionExpiredError),
        ("/queued", SessionExpiredError),
    ]
    assert answers[0].error is not answers[1].error
    script.tick()
    assert script.greet() == records.ConnectRequest(0, 9000, 0, NO_PASSWORD, False, 1)


# ---- time


def test_a_ping_leaves_when_nothing_was_sent_for_a_third() -> None:
    script = Script().connect()
    assert script.session.deadline() == script.now + 3.0
    script.advance(2.9)
    assert script.sent() == []
    script.advance(0.1)
    (ping,) = script.sent()
    assert ping == ((Xid.PING, OpCode.PING), records.Ping())
    assert script.sent() == []
    script.receive(script.reply(Xid.PING))
    assert script.session.deadline() == script.now + 3.0


def test_a_ping_that_cannot_leave_does_not_keep_the_loop_busy() -> None:
    script = Script().connect()
    script.advance(3.0)
    assert script.session.deadline() == script.now + 3.0, "the silence that ends the connection is next"


def test_a_silent_server_is_left() -> None:
    script = Script(hosts=2).connect()
    script.advance(3.0)
    script.sent()
    script.advance(2.9)
    assert script.session.phase is Phase.OPEN
    script.take()
    script.advance(0.2)
    (state,) = script.take()
    assert state.state is KeeperState.CONNECTING
    assert "silent" in state.reason


# ---- watches


def watched(script: Script, request: Any, kind: WatchKind, function: Any, value: bytes = b"", err: int = 0) -> None:
    script.submit(request, watch=kind, function=function)
    ((header, _),) = script.sent()
    script.receive(script.reply(header.xid, value, err))
    script.take()


def test_a_watch_fires_once() -> None:
    script = Script().connect()
    watched(script, get(watch=True), WatchKind.DATA, print, DATA_REPLY)
    script.receive(script.event(EventType.CHANGED, "/a"))
    assert script.take() == [Fired([print], WatchedEvent(EventType.CHANGED, KeeperState.CONNECTED, "/a"))]
    script.receive(script.event(EventType.CHANGED, "/a"))
    assert script.take() == []


def test_an_event_in_the_same_message_as_the_reply_fires() -> None:
    script = Script().connect()
    script.submit(get(watch=True), watch=WatchKind.DATA, function=print)
    script.sent()
    script.take()
    script.receive(script.reply(1, DATA_REPLY), script.event(EventType.DELETED, "/a"))
    answer, fired = script.take()
    assert isinstance(answer, Answer)
    assert fired.functions == [print]


def test_exists_watches_what_is_not_there_and_the_others_do_not() -> None:
    script = Script().connect()
    no_node = ErrorCode.NO_NODE
    watched(script, records.Exists("/a", True), WatchKind.DATA, print, err=no_node)
    watched(script, get("/b", watch=True), WatchKind.DATA, print, err=no_node)
    watched(script, records.GetChildren("/c", True), WatchKind.CHILD, print, err=no_node)
    assert len(script.session.watches) == 1
    script.receive(script.event(EventType.CREATED, "/a"))
    assert [outcome.functions for outcome in script.take()] == [[print]]


def test_each_event_takes_out_its_kinds() -> None:
    def data(_: Any) -> None: ...
    def child(_: Any) -> None: ...
    def both(_: Any) -> None: ...

    children = records.encode_reply(OpCode.GET_CHILDREN, ())
    for event, functions in (
        (EventType.CHANGED, [data, both]),
        (EventType.CHILD, [child, both]),
        (EventType.DELETED, [data, both, child]),
    ):
        script = Script().connect()
        for function in (data, both):
            watched(script, get(watch=True), WatchKind.DATA, function, DATA_REPLY)
        for function in (child, both):
            watched(script, records.GetChildren("/a", True), WatchKind.CHILD, function, children)
        script.receive(script.event(event, "/a"))
        (fired,) = script.take()
        assert fired.functions == functions


def test_a_watch_outlives_its_connection() -> None:
    script = Script().connect()
    watched(script, get(watch=True), WatchKind.DATA, print, DATA_REPLY)
    script.session.on_lost(script.now, "cut")
    assert script.take() == [StateChange(KeeperState.CONNECTING, "cut")]
    assert len(script.session.watches) == 1


def test_events_lose_the_chroot() -> None:
    script = Script(chroot="/top").connect()
    watched(script, get("/", watch=True), WatchKind.DATA, print, DATA_REPLY)
    watched(script, get("/a", watch=True), WatchKind.DATA, print, DATA_REPLY)
    script.receive(script.event(EventType.CHANGED, "/top"), script.event(EventType.CHANGED, "/top/a"))
    assert [outcome.event.path for outcome in script.take()] == ["/", "/a"]


def test_the_ensembles_own_znode_is_outside_every_chroot() -> None:
    script = Script(chroot="/top").connect()
    watched(script, get("/zookeeper/config", watch=True), WatchKind.DATA, print, DATA_REPLY)
    call = Call(OpCode.GET_DATA, b"", outside("/zookeeper/config"), watch=WatchKind.DATA, function=max)
    script.session.watches.enter(call, None)
    (rearmed,) = script.session.watches.rearm(9, "/top")
    assert isinstance(rearmed, records.SetWatches)
    assert list(rearmed.data) == ["/top/zookeeper/config", "/zookeeper/config"]
    script.receive(script.event(EventType.CHANGED, "/zookeeper/config"))
    (fired,) = script.take()
    assert (fired.functions, fired.event.path) == ([max], "/zookeeper/config")
    assert len(script.session.watches) == 1, "the user's own of that name still waits"


# ---- closing


def test_close_waits_for_the_calls_before_it() -> None:
    script = Script().connect()
    call = script.submit(put())
    script.session.close(script.now)
    script.session.close(script.now)
    late = script.submit(get())
    sent = script.sent()
    assert [header.op for header, _ in sent] == [OpCode.SET_DATA, OpCode.CLOSE_SESSION]
    script.take()
    script.receive(script.reply(1, records.encode_reply(OpCode.SET_DATA, STAT)), script.reply(2))
    assert script.session.phase is Phase.OVER
    answer, state = script.take()
    assert answer.call is call
    assert state == StateChange(KeeperState.CLOSED, "stopped")
    assert late.xid == 0
    assert script.session.deadline() is None


def test_what_comes_after_close_fails() -> None:
    script = Script().connect()
    script.session.close(script.now)
    script.take()
    script.submit(get())
    (answer,) = script.take()
    assert isinstance(answer.error, ConnectionClosedError)


@pytest.mark.parametrize("how", ["silence", "loss"])
def test_close_ends_without_the_server_too(how: str) -> None:
    script = Script().connect()
    script.submit(put())
    script.session.close(script.now)
    script.sent()
    script.take()
    if how == "silence":
        script.advance(4.5)
    else:
        script.session.on_lost(script.now, "cut")
    answer, state = script.take()
    assert isinstance(answer.error, ConnectionLoss)
    assert state.state is KeeperState.CLOSED
    assert script.session.phase is Phase.OVER


def test_close_without_a_connection_is_at_once() -> None:
    script = Script()
    script.submit(records.Create("/a", b"", OPEN_ACL_UNSAFE, 0))
    script.tick()
    script.session.close(script.now)
    answer, state = script.take()
    assert isinstance(answer.error, ConnectionClosedError)
    assert state.state is KeeperState.CLOSED
