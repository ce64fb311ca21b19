"""What a peer does while it leads: seals zxids, streams its log, counts acknowledgements, watches its quorum.

Rule: lives for one epoch; peer.py makes one when it wins and drops it when it steps down.
Rule: it counts its own log like any other: only what its own log thread has reported (Z2).
Rule: it counts others by the membership in force, and of them only what they said while they were sound.
Rule: it commits by counting only ranges of its own epoch, and with them all before (Raft 5.4.2): an older range that a
quorum holds may still be overwritten by a leader that never saw it.
"""

from fastzk.raft.log import RaftLog
from fastzk.raft.membership import Membership
from fastzk.raft.messages import COUNTER_BITS, Append, AppendReply, Message, Payload, ProtocolError, Range, TimeoutNow
from fastzk.raft.progress import Progress
from fastzk.raft.quorum import Quorum
from fastzk.raft.settings import Limits

Outbox = list[tuple[int, Message]]


class Leader:
    """The reign of one leader over one epoch."""

    def __init__(self, node_id: int, epoch: int, log: RaftLog, limits: Limits) -> None:
        self._node_id = node_id
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
        self.progress: dict[int, Progress] = {}
        # Who shall lead next, from which tick on nobody waits for it any more, and whether it must be told (again).
        self.transfer_to: int | None = None
        self._transfer_end_tick = 0
        self._is_transfer_due = False
        self._membership_index, self._membership = log.membership
        self._quorum = Quorum(self._membership)
        self._adopt()

    @property
    def next_zxid(self) -> int:
        return self.epoch << COUNTER_BITS | self.counter

    @property
    def is_busy(self) -> bool:
        """Whether too much is proposed and not committed."""
        return self._uncommitted_bytes >= self._limits.uncommitted_bytes_max

    def propose(self, count: int, payload: Payload, membership: Membership | None = None) -> Range:
        """Appends one range to the log; pump() sends it.  A membership that it brings is in force at once."""
        assert count == 1 or self.counter > 0, f"epoch {self.epoch} opens with one entry, not {count}"
        first_index = self._log.last_index + 1
        entries = Range(first_index, first_index + count - 1, self.epoch, self.next_zxid, payload, membership)
        self._log.append(entries)
        self.counter += count
        self._uncommitted.append((entries.last_index, entries.size))
        self._uncommitted_bytes += entries.size
        if membership is not None:
            self._membership_index, self._membership = self._log.membership
            self._quorum = Quorum(membership)
            self._adopt()
        return entries

    def _adopt(self) -> None:
        """Whoever the membership in force names is sent the log; whoever it no longer names, until it knows."""
        ids = self._membership.ids
        for other in ids:
            if other != self._node_id and (other not in self.progress or self.progress[other].leaving is not None):
                self.progress[other] = Progress(self._log.last_index + 1, self._tick)
        for other, progress in self.progress.items():
            if other not in ids and progress.leaving is None:
                progress.leaving = (self._membership_index, self._tick + self._limits.leave_ticks)

    def tick(self, election_ticks: int, heartbeat_ticks: int) -> bool:
        """One unit of time.  False when no quorum was heard within an election timeout: the reign is over."""
        self._tick += 1
        self._is_transfer_due = self.transfer_to is not None
        if self._tick >= self._transfer_end_tick:
            self.transfer_to = None
        for other, progress in [*self.progress.items()]:
            if progress.leaving is not None and (progress.is_told() or self._tick > progress.leaving[1]):
                del self.progress[other]
        if self._tick % heartbeat_ticks == 0:
            for progress in self.progress.values():
                progress.is_heartbeat_due = True
        for progress in self.progress.values():
            if not progress.is_probing and self._tick - progress.heard_tick > election_ticks:
                progress.probe(progress.match_index + 1)
        heard = {other: progress.counted_tick for other, progress in self.progress.items()}
        heard[self._node_id] = self._tick
        return self._tick - self._quorum.reached(heard) <= election_ticks

    def lost(self, other: int) -> None:
        """The link to another node was closed: what was on its way there is gone."""
        progress = self.progress.get(other)
        if progress is not None:
            progress.probe(progress.match_index + 1)

    def on_reply(self, reply: AppendReply) -> None:
        """An acknowledgement or a refusal.  Raises ProtocolError if it speaks of what was never sent."""
        progress = self.progress.get(reply.sender)
        if progress is None:
            # It was removed meanwhile.
            return
        if reply.index > self._log.last_index or reply.probe > self._probe:
            raise ProtocolError(f"node {reply.sender} answers {reply}, which was never asked")
        progress.heard(self._tick, reply.is_sound)
        if not reply.is_rejected:
            if progress.accepted(reply.index, reply.probe, reply.is_sound):
                self.maybe_commit()
            return
        if progress.is_refusal_stale(reply.index, reply.probe):
            return
        if reply.index <= progress.match_index:
            progress.forget()
        self._back_off(progress, reply)

    def maybe_commit(self) -> None:
        """Counts who has synced what, and commits what a quorum has."""
        matched = {other: progress.counted_index for other, progress in self.progress.items()}
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
        if self._is_transfer_due and self.transfer_to is not None:
            self._hand_over(self.transfer_to, outbox)

    def transfer(self, to: int | None, ticks: int) -> bool:
        """Begins to make `to` the next leader, or the most advanced voter; gives up after so many ticks."""
        able = {
            other: progress.match_index
            for other, progress in self.progress.items()
            if other in self._membership.voters and progress.is_sound and self._tick - progress.heard_tick <= ticks
        }
        if to is None:
            to = max(able, key=lambda other: able[other], default=None)
        if to not in able or self.transfer_to is not None:
            return False
        self.transfer_to, self._transfer_end_tick = to, self._tick + ticks
        self._is_transfer_due = True
        return True

    def _hand_over(self, to: int, outbox: Outbox) -> None:
        """Tells the next leader, if its log is level, that its time has come; again each tick, for it may be lost."""
        progress = self.progress.get(to)
        if progress is not None and progress.match_index == self._log.last_index:
            outbox.append((to, TimeoutNow(self._node_id, self.epoch)))
            self._is_transfer_due = False

    def resign(self, outbox: Outbox) -> None:
        """The last word of a leader that is no voter any more: whoever is level may take over without waiting."""
        level = [
            other
            for other, progress in self.progress.items()
            if other in self._membership.voters and progress.is_sound and progress.match_index == self._log.last_index
        ]
        if level:
            outbox.append((level[0], TimeoutNow(self._node_id, self.epoch)))

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
