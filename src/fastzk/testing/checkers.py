"""What must be true of a simulated ensemble, checked while it runs.

Rule: a checker sees everything (every disk, every message) and changes nothing.
Rule: each check names the invariant it guards; docs/internals/consensus.md says which mutant each one catches.

The canonical history is what has been committed, as first seen anywhere: index -> range.  Everything else is held
against it.
"""

import zlib
from collections.abc import Mapping

from fastzk.raft.peer import AppendReply, Message, Peer, Range, Role, Vote, VoteReply
from fastzk.testing.range_disk import RangeDisk


class Violation(AssertionError):  # noqa: N818
    """The ensemble broke an invariant."""


def ensure(condition: bool, invariant: str, what: str) -> None:
    """Raises Violation unless condition holds."""
    if not condition:
        raise Violation(f"{invariant}: {what}")


class RaftChecker:
    """The judge of one simulation of the consensus."""

    def __init__(self, quorum_size: int, voter_disks: Mapping[int, RangeDisk], disks: Mapping[int, RangeDisk]) -> None:
        self._quorum_size = quorum_size
        self._voter_disks = voter_disks
        self._disks = disks
        # The canonical history in order, and by last index: first zxid, epoch, checksum of the payload.
        self.committed: list[Range] = []
        # For each of them the epoch of the node that delivered it first: it was committed in that epoch or before.
        self._commit_epochs: list[int] = []
        self._canonical: dict[int, tuple[int, int, int, int]] = {}
        # Who leads each epoch, and the epoch of every index of its log when it won; what it adds is of its own epoch.
        self._leaders: dict[int, int] = {}
        self._leader_logs: dict[int, list[int]] = {}
        self._committed_at_election: dict[int, int] = {}
        # What each node has delivered since its start; the highest epoch it was ever seen in; whom it voted for.
        self._delivered: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        # Proposals whose clients were told that they are done.
        self._acknowledged: dict[int, int] = {}

    @property
    def committed_index(self) -> int:
        return self.committed[-1].last_index if self.committed else 0

    def on_start(self, node_id: int) -> None:
        """A node begins, or begins again, with what its disk holds."""
        self._delivered[node_id] = 0

    def on_send(self, sender: int, receiver: int, message: Message) -> None:
        """A message leaves a node: what it promises must be durable there (Z2)."""
        disk = self._disks[sender]
        epoch, vote = disk.hard_state
        ensure(message.sender == sender, "form", f"node {sender} sends as {message.sender}")
        if isinstance(message, Vote):
            is_durable = message.is_pre or epoch > message.epoch or (epoch, vote) == (message.epoch, sender)
            ensure(is_durable, "Z2", f"node {sender} asks for votes in {message.epoch}, its disk has {epoch, vote}")
            if not message.is_pre:
                self._note_vote(sender, message.epoch, sender)
        elif isinstance(message, VoteReply):
            if message.is_granted and not message.is_pre:
                is_durable = epoch > message.epoch or (epoch, vote) == (message.epoch, receiver)
                ensure(is_durable, "Z2", f"node {sender} votes in {message.epoch}, its disk has {epoch, vote}")
                self._note_vote(sender, message.epoch, receiver)
        else:
            ensure(epoch >= message.epoch, "Z2", f"node {sender} speaks in {message.epoch}, its disk has {epoch}")
            if isinstance(message, AppendReply) and not message.is_rejected:
                self._check_acknowledgement(sender, message, disk)

    def on_leader(self, node_id: int, peer: Peer) -> None:
        """A node has won an epoch: nobody else may have, and its log holds all that is committed."""
        first = self._leaders.setdefault(peer.epoch, node_id)
        ensure(first == node_id, "election safety", f"nodes {first} and {node_id} both lead epoch {peer.epoch}")
        ensure(peer.epoch not in self._leader_logs, "election safety", f"epoch {peer.epoch} is led twice")
        self._leader_logs[peer.epoch] = [peer.epoch_at(index) or 0 for index in range(peer.last_index + 1)]
        self._committed_at_election[peer.epoch] = peer.committed_index
        for entries, epoch in zip(reversed(self.committed), reversed(self._commit_epochs), strict=True):
            # A delayed election may end after a later epoch has begun; that leader owes nothing to the later one.
            if epoch < peer.epoch:
                found = peer.epoch_at(entries.last_index)
                what = f"node {node_id} leads {peer.epoch}; {entries.last_index} is of {entries.epoch}, it has {found}"
                ensure(found == entries.epoch, "leader completeness", what)
                break

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
        holders = [other for other, disk in self._voter_disks.items() if disk.range_at(entries.last_index) == entries]
        ensure(len(holders) >= self._quorum_size, "Z2", f"{what}, only the disks of {holders} hold it")
        self.committed.append(entries)
        self._commit_epochs.append(peer.epoch)
        if peer.role is Role.LEADER and entries.last_index > self._committed_at_election[peer.epoch]:
            # It committed this by counting, so a quorum holds a range of its own epoch (Raft 5.4.2).
            holders = [other for other, disk in self._voter_disks.items() if (disk.epoch_at(disk.last_index) or 0) >= peer.epoch]
            ensure(
                len(holders) >= self._quorum_size, "5.4.2", f"{what} in {peer.epoch}; of that epoch only {holders} hold anything"
            )
        self._canonical[entries.last_index] = identity

    def on_acknowledged(self, entries: Range) -> None:
        """A client was told that its proposal is done: it must never be lost."""
        identity = self._canonical.get(entries.last_index)
        ensure(identity is not None, "acknowledged", f"{entries.first_index} is told done and is not canonical")
        self._acknowledged[entries.last_index] = zlib.crc32(entries.payload)

    def on_turn(self, node_id: int, peer: Peer) -> None:
        """After each turn of a node."""
        disk = self._disks[node_id]
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
            if self._disks[other].hard_state[0] == peer.epoch:
                held, claimed = self._disks[other].epoch_at(index), peer.epoch_at(index)
                ensure(
                    held == claimed, "Z2", f"leader {node_id} counts {index} of {claimed} as synced on {other}, which has {held}"
                )

    def on_end(self, disks: Mapping[int, RangeDisk]) -> None:
        """After the ensemble was healed: every disk holds the canonical history, and so every acknowledged proposal."""
        for node_id, disk in disks.items():
            held = tuple(entries for entries in disk.ranges() if entries.last_index <= self.committed_index)
            ensure(held == tuple(self.committed), "Z3", f"the disk of node {node_id} differs from the canonical history")
        for last_index, checksum in self._acknowledged.items():
            ensure(self._canonical[last_index][3] == checksum, "acknowledged", f"{last_index} is lost")

    def _note_vote(self, node_id: int, epoch: int, vote: int) -> None:
        first = self._votes.setdefault((node_id, epoch), vote)
        ensure(first == vote, "Z2", f"node {node_id} votes for {first} and for {vote} in epoch {epoch}")

    def _check_acknowledgement(self, sender: int, reply: AppendReply, disk: RangeDisk) -> None:
        log = self._leader_logs[reply.epoch]
        expected = log[reply.index] if reply.index < len(log) else reply.epoch
        held = disk.epoch_at(reply.index)
        what = f"node {sender} acknowledges {reply.index} in epoch {reply.epoch}: disk has {held}, leader has {expected}"
        ensure(held == expected, "Z2", what)
