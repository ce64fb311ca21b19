"""The order of a simulated world: one heap of what will happen.

Rule: whatever happens, happens through here, so that a seed and the code fix the whole run.
Events of the same instant happen in the order in which they were planned.  Time is in microseconds."""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any


class EventHeap:
    """Simulated time, and what is planned in it."""

    def __init__(self) -> None:
        self.now_us = 0
        self.count = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def after(self, delay_us: int, handler: Callable[..., None], *arguments: Any) -> None:
        """Plans a call of handler."""
        assert delay_us >= 0, f"{delay_us} us lies in the past"
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_us + delay_us, self._sequence, handler, arguments))

    def run_until(self, end_us: int) -> None:
        """Lets everything happen that is planned up to end_us."""
        while self._heap and self._heap[0][0] <= end_us:
            self.now_us, _, handler, arguments = heapq.heappop(self._heap)
            self.count += 1
            handler(*arguments)
        self.now_us = end_us


class Trace:
    """What has happened, line by line: its digest, its last lines, and all of it on request."""

    LINES_KEPT = 60

    def __init__(self, heap: EventHeap, print_line: Callable[[str], None] | None = None) -> None:
        self._heap = heap
        self._hash = hashlib.blake2b(digest_size=16)
        self._print = print_line
        self.last_lines: deque[str] = deque(maxlen=self.LINES_KEPT)

    def line(self, text: str) -> None:
        """Notes that something happened now."""
        line = f"{self._heap.now_us:>9} {text}"
        self._hash.update(line.encode())
        self.last_lines.append(line)
        if self._print is not None:
            self._print(line)

    def digest(self) -> str:
        """Equal for two runs exactly if they are the same run."""
        return self._hash.hexdigest()
