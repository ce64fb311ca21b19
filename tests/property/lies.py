"""Lies: each takes a history that is right and makes one thing in it wrong, as a server that loses or lies would.

A lie gives False when the history has no place for it.  The table at the end says which check must find each of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

from fastzk._core.blocks import Entry, check, entries, make_entry, seal
from fastzk.defs import OpCode
from fastzk.testing.history import Connection, Event, History, NodeEnd, Request
from fastzk.testing.model import CLOSE_SESSION, DELETED, packed
from fastzk.wire import records

STAT_SIZE, OWNER_OFFSET, VERSION_OFFSET = 68, 44, 32
SECOND = 1_000_000_000
WRITES = (OpCode.CREATE, OpCode.CREATE2, OpCode.DELETE, OpCode.SET_DATA, OpCode.MULTI, OpCode.SYNC)
NOTHING = Entry(20, b"\0\0\0\2/-", 0, 0, 0, 0, 0, 0, 0)  # changes nothing

Lie = Callable[[History, Random], bool]


# ---- finding places


def answered(history: History, *ops: int) -> list[Request]:
    """Requests of these operations that were answered without error."""
    return [each for each in history.requests if each.op in ops and each.returned_ns is not None and each.err == 0]


def told(history: History) -> list[Event]:
    """Events that were told when they happened."""
    return [event for event in history.events if event.zxid > 0]


def received(history: History, connection: Connection) -> list[Request | Event]:
    """What came in on a connection, in order."""
    came: list[Request | Event] = [each for each in history.requests if each.returned_ns is not None]
    return sorted((each for each in (*came, *history.events) if each.connection is connection), key=lambda each: each.rx)


def behind(history: History, event: Event) -> Request | None:
    """The first reply behind an event that could not come before it."""
    came = received(history, event.connection)
    return next((each for each in came if isinstance(each, Request) and each.rx > event.rx and each.zxid >= event.zxid), None)


def log_entries(history: History) -> Iterator[tuple[int, Entry]]:
    """Every entry with its zxid."""
    for block in history.nodes[0].blocks:
        yield from enumerate(entries(block), check(block).first_zxid)


def rewrite(node: NodeEnd, change: Callable[[int, Entry], Entry]) -> None:
    """Other entries in the places of a node's log; what else is known of the node then says nothing."""
    blocks: list[bytes] = []
    previous = 0
    for block in node.blocks:
        head = check(block)
        changed = [make_entry(*change(zxid, entry)) for zxid, entry in enumerate(entries(block), head.first_zxid)]
        blocks.append(seal(changed, len(changed), head.first_index, head.first_zxid, head.time_ms, previous))
        previous = check(blocks[-1]).checksum
    node.blocks, node.digest, node.znodes = blocks, "", None


def ended_sessions(history: History) -> dict[int, int]:
    """The sessions that are over, and since when."""
    return {entry.session_id: zxid for zxid, entry in log_entries(history) if entry.op == CLOSE_SESSION}


def flipped(data: bytes, at: int) -> bytes:
    """One bit is another."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# ---- lies about the log


def logs_differ(history: History, random: Random) -> bool:
    """One node has another entry at one place."""
    zxid = random.choice([zxid for zxid, entry in log_entries(history) if entry.body])
    rewrite(history.nodes[-1], lambda at, entry: entry._replace(body=flipped(entry.body, -1)) if at == zxid else entry)
    return True


def log_is_short(history: History, random: Random) -> bool:
    """A node does not have the end of what it had applied."""
    node = random.choice(history.nodes)
    node.blocks = node.blocks[:-1]
    return True


def log_is_damaged(history: History, random: Random) -> bool:
    """A bit of a node's log is another."""
    node = random.choice(history.nodes)
    at = random.randrange(len(node.blocks))
    node.blocks = [*node.blocks[:at], flipped(node.blocks[at], random.randrange(64, 200)), *node.blocks[at + 1 :]]
    return True


def write_is_lost(history: History, random: Random) -> bool:
    """An acknowledged write is in no log."""
    found = answered(history, *WRITES)
    if not found:
        return False
    zxid = random.choice(found).zxid
    for node in history.nodes:
        rewrite(node, lambda at, entry: NOTHING if at == zxid else entry)
    return True


