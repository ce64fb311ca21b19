"""The snapshots of a node: a directory of files, one for each, written beside everything else that goes on.

    DATA/snapshots/snapshot.<index:016x>          a whole one
                   snapshot.<index:016x>.tmp      being written; removed at the next start
                   snapshot.<index:016x>.part     being fetched from another node (snapshot_transfer.py)

Rule: a file has its name only when all of it is on the disk: written, synced, renamed, and the directory synced.
Rule: a snapshot that cannot be written is given up and its file removed; the node goes on, the log has it all.
Rule: nobody reads a damaged snapshot in silence: what is wrong is raised, with file and offset."""

import re
from collections.abc import Generator

from fastzk import limits
from fastzk._core.arena import Arena
from fastzk._core.snapshot_load import RecordDamaged, SnapshotLoader
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk.storage.disk import Disk, File
from fastzk.storage.segments import End
from fastzk.storage.snapshot_file import ChunkWriter, SnapshotDamaged, SnapshotMeta, header_checksum, read_chunks, read_header

TEMPORARY, PARTIAL = ".tmp", ".part"
# The smallest records there are: with fewer bytes in the file its header counts what cannot be.
ZNODE_BYTES_MIN, SESSION_BYTES_MIN, VECTOR_BYTES_MIN, EPHEMERAL_BYTES_MIN = 28, 72, 8, 4

_NAME = re.compile(r"snapshot\.([0-9a-f]{16})(\.tmp|\.part)?")


# SnapshotStore has a method `list`.
Indexes = list[int]
Damages = list[SnapshotDamaged]


def snapshot_name(index: int, suffix: str = "") -> str:
    return f"snapshot.{index:016x}{suffix}"


class SnapshotStore:
    """The snapshots in a directory, which is made if need be; what a crash left half written is removed."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.disk = disk
        self.directory = directory
        if not disk.exists(directory):
            disk.make_dir(directory)
            disk.sync_dir(directory.rpartition("/")[0] or ".")
        left = self.names(TEMPORARY)
        for index in left:
            disk.remove(self.path(index, TEMPORARY))
        if left:
            disk.sync_dir(directory)

    def path(self, index: int, suffix: str = "") -> str:
        return f"{self.directory}/{snapshot_name(index, suffix)}"

    def names(self, suffix: str = "") -> Indexes:
        """The indexes of the files with this suffix, lowest first.  Files that are named otherwise are left alone."""
        found = (_NAME.fullmatch(name) for name in self.disk.list(self.directory))
        return [int(match[1], 16) for match in found if match is not None and (match[2] or "") == suffix]

    def list(self) -> Indexes:
        """The indexes of the whole snapshots, oldest first."""
        return self.names()

    def begin(self, meta: SnapshotMeta, encoder: SnapshotEncoder) -> "SnapshotJob":
        """Begins to write the snapshot that the encoder gives; nothing happens before the job's first step."""
        return SnapshotJob(self, meta, encoder)

    def read_meta(self, index: int) -> SnapshotMeta:
        """What its header says.  Raises SnapshotDamaged."""
        file = self.disk.open(self.path(index))
        try:
            return self.checked_header(file, index)[0]
        finally:
            file.close()

    def verify(self, index: int) -> SnapshotMeta:
        """Reads a snapshot to its end and checks every byte.  Raises SnapshotDamaged."""
        file = self.disk.open(self.path(index))
        try:
            meta, header = self.checked_header(file, index)
            for _ in read_chunks(file, header):
                pass
            return meta
        finally:
            file.close()

    def load(self, index: int, arena: Arena) -> SnapshotMeta:
        """Fills a new arena from a snapshot.  Raises SnapshotDamaged, or MemoryError when the arena is too small; after
        either the arena is good for nothing."""
        file = self.disk.open(self.path(index))
        try:
            meta, header = self.checked_header(file, index)
            loader = SnapshotLoader(arena, meta.state)
            offset = 0
            try:
                for offset, payload in read_chunks(file, header):  # noqa: B007
                    loader.add_chunk(payload)
                offset = 0  # what is wrong with the whole is the header's fault, or nobody's
                loader.finish()
            except RecordDamaged as damage:
                raise SnapshotDamaged(file.path, offset + damage.offset, damage.reason) from damage
            return meta
        finally:
            file.close()

    def newest_right(self) -> tuple[SnapshotMeta | None, Damages]:
        """The newest snapshot whose bytes are right, if there is one; and what is wrong with those that are newer."""
        damaged: Damages = []
        for index in reversed(self.list()):
            try:
                return self.verify(index), damaged
            except SnapshotDamaged as damage:
                damaged.append(damage)
        return None, damaged

    def remove(self, *indexes: int) -> None:
        """Removes these snapshots for certain."""
        for index in indexes:
            self.disk.remove(self.path(index))
        if indexes:
            self.disk.sync_dir(self.directory)

    def remove_all_but(self, count: int) -> Indexes:
        """Keeps the newest `count`; gives the indexes of those removed, oldest first."""
        gone = self.list()[: -count or None]
        self.remove(*gone)
        return gone

    def checked_header(self, file: File, index: int) -> tuple[SnapshotMeta, bytes]:
        """The header of the whole snapshot of this index.  Raises SnapshotDamaged."""
        meta, header = read_header(file)
        if meta.index != index:
            raise SnapshotDamaged(file.path, 0, f"it is of index {meta.index}, its name says {index}")
        state = meta.state
        bytes_min = (
            state.znodes * ZNODE_BYTES_MIN
            + state.sessions * SESSION_BYTES_MIN
            + state.vectors * VECTOR_BYTES_MIN
            + state.ephemerals * EPHEMERAL_BYTES_MIN
        )
        if bytes_min > file.size():
            raise SnapshotDamaged(file.path, 0, f"it has {file.size()} bytes; what its header counts needs {bytes_min}")
        return meta, header


