"""Goal: whenever the power goes or the disk fails, a node has the snapshots it had or one more, all of them right.

Method: a simulated disk loses its power at each operation of writing a snapshot, removing old ones and fetching one, in every way
a crash can leave files; then the directory is opened again and everything in it verified.  The same with an operation that fails:
the snapshot is given up, and the next one is written."""

import errno
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk import limits
from fastzk._core import _testing_tree as tree
from fastzk._core.arena import Arena
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import format_tree
from fastzk.storage.snapshot_file import SnapshotDamaged
from fastzk.storage.snapshot_thread import SnapshotThread
from fastzk.storage.snapshot_transfer import Download, Upload
from fastzk.storage.snapshots import SnapshotJob, SnapshotStore, meta_of
from fastzk.testing.disk import CRASH_MODES, CrashMode, SimulatedDisk, Stopped
from fastzk.testing.snapshots import contents, encode, end_of, new_arena, write

OPEN = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
DIRECTORY = "data/snapshots"
CHUNK_BYTES = 700


@pytest.fixture(autouse=True)
def _sync_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_SYNC_BYTES", 2000)


def grown(arena: Arena, index: int) -> Arena:
    """The arena with some more znodes, at this index."""
    for i in range(20):
        tree.create(arena, b"/n%d-%d" % (index, i), b"d" * 150, OPEN, 0, 0, index, index)
    tree.write_begin(arena)
    tree.write_end(arena, index, index, index)
    return arena


def arena_at(index: int) -> Arena:
    arena = new_arena()
    format_tree(arena)
    return grown(arena, index)


def seen(disk: SimulatedDisk) -> dict[int, int]:
    """The snapshots that a start finds, all verified: index and digest."""
    store = SnapshotStore(disk, DIRECTORY)
    assert not store.names(".tmp")
    return {index: store.verify(index).state.digest for index in store.list()}


def work(disk: SimulatedDisk, arena: Arena) -> None:
    """What a node does: a snapshot, then away with the oldest."""
    store = SnapshotStore(disk, DIRECTORY)
    write(store, arena, CHUNK_BYTES)
    store.remove_all_but(2)


def prepared() -> tuple[SimulatedDisk, Arena]:
    """A disk with the snapshots 1 and 2, and the arena at 3."""
    disk, arena = SimulatedDisk(), arena_at(1)
    work(disk, arena)
    work(disk, grown(arena, 2))
    return disk, grown(arena, 3)


def count_of_operations() -> int:
    disk, arena = prepared()
    before = disk.operations
    work(disk, arena)
    return disk.operations - before


@pytest.mark.parametrize("mode", CRASH_MODES)
def test_a_crash_at_any_operation_leaves_the_old_set_or_the_new(mode: CrashMode) -> None:
    count = count_of_operations()
    assert count > 15
    sets = set()
    for operation in range(1, count + 1):
        disk, arena = prepared()
        old = seen(disk)
        disk.stop_at(operation)
        with pytest.raises(Stopped):
            work(disk, arena)
        disk.crash(Random(operation), mode)
        found = seen(disk)
        digest = arena.counters()["digest"]
        assert found in (old, {**old, 3: digest}, {2: old[2], 3: digest})
        sets.add(frozenset(found))
        write(SnapshotStore(disk, DIRECTORY), arena, CHUNK_BYTES)
        assert seen(disk)[3] == digest
    assert frozenset((1, 2)) in sets
    assert frozenset((1, 2, 3)) in sets


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_costs_a_snapshot_and_nothing_else(code: int) -> None:
    count = count_of_operations()
    for operation in range(1, count):
        disk, arena = prepared()
        old = seen(disk)
        disk.fail_at(operation, code)
        with pytest.raises(OSError, match="simulated") as failed:
            work(disk, arena)
        assert failed.value.errno == code
        assert not arena.is_pinned
        found = seen(disk)
        assert found.items() >= {2: old[2]}.items()
        assert not [name for name in disk.list(DIRECTORY) if name.endswith(".tmp")]
        work(disk, arena)
        assert sorted(seen(disk)) == [2, 3]


def test_a_disk_that_fails_for_good_leaves_a_temporary_file_that_the_next_snapshot_replaces() -> None:
    disk, arena = prepared()
    store = SnapshotStore(disk, DIRECTORY)
    job = begun(store, arena)
    assert job.step()
    broken = disk.remove
    disk.remove = fail_to_remove  # type: ignore[method-assign]
    disk.fail_at(1, errno.ENOSPC)
    with pytest.raises(OSError, match="simulated") as failed:
        job.step()
    assert "could not be removed" in failed.value.__notes__[0]
    job.release()
    disk.remove = broken  # type: ignore[method-assign]
    assert store.names(".tmp") == [3]
    write(store, arena, CHUNK_BYTES)
    assert store.names(".tmp") == []
    assert store.list() == [1, 2, 3]


def fail_to_remove(path: str) -> None:
    raise OSError(errno.EIO, "simulated", path)


def begun(store: SnapshotStore, arena: Arena) -> SnapshotJob:
    arena.pin()
    encoder = SnapshotEncoder(arena, CHUNK_BYTES)
    return store.begin(meta_of(encoder, end_of(arena)), encoder)


