"""The nodes' logs of a run: kept while it runs, read when it is over.

    archive_log(data_directory, archive)          now and then while the node runs: before its snapshots let it remove segments
    blocks = read_log(data_directory, archive)    after it has stopped

Rule: an archive is hard links to the node's segments, so it costs nothing, and what the node appends later is in it too."""

import os
from pathlib import Path

from fastzk._core.blocks import Entry, check, entries
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import LogDamaged, SegmentLog

HEAD_SIZE = 64  # of a block; the size stands at 4
SEGMENTS = "log.*"


def archive_log(data_directory: Path, archive: Path) -> None:
    """Keeps every segment that is there, also when the node removes it later because a snapshot covers it.

    A segment that the node has removed from the end of its log was never committed: it goes from the archive as well."""
    archive.mkdir(parents=True, exist_ok=True)
    present = sorted((data_directory / "log").glob(SEGMENTS))
    for segment in present:
        kept = archive / segment.name
        try:
            if kept.exists() and not kept.samefile(segment):
                kept.unlink()
            if not kept.exists():
                os.link(segment, kept)
        except FileNotFoundError:
            continue  # the node has removed it meanwhile
    names = {segment.name for segment in present}
    for kept in archive.glob(SEGMENTS):
        if present and kept.name > present[0].name and kept.name not in names:
            kept.unlink()


def read_log(data_directory: Path, archive: Path | None = None) -> list[bytes]:
    """The blocks of a stopped node's log, recovered as the node itself would, which may cut a torn tail.

    With the archive as far back as that reaches without a gap: a log that began anew behind a snapshot has one.
    Raises LogDamaged for a log of the node that is not right."""
    own = read_segments(data_directory / "log")
    if archive is None:
        return own
    archive_log(data_directory, archive)
    try:
        return read_segments(archive)
    except LogDamaged:
        return own


def read_segments(directory: Path) -> list[bytes]:
    """The blocks in a directory of segments.  Raises LogDamaged."""
    log = SegmentLog.open(RealDisk(), str(directory))
    return [bytes(found.payload) for found in log.ranges(log.first_index)]


def split_blocks(data: bytes) -> list[bytes]:
    """The blocks that stand one behind the other."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size < HEAD_SIZE or at + size > len(data):
            raise ValueError(f"at {at} of {len(data)}: no whole block")
        found.append(data[at : at + size])
        at += size
    return found


class LogEntry:
    """An entry of the log in its place."""

    __slots__ = ("entry", "index", "time_ms", "zxid")

    def __init__(self, index: int, zxid: int, time_ms: int, entry: Entry) -> None:
        self.index = index
        self.zxid = zxid
        self.time_ms = time_ms
        self.entry = entry

    def __repr__(self) -> str:
        entry = self.entry
        return f"entry {self.index} at {self.zxid:#x}: op {entry.op} of {entry.session_id:#x}, cxid {entry.cxid}"


def entries_of(block: bytes) -> list[LogEntry]:
    """The entries of a block.  Raises BlockDamaged."""
    head = check(block)
    numbered = enumerate(entries(block))
    return [LogEntry(head.first_index + at, head.first_zxid + at, head.time_ms, entry) for at, entry in numbered]
