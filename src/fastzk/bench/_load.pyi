"""What Python may call of the load: see _load.pyx."""

from typing import TypedDict

class Counts(TypedDict):
    """What a run counted; the histograms by place, see bucket_floor."""

    operations: int
    elapsed_ns: int
    reads: list[int]
    writes: list[int]
    read_max_ns: int
    write_max_ns: int
    errors: int
    first_error: int
    disorders: int

def bucket(value: int) -> int: ...
def bucket_floor(place: int) -> int: ...

class Load:
    """Connected sockets under load."""

    def __new__(
        cls,
        fds: list[int],
        window: int,
        prefix: bytes,
        keys: int,
        value: bytes,
        get_percent: int,
        create_percent: int,
        number: int,
    ) -> Load: ...
    def run(self, warm_up_ns: int, duration_ns: int, operations_max: int) -> Counts: ...