def stranger_writes(history: History, random: Random) -> bool:
    """The log has a write that nobody asked for."""
    found = [each for each in answered(history, *WRITES) if each is each.first]
    if not found:
        return False
    gone = random.choice(found)
    history.requests = [each for each in history.requests if each.first is not gone]
    return True


def write_is_doubled(history: History, random: Random) -> bool:
    """A later write's place in the log holds an earlier one once more."""
    found = answered(history, OpCode.CREATE, OpCode.SET_DATA, OpCode.CREATE2)
    pairs = [
        (one, other) for one in found for other in found if one.connection is other.connection and one.zxid < other.zxid
        if one.connection.wire == "zookeeper"
    ]  # fmt: skip
    if not pairs:
        return False
    one, other = random.choice(pairs)
    again = next(entry for zxid, entry in log_entries(history) if zxid == one.zxid)
    for node in history.nodes:
        rewrite(node, lambda at, entry: again._replace(serial=entry.serial) if at == other.zxid else entry)
    history.requests.remove(other)
    return True


def refused_is_done(history: History, random: Random) -> bool:
    """A write was refused, and stands in the log."""
    found = [each for each in answered(history, *WRITES) if each is each.first]
    if not found:
        return False
    request = random.choice(found)
    request.err, request.reply = -119, b""
    request.zxid -= 1
    return True


# ---- lies in answers


def change_reply(history: History, random: Random, offset: int, *ops: int) -> bool:
    """A bit of the Stat at the end of an answer is another."""
    found = [each for each in answered(history, *ops) if len(each.reply) >= STAT_SIZE]
    if not found:
        return False
    request = random.choice(found)
    request.reply = flipped(request.reply, len(request.reply) - STAT_SIZE + offset)
    return True


def write_stat(history: History, random: Random) -> bool:
    """A write is answered with a Stat that is not the one it led to."""
    return change_reply(history, random, random.randrange(STAT_SIZE), OpCode.SET_DATA, OpCode.CREATE2)


def read_stat(history: History, random: Random) -> bool:
    """A read is answered with a Stat that never was."""
    return change_reply(history, random, random.randrange(STAT_SIZE), OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN2)


def multi_result(history: History, random: Random) -> bool:
    """One result of a multi is another."""
    found = answered(history, OpCode.MULTI)
    if not found:
        return False
    request = random.choice(found)
    request.reply = flipped(request.reply, random.randrange(len(request.reply) - 9))
    return True


def contents_swapped(history: History, random: Random) -> bool:
    """Two reads are answered with each other's answers."""
    found = [each for each in answered(history, OpCode.GET_DATA, OpCode.GET_CHILDREN) if each.reply]
    pairs = [(one, other) for one in found for other in found if one.op == other.op and one.reply != other.reply]
    if not pairs:
        return False
    one, other = random.choice(pairs)
    one.reply, other.reply = other.reply, one.reply
    return True


def stale_read(history: History, random: Random) -> bool:
    """A read shows a new zxid with an old answer."""
    found = answered(history, OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN2)
    pairs = [
        (old, new) for old in found for new in found
        if (old.op, old.body) == (new.op, new.body) and old.zxid < new.zxid and old.reply != new.reply
    ]  # fmt: skip
    if not pairs:
        return False
    old, new = random.choice(pairs)
    new.reply = old.reply
    return True


def read_of_the_future(history: History, random: Random) -> bool:
    """An answer shows a zxid that was never committed."""
    found = answered(history, OpCode.GET_DATA, OpCode.EXISTS)
    if not found:
        return False
    random.choice(found).zxid = history.nodes[0].applied_zxid + 1
    return True


