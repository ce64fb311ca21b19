"""What a start does with what it finds in the data directory.  docs/internals/recovery.md is the table for operators.

    found = recover(disk, "DATA", node_id=1, uid=uid, nonce=random, has_others=True, snapshots=store)
    found.log, found.epoch, found.vote, found.soundness, found.snapshot, found.notes

Rules:
  * All is looked at before anything is changed.  A node that has nobody to get it from changes nothing when something is lost:
    it raises, and names the file and the offset.
  * Where something is lost, `rejoining` is on the disk before the first repair.  A crash at any point of this, and another
    recovery, ends in the same state or in a more careful one, never in `sound` beside a loss.
  * What is kept of a log is a prefix that is right byte for byte; what was damaged is set aside, not destroyed.

A loss is what may take back a promise: entries that were acknowledged, the epoch, the vote.  A torn tail, a damaged snapshot with
an older one and all of the log behind it, and a damaged segment that a right snapshot covers are none."""

import errno
from dataclasses import dataclass, field

from fastzk._core.blocks import block_checksum
from fastzk.storage.checked import TextDamaged
from fastzk.storage.disk import Disk
from fastzk.storage.evidence import Evidence
from fastzk.storage.history import HistoryFile
from fastzk.storage.identity import LOG_NAME
from fastzk.storage.log import SegmentLog
from fastzk.storage.rebuild import keep_prefix, remove_all, restart_behind
from fastzk.storage.segments import End, LogDamaged, Scan, examine, segment_names
from fastzk.storage.snapshot_file import SnapshotDamaged, SnapshotMeta
from fastzk.storage.snapshots import SnapshotStore
from fastzk.storage.soundness import Soundness, SoundnessFile, SoundState
from fastzk.storage.vote import VoteDamaged, VoteFile

Damage = LogDamaged | VoteDamaged | TextDamaged


