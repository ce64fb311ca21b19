"""What the supervisor hands to the engine."""

from __future__ import annotations

from dataclasses import dataclass

from fastzk.config import NodeConfig


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """What the supervisor hands to the engine: file descriptors are inherited."""

    config: NodeConfig
    arena_fd: int
    ensemble_fd: int  # listening; -1 for a standalone node
    worker_address: str  # ipc://...
    ready_fd: int  # one line is written to it when the node serves
    uid: int  # of the data directory
    members: bytes  # what DATA/members holds
    stats_fd: int
    run_fd: int  # DATA/run, where the node's processes ask each other
