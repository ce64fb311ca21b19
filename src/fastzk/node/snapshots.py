"""Snapshots of a node: when one is taken, which are kept, and how a node that is too far behind gets one from its leader.

    due       after so many entries, bytes or blocks of log since the last one; the same everywhere, since the log is
    taken     from the arena as it is at the end of a block, by a thread (or a simulation) that does the job step by step
    kept      the last few, and the log behind the oldest of them; the rest of the log is removed
    fetched   the leader offers its newest; the follower that is behind asks for piece after piece, one at a time, and goes on
              where it was when it, or the leader, was interrupted.  Then it must begin anew: has_arrived

Rule: a snapshot that cannot be written is given up, and said; the log is kept on.
Rule: the leader answers SHARE_BYTES at most in a tick, so that its own work goes on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import check
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk.raft.messages import Range
from fastzk.state.members import Members
from fastzk.storage.log import LogWriter
from fastzk.storage.segments import End
from fastzk.storage.snapshot_file import SnapshotDamaged
from fastzk.storage.snapshot_transfer import Download, Upload
from fastzk.storage.snapshots import SnapshotJob, SnapshotStore, meta_of
from fastzk.wire.care import PIECE_BYTES_MAX, Ask, CareMessage, Offer, Piece

OFFER_MS = 1000
# Without an answer for so long a piece is asked for again.
ASK_MS = 500
SHARE_BYTES = 8 << 20
CHAIN_BYTES = 8

logger = logging.getLogger("fastzk.snapshots")


class SnapshotRun(Protocol):
    """A job that somebody does, step by step: storage/snapshot_thread.py, or a simulation."""

    @property
    def is_done(self) -> bool: ...
    @property
    def error(self) -> Exception | None: ...
    def release(self) -> None: ...
    def stop(self) -> None: ...
    def wait(self, timeout_s: float | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class SnapshotPace:
    """After how much log a snapshot is due; whatever comes first."""

    entries: int = limits.SNAPSHOT_ENTRIES
    log_bytes: int = limits.SNAPSHOT_LOG_BYTES
    blocks: int = limits.SNAPSHOT_BLOCKS
    kept: int = limits.SNAPSHOTS_KEPT


class Snapshots:
    """What one node takes."""

    def __init__(
        self,
        store: SnapshotStore,
        arena: Arena,
        machine: Machine,
        writer: LogWriter,
        pace: SnapshotPace,
        start: Callable[[SnapshotJob], SnapshotRun],
    ) -> None:
        self.store = store
        self._arena = arena
        self._machine = machine
        self._writer = writer
        self._pace = pace
        self._start = start
        self._job: SnapshotJob | None = None
        self._run: SnapshotRun | None = None
        self._entries = self._bytes = self._blocks = 0
        # The log behind the oldest snapshot kept is still to be removed.
        self._is_purge_due = True

    def applied(self, batch: Range, history: int, members: Members) -> None:
        """A batch was applied; `members` are those in force at its end."""
        self._entries += batch.count
        self._bytes += batch.size
        self._blocks += 1
        pace = self._pace
        if self._entries < pace.entries and self._bytes < pace.log_bytes and self._blocks < pace.blocks:
            return
        self._entries = self._bytes = self._blocks = 0
        if self._run is None:
            self._begin(batch, history, members)

    def _begin(self, batch: Range, history: int, members: Members) -> None:
        self._arena.pin()
        encoder = SnapshotEncoder(self._arena, limits.SNAPSHOT_CHUNK_BYTES)
        chain = self._machine.digest_chain.to_bytes(CHAIN_BYTES, "little")
        end = End.after(check(batch.payload))
        meta = meta_of(encoder, end, history=history, membership=members.encode(), chain=chain)
        self._job = self.store.begin(meta, encoder)
        self._run = self._start(self._job)

    def tend(self) -> bool:
        """Looks after the snapshot being written, and the log.  True when the log begins later than it did."""
        if self._run is not None and self._run.is_done:
            self._end(self._run)
        return self._purge() if self._is_purge_due else False

    def _end(self, run: SnapshotRun) -> None:
        assert self._job is not None, "a run without a job"
        run.release()
        if run.error is not None:
            logger.warning("the snapshot at entry %d was given up: %s; the log is kept on", self._job.meta.index, run.error)
        else:
            logger.info("snapshot at entry %d: %d bytes", self._job.meta.index, self._job.size)
            self._is_purge_due = True
        self._job = self._run = None

    def _purge(self) -> bool:
        """Removes the snapshots that are too many, and the log behind those that are kept."""
        self._is_purge_due = False
        self.store.remove_all_but(self._pace.kept)
        kept = self.store.list()
        if len(kept) < self._pace.kept:
            return False
        before = self._writer.log.first_index
        self._writer.remove_before(kept[0] + 1)
        return self._writer.log.first_index != before

    def close(self) -> None:
        """Gives up a snapshot that is being written."""
        if self._run is not None:
            self._run.stop()
            self._run.wait()
            self._run.release()
            self._run = None


class Sharing:
    """A leader's side of the transfers: offers, and pieces for those who ask."""

    def __init__(self, store: SnapshotStore, send: Callable[[int, CareMessage], bool]) -> None:
        self._store = store
        self._send = send
        self._upload: Upload | None = None
        self._asks: deque[tuple[int, Ask]] = deque()
        self._offered_ms: dict[int, int] = {}
        # Indexes of snapshots that were found damaged while they were read for others.
        self._damaged: set[int] = set()
        # Bytes that were sent since the last tick.
        self._shared = 0

    def tick(self, now_ms: int, behind: Sequence[int]) -> None:
        """Offers the newest snapshot to those that need one, and answers what was asked."""
        for node_id in behind:
            right = [index for index in self._store.list() if index not in self._damaged]
            if right and now_ms - self._offered_ms.get(node_id, -OFFER_MS) >= OFFER_MS:
                self._offered_ms[node_id] = now_ms
                self._offer(node_id, right[-1])
        self._shared = 0
        self._answer_all()

    def hear(self, sender: int, ask: Ask) -> None:
        """Somebody wants a piece: at once, or with the next tick when much was sent already."""
        self._asks = deque(each for each in self._asks if each[0] != sender)
        self._asks.append((sender, ask))
        self._answer_all()

    def close(self) -> None:
        """Closes the file that was shared."""
        if self._upload is not None:
            self._upload.close()
            self._upload = None

    def _offer(self, node_id: int, index: int) -> None:
        upload = self._open(index)
        if upload is not None:
            self._send(node_id, Offer(index, upload.size, upload.identity))

    def _answer_all(self) -> None:
        while self._asks and self._shared < SHARE_BYTES:
            sender, ask = self._asks.popleft()
            upload = self._open(ask.index)
            data = upload.read(ask.offset, ask.size) if upload is not None else b""
            if upload is not None and upload.damage is not None and upload.index not in self._damaged:
                logger.warning("%s: the snapshot is not offered any more", upload.damage)
                self._damaged.add(upload.index)
            self._send(sender, Piece(ask.index, ask.offset, data))
            self._shared += len(data)

    def _open(self, index: int) -> Upload | None:
        """The snapshot of an index; None when there is none that is right."""
        if self._upload is not None and self._upload.index == index:
            return self._upload
        if index not in self._store.list():
            return None
        self.close()
        try:
            self._upload = Upload(self._store, index)
        except SnapshotDamaged as damage:
            logger.warning("%s: it is not offered to others", damage)
            self._damaged.add(index)
        return self._upload


