"""The leader's opinion of one peer's log.

Rule: only leader.py calls this.  Rule: match_index < next_index, always.

    probing ----- an Append is accepted -----> streaming
       ^                                          |
       +---- an Append is refused, silence, ------+
             or the link was lost

Probing: the leader does not know where the two logs part.  It sends one Append and waits for the answer or a tick.
Streaming: the leader sends ranges ahead of their acknowledgements, up to a limit.  A heartbeat names the end of what
was sent, so a hole in the stream is refused by the next heartbeat at the latest.
"""

from collections import deque


class Progress:
    """What one peer holds, and what is on its way to it."""

    __slots__ = (
        "_inflight",
        "counted_index",
        "counted_tick",
        "has_answered",
        "heard_tick",
        "inflight_bytes",
        "is_behind",
        "is_heartbeat_due",
        "is_paused",
        "is_probing",
        "is_sound",
        "leaving",
        "match_index",
        "match_probe",
        "next_index",
        "sent_committed_index",
    )

    def __init__(self, next_index: int, tick: int) -> None:
        # The highest index known to be on the peer's disk and equal to ours.
        self.match_index = 0
        # The same, from what it said while it was sound: only this counts for a commit.
        self.counted_index = 0
        # Whether it has replied in this reign, and whether its last reply said that it is sound.
        self.has_answered = False
        self.is_sound = False
        # The highest probe that came back with an acceptance.
        self.match_probe = 0
        # The first index to send next; starts a range of our log.
        self.next_index = next_index
        self.is_probing = True
        # Probing, and the one Append is out.
        self.is_paused = False
        # The peer needs what our log no longer holds; only a snapshot can help.
        self.is_behind = False
        self.is_heartbeat_due = False
        # When the peer was last heard of.
        self.heard_tick = tick
        # When it was last heard of as a sound one: only this counts for the quorum that a leader must hear.
        self.counted_tick = tick
        # The node is removed: (end of the range that says so, last tick in which it is told).
        self.leaving: tuple[int, int] | None = None
        self.sent_committed_index = 0
        # Last index and size of each unacknowledged Append of the stream, oldest first.
        self._inflight: deque[tuple[int, int]] = deque()
        self.inflight_bytes = 0

    @property
    def inflight_count(self) -> int:
        """Appends with ranges that are not acknowledged yet."""
        return len(self._inflight)

    def probe(self, next_index: int) -> None:
        """Forgets what is on its way and asks again from next_index on."""
        self.is_probing = True
        self.is_paused = False
        self.next_index = max(next_index, self.match_index + 1)
        self._inflight.clear()
        self.inflight_bytes = 0

    def sent(self, last_index: int, size: int) -> None:
        """An Append with ranges up to last_index has left."""
        if self.is_probing:
            self.is_paused = True
            return
        assert last_index >= self.next_index, f"{last_index} was sent before {self.next_index}"
        self.next_index = last_index + 1
        self._inflight.append((last_index, size))
        self.inflight_bytes += size

    def heard(self, tick: int, is_sound: bool) -> None:
        """The peer has answered in this epoch."""
        self.has_answered = True
        self.heard_tick = tick
        self.is_sound = is_sound
        if is_sound:
            self.counted_tick = tick

    def accepted(self, index: int, probe: int, is_sound: bool) -> bool:
        """The peer holds our log up to index, and it counts if it was sound as it said so.  False if nothing new counts."""
        is_news = is_sound and index > self.counted_index
        if is_news:
            self.counted_index = index
        self.match_probe = max(self.match_probe, probe)
        self.is_behind = False
        if self.is_probing:
            self.is_probing = False
            self.is_paused = False
        while self._inflight and self._inflight[0][0] <= index:
            self.inflight_bytes -= self._inflight.popleft()[1]
        if index > self.match_index:
            self.match_index = index
            self.next_index = max(self.next_index, index + 1)
        return is_news

    def is_told(self) -> bool:
        """Whether a node that is removed has confirmed it, and was sent that this is committed."""
        return self.leaving is not None and min(self.match_index, self.sent_committed_index) >= self.leaving[0]

    def is_refusal_stale(self, index: int, probe: int) -> bool:
        """Whether a refusal of index is contradicted by what was accepted since."""
        if index <= self.match_index:
            # A refusal of a younger probe than the acceptance means that the peer lost what it had acknowledged.
            return probe <= self.match_probe
        return self.is_probing and index != self.next_index - 1

    def forget(self) -> None:
        """The peer no longer holds what it acknowledged: its disk was replaced."""
        self.match_index = 0
        self.counted_index = 0
