"""The slots of a worker's connections: what does not depend on what they say."""

from typing import Self, TypedDict

from fastzk._core.arena import Arena

class ConnectionFacts(TypedDict):
    """What describe() says of a connection; only a type, there is no such object."""

    slot: int
    wire: int  # 0: TCP, 1: native, 2: through the gate, which has not said yet for whom it speaks
    is_gated: bool  # through the node's own gate (TLS)
    is_local: bool  # its session is known to this worker only
    address: str  # "" when it is not known
    port: int
    state: int
    session_id: int
    timeout_ms: int
    outstanding: int
    received: int
    sent: int
    queued: int
    heard_ms: int
    since_ms: int
    last_op: int  # of its requests; 0 before the first
    last_xid: int  # the number of the last request that was not below 0

class Slots:
    """All connections of one worker; its use is Server.  A `slot` came from open_slot() and was not closed since."""

    # False: no session begins here, and a ConnectRequest closes its connection; four-letter words are still heard.
    is_serving: bool
    # While is_serving is False: clients that said they would read only may begin a session, which this worker alone knows.  When
    # it becomes False their connections close.
    is_read_only: bool

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
        connections_per_address_max: int = ...,
        local_sessions: bool = ...,
        upgrade_sessions: bool = ...,
    ) -> Self:
        """Start without connections at `start_zxid`, the one the engine welcomed this worker with.

        `session_seed` is the wall clock in milliseconds: session ids count up from it.  `hash_seed` is random.
        `unanswered_max` limits the bytes of unanswered writes of all connections; beyond it they wait.
        `connections_per_address_max` is counted by this worker alone; 0 is no limit.  With `local_sessions` a new session is
        known to this worker alone until its first write; without `upgrade_sessions` it may then have no ephemerals.
        Raises ValueError for limits that make no sense.
        """

    # The transport's side, for what is not compiled.
    def open_slot(self, wire: int, now_ms: int, address: bytes = b"", port: int = 0) -> int:
        """Open a connection (wire 0: TCP, 1: native, 2: the gate's); its slot, or -1: too many, or too many from there."""

    def close_slot(self, slot: int) -> None:
        """Forget a connection that the transport has lost or closed."""

    def take_dirty(self) -> int:
        """Take one slot that wants attention off the list, or -1."""

    def output(self, slot: int) -> bytes:
        """What waits to be sent; it stays until output_sent()."""

    def state(self, slot: int) -> int:
        """0 free, 1 new, 2 waiting for its session, 3 open, 4 closing."""

    def is_paused(self, slot: int) -> bool:
        """Whether the transport should not read from it."""

    def close_all(self) -> None:
        """Cut all sessions' connections off, unsent output included: this node no longer serves."""

    # The engine's side.
    def take_writes(self) -> tuple[int, bytes]:
        """Take the number of the entries for the engine, and their bytes."""

    def take_reads(self) -> tuple[int, bytes]:
        """Take the number of the reads that are handed over to the engine, and their bytes."""

    def take_touched(self) -> bytes:
        """Take the ids (u64, little-endian) of the sessions heard of since the last time."""

    def resend_all(self) -> None:
        """A new round: put every unanswered write into the writes again, in order, and only once."""

    # The worker's side.
    def words(self) -> list[tuple[int, bytes]]:
        """Take the four-letter words asked since the last time: (slot, word)."""

    def answer_word(self, slot: int, text: bytes) -> None:
        """Answer a four-letter word; the connection closes when it is sent.  Raises ValueError if none was asked."""

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
    def life(self, slot: int) -> int:
        """Which connection this is; another one on the same slot has another number."""

    def identities(self, slot: int) -> bytes:
        """Who the connection is: a jute vector of Id {string scheme, string id}."""

    def counters(self) -> dict[str, int]:
        """Count what there is and was.

        Since the start: received, sent.  Now: connections, outstanding, watches, watched_paths, unanswered_bytes.  Of
        writes: latency_ms_min, latency_ms_avg, latency_ms_max.
        """

    def watches_summary(self) -> tuple[int, int, int]:
        """Connections that watch, paths watched, and pairs of both: of ZooKeeper's data table, as its `wchs` counts."""

    def watches_listed(self, first: int) -> tuple[int, list[tuple[bytes, int]]]:
        """Some of these pairs (path, slot), from number `first`, 1 to begin with; and the number to go on with, 0 at the end."""

    def reset_counters(self) -> None:
        """Start received, sent and the latencies anew."""

    def reset_connections(self) -> None:
        """Start each connection's received and sent anew."""

    def describe(self) -> list[ConnectionFacts]:
        """List the connections."""