def test_a_snapshot_that_is_aborted_leaves_nothing() -> None:
    disk, arena = prepared()
    store = SnapshotStore(disk, DIRECTORY)
    for steps in range(5):
        job = begun(store, arena)
        for _ in range(steps):
            assert job.step()
        job.abort()
        assert not job.step()
        assert not job.is_written
        job.release()
        assert disk.list(DIRECTORY) == ["snapshot.0000000000000001", "snapshot.0000000000000002"]


def test_the_thread_writes_and_frees_or_gives_up_and_tells() -> None:
    disk, arena = prepared()
    store = SnapshotStore(disk, DIRECTORY)
    for code, stop in ((0, False), (errno.ENOSPC, False), (0, True)):
        job = begun(store, arena)
        thread = SnapshotThread(job)
        if code:
            disk.fail_at(9, code)
        if stop:
            thread.stop()
        thread.start()
        assert thread.wait(30)
        grown(arena, arena.applied_index + 1)
        thread.release()
        thread.join()
        assert not arena.is_pinned
        assert store.names(".tmp") == []
        assert (thread.error is not None) == bool(code)
        assert job.is_written == (not code and not stop)
    assert store.list() == [1, 2, 3]


class StoppingJob(SnapshotJob):
    """Stops its thread while the file is half written."""

    thread: SnapshotThread

    def step(self) -> bool:
        if self.size > 4 * CHUNK_BYTES:
            self.thread.stop()
        return super().step()


def test_a_thread_that_is_stopped_halfway_leaves_nothing() -> None:
    disk, arena = prepared()
    store = SnapshotStore(disk, DIRECTORY)
    arena.pin()
    encoder = SnapshotEncoder(arena, CHUNK_BYTES)
    job = StoppingJob(store, meta_of(encoder, end_of(arena)), encoder)
    job.thread = SnapshotThread(job)
    job.thread.start()
    assert job.thread.wait(30)
    job.thread.release()
    job.thread.join()
    assert job.size > 4 * CHUNK_BYTES
    assert job.thread.error is None
    assert not job.is_written
    assert disk.list(DIRECTORY) == ["snapshot.0000000000000001", "snapshot.0000000000000002"]


# Fetching.


def fetch(disk: SimulatedDisk, upload: Upload, piece_bytes: int) -> SnapshotStore:
    store = SnapshotStore(disk, DIRECTORY)
    download = Download(store, upload.index, upload.size, upload.identity)
    while not download.is_whole:
        assert download.write(download.offset, upload.read(download.offset, piece_bytes))
    download.finish()
    return store


@settings(max_examples=60, deadline=None)
@given(
    stops=st.lists(st.integers(1, 40), max_size=6),
    piece_bytes=st.integers(300, 5000),
    mode=st.sampled_from(CRASH_MODES),
    seed=st.integers(0, 1 << 16),
)
def test_a_transfer_goes_on_after_any_crash(stops: list[int], piece_bytes: int, mode: CrashMode, seed: int) -> None:
    source, arena = prepared()
    write(SnapshotStore(source, DIRECTORY), arena, CHUNK_BYTES)
    upload = Upload(SnapshotStore(source, DIRECTORY), 3)
    disk, random = SimulatedDisk(), Random(seed)
    for stop in stops:
        disk.stop_at(stop)
        try:
            fetch(disk, upload, piece_bytes)
        except Stopped:
            disk.crash(random, mode)
            store = SnapshotStore(disk, DIRECTORY)
            assert all(store.verify(index) for index in store.list())
        disk.stop_at(1 << 40)
    store = fetch(disk, upload, piece_bytes)
    loaded = new_arena()
    store.load(3, loaded)
    assert contents(loaded) == contents(arena)
    assert disk.content(store.path(3)) == source.content(store.path(3))
    assert encode(loaded) == encode(arena)


def test_what_is_there_and_right_is_not_fetched_again() -> None:
    source, arena = prepared()
    whole = SnapshotStore(source, DIRECTORY)
    write(whole, arena, CHUNK_BYTES)
    upload, disk = Upload(whole, 3), SimulatedDisk()
    store = SnapshotStore(disk, DIRECTORY)
    download = Download(store, 3, upload.size, upload.identity)
    assert download.write(0, upload.read(0, 6000))
    download.close()
    again = Download(store, 3, upload.size, upload.identity)
    assert 6000 - 2 * CHUNK_BYTES < again.offset < 6000  # the piece of a chunk is cut off
    assert not again.write(again.offset + 1, b"x")
    assert not again.write(0, b"x")
    assert not again.write(again.offset, b"")
    assert not again.write(again.offset, bytes(upload.size))
    disk.flip(store.path(3, ".part"), 3000)
    again.close()
    assert Download(store, 3, upload.size, upload.identity).offset < 3000


