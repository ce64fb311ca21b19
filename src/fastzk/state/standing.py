"""Whether a node may serve its clients: not after it has been out of date, for all it knows, for longer than a bound.

It begins to serve when it has applied an entry of the epoch it is in: then it has all that was committed before.  It goes on
through an election.  It ends when for `bound_ms` it has had no leader, or has known of something committed and got nothing: the
second is a node that hears the others and is not heard by them.  Its clients must then look for another node.
Rule: time is the caller's monotonic milliseconds."""


class Standing:
    """How one node stands to the ensemble."""

    def __init__(self, bound_ms: int, now_ms: int) -> None:
        self._bound_ms = bound_ms
        # When it last had a leader and was not stuck.
        self._current_ms = now_ms
        # Highest committed index that anyone has named.
        self.heard_committed_index = 0
        # What was applied last, and when that moved or was all there is.
        self._applied_index = 0
        self._progress_ms = now_ms
        self.is_serving = False
        # It knows of something committed, and has got nothing for too long.
        self.is_stuck = False
        # It has been without a leader, or stuck, for too long.
        self.is_alone = False

    def hear_committed(self, index: int) -> None:
        """A leader has named its committed index."""
        self.heard_committed_index = max(self.heard_committed_index, index)

    def update(self, now_ms: int, *, has_leader: bool, applied_index: int, is_epoch_applied: bool) -> None:
        """Looks at how things are now."""
        if applied_index != self._applied_index or applied_index >= self.heard_committed_index:
            self._applied_index, self._progress_ms = applied_index, now_ms
        self.is_stuck = now_ms - self._progress_ms > self._bound_ms
        if has_leader and not self.is_stuck:
            self._current_ms = now_ms
        self.is_alone = now_ms - self._current_ms > self._bound_ms
        if self.is_alone:
            self.is_serving = False
        elif has_leader and is_epoch_applied:
            self.is_serving = True
