from collections import deque
from typing import Any

from fastzk.client._call import Call
from fastzk.client.watching import SessionWatches

class Flow:
    queue: deque[Call]
    pending: deque[Call]
    xid: int
    last_zxid: int
    logged_count: int
    is_remembered: bool
    sent_at: float
    heard_at: float
    tap: Any
    def __init__(self, watches: SessionWatches) -> None: ...
    def take_calls(self, head: bytes) -> bytes | None: ...
    def take_replies(self, message: bytes, at: int, outcomes: list[Any]) -> int: ...
    def settle_replies(self, message: bytes) -> int: ...
