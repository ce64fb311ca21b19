"""The log thread's simulated twin: the same bytes in the same order of writes and syncs, on any Disk, a step at a time.

    appender = SimulatedAppender.after(log)
    writer = LogWriter(log, appender=appender)
    writer.append(ranges); appender.step(); writer.take_done()

Rule: what _tail.pyx and _appender.pyx write, this writes; a test compares the files byte by byte."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastzk._core.blocks import BlockInfo, check
from fastzk.limits import SEGMENT_BYTES_MAX
from fastzk.raft.messages import Payload
from fastzk.storage.disk import Disk, File
from fastzk.storage.log import SegmentLog
from fastzk.storage.segments import HEADER_SIZE, MARK_SIZE, End, pack_header, pack_mark, segment_name

ZEROS_AHEAD = 256 << 10
BATCH_BLOCKS_MAX = 1000
BATCH_BYTES_MAX = 8 << 20
ALIGNMENT = 4096


@dataclass(slots=True)
class _Cut:
    removed: list[int]
    # None: only the removal.
    end: End | None = None
    target: int = 0
    offset: int = 0


class SimulatedAppender:
    """Stands in for storage's Appender.  Nothing is done before step() or close()."""

    def __init__(self, disk: Disk, directory: str, segment: int, offset: int, size: int, end: End, most: int) -> None:
        self.fd = -1
        self.error: tuple[int, str, int, str] | None = None
        self._disk = disk
        self._directory = directory
        self._segment_bytes_max = most
        # Smaller in tests of small segments; at least ALIGNMENT.
        self.zeros_ahead = ZEROS_AHEAD
        self._file: File | None = disk.open(f"{directory}/{segment_name(segment)}") if segment else None
        self._segment = segment
        self._offset = offset
        self._size = size
        self._end = end
        self._queue: deque[bytes | _Cut] = deque()
        self._done: list[tuple[int, int] | None] = []
        self._syncs = 0
        # What is being done, for the error.
        self._doing = ("", "", 0)

    @classmethod
    def after(cls, log: SegmentLog, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> "SimulatedAppender":
        """One that goes on where a log that was just opened ends."""
        segment, size = log.last_segment()
        return cls(log.disk, log.directory, segment, log.offset, size, replace(log.end), segment_bytes_max)

    def append(self, payloads: Sequence[Payload]) -> None:
        self._queue.extend(bytes(payload) for payload in payloads)

    def cut(self, removed: Sequence[int], target: int, target_offset: int, end: tuple[int, int, int, int]) -> None:
        self._queue.append(_Cut(list(removed), End(*end), target, target_offset))

    def drop(self, removed: Sequence[int]) -> None:
        self._queue.append(_Cut(list(removed)))

    def take(self) -> tuple[list[tuple[int, int] | None], int, int]:
        done, self._done = self._done, []
        return done, self._syncs, 0

    def step(self, blocks_max: int = BATCH_BLOCKS_MAX) -> bool:
        """Does the next cut, or writes the next batch, of at most so many blocks; False if there was nothing to do."""
        if not self._queue or self.error is not None:
            return False
        try:
            item = self._queue[0]
            if isinstance(item, _Cut):
                self._cut(item)
                self._queue.popleft()
                self._done.append(None)
            else:
                self._write_batch(blocks_max)
        except OSError as e:
            what, file, offset = self._doing
            self.error = (e.errno or 0, file, offset, what)
        return True

    @property
    def has_work(self) -> bool:
        """Whether step() would do something."""
        return bool(self._queue) and self.error is None

    def wait(self) -> None:
        self.step()

    def close(self) -> None:
        """Does all that is queued, and seals the log."""
        while self.step():
            pass
        if self.error is None and self._file is not None:
            try:
                self._seal()
                self._end_file()
            except OSError as e:
                what, file, offset = self._doing
                self.error = (e.errno or 0, file, offset, what)

    def _path(self, segment: int) -> str:
        return f"{self._directory}/{segment_name(segment)}"

    def _is_full(self, more: int) -> bool:
        has_blocks = self._end.last_index >= self._segment
        return has_blocks and self._offset + MARK_SIZE + more > self._segment_bytes_max

    def _write_batch(self, blocks_max: int) -> None:
        first = self._queue[0]
        assert isinstance(first, bytes)
        if self._file is not None and self._is_full(len(first)):
            self._end_file()
        if self._file is None:
            self._create_segment()
        batch: list[bytes] = []
        places: list[tuple[int, int]] = []
        end, size = replace(self._end), 0
        for payload in self._queue:
            if isinstance(payload, _Cut) or len(batch) == min(blocks_max, BATCH_BLOCKS_MAX):
                break
            after = self._offset + MARK_SIZE + size + len(payload)
            if batch and (size + len(payload) > BATCH_BYTES_MAX or after > self._segment_bytes_max):
                break
            block: BlockInfo = check(payload)
            assert end.why_not_next(block) is None, f"{block} does not follow {end}"
            end.advance(block)
            places.append((self._segment, self._offset + MARK_SIZE + size))
            batch.append(payload)
            size += len(payload)
        after = self._offset + MARK_SIZE + size
        parts = [pack_mark(self._offset, self._end.last_checksum, size), *batch]
        if after > self._size:
            self._size = after
            if size < self.zeros_ahead and after + self.zeros_ahead <= self._segment_bytes_max:
                self._size = (after + self.zeros_ahead) // ALIGNMENT * ALIGNMENT
                parts.append(bytes(self._size - after))
        self._write(b"".join(parts))
        self._sync()
        self._offset, self._end = after, end
        self._syncs += 1
        for _ in batch:
            self._queue.popleft()
        self._done += places

    def _cut(self, cut: _Cut) -> None:
        for segment in cut.removed:
            self._doing = ("remove", self._path(segment), 0)
            self._disk.remove(self._path(segment))
            self._sync_dir()
        if cut.end is None:
            return
        self._end = replace(cut.end)
        if cut.target == 0:
            self._create_segment()
            return
        self._file = self._disk.open(self._path(cut.target))
        self._segment, self._offset = cut.target, cut.offset
        self._cut_file()
        self._seal()

    def _create_segment(self) -> None:
        self._segment, self._offset = self._end.last_index + 1, 0
        self._doing = ("create", self._path(self._segment), 0)
        self._file = self._disk.open(self._path(self._segment), create=True)
        self._write(pack_header(self._end))
        self._offset = self._size = HEADER_SIZE
        self._sync()
        self._sync_dir()

    def _seal(self) -> None:
        self._write(pack_mark(self._offset, self._end.last_checksum, 0))
        self._offset += MARK_SIZE
        self._size = max(self._size, self._offset)
        self._sync()

    def _end_file(self) -> None:
        if self._size > self._offset:
            self._cut_file()
        assert self._file is not None
        self._file.close()
        self._file = None

    def _cut_file(self) -> None:
        assert self._file is not None
        self._doing = ("truncate", self._file.path, self._offset)
        self._file.truncate(self._offset)
        self._size = self._offset
        self._sync()

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._doing = ("write", self._file.path, self._offset)
        self._file.write(self._offset, data)

    def _sync(self) -> None:
        assert self._file is not None
        self._doing = ("sync", self._file.path, self._offset)
        self._file.sync()

    def _sync_dir(self) -> None:
        self._doing = ("sync of the directory", self._directory, 0)
        self._disk.sync_dir(self._directory)
