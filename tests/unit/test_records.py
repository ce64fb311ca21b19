"""Goal: the client's records are ZooKeeper's, byte for byte, and no bytes make the decoder fail in an unnamed way.
Method: kazoo's encoder and decoder as a foreign judge; round trips of generated records; cut and damaged records."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.protocol import serialization as kazoo_records
from kazoo.security import ACL as KazooACL  # noqa: N811
from kazoo.security import Id as KazooId

from fastzk.data import ACL, OPEN_ACL_UNSAFE, Id, ZnodeStat
from fastzk.defs import OpCode
from fastzk.wire import frames, jute, records
from fastzk.wire.jute import RecordError

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
paths = names.map(lambda name: "/" + name)
ints = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**63), 2**63 - 1)
data = st.binary(max_size=40)
acls = st.builds(ACL, st.integers(0, 31), st.builds(Id, names, names))
acl_lists = st.lists(acls, min_size=1, max_size=3).map(tuple)
stats = st.tuples(longs, longs, longs, longs, ints, ints, ints, longs, ints, ints, longs).map(ZnodeStat._make)

BY_KIND: dict[int, st.SearchStrategy[Any]] = {
    id(jute.INT): ints,
    id(jute.LONG): longs,
    id(jute.BOOL): st.booleans(),
    id(jute.BUFFER): st.none() | data,
    id(jute.STRING): paths,
    id(jute.STRING_OR_NULL): st.none() | paths,
    id(jute.STAT): stats,
    id(jute.ACLS): acl_lists,
    id(jute.STRINGS): st.lists(names, max_size=4).map(tuple),
    id(jute.IDS): st.lists(st.builds(Id, names, names), max_size=3).map(tuple),
}
MULTI_OPS = (records.Create, records.Create2, records.Delete, records.SetData, records.Check)
PLAIN = [cls for cls in records.REQUESTS.values() if cls not in (records.Multi, records.MultiRead)]


def requests_of(cls: Any) -> st.SearchStrategy[Any]:
    return st.tuples(*(BY_KIND[id(kind)] for kind in cls.kinds)).map(lambda fields: cls(*fields))


operations = st.one_of([requests_of(cls) for cls in MULTI_OPS])
requests = st.one_of(
    [requests_of(cls) for cls in PLAIN] + [st.lists(operations, max_size=4).map(lambda ops: records.Multi(tuple(ops)))]
)


def kazoo_acl(acl: tuple[ACL, ...]) -> list[KazooACL]:
    return [KazooACL(entry.perms, KazooId(*entry.id)) for entry in acl]


def as_kazoo(request: Any) -> Any:
    """The same request as kazoo's class, or None where kazoo has none."""
    match request:
        case records.Create() | records.Create2():
            cls = kazoo_records.Create if isinstance(request, records.Create) else kazoo_records.Create2
            return cls(request.path, request.data, kazoo_acl(request.acl), request.flags)
        case records.SetAcl():
            return kazoo_records.SetACL(request.path, kazoo_acl(request.acl), request.version)
        case records.Multi():
            return kazoo_records.Transaction([as_kazoo(operation) for operation in request.operations])
    twins: dict[Any, Any] = {
        records.Delete: kazoo_records.Delete,
        records.Reconfig: kazoo_records.Reconfig,
        records.Exists: kazoo_records.Exists,
        records.GetData: kazoo_records.GetData,
        records.SetData: kazoo_records.SetData,
        records.GetAcl: kazoo_records.GetACL,
        records.GetChildren: kazoo_records.GetChildren,
        records.GetChildren2: kazoo_records.GetChildren2,
        records.Sync: kazoo_records.Sync,
        records.Check: kazoo_records.CheckVersion,
    }
    twin = twins.get(type(request))
    return None if twin is None else twin(*request)


@given(requests)
def test_requests_are_kazoos(request: Any) -> None:
    twin = as_kazoo(request)
    if twin is not None:
        assert records.encode_request(request) == bytes(twin.serialize())
        assert request.op == twin.type


