from typing import final

from fastzk._core.arena import Arena
from fastzk._core.snapshot_write import SnapshotState

class RecordDamaged(ValueError):  # noqa: N818
    offset: int
    reason: str
    def __init__(self, offset: int, reason: str) -> None: ...

@final
class SnapshotLoader:
    def __new__(cls, arena: Arena, state: SnapshotState) -> SnapshotLoader: ...
    def add_chunk(self, payload: bytes) -> None: ...
    def finish(self) -> None: ...
