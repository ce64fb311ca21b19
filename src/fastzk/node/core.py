"""All that an engine decides: the one place of a node where writes are ordered, logged and applied (Z7).  Without a socket,
a clock or a thread of its own; engine.py runs it in a process, testing/world runs it in simulated time.

A turn: wake() with the time, hear_...() for all that has arrived, finish() decides and sends what came of it.

Life of a batch here:
    workers' WRITES -> pending -> [leader: sealed into a block -> Peer.propose | follower: FORWARD to the leader | none: dropped]
    Peer.ready(): hard state to disk -> ranges to the log thread -> messages to other nodes -> committed ranges to the machine
    Machine.apply(block) -> items -> COMMIT to each worker

Rules:
  * Nothing leaves before what it promises is on disk (Z2): the vote is saved before messages are sent; the consensus itself
    acknowledges only what the log thread has reported synced.
  * Writes may be dropped at any point before they are in a block.  Their workers keep them, and send all that are unanswered
    again when a new round begins: with a new leader, or when something was lost on the way.  A repeat is harmless (Z10).
  * A failed write or sync of the log ends the process: it is never tried again, and nothing is acknowledged after it.
  * Python runs here per turn and per batch; entries are looked at by compiled code only."""

from __future__ import annotations

import logging

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import block_checksum, count_entries, make_entry, seal, take_reconfigs
from fastzk._core.tree import format_tree
from fastzk.config import NodeConfig
from fastzk.node.contacts import Contacts
from fastzk.node.divergence import Diverged, DivergenceFile
from fastzk.node.dynamic import client_address
from fastzk.node.footing import Footing
from fastzk.node.leading import Leading
from fastzk.node.leases import Leases
from fastzk.node.pending import Pending
from fastzk.node.ports import World
from fastzk.node.restart import StartAnew
from fastzk.node.roster import Roster
from fastzk.node.snapshots import Fetching, Sharing, Snapshots
from fastzk.node.telling import Telling
from fastzk.node.upkeep import Upkeep
from fastzk.node.workers import READ, TOUCH, WRITES
from fastzk.raft.messages import Append, ProtocolError, Range
from fastzk.raft.peer import Busy, EpochFull, NotLeader, Peer, Ready, Role
from fastzk.state.comparison import Comparison
from fastzk.state.formation import SoundState
from fastzk.state.members import Members
from fastzk.storage.checked import CheckedText
from fastzk.storage.evidence import Evidence
from fastzk.storage.identity import MEMBERS_NAME
from fastzk.storage.log import LogWriter
from fastzk.storage.recovery import Recovered, recover
from fastzk.storage.snapshot_file import SnapshotDamaged
from fastzk.storage.snapshots import SnapshotStore
from fastzk.wire.care import Ask, Offer, Piece, Rejoin, Sample
from fastzk.wire.ensemble import EnsembleMessage, Forward, Present, Resend, Touch

OP_EPOCH = 0
OP_CLOSE_SESSION = -11

logger = logging.getLogger("fastzk.engine")


