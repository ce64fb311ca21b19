"""Goal: a snapshot is encoded by a thread without a lock while the writer never rests, and is what the arena was at the pin.

Method: the same arena is encoded twice: at rest, and from a pin by a thread beside a writer that changes, deletes and creates in
all of it.  The bytes must be equal, and the pages as well.  Then who frees the copies of pages, and what an arena that is not
sound gives."""

import mmap
import threading
from pathlib import Path
from random import Random

import pytest

from fastzk._core import _testing_snapshot as inside
from fastzk._core import _testing_tree as tree
from fastzk._core.arena import Arena
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import format_tree
from fastzk.storage.disk import RealDisk
from fastzk.storage.snapshot_thread import SnapshotThread
from fastzk.storage.snapshots import SnapshotStore, meta_of
from fastzk.testing.snapshots import contents, encode, end_of, new_arena

OPEN = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
READ = b"\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone"
PAGE = 4096


class Hammer:
    """Writes of every kind, all over an arena."""

    def __init__(self, arena: Arena, count: int) -> None:
        self.arena = arena
        self.random = Random(1)
        self.zxid = arena.applied_zxid
        self.paths = [b"/d%d/n%d" % (i % 20, i) for i in range(count)]
        self.writes = 0

    def create(self, path: bytes) -> None:
        self.zxid += 1
        random = self.random
        data = None if random.random() < 0.1 else random.randbytes(random.choice([0, 10, 100, 3000]))
        is_ephemeral = random.random() < 0.2
        tree.create(self.arena, path, data, random.choice([OPEN, READ]), int(is_ephemeral), 7, self.zxid, self.zxid)

    def step(self) -> None:
        path = self.random.choice(self.paths)
        self.zxid += 1
        self.writes += 1
        match self.random.randrange(6):
            case 0 | 1:
                tree.delete(self.arena, path, -1, self.zxid)
                self.create(path)
            case 2 | 3:
                tree.set_data(self.arena, path, self.random.randbytes(self.random.choice([0, 90, 3000])), -1, self.zxid, 1)
            case 4:
                tree.set_acl(self.arena, path, self.random.choice([OPEN, READ]), -1, self.zxid)
            case _:
                tree.create(self.arena, b"/more-", b"m" * 50, OPEN, 2, 0, self.zxid, 1)


def full_arena(count: int) -> tuple[Arena, Hammer]:
    arena = Arena.create(mmap.mmap(-1, 256 << 20))
    format_tree(arena)
    tree.create_session(arena, 7, 4000, b"p" * 16, 1, 5)
    hammer = Hammer(arena, count)
    for i in range(20):
        tree.create(arena, b"/d%d" % i, b"", OPEN, 0, 0, 2, 2)
    for path in hammer.paths:
        hammer.create(path)
    return arena, hammer


