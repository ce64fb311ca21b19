"""One worker's watches: who waits for which path."""

class Watches:
    """The watch tables of one worker.

    Kinds: 1 data, 2 child, 3 persistent, 4 recursive.  Events: 1 created, 2 deleted, 3 data, 4 children.  Types, as of
    removeWatches: 1 children, 2 data, 3 any, 4 persistent, 5 recursive.
    """

    def __new__(cls, seed: int) -> Watches: ...
    def arm(self, path: bytes, kind: int, connection: int, zxid: int, handled: int) -> None:
        """Arm a watch as of `zxid`; all changes up to `handled` have been fired.

        Raises ValueError for a kind or connection that cannot be, MemoryError when there is none.
        """
    def check(self, path: bytes, type: int, connection: int) -> bool:
        """Whether the connection has a watch of that type on the path."""
    def remove(self, path: bytes, type: int, connection: int) -> bool:
        """Take the connection's watches of that type on the path away; whether there was one."""
    def fire(self, path: bytes, event: int, zxid: int) -> list[int]:
        """The connections that `event` at `zxid` must be told to, each once; one-shot watches are taken out."""
    def drop(self, connection: int) -> None:
        """Forget a connection's watches."""
    def __len__(self) -> int:
        """Pairs of connection and path in ZooKeeper's two tables: what it calls the number of watches."""
    def count_of(self, kind: int) -> int:
        """Number of watches of a kind.  Raises ValueError when it is none."""
    def summary(self) -> tuple[int, int, int]:
        """Connections, paths, and pairs of both in the data table."""
    def listed(self, first: int, count: int = 4096) -> tuple[int, list[tuple[bytes, int]]]:
        """The pairs (path, connection) of the data table, of `count` watches from number `first`; what to go on with, or 0."""
    @property
    def path_count(self) -> int:
        """Number of paths that somebody waits for."""
    @property
    def bytes_held(self) -> int:
        """All the memory of the tables, in bytes."""
