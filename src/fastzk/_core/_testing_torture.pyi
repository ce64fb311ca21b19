from typing import Any, final

from typing_extensions import Buffer

from fastzk._core.arena import Arena

NAMES: tuple[str, ...]

@final
class Writer:
    def __new__(cls, arena: Arena, seed: int, fillers_max: int) -> Writer: ...
    def prepare(self) -> None: ...
    def run(self, stop: Buffer, pause_turns: int) -> int: ...

def read_many(arena: Arena, reads: int, seed: int, is_checked: bool) -> dict[str, Any]: ...
