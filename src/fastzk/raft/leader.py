"""What a peer does while it leads: seals zxids, streams its log, counts acknowledgements, watches its quorum.

Rule: lives for one epoch; peer.py makes one when it wins and drops it when it steps down.
Rule: it counts its own log like any other: only what its own log thread has reported (Z2).
Rule: it commits by counting only ranges of its own epoch, and with them all before (Raft 5.4.2): an older range that a
quorum holds may still be overwritten by a leader that never saw it.
"""

from collections.abc import Sequence

from fastzk.raft.log import RaftLog
from fastzk.raft.messages import COUNTER_BITS, Append, AppendReply, Message, Payload, ProtocolError, Range
from fastzk.raft.progress import Progress
from fastzk.raft.quorum import Quorum
from fastzk.raft.settings import Limits

Outbox = list[tuple[int, Message]]


class Leader:
    """The reign of one leader over one epoch."""

    def __init__(self, node_id: int, epoch: int, quorum: Quorum, others: Sequence[int], log: RaftLog, limits: Limits) -> None:
        self._node_id = node_id
        self._quorum = quorum
        self._log = log
        self._limits = limits
        self.epoch = epoch
        # Of the next entry.  0 belongs to the entry that opens the epoch.
        self.counter = 0
        # Ticks of this reign.
        self._tick = 0
        self._probe = 0
        self._uncommitted_bytes = 0
        # Last index and size of each range proposed in this reign and not committed, oldest first.
        self._uncommitted: list[tuple[int, int]] = []
        self.progress = {other: Progress(log.last_index + 1, 0) for other in others}

    @property
    def next_zxid(self) -> int:
        return self.epoch << COUNTER_BITS | self.counter

    @property
    def is_busy(self) -> bool:
        """Whether too much is proposed and not committed."""
        return self._uncommitted_bytes >= self._limits.uncommitted_bytes_max

    def propose(self, count: int, payload: Payload) -> Range:
        """Appends one range to the log; pump() sends it."""
        assert count == 1 or self.counter > 0, f"epoch {self.epoch} opens with one entry, not {count}"
        first_index = self._log.last_index + 1
        entries = Range(first_index, first_index + count - 1, self.epoch, self.next_zxid, payload)
        self._log.append(entries)
        self.counter += count
        self._uncommitted.append((entries.last_index, entries.size))
        self._uncommitted_bytes += entries.size
        return entries

    def tick(self, election_ticks: int, heartbeat_ticks: int) -> bool:
        """One unit of time.  False when no quorum was heard within an election timeout: the reign is over."""
        self._tick += 1
        if self._tick % heartbeat_ticks == 0:
            for progress in self.progress.values():
                progress.is_heartbeat_due = True
        for progress in self.progress.values():
            if not progress.is_probing and self._tick - progress.heard_tick > election_ticks:
                progress.probe(progress.match_index + 1)
        heard = {other: progress.heard_tick for other, progress in self.progress.items()}
        heard[self._node_id] = self._tick
        return self._tick - self._quorum.reached(heard) <= election_ticks

    def lost(self, other: int) -> None:
        """The link to another node was closed: what was on its way there is gone."""
        progress = self.progress[other]
        progress.probe(progress.match_index + 1)

    def on_reply(self, reply: AppendReply) -> None:
        """An acknowledgement or a refusal.  Raises ProtocolError if it speaks of what was never sent."""
        progress = self.progress[reply.sender]
        if reply.index > self._log.last_index or reply.probe > self._probe:
            raise ProtocolError(f"node {reply.sender} answers {reply}, which was never asked")
        progress.heard_tick = self._tick
        if not reply.is_rejected:
            if progress.accepted(reply.index, reply.probe):
                self.maybe_commit()
            return
        if progress.is_refusal_stale(reply.index, reply.probe):
            return
        if reply.index <= progress.match_index:
            progress.forget()
        self._back_off(progress, reply)

    def maybe_commit(self) -> None:
        """Counts who has synced what, and commits what a quorum has."""
        matched = {other: progress.match_index for other, progress in self.progress.items()}
        matched[self._node_id] = self._log.synced_index
        index = self._quorum.reached(matched)
        if index <= self._log.committed_index or self._log.epoch_at(index) != self.epoch:
            return
        self._log.commit(index)
        count = 0
        while count < len(self._uncommitted) and self._uncommitted[count][0] <= index:
            self._uncommitted_bytes -= self._uncommitted[count][1]
            count += 1
        del self._uncommitted[:count]

    def pump(self, outbox: Outbox) -> None:
        """Sends every peer what it lacks, as far as its limits allow, the news of a commit, and due heartbeats."""
        for other, progress in self.progress.items():
            is_sent = False
            while self._may_send(progress):
                bytes_max = self._limits.probe_bytes_max if progress.is_probing else self._limits.append_bytes_max
                ranges = tuple(self._log.read(progress.next_index, bytes_max))
                if not ranges or self._log.epoch_at(progress.next_index - 1) is None:
                    self._fall_behind(progress)
                    break
                self._send(other, progress, ranges, outbox)
                is_sent = True
            is_news = not progress.is_probing and progress.sent_committed_index < self._log.committed_index
            if progress.is_heartbeat_due or (is_news and not is_sent):
                self._send(other, progress, (), outbox)

    def _may_send(self, progress: Progress) -> bool:
        if progress.next_index > self._log.last_index or progress.is_behind or progress.is_paused:
            return False
        is_room = progress.inflight_bytes < self._limits.inflight_bytes_max
        return is_room and progress.inflight_count < self._limits.inflight_count_max

    def _send(self, other: int, progress: Progress, ranges: tuple[Range, ...], outbox: Outbox) -> None:
        previous_index = progress.next_index - 1
        previous_epoch = self._log.epoch_at(previous_index)
        if previous_epoch is None:
            # Compacted meanwhile.  Asking at the edge of the log keeps the follower quiet, and finds when it is back.
            self._fall_behind(progress)
            previous_index = progress.next_index - 1
            previous_epoch = self._log.epoch_at(previous_index)
            assert previous_epoch is not None, f"no epoch at {previous_index}, just before the log"
        assert not ranges or ranges[0].first_index == progress.next_index, f"{progress.next_index} is inside a range"
        self._probe += 1
        progress.is_heartbeat_due = False
        progress.sent_committed_index = self._log.committed_index
        committed_index = self._log.committed_index
        append = Append(self._node_id, self.epoch, previous_index, previous_epoch, ranges, committed_index, self._probe)
        outbox.append((other, append))
        if ranges:
            progress.sent(ranges[-1].last_index, sum(entries.size for entries in ranges))

    def _back_off(self, progress: Progress, refusal: AppendReply) -> None:
        """Goes back to the last place where the two logs may still agree, at once and not index by index."""
        if refusal.index < self._log.first_index:
            self._fall_behind(progress)
            return
        agreed, _ = self._log.last_not_above(refusal.hint_index, refusal.hint_epoch)
        start = self._log.range_start(agreed + 1)
        assert start is not None, f"{agreed + 1} is not held, the log begins at {self._log.first_index}"
        progress.is_behind = False
        progress.probe(start)

    def _fall_behind(self, progress: Progress) -> None:
        progress.probe(self._log.first_index)
        progress.is_behind = True
