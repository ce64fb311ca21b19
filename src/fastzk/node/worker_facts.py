"""What a worker can tell of its node and of its own connections, for the four-letter words and for other workers that ask.

Rule: it only looks.  It is made of what the process has anyway: the arena, the page of counters, the Server's own lists."""

from __future__ import annotations

import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from fastzk._core.arena import Arena
from fastzk._core.serve import Server
from fastzk.node import words
from fastzk.node.stats import StatsPage
from fastzk.node.upkeep import config_text
from fastzk.node.words import NodeFacts
from fastzk.node.workers import MODES

CONNECTION_NEW = 1


class WorkerFacts:
    """The facts of one worker.  `role` gives the node's role, as the engine has told last."""

    def __init__(
        self,
        server: Server,
        arena: Arena,
        stats: StatsPage,
        *,
        data_dir: str,
        conf: list[tuple[str, object]],
        voter_count: int,
        role: Callable[[], int],
        is_read_only: Callable[[], bool],
    ) -> None:
        self._server = server
        self._arena = arena
        self._stats = stats
        self._data_dir = data_dir
        self._conf = conf
        self._voter_count = voter_count
        self._role = role
        self._is_read_only = is_read_only
        self._started_ms = _monotonic_ms()

    def facts(self, word: bytes) -> NodeFacts:
        """What the node is like now; the sizes of its files only for a word that tells them."""
        arena = self._arena.counters()
        is_read_only = self._is_read_only()
        membership = config_text(self._arena) if word in (b"conf", b"mntr") else ""
        has_sizes = bool(self._data_dir) and word in (b"conf", b"dirs")
        return NodeFacts(
            is_serving=self._server.is_serving or is_read_only,
            is_read_only=is_read_only,
            mode="read-only" if is_read_only else MODES.get(self._role(), "looking"),
            zxid=arena["applied_zxid"],
            digest=arena["digest"],
            uptime_ms=_monotonic_ms() - self._started_ms,
            now_ms=_monotonic_ms(),
            open_descriptors=len(os.listdir("/proc/self/fd")),
            descriptors_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            voter_count=membership.count(":participant") or self._voter_count,
            arena=arena,
            total=self._stats.total(),
            engine=self._stats.engine(),
            gate=self._stats.gate(),
            environment=environment(),
            conf=self._conf,
            membership=membership,
            data_bytes=_bytes_below(Path(self._data_dir)) if has_sizes else 0,
            log_bytes=_bytes_below(Path(self._data_dir) / "log") if has_sizes else 0,
        )

    def do(self, what: str) -> Any:
        """Tells, or does, what another worker or a word asks for, by the names of words.py; None for anything else."""
        match what:
            case words.CONNECTIONS:
                return self._connections()
            case words.WATCHES:
                return self._watches()
            case words.RESET:
                self._server.reset_counters()
            case words.RESET_CONNECTIONS:
                self._server.reset_connections()
        return None

    def _connections(self) -> list[dict[str, Any]]:
        now_ms, wall_ms = _monotonic_ms(), time.time_ns() // 1_000_000
        zxid = self._server.handled_zxid
        connections = []
        for each in self._server.describe():
            if not each["address"]:
                continue  # it speaks ZeroMQ, which does not tell
            connections.append(
                {
                    "address": each["address"],
                    "port": each["port"],
                    "is_paused": self._server.is_paused(each["slot"]),
                    "queued": each["outstanding"],
                    "received": each["received"],
                    "sent": each["sent"],
                    "session_id": 0 if each["state"] == CONNECTION_NEW else each["session_id"],
                    "timeout_ms": each["timeout_ms"],
                    "established_ms": wall_ms - (now_ms - each["since_ms"]),
                    "last_op": each["last_op"],
                    "last_xid": each["last_xid"],
                    "zxid": zxid,
                    "heard_ms": each["heard_ms"],
                    "ends_ms": wall_ms - (now_ms - each["heard_ms"]) + (each["timeout_ms"] or 10_000),
                }
            )
        return connections

    def _watches(self) -> list[dict[str, Any]]:
        """The data watches of each session, as ZooKeeper's wchc counts them."""
        of_slot: dict[int, list[str]] = {}
        first = 1
        while first:
            first, pairs = self._server.watches_listed(first)
            for path, slot in pairs:
                of_slot.setdefault(slot, []).append(path.decode(errors="replace"))
        return [
            {"session_id": each["session_id"], "paths": sorted(of_slot[each["slot"]])}
            for each in self._server.describe()
            if each["slot"] in of_slot
        ]


def environment() -> dict[str, str]:
    """What `envi` tells."""
    return {
        "host.name": socket.gethostname(),
        "python.version": platform.python_version(),
        "zmq.version": zmq.zmq_version(),
        "os.name": platform.system(),
        "os.arch": platform.machine(),
        "os.version": platform.release(),
        "user.dir": os.getcwd(),
        "python.path": sys.executable,
    }


def _bytes_below(directory: Path) -> int:
    """The sizes of all files in a directory and below it."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                pass  # the log's files come and go
    return total


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
