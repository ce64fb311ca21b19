"""The log of a node: recovered, read and written.  The door to the segments and the log thread.

    log = SegmentLog.open(RealDisk(), "DATA/log")       raises LogDamaged; log.cut tells of a torn tail that was cut
    for entries in log.ranges(applied_index + 1): ...   replay
    writer = LogWriter(log)                             from here on only it changes the log
    writer.append(ranges); ... writer.fd is readable: writer.take_done()

Rule: a SegmentLog knows only what is on the disk; what is queued becomes visible in it in take_done().
Rule: nothing above take_done().last_index may be acknowledged (Z2).
Rule: one thread, the engine's, calls all of this; the log thread is behind the Appender."""

import errno
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import NamedTuple, Protocol

from fastzk._core.blocks import BlockDamaged, BlockInfo, check
from fastzk.limits import REPLAY_BYTES, SEGMENT_BYTES_MAX
from fastzk.raft.membership import Membership
from fastzk.raft.messages import Payload, Range
from fastzk.storage._appender import Appender
from fastzk.storage.disk import Disk, File
from fastzk.storage.segments import (
    HEADER_SIZE,
    Cut,
    End,
    LogDamaged,
    Scan,
    pack_mark,
    scan,
    segment_name,
    unpack_header,
)
from fastzk.wire.blocks import range_from

__all__ = ["Done", "LogDamaged", "LogFailed", "LogWriter", "SegmentLog"]


class LogFailed(Exception):  # noqa: N818
    """The disk refused a write or a sync of the log.  What it holds now is unknown: the process must end."""

    def __init__(self, code: int, file: str, offset: int, what: str) -> None:
        super().__init__(f"{file}: offset {offset}: {what} failed: {errno.errorcode.get(code, code)}")
        self.code = code
        self.file = file
        self.offset = offset


class Done(NamedTuple):
    """How far the log is synced."""

    # The highest index on the disk, and its epoch.
    last_index: int
    epoch: int
    # Batches synced since the writer was made, and how long the last sync took.
    syncs: int
    sync_ns: int