@given(requests)
def test_requests_come_back(request: Any) -> None:
    decoded = records.decode_request(request.op, records.encode_request(request))
    assert decoded == request
    assert type(decoded) is type(request)


@given(longs, ints, longs, st.binary(min_size=16, max_size=16), st.booleans())
def test_connect_request_is_kazoos(zxid: int, timeout_ms: int, session_id: int, password: bytes, flag: bool) -> None:
    ours = records.ConnectRequest(zxid, timeout_ms, session_id, password, flag)
    assert ours.encode() == bytes(kazoo_records.Connect(0, zxid, timeout_ms, session_id, password, flag).serialize())
    assert records.ConnectRequest.decode(ours.encode()) == ours
    assert len(ours.encode()) == 45


@given(ints, longs, st.binary(min_size=16, max_size=16), st.none() | st.booleans())
def test_connect_response_is_kazoos(timeout_ms: int, session_id: int, password: bytes, flag: bool | None) -> None:
    ours = records.ConnectResponse(timeout_ms, session_id, password, flag)
    theirs, _ = kazoo_records.Connect.deserialize(ours.encode(), 0)
    assert (theirs.time_out, theirs.session_id, theirs.passwd, theirs.read_only) == (
        timeout_ms, session_id, password, bool(flag),
    )  # fmt: skip
    assert records.ConnectResponse.decode(ours.encode()) == ours


@given(paths, stats, st.none() | data, st.lists(names, max_size=5).map(tuple), acl_lists)
def test_replies_are_kazoos(
    path: str, stat: ZnodeStat, value: bytes | None, children: tuple[str, ...], acl: tuple[ACL, ...]
) -> None:
    kazoo_stat = tuple(stat)
    cases: list[tuple[Any, OpCode, Any]] = [
        (kazoo_records.Create, OpCode.CREATE, path),
        (kazoo_records.Create2, OpCode.CREATE2, (path, stat)),
        (kazoo_records.GetData, OpCode.GET_DATA, (value, stat)),
        (kazoo_records.Reconfig, OpCode.RECONFIG, (value, stat)),
        (kazoo_records.SetData, OpCode.SET_DATA, stat),
        (kazoo_records.Sync, OpCode.SYNC, path),
        (kazoo_records.GetChildren, OpCode.GET_CHILDREN, children),
        (kazoo_records.GetChildren2, OpCode.GET_CHILDREN2, (children, stat)),
    ]
    for twin, op, reply in cases:
        encoded = records.encode_reply(op, reply)
        assert records.decode_reply(op, encoded) == reply
        judged = twin.deserialize(encoded, 0)
        if op is OpCode.GET_CHILDREN:
            judged = tuple(judged)
        elif op is OpCode.GET_CHILDREN2:
            judged = (tuple(judged[0]), judged[1])
        assert judged == reply
    entries, judged_stat = kazoo_records.GetACL.deserialize(records.encode_reply(OpCode.GET_ACL, (acl, stat)), 0)
    assert (tuple(map(tuple, entries)), tuple(judged_stat)) == (tuple(map(tuple, acl)), kazoo_stat)


@given(paths, stats)
def test_multi_results_are_kazoos(path: str, stat: ZnodeStat) -> None:
    results = (
        records.MultiResult(OpCode.CREATE, 0, path),
        records.MultiResult(OpCode.DELETE, 0, None),
        records.MultiResult(OpCode.SET_DATA, 0, stat),
        records.MultiResult(OpCode.CHECK, 0, None),
    )
    encoded = records.encode_reply(OpCode.MULTI, results)
    assert records.decode_reply(OpCode.MULTI, encoded) == results
    assert kazoo_records.Transaction.deserialize(encoded, 0) == [path, True, stat, True]
    failed = tuple(records.MultiResult(OpCode.ERROR, err, None) for err in (0, -110, -2))
    encoded = records.encode_reply(OpCode.MULTI, failed)
    assert records.decode_reply(OpCode.MULTI, encoded) == failed
    assert [error.code for error in kazoo_records.Transaction.deserialize(encoded, 0)] == [0, -110, -2]


