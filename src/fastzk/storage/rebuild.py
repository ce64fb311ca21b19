"""Makes a log what recovery decided it is: its right beginning, or nothing, or the end of a snapshot.

Rule: at each step a crash leaves a log that scan() takes and that ends no later than what was decided, or the damage itself."""

from fastzk.storage.disk import Disk, File
from fastzk.storage.evidence import Evidence
from fastzk.storage.segments import HEADER_SIZE, READ_BYTES, End, Scan, pack_header, pack_mark, segment_name


def keep_prefix(disk: Disk, evidence: Evidence, path: str, found: Scan) -> None:
    """Sets a segment aside and puts its right part, sealed, in its place.

    The part is written beside it and renamed: what the medium does not give back any more is not written on."""
    part = evidence.beside(path, "kept")
    old = disk.open(path)
    new = disk.open(part, create=True)
    try:
        _copy(old, new, found.offset)
        new.write(found.offset, pack_mark(found.offset, found.end.last_checksum, 0))
        new.sync()
    finally:
        old.close()
        new.close()
    evidence.move(path)
    disk.rename(part, path)
    disk.sync_dir(path.rpartition("/")[0])
    disk.sync_dir(evidence.path)


def remove_all(disk: Disk, directory: str) -> None:
    """Removes every segment, newest first."""
    for name in reversed(disk.list(directory)):
        disk.remove(f"{directory}/{name}")
        disk.sync_dir(directory)


def restart_behind(disk: Disk, directory: str, end: End) -> None:
    """The first segment of a log that goes on from a snapshot."""
    file = disk.open(f"{directory}/{segment_name(end.last_index + 1)}", create=True)
    try:
        file.write(0, pack_header(end))
        file.sync()
    finally:
        file.close()
    disk.sync_dir(directory)


def _copy(old: File, new: File, size: int) -> None:
    assert size >= HEADER_SIZE, f"{old.path}: only {size} bytes of it are right"
    at = 0
    while at < size:
        piece = old.read(at, min(READ_BYTES, size - at))
        assert piece, f"{old.path}: ends at {at}, and {size} bytes of it were right"
        new.write(at, piece)
        at += len(piece)