def sequence_number(history: History, random: Random) -> bool:
    """A sequential name is given twice."""
    found = sorted(answered(history, OpCode.CREATE2), key=lambda each: each.zxid)
    pairs = [(one, other) for one in found for other in found if one.body[:9] == other.body[:9] and one.zxid < other.zxid]
    if not pairs:
        return False
    one, other = random.choice(pairs)
    parent = one.body[4:9].rpartition(b"/")[0]
    if any(event.type == DELETED and event.path.startswith(parent[:2]) for event in history.events):
        return False
    if any(each.op in (OpCode.DELETE, CLOSE_SESSION) and one.zxid < each.zxid < other.zxid for each in history.requests):
        return False
    size = 4 + len(records.decode_reply(OpCode.CREATE2, one.reply)[0])
    other.reply = one.reply[:size] + other.reply[-STAT_SIZE:]
    return True


# ---- lies about order and time


def replies_swapped(history: History, random: Random) -> bool:
    """Two replies of a connection come in the wrong order."""
    found = [each for each in history.requests if each.returned_ns is not None and each.xid > 0]
    pairs = [(one, other) for one in found for other in found if one.connection is other.connection and one.rx < other.rx]
    if not pairs:
        return False
    one, other = random.choice(pairs)
    one.rx, other.rx = other.rx, one.rx
    return True


def reply_left_out(history: History, random: Random) -> bool:
    """A request is never answered, a later one is."""
    found = [each for each in history.requests if each.returned_ns is not None and each.xid > 0]
    pairs = [(one, other) for one in found for other in found if one.connection is other.connection and one.rx < other.rx]
    if not pairs:
        return False
    random.choice(pairs)[0].returned_ns = None
    return True


def zxid_falls(history: History, random: Random) -> bool:
    """A session is shown an older state than it has seen."""
    places = []
    for connection in history.connections:
        came = received(history, connection)
        for before, each in pairwise(came):
            if isinstance(each, Request) and each.op == OpCode.PING and before.zxid > 1:
                places.append((before, each))
    if not places:
        return False
    before, ping = random.choice(places)
    ping.zxid = before.zxid - 1
    return True


def view_falls(history: History, random: Random) -> bool:
    """A client comes to a server that is behind what it has seen."""
    places = []
    for connection in history.connections:
        came = [each for each in received(history, connection) if each.zxid > 0]
        if connection.seen_zxid > 1 and came and isinstance(came[0], Request):
            places.append((connection, came[0]))
    if not places:
        return False
    connection, first = random.choice(places)
    first.zxid = connection.seen_zxid - 1
    return True


def against_real_time(history: History, random: Random) -> bool:
    """A write stands in the log before another that was answered before it was asked for."""
    found = [each for each in answered(history, *WRITES) if each is each.first]
    pairs = [(one, other) for one in found for other in found if one.zxid < other.zxid]
    if not pairs:
        return False
    one, other = random.choice(pairs)
    assert other.returned_ns is not None
    one.asked_ns = other.returned_ns + 1
    one.returned_ns = one.asked_ns + 1
    return True


def sync_is_old(history: History, random: Random) -> bool:
    """A sync is answered with less than somebody had seen before it was asked for."""
    syncs = [each for each in answered(history, OpCode.SYNC) if each is each.first]
    pairs = [(sync, each) for sync in syncs for each in history.requests if each.returned_ns is not None and each.zxid > sync.zxid]
    if not pairs:
        return False
    sync, other = random.choice(pairs)
    assert other.returned_ns is not None
    sync.asked_ns = other.returned_ns + 1
    return True


def answer_is_old(history: History, random: Random) -> bool:
    """A read is answered with what was true long ago."""
    found = answered(history, OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_ACL)
    found = [each for each in found if any(other.zxid > each.zxid for other in answered(history, *WRITES))]
    if not found:
        return False
    request = random.choice(found)
    assert request.returned_ns is not None
    request.returned_ns += 1000 * SECOND
    return True


# ---- lies about events


def insert(history: History, connection: Connection, rx: float, zxid: int, kind: int, path: bytes) -> None:
    """One more event."""
    history.events.append(Event(connection, rx, zxid, kind, path, 0))  # type: ignore[arg-type]


def event_doubled(history: History, random: Random) -> bool:
    """An event comes twice."""
    found = told(history)
    if not found:
        return False
    event = random.choice(found)
    insert(history, event.connection, event.rx + 0.5, event.zxid, event.type, event.path)
    return True


