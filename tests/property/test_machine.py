"""Goal: the compiled state machine does, entry by entry, what the plain model does, whatever arrives.

Method: hypothesis draws commands of several sessions (writes right and wrong, repeats, holes, stale attachments,
closes, expiries, damaged bodies), which become entries and blocks of random cuts.  One Machine with two workers is
compared with the model after every block: items byte by byte, every read of every path, sessions and counts.  A second
Machine gets the same entries cut otherwise, and must have the same digest."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import Entry, entries, make_entry, seal
from fastzk._core.reads import answer
from fastzk._core.tree import digest, format_tree
from fastzk.testing import items
from fastzk.testing.items import Item, parse_items
from fastzk.testing.model import Model, Outcome, packed

NODE_ID, OTHER_NODE_ID = 1, 2
WORKERS = (1, 2)
EPOCH = 3
TIME_MS = 1_700_000_000_000
SESSION_IDS = (0x0100000000000001, 0x0100000000000002, 0x02FFFFFFFFFFFFFF)
CREATE, DELETE, SET_DATA, SYNC, CREATE2, MULTI = 1, 2, 5, 9, 15, 14
CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION = -10, -11, -12
EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2 = 3, 4, 8, 12

PATHS = (
    b"/a", b"/a/b", b"/a/b/c", b"/e", b"/e/f", b"/s-", b"/a/s-", "/é".encode(), b"/a/", b"/",
    b"", b"a", b"//", b"/a//b", b"/a/.", b"/a/..", b"/..a", b"/a\x00", b"/\x01", b"/\xff", "/\ue000".encode(),
    "/\U0001f600".encode(), b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config", b"/zookeeper/config/x",
    b"/zookeeper/quota/x", b"/" + b"x" * 4095, b"/" + b"x" * 4096, b"/" + b"x" * 4084, b"/" + b"x" * 4085, None,
)  # fmt: skip
LIKELY_PATHS = PATHS[:6]


def acl(*ids: tuple[int, bytes | None, bytes | None]) -> bytes:
    return struct.pack(">i", len(ids)) + b"".join(struct.pack(">i", p) + packed(s) + packed(i) for p, s, i in ids)


OPEN = acl((31, b"world", b"anyone"))
ACLS = (
    OPEN,
    acl((1, b"world", b"anyone")),
    acl((14, b"world", b"anyone")),
    acl((0, b"world", b"anyone"), (31, b"digest", b"user:hash")),
    acl((31, b"world", b"anyone"), (31, b"world", b"anyone"), (1, b"ip", b"10.0.0.0/8")),
    acl((31, b"world", b"everyone")),
    acl((31, b"auth", b"")),
    acl((31, b"digest", b"user")),
    acl((31, b"world", b"anyone"), (31, b"ip", b"10.0.0.0/33")),
    acl((31, None, b"anyone")),
    acl((31, b"world", None)),
    struct.pack(">i", 0),
    struct.pack(">i", -1),
    struct.pack(">i", -7),
)


class Command(NamedTuple):
    """What a session is about to do; what depends on the state is resolved when it is its turn."""

    session: int
    op: int
    path: bytes | None
    data: bytes | None
    acl: bytes
    flags: int
    version_skew: int | None  # None: any version
    serial_skew: int
    is_stale: bool
    is_damaged: int | None  # bytes left of the body
    garbage: bytes
    origin: tuple[int, int]  # node, worker


def mostly(usual: object, *rare: object) -> st.SearchStrategy[object]:
    return st.sampled_from([usual] * (20 * len(rare)) + list(rare))


COMMANDS = st.lists(
    st.builds(
        Command,
        session=mostly(0, 1, 1, 1, 2),
        op=st.sampled_from([CREATE] * 8 + [CREATE2] * 8 + [DELETE] * 8 + [SET_DATA] * 6 + [SYNC, MULTI, 77]
                           + [CREATE_SESSION, ATTACH_SESSION, CLOSE_SESSION]),
        path=st.one_of(*[st.sampled_from(LIKELY_PATHS)] * 9, st.sampled_from(PATHS)),
        data=st.one_of(st.none(), st.binary(max_size=20)),
        acl=mostly(OPEN, *ACLS),
        flags=st.sampled_from([0] * 40 + [1] * 20 + [2, 3] * 10 + [4, 5, 6, 7, -1]),
        version_skew=st.sampled_from([None, None, 0, 0, 1]),
        serial_skew=mostly(0, -1, 1),
        is_stale=mostly(False, True),
        is_damaged=mostly(None, 0, 3, 7, 11),
        garbage=mostly(b"", b"\x00", b"garbage"),
        origin=st.sampled_from([(NODE_ID, 1), (NODE_ID, 2), (NODE_ID, 3), (OTHER_NODE_ID, 1)]),
    ),
    min_size=20,
    max_size=60,
)  # fmt: skip
# Two sessions are there from the start; the third must be made, and all may end.
BEGINNING = [
    None,
    *(Command(session, CREATE_SESSION, None, None, b"", 0, None, 0, False, None, b"", (NODE_ID, 1)) for session in range(2)),
]


def body_of(command: Command, model: Model) -> bytes:
    if command.op in (CREATE_SESSION, ATTACH_SESSION):
        wrong = command.is_damaged is not None
        return struct.pack(">i", 4000 + command.session) + (b"w" if wrong else b"p") * 16
    if command.op == CLOSE_SESSION:
        return b""
    version = -1
    if command.version_skew is not None:
        znode = model.znodes.get(command.path or b"")
        version = (znode.version if znode else 0) + command.version_skew
    body = packed(command.path)
    if command.op in (CREATE, CREATE2):
        body += packed(command.data) + command.acl + struct.pack(">i", command.flags)
    elif command.op == SET_DATA:
        body += packed(command.data) + struct.pack(">i", version)
    elif command.op == DELETE:
        body += struct.pack(">i", version)
    return body[: command.is_damaged] + (command.garbage if command.is_damaged is None else b"")


def entry_of(command: Command, model: Model, nonce: int) -> bytes:
    session = model.sessions.get(SESSION_IDS[command.session])
    attach_zxid = session.attach_zxid if session else 1
    serial = session.last_serial + 1 + command.serial_skew if session else 1
    if command.op in (CREATE_SESSION, ATTACH_SESSION):
        attach_zxid, serial = 0, nonce
        if command.serial_skew and session:
            serial = session.nonce
    elif command.op == CLOSE_SESSION and command.flags == 1:
        serial = 0
    node_id, worker = command.origin
    return make_entry(
        command.op,
        body_of(command, model),
        session_id=SESSION_IDS[command.session],
        attach_zxid=max(attach_zxid - command.is_stale, 0),
        serial=max(serial, 0),
        node_id=node_id,
        worker=worker,
        connection=7 + command.session,
        cxid=nonce,
    )


def expected_items(entry: Entry, outcome: Outcome, zxid: int, worker: int) -> Iterator[Item]:
    """What this worker must be told of an entry."""
    if outcome.err is None or entry.op == 0:
        return
    for event, path in outcome.changes:
        yield items.change(zxid, event, path)
    is_expiry = entry.op == CLOSE_SESSION and entry.serial == 0
    is_ours = entry.node_id == NODE_ID and entry.worker == worker
    if is_ours and not is_expiry:
        is_attached = entry.op in (CREATE_SESSION, ATTACH_SESSION) and outcome.err == 0
        yield Item(
            items.RESULT,
            zxid,
            session_id=entry.session_id,
            attach_zxid=zxid if is_attached else entry.attach_zxid,
            serial=entry.serial,
            connection=entry.connection,
            xid=entry.cxid,
            err=outcome.err,
            body=outcome.body,
        )
    if outcome.err == 0 and entry.op in (ATTACH_SESSION, CLOSE_SESSION):
        attach_zxid = zxid if entry.op == ATTACH_SESSION else 0
        yield Item(items.SESSION, zxid, session_id=entry.session_id, attach_zxid=attach_zxid)


def in_order(stream: list[Item]) -> list[Item]:
    """A closing session's ephemerals go in any order, each followed by its parent: sort the pairs within a zxid."""
    ordered: list[Item] = []
    at = 0
    while at < len(stream):
        end = at
        while end < len(stream) and stream[end].kind == items.CHANGE and stream[end].zxid == stream[at].zxid:
            end += 1
        if end - at > 2:
            pairs = sorted(zip(stream[at:end:2], stream[at + 1 : end : 2], strict=True), key=lambda pair: pair[0].body)
            ordered += [item for pair in pairs for item in pair]
        else:
            end = max(end, at + 1)
            ordered += stream[at:end]
        at = end
    return ordered


