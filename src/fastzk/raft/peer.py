"""One node as the consensus sees it: the door of this package.

Rule: no clock, no random of its own, no socket, no disk.  The caller brings ticks, messages and the reports of its log
thread; after each turn it takes a Ready and does what it says, in this order:

    1. hard_state      write it and sync it, before anything else of this Ready leaves the node (Z2)
    2. truncate_after  hand it to the log thread, then `append`, in order; generation goes with both, and comes back
                       in synced()
    3. messages        send them; they may be lost
    4. committed       apply them; then applied()

Theory of operation.  Time is counted in epochs; each has at most one leader, because a node votes once in an epoch and
syncs its vote before it says so.  A follower that hears no leader for its (randomised) timeout first asks whether it
would be elected, a pre-vote, which disturbs nobody; a node that hears a live leader says no.  With a quorum's yes it
opens the next epoch and asks for votes.  Nobody votes for a log that is behind its own.  A leader that hears no quorum
for an election timeout steps down.  The rest of leading is in leader.py.

A follower takes ranges whose predecessor it holds, cuts what conflicts with them, and acknowledges what its disk holds,
never more.  Committed ranges may be applied before this node's own disk has them: a quorum's disks do (Z4).

Who the voters are stands in the log itself (membership.py): a range that brings a membership puts it in force when it is
appended.  So a node may know an old membership, or none that names it: it judges what it hears by epochs and logs alone,
and asks for votes only if what it knows makes it a voter.  A node that is not sound has lost what it promised: it
takes the log like an observer, and neither votes nor campaigns until become_sound().
"""

from fastzk.raft.leader import Leader, Outbox
from fastzk.raft.log import LogReader, RaftLog
from fastzk.raft.membership import Membership
from fastzk.raft.messages import (
    COUNTER_BITS,
    COUNTER_MAX,
    EPOCH_MAX,
    Append,
    AppendReply,
    Message,
    Payload,
    ProtocolError,
    Range,
    TimeoutNow,
    Vote,
    VoteReply,
    check_message,
)
from fastzk.raft.quorum import Quorum, Tally
from fastzk.raft.ready import Busy, Chance, ChangePending, EpochFull, NotLeader, Ready, Role, SoftState
from fastzk.raft.settings import Limits

__all__ = [
    "COUNTER_BITS",
    "COUNTER_MAX",
    "Append",
    "AppendReply",
    "Busy",
    "Chance",
    "ChangePending",
    "EpochFull",
    "Limits",
    "LogReader",
    "Membership",
    "Message",
    "NotLeader",
    "Peer",
    "ProtocolError",
    "Range",
    "Ready",
    "Role",
    "SoftState",
    "TimeoutNow",
    "Vote",
    "VoteReply",
]


