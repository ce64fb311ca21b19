"""One worker's watches: who waits for which path."""

class Watches:
    """The watch tables of one worker.  Kinds: 1 data, 2 child.  Events: 1 created, 2 deleted, 3 data, 4 children."""

    def __new__(cls, seed: int) -> Watches: ...
    def arm(self, path: bytes, kind: int, connection: int, zxid: int, handled: int) -> None:
        """Arm a one-shot watch as of `zxid`; all changes up to `handled` have been fired.

        Raises ValueError for a kind or connection that cannot be, MemoryError when there is none.
        """
    def fire(self, path: bytes, event: int, zxid: int) -> list[int]:
        """Take out the watches that `event` at `zxid` fires; the connections to tell, each once."""
    def drop(self, connection: int) -> None:
        """Forget a connection's watches."""
    def __len__(self) -> int: ...
    @property
    def path_count(self) -> int:
        """Number of paths that somebody waits for."""
    @property
    def bytes_held(self) -> int:
        """All the memory of the tables, in bytes."""
