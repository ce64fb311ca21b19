"""The supervisor: opens what a node's processes share, starts them, and watches over them.

    supervisor ─┬ engine     ends → the node ends, or, if it asked for it, starts itself anew (node/restart.py)
                ├ worker ×N  ends → is started anew, with a number of its own
                └ gate       (with --zk-tls) ends → is started anew

Rules: it decides nothing about data, has no threads (it forks), and opens every shared thing before the first fork: the data
directory's lock, listening sockets, the arena.  Children ask the kernel to die with it, so `kill -9` of it kills the node."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType

from fastzk import limits
from fastzk.config import Address, ConfigError, NodeConfig
from fastzk.node import process
from fastzk.node.divergence import Diverged
from fastzk.node.dynamic import config_lines
from fastzk.node.engine import Engine
from fastzk.node.restart import RESTARTS_MAX, RESTARTS_WITHIN_S, STATUS_RESTART, Restarts, StartAnew
from fastzk.node.roster import NOWHERE, first_members
from fastzk.node.setup import EngineSetup
from fastzk.node.stats import STATS_BYTES
from fastzk.node.worker import WorkerConfig, run_worker
from fastzk.state.members import Members
from fastzk.storage.identity import DataDirectory, IdentityError
from fastzk.storage.log import LogDamaged, LogFailed
from fastzk.storage.recovery import RecoveryRefused
from fastzk.storage.shm import create_shared, reopen_read_only
from fastzk.storage.vote import VoteDamaged
from fastzk.transport.listen import listen, listen_group, listen_unix

# A worker that ends sooner than this after its start is started anew only after the back-off.
STEADY_S = 5.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 2.0
# How long children get to end by themselves before they are killed.
WORKER_END_S, ENGINE_END_S = 5.0, 10.0
# How long an engine may take to give the lead to another node; it gives up by itself before that.
HANDOVER_S = 3.0

_WHY_IT_ENDS = "the node ends, since what it cannot store it must not promise"

logger = logging.getLogger("fastzk.supervisor")


@dataclass(slots=True)
class _Place:
    """A child that is started anew when it ends: one of the N workers, or the gate."""

    name: str
    place: int  # of a worker; -1 is the gate's
    pid: int = 0
    started_s: float = 0.0
    backoff_s: float = 0.0
    due_s: float = 0.0  # when to start it, while pid is 0


class Supervisor:
    """One node's processes.  Raises ConfigError or IdentityError when it cannot begin."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._pid = os.getpid()
        members = first_members(config).encode()
        self._directory = DataDirectory.claim(str(config.data_dir), config.node_id, config.voters, members)
        for note in self._directory.notes:
            logger.warning("%s", note)
        self._check_company()
        self._listeners: dict[str, socket.socket] = {}
        self._natives: list[socket.socket] = []  # one for each place of a worker
        self._gates: list[socket.socket] = []  # the same, for what the TLS gate hands on
        try:
            self._listen("zk", config.zk, "--zk")
            self._natives = listen_group(config.native, "--native", config.workers)
            if config.peers:
                self._listen("ensemble", config.peers[config.node_id], f"--peers: node {config.node_id}:")
            if config.tls:
                from fastzk.node.tls_context import CertificateFiles  # with ssl: only who uses TLS waits for it

                CertificateFiles(config.tls)  # what cannot be used is found out now
                self._listen("tls", config.tls.address, "--zk-tls")
        except ConfigError:
            self._close_listeners()
            self._directory.close()
            raise
        self._arena_fd = create_shared("fastzk-arena", limits.ARENA_BYTES)
        self._arena_fd_read_only = reopen_read_only(self._arena_fd)
        self._stats_fd = create_shared("fastzk-stats", STATS_BYTES)
        self._worker_address = self._make_run_directory()
        self._gate_paths = [f"/proc/self/fd/{self._run_fd}/gate-{place + 1}" for place in range(config.workers)]
        if config.tls:
            self._gates = [listen_unix(path) for path in self._gate_paths]
        self._ready_fd, self._engine_ready_fd = os.pipe()
        self._cores = process.share_cores(config.cpus, 1 + config.workers, config.is_pinned)
        self._engine_pid = 0
        self._workers = [_Place(f"worker{place + 1}", place) for place in range(config.workers)]
        if config.tls:
            self._workers.append(_Place("gate", -1))
        self._last_worker_number = 0
        self._is_ending = False
        self._status: int | None = None
        self._restarts = Restarts(os.environ)
        self._restart_s: float | None = None  # when to start anew, once the engine has asked for it

    def _check_company(self) -> None:
        """A member does not begin alone, nor one that stood alone as a member.  Raises IdentityError."""
        config, known = self._config, Members.decode(self._directory.members).addresses
        others = ", ".join(str(each) for each in sorted({*known, *config.peers} - {config.node_id}))
        if len(known) > 1 and not config.peers:
            advice = "give it --peers with its own address (the others are known), or another --data-dir"
            reason = f"belongs to an ensemble with nodes {others}, and was started alone; {advice}"
        elif list(known.values()) == [NOWHERE] and len(config.peers) > 1:
            advice = "to join them give it an empty --data-dir; to let them join it, --peers with its own address and reconfig"
            reason = f"node {config.node_id} stood alone here, and was started with nodes {others}; {advice}"
        else:
            return
        self._directory.close()
        raise IdentityError(f"{config.data_dir}: {reason}")

    def run(self) -> int:
        """Runs until SIGTERM, SIGINT or the engine's end.  Gives the exit status.

        Does not return when the engine asked to be started anew: then this process begins again."""
        process.raise_descriptor_limit()
        self._say_cores()
        with selectors.DefaultSelector() as selector:
            wakeup, wakeup_write = socket.socketpair()
            wakeup.setblocking(False)
            wakeup_write.setblocking(False)
            signal.set_wakeup_fd(wakeup_write.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            selector.register(wakeup, selectors.EVENT_READ)
            selector.register(self._ready_fd, selectors.EVENT_READ)
            self._engine_pid = self._fork("engine", self._cores[0], self._run_engine)
            while self._status is None:
                self._start_workers()
                for key, _ in selector.select(self._seconds_to_wait()):
                    if key.fd == self._ready_fd:
                        self._say_serving(selector)
                    else:
                        wakeup.recv(4096)
                self._reap()
                if self._is_ending:
                    self._end_children()
                elif self._restart_s is not None and time.monotonic() >= self._restart_s:
                    self._status = STATUS_RESTART
            signal.set_wakeup_fd(-1)
            wakeup.close()
            wakeup_write.close()
        self._close_listeners()
        self._directory.close()
        if self._status == STATUS_RESTART:
            self._restarts.execute()
        return self._status

    # --- opening what is shared

    def _listen(self, name: str, address: Address, option: str) -> None:
        self._listeners[name] = listen(address, option)

    def _close_listeners(self) -> None:
        for listener in (*self._listeners.values(), *self._natives, *self._gates):
            listener.close()

    def _make_run_directory(self) -> str:
        """DATA/run, for the socket between engine and workers.

        Its address goes through a descriptor that children inherit: the path of a Unix socket is limited to 107 bytes, a data
        directory's is not."""
        path = self._config.data_dir / "run"
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            self._run_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            # What a node that was killed has left; the directory is locked, so nobody uses them.
            for left in path.iterdir():
                left.unlink()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}; it must be a directory of this node's own") from error
        return f"ipc:///proc/self/fd/{self._run_fd}/engine"

    # --- children

    def _fork(self, name: str, cores: list[int], body: Callable[[], None]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            process.die_with_parent(self._pid)
            process.set_name(f"fzk{self._config.node_id}-{name}")
            process.pin(cores)
            body()
            status = 0
        except (LogDamaged, VoteDamaged, RecoveryRefused, Diverged, IdentityError, ConfigError) as error:
            print(f"fastzk-node: {error}", file=sys.stderr)
            status = 2
        except PermissionError as error:
            print(f"fastzk-node: {error.filename}: cannot be read or written by this user", file=sys.stderr)
            status = 2
        except StartAnew as asked:
            logger.warning("the engine is to be started anew: %s", asked)
            status = STATUS_RESTART
        except LogFailed as error:
            print(f"fastzk-node: {error}; {_WHY_IT_ENDS}", file=sys.stderr)
        except OSError as error:
            if error.filename is None:
                traceback.print_exc()
            else:
                print(f"fastzk-node: {error.filename}: {error.strerror}; {_WHY_IT_ENDS}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _run_engine(self) -> None:
        ensemble = self._listeners.get("ensemble")
        setup = EngineSetup(
            config=self._config,
            arena_fd=self._arena_fd,
            ensemble_fd=ensemble.fileno() if ensemble else -1,
            worker_address=self._worker_address,
            ready_fd=self._engine_ready_fd,
            uid=self._directory.uid,
            members=self._directory.members,
            stats_fd=self._stats_fd,
            run_fd=self._run_fd,
        )
        Engine(setup).run()

    def _run_worker(self, place: int, number: int) -> None:
        os.close(self._arena_fd)
        config = self._config
        run_worker(
            WorkerConfig(
                node_id=config.node_id,
                worker=number,
                tcp_fd=self._listeners["zk"].fileno(),
                native_fd=self._natives[place].fileno(),
                native_address=f"tcp://{config.native}",
                engine_address=self._worker_address,
                arena_fd=self._arena_fd_read_only,
                arena_size=limits.ARENA_BYTES,
                stats_fd=self._stats_fd,
                stats_slot=place,
                tick_time_ms=config.tick_time_ms,
                timeout_min_ms=config.session_timeout_ms_min,
                stale_ms_max=config.leaderless_ms_max,
                timeout_max_ms=config.session_timeout_ms_max,
                places=config.workers,
                run_fd=self._run_fd,
                data_dir=str(config.data_dir.resolve()),
                words=sorted(config.words),
                conf=config_lines(config),
                voter_count=len(config.voters),
                gate_fd=self._gates[place].fileno() if self._gates else -1,
                connections_per_address_max=config.connections_per_address_max,
                has_local_sessions=config.has_local_sessions,
                upgrades_sessions=config.upgrades_sessions,
                super_digest=config.super_digest,
                sasl_users=config.sasl_users,
            )
        )

    def _run_gate(self) -> None:
        from fastzk.node.tls_gate import GateConfig, run_gate  # with asyncio

        os.close(self._arena_fd)
        tls = self._config.tls
        assert tls is not None, "there is a gate only with --zk-tls"
        run_gate(GateConfig(tls, self._listeners["tls"].fileno(), self._gate_paths, self._stats_fd))

    def _start_workers(self) -> None:
        now_s = time.monotonic()
        for slot in self._workers:
            if slot.pid or self._is_ending or self._restart_s is not None or now_s < slot.due_s:
                continue
            slot.started_s = now_s
            if slot.place < 0:
                slot.pid = self._fork(slot.name, list(self._config.cpus), self._run_gate)
                continue
            self._last_worker_number += 1
            body = partial(self._run_worker, slot.place, self._last_worker_number)
            slot.pid = self._fork(slot.name, self._cores[1 + slot.place], body)

    def _reap(self) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            status = os.waitstatus_to_exitcode(wait_status)
            if pid == self._engine_pid:
                self._engine_ended(status)
                return
            for slot in self._workers:
                if slot.pid == pid:
                    self._worker_ended(slot, status)

    def _engine_ended(self, status: int) -> None:
        self._engine_pid = 0
        self._kill_workers(signal.SIGKILL, WORKER_END_S)
        if self._is_ending and status == 0:
            self._status = 0
            return
        if status == STATUS_RESTART:
            self._restart_later()
            return
        self._status = status if status == 2 else 1
        logger.error("the engine %s; the node ends", _describe(status))

    def _restart_later(self) -> None:
        pause_s = self._restarts.ask(time.monotonic())
        if pause_s is None:
            what = "asked to be started anew more than %d times within %.0f s; the node ends"
            logger.error(f"the engine {what}", RESTARTS_MAX, RESTARTS_WITHIN_S)
            self._status = 1
            return
        logger.info("node %d starts itself anew in %.1f s", self._config.node_id, pause_s)
        self._restart_s = time.monotonic() + pause_s

    def _worker_ended(self, slot: _Place, status: int) -> None:
        slot.pid = 0
        if self._is_ending:
            return
        now_s = time.monotonic()
        if now_s - slot.started_s > STEADY_S:
            slot.backoff_s = 0.0
        slot.due_s = now_s + slot.backoff_s
        logger.warning("%s %s; it is started anew in %.2f s", slot.name, _describe(status), slot.backoff_s)
        slot.backoff_s = min(max(BACKOFF_S_MIN, 2 * slot.backoff_s), BACKOFF_S_MAX)

    def _end_children(self) -> None:
        """First another node takes the lead, while clients are still served; then the workers, so that clients are let go of;
        then the engine."""
        self._hand_over()
        self._kill_workers(signal.SIGTERM, WORKER_END_S)
        self._kill_workers(signal.SIGKILL, WORKER_END_S)
        if self._engine_pid:
            os.kill(self._engine_pid, signal.SIGTERM)
            status = _wait_for(self._engine_pid, ENGINE_END_S)
            if status is None:
                logger.error("the engine does not end after %.0f s and is killed", ENGINE_END_S)
                os.kill(self._engine_pid, signal.SIGKILL)
                _wait_for(self._engine_pid, ENGINE_END_S)
                status = 1
            self._engine_pid = 0
            self._status = 0 if status == 0 else 1
        elif self._restart_s is not None:
            self._status = 0

    def _hand_over(self) -> None:
        """Returns when the engine leads no more, or when that is not to be waited for."""
        if not self._engine_pid:
            return
        os.kill(self._engine_pid, signal.SIGTERM)
        deadline_s = time.monotonic() + HANDOVER_S
        pidfd = os.pidfd_open(self._engine_pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(pidfd, selectors.EVENT_READ)
                selector.register(self._ready_fd, selectors.EVENT_READ)
                while (left_s := deadline_s - time.monotonic()) > 0:
                    for key, _ in selector.select(left_s):
                        # It may say first that it serves.
                        if key.fd == pidfd or b"handed over" in os.read(self._ready_fd, 4096):
                            return
        finally:
            os.close(pidfd)
        logger.warning("the engine does not say within %.0f s that it leads no more; the node ends all the same", HANDOVER_S)

    def _kill_workers(self, number: signal.Signals, seconds: float) -> None:
        running = [slot for slot in self._workers if slot.pid]
        for slot in running:
            os.kill(slot.pid, number)
        deadline_s = time.monotonic() + seconds
        for slot in running:
            if _wait_for(slot.pid, max(0.0, deadline_s - time.monotonic())) is not None:
                slot.pid = 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._is_ending = True

    def _seconds_to_wait(self) -> float | None:
        waiting = [slot.due_s for slot in self._workers if not slot.pid] if self._restart_s is None else [self._restart_s]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    # --- what people are told

    def _say_cores(self) -> None:
        config = self._config
        if not config.is_pinned or len(config.cpus) < 1 + config.workers:
            logger.info(
                "engine and %d worker(s) share cores %s: %s",
                config.workers,
                ",".join(map(str, config.cpus)),
                "there are fewer cores than processes" if config.is_pinned else "the kernel places them",
            )
        else:
            cores = ", ".join(f"worker {place + 1} on {self._cores[1 + place][0]}" for place in range(config.workers))
            logger.info("engine on core %d, %s", self._cores[0][0], cores)

    def _say_serving(self, selector: selectors.BaseSelector) -> None:
        line = os.read(self._ready_fd, 4096).decode().strip()
        selector.unregister(self._ready_fd)
        config = self._config
        tls = f", inside TLS on {config.tls.address}" if config.tls else ""
        where = f"ZooKeeper's protocol on {config.zk}{tls} and ZeroMQ on {config.native}"
        print(f"fastzk-node {config.node_id}: serving {where} ({line})", flush=True)


def _describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _wait_for(pid: int, seconds: float) -> int | None:
    """The exit code of a child that ends within `seconds`, else None."""
    pidfd = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(pidfd)
