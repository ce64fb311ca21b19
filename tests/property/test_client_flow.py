"""Goal: what the client's compiled code writes and reads is what the plain code writes and reads, and it takes nothing that it
should leave to the session.
Method: Hypothesis makes calls and replies.  Requests are compared with records.py's, values with decode_reply's, in both ways of
completing; then replies are damaged, byte by byte or by what they say, and none of the damaged ones may be taken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastzk import paths
from fastzk.client import _values, values
from fastzk.client._call import AsyncResult, Call
from fastzk.client._flow import Flow
from fastzk.client.watching import SessionWatches
from fastzk.data import ZnodeStat
from fastzk.defs import OpCode
from fastzk.errors import BadVersionError, FastzkError, InvalidPathError, NoNodeError
from fastzk.limits import REPLY_BYTES_MAX, RESULTS_REMEMBERED_MAX
from fastzk.wire import frames, records
from fastzk.wire.jute import RecordError

INTS = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.lists(TEXTS, max_size=5).map(tuple)
STATS = st.tuples(LONGS, LONGS, LONGS, LONGS, INTS, INTS, INTS, LONGS, INTS, INTS, LONGS).map(ZnodeStat._make)
DATA = st.none() | st.binary(max_size=50)
# An operation and the value of its reply; the last are decoded by the plain code.
REPLIES = st.one_of(
    st.tuples(st.just(OpCode.GET_DATA), st.tuples(DATA, STATS)),
    st.tuples(st.sampled_from([OpCode.EXISTS, OpCode.SET_DATA, OpCode.SET_ACL]), STATS),
    st.tuples(st.just(OpCode.DELETE), st.none()),
    st.tuples(st.sampled_from([OpCode.CREATE, OpCode.SYNC]), TEXTS),
    st.tuples(st.just(OpCode.CREATE2), st.tuples(TEXTS, STATS)),
    st.tuples(st.just(OpCode.GET_CHILDREN), NAMES),
    st.tuples(st.just(OpCode.GET_CHILDREN2), st.tuples(NAMES, STATS)),
    st.tuples(st.just(OpCode.GET_EPHEMERALS), NAMES),
    st.tuples(st.just(OpCode.GET_ALL_CHILDREN_NUMBER), INTS),
)


def here(function: Any, argument: Any) -> bool:
    function(argument)
    return True


def flow_with(*ops: int) -> Flow:
    """Calls of these operations, sent, whose tokens are results."""
    flow = Flow(SessionWatches(""))
    for op in ops:
        flow.queue.append(Call(op, b"", "/a", AsyncResult(here)))
    flow.take_calls(b"")
    return flow


def reply(xid: int, zxid: int, body: bytes, err: int = 0) -> bytes:
    return frames.frame(records.ReplyHeader(xid, zxid, err).encode() + body)


@given(st.lists(st.tuples(st.sampled_from([OpCode.GET_DATA, OpCode.SET_DATA, OpCode.SYNC]), st.binary(max_size=30))), st.booleans())
def test_calls_are_written_as_the_plain_code_writes_them(calls: list[tuple[int, bytes]], is_remembered: bool) -> None:
    flow = Flow(SessionWatches(""))
    flow.is_remembered = is_remembered
    flow.queue.extend(Call(op, body) for op, body in calls)
    expected = [frames.frame(records.RequestHeader(xid, op).encode() + body) for xid, (op, body) in enumerate(calls, 1)]
    assert flow.take_calls(b"ping") == b"ping" + b"".join(expected)
    assert [call.xid for call in flow.pending] == list(range(1, len(calls) + 1))
    assert flow.logged_count == sum(op != OpCode.GET_DATA for op, _ in calls)
    assert not flow.queue
    assert flow.take_calls(b"") is None


def test_writes_beyond_those_remembered_wait_and_what_is_behind_them() -> None:
    flow = Flow(SessionWatches(""))
    flow.is_remembered = True
    flow.queue.extend(Call(OpCode.SET_DATA, b"") for _ in range(RESULTS_REMEMBERED_MAX + 1))
    flow.queue.append(Call(OpCode.GET_DATA, b""))
    flow.take_calls(b"")
    assert (len(flow.pending), len(flow.queue)) == (RESULTS_REMEMBERED_MAX, 2)
    assert flow.take_calls(b"") is None
    assert flow.settle_replies(b"") == 0


@given(st.lists(REPLIES, min_size=1, max_size=8), st.integers(1, 2**40))
def test_values_are_those_that_the_plain_code_reads(replies: list[tuple[int, Any]], zxid: int) -> None:
    bodies = [records.encode_reply(op, value) for op, value in replies]
    message = b"".join(reply(xid, zxid + xid, body) for xid, body in enumerate(bodies, 1))
    expected = [records.decode_reply(op, body) for (op, _), body in zip(replies, bodies, strict=True)]

    flow, answers = flow_with(*[op for op, _ in replies]), list[Any]()
    assert flow.take_replies(b"12" + message, 2, answers) == 2 + len(message)
    assert [answer.value for answer in answers] == expected
    assert [type(answer.value) for answer in answers] == [type(value) for value in expected]

    flow = flow_with(*[op for op, _ in replies])
    results = [call.token for call in flow.pending]
    assert flow.settle_replies(message) == len(message)
    assert [result.get() for result in results] == expected
    assert [result.zxid for result in results] == [zxid + xid for xid in range(1, len(replies) + 1)]
    assert (flow.last_zxid, flow.logged_count, len(flow.pending)) == (zxid + len(replies), 0, 0)


@given(REPLIES, st.data())
def test_a_damaged_reply_is_left_or_is_what_the_plain_code_reads(asked: tuple[int, Any], data: st.DataObject) -> None:
    op, value = asked
    body = bytearray(records.encode_reply(op, value))
    if body and data.draw(st.booleans()):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    else:
        body = body[: data.draw(st.integers(0, len(body)))] + bytearray(data.draw(st.binary(max_size=3)))
    try:
        expected = records.decode_reply(op, bytes(body))
    except RecordError:
        expected = RecordError
    flow = flow_with(op)
    (call,) = flow.pending
    taken = flow.settle_replies(reply(1, 5, bytes(body)))
    assert bool(taken) == call.token.ready() == (expected is not RecordError)
    if taken:
        assert call.token.get() == expected
    else:
        assert (flow.last_zxid, list(flow.pending)) == (0, [call])


BODY = records.encode_reply(OpCode.DELETE, None)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (reply(2, 9, BODY), "it is not the next"),
        (reply(-1, 9, BODY), "an event"),
        (reply(-2, 9, BODY), "a ping"),
        (reply(1, 4, BODY), "its zxid falls"),
        (reply(1, 9, BODY)[:-1], "it is cut"),
        (reply(1, 9, BODY)[:3], "not even a size"),
        (frames.frame(b"short"), "no header"),
        (b"\xff\xff\xff\xff" + bytes(20), "a negative size"),
        ((REPLY_BYTES_MAX + 1).to_bytes(4, "big") + bytes(20), "a huge size"),
    ],
)
def test_what_is_not_usual_is_left_to_the_session(message: bytes, why: str) -> None:
    flow = flow_with(OpCode.DELETE, OpCode.DELETE)
    flow.last_zxid = 5
    assert flow.settle_replies(message) == 0, why
    good = reply(1, 5, BODY)
    assert flow.settle_replies(good + message.replace(b"\0\0\0\x02", b"\0\0\0\x07", 1)) == len(good), (
        "what stands before it is taken"
    )
    assert len(flow.pending) == 1


def test_calls_with_more_to_do_are_left_to_the_session() -> None:
    flow = Flow(SessionWatches(""))
    flow.queue.append(Call(OpCode.DELETE, b"", "/a", AsyncResult(here), function=print))
    flow.take_calls(b"")
    assert flow.settle_replies(reply(1, 1, BODY)) == 0
    assert Flow(SessionWatches("")).settle_replies(reply(1, 1, BODY)) == 0, "nothing was asked"


def test_an_error_is_the_results_and_a_fault_of_finish_leaves_all_as_it_was() -> None:
    def fail(value: Any, error: Any) -> Any:
        raise KeyboardInterrupt

    flow = Flow(SessionWatches(""))
    failing, interrupted = AsyncResult[Any](here), AsyncResult[Any](here, fail)
    flow.queue.extend(Call(OpCode.DELETE, b"", "/a", result) for result in (failing, interrupted))
    flow.take_calls(b"")
    with pytest.raises(KeyboardInterrupt):
        flow.settle_replies(reply(1, 1, b"", BadVersionError.code) + reply(2, 2, BODY))
    assert isinstance(failing.exception, BadVersionError)
    assert str(failing.exception) == "/a"
    assert (flow.last_zxid, [call.xid for call in flow.pending], interrupted.ready()) == (1, [2], False)


@given(st.one_of(TEXTS, st.text("/.a\x7f\x1fé", max_size=12)).map(lambda text: "/" + text))
def test_a_plain_path_is_valid_as_it_is(path: str) -> None:
    if _values.is_plain(path):
        assert paths.path_fault(path) is None
    try:
        expected: Any = paths.normalise(path)
    except InvalidPathError:
        expected = InvalidPathError
    try:
        assert values.checked_path(path) == expected
    except InvalidPathError:
        assert expected is InvalidPathError


def test_usual_paths_are_plain_and_others_looked_at_again() -> None:
    assert all(map(_values.is_plain, ["/a", "/a/b", "/a.b/c-0000000001"]))
    assert not any(map(_values.is_plain, ["", "/", "a", "/a/", "//a", "/a/.b", "/é", "/\x1f", "/\x7f", None, b"/a", 7]))
    assert not _values.is_plain("/" + "a" * (1 << 20))


@given(st.sampled_from(["", "/app", "/é/b"]), TEXTS.map(lambda text: "/" + text), st.booleans())
def test_a_body_of_path_and_flag_is_the_plain_one(chroot: str, path: str, flag: bool) -> None:
    full = chroot if chroot and path == "/" else chroot + path
    assert _values.path_flag(chroot, path, flag) == records.encode_request(records.GetData(full, flag))


@given(TEXTS, DATA, INTS)
def test_a_body_of_path_data_and_version_is_the_plain_one(path: str, data: bytes | None, version: int) -> None:
    assert _values.path_data_version(path, data, version) == records.encode_request(records.SetData(path, data, version))


def test_values_and_errors_of_usual_replies() -> None:
    stat = ZnodeStat(*range(11))
    assert values.data_and_stat((None, stat), None) == (b"", stat)
    assert values.data_and_stat((b"v", stat), None) == (b"v", stat)
    assert values.none_if_missing(stat, None) is stat
    assert values.none_if_missing(None, NoNodeError("/a")) is None
    for finish in (values.data_and_stat, values.none_if_missing, values.value_of):
        error = BadVersionError("/a")
        with pytest.raises(FastzkError) as raised:
            finish(None, error)
        assert raised.value is error