class SegmentLog:
    """The blocks on the disk, by index."""

    def __init__(self, disk: Disk, directory: str, found: Scan) -> None:
        self.disk = disk
        self.directory = directory
        # What recovery cut off; None after an orderly close.
        self.cut: Cut | None = found.cut
        # What the first block follows: the empty log's, or that of a snapshot.
        self.start = found.start
        # Where the last block ends that is on the disk.  Moves in LogWriter only.  Never before start.
        self.end = found.end
        # First indexes of the segment files, oldest first.
        self.segments = found.segments
        self.blocks = found.blocks
        # Where the writer goes on in the last segment.
        self.offset = found.offset
        self._file: File | None = None
        # Where recovery found the blocks that bring a membership.
        self._membership_indexes = found.memberships

    @classmethod
    def open(cls, disk: Disk, directory: str) -> "SegmentLog":
        """Recovers the log of a directory: checks all of it, cuts a torn tail, proves the rest by a seal.

        Raises LogDamaged, with nothing changed, or OSError."""
        return cls.adopt(disk, directory, scan(disk, directory))

    @classmethod
    def adopt(cls, disk: Disk, directory: str, found: Scan) -> "SegmentLog":
        """The log that scan() has found: cuts its torn tail, proves the rest by a seal.  Raises OSError."""
        assert found.damage is None, f"{found.damage}"
        if found.cut is not None and found.cut.is_removed:
            disk.remove(found.cut.file)
        # A process that was killed may have left pages unsynced; what is reported as logged from here on must not be.
        disk.sync_dir(directory)
        if found.segments:
            _seal(disk, directory, found)
        return cls(disk, directory, found)

    @property
    def first_index(self) -> int:
        """Of the oldest entry held; last_index + 1 if there is none."""
        return self.start.last_index + 1

    @property
    def last_index(self) -> int:
        return self.end.last_index

    @property
    def last_zxid(self) -> int:
        return self.end.last_zxid

    @property
    def last_epoch(self) -> int:
        return self.end.last_zxid >> 32

    @property
    def last_checksum(self) -> int:
        """What the next block's `previous` must be."""
        return self.end.last_checksum

    @property
    def last_time_ms(self) -> int:
        return self.end.last_time_ms

    def epoch_at(self, index: int) -> int | None:
        """The epoch of an entry, also of the one just before the first; None for an index the log does not hold."""
        if index == self.start.last_index:
            return self.start.last_zxid >> 32
        if not self.start.last_index < index <= self.end.last_index:
            return None
        return self.blocks.first_zxid[self.blocks.find(index)] >> 32

    def memberships(self) -> list[tuple[int, Membership]]:
        """Last index and membership of each block that brought one as the log was opened, oldest first."""
        held = [self.read(index, 1)[0] for index in self._membership_indexes]
        return [(entries.last_index, entries.membership) for entries in held if entries.membership is not None]

    def ranges(self, first_index: int) -> Iterator[Range]:
        """Every range from the one that holds first_index on, in pieces of bounded memory.  Raises LogDamaged."""
        while first_index <= self.end.last_index:
            for entries in self.read(first_index, REPLAY_BYTES):
                yield entries
                first_index = entries.last_index + 1

    def read(self, first_index: int, bytes_max: int) -> list[Range]:
        """Ranges from the one that holds first_index on: as many as bytes_max allows, at least one if there is one.

        Raises ValueError for an index before the first, LogDamaged for a block that changed since it was checked."""
        if first_index < self.first_index:
            raise ValueError(f"index {first_index} is before the first of the log, {self.first_index}")
        found: list[Range] = []
        if first_index > self.end.last_index:
            return found
        place, size = self.blocks.find(first_index), 0
        while place < len(self.blocks) and (not found or size + self.blocks.size[place] <= bytes_max):
            # Neighbours in a file are read together.
            stop, begin = place + 1, self.blocks.offset[place]
            size += self.blocks.size[place]
            while stop < len(self.blocks) and self.blocks.segment[stop] == self.blocks.segment[place]:
                if size + self.blocks.size[stop] > bytes_max:
                    break
                size += self.blocks.size[stop]
                stop += 1
            end = self.blocks.offset[stop - 1] + self.blocks.size[stop - 1]
            piece = memoryview(self._open(self.blocks.segment[place]).read(begin, end - begin))
            found += [self._range(at, piece, begin) for at in range(place, stop)]
            place = stop
        return found

    def close(self) -> None:
        """Closes the file that was read last."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def path(self, segment: int) -> str:
        return f"{self.directory}/{segment_name(segment)}"

    def header(self, segment: int) -> End:
        """What a segment goes on from.  Raises LogDamaged."""
        end = unpack_header(self._open(segment).read(0, HEADER_SIZE))
        if end is None:
            raise LogDamaged(self.path(segment), 0, "the header changed since it was written")
        return end

    def last_segment(self) -> tuple[int, int]:
        """(first index, bytes of the file) of the last segment; (0, 0) if there is none."""
        return (self.segments[-1], self._open(self.segments[-1]).size()) if self.segments else (0, 0)

    def end_at(self, index: int) -> tuple[int, End, int, int]:
        """(blocks kept, end, segment, offset) of this log if it ended with index, which ends a block or is start's."""
        if index == self.start.last_index:
            return 0, replace(self.start), self.segments[0] if self.segments else 0, HEADER_SIZE
        place = self.blocks.find(index)
        segment, offset, size = self.blocks.segment[place], self.blocks.offset[place], self.blocks.size[place]
        block = self._check(place, self._open(segment).read(offset, size))
        assert block.last_index == index, f"index {index} does not end a block: {block}"
        return place + 1, End.after(block), segment, offset + size

    def _range(self, place: int, piece: memoryview, begin: int) -> Range:
        at = self.blocks.offset[place] - begin
        payload = piece[at : at + self.blocks.size[place]]
        block = self._check(place, payload)
        return range_from(block, payload)

    def _check(self, place: int, payload: Payload) -> BlockInfo:
        """The block that was read back for a place of the index.  Raises LogDamaged."""
        try:
            block = check(payload)
        except BlockDamaged as e:
            raise self._damaged(place, f"changed since it was written: {e}") from e
        if block.first_index != self.blocks.first_index[place]:
            raise self._damaged(place, f"holds index {block.first_index}, not {self.blocks.first_index[place]}")
        return block

    def _damaged(self, place: int, reason: str) -> LogDamaged:
        return LogDamaged(self.path(self.blocks.segment[place]), self.blocks.offset[place], reason)

    def _open(self, segment: int) -> File:
        path = self.path(segment)
        if self._file is None or self._file.path != path:
            self.close()
            self._file = self.disk.open(path)
        return self._file