def test_create2_in_a_multi_has_its_stat() -> None:
    stat = ZnodeStat(*range(11))
    results = (records.MultiResult(OpCode.CREATE2, 0, ("/a", stat)), records.MultiResult(OpCode.DELETE, 0, None))
    assert records.decode_reply(OpCode.MULTI, records.encode_reply(OpCode.MULTI, results)) == results


@given(requests, st.data())
def test_a_cut_request_is_refused(request: Any, draw: st.DataObject) -> None:
    encoded = records.encode_request(request)
    if not encoded:
        return
    cut = encoded[: draw.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(RecordError):
        records.decode_request(request.op, cut)
    with pytest.raises(RecordError):
        records.decode_request(request.op, encoded + b"x")


@given(st.sampled_from(sorted(records.REQUESTS)), st.binary(max_size=80))
def test_any_bytes_give_a_record_or_a_record_error(op: int, noise: bytes) -> None:
    for decode in (records.decode_request, records.decode_reply):
        try:
            decode(op, noise)
        except RecordError:
            pass
    for judged in (records.ConnectRequest, records.ConnectResponse, records.WatcherEvent):
        try:
            judged.decode(noise)
        except RecordError:
            pass


def test_a_count_beyond_the_bytes_costs_no_memory() -> None:
    with pytest.raises(RecordError, match="count 2147483647"):
        records.decode_reply(OpCode.GET_CHILDREN, jute.INT.encode(2**31 - 1))


def test_a_size_beyond_the_bytes_is_named() -> None:
    for size in (6, 2**31 - 1, -2):
        with pytest.raises(RecordError, match=f"size {size} at 0 of 9"):
            records.decode_reply(OpCode.SYNC, jute.INT.encode(size) + b"12345")


def test_why_an_operation_of_a_multi_failed_stands_behind_its_header() -> None:
    failed = (records.MultiResult(OpCode.ERROR, -110, None),)
    encoded = bytearray(records.encode_reply(OpCode.MULTI, failed))
    encoded[5:9] = jute.INT.encode(-1)
    assert records.decode_reply(OpCode.MULTI, bytes(encoded)) == failed


def test_null_is_not_empty() -> None:
    for value in (None, b""):
        request = records.Create("/a", value, OPEN_ACL_UNSAFE, 0)
        assert records.decode_request(OpCode.CREATE, records.encode_request(request)).data == value


def test_a_null_path_is_refused() -> None:
    with pytest.raises(RecordError, match="null string"):
        records.decode_request(OpCode.SYNC, b"\xff\xff\xff\xff")


def test_headers() -> None:
    assert records.decode_request_header(records.RequestHeader(7, 1).encode() + b"rest") == (7, 1)
    assert records.decode_reply_header(records.ReplyHeader(7, 2**40, -101).encode()) == (7, 2**40, -101)
    for decode in (records.decode_request_header, records.decode_reply_header):
        with pytest.raises(RecordError):
            decode(b"1234567")


@given(st.lists(st.binary(max_size=30), max_size=6), st.data())
def test_frames_however_they_are_cut(payloads: list[bytes], draw: st.DataObject) -> None:
    stream = b"".join(map(frames.frame, payloads))
    assert frames.split_message(stream, 30) == payloads
    splitter = frames.FrameSplitter(30)
    found = []
    while stream:
        size = draw.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == payloads


@pytest.mark.parametrize("size", [-1, 31, 2**31 - 1, -(2**31)])
def test_a_frame_beyond_the_limit_is_refused(size: int) -> None:
    with pytest.raises(RecordError, match="at most 30"):
        frames.split_message(jute.INT.encode(size), 30)
    with pytest.raises(RecordError, match="at most 30"):
        frames.FrameSplitter(30).feed(jute.INT.encode(size))


def test_a_message_of_part_of_a_frame_is_refused() -> None:
    for message in (frames.frame(b"abc")[:-1], frames.frame(b"abc") + b"\0"):
        with pytest.raises(RecordError):
            frames.split_message(message, 30)
