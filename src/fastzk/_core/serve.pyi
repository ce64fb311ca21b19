"""A worker's connections, sans-IO: bytes of clients and commit batches in, bytes for clients and entries for the engine out."""

from fastzk._core.arena import Arena

class Server:
    """All connections of one worker.  What a method is given as `slot` came from open_slot() and was not closed since."""

    # False: no session begins here, and a ConnectRequest closes its connection; four-letter words are still heard.
    is_serving: bool

    def __new__(
        cls,
        arena: Arena,
        *,
        node_id: int,
        worker: int,
        incarnation: int,
        timeout_min_ms: int,
        timeout_max_ms: int,
        connections_max: int,
        start_zxid: int,
        session_seed: int,
        hash_seed: int,
        frame_max: int = ...,
        output_max: int = ...,
        unanswered_max: int = ...,
    ) -> Server:
        """Starts without connections at `start_zxid`, the one the engine welcomed this worker with.

        `session_seed` is the wall clock in milliseconds: session ids count up from it.  `hash_seed` is random.
        `unanswered_max` limits the bytes of unanswered writes of all connections; beyond it they wait.
        """

    # The transport's side, for what is not compiled.
    def open_slot(self, wire: int, now_ms: int) -> int:
        """Opens a connection (wire 0: TCP, 1: native); its slot, or -1 when there are too many."""
    def close_slot(self, slot: int) -> None:
        """Forget a connection that the transport has lost or closed."""
    def take_bytes(self, slot: int, data: bytes, now_ms: int) -> None:
        """Bytes of a client have arrived."""
    def take_dirty(self) -> int:
        """Take one slot that wants attention off the list, or -1."""
    def output(self, slot: int) -> bytes:
        """What waits to be sent; it stays until output_sent()."""
    def output_sent(self, slot: int, size: int) -> None:
        """So many bytes of the output have left."""
    def state(self, slot: int) -> int:
        """0 free, 1 new, 2 waiting for its session, 3 open, 4 closing."""
    def is_paused(self, slot: int) -> bool:
        """Whether the transport should not read from it."""
    def sweep_at(self, now_ms: int) -> None:
        """Once a second: close what has waited too long, give unused memory back."""
    def close_all(self) -> None:
        """Cut all sessions' connections off, unsent output included: this node no longer serves."""

    # The engine's side.
    def commit_items(self, items: bytes, zxid: int, now_ms: int) -> bool:
        """Handle a commit batch.  False: it makes no sense, and the worker must end."""
    def take_writes(self) -> tuple[int, bytes]:
        """Take the entries for the engine, and their number."""
    def take_reads(self) -> tuple[int, bytes]:
        """Take the reads that are handed over to the engine, and their number."""
    def take_touched(self) -> bytes:
        """Take the ids (u64, little-endian) of the sessions heard of since the last time."""
    def resend_all(self) -> None:
        """A new round: put every unanswered write into the writes again, in order, and only once."""

    # The worker's side.
    def words(self) -> list[tuple[int, bytes]]:
        """Take the four-letter words asked since the last time: (slot, word)."""
    def answer_word(self, slot: int, text: bytes) -> None:
        """Answer a four-letter word; the connection closes when it is sent.  Raises ValueError if none was asked."""
    def add_entropy(self, data: bytes) -> None:
        """Add random bytes: a new session takes 24 of them, a reconnecting one 8."""
    @property
    def entropy_left(self) -> int:
        """Random bytes left."""
    @property
    def handled_zxid(self) -> int:
        """The commit batches up to here are handled."""
    @property
    def node_id(self) -> int: ...
    @property
    def worker(self) -> int: ...
    @property
    def incarnation(self) -> int: ...
    def counters(self) -> dict[str, int]:
        """Counts since the start: received, sent; and of now: connections, outstanding, watches, watched_paths,
        unanswered_bytes; and of writes: latency_ms_min, latency_ms_avg, latency_ms_max."""
    def reset_counters(self) -> None:
        """Start received, sent and the latencies anew."""
    def describe(self) -> list[dict[str, int]]:
        """Each connection: slot, wire, state, session_id, timeout_ms, outstanding, received, sent, queued, heard_ms, since_ms."""
