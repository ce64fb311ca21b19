"""Goal: a history that was recorded line by line is the one that was kept in memory, however the recording ended.

Method: a client's wire is played to two taps, one that keeps and one that writes; what is read back is compared with what
was kept."""

from pathlib import Path

from fastzk.defs import EventType, KeeperState, OpCode
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.segments import End
from fastzk.testing.blocks import next_range
from fastzk.testing.history import FORMAT, History, Recording, Tap, describe, entries_of, read_history
from fastzk.testing.run_logs import archive_log, read_log
from fastzk.wire import records

SESSION_ID = 0xF100000000000001


def play(into: History) -> None:
    """A native client whose connection is cut; its write comes again; then an event, a reply to nothing, and the end."""
    tap = Tap(into, "c1")
    tap.dial("node-1", "native")
    tap.sent(records.ConnectRequest(0, 9000, 0, bytes(16), protocol_version=1).encode(), 10)
    tap.received(records.ConnectResponse(8000, SESSION_ID - (1 << 64), bytes(16), protocol_version=1).encode(), 11)
    write = records.RequestHeader(1, OpCode.SET_DATA).encode() + records.encode_request(records.SetData("/a", b"x", -1))
    tap.sent(write, 12)
    tap.lost("cut", 13)
    into.fault("kill", 13, target="node-1")
    tap.dial("node-2", "native")
    tap.sent(records.ConnectRequest(5, 9000, SESSION_ID - (1 << 64), bytes(16), protocol_version=1).encode(), 20)
    tap.received(records.ConnectResponse(8000, SESSION_ID - (1 << 64), bytes(16), protocol_version=1).encode(), 21)
    tap.sent(write, 22)
    tap.sent(records.RequestHeader(-2, OpCode.PING).encode(), 23)
    event = records.WatcherEvent(EventType.CHANGED, KeeperState.CONNECTED, "/\N{SNOWMAN}").encode()
    tap.received(records.ReplyHeader(-1, 7, 0).encode() + event, 24)
    tap.received(records.ReplyHeader(1, 8, -101).encode(), 25)
    tap.received(records.ReplyHeader(-2, 8, 0).encode(), 26)
    tap.received(records.ReplyHeader(99, 8, 0).encode(), 27)
    into.ends(30)
    end = End()
    into.node("node-1", 9, "ab" * 16, [bytes(next_range(end, b"body", 2).payload), bytes(next_range(end).payload)])


def told(history: History) -> list[object]:
    """All that can be compared."""
    fields = (
        "number",
        "client",
        "server",
        "wire",
        "start_ns",
        "session_id",
        "seen_zxid",
        "open_ns",
        "timeout_ms",
        "rx",
        "end",
        "end_ns",
    )
    found: list[object] = [history.run, history.nemesis, history.end_ns]
    found += [[getattr(connection, name) for name in fields] for connection in history.connections]
    found += [(describe(request), request.first.number, request.rx, request.body, request.reply) for request in history.requests]
    found += [(e.connection.number, e.rx, e.zxid, e.type, e.path, e.received_ns) for e in history.events]
    found += [(connection.number, xid, zxid) for connection, xid, zxid in history.strays]
    found += [(node.name, node.applied_zxid, node.digest, node.blocks) for node in history.nodes]
    return found


def test_lines_tell_what_memory_holds(tmp_path: Path) -> None:
    run = {"title": "a test", "planned": ["kill"]}
    kept = History(run)
    play(kept)
    written = Recording.create(tmp_path, run)
    play(written)
    written.close()
    assert told(read_history(tmp_path)) == told(kept)
    assert not written.requests, "a recording keeps nothing"
    lost, repeated, ping = kept.requests
    assert (lost.returned_ns, repeated.first, ping.rx) == (None, lost, 3)
    assert [at.index for block in kept.nodes[0].blocks for at in entries_of(block)] == [1, 2, 3]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    with (tmp_path / "history.jsonl").open("w") as file:
        file.write(f'{{"e":"run","format":{FORMAT},"title":"torn"}}\n{{"e":"end","t":5}}\n{{"e":"nemesis","t":')
    history = read_history(tmp_path)
    assert (history.run, history.end_ns, history.nemesis) == ({"title": "torn"}, 5, [])


def test_an_archive_keeps_what_snapshots_let_go_and_not_what_was_cut(tmp_path: Path) -> None:
    """Segments of one block each: the oldest goes because a snapshot covers it, the newest because it was never committed."""
    data, archive = tmp_path / "data", tmp_path / "archive"
    (data / "log").mkdir(parents=True)
    log = SegmentLog.open(RealDisk(), str(data / "log"))
    writer = LogWriter(log, segment_bytes_max=1)
    end, blocks = End(), []
    for number in range(4):
        blocks.append(next_range(end, b"%d" % number))
        writer.append([blocks[-1]])
    writer.close()
    archive_log(data, archive)
    segments = sorted((data / "log").iterdir())
    assert len(segments) == 4
    segments[0].unlink()
    segments[3].unlink()
    assert read_log(data) == [bytes(each.payload) for each in blocks[1:3]]
    assert read_log(data, archive) == [bytes(each.payload) for each in blocks[:3]]
    (archive / segments[0].name).unlink()
    assert read_log(data, archive) == [bytes(each.payload) for each in blocks[1:3]]
