"""One whole node in simulated time: the production core, its log on a simulated disk, its compiled workers, its clock.

A turn is engine.py's: wake, what other nodes and the workers said, finish.  The log thread is testing/appender.py's twin: a step
of it is one write and one sync, and takes the time that the world's disks take.  A crash may come at any operation of the disk.
Rule: a node knows the time and the world through its ports only; everything it decides is production code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from fastzk._core.arena import Arena
from fastzk.config import Address, NodeConfig
from fastzk.node.core import Diverged, NodeCore, ProtocolError
from fastzk.node.ports import World as Ports
from fastzk.node.restart import StartAnew
from fastzk.node.roster import first_members
from fastzk.node.workers import NodeStatus
from fastzk.raft.messages import Range
from fastzk.storage.identity import IdentityError, identify
from fastzk.storage.log import LogFailed, SegmentLog
from fastzk.storage.recovery import RecoveryRefused
from fastzk.storage.snapshots import SnapshotJob
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.checkers import Violation
from fastzk.testing.disk import SimulatedDisk, Stopped
from fastzk.testing.world.admin import SUPER_DIGEST
from fastzk.testing.world.worker import SimWorker
from fastzk.transport.inbound import HEARD_S, Heard, Inbound
from fastzk.wire.ensemble import APPEND, APPEND_REPLY, VOTE, VOTE_REPLY, EnsembleMessage, WireError, decode, encode

if TYPE_CHECKING:
    from fastzk.testing.world.world import Simulation

ARENA_BYTES = 1 << 20
DATA = "/data"
RAFT_KINDS = (VOTE, VOTE_REPLY, APPEND, APPEND_REPLY)


class WatchedCore(NodeCore):
    """The production core; what it applies is shown to the judge."""

    on_applied: Callable[[Range], None]

    def _apply(self, batch: Range) -> None:
        super()._apply(batch)
        self.on_applied(batch)


class _Appender(SimulatedAppender):
    """The log thread's twin; says when it is told to cut."""

    on_cut: Callable[[], None]

    def cut(self, removed: Sequence[int], target: int, target_offset: int, end: tuple[int, int, int, int]) -> None:
        super().cut(removed, target, target_offset, end)
        self.on_cut()


class _SnapshotRun:
    """A snapshot being written, step by step in simulated time."""

    def __init__(self, host: Host, job: SnapshotJob) -> None:
        self._host = host
        self._job = job
        self._life = host.life
        self.error: Exception | None = None
        self.is_done = False
        self._plan()

    def _plan(self) -> None:
        self._host.world.heap.after(self._host.world.disk_time_us(), self._step)

    def _step(self) -> None:
        host = self._host
        if self.is_done or host.life != self._life or host.core is None:
            return
        before = host.disk.operations
        try:
            if self._job.step():
                self._plan()
                return
        except Stopped:
            host.power_gone("at an operation of its snapshot")
            return
        except (OSError, RuntimeError) as error:
            self.error = error
        finally:
            host.world.events += host.disk.operations - before
        self.is_done = True
        host.world.count("snapshot given up" if self.error else "snapshot written")
        host.plan_turn()

    def release(self) -> None:
        self._job.release()

    def stop(self) -> None:
        self._job.abort()
        self.is_done = True

    def wait(self, timeout_s: float | None = None) -> bool:
        return self.is_done


Envelope = tuple[int, int, int, int, list[bytes]]  # uid, history, incarnation, sequence, parts


