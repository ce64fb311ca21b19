"""A worker: the process that serves clients.  Everything about a request is done by compiled code (the Loop moves bytes, the
Server decides); what stands here runs once per turn or per second.

Life: HELLO to the engine -> WELCOME: the zxid to start at -> the first STATUS: connections are let in -> turns until SIGTERM,
or until the engine can no longer be followed, which ends the process; the supervisor starts another one.

Rules: what this process knows comes from its engine and the arena, which it maps read-only (Z7).  A worker whose stream of
commits has a hole must end: its clients may have missed an event."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

import zmq

from fastzk import defs, limits
from fastzk._core.arena import Arena
from fastzk._core.serve import Server
from fastzk.node.asks import Asks
from fastzk.node.credentials import Credentials
from fastzk.node.process import raise_descriptor_limit
from fastzk.node.stats import StatsPage
from fastzk.node.word_desk import WordDesk
from fastzk.node.worker_facts import WorkerFacts
from fastzk.storage.shm import map_shared
from fastzk.transport import _loop
from fastzk.transport._link import EngineLink, LinkError
from fastzk.transport.links import ZMTP_3_ONLY

LINK = struct.Struct("<HHIQQQQ")
HELLO, WELCOME, TOUCH = 1, 2, 4
SERVING, READ_ONLY = 1, 2  # of status_t's is_serving

USE_FD = 89  # libzmq's ZMQ_USE_FD: bind() takes over a descriptor that listens already

# Random bytes for session ids' passwords: a thousand connections in one turn take a third of it.
ENTROPY_BYTES = 64 << 10
# Messages of ZeroMQ that wait for one client, or of one: a client that reads nothing must not fill the memory.
CLIENT_MESSAGES_MAX = 64
# One message of a client: what a client sends at once, and one request more.
CLIENT_MESSAGE_BYTES_MAX = 4 * limits.FRAME_BYTES_MAX
# How often in a row, once a second, nothing may have been heard of what is applied already.
LAG_CHECKS_MAX = 5
# How long clients get to take their last bytes when the worker ends.
END_MS = 500

logger = logging.getLogger("fastzk.worker")


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What the supervisor hands to a worker; descriptors are inherited."""

    node_id: int
    worker: int  # its number, never used before in this life of the engine
    tcp_fd: int  # listening, non-blocking, shared by all workers of the node; for ZooKeeper's protocol
    native_fd: int  # the same for ZeroMQ, this worker's alone: one of a group on the same port
    native_address: str  # what native_fd listens on, for people
    engine_address: str  # ipc://...
    arena_fd: int  # may be read only
    arena_size: int
    stats_fd: int
    stats_slot: int
    tick_time_ms: int
    timeout_min_ms: int
    timeout_max_ms: int
    stale_ms_max: int  # how long it serves while its engine stands still
    places: int = 1  # of workers on this node
    run_fd: int = -1  # DATA/run, where the node's processes ask each other; -1: nobody is asked
    data_dir: str = ""
    words: Sequence[str] = tuple(defs.WORDS)
    conf: Sequence[Sequence[object]] = ()  # what the word conf tells, in its order
    voter_count: int = 1
    gate_fd: int = -1  # listening, for this worker alone: where the node's TLS gate connects
    connections_per_address_max: int = 0
    has_local_sessions: bool = False
    upgrades_sessions: bool = True
    super_digest: str = field(default="", repr=False)
    sasl_users: Mapping[str, str] = field(default_factory=dict, repr=False)


def run_worker(config: WorkerConfig) -> None:
    """Serves clients until SIGTERM.  Raises LinkError when the engine can no longer be followed."""
    Worker(config).run()


