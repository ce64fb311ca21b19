"""What an engine's decisions need of the world around them: each port a small Protocol with a real and a simulated side.

    port        real                                  simulated
    Disk        storage/disk.py RealDisk              testing/disk.py SimulatedDisk
    Nodes       node/engine.py, over transport/links  a simulated network
    Workers     node/workers.py WorkerLinks           compiled workers in the same process
    Tells       node/engine_tells.py EngineTells      a checker, or nobody

Rule: time and randomness come in too, so that a run is fixed by what comes in (node/core.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from fastzk.config import Address
from fastzk.limits import ELECTION_TICKS
from fastzk.node.snapshots import SnapshotPace, SnapshotRun
from fastzk.node.workers import NodeStatus
from fastzk.raft.settings import Limits
from fastzk.storage.disk import Disk
from fastzk.storage.log import AppenderLike, SegmentLog
from fastzk.storage.snapshot_thread import SnapshotThread
from fastzk.storage.snapshots import SnapshotJob
from fastzk.wire.ensemble import EnsembleMessage


class Nodes(Protocol):
    """The other nodes of the ensemble."""

    def send(self, node_id: int, message: EnsembleMessage) -> bool:
        """Sends to one; False when the message was dropped because it cannot leave now."""

    def send_all(self, message: EnsembleMessage) -> None:
        """Sends to every other node; it does not matter whether it arrives."""

    def heard(self) -> list[int]:
        """Those that have said something of late."""

    def set_addresses(self, addresses: Mapping[int, Address]) -> None:
        """These are the nodes to talk to from now on."""

    def set_history(self, history: int) -> None:
        """Nodes of another history than this are not to be listened to."""


class Workers(Protocol):
    """This node's workers; node/workers.py says what each message means."""

    @property
    def numbers(self) -> Sequence[int]:
        """Those that are attached now."""

    def welcome(self, number: int, zxid: int) -> None: ...
    def tell_status(self, number: int, status: NodeStatus, round_: int) -> None: ...
    def commit(self, number: int, items: bytes, zxid: int) -> None: ...


class Tells(Protocol):
    """Who counts what an engine does."""

    def began_to_lead(self, now_ms: int) -> None: ...
    def proposed(self, size: int) -> None: ...


def real_appender(log: SegmentLog) -> AppenderLike | None:
    """None: the LogWriter makes the real one."""
    return None


def real_snapshot_run(job: SnapshotJob) -> SnapshotThread:
    """A thread that does the job."""
    thread = SnapshotThread(job)
    thread.start()
    return thread


@dataclass(frozen=True, slots=True)
class World:
    """The ports of one engine."""

    disk: Disk
    nodes: Nodes
    workers: Workers
    tells: Tells
    random: Random  # seeded from the system's randomness, or from a simulation's number
    uid: int  # of the data directory
    members: bytes  # what DATA/members holds
    make_appender: Callable[[SegmentLog], AppenderLike | None] = real_appender
    start_snapshot: Callable[[SnapshotJob], SnapshotRun] = real_snapshot_run
    pace: SnapshotPace = field(default_factory=SnapshotPace)
    # Of the consensus; a simulation makes them absurdly small.
    peer_limits: Limits = field(default_factory=Limits)
    election_ticks: int = ELECTION_TICKS
