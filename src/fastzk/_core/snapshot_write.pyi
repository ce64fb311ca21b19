from typing import NamedTuple, final

from fastzk._core.arena import Arena

class SnapshotState(NamedTuple):
    last_index: int
    last_zxid: int
    last_time_ms: int
    digest: int
    znodes: int
    ephemerals: int
    sessions: int
    vectors: int
    data_bytes: int
    quotas: int
    reapables: int

@final
class SnapshotEncoder:
    def __new__(cls, arena: Arena, chunk_bytes: int) -> SnapshotEncoder: ...
    @property
    def state(self) -> SnapshotState: ...
    @property
    def arena(self) -> Arena: ...
    def next_chunk(self) -> bytes | None: ...
    def close(self) -> None: ...
