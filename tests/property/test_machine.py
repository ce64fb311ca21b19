"""Goal: the compiled state machine does, entry by entry, what the plain model does, whatever arrives.

Method: hypothesis draws commands of several sessions (writes right and wrong, multis, quotas, containers and TTL znodes,
repeats, holes, stale attachments, closes, expiries, damaged bodies), which become entries and blocks of random cuts.  One
Machine with two workers is compared with the model after every block: items byte by byte, every read of every path,
sessions and counts.  A second Machine gets the same entries cut otherwise, and must have the same digest."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from machine_commands import (
    ATTACH_SESSION,
    CLOSE_SESSION,
    COMMANDS,
    CONFIG,
    CREATE_SESSION,
    NODE_ID,
    OTHER_NODE_ID,
    PATHS,
    QUOTA_PATHS,
    QUOTA_TEXTS,
    REAP,
    Command,
    create_of,
    entry_of,
    session_of,
)

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import Entry, entries, make_entry, seal
from fastzk._core.reads import answer
from fastzk._core.tree import digest, format_tree
from fastzk.testing import items
from fastzk.testing.items import Item, parse_items
from fastzk.testing.model import Model, Outcome
from fastzk.testing.model_rules import packed_acl
from fastzk.testing.twin import sorted_names

WORKERS = (1, 2)
EPOCH = 3
TIME_MS = 1_700_000_000_000
TIME_STEP = 15  # entries to which the leader gives the same time
EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2 = 3, 4, 8, 12

# Two sessions are there from the start; the third must be made, and all may end.
BEGINNING = [None, *(session_of(session) for session in range(2)), create_of(b"/a"), create_of(b"/a/b")]
QUOTA = [create_of(b"/zookeeper/quota/a"), create_of(b"/zookeeper/quota/a/zookeeper_stats")]


def time_of(i: int) -> int:
    return TIME_MS + i // TIME_STEP * 10_000


def expected_items(entry: Entry, outcome: Outcome, zxid: int, worker: int) -> Iterator[Item]:
    """What this worker must be told of an entry."""
    if outcome.err is None or entry.op == 0:
        return
    for event, path, vector in outcome.changes:
        yield items.change(zxid, event, path, vector)
    if entry.op in (CONFIG, REAP):
        return
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


def new_machine(node_id: int) -> tuple[Arena, Machine]:
    arena = Arena.create(bytearray(1 << 20))
    format_tree(arena)
    return arena, Machine(arena, node_id)


@settings(max_examples=150, deadline=None)
@given(
    commands=COMMANDS,
    limits=st.sampled_from([None, None, *QUOTA_TEXTS]),
    cuts=st.lists(st.integers(1, 30), max_size=40),
    other_cuts=st.lists(st.integers(1, 9), max_size=9),
)
def test_machine_against_model(commands: list[Command], limits: bytes | None, cuts: list[int], other_cuts: list[int]) -> None:
    arena, machine = new_machine(NODE_ID)
    for worker in WORKERS:
        machine.add_worker(worker)
    model = Model()
    all_entries: list[bytes] = []
    expected: dict[int, list[Item]] = {worker: [] for worker in WORKERS}
    first = 0
    cut_at = 0
    begin = BEGINNING if limits is None else [*BEGINNING, *QUOTA, create_of(b"/zookeeper/quota/a/zookeeper_limits", limits)]
    for i, command in enumerate([*begin, *commands]):
        entry = make_entry(0) if command is None else entry_of(command, model, 100 + i)
        all_entries.append(entry)
        zxid = (EPOCH << 32) + i
        (parsed,) = entries(seal([entry], 1, 1, zxid, 0, 0))
        outcome = model.apply(parsed, zxid, time_of(i))
        for worker in WORKERS:
            expected[worker] += expected_items(parsed, outcome, zxid, worker)
        is_full = len(all_entries) - first >= (cuts[cut_at % len(cuts)] if cuts else 1)
        if not is_full and (i + 1) % TIME_STEP and i < len(begin) + len(commands) - 1:
            continue
        cut_at += 1
        block = seal(all_entries[first:], i + 1 - first, first + 1, (EPOCH << 32) + first, time_of(i), 0)
        first = i + 1
        machine.apply(block)
        for worker in WORKERS:
            assert parse_items(machine.take_items(worker)) == expected[worker]
            assert machine.take_items(worker) == b""
            expected[worker].clear()
        assert (machine.applied_zxid, machine.applied_index) == (zxid, i + 1)
        compare_state(arena, machine, model)

    other_arena, other = new_machine(OTHER_NODE_ID)
    at = 0
    while at < len(all_entries):
        size = other_cuts[at % len(other_cuts)] if other_cuts else len(all_entries)
        batch = all_entries[at : min(at + size, (at // TIME_STEP + 1) * TIME_STEP)]
        other.apply(seal(batch, len(batch), at + 1, (EPOCH << 32) + at, time_of(at), 0))
        at += len(batch)
    assert other.counts == machine.counts
    assert other.sessions() == machine.sessions()
    assert digest(other_arena) == other.digest


def compare_state(arena: Arena, machine: Machine, model: Model) -> None:
    zxid = machine.applied_zxid
    for path in {*PATHS, *QUOTA_PATHS, *model.znodes}:
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
    assert machine.counts["ephemerals"] == sum(znode.is_ephemeral() for znode in model.znodes.values())
    assert machine.counts["sessions"] == len(model.sessions)
    vectors = {packed_acl(((31, b"world", b"anyone"),)), *(packed_acl(znode.acl) for znode in model.znodes.values())}
    vectors |= {session.identities_vector for session in model.sessions.values()} - {b""}
    assert machine.counts["acls"] == len(vectors)
    found, cursor = [], 0
    while True:
        cursor, more = machine.find_reapable(cursor, 3, machine.applied_time_ms)
        found += more
        if cursor == 0:
            break
    assert sorted(found) == sorted(path for path in model.znodes if model.reapable(path, machine.applied_time_ms))
    assert machine.digest == digest(arena)