def event_late(history: History, random: Random) -> bool:
    """An event comes behind a reply that shows what it tells."""
    found = [event for event in told(history) if behind(history, event)]
    if not found:
        return False
    event = random.choice(found)
    shown = behind(history, event)
    assert shown is not None
    event.rx = shown.rx + 0.5  # type: ignore[assignment]
    return True


def event_missing(history: History, random: Random) -> bool:
    """An event never comes, though its connection goes on."""
    found = [event for event in told(history) if behind(history, event)]
    if not found:
        return False
    history.events.remove(random.choice(found))
    return True


def event_missing_at_the_end(history: History, random: Random) -> bool:
    """The last that a connection should have been told."""
    found = [
        event for event in told(history)
        if event.connection.end_ns is None and received(history, event.connection)[-1] is event
    ]  # fmt: skip
    if not found:
        # The ends of these histories are replies: take the replies behind an event away, with what asked for them.
        last = [event for event in told(history) if event.connection.end_ns is None]
        if not last:
            return False
        event = max(last, key=lambda each: each.rx)
        for request in history.requests:
            if request.connection is event.connection and request.returned_ns is not None and request.rx > event.rx:
                request.returned_ns = None
        found = [event]
    history.events.remove(random.choice(found))
    return True


def event_for_nothing(history: History, random: Random) -> bool:
    """An event of a change that never was."""
    connections = [connection for connection in history.connections if received(history, connection)]
    if not connections:
        return False
    connection = random.choice(connections)
    last = received(history, connection)[-1]
    insert(history, connection, last.rx + 0.5, max(last.zxid, 1), DELETED, b"/nobody")
    return True


def event_for_nobody(history: History, random: Random) -> bool:
    """An event that another connection has asked for."""
    found = [
        (event, each) for event in told(history) for each in history.requests
        if each.connection is not event.connection and each.returned_ns is not None and each.zxid >= event.zxid
    ]  # fmt: skip
    random.shuffle(found)
    for event, reply in found:
        came = received(history, reply.connection)
        there = {(each.zxid, each.type, each.path) for each in came if isinstance(each, Event)}
        if (event.zxid, event.type, event.path) not in there and event.type != DELETED:
            first = next(each for each in came if each.zxid >= event.zxid)
            insert(history, reply.connection, first.rx - 0.5, event.zxid, event.type, event.path)
            return True
    return False


def events_swapped(history: History, random: Random) -> bool:
    """Two events of a connection come in the wrong order."""
    found = told(history)
    pairs = [
        (one, other) for one in found for other in found
        if one.connection is other.connection and one.rx < other.rx and one.zxid < other.zxid
    ]  # fmt: skip
    if not pairs:
        return False
    one, other = random.choice(pairs)
    one.rx, other.rx = other.rx, one.rx
    return True


def missed_event_missing(history: History, random: Random) -> bool:
    """What happened without a connection is not told after the next setWatches."""
    found = [event for event in history.events if event.zxid == -1]
    found = [event for event in found if any(isinstance(each, Request) and each.xid == -8 and each.rx > event.rx
             for each in received(history, event.connection))]  # fmt: skip
    if not found:
        return False
    history.events.remove(random.choice(found))
    return True


# ---- lies about sessions


def early_expiry(history: History, random: Random) -> bool:
    """A session was to live for longer than it did."""
    gone = {entry.session_id for _, entry in log_entries(history) if entry.op == CLOSE_SESSION and entry.serial == 0}
    found = [each for each in history.connections if each.session_id in gone and each.open_ns is not None]
    if not found:
        return False
    random.choice(found).timeout_ms = 1_000_000
    return True


def ephemeral_outlives(history: History, random: Random) -> bool:
    """A read shows an ephemeral of a session that is over."""
    ended = ended_sessions(history)
    found = [
        (each, session)
        for each in answered(history, OpCode.GET_DATA, OpCode.EXISTS)
        for session in ended
        if each.zxid >= ended[session]
    ]
    if not found:
        return False
    request, session = random.choice(found)
    at = len(request.reply) - STAT_SIZE + OWNER_OFFSET
    request.reply = request.reply[:at] + struct.pack(">Q", session) + request.reply[at + 8 :]
    return True


