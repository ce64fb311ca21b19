"""The limits of one peer, each with its reason."""

from dataclasses import dataclass

from fastzk.raft.messages import COUNTER_MAX


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a peer holds in memory or sends ahead.  Sizes are in bytes of payload."""

    # Recent ranges kept for followers that lag by a moment; what is older comes from the disk.
    window_bytes_max: int = 64 << 20
    # One Append: small enough that a heartbeat never waits long behind it on a slow link.
    append_bytes_max: int = 1 << 20
    # The one Append a probe sends; if it is refused it was sent in vain.
    probe_bytes_max: int = 64 << 10
    # Sent to one follower and not acknowledged: the bandwidth-delay product of a long fast link, with room.
    inflight_bytes_max: int = 16 << 20
    inflight_count_max: int = 1024
    # Proposed and not committed: beyond it the leader refuses, or a lost quorum would fill its memory.
    uncommitted_bytes_max: int = 128 << 20
    # Given out to be applied in one turn, so that a restart with a long log stays responsive.
    apply_bytes_max: int = 16 << 20
    # A node that was removed is told so for this many ticks, if it does not confirm it before.
    leave_ticks: int = 100
    # The last counter of an epoch.  Kept off the true end, so that no arithmetic ever meets it.
    counter_max: int = COUNTER_MAX - (1 << 16)
