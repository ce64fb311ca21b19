"""Goal: no damage to a snapshot goes unseen, and none of it ends the process: SnapshotDamaged, with file and offset.

Method: a small snapshot that has every kind of record.  Every byte of it is changed, and it is cut at every length; chunks are
swapped, left out and taken from another snapshot.  Then nonsense under right checksums: every byte of every payload is changed
and the file framed anew, numbers and orders are turned into what cannot be, and whatever then loads must be sound."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest

from fastzk._core import _testing_tree as tree
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.snapshot_load import RecordDamaged, SnapshotLoader
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import format_tree
from fastzk.storage.snapshot_file import ChunkWriter, SnapshotDamaged, SnapshotMeta, header_checksum, read_chunks, read_header
from fastzk.storage.snapshots import SnapshotStore
from fastzk.testing.disk import SimulatedDisk
from fastzk.testing.snapshots import contents, encode, new_arena, write

OPEN = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
READ = b"\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone"
IDENTITIES = b"\0\0\0\1\0\0\0\2ip\0\0\0\x09127.0.0.1"
DIRECTORY = "data/snapshots"
CHUNK_BYTES = 150
VECTOR, SESSION, ZNODE, EPHEMERALS = 1, 2, 3, 4


def packed(text: bytes) -> bytes:
    return struct.pack(">i", len(text)) + text


def create(path: bytes, data: bytes, flags: int, serial: int) -> bytes:
    body = packed(path) + packed(data) + OPEN + struct.pack(">i", flags)
    return make_entry(1, body, session_id=5, attach_zxid=(1 << 32) + 1, serial=serial, cxid=serial)


def every_record() -> Arena:
    """An arena with two sessions, one of which has results, identities and ephemerals; data, null data, a TTL znode."""
    arena = new_arena()
    format_tree(arena)
    machine = Machine(arena, 1)
    begin = [
        make_entry(0, bytes(16)),
        make_entry(-10, struct.pack(">i", 4000) + b"p" * 16 + IDENTITIES, session_id=5, serial=77, cxid=1),
        make_entry(-10, struct.pack(">i", 9000) + b"q" * 16, session_id=6, serial=78, cxid=2),
        create(b"/a", b"data", 0, 1),
        create(b"/a/e1", b"", 1, 2),
        create(b"/e2", b"x" * 40, 1, 3),
        create(b"/a", b"again", 0, 4),
    ]
    machine.apply(seal(begin, len(begin), 1, 1 << 32, 1_700_000_000_000, 0))
    tree.create(arena, b"/null", None, READ, 0, 0, (1 << 32) + 9, 5)
    tree.create(arena, b"/ttl", b"", OPEN, 1, 0xFF << 56 | 1000, (1 << 32) + 10, 6)
    tree.set_data(arena, b"/a", b"changed", -1, (1 << 32) + 11, 7)
    tree.set_acl(arena, b"/a", READ, -1, (1 << 32) + 12)
    return arena


@pytest.fixture(scope="module")
def arena() -> Arena:
    return every_record()


@pytest.fixture(scope="module")
def snapshot(arena: Arena) -> tuple[int, bytes]:
    """Its index, and the file."""
    disk = SimulatedDisk()
    index = write(SnapshotStore(disk, DIRECTORY), arena, CHUNK_BYTES)
    return index, disk.content(f"{DIRECTORY}/snapshot.{index:016x}")


def store_of(index: int, content: bytes) -> SnapshotStore:
    disk = SimulatedDisk()
    disk.put(f"{DIRECTORY}/snapshot.{index:016x}", content)
    return SnapshotStore(disk, DIRECTORY)


def judge(index: int, content: bytes) -> SnapshotDamaged:
    """Both ways to read the file must find it damaged."""
    store = store_of(index, content)
    with pytest.raises(SnapshotDamaged) as verified:
        store.verify(index)
    with pytest.raises(SnapshotDamaged):
        store.load(index, new_arena(1 << 16))
    assert verified.value.file == store.path(index)
    return verified.value


def framed(meta: SnapshotMeta, payloads: list[bytes]) -> bytes:
    """A file with these payloads whose checksums are right."""
    header = meta.encode()
    writer = ChunkWriter(header_checksum(header))
    return header + b"".join(writer.frame(payload) + payload for payload in payloads) + writer.end()


def test_the_snapshot_has_every_kind_of_record_and_several_chunks(arena: Arena, snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    loaded = new_arena(1 << 16)
    store_of(index, content).load(index, loaded)
    assert contents(loaded) == contents(arena)
    sessions = contents(arena)["sessions"]
    assert [session["results"] is not None for session in sessions] == [False, True]
    assert sessions[1]["results"][0] == 4
    assert sessions[1]["ephemerals"] == [b"/e2", b"/a/e1"]
    assert len(encode(arena, CHUNK_BYTES)) > 4
    assert contents(arena)["header"]["reapables"] == 1


def test_every_changed_byte_is_found_where_it_is(snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    starts = [0]
    file = store_of(index, content).disk.open(f"{DIRECTORY}/snapshot.{index:016x}")
    for offset, payload in read_chunks(file, read_header(file)[1]):
        starts += [offset - 20, offset + len(payload)]
    for at in range(len(content)):
        for mask in (1, 0x80):
            spoilt = bytearray(content)
            spoilt[at] ^= mask
            found = judge(index, bytes(spoilt))
            assert found.offset == max(start for start in starts if start <= at), f"byte {at}: {found}"


def test_every_truncation_and_every_addition_is_found(snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    for size in range(len(content)):
        assert judge(index, content[:size]).offset <= size
        zeros = content[:size] + bytes(len(content) - size)
        if zeros != content:
            judge(index, zeros)
    for more in (b"\0", b"x", content):
        assert judge(index, content + more).offset == len(content)


def test_a_chunk_in_another_place_or_of_another_snapshot_is_found(arena: Arena, snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    file = store_of(index, content).disk.open(f"{DIRECTORY}/snapshot.{index:016x}")
    meta, header = read_header(file)
    chunks = [content[offset - 20 : offset + len(payload)] for offset, payload in read_chunks(file, header)]
    end = content[len(header) + sum(map(len, chunks)) :]
    for i in range(len(chunks)):
        left_out = chunks[:i] + chunks[i + 1 :]
        twice = chunks[: i + 1] + chunks[i:]
        for other in (left_out, twice, chunks[:i] + chunks[i + 1 :] + [chunks[i]]):
            if other != chunks:
                judge(index, header + b"".join(other) + end)
    payloads = encode(arena, CHUNK_BYTES)
    alien = framed(replace(meta, history=8), payloads)
    judge(index, header + alien[len(header) :])
    judge(index, content[: -len(end)] + alien[-len(end) :])
    assert "name" in judge(index + 1, content).reason
    at = len(header)
    for i, chunk in enumerate(chunks):
        mixed = header + b"".join([*chunks[:i], alien[at : at + len(chunk)], *chunks[i + 1 :]]) + end
        assert judge(index, mixed).offset == at
        at += len(chunk)


def test_an_end_of_other_chunks_is_found(arena: Arena, snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    file = store_of(index, content).disk.open(f"{DIRECTORY}/snapshot.{index:016x}")
    meta, header = read_header(file)
    payloads = encode(arena, CHUNK_BYTES)
    assert framed(meta, payloads) == content
    writer = ChunkWriter(header_checksum(header))
    for payload in payloads:
        writer.frame(payload[:-1] + b"?")
    end = writer.end()
    assert "counts other chunks" in judge(index, content[: -len(end)] + end).reason


# Nonsense under right checksums.


def load(state: object, payloads: list[bytes]) -> Arena:
    loaded = new_arena(1 << 16)
    loader = SnapshotLoader(loaded, state)  # type: ignore[arg-type]
    for payload in payloads:
        loader.add_chunk(payload)
    loader.finish()
    return loaded


def state_of(arena: Arena) -> object:
    arena.pin()
    try:
        return SnapshotEncoder(arena, CHUNK_BYTES).state
    finally:
        arena.unpin()


def test_any_byte_of_a_record_may_be_nonsense(arena: Arena) -> None:
    """What is not part of the digest (sessions, results) may load; then it is a sound arena of other content."""
    state, payload = state_of(arena), b"".join(encode(arena, 1 << 18))
    others, offsets = 0, [0]
    for at in range(len(payload)):
        for mask in (1, 0x10, 0xFF):
            spoilt = bytearray(payload)
            spoilt[at] ^= mask
            try:
                loaded = load(state, [bytes(spoilt)])
            except RecordDamaged as damage:
                offsets.append(damage.offset)
                continue
            others += 1
            assert contents(loaded) != contents(arena)
            assert encode(loaded, 1 << 18) == [bytes(spoilt)]
    assert others > 0
    assert 0 <= min(offsets) <= max(offsets) < len(payload)


def test_a_path_twice_is_refused_though_all_sums_are_right() -> None:
    twins = new_arena(1 << 16)
    format_tree(twins)
    for path in (b"/twin0", b"/twin1"):
        tree.create(twins, path, b"", OPEN, 0, 0, 5, 5)
    payload, state = b"".join(encode(twins)).replace(b"twin1", b"twin0"), state_of(twins)
    with pytest.raises(RecordDamaged, match="there already"):
        load(state, [payload])
    with pytest.raises(RecordDamaged, match="there already"):
        load(state, [record for _, record in records(payload)])


def test_random_bytes_are_no_records(arena: Arena) -> None:
    state, payload, random = state_of(arena), b"".join(encode(arena, 1 << 18)), Random(5)
    for _ in range(3000):
        spoilt = bytearray(payload)
        for _ in range(random.choice([1, 2, 20])):
            at = random.randrange(len(spoilt))
            spoilt[at : at + random.randrange(9)] = random.randbytes(random.randrange(9))
        if bytes(spoilt) == payload:
            continue
        try:
            loaded = load(state, [bytes(spoilt)])
        except RecordDamaged:
            continue
        assert encode(loaded, 1 << 18) == [bytes(spoilt)]


def records(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, bytes) of each record."""
    at = 0
    while at < len(payload):
        kind, flags = payload[at], payload[at + 1]
        if kind == VECTOR:
            size = 8 + struct.unpack_from("<I", payload, at + 4)[0]
        elif kind == EPHEMERALS:
            size = 8 + 4 * struct.unpack_from("<I", payload, at + 4)[0]
        elif kind == SESSION:
            size = 72
            for _ in range(struct.unpack_from("<H", payload, at + 2)[0]):
                size += 12 + struct.unpack_from("<I", payload, at + size + 8)[0]
        else:
            name_size, _, data_size = struct.unpack_from("<HII", payload, at + 2)
            size = 28 + name_size + (0 if data_size == 0xFFFFFFFF else data_size)
            size += sum(part for bit, part in ((1, 20), (2, 16), (4, 8), (8, 4)) if flags & bit)
        yield kind, payload[at : at + size]
        at += size