def node_keeps_ephemeral(history: History, random: Random) -> bool:
    """A node has an ephemeral of a session that is over."""
    ended = ended_sessions(history)
    node = random.choice(history.nodes)
    if not ended or node.znodes is None:
        return False
    stat = struct.pack(">qqqqiiiQiiq", 1, 1, 1, 1, 0, 0, 0, random.choice(list(ended)), 0, 0, 1)
    node.znodes = {**node.znodes, b"/left": packed(b"") + stat}
    return True


def served_after_end(history: History, random: Random) -> bool:
    """A session that is over is answered as if nothing were."""
    ended = ended_sessions(history)
    found = [
        each for each in history.requests if each.returned_ns is not None and each.session_id in ended and each.op == OpCode.PING
    ]
    if not found:
        return False
    request = random.choice(found)
    request.zxid = ended[request.session_id] + 1
    return True


def taken_up_unseen(history: History, random: Random) -> bool:
    """A client gets a session that the log does not give it."""
    found = [each for each in history.connections if each.open_ns is not None]
    if not found:
        return False
    like = random.choice(found)
    for _ in range(len(history.connections)):
        more = history.dial(like.client, like.server, like.wire, like.start_ns, like.session_id, 0)
        history.connected(more, like.session_id, like.timeout_ms, False, False, like.open_ns or 0)
        history.ended(more, "cut", like.open_ns or 0)
    return True


# ---- lies about trees


def digest_differs(history: History, random: Random) -> bool:
    """One node's tree is another one."""
    node = random.choice(history.nodes)
    node.digest = f"{int(node.digest, 16) ^ 1 << random.randrange(128):032x}"
    return True


def digests_lie(history: History, random: Random) -> bool:
    """All nodes have the same tree, and it is not the one that the log makes."""
    for node in history.nodes:
        node.digest = "ab" * 16
    return random.random() >= 0


def znode_differs(history: History, random: Random) -> bool:
    """One node has something else in one znode."""
    node = random.choice(history.nodes)
    assert node.znodes is not None
    path = random.choice(sorted(node.znodes))
    node.znodes = {**node.znodes, path: flipped(node.znodes[path], random.randrange(1000))}
    return True


# Which check must find it; where there are several, each history needs one of them.
LIES: list[tuple[Lie, set[str]]] = [
    (logs_differ, {"C1"}),
    (log_is_short, {"C1"}),
    (log_is_damaged, {"C1"}),
    (write_is_lost, {"C2"}),
    (write_is_doubled, {"C2"}),
    (stranger_writes, {"C2"}),
    (refused_is_done, {"C2"}),
    (write_stat, {"C3"}),
    (multi_result, {"C3"}),
    (against_real_time, {"C4"}),
    (read_stat, {"C5"}),
    (contents_swapped, {"C5"}),
    (stale_read, {"C5"}),
    (read_of_the_future, {"C5"}),
    (replies_swapped, {"C6"}),
    (reply_left_out, {"C6"}),
    (zxid_falls, {"C6"}),
    (view_falls, {"C6"}),
    (sync_is_old, {"C7"}),
    (answer_is_old, {"C8"}),
    (event_doubled, {"W1", "W7"}),
    (event_late, {"W2", "W7"}),
    (event_missing, {"W2", "W7"}),
    (events_swapped, {"W3"}),
    (missed_event_missing, {"W4"}),
    (event_missing_at_the_end, {"W5"}),
    (event_for_nothing, {"W6"}),
    (event_for_nobody, {"W6"}),
    (ephemeral_outlives, {"E1"}),
    (node_keeps_ephemeral, {"E1"}),
    (early_expiry, {"E2"}),
    (served_after_end, {"E4"}),
    (taken_up_unseen, {"E5"}),
    (sequence_number, {"C12"}),
    (digest_differs, {"C14"}),
    (digests_lie, {"C14"}),
    (znode_differs, {"C14"}),
]
