"""What must be true of a simulated ensemble, checked while it runs.

Rule: a checker sees everything (every disk, every message) and changes nothing.
Rule: each check names the invariant it guards; docs/internals/consensus.md says which mutant each one catches.

The canonical history is what has been committed, as first seen anywhere: index -> range.  Everything else is held
against it.  What a node promised on a disk that was wiped since counts as kept, for it was: a quorum had it then.

Rule: who decides is worked out here anew, from the ranges that bring memberships; no membership that a peer claims is
believed, and no arithmetic of quorums is borrowed.
"""

import zlib
from collections.abc import Iterable

from fastzk.raft.peer import AppendReply, Membership, Message, Peer, Range, TimeoutNow, Vote, VoteReply
from fastzk.testing.range_disk import RangeDisk


class Violation(AssertionError):  # noqa: N818
    """The ensemble broke an invariant."""


def ensure(condition: bool, invariant: str, what: str) -> None:
    """Raises Violation unless condition holds."""
    if not condition:
        raise Violation(f"{invariant}: {what}")


class RaftChecker:
    """The judge of one simulation of the consensus."""

    def __init__(self, base: Membership, disks: dict[int, RangeDisk]) -> None:
        self._disks = disks
        # Disks that were replaced, by node.
        self._former: dict[int, list[RangeDisk]] = {}
        # Every membership that was ever proposed: last index, epoch, and what it says; the first stands before the log.
        self._memberships: list[tuple[int, int, Membership]] = [(0, 0, base)]
        # What is in force for the leader of each epoch.
        self._in_force: dict[int, tuple[int, int, Membership]] = {}
        # The membership that each peer was last seen to know.
        self._known: dict[int, Membership] = {}
        # The epoch of every index that some leader has counted as committed.
        self._counted: list[int] = [0]
        # The canonical history in order, and by last index: first zxid, epoch, checksum of the payload.
        self.committed: list[Range] = []
        # For each of them the epoch of the node that delivered it first: it was committed in that epoch or before.
        self._commit_epochs: list[int] = []
        self._canonical: dict[int, tuple[int, int, int, int]] = {}
        # Who leads each epoch, and the epoch of every index of its log when it won; what it adds is of its own epoch.
        self._leaders: dict[int, int] = {}
        self._leader_logs: dict[int, list[int]] = {}
        # What each node has delivered since its start; the highest epoch it was ever seen in; whom it voted for.
        self._delivered: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        # Who was granted votes in an epoch, and by whom.
        self._grants: dict[tuple[int, int], set[int]] = {}
        # Pre-votes asked for, (who is asked, who asks, epoch): whether the asker's log was ever as long as the other's.
        self._asked: dict[tuple[int, int, int], bool] = {}
        # Who was told to take over, and in which epoch; and since which epoch a node is sound again.
        self._told_to_lead: set[tuple[int, int]] = set()
        self._sound_since: dict[int, int] = {}
        # Proposals whose clients were told that they are done.
        self._acknowledged: dict[int, int] = {}

    @property
    def committed_index(self) -> int:
        return self.committed[-1].last_index if self.committed else 0

    def on_start(self, node_id: int) -> None:
        """A node begins, or begins again, with what its disk holds."""
        self._delivered[node_id] = self._disks[node_id].start.index

    def on_wipe(self, node_id: int, disk: RangeDisk) -> None:
        """A node gets a new disk.  What it has promised on the old one was promised."""
        self._former.setdefault(node_id, []).append(self._disks[node_id])
        self._disks[node_id] = disk
        self._epochs[node_id] = 0
        self._sound_since.pop(node_id, None)
        # By proof none of its old votes wins an epoch that it votes in again; see docs/internals/consensus.md.
        for key in [key for key in self._votes if key[0] == node_id]:
            del self._votes[key]

    def on_sound(self, node_id: int, epoch: int) -> None:
        """A node has rejoined by an entry of this epoch: whatever it had on a disk that is gone, and is committed, it has again."""
        self._sound_since[node_id] = epoch
        for former in self._former.get(node_id, ()):
            index = min(former.last_index, len(self._counted) - 1)
            while index > former.start.index and former.epoch_at(index) != self._counted[index]:
                index -= 1
            what = f"node {node_id} calls itself sound and has no more than {self._disks[node_id].last_index}; it had {index}"
            ensure(not former.is_sound or index <= self._disks[node_id].last_index, "soundness", what)

    def on_membership(self, entries: Range, epoch: int) -> None:
        """A leader has proposed a membership."""
        assert entries.membership is not None, f"{entries} brings no membership"
        at, of, _ = self._in_force[epoch]
        is_committed = at < len(self._counted) and self._counted[at] == of
        ensure(is_committed, "membership", f"{entries.membership} follows one at {at} that is not committed")
        self._in_force[epoch] = (entries.last_index, epoch, entries.membership)
        self._memberships.append(self._in_force[epoch])

    def on_cut(self, node_id: int, peer: Peer) -> None:
        """A node has cut its log, or knows another membership: what it knows is the last that its log brings."""
        start, memberships = self._disks[node_id].start, [(0, self._memberships[0][2])]
        for index, epoch, membership in self._memberships[1:]:
            held = self._counted[index] if index <= start.index else peer.epoch_at(index)
            if held == epoch:
                memberships.append((index, membership))
        expected = max(memberships, key=lambda each: each[0])[1]
        ensure(peer.membership == expected, "membership", f"node {node_id} goes by {peer.membership} instead of {expected}")
        self._known[node_id] = peer.membership

    def on_asked(self, node_id: int, peer: Peer, message: Message) -> None:
        """A message reaches a node, which has not looked at it yet."""
        if isinstance(message, Vote) and message.is_pre:
            key = (node_id, message.sender, message.epoch)
            is_level = (message.last_epoch, message.last_index) >= (peer.last_epoch, peer.last_index)
            self._asked[key] = self._asked.get(key, False) or is_level

    def on_send(self, sender: int, receiver: int, message: Message) -> None:
        """A message leaves a node: what it promises must be durable there (Z2)."""
        disk = self._disks[sender]
        epoch, vote = disk.hard_state
        ensure(message.sender == sender, "form", f"node {sender} sends as {message.sender}")
        if isinstance(message, Vote):
            ensure(disk.is_sound, "soundness", f"node {sender} asks for votes and is not sound")
            is_told = not message.is_transfer or (sender, message.epoch - 1) in self._told_to_lead
            ensure(is_told, "transfer", f"node {sender} takes over in {message.epoch}, nobody has asked it to")
            is_durable = message.is_pre or epoch > message.epoch or (epoch, vote) == (message.epoch, sender)
            ensure(is_durable, "Z2", f"node {sender} asks for votes in {message.epoch}, its disk has {epoch, vote}")
            if not message.is_pre:
                self._note_vote(sender, message.epoch, sender)
        elif isinstance(message, TimeoutNow):
            self._told_to_lead.add((receiver, message.epoch))
        elif isinstance(message, VoteReply):
            if message.is_granted:
                is_fit = disk.is_sound and (message.is_pre or message.epoch > self._sound_since.get(sender, -1))
                ensure(is_fit, "soundness", f"node {sender} votes in {message.epoch} and is not sound")
            if message.is_granted and message.is_pre:
                is_level = self._asked[sender, receiver, message.epoch]
                ensure(is_level, "pre-vote", f"node {sender} would vote in {message.epoch} for the shorter log of {receiver}")
            if message.is_granted and not message.is_pre:
                is_durable = epoch > message.epoch or (epoch, vote) == (message.epoch, receiver)
                ensure(is_durable, "Z2", f"node {sender} votes in {message.epoch}, its disk has {epoch, vote}")
                self._note_vote(sender, message.epoch, receiver)
                self._grants.setdefault((message.epoch, receiver), set()).add(sender)
        else:
            ensure(epoch >= message.epoch, "Z2", f"node {sender} speaks in {message.epoch}, its disk has {epoch}")
            if isinstance(message, AppendReply) and not message.is_rejected:
                self._check_acknowledgement(sender, message, disk)

    def on_leader(self, node_id: int, peer: Peer) -> None:
        """A node has won an epoch: nobody else may have, and its log holds all that is committed."""
        first = self._leaders.setdefault(peer.epoch, node_id)
        ensure(first == node_id, "election safety", f"nodes {first} and {node_id} both lead epoch {peer.epoch}")
        ensure(peer.epoch not in self._leader_logs, "election safety", f"epoch {peer.epoch} is led twice")
        start, end = self._disks[node_id].start.index, peer.last_index + 1
        self._leader_logs[peer.epoch] = self._counted[:start] + [peer.epoch_at(index) or 0 for index in range(start, end)]
        self._in_force[peer.epoch] = self._newest_in(self._leader_logs[peer.epoch])
        membership = self._in_force[peer.epoch][2]
        voters = {node_id, *self._grants.get((peer.epoch, node_id), set())}
        what = f"node {node_id} leads {peer.epoch} by the votes of {sorted(voters)} of {membership}"
        ensure(_are_quorum(membership, voters), "election safety", what)
        for entries, epoch in zip(reversed(self.committed), reversed(self._commit_epochs), strict=True):
            # A delayed election may end after a later epoch has begun; that leader owes nothing to the later one.
            if epoch < peer.epoch:
                found = self._leader_logs[peer.epoch][entries.last_index] if entries.last_index < end else None
                what = f"node {node_id} leads {peer.epoch}; {entries.last_index} is of {entries.epoch}, it has {found}"
                ensure(found == entries.epoch, "leader completeness", what)
                break

    def on_counted(self, node_id: int, peer: Peer) -> None:
        """A leader has just committed: a quorum's disks hold what it counted, and that is of its own epoch."""
        index, membership = peer.committed_index, self._in_force[peer.epoch][2]
        epoch = peer.epoch_at(index)
        what = f"node {node_id} commits {index} of {epoch} in {peer.epoch}"
        ensure(epoch == peer.epoch, "5.4.2", what)
        holders = [other for other in membership.ids if self._has_promised(other, index, peer.epoch)]
        ensure(_are_quorum(membership, holders), "Z2", f"{what}, only {holders} of {membership} hold it")
        known = len(self._counted)
        ensure(index >= known or self._counted[index] == epoch, "Z3", f"{what}, and another has committed something else")
        self._counted += [peer.epoch_at(at) or 0 for at in range(known, index + 1)]

    def on_committed(self, node_id: int, peer: Peer, entries: Range) -> None:
        """A node gives out a range to be applied: in order, once, and the same as everybody (Z3)."""
        delivered = self._delivered[node_id]
        what = f"node {node_id} delivers {entries.first_index}..{entries.last_index} of {entries.epoch}"
        ensure(entries.first_index == delivered + 1, "order", f"{what} after {delivered}")
        self._delivered[node_id] = entries.last_index
        identity = (entries.first_index, entries.first_zxid, entries.epoch, zlib.crc32(entries.payload))
        if entries.first_index <= self.committed_index:
            canonical = self._canonical.get(entries.last_index)
            ensure(canonical == identity, "Z3", f"{what} as {identity}, canonical is {canonical}")
            return
        if self.committed:
            last = self.committed[-1]
            ensure(entries.first_index == last.last_index + 1, "Z3", f"{what}, canonical ends at {last.last_index}")
            ensure(entries.first_zxid > last.last_zxid, "Z1", f"{what}: {entries.first_zxid:#x} after {last.last_zxid:#x}")
        is_counted = entries.last_index < len(self._counted) and self._counted[entries.last_index] == entries.epoch
        ensure(is_counted, "Z2", f"{what}, which no leader has counted")
        self.committed.append(entries)
        self._commit_epochs.append(peer.epoch)
        self._canonical[entries.last_index] = identity

    def on_acknowledged(self, entries: Range) -> None:
        """A client was told that its proposal is done: it must never be lost."""
        identity = self._canonical.get(entries.last_index)
        ensure(identity is not None, "acknowledged", f"{entries.first_index} is told done and is not canonical")
        self._acknowledged[entries.last_index] = zlib.crc32(entries.payload)

    def on_turn(self, node_id: int, peer: Peer) -> None:
        """After each turn of a node."""
        disk = self._disks[node_id]
        if peer.membership is not self._known.get(node_id):
            self.on_cut(node_id, peer)
        known = self._epochs.get(node_id, 0)
        ensure(peer.epoch >= known, "Z1", f"node {node_id} falls from epoch {known} to {peer.epoch}")
        self._epochs[node_id] = peer.epoch
        is_order = peer.applied_index <= peer.committed_index <= peer.last_index
        ensure(is_order, "Z4", f"node {node_id}: {peer.applied_index}, {peer.committed_index}, {peer.last_index}")
        held, claimed = disk.epoch_at(peer.synced_index), peer.epoch_at(peer.synced_index)
        what = f"node {node_id} counts {peer.synced_index} of {claimed} as synced, its disk has {held}"
        ensure(held == claimed, "Z4", what)
        for other, index in peer.matched().items():
            # A node that has gone on to a later epoch may have cut what it had acknowledged in this one.
            if self._disks[other].hard_state[0] == peer.epoch and other not in self._former:
                held, claimed = self._disks[other].epoch_at(index), peer.epoch_at(index)
                is_right = held == claimed or claimed is None or index < self._disks[other].start.index
                what = f"leader {node_id} counts {index} of {claimed} as synced on {other}, which has {held}"
                ensure(is_right, "Z2", what)

    def on_end(self, node_ids: Iterable[int]) -> None:
        """After the ensemble was healed: every disk holds the canonical history, and so every acknowledged proposal."""
        for node_id in node_ids:
            disk = self._disks[node_id]
            held = [entries for entries in disk.ranges() if entries.last_index <= self.committed_index]
            expected = [entries for entries in self.committed if entries.first_index > disk.start.index]
            ensure(held == expected, "Z3", f"the disk of node {node_id} differs from the canonical history")
        for last_index, checksum in self._acknowledged.items():
            ensure(self._canonical[last_index][3] == checksum, "acknowledged", f"{last_index} is lost")

    def may_wipe(self, node_id: int) -> bool:
        """Whether so few voters of each ensemble that may decide are not sound that the node may be another."""
        newest = self._newest_in(self._counted)[2]
        pending = [membership for index, _, membership in self._memberships if index >= len(self._counted)]
        for membership in (newest, *pending):
            for group in (membership.voters, membership.old_voters):
                wiped = sum(other == node_id or not self._disks[other].is_sound for other in group)
                if node_id in group and wiped > (len(group) - 1) // 2:
                    return False
        return True

    def _newest_in(self, log: list[int]) -> tuple[int, int, Membership]:
        """What is in force at the end of a log, which is given by the epoch of each index."""
        found = [held for held in self._memberships if held[0] < len(log) and log[held[0]] == held[1]]
        return max(found, key=lambda held: held[0])

    def _has_promised(self, node_id: int, index: int, epoch: int) -> bool:
        """Whether a node has written what ends at index while it was sound, be it on a disk that is gone."""
        lives = [self._disks[node_id], *self._former.get(node_id, ())]
        return any(disk.is_sound and (index < disk.start.index or disk.epoch_at(index) == epoch) for disk in lives)

    def _note_vote(self, node_id: int, epoch: int, vote: int) -> None:
        first = self._votes.setdefault((node_id, epoch), vote)
        ensure(first == vote, "Z2", f"node {node_id} votes for {first} and for {vote} in epoch {epoch}")

    def _check_acknowledgement(self, sender: int, reply: AppendReply, disk: RangeDisk) -> None:
        log = self._leader_logs[reply.epoch]
        expected = log[reply.index] if reply.index < len(log) else reply.epoch
        held = disk.epoch_at(reply.index)
        if held is None and reply.index < disk.start.index:
            held = self._counted[reply.index]
        what = f"node {sender} acknowledges {reply.index} in epoch {reply.epoch}: disk has {held}, leader has {expected}"
        ensure(held == expected, "Z2", what)


def _are_quorum(membership: Membership, nodes: Iterable[int]) -> bool:
    """Whether these are more than half of the voters, and of the old voters while there are any."""
    have = set(nodes)
    groups = [group for group in (membership.voters, membership.old_voters) if group]
    return all(2 * len(have.intersection(group)) > len(group) for group in groups)