Spoil = Callable[[list[tuple[int, bytes]]], list[tuple[int, bytes]]]


def of_kind(all_records: list[tuple[int, bytes]], kind: int) -> list[int]:
    return [i for i, (found, _) in enumerate(all_records) if found == kind]


def swapped(all_records: list[tuple[int, bytes]], one: int, other: int) -> list[tuple[int, bytes]]:
    changed = list(all_records)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


SPOILERS: dict[str, Spoil] = {
    "nothing": lambda r: [],
    "no root": lambda r: [x for i, x in enumerate(r) if i != of_kind(r, ZNODE)[0]],
    "the last znode missing": lambda r: [x for i, x in enumerate(r) if i != of_kind(r, ZNODE)[-1]],
    "a znode twice": lambda r: r[: of_kind(r, ZNODE)[-1] + 1] + r[of_kind(r, ZNODE)[-1] :],
    "a parent behind its child": lambda r: swapped(r, *of_kind(r, ZNODE)[1:3]),
    "a session twice": lambda r: r[: of_kind(r, SESSION)[-1] + 1] + r[of_kind(r, SESSION)[-1] :],
    "a session missing": lambda r: [x for i, x in enumerate(r) if i != of_kind(r, SESSION)[0]],
    "sessions behind the znodes": lambda r: [x for x in r if x[0] != SESSION] + [x for x in r if x[0] == SESSION],
    "ephemerals first": lambda r: [x for x in r if x[0] == EPHEMERALS] + [x for x in r if x[0] != EPHEMERALS],
    "no lists of ephemerals": lambda r: [x for x in r if x[0] != EPHEMERALS],
    "the lists of ephemerals twice": lambda r: r + [x for x in r if x[0] == EPHEMERALS],
    "an ACL twice": lambda r: r[:1] + r,
    "no ACLs": lambda r: [x for x in r if x[0] != VECTOR],
    "an ACL that nobody has": lambda r: [*r, (VECTOR, struct.pack("<BBHI", 1, 0, 0, len(OPEN) + 0) + OPEN[:-1] + b"f")],
    "a record of kind 9": lambda r: [*r, (9, b"\x09" + bytes(99))],
    "a record of kind 0": lambda r: [*r, (0, bytes(99))],
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILERS)
def test_records_that_make_no_tree_are_refused(arena: Arena, what: str) -> None:
    state = state_of(arena)
    whole = list(records(b"".join(encode(arena, 1 << 18))))
    assert load(state, [record for _, record in whole]) is not None
    with pytest.raises(RecordDamaged):
        load(state, [record for _, record in SPOILERS[what](whole)])