def sorted_names(op: int, body: bytes) -> bytes:
    """A reply's names in the order of their bytes."""
    if op not in (GET_CHILDREN, GET_CHILDREN2) or not body:
        return body
    (count,) = struct.unpack_from(">i", body)
    names, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from(">i", body, at)
        names.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return body[:4] + b"".join(packed(name) for name in sorted(names)) + body[at:]


def new_machine(node_id: int) -> tuple[Arena, Machine]:
    arena = Arena.create(bytearray(1 << 20))
    format_tree(arena)
    return arena, Machine(arena, node_id)


@settings(max_examples=150, deadline=None)
@given(
    commands=COMMANDS,
    cuts=st.lists(st.integers(1, 30), max_size=40),
    other_cuts=st.lists(st.integers(1, 9), max_size=9),
)
def test_machine_against_model(commands: list[Command], cuts: list[int], other_cuts: list[int]) -> None:
    arena, machine = new_machine(NODE_ID)
    for worker in WORKERS:
        machine.add_worker(worker)
    model = Model()
    all_entries: list[bytes] = []
    expected: dict[int, list[Item]] = {worker: [] for worker in WORKERS}
    first = 0
    cut_at = 0
    for i, command in enumerate([*BEGINNING, *commands]):
        entry = make_entry(0) if command is None else entry_of(command, model, 100 + i)
        all_entries.append(entry)
        zxid = (EPOCH << 32) + i
        (parsed,) = entries(seal([entry], 1, 1, zxid, 0, 0))
        outcome = model.apply(parsed, zxid, TIME_MS)
        for worker in WORKERS:
            expected[worker] += expected_items(parsed, outcome, zxid, worker)
        if len(all_entries) - first < (cuts[cut_at % len(cuts)] if cuts else 1) and i < len(commands) + 2:
            continue
        cut_at += 1
        block = seal(all_entries[first:], i + 1 - first, first + 1, (EPOCH << 32) + first, TIME_MS, 0)
        first = i + 1
        machine.apply(block)
        for worker in WORKERS:
            assert in_order(parse_items(machine.take_items(worker))) == in_order(expected[worker])
            assert machine.take_items(worker) == b""
            expected[worker].clear()
        assert (machine.applied_zxid, machine.applied_index) == (zxid, i + 1)
        compare_state(arena, machine, model)

    other_arena, other = new_machine(OTHER_NODE_ID)
    at = 0
    while at < len(all_entries):
        size = other_cuts[at % len(other_cuts)] if other_cuts else len(all_entries)
        batch = all_entries[at : at + size]
        other.apply(seal(batch, len(batch), at + 1, (EPOCH << 32) + at, TIME_MS, 0))
        at += len(batch)
    assert other.counts == machine.counts
    assert other.sessions() == machine.sessions()
    assert digest(other_arena) == other.digest


def compare_state(arena: Arena, machine: Machine, model: Model) -> None:
    zxid = machine.applied_zxid
    for path in {*PATHS, *model.znodes}:
        for op in (EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2):
            if path is None:
                continue
            err, seen_zxid, body = answer(arena, op, path)
            assert (err, sorted_names(op, body)) == model.read(op, path), path
            assert seen_zxid == zxid
    assert sorted(machine.sessions()) == sorted(
        (session_id, session.attach_zxid, session.timeout_ms) for session_id, session in model.sessions.items()
    )
    assert machine.counts["znodes"] == len(model.znodes)
    assert machine.counts["ephemerals"] == sum(znode.owner != 0 for znode in model.znodes.values())
    assert machine.counts["sessions"] == len(model.sessions)
    open_acl = ((31, b"world", b"anyone"),)
    assert machine.counts["acls"] == len({open_acl, *(znode.acl for znode in model.znodes.values())})
    assert machine.digest == digest(arena)