class Encoding(threading.Thread):
    """Encodes a pinned arena, a small chunk at a time."""

    def __init__(self, encoder: SnapshotEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.chunks: list[bytes] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.chunks += iter(self.encoder.next_chunk, None)
        except Exception as error:
            self.error = error


@pytest.mark.parametrize("chunk_bytes", [2000, 50_000, 1 << 20])
def test_what_is_encoded_beside_a_writer_is_what_was_there_at_the_pin(chunk_bytes: int) -> None:
    arena, hammer = full_arena(6000)
    at_rest = encode(arena, chunk_bytes)
    before = contents(arena)
    arena.pin()
    first, end = arena.pinned_ranges()[1]
    pages = arena.pinned_pages(first, end)
    encoding = Encoding(SnapshotEncoder(arena, chunk_bytes))
    encoding.start()
    while encoding.is_alive() or hammer.writes < 3000:
        hammer.step()
    encoding.join()
    assert encoding.error is None
    assert encoding.chunks == at_rest
    assert arena.pinned_pages(first, end) == pages
    assert contents(arena) != before
    assert arena.saved_count > 500
    arena.unpin()
    encoding.encoder.close()


def test_a_thread_writes_it_to_a_real_disk_beside_the_writer(tmp_path: Path) -> None:
    arena, hammer = full_arena(6000)
    before = contents(arena)
    store = SnapshotStore(RealDisk(), f"{tmp_path}/snapshots")
    arena.pin()
    encoder = SnapshotEncoder(arena, 50_000)
    thread = SnapshotThread(store.begin(meta_of(encoder, end_of(arena)), encoder))
    thread.start()
    while not thread.is_done:
        hammer.step()
    thread.release()
    thread.join()
    assert thread.error is None
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["snapshot.0000000000000000"]
    loaded = new_arena(256 << 20)
    assert store.load(0, loaded).state == encoder.state
    assert contents(loaded) == before != contents(arena)
    assert store.remove_all_but(0) == [0]
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_a_page_that_is_read_while_it_is_changed_is_the_page_of_the_pin() -> None:
    """The reader crosses the writer's way some times in each round: at the page that is being copied and changed."""
    arena = Arena.create(mmap.mmap(-1, 8 << 20))
    block = tree.alloc(arena, 4 << 20)
    first, end = (block * 16 + PAGE - 1) // PAGE, (block * 16 + (4 << 20)) // PAGE
    inside.fill_pages(arena, first, end, 0)
    pages_read = 0
    for value in range(1, 200):
        arena.pin()
        reader = inside.PinReader(arena)
        thread = threading.Thread(target=reader.run, args=(first, end, value - 1))
        thread.start()
        inside.fill_pages(arena, first, end, value)
        reader.stop()
        thread.join()
        assert reader.wrong == 0
        pages_read += reader.read
        arena.unpin()
    assert pages_read > 100_000


def test_every_page_is_copied_once_at_most_and_before_its_first_change() -> None:
    arena, hammer = full_arena(500)
    arena.pin()
    (_, end), (first, last) = arena.pinned_ranges()
    all_pages = end + last - first
    pages = arena.pinned_pages(first, last)
    for _ in range(4000):
        hammer.step()
    assert 0 < arena.saved_count <= all_pages
    assert arena.pinned_pages(first, last) == pages
    arena.unpin()
    assert arena.saved_count == 0
    assert not arena.is_pinned


def test_encoders_and_arena_let_go_of_a_pin_in_any_order() -> None:
    arena, hammer = full_arena(300)
    at_rest = encode(arena, 1000)
    for encoder_first in (True, False):
        arena.pin()
        encoder = SnapshotEncoder(arena, 1000)
        for _ in range(50):
            hammer.step()
        if encoder_first:
            encoder.close()
            arena.unpin()
        else:
            arena.unpin()
            encoder.close()
        with pytest.raises(RuntimeError, match="closed"):
            encoder.next_chunk()
        encoder.close()
    arena.pin()  # a pin that nobody encodes, an encoder that is only forgotten, an arena that goes first
    SnapshotEncoder(arena, 1000)
    encoder = SnapshotEncoder(arena, 1000)
    del arena
    assert encoder.next_chunk() is not None
    assert encoder.next_chunk() not in at_rest


def test_only_a_pinned_arena_is_encoded() -> None:
    arena, _ = full_arena(1)
    with pytest.raises(RuntimeError, match="not pinned"):
        SnapshotEncoder(arena, 1000)


# Where some fields of a znode stand.
SPOILT = {"czxid": 0, "version": 52, "acl": 76, "data size": 84, "child list": 88, "child count": 92, "path": 101}


@pytest.mark.parametrize("field", SPOILT)
def test_of_an_arena_that_is_not_sound_there_is_no_snapshot(field: str) -> None:
    """A bit that a memory has lost must not be made permanent under right checksums."""
    arena, _ = full_arena(200)
    offset = inside.znode_offset(arena, b"/d3") + SPOILT[field]
    inside.spoil(arena, offset, b"\xa5")
    with pytest.raises(RuntimeError, match="not sound"):
        encode(arena, 1000)