class NodeCore:
    """One node's decisions.  Raises RecoveryRefused when what is stored cannot be gone on from."""

    def __init__(self, config: NodeConfig, arena: Arena, world: World, now_ms: int) -> None:
        self._config = config
        self._world = world
        directory = str(config.data_dir)
        store = SnapshotStore(world.disk, f"{directory}/snapshots")
        found = self._recover(directory, store)
        self.log = found.log
        # What was found and done at the start, a line each, for people.
        self.notes = found.notes
        self._vote = found.vote_file
        self._history_file = found.history_file
        # It is known, and not written down yet.
        self._is_history_due = False
        # Checksum of the first block, once that is committed: nodes of another history are not listened to.
        self.history = found.history
        # No longer than what a snapshot is due after, so that there is something to remove behind one.
        segment_bytes = min(limits.SEGMENT_BYTES_MAX, world.pace.log_bytes)
        self.writer = LogWriter(self.log, segment_bytes_max=segment_bytes, appender=world.make_appender(self.log))
        self.machine, base = self._load(arena, store, found.snapshot)
        self._roster = Roster(base, self.log)
        self._members_file = CheckedText(world.disk, directory, MEMBERS_NAME, config.node_id, world.uid)
        self.peer = Peer(
            config.node_id,
            base.membership,
            log=self.log,
            applied_index=self.machine.applied_index,
            epoch=found.epoch,
            vote=found.vote or None,
            is_sound=found.soundness.is_sound,
            election_ticks=world.election_ticks,
            heartbeat_ticks=limits.HEARTBEAT_TICKS,
            limits=world.peer_limits,
            random=world.random,
        )
        self.footing = Footing(config.node_id, world.uid, base.membership.voters, found.soundness_file, found.soundness)
        self.snapshots = Snapshots(store, arena, self.machine, self.writer, world.pace, world.start_snapshot)
        self._sharing = Sharing(store, world.nodes.send)
        self._fetching = Fetching(store, world.nodes.send)
        self._comparison = Comparison(config.node_id, self.machine.sample_at)
        self._divergence = DivergenceFile(world.disk, directory, config.node_id, world.uid)
        # Index of the sample that the others were told last.
        self._sampled_index = 0
        # On a follower they leave at the end of the turn.
        self._pending = Pending()
        self._was_leader = False
        # Which of the consensus's cuts of the log the log thread knows of; goes back with each report.
        self._generation = 0
        # The leader's stamp; never falls.
        self._time_ms = self.log.last_time_ms
        self.leases = Leases(config.tick_time_ms, now_ms)
        self._ticks = 0
        # What the vote file says is committed and on our disk.
        self._floor_index = 0
        # Committed ranges wait to be applied: the next turn is to begin at once.
        self.is_left_over = False
        self._now_ms = now_ms
        self._wall_ms = 0
        self.telling = Telling(config, self.peer, self.machine, self.footing, world.workers, now_ms)
        self.next_tick_ms = now_ms + limits.TICK_MS
        world.nodes.set_history(self.history)
        self._contacts = Contacts(config, self._roster, world.nodes)
        upkeep = Upkeep(config, self.machine, arena)
        self.leading = Leading(
            config, self, self.peer, self.machine, self.leases, self._contacts, upkeep, lambda: self.footing.is_sound
        )

    def _recover(self, directory: str, store: SnapshotStore) -> Recovered:
        """What the disk holds, repaired as far as that may be done."""
        voters = Members.decode(self._world.members).membership
        return recover(
            self._world.disk,
            directory,
            node_id=self._config.node_id,
            uid=self._world.uid,
            nonce=self._world.random.getrandbits(64) | 1,
            has_others=voters.ids != (self._config.node_id,),
            snapshots=store,
        )

    def _load(self, arena: Arena, store: SnapshotStore, index: int) -> tuple[Machine, Members]:
        """The state machine as of a snapshot, or a new one; and the members as of then."""
        if not index:
            format_tree(arena)
            return Machine(arena, self._config.node_id), Members.decode(self._world.members)
        try:
            meta = store.load(index, arena)
        except SnapshotDamaged as damage:
            # Its checksums are right and what it says makes no sense; the arena is good for nothing now.
            Evidence(self._world.disk, str(self._config.data_dir)).move(damage.file)
            raise StartAnew(f"{damage}: the snapshot is set aside") from damage
        machine = Machine(arena, self._config.node_id)
        machine.begin_chain(int.from_bytes(meta.chain, "little"))
        return machine, Members.decode(meta.membership)

    @property
    def is_leader(self) -> bool:
        return self.peer.role is Role.LEADER

    @property
    def _is_reigning(self) -> bool:
        """Whether this node leads, and the entry that opens its epoch is applied."""
        return self.is_leader and self.leases.is_kept_in(self.peer.epoch)

    # --- what comes in

    def wake(self, now_ms: int, wall_ms: int) -> bool:
        """A turn begins at this monotonic time, and at this time of the wall clock.  True when a tick has passed.

        Raises LogFailed when the disk refuses: the process must end."""
        self.is_left_over = False
        self.leases.advance(now_ms)
        self._now_ms, self._wall_ms = now_ms, wall_ms
        has_ticked = now_ms >= self.next_tick_ms
        if has_ticked:
            # After a stretch in which it did not run (stopped, starved) a node must first hear what has arrived meanwhile,
            # rather than believe that nobody spoke: it ticks once, not once for each tick it missed.
            self.next_tick_ms = max(self.next_tick_ms + limits.TICK_MS, now_ms + limits.TICK_MS // 2)
            self._tick()
        done = self.writer.take_done()
        if done is not None:
            self.peer.synced(done.last_index, done.epoch, self._generation)
            if self._is_history_due:
                self._save_history()
        return has_ticked

    def _tick(self) -> None:
        self.peer.tick()
        self._ticks += 1
        if self.footing.is_new or self._ticks % limits.PRESENT_TICKS == 0:
            self._world.nodes.send_all(self._present())
        self.telling.tick()
        if self.footing.tick(self.peer) and self.peer.leader_id:
            self._world.nodes.send(self.peer.leader_id, Rejoin(self.footing.soundness.nonce))
        self._compare()
        self._fetching.tick(self._now_ms)
        self._sharing.tick(self._now_ms, self.peer.behind())
        if self.snapshots.tend():
            self.peer.purged()
        self._contacts.tick(self._now_ms)
        if self._ticks % limits.FLOOR_TICKS == 0 and min(self.machine.applied_index, self.log.last_index) > self._floor_index:
            self._save_vote(self.peer.epoch, self.peer.vote)
        if self._is_reigning:
            self.leading.tick(self._now_ms, max(self._time_ms, self._wall_ms))

    def _present(self) -> Present:
        """What the others are told: that we are there, and what we are."""
        address = self._config.peers.get(self._config.node_id)
        return self.footing.present(str(client_address(self._config) or ""), str(address or ""))

    def _compare(self) -> None:
        """Tells the others of our tree, and sees whether it is as theirs.  Raises StartAnew or Diverged when it is not."""
        newest = self.machine.newest_sample
        if newest != self._sampled_index:
            self._sampled_index = newest
            found = self.machine.sample_at(newest)
            assert found is not None, f"no sample at {newest}"
            self._world.nodes.send_all(Sample(newest, *found))
        comparison = self._comparison
        comparison.advance()
        self._divergence.agreed(comparison.agreed_index)
        if not comparison.is_wrong(self.peer.membership.voters, self._now_ms):
            return
        what = f"its tree at entry {comparison.differed_index} is not the others'; they agreed at {comparison.agreed_index}"
        logger.error("node %d: %s", self._config.node_id, what)
        self._divergence.note(comparison.agreed_index, comparison.differed_index)
        store = self.snapshots.store
        self.snapshots.close()
        store.remove(*(index for index in store.list() if index > comparison.agreed_index))
        raise StartAnew(what)

    def hear_node(self, sender: int, message: EnsembleMessage) -> None:
        """Another node said something.  Raises ProtocolError, and changes nothing, if no correct node says it."""
        match message:
            case Forward():
                # What was meant for another epoch's leader is on its way again in a newer round: an old copy must not come last.
                if self.is_leader and message.epoch == self.peer.epoch:
                    self._add(message.entries, message.count)
            case Touch():
                self._touch(message.session_ids)
            case Resend():
                self.telling.lose()
            case Present():
                self._hear_present(sender, message)
            case Sample():
                self._comparison.hear(sender, message.index, (message.digest, message.chain))
            case Rejoin():
                entry = self.footing.entry_for(sender, message.nonce) if self.is_leader else None
                if entry is not None:
                    self.add(entry, 1)
            case Offer():
                if sender == self.peer.leader_id:
                    self._fetching.offered(sender, self.peer.epoch, message, self.machine.applied_index, self._now_ms)
            case Ask():
                self._sharing.hear(sender, message)
            case Piece():
                self._fetching.hear(sender, message, self._now_ms)
            case _:
                self.peer.step(message)
                if isinstance(message, Append):
                    self.telling.hear_committed(message.committed_index)

    def _hear_present(self, sender: int, present: Present) -> None:
        self.leading.upkeep.hear_client_address(sender, present.client_address)
        self.footing.hear(sender, present, self._world.random.getrandbits(64) | 1, self.peer)
        if present.state is SoundState.NEW and not self.footing.is_new:
            self._world.nodes.send(sender, self._present())
        self._contacts.hear(sender, present.address, self._now_ms)

    def node_lost(self, node_id: int) -> None:
        """Another node has closed its link."""
        if node_id == self.peer.leader_id:
            self.telling.lose()
        self.peer.peer_lost(node_id)

    def node_skipped(self, node_id: int) -> None:
        """Something that another node sent has not arrived."""
        if self.is_leader:
            self._world.nodes.send(node_id, Resend())

    def hear_worker(self, kind: int, number: int, count: int, round_: int, payload: bytes) -> None:
        """A worker said something."""
        if kind == WRITES:
            assert count_entries(payload, node_id=self._config.node_id, worker=number) == count, f"worker {number} miscounts"
            if round_ == self.telling.round:
                self._add(payload, count)
        elif kind == TOUCH:
            self._touch(payload)
        elif kind == READ:
            self.machine.read(payload)
        else:
            logger.error("worker %d sent a message of unknown kind %d", number, kind)

    def workers_skipped(self) -> None:
        """Something that a worker sent has not arrived."""
        self.telling.lose()

    def _add(self, entries: bytes, count: int) -> None:
        if not self._pending.add(entries, count):
            self.telling.lose()

    def _touch(self, session_ids: bytes) -> None:
        if self.is_leader:
            self.leases.touch(session_ids)
        elif self.peer.leader_id:
            self._world.nodes.send(self.peer.leader_id, Touch(session_ids))

    # --- what comes of it

    def finish(self) -> None:
        """Ends the turn.  Raises OSError when the vote cannot be saved: the process must end."""
        if self._was_leader and not self.is_leader:
            # Other nodes' writes, which come again from there, and its own proposals, which are only a leader's.
            self._pending.take_all()
        self._was_leader = self.is_leader
        self._do_ready()
        if self._is_reigning:
            self.leading.step(self._now_ms)
            self._do_ready()  # the next block's place is known once the log thread has been given those before it
        self.telling.tell_status(self._now_ms)
        self._pass_on()
        self._do_ready()
        self.telling.tell_commits()
        if self._fetching.has_arrived:
            raise StartAnew("a snapshot has been fetched, which is to be begun with")

    def close(self) -> None:
        """Ends in order: what was queued for the log is on the disk afterwards.  Raises LogFailed."""
        self.snapshots.close()
        self._sharing.close()
        self._fetching.close()
        self.writer.close()
        self._save_vote(self.peer.epoch, self.peer.vote)

    def hand_over(self) -> bool:
        """Begins to make another node the leader, since this one is to end; False if there is nothing to hand over."""
        return self.peer.transfer()

    def _pass_on(self) -> None:
        if not self._pending:
            return
        if self.is_leader:
            while self._pending and self.writer.in_flight_count < limits.BLOCKS_IN_FLIGHT_MAX and self._propose():
                self._do_ready()
            return
        leader_id = self.peer.leader_id
        for count, entries in self._pending.take_all():
            # Without a leader they are dropped: the round that the next one begins brings them back.
            if leader_id and not self._world.nodes.send(leader_id, Forward(count, entries, self.peer.epoch)):
                self.telling.lose()

    def _propose(self) -> bool:
        taken = self._pending.take_block()
        entries, count, reconfigs = [], 0, []
        for batch_count, batch in taken:
            # A request for other members is logged with its answer, when there is one.
            rest, rest_count, found = take_reconfigs(batch, batch_count)
            reconfigs += found
            if rest_count:
                entries.append(rest)
                count += rest_count
        try:
            if count:
                self._propose_block(entries, count)
        except Busy:
            self._pending.put_back(taken)
            return False
        except (NotLeader, EpochFull):
            self._pending.take_all()
            return False
        if reconfigs:
            self.leading.reconfig.take(reconfigs, self.peer.last_index)
        return True

    def _propose_block(self, entries: list[bytes], count: int) -> None:
        block = self.seal(entries, count)
        self.peer.propose(count, block)
        self._world.tells.proposed(len(block))

    # --- the desk of a leader (leading.py)

    def add(self, entries: bytes, count: int) -> None:
        """Takes a leader's own entries for one of the next blocks."""
        self._pending.add(entries, count, is_own=True)

    def drop(self, op: int) -> None:
        """Takes a leader's own entries of an operation back, as far as they are in no block."""
        self._pending.drop(op)

    @property
    def is_idle(self) -> bool:
        """Whether all that was added is in the log."""
        return not self._pending

    def ask_again(self, node_id: int) -> bool:
        """Has a node's workers send again what is unanswered; False when it could not be told."""
        if node_id == self._config.node_id:
            self.telling.lose()
            return True
        return self._world.nodes.send(node_id, Resend())

    def seal(self, entries: list[bytes], count: int, kind: int = 0) -> bytes:
        """The next block.  Raises NotLeader."""
        self._time_ms = max(self._time_ms, self._wall_ms)
        return seal(
            entries,
            count,
            first_index=self.peer.next_index,
            first_zxid=self.peer.next_zxid,
            time_ms=self._time_ms,
            previous=self.writer.queued_checksum,
            kind=kind,
        )

    def _do_ready(self) -> None:
        while (ready := self.peer.ready()) is not None:
            if ready.hard_state is not None:
                epoch, vote = ready.hard_state
                self._save_vote(epoch, vote)
            self._change_log(ready)
            for node_id, message in ready.messages:
                self._world.nodes.send(node_id, message)
            for batch in ready.committed:
                self._apply(batch)
                self.peer.applied(batch.last_index)
            if ready.is_new_leader:
                self._begin_epoch()
            if ready.is_more_committed:
                # A long log after a restart: between its pieces the other nodes must be heard and answered.
                self.is_left_over = True
                break
        if not self.is_leader:
            self.leading.end()

    def _save_vote(self, epoch: int, vote: int | None) -> None:
        """Writes down the vote, and with it what is both committed and on our disk: a log that ends before that was shortened."""
        self._floor_index = min(self.machine.applied_index, self.log.last_index)
        self._vote.save(epoch, vote or 0, self._floor_index)

    def _change_log(self, ready: Ready) -> None:
        """Hands the log thread what it is to do, and follows the members that this brings."""
        if ready.truncate_after is not None:
            logger.info("log is cut after entry %d: a newer leader has another history", ready.truncate_after)
            self.writer.truncate_after(ready.truncate_after)
        self._generation = ready.generation
        self.writer.append(ready.append)
        self._contacts.log_changed(ready.truncate_after, ready.append, self._now_ms)

    def _begin_epoch(self) -> None:
        logger.info("node %d leads epoch %#x", self._config.node_id, self.peer.epoch)
        self._pending.take_all()
        # Random, so that no block of one history is ever equal to one of another.
        self._propose_block([make_entry(OP_EPOCH, self._world.random.randbytes(16))], 1)
        self._world.tells.began_to_lead(self._now_ms)

    def _apply(self, batch: Range) -> None:
        if not self.history:
            self._learn_history(batch)
        self.machine.apply(batch.payload)
        if self._roster.apply(batch):
            self._members_file.save(self._roster.applied.encode())
        self.footing.applied(self.machine.take_rejoins(), batch.last_index, batch.epoch)
        self.snapshots.applied(batch, self.history, self._roster.applied)
        self._time_ms = max(self._time_ms, self.machine.applied_time_ms)
        changes = self.machine.take_session_changes()
        if self.is_leader:
            self.leases.applied(self.peer.epoch, changes, batch.epoch, self.machine)

    def _learn_history(self, batch: Range) -> None:
        assert batch.first_index == 1, f"the history is not known, and entry {batch.first_index} is to be applied"
        self.history = block_checksum(batch.payload)
        self._world.nodes.set_history(self.history)
        self._save_history()

    def _save_history(self) -> None:
        """Writes the history down once its first block is on our own disk: a log that is empty beside it has been lost.

        Before that a crash may take the block, which the others have committed, and nothing that was promised with it."""
        self._is_history_due = self.peer.synced_index == 0
        if not self._is_history_due:
            self._history_file.save(self.history)


__all__ = ["Diverged", "NodeCore", "ProtocolError"]
