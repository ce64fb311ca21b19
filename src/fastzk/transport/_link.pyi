from fastzk._core.serve import Server

class LinkError(Exception): ...

class EngineLink:
    def __new__(
        cls,
        server: Server,
        socket: object,
        *,
        worker: int,
        incarnation: int,
        engine_incarnation: int,
        sent_sequence: int,
        heard_sequence: int,
    ) -> EngineLink: ...
    def check(self) -> None: ...
    def tell(self, kind: int, count: int, body: bytes) -> bool: ...
    def engine_status(self) -> tuple[int, int, int, int, int] | None: ...
