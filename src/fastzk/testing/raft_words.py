"""Messages and ranges of the consensus in a few words: what a trace or a story shows."""

from fastzk.raft.peer import Append, AppendReply, Membership, Message, Range, TimeoutNow, Vote


def short(what: Message | Range) -> str:
    """One message or range, as a trace shows it."""
    if isinstance(what, Range):
        members = f" {short_membership(what.membership)}" if what.membership is not None else ""
        return f"{what.first_index}..{what.last_index}@{what.epoch} {what.first_zxid:#x}{members}"
    if isinstance(what, Append):
        ranges = " ".join(short(entries) for entries in what.ranges)
        after = f"after {what.previous_index}@{what.previous_epoch}"
        return f"Append {what.sender} e{what.epoch} {after} committed {what.committed_index} #{what.probe} [{ranges}]"
    if isinstance(what, AppendReply):
        verdict = f"refuses {what.index}, hint {what.hint_index}@{what.hint_epoch}" if what.is_rejected else f"has {what.index}"
        return f"AppendReply {what.sender} e{what.epoch} {verdict} #{what.probe}{'' if what.is_sound else ' unsound'}"
    if isinstance(what, TimeoutNow):
        return f"TimeoutNow {what.sender} e{what.epoch}"
    kind = "pre-vote" if what.is_pre else "vote"
    if isinstance(what, Vote):
        end = f"last {what.last_index}@{what.last_epoch}{' transfer' if what.is_transfer else ''}"
        return f"Vote {what.sender} e{what.epoch} {kind} {end}"
    return f"VoteReply {what.sender} e{what.epoch} {kind} {'granted' if what.is_granted else 'refused'}"


def short_membership(membership: Membership) -> str:
    """One membership, as a trace shows it: voters, old voters, observers."""
    voters, old, observers = (
        ",".join(map(str, nodes)) for nodes in (membership.voters, membership.old_voters, membership.observers)
    )
    return f"<{voters}{' from ' + old if old else ''}{' observers ' + observers if observers else ''}>"
