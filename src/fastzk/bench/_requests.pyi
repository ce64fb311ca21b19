"""What Python may call of the requests: see _requests.pyx."""

from collections.abc import Sequence

OPERATIONS: tuple[str, ...]

class Requests:
    """The endless row of requests of one thread."""

    def __new__(
        cls,
        *,
        prefix: bytes,
        keys: int,
        value: bytes,
        weights: Sequence[int],
        number: int,
        multi: int = 5,
        table: bytes = b"",
    ) -> Requests: ...
    def mix(self, weights: Sequence[int]) -> None: ...
    def make_keys(self) -> None: ...
    def remove_keys(self) -> None: ...
    def remove_own(self) -> None: ...
