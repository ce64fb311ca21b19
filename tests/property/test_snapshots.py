"""Goal: a snapshot brings back everything, and a node that was loaded from one goes on as if it had applied the whole log.

Method: hypothesis draws commands of several sessions (as for the state machine's own test: multis, quotas, containers, TTL
znodes, ephemerals, closes, damaged bodies), and where snapshots are taken.  One machine applies everything.  At each of these
places a snapshot of it is written and loaded into a new arena, which must equal it in every field and order; from there on both get
the same blocks, and must tell their workers the same and have the same digests.  In the end all write the same bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st
from machine_commands import (
    ATTACH_SESSION,
    COMMANDS,
    CREATE_SESSION,
    NODE_ID,
    QUOTA_TEXTS,
    Command,
    create_of,
    entry_of,
    session_of,
)

from fastzk._core import _testing_snapshot as inside
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import entries, make_entry, seal
from fastzk._core.snapshot_load import SnapshotLoader
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import digest, format_tree
from fastzk.storage.snapshots import SnapshotStore
from fastzk.testing.disk import SimulatedDisk
from fastzk.testing.model import Model
from fastzk.testing.snapshots import contents, encode, new_arena, write

EPOCH = 3
WORKERS = (1, 2)
TIME_MS = 1_700_000_000_000
BEGINNING = [None, *(session_of(session) for session in range(2)), create_of(b"/a"), create_of(b"/a/b")]
QUOTA = [create_of(b"/zookeeper/quota/a"), create_of(b"/zookeeper/quota/a/zookeeper_stats")]


def history(commands: list[Command | None], size: int) -> list[bytes]:
    """The commands as blocks of `size` entries.  Sessions with an even flag have their results remembered."""
    model, blocks, batch = Model(), [], []
    for i, command in enumerate(commands):
        entry = make_entry(0) if command is None else entry_of(command, model, 100 + i)
        zxid = (EPOCH << 32) + i
        if command is not None and command.op in (CREATE_SESSION, ATTACH_SESSION) and command.flags % 2 == 0:
            (parsed,) = entries(seal([entry], 1, 1, zxid, 0, 0))
            entry = make_entry(**{**parsed._asdict(), "cxid": 1})
        (parsed,) = entries(seal([entry], 1, 1, zxid, 0, 0))
        time_ms = TIME_MS + i // size * 10_000
        model.apply(parsed, zxid, time_ms)
        batch.append(entry)
        if len(batch) == size or i == len(commands) - 1:
            first = i + 1 - len(batch)
            blocks.append(seal(batch, len(batch), first + 1, (EPOCH << 32) + first, time_ms, 0))
            batch = []
    return blocks


def new_machine(arena: Arena) -> Machine:
    machine = Machine(arena, NODE_ID)
    for worker in WORKERS:
        machine.add_worker(worker)
    return machine


@settings(max_examples=120, deadline=None)
@given(
    commands=COMMANDS,
    limits=st.sampled_from([None, None, *QUOTA_TEXTS]),
    size=st.integers(1, 12),
    places=st.sets(st.integers(0, 30), min_size=1, max_size=3),
    chunk_bytes=st.sampled_from([1, 100, 2000, 1 << 18]),
)
def test_a_node_from_a_snapshot_goes_on_as_the_others(
    commands: list[Command], limits: bytes | None, size: int, places: set[int], chunk_bytes: int
) -> None:
    begin = BEGINNING if limits is None else [*BEGINNING, *QUOTA, create_of(b"/zookeeper/quota/a/zookeeper_limits", limits)]
    arena = new_arena()
    format_tree(arena)
    nodes = [(arena, new_machine(arena))]
    store = SnapshotStore(SimulatedDisk(), "data/snapshots")
    for i, block in enumerate(history([*begin, *commands], size)):
        told = []
        for _, machine in nodes:
            machine.apply(block)
            told.append([machine.take_items(worker) for worker in WORKERS])
        assert told.count(told[0]) == len(told)
        assert {machine.digest for _, machine in nodes} == {digest(arena)}
        if i in places:
            loaded = new_arena()
            index = write(store, nodes[-1][0], chunk_bytes)
            meta = store.load(index, loaded)
            assert (meta.index, meta.state.digest) == (arena.applied_index, digest(loaded))
            assert (meta.checksum, meta.history, meta.membership, meta.chain) == (0xC0FFEE, 7, b"1,2,3", b"link")
            assert contents(loaded) == contents(arena)
            nodes.append((loaded, new_machine(loaded)))
    for other, machine in nodes[1:]:
        assert contents(other) == contents(arena)
        assert machine.sessions() == nodes[0][1].sessions()
        assert encode(other, chunk_bytes) == encode(arena, chunk_bytes)


def test_the_index_is_as_large_as_if_it_had_been_filled_one_by_one() -> None:
    for count in (0, 3, 4, 5, 11, 12, 13, 100, 1020):
        arena, loaded = new_arena(), new_arena()
        format_tree(arena)
        machine = Machine(arena, NODE_ID)
        commands = [None, session_of(0), *(create_of(b"/%d" % i) for i in range(count))]
        for block in history(commands, 50):
            machine.apply(block)
        arena.pin()
        encoder = SnapshotEncoder(arena, 500)
        loader = SnapshotLoader(loaded, encoder.state)
        for chunk in iter(encoder.next_chunk, None):
            loader.add_chunk(chunk)
        loader.finish()
        assert inside.index_size(loaded) == inside.index_size(arena)
        assert machine.counts["znodes"] == count + 4


def test_large_things_have_chunks_of_their_own() -> None:
    arena, loaded = new_arena(64 << 20), new_arena(64 << 20)
    format_tree(arena)
    machine = Machine(arena, NODE_ID)
    large = [create_of(b"/big", b"b" * 900_000), create_of(b"/" + b"n" * 4000), create_of(b"/z", b"z" * 700_000)]
    for block in history([None, session_of(0), *large], 2):
        machine.apply(block)
    chunks = encode(arena)
    assert [len(chunk) > 600_000 for chunk in chunks] == [True, True]
    store = SnapshotStore(SimulatedDisk(), "data/snapshots")
    store.load(write(store, arena), loaded)
    assert contents(loaded) == contents(arena)