class Worker:
    """One worker process."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._is_ending = False
        self._wake, self._wake_write = socket.socketpair()
        self._wake.setblocking(False)
        self._wake_write.setblocking(False)
        self._stats = StatsPage(config.stats_fd)
        self._incarnation = int.from_bytes(os.urandom(8), "little")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._engine = self._context.socket(zmq.DEALER)
        self._engine.setsockopt(zmq.LINGER, 0)
        self._engine.setsockopt(zmq.RECONNECT_IVL, 10)  # ms; the engine may not have begun to listen
        self._engine.setsockopt(zmq.SNDHWM, 10_000)
        self._engine.setsockopt(zmq.RCVHWM, 10_000)
        self._router: zmq.Socket[bytes] | None = None
        # Ids of sessions heard of that the engine has not been told of yet.
        self._touched = b""
        # Where the stream of commits stood at the last check, and how often it has stood there though more was applied.
        self._checked_zxid = 0
        self._lag_checks = 0
        # The engine's ticks at the last look, how often they were the same, and whether that is too often to serve anybody.
        self._ticks = self._still_checks = 0
        self._is_engine_still = False
        # As the engine has said last.
        self._status: tuple[int, int, int, int, int] | None = None
        self._asks: Asks | None = None
        # What ends the loop's wait besides its own sockets: signals, and questions of other processes.
        self._wakers = select.epoll()
        self._wakers.register(self._wake, select.EPOLLIN)
        self._desk: WordDesk
        self._server: Server
        self._link: EngineLink
        self._loop: _loop.Loop

    def run(self) -> None:
        """Runs until SIGTERM.  Raises LinkError."""
        raise_descriptor_limit()
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor says when to end
        try:
            start_zxid = self._greet_engine()
            if start_zxid is not None:
                self._open(*start_zxid)
                self._serve()
        except LinkError as error:
            logger.error("worker %d ends: %s", self._config.worker, error)
            raise
        finally:
            signal.set_wakeup_fd(-1)
            self._close()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._is_ending = True

    # --- beginning

    def _greet_engine(self) -> tuple[int, int] | None:
        """Says HELLO and waits for WELCOME: the engine's incarnation and the zxid to start at; None at SIGTERM."""
        self._engine.connect(self._config.engine_address)
        self._engine.send(LINK.pack(HELLO, self._config.worker, 0, self._incarnation, 1, 0, 0))
        poller = zmq.Poller()
        poller.register(self._engine, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self._is_ending:
            if self._engine in dict(poller.poll()):
                message = self._engine.recv()
                if len(message) != LINK.size:
                    raise LinkError(f"the engine's first message has {len(message)} bytes")
                kind, worker, _, incarnation, sequence, zxid, _ = LINK.unpack(message)
                if kind != WELCOME or worker != self._config.worker or sequence != 1:
                    raise LinkError(f"the engine's first message is of kind {kind} for worker {worker}, number {sequence}")
                return incarnation, zxid
        return None

    def _open(self, engine_incarnation: int, start_zxid: int) -> None:
        """Makes what serves, once the engine has made the arena."""
        config = self._config
        self._arena = Arena.open(map_shared(config.arena_fd, config.arena_size, is_writable=False))
        self._server = Server(
            self._arena,
            node_id=config.node_id,
            worker=config.worker,
            incarnation=self._incarnation,
            timeout_min_ms=config.timeout_min_ms,
            timeout_max_ms=config.timeout_max_ms,
            connections_max=limits.CONNECTIONS_MAX,
            start_zxid=start_zxid,
            session_seed=time.time_ns() // 1_000_000,
            hash_seed=int.from_bytes(os.urandom(8), "little"),
            frame_max=limits.FRAME_BYTES_MAX,
            output_max=limits.OUTPUT_BYTES_MAX,
            connections_per_address_max=config.connections_per_address_max,
            local_sessions=config.has_local_sessions,
            upgrade_sessions=config.upgrades_sessions,
        )
        self._credentials = Credentials(config.super_digest, config.sasl_users, os.urandom)
        self._server.is_serving = False
        self._server.add_entropy(os.urandom(ENTROPY_BYTES))
        self._router = self._open_router()
        self._link = EngineLink(
            self._server,
            self._engine,
            worker=config.worker,
            incarnation=self._incarnation,
            engine_incarnation=engine_incarnation,
            sent_sequence=1,
            heard_sequence=1,
        )
        self._stats.claim(config.stats_slot)
        self._open_desk()
        self._loop = _loop.Loop(
            self._server,
            self._link,
            listen_fd=config.tcp_fd,
            wake_fd=self._wakers.fileno(),
            router=self._router,
            stats=self._stats.counters,
            place=config.stats_slot,
            gate_fd=config.gate_fd,
        )

    def _open_desk(self) -> None:
        """Makes what answers four-letter words."""
        config = self._config
        if config.run_fd >= 0:
            self._asks = Asks(config.run_fd, _name(config.stats_slot))
            self._wakers.register(self._asks, select.EPOLLIN)
        facts = WorkerFacts(
            self._server,
            self._arena,
            self._stats,
            data_dir=config.data_dir,
            conf=[(str(key), value) for key, value in config.conf],
            voter_count=config.voter_count,
            role=lambda: self._status[3] if self._status else 0,
            is_read_only=lambda: self._server.is_read_only,
        )
        others = [_name(place) for place in range(config.places) if place != config.stats_slot]
        self._desk = WordDesk(self._server, self._asks, others, config.words, facts.facts, facts.do)

    def _open_router(self) -> zmq.Socket[bytes]:
        """The socket for ZeroMQ's clients, over a listening descriptor of its own on the port of all workers."""
        # libzmq numbers its peers from rand(), which nobody seeds: a peer that knew the numbers could take another's.
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
        router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt_string(zmq.ZAP_DOMAIN, ZMTP_3_ONLY)
        router.setsockopt(zmq.MAXMSGSIZE, CLIENT_MESSAGE_BYTES_MAX)
        router.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
        router.setsockopt(zmq.HEARTBEAT_IVL, 10_000)  # else a machine that vanished keeps its connection for hours
        router.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20_000)
        router.setsockopt(zmq.SNDHWM, CLIENT_MESSAGES_MAX)
        router.setsockopt(zmq.RCVHWM, CLIENT_MESSAGES_MAX)
        router.setsockopt(USE_FD, self._config.native_fd)
        return router

    # --- serving

    def _serve(self) -> None:
        logger.info("worker %d follows its engine from zxid %#x", self._config.worker, self._server.handled_zxid)
        loop, server = self._loop, self._server
        second_ms = touch_ms = _monotonic_ms() + 1000
        while not self._is_ending:
            now_ms = _monotonic_ms()
            flags = loop.turn(self._desk.wait_ms(now_ms, max(0, min(second_ms, touch_ms) - now_ms)))
            if server.entropy_left < ENTROPY_BYTES // 2:
                server.add_entropy(os.urandom(ENTROPY_BYTES - server.entropy_left))
                loop.hurry()
            if flags & _loop.STATUS:
                self._take_status()
            if flags & _loop.CREDENTIALS:
                self._judge()
            if flags & _loop.WOKEN:
                self._take_wakes()
            if flags & _loop.WORDS:
                self._desk.take(_monotonic_ms())
                loop.hurry()
            elif self._desk.is_waiting:
                self._desk.expire(_monotonic_ms())
                loop.hurry()
            if _monotonic_ms() >= touch_ms:
                touch_ms = _monotonic_ms() + limits.TOUCH_MS
                self._touch()
                self._check_engine()
            if _monotonic_ms() >= second_ms:
                second_ms = _monotonic_ms() + 1000
                self._count_local_sessions()
                self._check_lag()
                loop.second()
        self._end()

    def _take_status(self) -> None:
        status = self._link.engine_status()
        assert status is not None, "a status has come"
        is_first, self._status = self._status is None, status
        self._serve_as_told()
        if is_first:
            # Not before: who came earlier waits in the kernel's queue and is not turned away.
            assert self._router is not None, "made before the loop"
            self._router.bind(_numeric_address(self._config.native_fd))
            self._loop.listen(True)
            self._loop.hurry()

    def _serve_as_told(self) -> None:
        """Serves whom the engine has said last; nobody while it stands still."""
        told = self._status[4] if self._status and not self._is_engine_still else 0
        self._serve_clients(is_serving=told == SERVING, is_read_only=told == READ_ONLY)

    def _serve_clients(self, *, is_serving: bool, is_read_only: bool) -> None:
        """Serves all clients, or those that only want to read, or none; the sessions of those it no longer serves are let go of."""
        server = self._server
        was_serving, was_read_only = server.is_serving, server.is_read_only
        server.is_serving, server.is_read_only = is_serving, is_read_only
        if (is_serving, is_read_only) == (was_serving, was_read_only):
            return
        what = "serves clients" if is_serving else "serves clients that only read" if is_read_only else "closes its clients"
        logger.info("worker %d %s", self._config.worker, what)
        if was_serving or was_read_only:
            server.close_all()
        self._loop.hurry()

    def _judge(self) -> None:
        """Judges the credentials that clients have sent."""
        for slot, op, _, body in self._server.asked():
            # By connection, for slots are used again: an exchange that another one began is not its to end.
            verdict = self._credentials.judge(self._server.life(slot), op, body)
            self._server.admit(slot, verdict.err, verdict.identities, verdict.token)
        self._stats.count(self._config.stats_slot, "auth_failed", self._credentials.failed_count)
        self._loop.hurry()

    def _touch(self) -> None:
        """Tells the engine which sessions have been heard of."""
        self._touched += self._server.take_touched()
        if self._touched and self._link.tell(TOUCH, len(self._touched) // 8, self._touched):
            self._touched = b""

    def _check_engine(self) -> None:
        """Lets go of all clients while the engine is stopped: what this worker knows gets old, and it cannot tell how old; nor does
        anybody hear that the sessions live.  Checks are counted, not time: a worker that was stopped too has to look again."""
        ticks = self._stats.engine_ticks()
        is_still = ticks == self._ticks != 0
        self._ticks, self._still_checks = ticks, self._still_checks + 1 if is_still else 0
        is_engine_still = self._still_checks * limits.TOUCH_MS >= self._config.stale_ms_max
        if is_engine_still != self._is_engine_still:
            self._is_engine_still = is_engine_still
            what = f"stands still for {self._config.stale_ms_max} ms" if is_engine_still else "goes on"
            logger.warning("worker %d: the engine %s", self._config.worker, what)
            self._serve_as_told()

    def _count_local_sessions(self) -> None:
        """For mntr.  Where there are none, nobody looks through the connections for them."""
        if self._config.has_local_sessions or self._server.is_read_only:
            count = sum(each["is_local"] for each in self._server.describe())
            self._stats.count(self._config.stats_slot, "local_sessions", count)

    def _check_lag(self) -> None:
        """Raises LinkError when the engine has given this worker up: nothing comes any more, so no hole would be seen.

        Checks are counted, not time: a worker that was stopped has yet to hear what came meanwhile."""
        handled = self._server.handled_zxid
        is_behind = self._arena.applied_zxid > handled
        self._lag_checks = self._lag_checks + 1 if is_behind and handled == self._checked_zxid else 0
        self._checked_zxid = handled
        if self._lag_checks >= LAG_CHECKS_MAX:
            raise LinkError(f"the engine applied {self._arena.applied_zxid:#x} and has said nothing since {handled:#x}")

    def _end(self) -> None:
        """Lets go of all clients, who find another worker or node."""
        self._loop.listen(False)
        self._server.is_serving = False
        self._server.close_all()
        end_ms = _monotonic_ms() + END_MS
        self._loop.hurry()
        self._loop.turn(0)
        while self._loop.connection_count and _monotonic_ms() < end_ms:
            self._loop.turn(10)
        logger.info("worker %d ends", self._config.worker)

    def _close(self) -> None:
        if self._router is not None:
            self._loop.drop_all()
            self._router.close()
        self._engine.close()
        self._context.term()
        if self._asks is not None:
            self._asks.close()
        self._wakers.close()
        self._wake.close()
        self._wake_write.close()

    # --- four-letter words

    def _take_wakes(self) -> None:
        """Takes in what signals and other processes have written."""
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        self._desk.hear(_monotonic_ms())
        self._loop.hurry()


def _name(place: int) -> str:
    """What a worker is called by those who ask it."""
    return f"worker{place + 1}"


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _numeric_address(fd: int) -> str:
    """Where a descriptor listens, as libzmq wants it: it looks up no names."""
    listener = socket.socket(fileno=os.dup(fd))
    try:
        host, port = listener.getsockname()[:2]
    finally:
        listener.close()
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