def test_what_no_sum_would_show_is_refused_for_what_it_is() -> None:
    """An order or a number that is in no count and no digest; and an ACL or an owner before the digest is known."""
    small = new_arena(1 << 16)
    format_tree(small)
    for session_id in (7, 8):
        tree.create_session(small, session_id, 4000, b"p" * 16, 2, 5)
        tree.create(small, b"/e%d" % session_id, b"", OPEN, 1, session_id, 2, 2)
    tree.create(small, b"/read", b"", READ, 0, 0, 2, 2)
    state, payload = state_of(small), b"".join(encode(small))
    lists = struct.pack("<BBHIII", EPHEMERALS, 0, 0, 2, 0, 1)
    assert payload.endswith(lists)
    whole = list(records(payload))
    for reason, spoilt in {
        "the list of another session": payload[:-8] + payload[-4:] + payload[-8:-4],
        "listed twice": payload[:-4] + payload[-8:-4],
        "of no session": payload.replace(struct.pack("<Q", 8) + b"e8", struct.pack("<Q", 9) + b"e8"),
        "whose ACL is none": payload.replace(READ, READ[:3] + b"\2" + READ[4:]),
        "the first ACL is not": payload.replace(OPEN, OPEN[:-1] + b"?"),
        "impossible name": payload.replace(b"read", b"re/d"),
        "before others": payload + whole[of_kind(whole, SESSION)[0]][1],
    }.items():
        assert spoilt != payload
        with pytest.raises(RecordDamaged, match=reason):
            load(state, [spoilt])
    assert contents(load(state, [payload])) == contents(small)


