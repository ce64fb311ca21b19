"""Real nodes: `fastzk-node` processes on loopback, with real files, to be killed and started again at will.

Rules: nothing is simulated here, and nothing waits for time: every wait is for a condition and ends with an error that
shows what the nodes logged.  Whatever was started is gone when the `with` ends, its files too.

How it works: each node is a session (setsid) of its own, so all its processes can be found in /proc and killed,
whatever they did.  What a node is and how far it is come from its four-letter words; srvr's `Mode:` means it serves."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

Address = tuple[str, int]
T = TypeVar("T")

LOOPBACK = "127.0.0.1"
SERVE_S_MAX = 30.0  # from start, or from the loss of a leader, to serving; a loaded machine is slow
STOP_S_MAX = 15.0  # from SIGTERM to the end
POLL_S = 0.01
WORD_S_MAX = 5.0  # one four-letter word
LOG_TAIL_BYTES = 4000  # of each node, in an error's notes
PORT_MIN = 11_000  # with the start of the kernel's own range for outgoing connections as the upper end


def wait_for(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Asks until the answer is true, and gives it.  Raises TimeoutError, naming what was awaited."""
    ends = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(POLL_S)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has, below those that the kernel gives to outgoing connections."""
    below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, random.randrange(PORT_MIN, below)))
                ports.append(probe.getsockname()[1])
        return ports


def four_letter_word(address: Address, word: str) -> str:
    """The answer to one of ZooKeeper's four-letter words.  Raises OSError when the node is not there."""
    with socket.create_connection(address, timeout=WORD_S_MAX) as stream:
        stream.sendall(word.encode())
        parts = []
        while part := stream.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def monitored(address: Address) -> dict[str, str]:
    """What mntr says, by key; empty while the node is down or does not serve."""
    with contextlib.suppress(OSError):
        lines = four_letter_word(address, "mntr").splitlines()
        return dict(line.split("\t", 1) for line in lines if "\t" in line)
    return {}


def file_system_of(path: Path) -> str:
    """The type of the file system that holds a directory: ext4, tmpfs..."""
    found, best = "", -1
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind = line.split()[:3]
        if path.resolve().is_relative_to(mounted) and len(mounted) >= best:
            found, best = kind, len(mounted)
    return found


def processes_of(session: int) -> list[int]:
    """The live processes of a Unix session, its leader first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # pid (name) state parent group session; the name may hold anything
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def process_name(pid: int) -> str:
    """What a process calls itself; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def memory_bytes(pid: int) -> tuple[int, int]:
    """Resident memory, and the peak of the address space; zeros when the process is gone."""
    with contextlib.suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) << 10, int(lines["VmPeak"].split()[0]) << 10
    return 0, 0


def node_command() -> list[str]:
    """How fastzk-node is started: as installed, or from the sources."""
    installed = Path(sys.executable).parent / "fastzk-node"
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-c", "import sys; from fastzk.node.main import main; sys.exit(main())"]


