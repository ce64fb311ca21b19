"""Sealed blocks as ranges of the consensus.

Rule: a range is made of a block here and nowhere else, so that one that brings a membership is never taken for another."""

from fastzk._core.blocks import BlockInfo, check, entries
from fastzk.raft.membership import Membership
from fastzk.raft.messages import Payload, Range
from fastzk.state.members import Members

BLOCK_MEMBERS = 1


def range_of(block: Payload) -> Range:
    """The range that a block is.  Raises BlockDamaged; MembersError for a membership that cannot be."""
    return range_from(check(block), block)


def range_from(info: BlockInfo, block: Payload) -> Range:
    """The same, of a block that was checked.  Raises MembersError."""
    membership = membership_of(block) if info.kind == BLOCK_MEMBERS else None
    return Range(info.first_index, info.last_index, info.first_zxid >> 32, info.first_zxid, block, membership)


def membership_of(block: Payload) -> Membership:
    """What a block of kind 1 brings.  Raises MembersError."""
    return members_of(block).membership


def members_of(block: Payload) -> Members:
    """The same, with addresses.  Raises MembersError."""
    return Members.decode(entries(block)[0].body)
