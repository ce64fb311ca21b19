"""Every node a host of its own: network namespaces joined by a router that can lose what it likes, either way alone.

    with Network(3) as network:                      inside a network namespace of the harness's own (enter_own_network)
        network.prefix(1)                            what to put before a node's command
        network.cut([(1, 2), (1, 3)]); network.heal()

        node 1  10.77.1.2 ---- 10.77.1.1  the harness's namespace  10.77.2.1 ---- 10.77.2.2  node 2
                                             forwards, or drops

Rules: it needs root, and leaves the machine as it was: all of it is in namespaces that end with their processes.  No packet leaves
them.  Clients are in the harness's namespace: they reach every node, whatever is cut.

How it works: a cut is a policy rule of the router that sends packets of one pair into a blackhole, so that nothing is refused and
nobody is told: what was sent is lost.  A rule counts for packets of connections that stand, too."""

import ctypes
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_CLONE_NEWNET = 0x40000000
_SUBNET = "10.77"
Pair = tuple[int, int]


class NoNamespaces(Exception):  # noqa: N818
    """This machine, or this user, cannot have network namespaces; says why."""


def enter_own_network() -> None:
    """Moves this process into a network namespace of its own, with a loopback.  Once, before any thread is started.

    Raises NoNamespaces."""
    if os.geteuid() != 0:
        raise NoNamespaces("partitions need network namespaces, and those need root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise NoNamespaces(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    try:
        _ip("link", "set", "lo", "up")
    except FileNotFoundError as missing:
        raise NoNamespaces("partitions need ip: install iproute2") from missing


class Network:
    """So many nodes, numbered from 1, each in a namespace of its own."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._holders: list[subprocess.Popen[bytes]] = []
        self._cuts: list[Pair] = []

    def address(self, number: int) -> str:
        """A node's address."""
        return f"{_SUBNET}.{number}.2"

    def prefix(self, number: int) -> list[str]:
        """Runs a command in a node's namespace."""
        return ["nsenter", f"--net=/proc/{self._holders[number - 1].pid}/ns/net", "--"]

    def __enter__(self) -> Self:
        try:
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            for number in range(1, self.size + 1):
                self._add(number)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__(None, None, None)
            raise NoNamespaces(f"no network of namespaces: {getattr(error, 'stderr', b'') or error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
        self._holders.clear()

    def _add(self, number: int) -> None:
        # cat holds the namespace, and ends when this process does, which has the other end of its pipe.
        command = ["unshare", "--net", "cat"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._holders.append(holder)
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"ready\n")
        holder.stdin.flush()
        holder.stdout.readline()
        gate = f"{_SUBNET}.{number}.1"
        _ip("link", "add", f"node{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _ip("addr", "add", f"{gate}/30", "dev", f"node{number}")
        _ip("link", "set", f"node{number}", "up")
        inside = self.prefix(number)
        _ip("addr", "add", f"{self.address(number)}/30", "dev", "eth0", prefix=inside)
        for device in ("lo", "eth0"):
            _ip("link", "set", device, "up", prefix=inside)
        _ip("route", "add", "default", "via", gate, prefix=inside)

    # ---- faults

    def cut(self, pairs: Iterable[Pair]) -> None:
        """From now on nothing that the first of a pair sends reaches the second."""
        for pair in pairs:
            if pair not in self._cuts:
                self._cuts.append(pair)
                self._rule("add", pair)

    def heal(self) -> None:
        """Everything reaches everybody again."""
        while self._cuts:
            self._rule("del", self._cuts.pop())

    def _rule(self, verb: str, pair: Pair) -> None:
        sender, receiver = map(self.address, pair)
        _ip("rule", verb, "pref", "100", "from", sender, "to", receiver, "blackhole")


def _ip(*words: str, prefix: Sequence[str] = ()) -> None:
    subprocess.run([*prefix, "ip", *words], check=True, capture_output=True)