class Fetching:
    """A follower's side: one snapshot on its way here."""

    def __init__(self, store: SnapshotStore, send: Callable[[int, CareMessage], bool]) -> None:
        self._store = store
        self._send = send
        self._download: Download | None = None
        # The leader that offered it, and its epoch, which this node is in: the snapshot holds nothing of a later one.
        self._source = self._epoch = 0
        self._asked_ms = 0
        # A snapshot is on the disk that is to be begun with.
        self.has_arrived = False

    def offered(self, leader_id: int, epoch: int, offer: Offer, applied_index: int, now_ms: int) -> None:
        """The leader of the present epoch has a snapshot; we are behind its log."""
        if self.has_arrived or offer.index <= applied_index:
            return
        known = self._download
        if known is None or (known.index, known.size, known.identity) != (offer.index, offer.size, offer.checksum):
            if known is not None:
                known.close()
            try:
                self._download = Download(self._store, offer.index, offer.size, offer.checksum)
            except OSError as error:
                self._give_up(error)
                return
            done = self._download.offset
            logger.info("fetching the snapshot at entry %d from node %d: %d of %d bytes", offer.index, leader_id, done, offer.size)
        self._source, self._epoch = leader_id, epoch
        self._go_on(now_ms)

    def hear(self, sender: int, piece: Piece, now_ms: int) -> None:
        """A piece has come."""
        download = self._download
        if download is None or sender != self._source or piece.index != download.index:
            return
        if not piece.data:
            download.close()
            self._download = None  # the leader has a newer one by now, and will offer it
            return
        try:
            if download.write(piece.offset, piece.data):
                self._go_on(now_ms)
        except OSError as error:
            self._give_up(error)

    def tick(self, now_ms: int) -> None:
        """Asks again for what does not come."""
        if self._download is not None and now_ms - self._asked_ms >= ASK_MS:
            self._ask(self._download, now_ms)

    def close(self) -> None:
        """Stops; what has come stays for the next start."""
        if self._download is not None:
            self._download.close()
            self._download = None

    def _go_on(self, now_ms: int) -> None:
        download = self._download
        assert download is not None, "there is nothing to go on with"
        if download.is_whole:
            try:
                epoch = download.finish().end.last_zxid >> 32
                assert epoch <= self._epoch, f"Z1: a snapshot of epoch {epoch} from the leader of {self._epoch}"
            except SnapshotDamaged as damage:
                logger.warning("%s: it came damaged, and is fetched again from there", damage)
            else:
                self._download = None
                self.has_arrived = True
                return
        self._ask(download, now_ms)

    def _ask(self, download: Download, now_ms: int) -> None:
        self._asked_ms = now_ms
        self._send(self._source, Ask(download.index, download.offset, min(PIECE_BYTES_MAX, download.size - download.offset)))

    def _give_up(self, error: OSError) -> None:
        logger.warning("the snapshot cannot be stored: %s; it is fetched when the leader offers it again", error)
        self._download = None
