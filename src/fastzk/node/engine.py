"""The engine: the one process of a node that decides.  It owns the consensus, the log and the arena (Z7).

One loop.  A turn takes in what has arrived (workers, other nodes, the log thread, the clock) and lets the core decide
(core.py); here are only the sockets, the clock and the signals."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Mapping
from types import FrameType

import zmq

from fastzk import limits
from fastzk._core.arena import Arena
from fastzk.config import Address
from fastzk.node.core import NodeCore
from fastzk.node.engine_tells import EngineTells
from fastzk.node.ports import World
from fastzk.node.restart import StartAnew
from fastzk.node.setup import EngineSetup
from fastzk.node.snapshots import SnapshotPace
from fastzk.node.workers import MODES, WorkerLinks
from fastzk.raft.messages import ProtocolError
from fastzk.storage.disk import RealDisk
from fastzk.storage.identity import check_still_there
from fastzk.storage.log import LogDamaged, LogFailed
from fastzk.storage.shm import map_shared
from fastzk.transport.links import Links
from fastzk.wire.ensemble import EnsembleMessage, WireError, decode, encode

logger = logging.getLogger("fastzk.engine")


class LinkedNodes:
    """The other nodes over the links; there are none for a node that stands alone."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], setup: EngineSetup, incarnation: int, poller: zmq.Poller) -> None:
        config = setup.config
        self.links: Links | None = None
        if config.peers:
            self.links = Links(context, config.node_id, config.peers, setup.ensemble_fd, incarnation, poller, uid=setup.uid)

    def send(self, node_id: int, message: EnsembleMessage) -> bool:
        return self.links is not None and self.links.send(node_id, encode(message))

    def send_all(self, message: EnsembleMessage) -> None:
        if self.links is not None:
            self.links.send_all(encode(message))

    def heard(self) -> list[int]:
        return self.links.heard() if self.links is not None else []

    def set_addresses(self, addresses: Mapping[int, Address]) -> None:
        if self.links is not None:
            self.links.set_addresses(addresses)

    def set_history(self, history: int) -> None:
        if self.links is not None:
            self.links.history = history


class Engine:
    """The engine of one node."""

    def __init__(self, setup: EngineSetup) -> None:
        config = setup.config
        self._config = config
        self._ready_fd = setup.ready_fd
        self._is_leaving = self._is_ending = False
        # Until when another node may take over the lead of one that is to end; 0 before that was asked for.
        self._handover_until_ms = 0
        self._has_said_handed_over = False
        self._has_said_serving = False
        incarnation = int.from_bytes(os.urandom(8), "little")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._workers = WorkerLinks(self._context, setup.worker_address, incarnation)
        self._poller = zmq.Poller()
        self._nodes = LinkedNodes(self._context, setup, incarnation, self._poller)
        arena = Arena.create(map_shared(setup.arena_fd, limits.ARENA_BYTES, is_writable=True))
        self._tells = EngineTells(setup, arena)
        chance = random.Random(int.from_bytes(os.urandom(32), "little"))
        pace = SnapshotPace(config.snapshot_entries, config.snapshot_log_bytes, kept=config.snapshots_kept)
        world = World(RealDisk(), self._nodes, self._workers, self._tells, chance, uid=setup.uid, members=setup.members, pace=pace)
        self._core = NodeCore(config, arena, world, _monotonic_ms())
        self._ticks = 0
        for source in (self._tells.fd, self._workers.router, self._core.writer.fd):
            self._poller.register(source, zmq.POLLIN)

    def run(self) -> None:
        """Turns until SIGTERM.  Raises LogFailed when the disk refuses, IdentityError when the data directory is gone; when the
        disk gives back something else StartAnew, since a start knows what to do about it, or LogDamaged if this node decides
        alone."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor says when to end
        core, node_id = self._core, self._config.node_id
        logger.info(
            "node %d: log of %d entries, last zxid %#x, epoch %#x",
            node_id,
            core.log.last_index,
            core.log.last_zxid,
            core.peer.epoch,
        )
        for note in core.notes:
            logger.warning("%s", note)
        try:
            while not self._is_ending:
                self._turn()
        except (LogFailed, OSError):
            # The reason may be that there is no directory any more; then that is what to say.
            check_still_there(str(self._config.data_dir))
            raise
        except LogDamaged as damage:
            if core.peer.membership.ids == (node_id,):
                raise
            raise StartAnew(f"{damage}; the others have what is lost") from damage
        logger.info("node %d ends at zxid %#x", node_id, core.machine.applied_zxid)
        core.close()
        if self._nodes.links is not None:
            self._nodes.links.close()
        self._tells.close()
        self._workers.close()
        self._context.term()

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        # The first asks for what others depend on to be given away, the second comes when no client is served any more.
        self._is_ending = self._is_leaving
        self._is_leaving = True

    def _turn(self) -> None:
        core = self._core
        ready = dict(self._poller.poll(0 if core.is_left_over else max(0, core.next_tick_ms - _monotonic_ms())))
        has_ticked = core.wake(_monotonic_ms(), time.time_ns() // 1_000_000)
        if self._nodes.links is not None:
            self._hear_nodes(self._nodes.links)
        self._hear_workers()
        core.finish()
        if has_ticked:
            # Not before: a worker that sees it go on has been told how things are.
            self._on_tick()
        self._say_serving()
        if self._is_leaving and not self._has_said_handed_over:
            self._hand_over(_monotonic_ms())
        if self._tells.fd in ready:
            self._tells.hear(core.is_leader, core.leases.table, core.leases.session_ms)

    def _on_tick(self) -> None:
        self._tells.publish(self._core.peer, self._nodes.heard(), _monotonic_ms())
        self._ticks += 1
        if self._ticks % limits.PRESENT_TICKS == 0:
            check_still_there(str(self._config.data_dir))

    def _hear_nodes(self, links: Links) -> None:
        links.watch()
        for sender, parts in links.receive():
            try:
                self._core.hear_node(sender, decode(parts, sender))
            except (WireError, ProtocolError) as error:
                links.complain(f"node {sender}", error)
        for node_id in links.take_lost():
            self._core.node_lost(node_id)
        for node_id in links.take_holes():
            self._core.node_skipped(node_id)

    def _hear_workers(self) -> None:
        for kind, number, count, round_, payload in self._workers.receive():
            self._core.hear_worker(kind, number, count, round_, bytes(payload))
        if self._workers.has_hole:
            self._workers.has_hole = False
            self._core.workers_skipped()
        for number, is_here in self._workers.take_changes():
            if is_here:
                self._core.telling.came(number)
            else:
                self._core.telling.gone(number)

    def _hand_over(self, now_ms: int) -> None:
        """Lets another node lead before this one ends, so that nobody has to wait for an election; then says so."""
        if not self._handover_until_ms:
            self._handover_until_ms = now_ms + limits.HANDOVER_MS_MAX if self._core.hand_over() else now_ms
        if now_ms >= self._handover_until_ms or (not self._core.is_leader and self._core.peer.leader_id):
            self._has_said_handed_over = True
            os.write(self._ready_fd, b"handed over\n")

    def _say_serving(self) -> None:
        """Tells the supervisor, once, that clients are served."""
        status = self._core.telling.status
        if self._has_said_serving or status is None or not status.is_serving:
            return
        if len(self._workers.numbers) < self._config.workers:
            return
        self._has_said_serving = True
        mode = MODES.get(status.role, "looking")
        zxid = self._core.machine.applied_zxid
        os.write(self._ready_fd, f"{mode}, epoch {self._core.peer.epoch:#x}, zxid {zxid:#x}\n".encode())


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