class Peer:
    """The state machine of one node's part in the agreement."""

    def __init__(
        self,
        node_id: int,
        membership: Membership,
        *,
        log: LogReader,
        epoch: int,
        vote: int | None,
        random: Chance,
        is_sound: bool = True,
        applied_index: int = 0,
        election_ticks: int = 10,
        heartbeat_ticks: int = 1,
        limits: Limits | None = None,
    ) -> None:
        """epoch and vote are the hard state last persisted, (0, None) for a node that is new.

        membership is the one in force where the log begins; what the log holds follows it.  A node that is not sound, and
        does not know its epoch any more, brings that of its log's end.  applied_index is the end of the snapshot that was
        loaded, if one was."""
        assert 0 < heartbeat_ticks < election_ticks, f"heartbeat {heartbeat_ticks}, election {election_ticks}"
        self.node_id = node_id
        self._random = random
        self._election_ticks = election_ticks
        self._heartbeat_ticks = heartbeat_ticks
        self._limits = limits or Limits()
        self._log = RaftLog(log, membership, self._limits.window_bytes_max, applied_index)
        # Follows what is in force, see _note_membership().
        self.membership_index, self.membership = self._log.membership
        self.quorum = Quorum(self.membership)
        self.is_sound = is_sound
        assert epoch >= self._log.last_epoch, f"Z1: hard state of epoch {epoch}, log of epoch {self._log.last_epoch}"
        # Highest epoch this node has heard of, and whom it voted for in it.  Synced before a message leaves (Z2).
        self.epoch = epoch
        # What a node that is not sound has promised is forgotten: its vote counts as given, in every epoch.
        self.vote = vote if is_sound else node_id
        self._hard_state = (epoch, vote)
        self.role = Role.FOLLOWER
        self.leader_id: int | None = None
        self._soft = SoftState(self.role, self.leader_id, self.epoch)
        self._leader: Leader | None = None
        self._is_new_leader = False
        # Votes of the running election, and whether the leader itself has asked for it.
        self._is_transfer = False
        self._votes: dict[int, bool] = {}
        # Ticks since a leader was heard, a vote was given or an election began.
        self._silent_ticks = 0
        self._timeout_ticks = 0
        # Of the leader of this epoch: how far our log is known to equal its log, and its highest probe.
        self._matched_index = 0
        self._heard_probe = 0
        self._is_reply_due = False
        self._outbox: Outbox = []
        # Highest applied index the caller has reported.  Z4: applied <= committed.
        self.applied_index = self._log.delivered_index
        self._rest()
        if self.is_sound and self.quorum.voters == (node_id,):
            self._campaign()

    # What the caller may look at.

    @property
    def may_campaign(self) -> bool:
        """Whether this node may lead: sound, and a voter of the membership it knows; or of one before, as long as it does not
        know that a later one is committed: its log may be the only one that can bring that about (Ongaro, 4.2.2)."""
        return self.is_sound and self._log.may_decide(self.node_id)

    @property
    def committed_membership(self) -> Membership:
        """The newest membership that is committed."""
        return self._log.committed_membership[1]

    @property
    def is_transferring(self) -> bool:
        """Whether this leader is making another one the leader."""
        return self._leader is not None and self._leader.transfer_to is not None

    @property
    def committed_index(self) -> int:
        return self._log.committed_index

    @property
    def synced_index(self) -> int:
        return self._log.synced_index

    @property
    def last_index(self) -> int:
        return self._log.last_index

    @property
    def last_epoch(self) -> int:
        """The epoch of last_index."""
        return self._log.last_epoch

    def epoch_at(self, index: int) -> int | None:
        """The epoch of an index of this peer's log, durable or not; None where it ends or was compacted."""
        return self._log.epoch_at(index)

    @property
    def next_index(self) -> int:
        """First index of the next range to propose."""
        return self._log.last_index + 1

    @property
    def next_zxid(self) -> int:
        """First zxid of the next range to propose.  Raises NotLeader."""
        return self._leading().next_zxid

    @property
    def is_busy(self) -> bool:
        """Whether propose() would raise Busy."""
        return self._leader is not None and (self._leader.is_busy or self.is_transferring)

    def matched(self) -> dict[int, int]:
        """Of each other node the highest index that is known to be on its disk; empty unless this peer leads."""
        if self._leader is None:
            return {}
        return {other: progress.match_index for other, progress in self._leader.progress.items()}

    def counted(self) -> dict[int, int]:
        """The same of those that are sound: of each, what it said while it was; this counts for a commit."""
        if self._leader is None:
            return {}
        return {other: progress.counted_index for other, progress in self._leader.progress.items() if progress.is_sound}

    def behind(self) -> tuple[int, ...]:
        """The peers that need what the leader's log no longer holds: each waits for a snapshot.

        Only who has answered in this epoch, and so has it in its hard state: a snapshot may not come before that."""
        if self._leader is None:
            return ()
        return tuple(other for other, each in self._leader.progress.items() if each.is_behind and each.has_answered)

    def streaming(self) -> tuple[int, ...]:
        """The peers that the leader sends ahead to, since their logs are known to be like its own."""
        if self._leader is None:
            return ()
        return tuple(other for other, progress in self._leader.progress.items() if not progress.is_probing)

    # What the caller brings.

    def tick(self) -> None:
        """One unit of time has passed."""
        if self._leader is not None:
            if not self._leader.tick(self._election_ticks, self._heartbeat_ticks):
                self._follow(self.epoch, None)
            return
        self._silent_ticks += 1
        if not self.may_campaign:
            if self._silent_ticks >= self._timeout_ticks:
                self.leader_id = None
        elif self._silent_ticks >= self._timeout_ticks:
            self._pre_campaign()
        elif self.role is not Role.FOLLOWER:
            self._ask_for_votes()

    def step(self, message: Message) -> None:
        """Takes a message of another node.  Raises ProtocolError, and changes nothing, if no correct node sends it."""
        if message.sender == self.node_id:
            raise ProtocolError(f"a message of node {message.sender}, which is this one")
        check_message(message)
        if isinstance(message, Append):
            self._on_append(message)
        elif isinstance(message, AppendReply):
            self._on_append_reply(message)
        elif isinstance(message, Vote):
            self._on_vote(message)
        elif isinstance(message, VoteReply):
            self._on_vote_reply(message)
        else:
            self._on_timeout_now(message)

    def peer_lost(self, node_id: int) -> None:
        """The other side closed the link to node_id: what was on its way is gone, and its process may be."""
        if self._leader is not None:
            self._leader.lost(node_id)
        elif self.leader_id == node_id:
            self.leader_id = None
            if self.may_campaign:
                self._pre_campaign()

    def propose(self, count: int, payload: Payload) -> Range:
        """Appends one range of count entries, from next_index and next_zxid on.

        Raises NotLeader, Busy, or EpochFull; in each case nothing was proposed."""
        return self._proposing(count).propose(count, payload)

    def propose_membership(self, payload: Payload, count: int, membership: Membership) -> Range:
        """Appends a range whose payload brings a membership, which must be a legal step from the one in force.

        Raises ChangePending, or what propose() raises; in each case nothing was proposed."""
        leader = self._proposing(count)
        if self.membership_index > self.committed_index:
            raise ChangePending(f"the membership at {self.membership_index} is not committed")
        if self._log.epoch_at(self.committed_index) != self.epoch:
            raise ChangePending(f"nothing of epoch {self.epoch} is committed")
        assert self.membership.is_step(membership), f"{membership} cannot follow {self.membership}"
        entries = leader.propose(count, payload, membership)
        self._note_membership()
        return entries

    def transfer(self, to: int | None = None) -> bool:
        """Begins to make another voter the leader, the most advanced one unless it is named.

        False if this peer does not lead yet, is at it already, or that voter is not sound or not heard.  Until the other
        has taken over, or an election timeout has passed, this leader is busy."""
        if self._leader is None or self._leader.counter == 0:
            return False
        return self._leader.transfer(to, self._election_ticks)

    def become_sound(self, index: int, epoch: int) -> None:
        """This node has applied the entry of its rejoining, at index and of that epoch, and has written down that it is sound.

        Its own disk must hold that entry before that is written: what is only applied dies with the process, and a node that
        calls itself sound would be back without it.  It votes in later epochs only: in this one its vote counts as given."""
        assert index <= min(self.applied_index, self.synced_index), f"Z2: {index} is not applied, or not on this disk"
        assert epoch <= self.epoch, f"Z1: an entry of epoch {epoch}, this is epoch {self.epoch}"
        self.is_sound = True

    def purged(self) -> None:
        """The log that the caller reads begins later now; a snapshot covers what was before."""
        self._log.purged()

    def _proposing(self, count: int) -> Leader:
        """The leader that can propose so many entries.  Raises NotLeader, Busy or EpochFull."""
        assert count > 0, f"a range of {count} entries"
        leader = self._leading()
        if self.is_transferring:
            raise Busy(f"node {leader.transfer_to} is to lead")
        if leader.is_busy:
            raise Busy(f"more than {self._limits.uncommitted_bytes_max} bytes are proposed and not committed")
        if leader.counter + count - 1 > self._limits.counter_max:
            self._give_up_epoch()
            raise EpochFull(f"epoch {leader.epoch} ends at counter {leader.counter:#x}")
        return leader

    def synced(self, last_index: int, epoch: int, generation: int) -> None:
        """The log thread's report: everything up to the range that ends at last_index, of epoch, is on the disk.

        generation is the one of the Ready that handed the range out."""
        if not self._log.synced(last_index, epoch, generation):
            return
        if self._leader is not None:
            self._leader.maybe_commit()
        else:
            self._is_reply_due = True

    def applied(self, index: int) -> None:
        """Everything up to index is applied."""
        assert index <= self._log.delivered_index, f"Z4: applied {index}, delivered {self._log.delivered_index}"
        assert index >= self.applied_index, f"applied {index} after {self.applied_index}"
        self.applied_index = index

    # What the caller takes.

    def ready(self) -> Ready | None:
        """Everything this turn must do, or None.  Nothing is given twice."""
        if self._leader is not None:
            self._leader.pump(self._outbox)
            self._resign_if_removed(self._leader)
        self._reply_if_due()
        hard_state = (self.epoch, self.vote)
        soft = SoftState(self.role, self.leader_id, self.epoch)
        generation = self._log.generation
        truncate_after, append = self._log.take_unhanded()
        committed = self._log.take_committed(self._limits.apply_bytes_max)
        is_idle = truncate_after is None and not append and not self._outbox and not committed
        if is_idle and hard_state == self._hard_state and soft == self._soft:
            return None
        ready = Ready(
            hard_state=None if hard_state == self._hard_state else hard_state,
            truncate_after=truncate_after,
            append=append,
            generation=generation,
            messages=tuple(self._outbox),
            committed=committed,
            is_more_committed=bool(committed) and committed[-1].last_index < self._log.committed_index,
            soft=None if soft == self._soft else soft,
            is_new_leader=self._is_new_leader,
        )
        assert hard_state[0] >= self._hard_state[0], f"Z1: epoch {hard_state[0]} after {self._hard_state[0]}"
        self._hard_state, self._soft, self._is_new_leader = hard_state, soft, False
        self._outbox = []
        return ready

    # Elections.

    def _on_vote(self, vote: Vote) -> None:
        # Whoever hears a live leader refuses, so that a node with a bad link, or a removed one, cannot depose it; unless it
        # is that leader who asks or who wants it.
        is_leader_alive = self.leader_id not in (None, vote.sender) and self._silent_ticks < self._election_ticks
        if vote.is_pre:
            self._on_pre_vote(vote, is_leader_alive)
            return
        if is_leader_alive and not vote.is_transfer:
            self._outbox.append((vote.sender, VoteReply(self.node_id, self.epoch, False, False)))
            return
        if vote.epoch > self.epoch:
            self._follow(vote.epoch, None)
        is_free = self.vote is None or self.vote == vote.sender
        is_granted = self.is_sound and vote.epoch == self.epoch and is_free and self._is_up_to_date(vote)
        if is_granted:
            self.vote = vote.sender
            self._rest()
        self._outbox.append((vote.sender, VoteReply(self.node_id, self.epoch, is_granted, False)))

    def _on_pre_vote(self, vote: Vote, is_leader_alive: bool) -> None:
        is_granted = self.is_sound and vote.epoch > self.epoch and not is_leader_alive and self._is_up_to_date(vote)
        epoch = vote.epoch if is_granted else self.epoch
        self._outbox.append((vote.sender, VoteReply(self.node_id, epoch, is_granted, True)))
        mine = (self._log.last_epoch, self._log.last_index, self.node_id)
        if is_granted and self.role is Role.PRE_CANDIDATE and (vote.last_epoch, vote.last_index, vote.sender) > mine:
            # Two that ask at once would split the votes: the lesser gives way.
            self._follow(self.epoch, None)

    def _is_up_to_date(self, vote: Vote) -> bool:
        """Whether the candidate's log ends no earlier than ours: it then holds all that is committed (Raft 5.4.1)."""
        return (vote.last_epoch, vote.last_index) >= (self._log.last_epoch, self._log.last_index)

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        is_mine = message.epoch == self.epoch and message.sender == self.leader_id
        if is_mine and self.role is Role.FOLLOWER and self.may_campaign:
            self._campaign(is_transfer=True)

    def _is_stranger(self, node_id: int) -> bool:
        """Whether this peer leads and the other is not of its ensemble: its epoch does not end this one."""
        return self._leader is not None and node_id not in self.membership.ids

    def _on_vote_reply(self, reply: VoteReply) -> None:
        if self._is_stranger(reply.sender):
            return
        is_pre_granted = reply.is_pre and reply.is_granted
        if reply.epoch > self.epoch and not is_pre_granted:
            self._follow(reply.epoch, None)
            return
        if reply.is_pre:
            is_expected = self.role is Role.PRE_CANDIDATE and (not reply.is_granted or reply.epoch == self.epoch + 1)
        else:
            is_expected = self.role is Role.CANDIDATE and reply.epoch == self.epoch
        if is_expected:
            self._votes[reply.sender] = reply.is_granted
            self._count_votes()

    def _count_votes(self) -> None:
        tally = self.quorum.tally(self._votes)
        if tally is Tally.LOST:
            self._follow(self.epoch, None)
        elif tally is Tally.WON and self.role is Role.PRE_CANDIDATE:
            self._campaign()
        elif tally is Tally.WON:
            self._lead()

    def _pre_campaign(self) -> None:
        assert self.epoch < EPOCH_MAX, f"Z1: epoch {self.epoch} is the last there is"
        self._follow(self.epoch, None)
        self.role = Role.PRE_CANDIDATE
        self._votes = {self.node_id: True}
        self._ask_for_votes()
        self._count_votes()

    def _campaign(self, *, is_transfer: bool = False) -> None:
        assert self.may_campaign, f"node {self.node_id} campaigns and is no voter of {self.membership}, or not sound"
        assert self.epoch < EPOCH_MAX, f"Z1: epoch {self.epoch} is the last there is"
        self._follow(self.epoch + 1, None)
        self.role = Role.CANDIDATE
        self.vote = self.node_id
        self._is_transfer = is_transfer
        self._votes = {self.node_id: True}
        self._ask_for_votes()
        self._count_votes()

    def _give_up_epoch(self) -> None:
        """The leader steps down, and asks for the next epoch if it may."""
        if self.may_campaign:
            self._campaign()
        else:
            self._follow(self.epoch, None)

    def _ask_for_votes(self) -> None:
        """Asks whoever has not answered; asked again each tick, for any of it may be lost.

        Who refused a pre-vote is asked again, too: a node that hears of its leader's death a moment later than this one
        refuses once, and if its log is the shorter it cannot lead itself."""
        is_pre = self.role is Role.PRE_CANDIDATE
        epoch = self.epoch + 1 if is_pre else self.epoch
        is_transfer = self._is_transfer and not is_pre
        vote = Vote(self.node_id, epoch, self._log.last_index, self._log.last_epoch, is_pre, is_transfer)
        self._outbox.extend(
            (other, vote)
            for other in self.quorum.voters
            if other != self.node_id and not self._votes.get(other, False) and (is_pre or other not in self._votes)
        )

    def _lead(self) -> None:
        assert self.vote == self.node_id, f"node {self.node_id} leads epoch {self.epoch} and voted for {self.vote}"
        self.role = Role.LEADER
        self.leader_id = self.node_id
        self._leader = Leader(self.node_id, self.epoch, self._log, self._limits)
        self._is_new_leader = True

    def _follow(self, epoch: int, leader_id: int | None) -> None:
        """Becomes a follower, of leader_id if it is known."""
        assert epoch >= self.epoch, f"Z1: epoch {epoch} after {self.epoch}"
        if epoch > self.epoch:
            self.epoch = epoch
            self.vote = None if self.is_sound else self.node_id
            self._matched_index = 0
            self._heard_probe = 0
            self._is_reply_due = False
        self.role = Role.FOLLOWER
        self.leader_id = leader_id
        self._leader = None
        self._is_new_leader = False
        self._rest()

    def _rest(self) -> None:
        """Starts a new wait for a leader, of random length so that two nodes seldom wake at once."""
        self._silent_ticks = 0
        self._timeout_ticks = self._election_ticks + self._random.randrange(self._election_ticks)

    def _note_membership(self) -> None:
        """The log has a new end: another membership may be in force."""
        index, membership = self._log.membership
        if membership is not self.membership:
            self.membership = membership
            self.quorum = Quorum(membership)
        self.membership_index = index

    def _resign_if_removed(self, leader: Leader) -> None:
        """A leader that its own ensemble no longer names as a voter leads until that is committed."""
        if not self.membership.has_voter(self.node_id) and self.membership_index <= self.committed_index:
            leader.resign(self._outbox)
            self._follow(self.epoch, None)

    def _leading(self) -> Leader:
        # Before the caller has learned that it leads, it cannot have opened the epoch: nothing may come first.
        if self._leader is None or self._is_new_leader:
            raise NotLeader(f"node {self.node_id} is {self.role.value}, the leader is {self.leader_id}")
        return self._leader

    # Replication, the receiving side.

    def _on_append(self, message: Append) -> None:
        if message.epoch < self.epoch:
            # The sender led an epoch that is over; our epoch tells it.
            refusal = AppendReply(self.node_id, self.epoch, True, 0, 0, 0, 0, self.is_sound)
            self._outbox.append((message.sender, refusal))
            return
        if message.epoch == self.epoch and self.leader_id not in (None, message.sender):
            raise ProtocolError(f"nodes {self.leader_id} and {message.sender} both lead epoch {self.epoch}")
        if message.epoch == self.epoch and self.leader_id == message.sender:
            self._silent_ticks = 0
        else:
            self._follow(message.epoch, message.sender)
        if not self._holds(message.previous_index, message.previous_epoch):
            self._refuse(message)
            return
        self._heard_probe = max(self._heard_probe, message.probe)
        # What is new is acknowledged when it is synced; what is known, or a heartbeat, at once.
        self._is_reply_due |= not self._take(message.ranges)
        matched_index = message.ranges[-1].last_index if message.ranges else message.previous_index
        self._matched_index = max(self._matched_index, matched_index)
        self._log.commit(min(message.committed_index, matched_index))

    def _refuse(self, message: Append) -> None:
        """Says where the two logs may still agree."""
        index, probe = message.previous_index, message.probe
        hint_index, hint_epoch = self._log.last_not_above(index, message.previous_epoch)
        refusal = AppendReply(self.node_id, self.epoch, True, index, hint_index, hint_epoch, probe, self.is_sound)
        self._outbox.append((message.sender, refusal))

    def _holds(self, index: int, epoch: int) -> bool:
        """Whether our log equals the leader's up to index.  What is committed does by proof, so it had better."""
        found = self._log.epoch_at(index)
        if index > self._log.committed_index:
            return found == epoch
        assert found is None or found == epoch, f"Z3: {index} is committed in {found}, the leader has {epoch}"
        return True

    def _take(self, ranges: tuple[Range, ...]) -> bool:
        """Appends what is missing, after cutting what conflicts.  False if nothing was missing."""
        is_taken = False
        for entries in ranges:
            if entries.last_index <= self._log.committed_index:
                continue
            if not is_taken:
                if self._log.epoch_at(entries.last_index) == entries.epoch:
                    continue
                self._log.truncate(entries.first_index - 1)
            self._log.append(entries)
            is_taken = True
        if is_taken:
            self._note_membership()
        return is_taken

    def _reply_if_due(self) -> None:
        if not self._is_reply_due:
            return
        self._is_reply_due = False
        if self.leader_id is None or self._leader is not None:
            return
        # What is committed is in the leader's log, too: behind a snapshot the leader goes on from there.
        index = min(max(self._matched_index, self._log.committed_index), self._log.synced_index)
        reply = AppendReply(self.node_id, self.epoch, False, index, 0, 0, self._heard_probe, self.is_sound)
        self._outbox.append((self.leader_id, reply))

    def _on_append_reply(self, reply: AppendReply) -> None:
        if reply.epoch > self.epoch:
            if not self._is_stranger(reply.sender):
                self._follow(reply.epoch, None)
        elif reply.epoch == self.epoch and self._leader is not None:
            self._leader.on_reply(reply)