def test_nonsense_is_told_with_file_and_offset(arena: Arena, snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    file = store_of(index, content).disk.open(f"{DIRECTORY}/snapshot.{index:016x}")
    meta = read_header(file)[0]
    payloads = encode(arena, CHUNK_BYTES)
    nonsense = framed(meta, [payloads[0], b"\x09" + bytes(9), *payloads[1:]])
    store = store_of(index, nonsense)
    assert store.verify(index) == meta  # the frames are right
    with pytest.raises(SnapshotDamaged) as found:
        store.load(index, new_arena(1 << 16))
    assert found.value.offset == len(meta.encode()) + 20 + len(payloads[0]) + 20
    assert found.value.file == store.path(index)


@pytest.mark.parametrize("field", ["znodes", "ephemerals", "sessions", "vectors", "data_bytes", "quotas", "reapables", "digest"])
@pytest.mark.parametrize("change", [1, -1, 1 << 40])
def test_a_header_that_counts_otherwise_is_refused(arena: Arena, snapshot: tuple[int, bytes], field: str, change: int) -> None:
    index, content = snapshot
    meta = read_header(store_of(index, content).disk.open(f"{DIRECTORY}/snapshot.{index:016x}"))[0]
    value = getattr(meta.state, field) + change
    if value < 0:
        value = 3
    spoilt = replace(meta, state=meta.state._replace(**{field: value}))
    with pytest.raises(SnapshotDamaged):
        store_of(index, framed(spoilt, encode(arena, CHUNK_BYTES))).load(index, new_arena(1 << 16))


def test_impossible_counts_are_refused_before_there_is_memory_for_them(arena: Arena, snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    meta = read_header(store_of(index, content).disk.open(f"{DIRECTORY}/snapshot.{index:016x}"))[0]
    spoilt = replace(meta, state=meta.state._replace(znodes=1 << 30))
    whole = list(records(b"".join(encode(arena, 1 << 18))))
    place = of_kind(whole, ZNODE)[0]
    root = bytearray(whole[place][1])
    assert root[1] & 3 == 2  # a parent, not changed: its count stands 12 bytes behind the record
    struct.pack_into("<I", root, 28 + 12, 1 << 29)
    payloads = [record for _, record in [*whole[:place], (ZNODE, bytes(root)), *whole[place + 1 :]]]
    with pytest.raises(SnapshotDamaged, match="what its header counts"):
        store_of(index, framed(spoilt, payloads)).load(index, new_arena(1 << 16))


def test_an_arena_that_is_too_small_is_no_damage(arena: Arena, snapshot: tuple[int, bytes]) -> None:
    big = new_arena()
    format_tree(big)
    for i in range(100):
        tree.create(big, b"/%d" % i, bytes(1000), OPEN, 0, 0, 1 + i, 0)
    with pytest.raises(MemoryError):
        load(state_of(big), encode(big))


def test_a_snapshot_is_loaded_into_a_new_arena_only(arena: Arena) -> None:
    with pytest.raises(ValueError, match="new arena"):
        SnapshotLoader(every_record(), state_of(arena))  # type: ignore[arg-type]


def test_the_newest_right_one_is_found_and_the_damaged_ones_are_told(snapshot: tuple[int, bytes]) -> None:
    index, content = snapshot
    store = store_of(index, content)
    store.disk.put(store.path(index + 1), content)  # type: ignore[attr-defined]
    store.disk.put(store.path(index + 2), content[:-1])  # type: ignore[attr-defined]
    meta, damaged = store.newest_right()
    assert meta is not None
    assert meta.index == index
    assert [damage.file for damage in damaged] == [store.path(index + 2), store.path(index + 1)]
    store.remove(index)
    assert store.newest_right()[0] is None
