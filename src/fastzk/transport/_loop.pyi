from fastzk._core.serve import Server
from fastzk.transport._link import EngineLink

STAT_NAMES: tuple[str, ...]
SLOT_COUNTERS: int
STATUS: int
WORDS: int
WOKEN: int
CREDENTIALS: int

class Loop:
    def __new__(
        cls,
        server: Server,
        link: EngineLink,
        *,
        listen_fd: int,
        wake_fd: int,
        router: object | None,
        stats: memoryview,
        place: int,
        gate_fd: int = ...,
    ) -> Loop: ...
    def turn(self, timeout_ms: int) -> int: ...
    def listen(self, wanted: bool) -> None: ...
    def second(self) -> None: ...
    def hurry(self) -> None: ...
    def peer_fd(self, slot: int) -> int: ...
    def drop_all(self) -> None: ...
    @property
    def connection_count(self) -> int: ...