def test_a_damaged_transfer_is_never_a_snapshot_and_can_be_mended() -> None:
    source, arena = prepared()
    whole = SnapshotStore(source, DIRECTORY)
    write(whole, arena, CHUNK_BYTES)
    upload = Upload(whole, 3)
    for at in range(0, upload.size, 97):
        disk = SimulatedDisk()
        store = SnapshotStore(disk, DIRECTORY)
        download = Download(store, 3, upload.size, upload.identity)
        content = bytearray(source.content(whole.path(3)))
        content[at] ^= 4
        assert download.write(0, bytes(content))
        with pytest.raises(SnapshotDamaged):
            download.finish()
        assert store.list() == []
        assert download.offset <= at
        while not download.is_whole:
            assert download.write(download.offset, upload.read(download.offset, 1000))
        assert download.finish().index == 3
        assert store.list() == [3]


def test_another_snapshot_than_the_one_to_be_fetched_is_not_taken() -> None:
    source, arena = prepared()
    whole = SnapshotStore(source, DIRECTORY)
    write(whole, arena, CHUNK_BYTES)
    right, other = Upload(whole, 3), Upload(whole, 2)
    disk = SimulatedDisk()
    store = SnapshotStore(disk, DIRECTORY)
    download = Download(store, 3, right.size, right.identity)
    assert download.write(0, other.read(0, min(other.size, right.size)))
    download.close()
    assert Download(store, 3, right.size, right.identity).offset == 0
    assert store.names(".part") == [3]
    Download(store, 2, other.size, other.identity)
    assert store.names(".part") == [2]  # one transfer at a time
    SnapshotStore(disk, DIRECTORY)
    assert store.names(".part") == [2]


def test_a_snapshot_of_the_same_index_that_is_another_is_not_taken() -> None:
    source, arena = prepared()
    whole = SnapshotStore(source, DIRECTORY)
    write(whole, arena, CHUNK_BYTES)
    right = Upload(whole, 3)
    job = begun(whole, arena)  # of another history
    while job.step():
        pass
    job.release()
    other = Upload(whole, 3)
    assert other.identity != right.identity
    store = SnapshotStore(SimulatedDisk(), DIRECTORY)
    download = Download(store, 3, other.size, right.identity)
    assert download.write(0, other.read(0, other.size))
    with pytest.raises(SnapshotDamaged, match="another snapshot"):
        download.finish()
    assert download.offset == 0


def test_what_is_fetched_or_removed_stays_so() -> None:
    source, arena = prepared()
    whole = SnapshotStore(source, DIRECTORY)
    write(whole, arena, CHUNK_BYTES)
    disk = SimulatedDisk()
    fetch(disk, Upload(whole, 3), 5000)
    disk.crash(Random(1), "none")
    assert list(seen(disk)) == [3]
    SnapshotStore(disk, DIRECTORY).remove(3)
    disk.crash(Random(1), "none")
    assert list(seen(disk)) == []


@pytest.mark.parametrize("mode", CRASH_MODES)
def test_the_simulated_disk_renames_wholly_or_not_at_all(mode: CrashMode) -> None:
    found = set()
    for seed in range(30):
        disk = SimulatedDisk()
        disk.put("d/old", b"new content")
        disk.put("d/name", b"old content")
        disk.rename("d/old", "d/name")
        assert disk.content("d/name") == b"new content"
        disk.crash(Random(seed), mode)
        found.add(tuple((name, disk.content(f"d/{name}")) for name in disk.list("d")))
    before, after = (("name", b"old content"), ("old", b"new content")), (("name", b"new content"),)
    assert found <= {before, after}
    assert mode in ("none", "all") or found == {before, after}
    disk.rename("d/name", "d/last")
    disk.sync_dir("d")
    disk.crash(Random(0), "none")
    assert disk.list("d")[0] == "last"


def test_damage_is_not_given_to_others() -> None:
    source, arena = prepared()
    whole = SnapshotStore(source, DIRECTORY)
    write(whole, arena, CHUNK_BYTES)
    content = source.content(whole.path(3))
    for at in range(200, len(content), 97):
        source.flip(whole.path(3), at)
        upload, fetched = Upload(whole, 3), b""
        while piece := upload.read(len(fetched), 500):
            fetched += piece
        assert content.startswith(fetched)
        assert at - 2 * CHUNK_BYTES < len(fetched) <= at
        assert upload.damage is not None
        assert upload.damage.file == whole.path(3)
        assert upload.read(at, 10) == b""
        source.flip(whole.path(3), at)
    with_header = Upload(whole, 3)
    assert with_header.read(0, 1 << 20) == content
    assert with_header.damage is None
    source.flip(whole.path(3), 30)
    with pytest.raises(SnapshotDamaged):
        Upload(whole, 3)


def test_an_upload_goes_on_though_its_file_is_removed() -> None:
    source, _ = prepared()
    store = SnapshotStore(source, DIRECTORY)
    upload = Upload(store, 1)
    content = source.content(store.path(1))
    assert store.remove_all_but(1) == [1]
    assert store.remove_all_but(1) == []
    assert upload.read(0, 1 << 20) == content
    assert upload.read(5, 10) == content[5:15]
    assert upload.read(upload.size, 5) == b""
    assert upload.read(-1, 5) == b""
    assert upload.read(0, -1) == b""
