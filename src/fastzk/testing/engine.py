"""An engine of one node without a log: real writes are sealed and applied by the real machine, but nothing is stored.  It
lets a test drive real workers, and do to them what an engine seldom does: fall silent, change the round, leave a hole.

The engine runs in a thread of the test; workers are processes of their own, as in a node."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import zmq

from fastzk import limits
from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import block_checksum, make_entry, seal
from fastzk._core.tree import format_tree
from fastzk.config import Address
from fastzk.node.stats import STATS_BYTES, StatsPage
from fastzk.node.worker import WorkerConfig, run_worker
from fastzk.node.workers import READ, STANDALONE, TOUCH, WRITES, NodeStatus, WorkerLinks
from fastzk.storage.shm import create_shared, map_shared, reopen_read_only
from fastzk.transport.listen import listen, listen_group

ARENA_BYTES = 1 << 30
_WORKER = "import sys, json; from fastzk.testing.engine import worker_main; worker_main(json.loads(sys.argv[1]))"


class TinyEngine:
    """A context manager: listening sockets, an arena, and the thread that answers workers.

    What a test does to it goes through do(), which runs a function in the engine's thread and waits for it."""

    def __init__(self, directory: Path, *, places: int = 1, tick_time_ms: int = 2000) -> None:
        self.tick_time_ms = tick_time_ms
        self.tcp = listen(Address("127.0.0.1", 0), "test")
        self.natives = listen_group(Address("127.0.0.1", 0), "test", places)
        self.tcp_address: tuple[str, int] = self.tcp.getsockname()
        self.native_address = "tcp://{}:{}".format(*self.natives[0].getsockname())
        self.address = f"ipc://{directory}/engine"
        self.arena_fd = create_shared("test-arena", ARENA_BYTES)
        self.stats_fd = create_shared("test-stats", STATS_BYTES)
        self.stats = StatsPage(self.stats_fd)
        self._read_only_fd = reopen_read_only(self.arena_fd)
        arena = Arena.create(map_shared(self.arena_fd, ARENA_BYTES, is_writable=True))
        format_tree(arena)
        self.machine = Machine(arena, 1)
        self.round = 1
        self.status = NodeStatus(1, 1, STANDALONE, True)
        self.is_applying = True  # False: writes are dropped, as by a node without a leader
        self.is_telling = True  # False: what was done is told to no worker
        self.before_read: Callable[[], None] = lambda: None  # runs before a read that was handed over is answered
        self.touched: set[int] = set()
        self.heard: list[tuple[int, int]] = []  # (kind, count) of every message of workers
        self._previous = 0
        self._told_zxid = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.links = WorkerLinks(self._context, self.address, int.from_bytes(os.urandom(8), "little"))
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="tiny-engine")
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> TinyEngine:
        self.apply([make_entry(0, b"")], 1)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self.do(self._end)
        self._thread.join()
        self.links.close()
        self._context.term()
        for fd in (self.arena_fd, self._read_only_fd, self.stats_fd, self._wake_fd):
            os.close(fd)
        self.tcp.close()
        for native in self.natives:
            native.close()

    def start_worker(self, number: int = 1, place: int = 0) -> subprocess.Popen[bytes]:
        """A worker process, at one of the places; number: never used before."""
        config = WorkerConfig(
            node_id=1,
            worker=number,
            tcp_fd=self.tcp.fileno(),
            native_fd=self.natives[place].fileno(),
            native_address=self.native_address,
            engine_address=self.address,
            arena_fd=self._read_only_fd,
            arena_size=ARENA_BYTES,
            stats_fd=self.stats_fd,
            stats_slot=place,
            tick_time_ms=self.tick_time_ms,
            timeout_min_ms=2 * self.tick_time_ms,
            stale_ms_max=limits.LEADERLESS_MS_MIN,
            timeout_max_ms=20 * self.tick_time_ms,
        )
        fds = (config.tcp_fd, config.native_fd, config.arena_fd, config.stats_fd)
        worker = subprocess.Popen([sys.executable, "-c", _WORKER, _to_json(config)], pass_fds=fds)
        self._workers.append(worker)
        return worker

    def do(self, task: Callable[[], None]) -> None:
        """Runs a function in the engine's thread and waits until it has run."""
        done = threading.Event()

        def run() -> None:
            try:
                task()
            finally:
                done.set()

        self._tasks.put(run)
        os.eventfd_write(self._wake_fd, 1)
        done.wait()

    # --- in the engine's thread

    def say_status(self, status: NodeStatus, round_: int) -> None:
        """Tells all workers."""
        self.status, self.round = status, round_
        for number in self.links.numbers:
            self.links.tell_status(number, status, round_)

    def apply(self, entries: list[bytes], count: int) -> None:
        """Makes a block and applies it."""
        machine = self.machine
        block = seal(
            entries,
            count,
            first_index=machine.applied_index + 1,
            first_zxid=max(machine.applied_zxid + 1, 1 << 32),
            time_ms=1_700_000_000_000,
            previous=self._previous,
        )
        self._previous = block_checksum(block)
        machine.apply(block)

    def _end(self) -> None:
        self._is_ending = True

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self.links.router, zmq.POLLIN)
        poller.register(self._wake_fd, zmq.POLLIN)
        while not self._is_ending:
            poller.poll()
            self._turn()

    def _turn(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass
        while not self._tasks.empty():
            self._tasks.get()()
        for kind, _, count, round_, payload in self.links.receive():
            self.heard.append((kind, count))
            if kind == WRITES and round_ == self.round and self.is_applying:
                self.apply([bytes(payload)], count)
            elif kind == READ:
                self.before_read()
                self.machine.read(bytes(payload))
            elif kind == TOUCH:
                self.touched.update(array("Q", bytes(payload)))
        for number, is_here in self.links.take_changes():
            if is_here:
                self.machine.add_worker(number)
                self.links.welcome(number, self.machine.applied_zxid)
                self.links.tell_status(number, self.status, self.round)
            else:
                self.machine.remove_worker(number)
        self.machine.take_session_changes()
        if not self.is_telling:
            return
        zxid = self.machine.applied_zxid
        for number in self.links.numbers:
            items = self.machine.take_items(number)
            if items or zxid != self._told_zxid:  # a worker's reads at zxid wait until it is told of it
                self.links.commit(number, items, zxid)
        self._told_zxid = zxid


def worker_main(config: dict[str, int | str]) -> None:
    """Where a worker process of a test begins."""
    logging.basicConfig(level=logging.INFO, format="%(process)d %(message)s")
    run_worker(WorkerConfig(**config))  # type: ignore[arg-type]


def _to_json(config: WorkerConfig) -> str:
    return json.dumps(asdict(config))
