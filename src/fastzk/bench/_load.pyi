"""What Python may call of the load: see _load.pyx."""

import socket
from collections.abc import Sequence
from typing import TypedDict

import zmq

from fastzk.bench._requests import Requests

HISTOGRAM_SIZE: int

class Counts(TypedDict):
    """What a run counted."""

    operations: int
    elapsed_ns: int
    errors: int
    first_error: int
    first_error_operation: str
    disorders: int
    unanswered: int
    unsent: int

def bucket(value: int) -> int: ...
def bucket_floor(place: int) -> int: ...

class Load:
    """Connected sockets under load."""

    answered: int
    interval_ns: float
    tolerated: int
    def __new__(
        cls,
        sockets: Sequence[socket.socket] | Sequence[zmq.Socket[bytes]],
        requests: Requests,
        *,
        window: int,
        batch: int = 0,
        interval_ns: float = 0,
        tolerated: int = 0,
    ) -> Load: ...
    def run(self, warm_up_ns: int, duration_ns: int, operations_max: int = 0) -> Counts: ...
    def stop(self) -> None: ...
    def histogram(self, of_writes: bool) -> list[int]: ...
    def maximum_ns(self, of_writes: bool) -> int: ...