def meta_of(encoder: SnapshotEncoder, end: End, *, history: int = 0, membership: bytes = b"", chain: bytes = b"") -> SnapshotMeta:
    """The header of the snapshot that the encoder gives, made at the end of the log's block."""
    state = encoder.state
    assert (state.last_index, state.last_zxid, state.last_time_ms) == (end.last_index, end.last_zxid, end.last_time_ms), (
        f"the arena is at {state.last_index}, {state.last_zxid:#x}, {state.last_time_ms}; the log's block ends at {end}"
    )
    return SnapshotMeta(state, end.last_checksum, history, membership, chain)


class SnapshotJob:
    """One snapshot being written.

        while job.step(): ...                  any one thread
        job.release()                          the arena's writer, when the steps are over, however they ended

    A step that raises OSError (the disk), or RuntimeError (the arena is not sound), has given the snapshot up."""

    def __init__(self, store: SnapshotStore, meta: SnapshotMeta, encoder: SnapshotEncoder) -> None:
        self.meta = meta
        # Bytes of the file so far.
        self.size = 0
        # The file has its name.
        self.is_written = False
        self._store = store
        self._encoder = encoder
        self._temporary = store.path(meta.index, TEMPORARY)
        self._file: File | None = None
        self._unsynced = 0
        self._steps = self._run()

    def step(self) -> bool:
        """Writes one chunk; False when there was nothing left to do."""
        try:
            return next(self._steps, False)
        except (OSError, RuntimeError) as error:
            try:
                self.abort()
            except OSError as another:
                error.add_note(f"{self._temporary} could not be removed: {another}")
            raise

    def abort(self) -> None:
        """Gives the snapshot up and removes its file; nothing happens to one that is written.  Then step() gives False."""
        self._steps.close()
        if self._file is not None:
            self._file.close()
            self._file = None
            if self._store.disk.exists(self._temporary):
                self._store.disk.remove(self._temporary)

    def release(self) -> None:
        """Unpins the arena, and frees the copies of pages: tens of milliseconds, if many were written to meanwhile."""
        self.unpin()
        self.free()

    def unpin(self) -> None:
        """The first half of release(): the arena's writer's, and done in no time."""
        self._encoder.arena.unpin()

    def free(self) -> None:
        """The second half: any thread's."""
        self._encoder.close()

    def _run(self) -> Generator[bool, None, None]:
        store, disk = self._store, self._store.disk
        header = self.meta.encode()
        writer = ChunkWriter(header_checksum(header))
        if disk.exists(self._temporary):  # of one that was given up and could not be removed
            disk.remove(self._temporary)
        file = self._file = disk.open(self._temporary, create=True)
        self._write(file, header)
        while (payload := self._encoder.next_chunk()) is not None:
            self._write(file, writer.frame(payload))
            self._write(file, payload)
            if self._unsynced >= limits.SNAPSHOT_SYNC_BYTES:
                file.sync()
                self._unsynced = 0
            yield True
        self._write(file, writer.end())
        file.sync()
        file.close()
        disk.rename(self._temporary, store.path(self.meta.index))
        self._file = None
        disk.sync_dir(store.directory)
        self.is_written = True

    def _write(self, file: File, data: bytes) -> None:
        file.write(self.size, data)
        self.size += len(data)
        self._unsynced += len(data)
