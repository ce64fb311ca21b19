"""Whether this node's tree is what the others' trees are (Z3), by samples of the digest that all nodes tell each other.

A sample's chain covers all samples before it, so agreeing once means having agreed all along, and a difference stays.

    most agree with us            all is well
    most voters differ from us    ours is the wrong tree: load an older snapshot and apply the log again
    neither, for WAIT_MS          nobody can tell who is right: the same, in the hope that it was an accident of the memory

Rule: values in, a verdict out; what is done about it is the caller's business (node/core.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

WAIT_MS = 5000


class Comparison:
    """What one node knows of the others' digests."""

    def __init__(self, node_id: int, sample_at: Callable[[int], tuple[int, int] | None]) -> None:
        self._node_id = node_id
        self._sample_at = sample_at
        # The newest sample of each other node that we have not got to yet.
        self._ahead: dict[int, tuple[int, tuple[int, int]]] = {}
        # Of each other node: the index of the last sample that was compared, and whether it was like ours.
        self._compared: dict[int, tuple[int, bool]] = {}
        self._differing_since_ms: int | None = None
        # The highest index at which another node's sample was like ours.
        self.agreed_index = 0
        # The lowest known one at which one was not; 0 = none.
        self.differed_index = 0

    def hear(self, sender: int, index: int, sample: tuple[int, int]) -> None:
        """Another node's newest sample: (digest, chain) at an index."""
        ours = self._sample_at(index)
        if ours is None:
            self._ahead[sender] = (index, sample)
            return
        is_like = ours == sample
        self._compared[sender] = (index, is_like)
        if is_like:
            self.agreed_index = max(self.agreed_index, index)
        elif not self.differed_index or index < self.differed_index:
            self.differed_index = index

    def advance(self) -> None:
        """We have applied more: samples that were ahead of us may have been reached."""
        for sender, (index, sample) in list(self._ahead.items()):
            if self._sample_at(index) is not None:
                del self._ahead[sender]
                self.hear(sender, index, sample)

    def is_wrong(self, voters: Sequence[int], now_ms: int) -> bool:
        """Whether this node must not go on with its tree."""
        differing = [node for node, (_, is_like) in self._compared.items() if not is_like and node in voters]
        if not differing:
            self._differing_since_ms = None
            return False
        if self._differing_since_ms is None:
            self._differing_since_ms = now_ms
        agreeing = [node for node, (_, is_like) in self._compared.items() if is_like and node in voters]
        majority = len(voters) // 2 + 1
        if len(agreeing) + (self._node_id in voters) >= majority:
            return False
        return len(differing) >= majority or now_ms - self._differing_since_ms >= WAIT_MS
