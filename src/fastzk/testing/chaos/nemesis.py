"""What is done to the nodes: each fault a small class that begins, and is healed again.

    faults = [KillLeader(run, random), Mute(run, random)]
    for fault in faults: fault.begin()
    ...
    heal(run, faults)

Rules: begin() notes the fault before it injects it; heal() takes it back.  check() looks, when all faults of the time are
healed, at what it must have led to (a node that has ended, and said why).  Nodes that have ended are started again after that.

How it works: those of the disk are in disk_faults.py.  A phase draws from all, so that each comes as often as the others."""

import contextlib
import itertools
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from random import Random
from typing import ClassVar

from fastzk.testing.chaos.namespaces import Pair
from fastzk.testing.chaos.run import Run
from fastzk.testing.chaos.site import ChaosNode
from fastzk.testing.ensemble import wait_for

LEADER_S_MAX = 10.0
ENGINE_S_MAX = 10.0
HOUR_NS = 3600 * 10**9


class Fault(ABC):
    """Something that is done to a run."""

    name: ClassVar[str]
    needs_network: ClassVar[bool] = False
    # It goes on only while the ensemble works: nothing else is done meanwhile.
    is_alone: ClassVar[bool] = False

    def __init__(self, run: Run, random: Random) -> None:
        self.run = run
        self.random = random
        self.site = run.site

    @abstractmethod
    def begin(self) -> None:
        """Injects it."""

    def heal(self) -> None:  # noqa: B027  # there may be nothing to take back
        """Takes it back."""

    def check(self) -> None:  # noqa: B027  # it may lead to nothing
        """Raises AssertionError or TimeoutError when it has not led to what it must."""

    def any_node(self) -> ChaosNode:
        """A node that runs."""
        return self.random.choice(self.site.running() or self.site.nodes)

    def leader(self) -> ChaosNode:
        """The leader; any node if there is none."""
        try:
            return wait_for(self.site.leads, LEADER_S_MAX, "a leader") or self.any_node()
        except TimeoutError:
            return self.any_node()

    def kill(self, *nodes: ChaosNode) -> None:
        """SIGKILL to all processes of these, at once."""
        self.run.fault(self.name, target=",".join(node.name for node in nodes))
        for pid in itertools.chain.from_iterable(node.pids() for node in nodes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for node in nodes:
            if node.process is not None:
                node.kill9()


class KillNode(Fault):
    """kill -9 of any node."""

    name = "kill"

    def begin(self) -> None:
        self.kill(self.any_node())


class KillLeader(Fault):
    """kill -9 of the leader."""

    name = "kill-leader"

    def begin(self) -> None:
        self.kill(self.leader())


class KillAll(Fault):
    """kill -9 of every node at once."""

    name = "kill-all"

    def begin(self) -> None:
        self.kill(*self.site.running())


class KillWorker(Fault):
    """kill -9 of one worker: the supervisor starts another."""

    name = "kill-worker"

    def begin(self) -> None:
        node = self.any_node()
        self.run.fault(self.name, target=node.name)
        for pid in node.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class KillEngine(Fault):
    """kill -9 of an engine alone: the node must end by itself."""

    name = "kill-engine"

    def begin(self) -> None:
        self.node = self.any_node()
        self.run.fault(self.name, target=self.node.name)
        self._is_killed = False
        wait_for(self._kill, ENGINE_S_MAX, f"an engine of node {self.node.number}, to kill it")

    def _kill(self) -> bool:
        """False while there is none yet: the node has just been started."""
        with contextlib.suppress(StopIteration, ProcessLookupError):
            self.node.kill_engine()
            self._is_killed = True
        return self._is_killed or not self.node.is_running

    def check(self) -> None:
        if self._is_killed:
            assert self.node.wait_end() != 0, f"node {self.node.number} ended as if all were well when its engine was killed"


class Pause(Fault):
    """SIGSTOP, and SIGCONT when it ends."""

    name = "pause"

    def begin(self) -> None:
        node, pids = self.victims()
        self.pids = pids
        self.run.fault(self.name, target=node.name, processes=len(pids))
        self._signal(signal.SIGSTOP)

    def victims(self) -> tuple[ChaosNode, list[int]]:
        """Which processes are stopped."""
        node = self.any_node()
        return node, node.pids()

    def heal(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class PauseEngine(Pause):
    """SIGSTOP of one engine: its workers live."""

    name = "pause-engine"

    def victims(self) -> tuple[ChaosNode, list[int]]:
        node = self.any_node()
        with contextlib.suppress(StopIteration):
            return node, [node.engine_pid()]
        return node, []


class PauseLeader(Pause):
    """SIGSTOP of the leader's node."""

    name = "pause-leader"

    def victims(self) -> tuple[ChaosNode, list[int]]:
        node = self.leader()
        return node, node.pids()


class Restart(Fault):
    """SIGTERM to one node after the other, each started again: as for an upgrade."""

    name = "rolling-restart"
    is_alone = True

    def begin(self) -> None:
        self.run.fault(self.name)
        for node in self.site.nodes:
            if node.is_running and node.mode():
                assert node.stop() == 0, f"node {node.number} did not end in good order"
                self.site.restart(node)


class Clock(Fault):
    """The clock on the wall is an hour wrong, on one node or on all."""

    name = "clock"

    def begin(self) -> None:
        nodes = self.site.nodes if self.random.random() < 0.3 else [self.any_node()]
        hours = self.random.choice((-1, 1))
        self.run.fault(self.name, target=",".join(node.name for node in nodes), hours=hours)
        for node in nodes:
            node.disk.control.set("clock_offset_ns", hours * HOUR_NS)

    def heal(self) -> None:
        for node in self.site.nodes:
            node.disk.control.set("clock_offset_ns", 0)


# ---- the network


class Cut(Fault):
    """Some nodes do not hear some others."""

    needs_network = True

    def begin(self) -> None:
        network = self.site.network
        assert network is not None, "nodes without a network cannot be cut off"
        pairs = list(self.pairs())
        self.run.fault(self.name, cut=" ".join(f"{sender}>{receiver}" for sender, receiver in pairs))
        network.cut(pairs)

    @abstractmethod
    def pairs(self) -> Iterable[Pair]:
        """Who is not heard, and by whom."""

    def others(self, number: int) -> list[int]:
        """The other nodes' numbers."""
        return [node.number for node in self.site.nodes if node.number != number]

    def heal(self) -> None:
        assert self.site.network is not None
        self.site.network.heal()


class Isolate(Cut):
    """One node alone."""

    name = "isolate"

    def pairs(self) -> Iterable[Pair]:
        number = self.any_node().number
        return [pair for other in self.others(number) for pair in ((number, other), (other, number))]


class IsolateLeader(Cut):
    """The leader alone."""

    name = "isolate-leader"

    def pairs(self) -> Iterable[Pair]:
        number = self.leader().number
        return [pair for other in self.others(number) for pair in ((number, other), (other, number))]


class Deaf(Cut):
    """One node, mostly the leader, hears nobody, and is heard."""

    name = "deaf"

    def pairs(self) -> Iterable[Pair]:
        number = (self.leader() if self.random.random() < 0.7 else self.any_node()).number
        return [(other, number) for other in self.others(number)]


class Mute(Cut):
    """One node, mostly the leader, hears all, and is not heard."""

    name = "mute"

    def pairs(self) -> Iterable[Pair]:
        number = (self.leader() if self.random.random() < 0.7 else self.any_node()).number
        return [(number, other) for other in self.others(number)]


class Bridge(Cut):
    """Only one node hears all, and all hear it: the others do not hear each other."""

    name = "bridge"

    def pairs(self) -> Iterable[Pair]:
        return list(itertools.permutations(self.others(self.any_node().number), 2))


class Ring(Cut):
    """Everybody hears the next one, and nobody the one before."""

    name = "ring"

    def pairs(self) -> Iterable[Pair]:
        numbers = [node.number for node in self.site.nodes]
        return list(zip(numbers, numbers[1:] + numbers[:1], strict=True))


class Split(Cut):
    """Everybody alone."""

    name = "split"

    def pairs(self) -> Iterable[Pair]:
        return list(itertools.permutations([node.number for node in self.site.nodes], 2))


FAULTS: list[type[Fault]] = [
    *(KillNode, KillLeader, KillAll, KillWorker, KillEngine, Pause, PauseEngine, PauseLeader, Restart, Clock),
    *(Isolate, IsolateLeader, Deaf, Mute, Bridge, Ring, Split),
]


def heal(run: Run, faults: Sequence[Fault]) -> None:
    """Takes all of them back, looks at what they led to, and starts what has ended."""
    for fault in faults:
        fault.heal()
    for fault in faults:
        fault.check()
    run.site.start_all()
    run.gap.healed()
    for fault in faults:
        run.healed(fault.name)
