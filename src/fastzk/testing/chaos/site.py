"""The ensemble under test: real nodes, each on a lossy disk and, where the machine allows it, a host of its own.

    with Site(3, directory, Random(seed), network=None) as site: ...

Rules: a node that was killed has lost what it had not synced before it is started again; one that ended in good order has not.
Options and files of a node stay the same over its lives.

How it works: an Ensemble whose nodes are preloaded with the shim of lossy.py."""

import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import TracebackType

from fastzk.testing.chaos.lossy import LossyDisk, Lost
from fastzk.testing.chaos.namespaces import Network
from fastzk.testing.ensemble import Address, Ensemble, Node, wait_for

QUIET_S_MAX = 30.0
_CONFESSIONS = (
    "Traceback (most recent",
    "AssertionError",
    "broken invariant",
    "was ended by SIGSEGV",
    "was ended by SIGABRT",
    "lossy shim:",
)
_PORTS = {"zk": 2181, "native": 2281, "peers": 2881}


class ChaosNode(Node):
    """A node on a lossy disk."""

    def __init__(self, number: int, zk: Address, native: Address, peers: str, home: Path, options: Sequence[str]) -> None:
        super().__init__(number, zk, native, peers, home, options)
        self.disk = LossyDisk(self.data_dir, home / "lossy")
        self.environment = dict(self.disk.environment)
        self.random = Random(number)
        # Half of the kills lose a part of what is not synced; False: every kill loses all of it.
        self.may_lose_parts = True
        # What kills have taken back so far, over all its lives.
        self.lost = Lost()
        self.kills = 0
        self._is_settled = True

    @property
    def name(self) -> str:
        """As the history calls it."""
        return f"node-{self.number}"

    def start(self) -> None:
        self.settle()
        self._is_settled = False
        super().start()

    def confessions(self) -> list[str]:
        """What it printed that no fault excuses: exceptions that nobody caught, and assertions."""
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return [f"{self.name}: {line}" for line in lines if any(word in line for word in _CONFESSIONS)]

    def settle(self) -> None:
        """What became of its disk when it ended."""
        if self._is_settled or self.process is None:
            return
        assert not self.pids(), f"processes of node {self.number} live"
        self._is_settled = True
        if self.process.poll() == 0:
            self.disk.forget()
            return
        loses_part = self.may_lose_parts and self.random.random() < 0.5
        lost = self.disk.lose(self.random if loses_part else None)
        self.lost = Lost(self.lost.writes + lost.writes, self.lost.names + lost.names, self.lost.bytes + lost.bytes)
        self.kills += 1


class Site(Ensemble):
    """The nodes, their network if there is one, and what is asked of them all."""

    nodes: list[ChaosNode]  # type: ignore[assignment]

    def __init__(
        self, size: int, directory: Path, random: Random, network: Network | None = None, options: Sequence[str] = ()
    ) -> None:
        self.network = network
        if network is not None:
            options = ["--insecure-listen", *options]
        super().__init__(size, directory, options)
        self.is_kept = False
        for node in self.nodes:
            node.random = Random(random.random())
            if network is not None:
                node.prefix = network.prefix(node.number)

    def _addresses(self, size: int) -> list[Address]:
        if self.network is None:
            return super()._addresses(size)
        return [(self.network.address(number), port) for port in _PORTS.values() for number in range(1, size + 1)]

    def _make_node(self, number: int, zk: Address, native: Address, peers: str, options: Sequence[str]) -> ChaosNode:
        return ChaosNode(number, zk, native, peers, self.home / str(number), options)

    def running(self) -> list[ChaosNode]:
        """The nodes that live."""
        return [node for node in self.nodes if node.is_running]

    def leads(self) -> ChaosNode | None:
        """The node that says that it leads, if there is one now."""
        return next((node for node in self.running() if node.mode() in ("leader", "standalone")), None)

    def heal(self) -> None:
        """Nothing is cut, stopped, slow or failing any more, whatever was."""
        if self.network is not None:
            self.network.heal()
        for node in self.nodes:
            node.disk.control.heal()
            for pid in node.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def start_all(self) -> None:
        """Starts every node that does not run."""
        for node in self.nodes:
            if not node.is_running:
                wait_for(lambda node=node: not node.pids(), QUIET_S_MAX, f"what is left of node {node.number} to end")  # type: ignore[misc]
                node.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.kill9()
            node.disk.control.close()
        if error is not None:
            error.add_note("\n".join(node.log_tail() for node in self.nodes))
        if not self.is_kept:
            shutil.rmtree(self.home)
