"""Whole nodes in one process and in simulated time, run from one number: the door of this package.

    Simulation(seed).run()      the digest of the run's trace; raises SimulationFailed

Production code: the consensus, the core of the engine, the state machine, the log and its recovery, the workers' Server.
Simulated: the network between nodes, the disks and the log thread, the clocks, the clients' connections, and the clients, who
speak ZooKeeper's protocol.  A run first draws what kind of world it is (draw.py), then has two phases.  Safety: clients ask
while the nemesis does what was drawn (faults.py), until as many events have happened as were asked for.  Liveness: everything is
healed; within a bounded time there must be one leader, equal trees, no request left unanswered, and a fresh write by each node.

Rule: the number and the code fix the run, byte for byte.  Each concern draws from a generator of its own, so that a change in one
does not move the others' chances.
An event is a message taken in by a node, a worker or a client, an operation of a disk, a request, a tick, a fault."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.reads import answer
from fastzk.config import Address
from fastzk.raft.messages import Range
from fastzk.testing.checkers import ensure
from fastzk.testing.events import EventHeap, Trace
from fastzk.testing.network import SimNetwork
from fastzk.testing.simulation import SimulationFailed
from fastzk.testing.world.admin import Admin
from fastzk.testing.world.clients import Client
from fastzk.testing.world.draw import Draw, draw_world
from fastzk.testing.world.faults import Nemesis
from fastzk.testing.world.frames import EXISTS, GET_CHILDREN2, GET_DATA, SET_DATA, set_data, sorted_names
from fastzk.testing.world.judge import Judge
from fastzk.testing.world.node import Envelope, Host

EVENTS = 20_000
SAFETY_US_MAX = 120_000_000
# A node with a new directory is listened to when the one it replaces has been silent for ten seconds (transport/links.py).
AGREEMENT_US = 25_000_000
LIVENESS_US = 45_000_000
STEP_US = 50_000
EPOCH_NEARLY_FULL = 8  # zxids: a batch did not fit
REPORT_US = 500_000
RATE_US = 1_250  # of a clock that is a fifth too fast, in thousandths


class Simulation:
    """One run."""

    def __init__(
        self,
        seed: int,
        print_line: Callable[[str], None] | None = None,
        *,
        events: int = EVENTS,
        change: Callable[[Draw], None] | None = None,
    ) -> None:
        self.seed = seed
        self.heap = EventHeap()
        self.trace = Trace(self.heap, print_line)
        self.draw = draw_world(Random(f"{seed}/world"))
        if change is not None:
            change(self.draw)
        self.schedule_chance = Random(f"{seed}/schedule")
        self.disk_chance = Random(f"{seed}/disk")
        self.clock_chance = Random(f"{seed}/clocks")
        self.client_chance = Random(f"{seed}/clients")
        self.fault_chance = Random(f"{seed}/faults")
        self._delay_chance = Random(f"{seed}/delays")
        self.events = 0
        self._events_max = events
        # How often each thing has happened that the swarm is for.
        self.counts: dict[str, int] = {}
        self.judge = Judge()
        self.network: SimNetwork = SimNetwork(self.heap, Random(f"{seed}/network"), self.draw.network, self._deliver)
        node_ids = range(1, self.draw.voters + (self.draw.observers if self.draw.voters > 1 else 0) + 1)
        # Voters that have lost something and have not made it good yet.
        self.lossy: set[int] = set()
        peers = {node_id: Address("127.0.0.1", 2880 + node_id) for node_id in node_ids}
        self.hosts = {node_id: Host(self, node_id, peers if len(peers) > 1 else {}) for node_id in node_ids}
        self.sessions: dict[int, Client] = {}
        self._leaders: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._unreachable: dict[int, int] = {}
        self.is_quiet = False
        # Little can happen in it: the safety phase ended by its time, with fewer events than were asked for.
        self.is_out_of_time = False
        self.clients = [Client(self, number) for number in range(1, self.draw.clients + 1)]
        if self.draw.reconfig:
            self.clients.append(Admin(self, 100))
        self.nemesis = Nemesis(self)

    # --- the run

    def run(self) -> str:
        """Both phases; the digest of the trace.  Raises SimulationFailed."""
        try:
            self.trace.line(f"world {self.draw}")
            for host in self.hosts.values():
                host.start()
            while self.events < self._events_max and self.heap.now_us < SAFETY_US_MAX:
                self.heap.run_until(self.heap.now_us + STEP_US)
            self.is_out_of_time = self.events < self._events_max
            self._heal()
            self._await_liveness()
            self._compare_trees()
        except Exception as error:
            tail = "\n".join(self.trace.last_lines)
            replay = f"python tools/sim.py --seed {self.seed} --events {self._events_max} --trace"
            raise SimulationFailed(f"seed {self.seed}: {type(error).__name__}: {error}\n{tail}\nreplay: {replay}") from error
        self.trace.line(f"end after {self.events} events, {self.judge.last_index} entries")
        return self.trace.digest()

    def _heal(self) -> None:
        self.trace.line("heal")
        self.nemesis.is_over = True
        self.network.heal()
        self.draw.slow_sync = 0.0
        self.draw.sync_us = 100
        self.draw.is_numbered = True
        self._unreachable.clear()
        for host in self.hosts.values():
            host.resumes_us = 0
            host.disk.stop_at(-host.disk.operations)
            host.disk.fail_at(-host.disk.operations)
            host.set_clock(1.0)
            host.start()
        for client in self.clients:
            client.silent_until_us = 0
        self.is_quiet = True

    def _await_liveness(self) -> None:
        start_us = self.heap.now_us
        self._await(start_us + AGREEMENT_US, "one leader, and equal nodes", self._is_agreed)
        self._await(start_us + LIVENESS_US, "no request unanswered", self._is_answered)
        # A write through each node.
        hosts = self._members()
        probes = [Client(self, 1000 + host.node_id) for host in hosts]
        self.clients += probes
        for probe, host in zip(probes, hosts, strict=True):
            probe.home = host
        self._await(start_us + LIVENESS_US, "sessions at each node", lambda: all(probe.is_open for probe in probes))
        for probe in probes:
            probe.ask(SET_DATA, b"/zookeeper/quota", set_data(b"/zookeeper/quota", b"fresh", -1))
        self._await(
            start_us + LIVENESS_US, "a fresh write through each node", lambda: not any(probe.is_waiting for probe in probes)
        )
        self._await(start_us + LIVENESS_US, "one leader, and equal nodes", self._is_agreed)
        self._await(start_us + LIVENESS_US, "every event told", self._is_told)

    def _await(self, end_us: int, what: str, holds: Callable[[], bool]) -> None:
        while not holds():
            ensure(
                self.heap.now_us < end_us, "C15", f"not within {(end_us - self.heap.now_us) // 1000} ms: {what}: {self._standing()}"
            )
            self.heap.run_until(self.heap.now_us + STEP_US)

    def _standing(self) -> str:
        words = []
        for host in self.hosts.values():
            core = host.core
            if core is None:
                words.append(f"{host.node_id} is down: {host.ended}")
            else:
                peer, applied = core.peer, core.machine.applied_index
                words.append(
                    f"{host.node_id} {peer.role.value} of {peer.leader_id} in {peer.epoch}, has {peer.last_index}, synced "
                    f"{peer.synced_index}, committed {peer.committed_index}, applied {applied}"
                )
        for client in self.clients:
            if not client.is_open or client.is_waiting:
                words.append(f"client {client.number}: {client}")
        return "; ".join(words)

    def _is_agreed(self) -> bool:
        leader = self.leader()
        if leader is None or leader.core is None:
            return False
        end = leader.core.peer.last_index
        return not leader.core.peer.membership.is_joint and all(
            host.core is not None
            and host.core.footing.is_sound
            and host.core.peer.leader_id == leader.node_id
            and host.core.peer.last_index == host.core.peer.synced_index == host.core.machine.applied_index == end
            for host in self._members()
        )

    def _members(self) -> list[Host]:
        """The nodes that belong to the ensemble, as its leader has it."""
        leader = self.leader()
        ids = () if leader is None or leader.core is None else leader.core.peer.membership.ids
        return [host for node_id, host in self.hosts.items() if node_id in ids]

    def _is_answered(self) -> bool:
        return all(client.is_open and not client.is_waiting for client in self.clients)

    def _is_told(self) -> bool:
        """W5: who is connected has heard every event, and answers show the latest zxid."""
        return all(client.is_open and client.watching.due(self.judge.last_zxid) is None for client in self.clients)

    def _compare_trees(self) -> None:
        """At the end each node answers for every path what the model has (C3, C14)."""
        zxid = self.judge.last_zxid
        for host in self._members():
            assert host.core is not None
            self.judge.on_start(host.node_id, host.core.machine)
            arena = next(iter(host.workers.values())).arena
            for path in sorted(self.judge.model.znodes):
                for op in (EXISTS, GET_DATA, GET_CHILDREN2):
                    err, at, body = answer(arena, op, path)
                    ensure(at == zxid, "C14", f"node {host.node_id} is at {at:#x} in the end, not {zxid:#x}")
                    found, expected = (err, sorted_names(op, body)), self.judge.read(op, path, zxid)
                    ensure(found == expected, "C14", f"node {host.node_id}: {path!r} is {found}, in the model {expected}")
            count = host.core.machine.counts["znodes"]
            ensure(count == len(self.judge.model.znodes), "C14", f"node {host.node_id} has {count} znodes")

    # --- what the nodes and clients ask of the world

    def count(self, kind: str) -> None:
        """Something has happened that the swarm is for."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def leader(self) -> Host | None:
        """The node that leads the highest epoch, if one does."""
        best, best_epoch = None, -1
        for host in self.hosts.values():
            if host.core is not None and host.core.is_leader and host.core.peer.epoch > best_epoch:
                best, best_epoch = host, host.core.peer.epoch
        return best

    def any_host(self) -> Host:
        """Where a client tries next."""
        hosts = self.hosts
        return hosts[self.client_chance.randrange(1, len(hosts) + 1)]

    def reaches(self, host: Host) -> bool:
        """Whether a client's connection gets there."""
        return self._unreachable.get(host.node_id, 0) <= self.heap.now_us

    def cut_clients(self, host: Host, time_us: int) -> None:
        """Clients lose their connections to a node, which does not know it yet, and do not reach it."""
        self._unreachable[host.node_id] = self.heap.now_us + time_us
        for client in self.clients:
            if client.host is host:
                client.break_off()

    def client_delay_us(self) -> int:
        """Of bytes between a client and its server."""
        return int(self._delay_chance.random() * self.draw.client_delay_us)

    def half_open_us(self) -> int:
        """How long a server does not know that a client is gone."""
        return int(self._delay_chance.random() ** 4 * 3_000_000)

    def disk_time_us(self) -> int:
        """Of one step of a log thread."""
        time_us = int(self.draw.sync_us * (0.5 + self.disk_chance.random()))
        if self.draw.slow_sync and self.disk_chance.random() < self.draw.slow_sync:
            self.count("slow disk")
            time_us += self.disk_chance.randrange(10_000, 400_000)
        return time_us

    def _deliver(self, sender: int, receiver: int, envelope: Envelope) -> None:
        self.hosts[receiver].receive(sender, envelope)

    # --- what the nodes tell

    def node_down(self, host: Host) -> None:
        """A node is no longer there: others may see their links close; it comes back later."""
        for other in self.hosts.values():
            if other is not host and self.fault_chance.random() < self.draw.notice:
                self.heap.after(self.fault_chance.randrange(50, 2_000), other.link_closed, host.node_id)
        self.heap.after(100 if self.nemesis.is_over else self.nemesis.outage_us(), host.start)

    def refuses(self, host: Host, why: Exception) -> None:
        """A node does not start with what its disk holds: its operator gives it a new directory, if that is within the promise."""
        self.count(f"refuses: {type(why).__name__}")
        ensure(host.node_id in self.lossy, "C15", f"node {host.node_id} refuses to start, and nothing was lost: {why}")
        host.wipe()
        self.heap.after(1_000, host.start)

    def starts(self, host: Host) -> None:
        """A node is up again with what its disk had."""
        assert host.core is not None
        if host.core.machine.applied_index:
            self.count("snapshot loaded")
            self.judge.on_start(host.node_id, host.core.machine)

    def leads(self, host: Host, epoch: int) -> None:
        """A node has won an epoch, and opens it."""
        first = self._leaders.setdefault(epoch, host.node_id)
        self.trace.line(f"{host.node_id} leads {epoch}")
        self.count("leader")
        ensure(first == host.node_id, "C1", f"nodes {first} and {host.node_id} both lead epoch {epoch}")
        self.nemesis.new_leader(host)

    def applied(self, host: Host, batch: Range, machine: Machine) -> None:
        """A node has applied a block."""
        counter = self.judge.last_zxid & 0xFFFFFFFF
        if self.judge.on_applied(host.node_id, batch.payload, machine):
            if batch.first_zxid & 0xFFFFFFFF == 0 and counter + EPOCH_NEARLY_FULL > self.draw.peer_limits.counter_max:
                self.count("epoch full")
            self.trace.line(
                f"{host.node_id} applies {batch.first_index}..{batch.last_index} {batch.first_zxid:#x} {machine.digest:032x}"
            )
            self._check_durable(host, batch)
            if self.judge.expired:
                self._check_expiries()

    def _check_durable(self, host: Host, batch: Range) -> None:
        """What is committed is on the disks of a quorum (Z2)."""
        if self.draw.reconfig:
            return  # whose disks count changes with the log
        voters = self.draw.voters
        holders = [
            other.node_id
            for other in self.hosts.values()
            if other.node_id <= voters and other.last_log is not None and other.last_log.epoch_at(batch.last_index) == batch.epoch
        ]
        what = f"node {host.node_id} applies {batch.last_index} of {batch.epoch}, which only the disks of {holders} hold"
        # Who has lost its disk since it acknowledged counts for nothing until it holds all of it again.
        ensure(2 * len({*holders, *self.lossy}) > voters, "Z2", what)

    def _check_expiries(self) -> None:
        """E2: a session expires only when nothing was heard of its client for its timeout, if nothing disturbed its node's word.

        What a worker answers while the news of the end is still on its way to it counts for nothing."""
        now_us = self.heap.now_us
        for session_id in self.judge.expired:
            client = self.sessions.get(session_id)
            if client is None or client.session_id != session_id or not self.draw.is_calm:
                continue
            timeout_us = client.timeout_ms * 1000
            if now_us - self.nemesis.disturbed_us > timeout_us + 2 * limits.SESSION_STEP_MS_MAX * 1000 + 2_000_000:
                silent_us = now_us - max((at for at in client.alive_us if at < now_us - REPORT_US), default=0)
                what = f"session {session_id:#x} of {timeout_us} us expires {silent_us} us after its client was last heard"
                ensure(silent_us * RATE_US >= timeout_us * 1000, "C10", what)
                self.count("expiry checked")
        self.judge.expired.clear()

    def after_turn(self, host: Host) -> None:
        """A node's turn is over."""
        assert host.core is not None
        peer = host.core.peer
        known = self._epochs.get(host.node_id, 0)
        is_kept = peer.epoch >= known or host.node_id in self.lossy
        ensure(is_kept, "Z1", f"node {host.node_id} falls from epoch {known} to {peer.epoch}")
        self._epochs[host.node_id] = peer.epoch
        if host.node_id in self.lossy and host.core.footing.is_sound:
            self.lossy.discard(host.node_id)
            self.count("made good")
        is_order = peer.applied_index <= peer.committed_index <= peer.last_index
        ensure(is_order, "Z4", f"node {host.node_id}: {peer.applied_index}, {peer.committed_index}, {peer.last_index}")


__all__ = ["EVENTS", "Simulation", "SimulationFailed"]