class Host:
    """A node: what is up while it is up, and the disk that stays.  It is the core's ports, too."""

    def __init__(self, world: Simulation, node_id: int, peers: dict[int, Address]) -> None:
        self.world = world
        self.node_id = node_id
        self.address = Address("127.0.0.1", 2880 + node_id)
        draw = world.draw
        self.config = NodeConfig(
            node_id,
            peers,
            Address("127.0.0.1", 2180 + node_id),
            Address("127.0.0.1", 2280 + node_id),
            Path(DATA),
            draw.workers,
            tick_time_ms=draw.tick_time_ms,
            super_digest=SUPER_DIGEST,
            observers=frozenset(node_id for node_id in peers if node_id > draw.voters),
        )
        self.disk = SimulatedDisk()
        self.disk.make_dir(DATA)
        self.uid = 0
        self.core: WatchedCore | None = None
        self.region = bytearray()
        self.workers: dict[int, SimWorker] = {}
        self.life = 0
        self.resumes_us = 0
        # What its disk has synced, also while it is down.
        self.last_log: SegmentLog | None = None
        # Why it ended for good; None while it may go on.
        self.ended: str | None = None
        self._clock_rate = 1.0
        self._clock_us = world.clock_chance.randrange(1 << 40)
        self._wall_us = 1_700_000_000_000_000
        self._read_us = 0
        self._reset()

    def _reset(self) -> None:
        self.numbers: list[int] = []
        self._worker_number = 0  # begins anew with each life, as in the supervisor
        self._history = 0
        self._incarnation = 0
        self._targets: list[int] = []
        self._sequences: dict[int, int] = {}
        self._inbound: dict[int, Inbound] = {}
        self._messages: deque[tuple[int, list[bytes]]] = deque()
        self._said: deque[tuple[SimWorker, int, int, int, bytes]] = deque()
        self._lost: dict[int, None] = {}
        self._holes: dict[int, None] = {}
        self._is_turn_planned = False
        self._is_writing = False
        self._timer_us = -1

    # --- clocks

    def now_ms(self) -> int:
        """Its monotonic clock, which may be fast or slow."""
        return int(self._clock_us + (self.world.heap.now_us - self._read_us) * self._clock_rate) // 1000

    def wall_ms(self) -> int:
        """Its wall clock, which may jump."""
        return (self._wall_us + self.world.heap.now_us) // 1000

    def set_clock(self, rate: float) -> None:
        """From now on its clock runs at this rate."""
        now_us = self.world.heap.now_us
        self._clock_us = int(self._clock_us + (now_us - self._read_us) * self._clock_rate)
        self._read_us, self._clock_rate = now_us, rate

    def step_wall(self, step_us: int) -> None:
        """Somebody sets its wall clock."""
        self._wall_us += step_us

    # --- life

    @property
    def is_up(self) -> bool:
        return self.core is not None

    def is_still(self) -> bool:
        """Whether it is stopped, as by SIGSTOP."""
        return self.resumes_us > self.world.heap.now_us

    def when_running(self, handler: Callable[..., None], *arguments: Any) -> None:
        """Calls when it goes on."""
        self.world.heap.after(self.resumes_us - self.world.heap.now_us, handler, *arguments)

    def start(self) -> None:
        """Builds it from its disk.  A crash may come in between."""
        if self.core is not None or self.ended is not None:
            return
        self.life += 1
        self._reset()
        world = self.world
        random = Random(f"{world.seed}/node/{self.node_id}/{self.life}")
        self._incarnation = random.getrandbits(60) | 1
        self.region = bytearray(ARENA_BYTES)
        arena = Arena.create(self.region)
        before = self.disk.operations
        try:
            core = self._build(arena, random)
        except Stopped:
            self.power_gone("at an operation of its disk, while it started")
            return
        except OSError as error:
            self.fail(error)
            return
        except (IdentityError, RecoveryRefused) as refused:
            world.trace.line(f"{self.node_id} refuses to start: {refused}")
            world.refuses(self, refused)
            return
        finally:
            world.events += self.disk.operations - before
        core.on_applied = self._on_applied
        if core.log.cut is not None:
            world.count("torn tail cut")
        self.core = core
        self.last_log = core.log
        self._history = core.history
        state = core.footing.soundness.state.value
        world.trace.line(
            f"{self.node_id} starts: {state}, last {core.log.last_index} of epoch {core.log.last_epoch}, vote {core.peer.epoch}"
        )
        world.starts(self)
        for _ in range(world.draw.workers):
            self._start_worker()
        self._plan_timer()
        self.plan_turn()

    def _build(self, arena: Arena, random: Random) -> WatchedCore:
        draw = self.world.draw
        members = first_members(self.config).encode()
        identity = identify(self.disk, DATA, self.node_id, self.config.voters, members, random.getrandbits(60) | 1)
        self.uid = identity.uid
        ports = Ports(
            self.disk,
            self,
            self,
            self,
            random,
            uid=identity.uid,
            members=identity.members,
            make_appender=self._make_appender,
            start_snapshot=self._start_snapshot,
            pace=draw.pace,
            peer_limits=draw.peer_limits,
            election_ticks=draw.election_ticks,
        )
        return WatchedCore(self.config, arena, ports, self.now_ms())

    def _start_snapshot(self, job: SnapshotJob) -> _SnapshotRun:
        return _SnapshotRun(self, job)

    def crash(self, why: str = "") -> None:
        """The power goes: the disk keeps what a crash keeps."""
        if self.core is not None:
            self._down(why, has_power=False)

    def power_gone(self, where: str) -> None:
        """The power has gone at an operation of the disk."""
        self.world.count("power gone at the disk")
        self._down(where, has_power=False)

    def fail(self, error: Exception) -> None:
        """The process ends by itself, with a reason; its disk stays as it is."""
        self.world.trace.line(f"{self.node_id} ends: {type(error).__name__}: {error}")
        self.world.count(f"ends: {type(error).__name__}")
        self._down("by itself", has_power=True)

    def leave(self) -> None:
        """The process is told to end, and does so in order; it is started again soon."""
        core = self.core
        if core is None:
            return
        try:
            core.close()
        except Stopped:
            self.power_gone("while it ended")
            return
        except (LogFailed, OSError) as error:
            self.fail(error)
            return
        self.world.count("orderly end")
        self._down("in order", has_power=True)

    def _down(self, why: str, *, has_power: bool) -> None:
        world = self.world
        self.core = None
        for worker in self.workers.values():
            worker.end()
        self.workers.clear()
        kept = "everything"
        if not has_power:
            kept = world.disk_chance.choice(world.draw.crash_modes)
            self.disk.crash(world.disk_chance, kept)
            world.count("crash")
        world.trace.line(f"{self.node_id} goes down {why}, its disk keeps {kept}")
        world.node_down(self)

    def wipe(self) -> None:
        """Its directory is lost; whoever looks after it begins another."""
        assert self.core is None
        self.disk = SimulatedDisk()
        self.disk.make_dir(DATA)
        self.last_log = None

    def _start_worker(self) -> None:
        self._worker_number += 1
        self.numbers.append(self._worker_number)
        assert self.core is not None
        self.core.telling.came(self._worker_number)

    def _make_appender(self, log: SegmentLog) -> SimulatedAppender:
        segment, size = log.last_segment()
        most = self.world.draw.segment_bytes_max
        self._appender = _Appender(log.disk, log.directory, segment, log.offset, size, replace(log.end), most)
        self._appender.zeros_ahead = 4096
        self._appender.on_cut = lambda: self.world.count("log cut")
        return self._appender

    # --- turns

    def plan_turn(self) -> None:
        """A turn comes a little after what caused it, so that several causes share one."""
        if not self._is_turn_planned:
            self._is_turn_planned = True
            self.world.heap.after(self.world.schedule_chance.choice(self.world.draw.turn_lags_us), self._turn, self.life)

    def _plan_timer(self) -> None:
        assert self.core is not None
        wait_us = int(max(0, self.core.next_tick_ms - self.now_ms()) * 1000 / self._clock_rate) + 500
        self.world.heap.after(wait_us, self._timer, self.life)

    def _timer(self, life: int) -> None:
        core = self.core
        if core is None or life != self.life:
            return
        if self.is_still():
            self.when_running(self._timer, life)
            return
        if self.now_ms() >= core.next_tick_ms:
            self.plan_turn()
        self._plan_timer()

    def _turn(self, life: int) -> None:
        if life != self.life:
            return
        self._is_turn_planned = False
        core = self.core
        if core is None:
            return
        if self.is_still():
            self._is_turn_planned = True
            self.when_running(self._turn, life)
            return
        world, disk = self.world, self.disk
        before = disk.operations
        try:
            if core.wake(self.now_ms(), self.wall_ms()):
                world.events += 1
            self._hear(core)
            core.finish()
        except Stopped:
            self.power_gone("at an operation of its disk")
            return
        except StartAnew as wish:
            world.count("starts anew: tree" if "tree" in str(wish) else "snapshot fetched")
            self.fail(wish)
            return
        except (LogFailed, OSError) as error:
            self.fail(error)
            return
        except Diverged as error:
            raise Violation(f"C14: node {self.node_id} says that its tree is not the others': {error}") from error
        finally:
            world.events += disk.operations - before
        world.after_turn(self)
        if core.is_left_over:
            self.plan_turn()
        self._plan_write()

    def _hear(self, core: NodeCore) -> None:
        world = self.world
        messages, said = self._messages, self._said
        world.events += len(messages) + len(said)
        while messages:
            sender, parts = messages.popleft()
            try:
                core.hear_node(sender, decode(parts, sender))
            except (ProtocolError, WireError) as error:
                world.trace.line(f"{self.node_id} refuses a message of {sender}: {error}")
                world.count("message refused")
        for node_id in self._lost:
            core.node_lost(node_id)
        self._lost.clear()
        for node_id in self._holes:
            core.node_skipped(node_id)
        self._holes.clear()
        while said:
            worker, kind, count, round_, payload = said.popleft()
            if worker.number in self.workers:
                core.hear_worker(kind, worker.number, count, round_, payload)

    def _on_applied(self, batch: Range) -> None:
        assert self.core is not None
        self.world.applied(self, batch, self.core.machine)

    # --- the log thread

    def _plan_write(self) -> None:
        if not self._is_writing and self._appender.has_work:
            self._is_writing = True
            self.world.heap.after(self.world.disk_time_us(), self._write, self.life)

    def _write(self, life: int) -> None:
        if life != self.life or self.core is None:
            return
        if self.is_still():
            self.when_running(self._write, life)
            return
        before = self.disk.operations
        self._is_writing = False
        try:
            self._appender.step()
        except Stopped:
            self.power_gone("at an operation of its log thread")
            return
        finally:
            self.world.events += self.disk.operations - before
        self.plan_turn()
        self._plan_write()

    # --- the core's ports: other nodes

    def send(self, node_id: int, message: EnsembleMessage) -> bool:
        return self._send(node_id, encode(message))

    def send_all(self, message: EnsembleMessage) -> None:
        parts = encode(message)
        for node_id in self._targets:
            self._send(node_id, parts)

    def _send(self, node_id: int, parts: list[bytes]) -> bool:
        if node_id not in self._targets or not self.world.hosts[node_id].is_up:
            return False
        sequence = self._sequences[node_id] = self._sequences.get(node_id, 0) + 1
        envelope = (self.uid, self._history, self._incarnation, sequence, parts)
        self.world.network.send(self.node_id, node_id, envelope)
        return True

    def heard(self) -> list[int]:
        now_s = self.world.heap.now_us / 1_000_000
        return [peer for peer, inbound in self._inbound.items() if inbound.uid and now_s - inbound.heard_s < HEARD_S]

    def set_addresses(self, addresses: Mapping[int, Address]) -> None:
        self._targets = [node_id for node_id in addresses if node_id != self.node_id and node_id in self.world.hosts]

    def set_history(self, history: int) -> None:
        self._history = history

    def receive(self, sender: int, envelope: Envelope) -> None:
        """A message of another node arrives; the rules are those of transport/links.py."""
        if self.core is None:
            return
        if self._accepts(sender, envelope):
            self.hear(sender, envelope[4])

    def hear(self, sender: int, parts: list[bytes]) -> None:
        """A message is taken in, in the next turn."""
        self._messages.append((sender, parts))
        self.plan_turn()

    def _accepts(self, sender: int, envelope: Envelope) -> bool:
        uid, history, incarnation, sequence, _ = envelope
        if self._history and history and history != self._history:
            self.world.count("other history")
            return False
        inbound = self._inbound.setdefault(sender, Inbound())
        found = inbound.hear(uid, incarnation, sequence, self.world.heap.now_us / 1_000_000)
        if found is Heard.STRANGER:
            self.world.count("other directory")
        elif found is Heard.BEHIND_A_HOLE:
            self._holes[sender] = None
            self.world.count("hole seen")
        elif found is Heard.ECHO:
            # A world without the links' numbers lets the consensus see what is repeated or late: it must not mind.
            return not self.world.draw.is_numbered and envelope[4][0][0] in RAFT_KINDS
        return found is not Heard.STRANGER

    def link_closed(self, node_id: int) -> None:
        """The other side has closed its link."""
        if self.core is not None:
            self._lost[node_id] = None
            if node_id in self._inbound:
                self._inbound[node_id].close()
            self.plan_turn()

    # --- the core's ports: workers

    def welcome(self, number: int, zxid: int) -> None:
        self.workers[number] = SimWorker(self, number, zxid)

    def tell_status(self, number: int, status: NodeStatus, round_: int) -> None:
        self._tell(number, (status, round_))

    def commit(self, number: int, items: bytes, zxid: int) -> None:
        self._tell(number, (items, zxid))

    def _tell(self, number: int, message: tuple[NodeStatus, int] | tuple[bytes, int]) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.inbox.append(message)
            worker.plan_turn()

    def hear_worker(self, worker: SimWorker, kind: int, count: int, round_: int, payload: bytes) -> None:
        """A worker says something to the engine."""
        if self.core is not None:
            self._said.append((worker, kind, count, round_, payload))
            self.plan_turn()

    def restart_worker(self) -> None:
        """A worker's process dies; the supervisor starts another."""
        if self.core is None or not self.numbers:
            return
        number = self.numbers.pop(0)
        self.workers.pop(number).end()
        self.core.telling.gone(number)
        self._start_worker()

    # --- the core's ports: who counts

    def began_to_lead(self, now_ms: int) -> None:
        assert self.core is not None
        self.world.leads(self, self.core.peer.epoch)

    def proposed(self, size: int) -> None:
        pass


__all__ = ["DATA", "Host", "WatchedCore"]