def _seal(disk: Disk, directory: str, found: Scan) -> None:
    """Cuts what is torn and makes the rest of the last segment proven."""
    file = disk.open(f"{directory}/{segment_name(found.segments[-1])}")
    try:
        if found.cut is not None and not found.cut.is_removed:
            file.truncate(found.offset)
        if not found.is_sealed or found.cut is not None:
            # In this order: behind a seal there is nothing but zeros.
            file.sync()
            seal = pack_mark(found.offset, found.end.last_checksum, 0)
            file.write(found.offset, seal)
            found.offset += len(seal)
        file.sync()
    finally:
        file.close()


class AppenderLike(Protocol):
    """What a LogWriter asks of the log thread, or of its simulated twin."""

    @property
    def fd(self) -> int: ...
    @property
    def error(self) -> tuple[int, str, int, str] | None: ...
    def append(self, payloads: Sequence[Payload]) -> None: ...
    def cut(self, removed: Sequence[int], target: int, target_offset: int, end: tuple[int, int, int, int]) -> None: ...
    def drop(self, removed: Sequence[int]) -> None: ...
    def take(self) -> tuple[list[tuple[int, int] | None], int, int]: ...
    def wait(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Cut:
    """The log is to end here; is_restart: and to hold nothing, going on from here."""

    end: End
    is_restart: bool = False


class LogWriter:
    """Queues changes of the log for the log thread.  Nothing here waits for the disk, except close() and the start.

    Cuts are ordered with appends: one that finds anything in flight is held back, and all that is queued behind it,
    until that is done; only then is it known where in which file to cut."""

    def __init__(
        self,
        log: SegmentLog,
        *,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        appender: AppenderLike | None = None,
    ) -> None:
        self.log = log
        if appender is None:
            segment, size = log.last_segment()
            appender = Appender(log.directory, segment, log.offset, size, log.end.as_tuple(), segment_bytes_max)
        self._appender = appender
        # Where the log will end when all that is queued is done.
        self._queued_end = replace(log.end)
        # Handed to the log thread and not yet reported by it, in order; None is a removal of old segments.
        self._in_flight: deque[BlockInfo | _Cut | None] = deque()
        # Not yet handed over; begins with a cut that waits for what is in flight.
        self._held: deque[tuple[BlockInfo, Payload] | _Cut] = deque()

    @property
    def fd(self) -> int:
        """An eventfd: readable when take_done() has something to say."""
        return self._appender.fd

    @property
    def error(self) -> LogFailed | None:
        """What ended the log thread, for good."""
        failed = self._appender.error
        return None if failed is None else LogFailed(*failed)

    @property
    def queued_index(self) -> int:
        """Where the log will end when all that is queued is done."""
        return self._queued_end.last_index

    @property
    def queued_checksum(self) -> int:
        """What the `previous` of the next block to be queued must be."""
        return self._queued_end.last_checksum

    @property
    def in_flight_count(self) -> int:
        """Blocks and cuts that are queued and not yet reported done."""
        return len(self._in_flight) + len(self._held)

    def append(self, ranges: Iterable[Range]) -> None:
        """Queues ranges, whose payloads are sealed blocks that follow what was queued last; their bytes are lent.

        Raises ValueError, with nothing queued, for a payload that is no right block, or not the range's, or does not
        follow."""
        checked: list[tuple[BlockInfo, Payload]] = []
        end = replace(self._queued_end)
        for entries in ranges:
            block = check(entries.payload)
            reason = end.why_not_next(block)
            if (block.first_index, block.last_index, block.first_zxid) != (
                entries.first_index,
                entries.last_index,
                entries.first_zxid,
            ):
                reason = f"the range holds {block}"
            if reason is not None:
                raise ValueError(f"range {entries.first_index}..{entries.last_index}: {reason}")
            end.advance(block)
            checked.append((block, entries.payload))
        self._queued_end = end
        self._held += checked
        self._release()

    def truncate_after(self, index: int) -> None:
        """Queues the removal of everything behind index, which must end a range.

        From now on take_done() tells of no index above it but of those appended later."""
        assert self.log.start.last_index <= index, f"index {index} is before the first, {self.log.first_index}"
        assert index <= self.queued_index, f"index {index} is behind the last queued, {self.queued_index}"
        if index < self.queued_index:
            self._cut(_Cut(self._end_at(index)))

    def restart(self, end: End) -> None:
        """Queues the removal of the whole log; it goes on from `end`, where a snapshot stands that is on the disk.

        A crash leaves some of the old log, none, or the new start: a log that ends before its snapshot is restarted."""
        self._cut(_Cut(replace(end), is_restart=True))

    def remove_before(self, index: int) -> None:
        """Queues the removal of the segments that hold nothing but entries before index.  The last one always stays."""
        log = self.log
        removed = [s for s, following in pairwise(log.segments) if following <= index]
        if removed and not self._held:
            start = log.header(log.segments[len(removed)])
            log.blocks.keep(log.blocks.find(start.last_index + 1), len(log.blocks))
            del log.segments[: len(removed)]
            log.start = start
            self._in_flight.append(None)
            self._appender.drop(removed)

    def take_done(self) -> Done | None:
        """How far the log is synced, if that has moved since the last call.  Raises LogFailed: end the process."""
        finished, syncs, sync_ns = self._appender.take()
        log = self.log
        for place in finished:
            item = self._in_flight.popleft()
            if place is None:
                assert not isinstance(item, BlockInfo), f"{item} was reported without its place"
                continue
            assert isinstance(item, BlockInfo), f"{item} was reported with a place"
            segment, offset = place
            if not log.segments or segment != log.segments[-1]:
                log.segments.append(segment)
            log.blocks.append(item.first_index, item.first_zxid, segment, offset, item.size)
            log.end.advance(item)
        failed = self.error
        if failed is not None:
            raise failed
        self._release()
        if not finished:
            return None
        waiting = [item.end.last_index for item in self._held if isinstance(item, _Cut)]
        last_index = min([log.last_index, *waiting])
        return Done(last_index, log.epoch_at(last_index) or 0, syncs, sync_ns)

    def close(self) -> None:
        """Waits until all that is queued is on the disk, seals the log, ends the thread.  Raises LogFailed."""
        try:
            while self._in_flight and self.error is None:
                self._appender.wait()
                self.take_done()
        finally:
            self._appender.close()
        failed = self.error
        if failed is not None:
            raise failed

    def _cut(self, cut: _Cut) -> None:
        self._queued_end = replace(cut.end)
        self._held.append(cut)
        self._release()

    def _release(self) -> None:
        """Hands over what is held, up to the next cut that must wait."""
        payloads: list[Payload] = []
        while self._held:
            item = self._held[0]
            if not isinstance(item, _Cut):
                self._in_flight.append(item[0])
                payloads.append(item[1])
            elif self._in_flight:
                break
            elif item.is_restart:
                self._hand_over_restart(item)
            else:
                self._hand_over_cut(item)
            self._held.popleft()
        if payloads:
            self._appender.append(payloads)

    def _hand_over_cut(self, cut: _Cut) -> None:
        log = self.log
        if cut.end.last_index == log.last_index:
            return
        kept, end, segment, offset = log.end_at(cut.end.last_index)
        assert end == cut.end, f"the log holds {end}, to be cut at {cut.end}"
        removed = [s for s in reversed(log.segments) if s > segment]
        log.close()  # what was read last may be one of them, and its name be given again
        del log.segments[len(log.segments) - len(removed) :]
        log.blocks.keep(0, kept)
        log.end = end
        self._in_flight.append(cut)
        self._appender.cut(removed, segment, offset, end.as_tuple())

    def _hand_over_restart(self, cut: _Cut) -> None:
        log = self.log
        log.close()
        removed = log.segments[::-1]
        log.blocks.keep(0, 0)
        log.start, log.end = replace(cut.end), replace(cut.end)
        log.segments[:] = [cut.end.last_index + 1]
        self._in_flight.append(cut)
        self._appender.cut(removed, 0, 0, cut.end.as_tuple())

    def _end_at(self, index: int) -> End:
        """The end of what is queued if it ended with index."""
        held = (item if isinstance(item, _Cut) else item[0] for item in reversed(self._held))
        for item in chain(held, reversed(self._in_flight)):
            if isinstance(item, _Cut) and item.end.last_index == index:
                return replace(item.end)
            if isinstance(item, BlockInfo) and item.last_index == index:
                return End.after(item)
        return self.log.end_at(index)[1]