class Node:
    """One fastzk-node: where it is, and the means to start it and to end it in every way."""

    def __init__(self, number: int, zk: Address, native: Address, peers: str, home: Path, options: Sequence[str]) -> None:
        self.number = number
        self.zk = zk
        self.native = native
        self.home = home
        self.data_dir = home / "data"
        self.log_path = home / "log"
        self.process: subprocess.Popen[bytes] | None = None
        # What stands before the command, and what its environment has besides ours.
        self.prefix: list[str] = []
        self.environment: dict[str, str] = {}
        self.command = [*node_command(), "--id", str(number), *(["--peers", peers] if peers else [])]
        self.command += ["--zk", f"{zk[0]}:{zk[1]}", "--native", f"{native[0]}:{native[1]}"]
        self.command += ["--data-dir", str(self.data_dir), *options]

    @property
    def zk_host(self) -> str:
        """host:port of ZooKeeper's protocol."""
        return f"{self.zk[0]}:{self.zk[1]}"

    @property
    def native_host(self) -> str:
        """host:port of the native protocol."""
        return f"{self.native[0]}:{self.native[1]}"

    @property
    def is_running(self) -> bool:
        """True while its supervisor lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts it; does not wait."""
        assert not self.is_running, f"node {self.number} runs already"
        self.home.mkdir(parents=True, exist_ok=True)
        command = [*self.prefix, *self.command]
        environment = os.environ | self.environment
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )

    def pids(self) -> list[int]:
        """Its live processes, the supervisor first while there is one."""
        return processes_of(self.process.pid) if self.process else []

    def engine_pid(self) -> int:
        """The process that decides.  Raises StopIteration when there is none."""
        return next(pid for pid in self.pids() if process_name(pid).endswith("-engine"))

    def worker_pids(self) -> list[int]:
        """The processes that serve clients."""
        return [pid for pid in self.pids() if "-worker" in process_name(pid)]

    def rss_bytes(self) -> int:
        """Resident memory of all its processes together; what they share counts for each."""
        return sum(memory_bytes(pid)[0] for pid in self.pids())

    def peak_bytes(self) -> int:
        """The largest address space that any of its processes ever had: what was asked for, touched or not."""
        return max(memory_bytes(pid)[1] for pid in self.pids())

    def kill9(self) -> None:
        """SIGKILL to every process of the node; returns when all are gone."""
        assert self.process is not None, f"node {self.number} was never started"
        pid = self.process.pid

        def is_gone() -> bool:
            for each in processes_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            return self.process is not None and self.process.poll() is not None and not processes_of(pid)

        wait_for(is_gone, STOP_S_MAX, f"the processes of node {self.number} to be gone")

    def kill_engine(self) -> None:
        """SIGKILL to the engine alone; the node must end by itself."""
        os.kill(self.engine_pid(), signal.SIGKILL)

    def kill_worker(self) -> None:
        """SIGKILL to one worker; the supervisor must start another."""
        os.kill(random.choice(self.worker_pids()), signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit status.  Raises TimeoutError when it does not end."""
        assert self.process is not None, f"node {self.number} was never started"
        self.process.terminate()
        return self.wait_end()

    def wait_end(self) -> int:
        """Waits until the node is gone with all its processes; returns the exit status."""
        process = self.process
        assert process is not None, f"node {self.number} was never started"
        what = f"node {self.number} to end, and all its processes"
        wait_for(lambda: process.poll() is not None and not processes_of(process.pid), STOP_S_MAX, what)
        return process.returncode

    def mode(self) -> str:
        """leader, follower, standalone; empty while it does not serve."""
        with contextlib.suppress(OSError):
            for line in four_letter_word(self.zk, "srvr").splitlines():
                if line.startswith("Mode: "):
                    return line.removeprefix("Mode: ").strip()
        return ""

    def log_tail(self) -> str:
        """The end of what it printed."""
        text = self.log_path.read_bytes()[-LOG_TAIL_BYTES:] if self.log_path.exists() else b""
        return f"---- node {self.number}: {' '.join(self.command)}\n{text.decode(errors='replace')}"


class Ensemble:
    """So many nodes, numbered from 1; a single one stands alone.  `with` starts them and waits until all serve."""

    def __init__(self, size: int, directory: Path, options: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # Pinned alike, all engines would share one core.
        options = ["--cpus", "any", *options] if size > 1 else options
        self.home = Path(tempfile.mkdtemp(prefix="ensemble-", dir=directory)).resolve()
        addresses = self._addresses(size)
        self.peers = addresses[2 * size :]
        listed = ",".join(f"{n}={host}:{port}" for n, (host, port) in enumerate(self.peers, 1)) if size > 1 else ""
        self.nodes = [self._make_node(n + 1, addresses[n], addresses[size + n], listed, options) for n in range(size)]

    def _addresses(self, size: int) -> list[Address]:
        """Where the nodes listen: all for ZooKeeper's protocol, then all for the native one, then all for each other."""
        return [(LOOPBACK, port) for port in free_ports(3 * size)]

    def _make_node(self, number: int, zk: Address, native: Address, peers: str, options: Sequence[str]) -> Node:
        return Node(number, zk, native, peers, self.home / str(number), options)

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self.wait_all_serving()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.kill9()
        if error is not None:
            error.add_note("\n".join(node.log_tail() for node in self.nodes))
        shutil.rmtree(self.home)

    def node(self, number: int) -> Node:
        """The node of that id."""
        return self.nodes[number - 1]

    @property
    def zk_hosts(self) -> str:
        """For a client of ZooKeeper's protocol: every node."""
        return ",".join(node.zk_host for node in self.nodes)

    @property
    def native_hosts(self) -> str:
        """For fastzk's own client: every node."""
        return ",".join(node.native_host for node in self.nodes)

    def _check_alive(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if not node.is_running:
                status = node.process.returncode if node.process else None
                raise RuntimeError(f"node {node.number} ended with status {status}\n{node.log_tail()}")

    def wait_serving(self, nodes: Sequence[Node]) -> None:
        """Waits until these serve.  Raises RuntimeError when one ended, TimeoutError when it takes too long."""

        def are_serving() -> bool:
            self._check_alive(nodes)
            return all(node.mode() for node in nodes)

        wait_for(are_serving, SERVE_S_MAX, f"nodes {[node.number for node in nodes]} to serve")

    def wait_all_serving(self) -> None:
        """Waits until all serve, one of them leads and the others follow it, or observe."""

        def is_whole() -> bool:
            self._check_alive(self.nodes)
            modes = sorted(mode for mode in (node.mode() for node in self.nodes) if mode != "observer")
            return modes in (["standalone"], [*["follower"] * (len(modes) - 1), "leader"])

        wait_for(is_whole, SERVE_S_MAX, "one leader and followers")

    def leader(self) -> Node:
        """The node that leads, or the one that stands alone; waits for one."""

        def found() -> Node | None:
            return next((node for node in self.nodes if node.mode() in ("leader", "standalone")), None)

        node = wait_for(found, SERVE_S_MAX, "a leader")
        assert node is not None, "wait_for gives what is true"
        return node

    def followers(self) -> list[Node]:
        """The nodes that run and do not lead."""
        leader = self.leader()
        return [node for node in self.nodes if node is not leader and node.is_running]

    def restart(self, node: Node) -> None:
        """Starts a node that has ended, and waits until it serves."""
        node.start()
        self.wait_serving([node])

    def digest(self) -> str:
        """The digest of the whole tree once all nodes have applied the same.  Raises TimeoutError, telling each one's
        state, when they do not come to agree."""
        seen: list[tuple[str, str]] = []

        def agreed() -> str:
            answers = [monitored(node.zk) for node in self.nodes]
            seen[:] = [(said.get("zk_applied_zxid", ""), said.get("zk_tree_digest", "")) for said in answers]
            return seen[0][1] if all(seen[0]) and len(set(seen)) == 1 else ""

        try:
            return wait_for(agreed, SERVE_S_MAX, "all nodes to have the same tree")
        except TimeoutError as late:
            raise TimeoutError(f"{late}: (applied zxid, digest) of each node: {seen}") from late
