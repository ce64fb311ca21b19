"""A snapshot on its way from one node to another: the pieces that are sent, and the file that grows of them.

    Upload(store, index)                            size, identity, read(offset, size), damage
    Download(store, index, size, identity)          offset, write(offset, data), finish()

The receiver asks for what stands at its `offset`.  Its file keeps the name .part until every byte has been checked; after a
crash what is in it is checked chunk by chunk, the rest cut off, and the transfer goes on from there.

Rule: nothing that came over the network is believed: what finish() leaves is as right as a snapshot written here."""

from fastzk import limits
from fastzk.storage.snapshot_file import SnapshotDamaged, SnapshotMeta, header_checksum, read_chunks, read_header
from fastzk.storage.snapshots import PARTIAL, SnapshotStore


class Upload:
    """A snapshot that others may fetch; it can be read to its end even when it is removed meanwhile.

    What is read has been checked before: else a receiver would fetch the same damage for ever."""

    def __init__(self, store: SnapshotStore, index: int) -> None:
        """Raises SnapshotDamaged when its header is not right."""
        self.index = index
        # What is wrong with the file, once it was met: then no more than what stands before it can be had.
        self.damage: SnapshotDamaged | None = None
        self._file = store.disk.open(store.path(index))
        try:
            header = store.checked_header(self._file, index)[1]
        except SnapshotDamaged:
            self._file.close()
            raise
        self.identity = header_checksum(header)
        self.size = self._file.size()
        self._chunks = read_chunks(self._file, header)
        # Where the part of the file ends that has been checked.
        self._checked = len(header)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes, at most SNAPSHOT_PIECE_BYTES of them; fewer at the end, and before damage."""
        end = min(offset + min(size, limits.SNAPSHOT_PIECE_BYTES), self.size)
        if offset < 0 or size < 0:
            return b""
        try:
            while self._checked < end and self.damage is None:
                place, payload = next(self._chunks, (self.size, b""))
                self._checked = place + len(payload)
        except SnapshotDamaged as damage:
            self.damage = damage
        return self._file.read(offset, max(0, min(end, self._checked) - offset))

    def close(self) -> None:
        self._file.close()


class Download:
    """A snapshot being fetched.  Goes on with the .part file of the same snapshot; those of others are removed."""

    def __init__(self, store: SnapshotStore, index: int, size: int, identity: int) -> None:
        self.index = index
        self.size = size
        self.identity = identity
        self._store = store
        self._path = store.path(index, PARTIAL)
        for other in store.names(PARTIAL):
            if other != index:
                store.disk.remove(store.path(other, PARTIAL))
        is_there = store.disk.exists(self._path)
        self._file = store.disk.open(self._path, create=not is_there)
        self._unsynced = 0
        # How much of the file is there: what stands at this place is asked for next.
        self.offset = self._file.size()
        if self.offset:
            try:
                self._check()
            except SnapshotDamaged as damage:
                self._cut(damage.offset)

    @property
    def is_whole(self) -> bool:
        return self.offset == self.size

    def write(self, offset: int, data: bytes) -> bool:
        """Appends a piece; False when it is not the one that is due (one that came twice, or too late)."""
        if offset != self.offset or not data or offset + len(data) > self.size:
            return False
        self._file.write(offset, data)
        self.offset += len(data)
        self._unsynced += len(data)
        if self._unsynced >= limits.SNAPSHOT_SYNC_BYTES:
            self._file.sync()
            self._unsynced = 0
        return True

    def finish(self) -> SnapshotMeta:
        """Checks all of it and makes it a snapshot of this node.

        Raises SnapshotDamaged when it is not right; then it has been cut where the damage begins, and may go on."""
        try:
            meta = self._check()
        except SnapshotDamaged as damage:
            self._cut(damage.offset)
            raise
        self._file.sync()
        self._file.close()
        self._store.disk.rename(self._path, self._store.path(self.index))
        self._store.disk.sync_dir(self._store.directory)
        return meta

    def close(self) -> None:
        """Stops for now; the file stays."""
        self._file.close()

    def abandon(self) -> None:
        """Stops for good."""
        self._file.close()
        self._store.disk.remove(self._path)

    def _check(self) -> SnapshotMeta:
        """Checks the file as far as it goes.  Raises SnapshotDamaged, whose offset is where its right part ends."""
        meta, header = read_header(self._file)
        if meta.index != self.index or header_checksum(header) != self.identity:
            raise SnapshotDamaged(self._path, 0, "it is another snapshot than the one to be fetched")
        for _ in read_chunks(self._file, header):
            pass
        if self._file.size() != self.size:
            raise SnapshotDamaged(self._path, 0, f"it is whole with {self._file.size()} bytes, not {self.size} as was said")
        return meta

    def _cut(self, offset: int) -> None:
        self._file.truncate(offset)
        self.offset = offset
