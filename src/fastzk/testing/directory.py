"""A node's data directory on a simulated disk, with something in every file, for tests of what damage does to it.

    made = make_directory(disk, batches=[3, 2, 4])
    found = made.recover();  assert made.is_whole(found)

Its snapshots are right in every byte, and hold nothing but where they end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from fastzk._core.blocks import block_checksum
from fastzk._core.snapshot_write import SnapshotState
from fastzk.raft.messages import Range
from fastzk.storage.history import HistoryFile
from fastzk.storage.identity import identify
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.recovery import Recovered, recover
from fastzk.storage.segments import End
from fastzk.storage.snapshot_file import ChunkWriter, SnapshotMeta, header_checksum
from fastzk.storage.snapshots import SnapshotStore
from fastzk.storage.soundness import Soundness, SoundnessFile
from fastzk.storage.vote import VoteFile
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import random_ranges, same
from fastzk.testing.disk import SimulatedDisk

DIRECTORY = "data"
LOG = f"{DIRECTORY}/log"
NODE_ID = 2
UID = 0x1122_3344_5566_7788
NONCE = 0x77
FOUNDING = {1: 11, NODE_ID: UID, 3: 33}
MEMBERS = b"the members\n" * 8


def put_snapshot(store: SnapshotStore, end: End, history: int, chunks: Sequence[bytes] = ()) -> str:
    """A snapshot that ends here, whose bytes are right though its records say nothing; gives its path."""
    state = SnapshotState(end.last_index, end.last_zxid, end.last_time_ms, *([0] * 8))
    meta = SnapshotMeta(state, end.last_checksum, history, MEMBERS)
    header = meta.encode()
    writer = ChunkWriter(header_checksum(header))
    framed = b"".join(writer.frame(chunk) + chunk for chunk in chunks)
    path = store.path(end.last_index)
    disk = store.disk
    assert isinstance(disk, SimulatedDisk)
    disk.put(path, header + framed + writer.end())
    return path


@dataclass(slots=True)
class Made:
    """A directory, and what was put into it."""

    disk: SimulatedDisk
    ranges: list[Range] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)  # behind each range
    epoch: int = 0
    vote: int = 3
    history: int = 0
    snapshots: SnapshotStore | None = None

    def recover(self, *, has_others: bool = True, nonce: int = NONCE) -> Recovered:
        return recover(self.disk, DIRECTORY, node_id=NODE_ID, uid=UID, nonce=nonce, has_others=has_others, snapshots=self.snapshots)

    def is_whole(self, found: Recovered) -> bool:
        """Whether nothing is missing of what the node knew: a snapshot and the log behind it, the vote, the rest."""
        log = found.log
        covered = max(found.snapshot, log.first_index - 1)
        if log.first_index > found.snapshot + 1 or log.last_index != self.ranges[-1].last_index:
            return False
        behind = [entries for entries in self.ranges if entries.first_index > covered]
        rest = same((entries for entries in log.ranges(log.first_index) if entries.first_index > covered), behind)
        facts = (found.epoch, found.vote, found.history) == (self.epoch, self.vote, self.history)
        return rest and facts and found.soundness == Soundness.sound(FOUNDING)


def make_directory(
    batches: Sequence[int],
    *,
    segment_bytes_max: int = 3000,
    is_closed: bool = True,
    body_max: int = 600,
    seed: int = 7,
    uid: int = UID,
    before: Callable[[Made, LogWriter], None] | None = None,
) -> Made:
    """A sound node of three: a log of so many ranges in each batch, an epoch with a vote, all files in place.

    before: called with the writer before that is closed or, without is_closed, left as a kill leaves it."""
    made = Made(SimulatedDisk())
    disk, random, end = made.disk, Random(seed), End()
    assert identify(disk, DIRECTORY, NODE_ID, [1, 2, 3], MEMBERS, uid).uid == uid
    SoundnessFile(disk, DIRECTORY, NODE_ID, uid).save(Soundness.sound(FOUNDING))
    log = SegmentLog.open(disk, LOG)
    appender = SimulatedAppender.after(log, segment_bytes_max)
    appender.zeros_ahead = 8192
    writer = LogWriter(log, appender=appender)
    for count in batches:
        for entries in random_ranges(random, end, count, body_max):
            made.ranges.append(entries)
        writer.append(made.ranges[-count:])
        while appender.step():
            pass
    writer.take_done()
    for entries in made.ranges:
        made.ends.append(log.end_at(entries.last_index)[1])
    log.close()
    made.epoch = end.last_zxid >> 32
    vote = VoteFile(disk, DIRECTORY, uid)
    vote.load()
    vote.save(made.epoch, 0)
    vote.save(made.epoch, made.vote, made.ranges[len(made.ranges) // 2].last_index)
    made.history = block_checksum(made.ranges[0].payload)
    HistoryFile(disk, DIRECTORY, NODE_ID, uid).save(made.history)
    if before is not None:
        before(made, writer)
    if is_closed:
        writer.close()
    return made


def with_snapshots(made: Made, *places: int) -> Made:
    """Adds snapshots that end with these ranges."""
    made.snapshots = SnapshotStore(made.disk, f"{DIRECTORY}/snapshots")
    for place in places:
        put_snapshot(made.snapshots, made.ends[place], made.history)
    return made
