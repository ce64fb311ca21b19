"""A worker's connections, sans-IO: bytes of clients and commit batches in, bytes for clients and entries out."""

from collections.abc import Iterable

from fastzk._core.requests import Requests

class Server(Requests):
    """All connections of one worker, and what they are told."""

    def take_bytes(self, slot: int, data: bytes, now_ms: int) -> None:
        """Bytes of a client have arrived."""

    def output_sent(self, slot: int, size: int) -> None:
        """So many bytes of the output have left.  Raises ValueError when there were not so many."""

    def sweep_at(self, now_ms: int) -> None:
        """Once a second: close what has waited too long, give unused memory back."""

    def commit_items(self, items: bytes, zxid: int, now_ms: int) -> bool:
        """Handle a commit batch.  False: it makes no sense, and the worker must end."""

    def add_entropy(self, data: bytes) -> None:
        """Add random bytes: a new session takes 24 of them, a reconnecting one 8."""

    def asked(self) -> list[tuple[int, int, int, bytes]]:
        """Take the credentials to be judged: (slot, op, xid, body of the request); op 100 is auth, 102 sasl.

        Each waits for its admit(), which must come before anything else is done with the server.
        """

    def admit(self, slot: int, err: int, identities: Iterable[tuple[str, str]] = (), token: bytes | None = None) -> None:
        """Judge credentials: with `err` they are refused and the connection ends, else it has these identities from now on.

        `token` is what sasl is answered with.  Too many identities refuse.  Raises ValueError if the slot asked nothing.
        """
