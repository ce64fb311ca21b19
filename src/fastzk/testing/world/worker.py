"""A worker in simulated time: the compiled Server, and around it what the process of node/worker.py and its loop do.

What the engine says waits in `inbox` until this worker's turn, which may take only a part of it: so the arena is ahead of what a
worker has handled, as in life.  Rule: bytes of clients and of the engine keep their order; nothing is lost but with its link."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fastzk import limits
from fastzk._core.arena import Arena
from fastzk._core.serve import Server
from fastzk.node.credentials import Credentials
from fastzk.node.workers import READ, TOUCH, WRITES, NodeStatus
from fastzk.testing.checkers import ensure

if TYPE_CHECKING:
    from fastzk.testing.world.clients import Connection
    from fastzk.testing.world.node import Host

CLOSING, FREE = 4, 0
ENTROPY_BYTES = 4096
CONNECTIONS_MAX = 64
SECOND_US = 1_000_000
TOUCH_US = limits.TOUCH_MS * 1000
RESEND_MS = 2000
LAG_CHECKS_MAX = 5


class SimWorker:
    """One worker of a node."""

    def __init__(self, host: Host, number: int, start_zxid: int) -> None:
        self.host = host
        self.number = number
        self._world = host.world
        self._random = host.world.schedule_chance
        config = host.config
        self.arena = Arena.open(host.region)
        self.server = Server(
            self.arena,
            node_id=host.node_id,
            worker=number,
            incarnation=self._random.getrandbits(60),
            timeout_min_ms=config.session_timeout_ms_min,
            timeout_max_ms=config.session_timeout_ms_max,
            connections_max=CONNECTIONS_MAX,
            start_zxid=start_zxid,
            session_seed=host.wall_ms(),
            hash_seed=self._random.getrandbits(60),
        )
        self._credentials = Credentials(config.super_digest, {}, self._random.randbytes)
        self.server.is_serving = False
        self.server.add_entropy(self._random.randbytes(ENTROPY_BYTES))
        self.connections: dict[int, Connection] = {}
        self.is_over = False
        # From the engine: (status, round) or (items, zxid).
        self.inbox: deque[tuple[NodeStatus, int] | tuple[bytes, int]] = deque()
        self._status: NodeStatus | None = None
        self._round = 0
        self._is_resend_due = False
        self._resent_ms = 0
        self._lag = (0, 0)
        self._is_turn_planned = False
        self._world.heap.after(SECOND_US, self._second)
        self._world.heap.after(TOUCH_US, self._touch)

    @property
    def has_leader(self) -> bool:
        """Whether the engine has said that there is one."""
        return self._status is not None and self._status.leader_id != 0

    def plan_turn(self) -> None:
        """Something has come."""
        if not self._is_turn_planned:
            self._is_turn_planned = True
            self._world.heap.after(self._random.choice(self._world.draw.worker_lags_us), self._turn)

    # --- clients

    def open(self, connection: Connection) -> bool:
        """A client connects; False: it is refused."""
        if self.is_over or self._status is None:
            return False
        slot = self.server.open_slot(0, self.host.now_ms())
        if slot < 0:
            return False
        connection.slot = slot
        self.connections[slot] = connection
        return True

    def take(self, connection: Connection) -> None:
        """Bytes of a client arrive."""
        if self.is_over or self.connections.get(connection.slot) is not connection:
            return
        if self.host.is_still():
            self.host.when_running(self.take, connection)
            return
        self._world.events += 1
        self.server.take_bytes(connection.slot, connection.on_way.popleft(), self.host.now_ms())
        self.plan_turn()

    def lose(self, connection: Connection) -> None:
        """The worker hears that a client's connection is gone."""
        if not self.is_over and self.connections.get(connection.slot) is connection:
            del self.connections[connection.slot]
            self.server.close_slot(connection.slot)

    def end(self) -> None:
        """The process is gone, and with it every connection."""
        self.is_over = True
        for connection in list(self.connections.values()):
            connection.cut_by_server()
        self.connections.clear()

    # --- turns

    def _turn(self) -> None:
        self._is_turn_planned = False
        if self.is_over:
            return
        if self.host.is_still():
            self.host.when_running(self.plan_turn)
            return
        server, inbox = self.server, self.inbox
        now_ms = self.host.now_ms()
        if inbox:
            count = len(inbox) if self._random.random() < 0.6 else 1
            for _ in range(count):
                self._hear(inbox.popleft(), now_ms)
            if inbox:
                self.plan_turn()
        if server.entropy_left < ENTROPY_BYTES // 2:
            server.add_entropy(self._random.randbytes(ENTROPY_BYTES))
        if self._world.draw.reconfig:
            for slot, op, _, body in server.asked():
                verdict = self._credentials.judge(server.life(slot), op, body)
                server.admit(slot, verdict.err, verdict.identities, verdict.token)
        self._say()
        self._flush()

    def _hear(self, message: tuple[NodeStatus, int] | tuple[bytes, int], now_ms: int) -> None:
        self._world.events += 1
        what, number = message
        if isinstance(what, NodeStatus):
            self._hear_status(what, number, now_ms)
            return
        is_right = self.server.commit_items(what, number, now_ms)
        ensure(is_right, "worker", f"worker {self.number} of node {self.host.node_id} refuses a commit batch at {number:#x}")

    def _hear_status(self, status: NodeStatus, round_: int, now_ms: int) -> None:
        server = self.server
        if self._status is None or round_ != self._round:
            self._is_resend_due = True
        was_serving = server.is_serving
        self._status, self._round = status, round_
        if self._is_resend_due and status.leader_id:
            self._is_resend_due = False
            self._resend(now_ms)
        server.is_serving = status.is_serving
        if was_serving and not status.is_serving:
            server.close_all()

    def _resend(self, now_ms: int) -> None:
        self.server.take_writes()
        self.server.resend_all()
        self._resent_ms = now_ms

    def _say(self) -> None:
        if self.has_leader:
            count, entries = self.server.take_writes()
            if count:
                self.host.hear_worker(self, WRITES, count, self._round, entries)
        count, entries = self.server.take_reads()
        if count:
            self.host.hear_worker(self, READ, count, self._round, entries)

    def _flush(self) -> None:
        """Sends what waits, and closes what is done."""
        server = self.server
        while (slot := server.take_dirty()) >= 0:
            connection = self.connections.get(slot)
            if connection is None:
                continue
            data = server.output(slot)
            if data:
                server.output_sent(slot, len(data))
                connection.to_client(data)
            if server.state(slot) == CLOSING:
                del self.connections[slot]
                server.close_slot(slot)
                connection.cut_by_server()

    def _touch(self) -> None:
        if self.is_over:
            return
        self._world.heap.after(TOUCH_US, self._touch)
        touched = b"" if self.host.is_still() else self.server.take_touched()
        if touched:
            self.host.hear_worker(self, TOUCH, len(touched) // 8, 0, touched)

    def _second(self) -> None:
        if self.is_over:
            return
        self._world.heap.after(SECOND_US, self._second)
        if self.host.is_still():
            return
        server, now_ms = self.server, self.host.now_ms()
        server.sweep_at(now_ms)
        if self.has_leader and now_ms - self._resent_ms >= RESEND_MS and server.counters()["outstanding"]:
            self._resend(now_ms)
        handled = server.handled_zxid
        checks = self._lag[1] + 1 if self.arena.applied_zxid > handled and handled == self._lag[0] else 0
        self._lag = (handled, checks)
        ensure(checks < LAG_CHECKS_MAX, "worker", f"worker {self.number} of node {self.host.node_id} stands at {handled:#x}")
        self.plan_turn()
