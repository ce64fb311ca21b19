"""The engine: the one process of a node that decides.  It owns the consensus, the log and the arena (Z7).

One loop.  A turn takes in what has arrived (workers, other nodes, the log thread, the clock), lets the consensus decide, does
what it asked for, and sends what came of it.  Python runs per turn and per batch; entries are looked at by compiled code only.

Life of a batch here:
    workers' WRITES -> pending -> [leader: sealed into a block -> Peer.propose | follower: FORWARD to the leader | none: dropped]
    Peer.ready(): hard state to disk -> ranges to the log thread -> messages to other nodes -> committed ranges to the machine
    Machine.apply(block) -> items -> COMMIT to each worker

Rules:
  * Nothing leaves before what it promises is on disk (Z2): the vote is saved before messages are sent; the consensus itself
    acknowledges only what the log thread has reported synced.
  * Writes may be dropped at any point before they are in a block.  Their workers keep them, and send all that are unanswered
    again when a new round begins: with a new leader, or when something was lost on the way.  A repeat is harmless (Z10).
  * A failed write or sync of the log ends the process: it is never tried again, and nothing is acknowledged after it."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from array import array
from types import FrameType

import zmq

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import block_checksum, count_entries, make_entry, seal
from fastzk._core.tree import format_tree
from fastzk.node.dynamic import client_address
from fastzk.node.engine_tells import EngineTells
from fastzk.node.setup import EngineSetup
from fastzk.node.upkeep import Upkeep
from fastzk.node.workers import FOLLOWER, LEADER, LOOKING, READ, STANDALONE, TOUCH, WRITES, NodeStatus, WorkerLinks
from fastzk.raft.messages import Append, ProtocolError, Range
from fastzk.raft.peer import Busy, EpochFull, NotLeader, Peer, Role
from fastzk.state.expiry import ExpiryTable
from fastzk.state.standing import Standing
from fastzk.storage.disk import RealDisk
from fastzk.storage.identity import check_still_there
from fastzk.storage.log import LogWriter
from fastzk.storage.recovery import recover
from fastzk.storage.shm import map_shared
from fastzk.transport.links import Links
from fastzk.wire.ensemble import Forward, Present, Resend, Touch, WireError, decode, encode

OP_EPOCH = 0
OP_CLOSE_SESSION = -11

logger = logging.getLogger("fastzk.engine")


class Engine:
    """The engine of one node."""

    def __init__(self, setup: EngineSetup) -> None:
        config = setup.config
        self._config = config
        self._ready_fd = setup.ready_fd
        self._is_ending = False
        disk = RealDisk()
        nonce = int.from_bytes(os.urandom(8), "little") or 1
        # A node that lost something is refused: it could not learn here what it promised.
        found = recover(disk, str(config.data_dir), node_id=config.node_id, uid=setup.uid, nonce=nonce, has_others=False)
        self._notes = found.notes
        self._log = found.log
        self._vote = found.vote_file
        self._history_file = found.history_file
        # Checksum of the first block, once that is committed: nodes of another history are not listened to.
        self._history = found.history
        self._writer = LogWriter(self._log)
        arena = Arena.create(map_shared(setup.arena_fd, limits.ARENA_BYTES, is_writable=True))
        format_tree(arena)
        self._machine = Machine(arena, config.node_id)
        self._peer = Peer(
            config.node_id,
            config.voters,
            log=self._log,
            epoch=found.epoch,
            vote=found.vote or None,
            election_ticks=limits.ELECTION_TICKS,
            heartbeat_ticks=limits.HEARTBEAT_TICKS,
            random=random.Random(int.from_bytes(os.urandom(8), "little")),
        )
        incarnation = int.from_bytes(os.urandom(8), "little")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._workers = WorkerLinks(self._context, setup.worker_address, incarnation)
        self._links: Links | None = None
        if config.peers:
            self._links = Links(
                self._context,
                config.node_id,
                config.peers,
                setup.ensemble_fd,
                incarnation,
                uid=setup.uid,
                history=self._history,
            )
        self._tells = EngineTells(setup, arena)
        self._upkeep = Upkeep(config, self._machine, arena)
        self._poller = self._make_poller()
        # Entries that are in no block yet, on the leader; on a follower they leave at the end of the turn.
        self._pending: list[tuple[int, bytes]] = []  # (count, entries)
        self._pending_bytes = 0
        # Which of the consensus's cuts of the log the log thread knows of; goes back with each report.
        self._generation = 0
        # The leader's stamp; never falls.
        self._time_ms = self._log.last_time_ms
        # The round that holds; writes of older rounds are dropped, since their workers send them again in this one.
        self._round = 1
        self._is_round_due = False
        self._told: tuple[NodeStatus, int] | None = None
        self._has_said_serving = False
        self._told_zxid = 0
        self._expiry = ExpiryTable(config.tick_time_ms // 4)
        self._expiry_epoch = -1  # the epoch in which `expiry` was begun; it counts only in this one
        # Session time: monotonic, but a stretch in which this process did not run counts as SESSION_STEP_MS_MAX at most.
        self._session_ms = 0
        self._ticks = 0
        # Committed ranges wait to be applied: the next turn begins at once.
        self._is_left_over = False
        self._now_ms = _monotonic_ms()
        self._standing = Standing(config.leaderless_ms_max, self._now_ms)
        self._has_said_alone = False
        self._next_tick_ms = self._now_ms + limits.TICK_MS

    def _make_poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self._tells.fd, zmq.POLLIN)
        poller.register(self._workers.router, zmq.POLLIN)
        poller.register(self._writer.fd, zmq.POLLIN)
        for socket in self._links.sockets() if self._links else ():
            poller.register(socket, zmq.POLLIN)
        return poller

    def run(self) -> None:
        """Turns until SIGTERM.  Raises LogFailed when the disk refuses, LogDamaged when it gives back something else."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor says when to end
        logger.info(
            "node %d: log of %d entries, last zxid %#x, epoch %#x",
            self._config.node_id,
            self._log.last_index,
            self._log.last_zxid,
            self._peer.epoch,
        )
        for note in self._notes:
            logger.warning("%s", note)
        while not self._is_ending:
            self._turn()
        logger.info("node %d ends at zxid %#x", self._config.node_id, self._machine.applied_zxid)
        self._writer.close()
        if self._links is not None:
            self._links.close()
        self._tells.close()
        self._workers.close()
        self._context.term()

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._is_ending = True

    # --- one turn

    def _turn(self) -> None:
        ready = dict(self._poller.poll(0 if self._is_left_over else max(0, self._next_tick_ms - _monotonic_ms())))
        self._is_left_over = False
        self._advance_clock()
        self._take_synced()
        if self._links is not None:
            self._hear_nodes(self._links)
        self._hear_workers()
        self._do_ready()
        self._tell_status()
        self._pass_on()
        self._do_ready()
        self._tell_commits()
        if self._tells.fd in ready:
            self._tells.hear(self._peer.role is Role.LEADER, self._expiry, self._session_ms)

    def _advance_clock(self) -> None:
        now_ms = _monotonic_ms()
        self._session_ms += min(now_ms - self._now_ms, limits.SESSION_STEP_MS_MAX)
        self._now_ms = now_ms
        if now_ms < self._next_tick_ms:
            return
        # After a stretch in which it did not run (stopped, starved) a node must first hear what has arrived meanwhile, rather
        # than believe that nobody spoke: it ticks once, not once for each tick it missed.
        self._next_tick_ms = max(self._next_tick_ms + limits.TICK_MS, now_ms + limits.TICK_MS // 2)
        self._peer.tick()
        self._ticks += 1
        self._tells.publish(self._peer, self._links.heard() if self._links else [], self._now_ms)
        if self._ticks % limits.PRESENT_TICKS == 0:
            check_still_there(str(self._config.data_dir))
            if self._links is not None:
                self._links.send_all(encode(Present(str(client_address(self._config) or ""))))
        if self._is_round_due and self._peer.leader_id:
            self._begin_round()
        if self._expiry_epoch == self._peer.epoch and self._peer.role is Role.LEADER:
            due = self._expiry.due(self._session_ms)
            if due:
                logger.info("%d session(s) expire, the first of them %#x", len(due), due[0][0])
            for session_id, attach_zxid in due:
                self._add(make_entry(OP_CLOSE_SESSION, b"", session_id=session_id, attach_zxid=attach_zxid), 1)
            wall_ms = max(self._time_ms, time.time_ns() // 1_000_000)
            is_idle = not self._pending
            for entry in self._upkeep.due(self._peer.epoch, now_ms, wall_ms, self._peer.last_index, is_idle=is_idle):
                self._add(entry, 1)

    def _take_synced(self) -> None:
        done = self._writer.take_done()
        if done is not None:
            self._peer.synced(done.last_index, done.epoch, self._generation)

    def _hear_nodes(self, links: Links) -> None:
        links.watch()
        for sender, parts in links.receive():
            try:
                message = decode(parts, sender)
            except WireError as error:
                links.complain(f"node {sender}", error)
                continue
            match message:
                case Forward():
                    if self._peer.role is Role.LEADER:
                        self._add(message.entries, message.count)
                case Touch():
                    self._touch(message.session_ids)
                case Resend():
                    self._is_round_due = True
                case Present():
                    self._upkeep.hear_client_address(sender, message.client_address)
                case _:
                    try:
                        self._peer.step(message)
                    except ProtocolError as error:
                        links.complain(f"node {sender}", error)
                        continue
                    if isinstance(message, Append):
                        self._standing.hear_committed(message.committed_index)
        for node_id in links.take_lost():
            if node_id == self._peer.leader_id:
                self._is_round_due = True
            self._peer.peer_lost(node_id)
        for node_id in links.take_holes():
            if self._peer.role is Role.LEADER:
                links.send(node_id, encode(Resend()))

    def _hear_workers(self) -> None:
        for kind, number, count, round_, payload in self._workers.receive():
            if kind == WRITES:
                assert count_entries(payload, node_id=self._config.node_id, worker=number) == count, f"worker {number} miscounts"
                if round_ == self._round:
                    self._add(bytes(payload), count)
            elif kind == TOUCH:
                self._touch(bytes(payload))
            elif kind == READ:
                self._machine.read(bytes(payload))
            else:
                logger.error("worker %d sent a message of unknown kind %d", number, kind)
        if self._workers.has_hole:
            self._workers.has_hole = False
            self._is_round_due = True
        for number, is_here in self._workers.take_changes():
            if is_here:
                self._machine.add_worker(number)
                self._workers.welcome(number, self._machine.applied_zxid)
                if self._told is not None:
                    self._workers.tell_status(number, self._told[0], self._round)
            else:
                self._machine.remove_worker(number)

    def _add(self, entries: bytes, count: int) -> None:
        if self._pending_bytes + len(entries) > limits.PENDING_BYTES_MAX:
            self._is_round_due = True
            return
        self._pending.append((count, entries))
        self._pending_bytes += len(entries)

    def _take_pending(self) -> list[tuple[int, bytes]]:
        """Entries for one block: as many of the batches that wait as fit, in order."""
        number, size = 1, len(self._pending[0][1])
        while number < len(self._pending) and size + len(self._pending[number][1]) <= limits.BLOCK_BYTES_MAX:
            size += len(self._pending[number][1])
            number += 1
        taken, self._pending = self._pending[:number], self._pending[number:]
        self._pending_bytes -= size
        return taken

    def _drop_pending(self) -> None:
        self._pending = []
        self._pending_bytes = 0

    # --- passing writes on

    def _pass_on(self) -> None:
        if not self._pending:
            return
        leader_id = self._peer.leader_id
        if self._peer.role is Role.LEADER:
            while self._pending and self._writer.in_flight_count < limits.BLOCKS_IN_FLIGHT_MAX and self._propose():
                self._do_ready()
            return
        if leader_id and self._links is not None:
            for count, entries in self._pending:
                if not self._links.send(leader_id, encode(Forward(count, entries))):
                    self._is_round_due = True
        self._drop_pending()  # without a leader: the round that the next one begins brings them back

    def _propose(self) -> bool:
        taken = self._take_pending()
        try:
            self._propose_block([entries for _, entries in taken], sum(count for count, _ in taken))
        except Busy:
            self._pending[:0] = taken
            self._pending_bytes += sum(len(entries) for _, entries in taken)
            return False
        except (NotLeader, EpochFull):
            self._drop_pending()
            return False
        return True

    def _propose_block(self, entries: list[bytes], count: int) -> None:
        time_ms = max(self._time_ms, time.time_ns() // 1_000_000)
        block = seal(
            entries,
            count,
            first_index=self._peer.next_index,
            first_zxid=self._peer.next_zxid,
            time_ms=time_ms,
            previous=self._writer.queued_checksum,
        )
        self._peer.propose(count, block)
        self._time_ms = time_ms
        self._tells.proposed(len(block))

    # --- what the consensus asks for

    def _do_ready(self) -> None:
        while (ready := self._peer.ready()) is not None:
            if ready.hard_state is not None:
                epoch, vote = ready.hard_state
                self._vote.save(epoch, vote or 0, min(self._machine.applied_index, self._log.last_index))
            if ready.truncate_after is not None:
                logger.info("log is cut after entry %d: a newer leader has another history", ready.truncate_after)
                self._writer.truncate_after(ready.truncate_after)
            self._generation = ready.generation
            self._writer.append(ready.append)
            if self._links is not None:
                for node_id, message in ready.messages:
                    self._links.send(node_id, encode(message))
            for batch in ready.committed:
                self._apply(batch)
                self._peer.applied(batch.last_index)
            if ready.is_new_leader:
                self._begin_epoch()
            if ready.is_more_committed:
                # A long log after a restart: between its pieces the other nodes must be heard and answered.
                self._is_left_over = True
                break
        if self._peer.role is not Role.LEADER and self._expiry_epoch != -1:
            self._expiry_epoch = -1

    def _begin_epoch(self) -> None:
        logger.info("node %d leads epoch %#x", self._config.node_id, self._peer.epoch)
        self._drop_pending()
        # Random, so that no block of one history is ever equal to one of another.
        self._propose_block([make_entry(OP_EPOCH, os.urandom(16))], 1)
        self._tells.began_to_lead(self._now_ms)

    def _apply(self, batch: Range) -> None:
        if not self._history:
            self._learn_history(batch)
        self._machine.apply(batch.payload)
        self._time_ms = max(self._time_ms, self._machine.applied_time_ms)
        changes = self._machine.take_session_changes()
        if self._peer.role is not Role.LEADER:
            return
        if self._expiry_epoch == self._peer.epoch:
            for kind, session_id, attach_zxid, timeout_ms in changes:
                if kind == "closed":
                    self._expiry.remove(session_id)
                else:
                    self._expiry.put(session_id, attach_zxid, timeout_ms, self._session_ms)
        elif batch.epoch == self._peer.epoch:
            self._expiry.begin(self._machine.sessions(), self._session_ms)
            self._expiry_epoch = self._peer.epoch

    def _learn_history(self, batch: Range) -> None:
        assert batch.first_index == 1, f"the history is not known, and entry {batch.first_index} is to be applied"
        self._history = block_checksum(batch.payload)
        self._history_file.save(self._history)
        if self._links is not None:
            self._links.history = self._history

    def _touch(self, session_ids: bytes) -> None:
        if self._peer.role is Role.LEADER:
            self._expiry.touch(array("Q", session_ids), self._session_ms)
        elif self._peer.leader_id and self._links is not None:
            self._links.send(self._peer.leader_id, encode(Touch(session_ids)))

    # --- what workers are told

    def _tell_status(self) -> None:
        peer = self._peer
        leader_id = peer.leader_id or 0
        standing = self._standing
        standing.update(
            self._now_ms,
            has_leader=leader_id != 0,
            applied_index=self._machine.applied_index,
            is_epoch_applied=self._machine.applied_zxid >> 32 == peer.epoch,
        )
        if standing.is_alone != self._has_said_alone:
            self._say_alone(leader_id)
        if not self._config.peers:
            role = STANDALONE
        elif peer.role is Role.LEADER:
            role = LEADER
        else:
            role = FOLLOWER if leader_id else LOOKING
        # What it has applied is old, and was the ensemble's once: good enough for who asks for no more than that.
        is_read_only = self._config.has_read_only_mode and standing.is_alone and self._machine.applied_index > 0
        status = NodeStatus(peer.epoch, leader_id, role, standing.is_serving, is_read_only)
        if self._told is not None:
            old = self._told[0]
            if status == old and self._told[1] == self._round:
                return
            if leader_id and (leader_id, peer.epoch) != (old.leader_id, old.epoch):
                self._begin_round()
            if status.is_serving != old.is_serving:
                logger.info("node %d %s clients", self._config.node_id, "serves" if status.is_serving else "no longer serves")
        self._told = (status, self._round)
        for number in self._workers.numbers:
            self._workers.tell_status(number, status, self._round)

    def _say_alone(self, leader_id: int) -> None:
        """Tells people why a node does not serve, and when it can again."""
        self._has_said_alone = self._standing.is_alone
        voters = self._config.voters
        if not self._standing.is_alone:
            logger.info("node %d has a leader: node %d", self._config.node_id, leader_id)
        elif self._standing.is_stuck:
            logger.warning(
                "node %d does not get what is committed (applied %d of %d): do the other nodes listen to it?",
                self._config.node_id,
                self._machine.applied_index,
                self._standing.heard_committed_index,
            )
        else:
            logger.warning(
                "node %d waits for a leader: %d of nodes %s must run and reach each other",
                self._config.node_id,
                len(voters) // 2 + 1,
                ", ".join(map(str, voters)),
            )

    def _begin_round(self) -> None:
        self._round += 1
        logger.debug("round %d: unanswered writes are sent again", self._round)
        self._is_round_due = False

    def _tell_commits(self) -> None:
        zxid = self._machine.applied_zxid
        for number in self._workers.numbers:
            items = self._machine.take_items(number)
            if items or zxid != self._told_zxid:
                self._workers.commit(number, items, zxid)
        self._told_zxid = zxid
        if not self._has_said_serving and self._standing.is_serving and len(self._workers.numbers) >= self._config.workers:
            self._has_said_serving = True
            status = self._told[0] if self._told else None
            mode = {LEADER: "leader", FOLLOWER: "follower", STANDALONE: "standalone"}.get(status.role if status else 0, "looking")
            os.write(self._ready_fd, f"{mode}, epoch {self._peer.epoch:#x}, zxid {zxid:#x}\n".encode())


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
