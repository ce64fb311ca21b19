"""What peers say to one another, and the unit they agree on.

Rule: values only; nothing here decides.  Rule: a message that breaks a rule of its own form is refused by
check_message(), before anything acts on it.

The unit is the range: one batch of entries that a leader sealed, replicated, synced, committed and applied as a whole.
A range is never split and never joined with another, so two logs that hold an entry of the same index and epoch hold
the same range, and wherever two logs part, they part at the end of a range.

Every message names its sender and the sender's epoch.  The network may lose, repeat, delay and reorder messages.
"""

from dataclasses import dataclass

from fastzk.raft.membership import Membership

# An epoch is the upper half of a zxid, which clients read as a signed number of 64 bits.
EPOCH_MAX = (1 << 31) - 1
COUNTER_BITS = 32
COUNTER_MAX = (1 << COUNTER_BITS) - 1

Payload = bytes | bytearray | memoryview


class ProtocolError(Exception):
    """Another node sent what no correct node sends.  The message has changed nothing."""


@dataclass(frozen=True, slots=True)
class Range:
    """One replicated batch: the entries first_index to last_index, with consecutive zxids from first_zxid on."""

    first_index: int
    last_index: int
    epoch: int
    first_zxid: int
    # The sealed block, opaque here.  Nobody changes its bytes once it is in a range.
    payload: Payload
    # The membership that is in force from this range on, if it brings one: part of the block, as its maker reads it.
    membership: Membership | None = None

    @property
    def count(self) -> int:
        """Entries."""
        return self.last_index - self.first_index + 1

    @property
    def last_zxid(self) -> int:
        return self.first_zxid + self.last_index - self.first_index

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)


@dataclass(frozen=True, slots=True)
class Vote:
    """Asks for a vote in `epoch`.  A pre-vote asks only whether one would be given: nobody's epoch or vote moves."""

    sender: int
    epoch: int
    # The end of the sender's log.
    last_index: int
    last_epoch: int
    is_pre: bool
    # The leader itself wants the sender to lead: asked even of those who hear that leader.
    is_transfer: bool = False


@dataclass(frozen=True, slots=True)
class VoteReply:
    """A granted pre-vote carries the epoch that was asked for, every other reply the sender's own epoch."""

    sender: int
    epoch: int
    is_granted: bool
    is_pre: bool


@dataclass(frozen=True, slots=True)
class Append:
    """Ranges that follow the one that ends at previous_index.  Without ranges it is a heartbeat."""

    sender: int
    epoch: int
    # Ends a range of the leader's log; the receiver takes nothing unless its own log holds the same there.
    previous_index: int
    previous_epoch: int
    ranges: tuple[Range, ...]
    committed_index: int
    # Rises with every Append of this leader.  The reply carries the highest one its sender has seen in this epoch.
    probe: int


@dataclass(frozen=True, slots=True)
class AppendReply:
    """Accepted: the sender's disk holds the leader's log up to index.  Rejected: it does not hold previous_index."""

    sender: int
    epoch: int
    is_rejected: bool
    # Accepted: the highest index that is synced and known to match, never an unsynced one (Z2).
    # Rejected: the previous_index that was refused.
    index: int
    # Rejected: the last place of the sender's log, not after index, whose epoch is not above the refused one.
    hint_index: int
    hint_epoch: int
    # Accepted: the highest probe seen in this epoch.  Rejected: the probe of what was refused.
    probe: int
    # The sender has lost nothing that it ever promised; if it may have, it does not count.
    is_sound: bool = True


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader of `epoch` asks the receiver, whose log is level with its own, to take over at once."""

    sender: int
    epoch: int


Message = Vote | VoteReply | Append | AppendReply | TimeoutNow


def check_message(message: Message) -> None:
    """Refuses what no correct node sends, so that nothing behind this line meets it.  Raises ProtocolError."""
    if not 0 <= message.epoch <= EPOCH_MAX:
        raise ProtocolError(f"node {message.sender}: epoch {message.epoch} is out of bounds")
    if isinstance(message, Append):
        _check_append(message)
    elif isinstance(message, Vote):
        if message.last_index < 0 or not 0 <= message.last_epoch <= message.epoch:
            raise ProtocolError(f"node {message.sender}: {message} is no possible end of a log")
    elif isinstance(message, AppendReply) and (message.index < 0 or message.hint_index < 0):
        raise ProtocolError(f"node {message.sender}: {message} has a negative index")


def _check_append(message: Append) -> None:
    index, epoch, zxid = message.previous_index, message.previous_epoch, -1
    if index < 0 or message.committed_index < 0 or not 0 <= epoch <= message.epoch:
        raise ProtocolError(f"node {message.sender}: Append after index {index} of epoch {epoch} in {message.epoch}")
    for entries in message.ranges:
        is_next = entries.first_index == index + 1 and entries.last_index > index
        # Within an epoch the counter goes on; a new epoch begins with counter 0 (Z1).
        is_epoch_kept = entries.epoch == epoch and (zxid < 0 or entries.first_zxid == zxid + 1)
        is_epoch_begun = entries.epoch > epoch and entries.first_zxid == entries.epoch << COUNTER_BITS
        is_inside = entries.last_zxid >> COUNTER_BITS == entries.first_zxid >> COUNTER_BITS == entries.epoch
        if not (is_next and is_inside and (is_epoch_kept or is_epoch_begun) and entries.epoch <= message.epoch):
            raise ProtocolError(
                f"node {message.sender}: range {entries.first_index}..{entries.last_index} of epoch {entries.epoch},"
                f" zxid {entries.first_zxid:#x}, cannot follow index {index} of epoch {epoch}, zxid {zxid:#x}"
            )
        index, epoch, zxid = entries.last_index, entries.epoch, entries.last_zxid