class RecoveryRefused(Exception):  # noqa: N818
    """Something is lost that no other node could give back.  Nothing was changed."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"{damage}; this node decides alone, so nobody else holds what is lost, and nothing was changed: "
            "put back a copy of the whole data directory, or begin anew with another --data-dir"
        )
        self.damage = damage


@dataclass(slots=True)
class Recovered:
    """What a node begins with."""

    log: SegmentLog
    vote_file: VoteFile
    epoch: int
    vote: int  # 0: none
    soundness_file: SoundnessFile
    soundness: Soundness
    history_file: HistoryFile
    # 0: not known.
    history: int
    # Index of the snapshot to load, 0 for none; the log goes on behind it, or holds its last block.
    snapshot: int
    # What was found and done, a line each, for people.
    notes: list[str] = field(default_factory=list)


def recover(
    disk: Disk, directory: str, *, node_id: int, uid: int, nonce: int, has_others: bool, snapshots: SnapshotStore | None = None
) -> Recovered:
    """Finds or makes a state to begin with.  Raises RecoveryRefused, or OSError.

    nonce: random, for the proof of a node that loses something now; has_others: whether other nodes vote, too."""
    assert nonce, "nonce 0 is none"
    recovery = _Recovery(disk, directory, node_id, uid, has_others, snapshots)
    recovery.look()
    if recovery.losses and not has_others:
        raise RecoveryRefused(recovery.losses[0])
    return recovery.repair(nonce)


class _Recovery:
    """One start.  look() reads and plans, repair() does."""

    def __init__(
        self, disk: Disk, directory: str, node_id: int, uid: int, has_others: bool, snapshots: SnapshotStore | None
    ) -> None:
        self.disk = disk
        self.directory = directory
        self.node_id = node_id
        self.uid = uid
        self.has_others = has_others
        self.snapshots = snapshots
        self.log_path = f"{directory}/{LOG_NAME}"
        self.vote_file = VoteFile(disk, directory, uid)
        self.soundness_file = SoundnessFile(disk, directory, node_id, uid)
        self.history_file = HistoryFile(disk, directory, node_id, uid)
        self.evidence = Evidence(disk, directory)
        self.notes: list[str] = []
        self.losses: list[Damage] = []
        # None: missing or damaged.
        self.soundness: Soundness | None = None
        self.epoch = self.vote = 0
        self.is_vote_lost = False
        self.history = 0
        self.is_history_damaged = False
        # The plan: files to be set aside, in this order; then the log is cut to what was found, or emptied, or restarted.
        self.aside: list[str] = []
        self.is_log_dropped = False
        self.restart: End | None = None
        self.found = Scan()
        # The newest that is right.
        self.snapshot: SnapshotMeta | None = None

    # --- looking: nothing is changed

    def look(self) -> None:
        self._look_at_soundness()
        self._look_at_vote()
        self._look_at_history()
        self._look_at_snapshots()
        self._look_at_log()
        self._judge_log()
        self._judge_reach()

    def _look_at_soundness(self) -> None:
        try:
            self.soundness = self.soundness_file.load()
            if self.soundness is None:
                raise TextDamaged(self.soundness_file.path, "missing, though this node has been in use")
        except TextDamaged as damage:
            if self.has_others:
                self.losses.append(damage)
            else:
                # Who decides alone needs nobody to tell what it may do; what it must hold is in the other files.
                self.notes.append(f"{damage}: written anew, since this node decides alone")

    def _look_at_vote(self) -> None:
        try:
            self.epoch, self.vote = self.vote_file.load()
        except VoteDamaged as damage:
            self._lose_vote(damage)

    def _lose_vote(self, damage: VoteDamaged) -> None:
        self.losses.append(damage)
        self.is_vote_lost = True
        self.epoch, self.vote = damage.epoch, 0

    def _look_at_history(self) -> None:
        try:
            self.history = self.history_file.load()
        except TextDamaged as damage:
            self.is_history_damaged = True
            self.notes.append(str(damage))

    def _look_at_snapshots(self) -> None:
        store = self.snapshots
        if store is None:
            return
        for index in reversed(store.list()):
            try:
                meta = _verified(store, index)
                if meta.history and self.history and meta.history != self.history:
                    raise SnapshotDamaged(store.path(index), 0, f"is of another ensemble (history {meta.history:016x})")
            except SnapshotDamaged as damage:
                self.notes.append(f"{damage}: the snapshot is set aside")
                self.aside.append(store.path(index))
                continue
            self.snapshot = meta
            return

    def _look_at_log(self) -> None:
        if not self.disk.exists(self.log_path):
            self.losses.append(LogDamaged(self.log_path, 0, "missing, though this node has been in use"))
            return
        try:
            names = segment_names(self.disk, self.log_path)
        except LogDamaged as damage:
            self.losses.append(damage)
            names = self._without_strays()
        self.found = examine(self.disk, self.log_path, names)
        if self.found.damage is not None and not self._is_covered(names):
            self._lose_log_from(self.found.damage, names)

    def _without_strays(self) -> list[str]:
        """Sets aside what is named like no segment."""
        kept = []
        for name in self.disk.list(self.log_path):
            digits = name.removeprefix("log.")
            is_right = len(digits) == 16 and not set(digits) - set("0123456789abcdef") and int(digits, 16) > 0
            if is_right and name.startswith("log."):
                kept.append(name)
            elif name.startswith("log."):
                self.aside.append(f"{self.log_path}/{name}")
        return kept

    def _is_covered(self, names: list[str]) -> bool:
        """Whether a right snapshot covers all that is damaged: then the log may begin behind it."""
        if self.snapshot is None:
            return False
        found, kept = self.found, names
        while found.damage is not None:
            # Either this segment does not go on from the one before it, or it is itself not right.
            place = max(1, kept.index(found.damage.file.rpartition("/")[2]))
            if place == len(kept) or int(kept[place][4:], 16) - 1 > self.snapshot.end.last_index:
                return False
            kept = kept[place:]
            found = examine(self.disk, self.log_path, kept)
        dropped = names[: len(names) - len(kept)]
        self.notes.append(f"{self.found.damage}: set aside, since a snapshot covers it")
        self.aside += [f"{self.log_path}/{name}" for name in dropped]
        self.found = found
        return True

    def _lose_log_from(self, damage: LogDamaged, names: list[str]) -> None:
        self.losses.append(damage)
        place = names.index(damage.file.rpartition("/")[2])
        self.aside += [f"{self.log_path}/{name}" for name in reversed(names[place:])]

    def _judge_log(self) -> None:
        """Whether the log and the snapshot make a whole."""
        found, snapshot = self.found, self.snapshot
        start, end = found.start.last_index, found.end.last_index
        first = self._first_checksum()
        if first and self.history and first != self.history:
            self._drop_log(f"the first block is of another ensemble: {first:016x}, not {self.history:016x}")
        elif snapshot is None:
            if start:
                self._drop_log(f"the log begins behind entry {start}, and no snapshot holds what is before")
        elif found.segments and snapshot.end.last_index < start:
            self._drop_log(f"the log begins behind entry {start}, and the newest right snapshot ends at {snapshot.end.last_index}")
        elif not found.segments or snapshot.end.last_index > end:
            self.restart = snapshot.end
            self.is_log_dropped = True
        elif not _holds(SegmentLog(self.disk, self.log_path, found), snapshot.end):
            # Entries that another leader's replaced: the snapshot holds what is committed.
            what = f"the log holds another entry {snapshot.end.last_index} than the snapshot, which counts"
            if snapshot.end.last_index <= self.vote_file.committed_index or not self.has_others:
                self._drop_log(f"{what}, though it was committed")
            else:
                self.notes.append(f"{self.log_path}: {what}; the log begins anew behind it")
                self.restart = snapshot.end
                self.is_log_dropped = True

    def _first_checksum(self) -> int:
        """Of the log's first block, if that is the first of all; else 0."""
        if self.found.start.last_index or not len(self.found.blocks):
            return 0
        log = SegmentLog(self.disk, self.log_path, self.found)
        try:
            return block_checksum(log.read(1, 1)[0].payload)
        finally:
            log.close()

    def _drop_log(self, reason: str) -> None:
        """Nothing of the log can be used."""
        segments = self.found.segments
        path = f"{self.log_path}/log.{segments[0]:016x}"
        self.losses.append(LogDamaged(path, 0, reason))
        listed = [f"{self.log_path}/{name}" for name in self.disk.list(self.log_path)]
        self.aside += [name for name in reversed(listed) if name not in self.aside]
        self.is_log_dropped = True
        self.restart = self.snapshot.end if self.snapshot else None

    def _judge_reach(self) -> None:
        """Whether something else remembers more than log and snapshot hold."""
        end = End() if self.is_log_dropped else self.found.end
        if self.snapshot and self.snapshot.end.last_index > end.last_index:
            end = self.snapshot.end
        reach, floor = end.last_index, self.vote_file.committed_index
        is_known_to_lack = self.soundness is not None and self.soundness.state is SoundState.REJOINING
        if not self.losses and not is_known_to_lack:
            if reach < floor:
                reason = f"ends at entry {reach}, though entry {floor} was committed and stored here"
                self.losses.append(LogDamaged(self.log_path, 0, reason))
            elif reach == 0 and self.history:
                self.losses.append(LogDamaged(self.log_path, 0, "is empty, though this node has been in use"))
            elif reach and self.soundness and self.soundness.state is SoundState.NEW:
                self.losses.append(TextDamaged(self.soundness_file.path, "is an old copy: it says that the node is new"))
        epoch = max(end.last_zxid, self.found.end.last_zxid) >> 32
        if not self.is_vote_lost and self.epoch < epoch:
            reason = f"is an old copy: it is of epoch {self.epoch:#x}, and the node stored entries of epoch {epoch:#x}"
            self._lose_vote(VoteDamaged(self.vote_file.path, reason, self.epoch))
        if self.is_vote_lost:
            self.epoch = max(self.epoch, epoch)

    # --- doing

    def repair(self, nonce: int) -> Recovered:
        # What a process wrote before it was killed: what rests on it from here on must find it after a crash, too.
        if not self.is_vote_lost:
            self.vote_file.settle()
        self.disk.sync_dir(self.directory)
        if self.snapshots is not None:
            self.disk.sync_dir(self.snapshots.directory)
        soundness = self._confess(nonce)
        for path in self.aside:
            self._set_aside(path)
        if self.is_vote_lost:
            self.evidence.copy(self.vote_file.path)
            self.vote_file.renew(self.epoch)
        if not self.disk.exists(self.log_path):
            self.disk.make_dir(self.log_path)
        if self.is_log_dropped:
            remove_all(self.disk, self.log_path)
            if self.restart is not None:
                restart_behind(self.disk, self.log_path, self.restart)
        is_as_found = not self.is_log_dropped and self.found.damage is None
        log = SegmentLog.adopt(self.disk, self.log_path, self.found) if is_as_found else SegmentLog.open(self.disk, self.log_path)
        if log.cut is not None:
            self.notes.append(str(log.cut))
        self._mend_history()
        return Recovered(
            log=log,
            vote_file=self.vote_file,
            epoch=self.epoch,
            vote=self.vote,
            soundness_file=self.soundness_file,
            soundness=soundness,
            history_file=self.history_file,
            history=self.history,
            snapshot=self.snapshot.index if self.snapshot else 0,
            notes=self.notes,
        )

    def _confess(self, nonce: int) -> Soundness:
        """Writes down what the node may still say of itself, before anything else changes."""
        was = self.soundness or Soundness.new()
        if self.soundness is None:
            self.evidence.copy(self.soundness_file.path)
        if self.losses:
            reason = "; ".join(str(loss) for loss in self.losses)
            soundness = was.rejoining(reason, nonce)
            self.notes.append(f"node {self.node_id} has lost what it promised, and does not vote until it is level again: {reason}")
        elif was.state is SoundState.NEW and not self.has_others:
            soundness = Soundness.sound({self.node_id: self.uid})
        else:
            return was
        self.soundness_file.save(soundness)
        return soundness

    def _set_aside(self, path: str) -> None:
        """Takes a file out of the way; of the segment in which the right part ends, that part stays."""
        damage, found = self.found.damage, self.found
        is_last_kept = damage is not None and not self.is_log_dropped and path == damage.file
        if is_last_kept and found.segments and path.endswith(f"{found.segments[-1]:016x}"):
            keep_prefix(self.disk, self.evidence, path, found)
        else:
            self.evidence.move(path)

    def _mend_history(self) -> None:
        if not self.is_history_damaged:
            if not self.history and self.snapshot is not None and self.snapshot.history:
                # The snapshot came from another node, to a directory that had no history yet.
                self.history = self.snapshot.history
                self.history_file.save(self.history)
            return
        self.evidence.copy(self.history_file.path)
        # What was written down was the first block's checksum once that was committed, so it was this one's.
        self.history = self._first_checksum() or (self.snapshot.history if self.snapshot else 0)
        if self.history:
            self.history_file.save(self.history)
        else:
            self.history_file.remove()


def _verified(store: SnapshotStore, index: int) -> SnapshotMeta:
    """What a snapshot says that is right to its last byte.  Raises SnapshotDamaged."""
    try:
        return store.verify(index)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise SnapshotDamaged(store.path(index), 0, "cannot be read from the disk (EIO)") from error


def _holds(log: SegmentLog, end: End) -> bool:
    """Whether a log holds the block that ends at `end`, or begins right behind it."""
    index = end.last_index
    try:
        if index == log.start.last_index:
            return log.start == end
        place = log.blocks.find(index)
        following = log.blocks.first_index[place + 1] if place + 1 < len(log.blocks) else log.last_index + 1
        return following == index + 1 and log.end_at(index)[1] == end
    finally:
        log.close()
