"""What Python may call of the watching client: see _watcher.pyx."""

class Watcher:
    """One connection's client and judge.  `kind` is that of its watches: 1 data, 2 child, 3 persistent, 4 recursive."""

    def __new__(cls, *, kind: int, prefix: bytes, keys: int, window: int, number: int, seed: int) -> Watcher: ...
    def begin(self) -> None:
        """Ask for all watches, and begin to write if there is a window."""
    def take(self, data: bytes) -> None:
        """Judge what the server has sent, and go on.  Raises ValueError when it is not the protocol."""
    def output(self) -> bytes:
        """What is to be sent."""
    def sent(self, size: int) -> None:
        """So much of it has left."""
    def stop(self) -> None:
        """Write no more."""
    def finish(self) -> None:
        """After all have stopped and are idle: read every znode once more, to see what nobody told."""
    @property
    def claims(self) -> list[tuple[int, int, int, int]]:
        """(zxid, znode's number, version, cversion): what a znode must have been when a lasting watch was armed."""
    @property
    def changes(self) -> list[tuple[int, int, bool]]:
        """(zxid, znode's number, whether of its children): what this client has changed."""
    @property
    def is_idle(self) -> bool:
        """True when all it asked is answered."""
    @property
    def events(self) -> int:
        """Events that came."""
    @property
    def requests(self) -> int:
        """Requests that were answered."""
    @property
    def wrong(self) -> dict[str, int]:
        """What was seen that must not be, by name; empty when all is well."""
    @property
    def first_wrong(self) -> str:
        """The first of it, told; empty when all is well."""
