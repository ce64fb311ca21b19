"""A data directory as long use leaves it: many znodes, snapshots and a long log, made without a node that runs for so long.

    grow(data_dir, znodes=1_000_000, blocks=150_000, behind=40_000)

Rule: the directory is a node's that stood alone and was stopped; what it holds stays true, so the node can go on.

The znodes are made in an arena and told by a snapshot, behind which the log begins anew.  The log's blocks have one entry each,
a write to one of the znodes, and reach the disk in batches; `behind` of them are behind the newest snapshot."""

import itertools
import mmap
import struct
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import check, make_entry, seal
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import format_tree
from fastzk.raft.messages import Range
from fastzk.storage.disk import RealDisk
from fastzk.storage.identity import DataDirectory
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.rebuild import remove_all, restart_behind
from fastzk.storage.snapshots import SnapshotStore, meta_of
from fastzk.testing.ensemble import POLL_S, SERVE_S_MAX, Node
from fastzk.testing.model import packed
from fastzk.testing.rawclient import RawClient
from fastzk.wire.blocks import range_of
from fastzk.wire.records import GetData

SESSION_ID = 1 << 56
OPEN = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
CREATE, SET_DATA, CREATE_SESSION, CLOSE_SESSION = 1, 5, -10, -11
DIRECTORIES = 100
DATA_BYTES = 100
ENTRIES_EACH = 1000  # of a block that makes znodes
BATCH_BLOCKS = 500
ARENA_BYTES, ARENA_BYTES_PER_ZNODE = 4 << 30, 1024  # the larger of both, and not touched: half of an arena may be filled


def path_of(number: int) -> str:
    """Where a znode is, by its number."""
    return f"/d{number % DIRECTORIES:03d}/znode-{number:07d}"


def grow(data_dir: Path, znodes: int, blocks: int = 0, behind: int = 0) -> None:
    """Gives the directory so many more znodes, and so many blocks of log, some of them behind the newest snapshot."""
    directory = DataDirectory.claim(str(data_dir), 1)
    try:
        _Growth(directory, znodes).run(znodes, blocks, behind)
    finally:
        directory.close()


def first_read(node: Node) -> float:
    """Starts the node; seconds until it has answered a read.  Raises TimeoutError."""
    begin = time.perf_counter()
    node.start()
    while time.perf_counter() - begin < SERVE_S_MAX:
        # Before it serves it refuses, or closes what it has accepted.
        with suppress(OSError, EOFError), RawClient(node.zk, timeout_s=SERVE_S_MAX) as raw:
            raw.connect()
            assert raw.call(GetData(path_of(0), False)).err == 0
            return time.perf_counter() - begin
        time.sleep(POLL_S)
    raise TimeoutError(f"no read is answered within {SERVE_S_MAX:g} s\n{node.log_tail()}")


class _Growth:
    """One directory that grows."""

    def __init__(self, directory: DataDirectory, znodes: int) -> None:
        self.directory = directory
        self.disk = RealDisk()
        self.store = SnapshotStore(self.disk, f"{directory.path}/snapshots")
        self.arena = Arena.create(mmap.mmap(-1, max(ARENA_BYTES, znodes * ARENA_BYTES_PER_ZNODE)))
        format_tree(self.arena)
        self.machine = Machine(self.arena, 1)
        log = SegmentLog.open(self.disk, directory.log_path)
        for entries in log.ranges(1):
            self.machine.apply(entries.payload)
        self.end = log.end
        first = next(iter(log.ranges(1)))
        self.history = check(first.payload).checksum
        log.close()
        self.serial = self.attach_zxid = 0
        self.random = Random(1)

    def run(self, znodes: int, blocks: int, behind: int) -> None:
        self._make_znodes(znodes)
        self._take_snapshot()
        remove_all(self.disk, self.directory.log_path)
        restart_behind(self.disk, self.directory.log_path, self.end)
        log = SegmentLog.open(self.disk, self.directory.log_path)
        writer = LogWriter(log)
        for number in range(blocks):
            if number == blocks - behind:
                self._take_snapshot()
            if number % BATCH_BLOCKS == 0:
                _wait(writer)
            body = packed(path_of(self.random.randrange(znodes)).encode()) + packed(bytes(DATA_BYTES)) + b"\xff" * 4
            # The last one ends the session, which nobody holds.
            is_last = number == blocks - 1
            writer.append([self._block([self._close() if is_last else self._entry(SET_DATA, body)])])
        if blocks and not behind:
            self._take_snapshot()
        writer.close()
        log.close()

    def _make_znodes(self, count: int) -> None:
        before = self.arena.counters()["znode_count"]
        self.attach_zxid = self.end.last_zxid + 1
        self._block([make_entry(CREATE_SESSION, struct.pack(">i", 4000) + bytes(16), SESSION_ID)])
        paths = itertools.chain((f"/d{number:03d}" for number in range(DIRECTORIES)), map(path_of, range(count)))
        data = packed(bytes(DATA_BYTES))
        while some := list(itertools.islice(paths, ENTRIES_EACH)):
            self._block([self._entry(CREATE, packed(path.encode()) + data + OPEN + bytes(4)) for path in some])
        made = self.arena.counters()["znode_count"] - before
        if made != DIRECTORIES + count:
            raise RuntimeError(f"{made:,} of {DIRECTORIES + count:,} znodes were made")

    def _entry(self, op: int, body: bytes) -> bytes:
        self.serial += 1
        return make_entry(op, body, SESSION_ID, self.attach_zxid, self.serial, 1, 1)

    def _close(self) -> bytes:
        return make_entry(CLOSE_SESSION, b"", SESSION_ID, self.attach_zxid)

    def _block(self, entries: list[bytes]) -> Range:
        """Applies entries as one block."""
        end = self.end
        block = seal(entries, len(entries), end.last_index + 1, end.last_zxid + 1, end.last_time_ms, end.last_checksum)
        self.machine.apply(block)
        end.advance(check(block))
        return range_of(block)

    def _take_snapshot(self) -> None:
        self.arena.pin()
        encoder = SnapshotEncoder(self.arena, limits.SNAPSHOT_CHUNK_BYTES)
        chain = self.machine.digest_chain.to_bytes(8, "little")
        meta = meta_of(encoder, self.end, history=self.history, membership=self.directory.members, chain=chain)
        job = self.store.begin(meta, encoder)
        try:
            while job.step():
                pass
        finally:
            job.release()


def _wait(writer: LogWriter) -> None:
    """Until all is on the disk."""
    while writer.in_flight_count:
        writer._appender.wait()
        writer.take_done()
