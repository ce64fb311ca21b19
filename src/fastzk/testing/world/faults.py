"""What befalls a simulated ensemble: crashes, pauses, cut and clogged links, bad disks, clocks that jump.

Each kind of fault comes at the rate that its world has drawn, and has a generator of its own: one that is turned off moves none of
the others.  Nothing happens any more once the world is healed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastzk.testing.world.node import Host
    from fastzk.testing.world.world import Simulation


class Nemesis:
    """The faults of one world."""

    def __init__(self, world: Simulation) -> None:
        self._world = world
        self._random = world.fault_chance
        self.is_over = False
        # Until when something is broken that a session's life may depend on.
        self.disturbed_us = 0
        draw = world.draw
        kinds: list[tuple[str, float, Callable[[], None]]] = [
            ("crash", draw.crash, self._crash_one),
            ("crash all", draw.crash_all, self._crash_all),
            ("crash at disk", draw.crash_at_disk, self._crash_at_disk),
            ("disk error", draw.disk_error, self._disk_error),
            ("pause", draw.pause, self._pause_one),
            ("partition", draw.partition, self._partition),
            ("clog", draw.clog, self._clog),
            ("hole", draw.hole, self._hole),
            ("reset", draw.reset, self._reset),
            ("worker death", draw.worker_death, self._kill_worker),
            ("client cut", draw.client_cut, self._cut_clients),
            ("wipe", draw.wipe, self._wipe),
            ("bit flip", draw.bit_flip, self._flip),
            ("leave", draw.leave, self._leave),
            ("wall step", draw.wall_step, self._step_wall),
            ("drift", draw.drift, self._drift),
        ]
        for name, rate, happens in kinds:
            if rate:
                self._plan(Random(f"{world.seed}/fault/{name}"), rate, happens)

    def _plan(self, random: Random, rate: float, happens: Callable[[], None]) -> None:
        self._world.heap.after(1 + int(random.expovariate(rate) * 1_000_000), self._strike, random, rate, happens)

    def _strike(self, random: Random, rate: float, happens: Callable[[], None]) -> None:
        if self.is_over:
            return
        self._world.events += 1
        self._random = random
        happens()
        self._random = self._world.fault_chance
        self._plan(random, rate, happens)

    def outage_us(self) -> int:
        """How long something lasts; the world is disturbed until then."""
        time_us = self._random.randrange(1_000, self._random.choice((10_000, self._world.draw.outage_us)) + 1)
        self._disturb(time_us)
        return time_us

    def _disturb(self, time_us: int) -> None:
        self.disturbed_us = max(self.disturbed_us, self._world.heap.now_us + time_us)

    def _any(self) -> Host:
        hosts = list(self._world.hosts.values())
        return hosts[self._random.randrange(len(hosts))]

    def _say(self, kind: str, text: str) -> None:
        self._world.count(kind)
        self._world.trace.line(text)

    # --- nodes

    def _crash_one(self) -> None:
        leader = self._world.leader()
        host = leader if leader is not None and self._random.random() < 0.5 else self._any()
        host.crash("out of the blue")

    def _crash_all(self) -> None:
        self._say("all crash", "all crash")
        for host in self._world.hosts.values():
            host.crash("with all")

    def _crash_at_disk(self) -> None:
        host = self._any()
        operation = self._random.randrange(1, 12)
        self._say("power armed", f"{host.node_id}: the power will go at operation {operation} of its disk")
        host.disk.stop_at(operation)

    def _disk_error(self) -> None:
        host = self._any()
        code = self._random.choice((errno.EIO, errno.ENOSPC))
        operation = self._random.randrange(1, 8)
        self._say("disk error armed", f"{host.node_id}: operation {operation} of its disk will fail: {errno.errorcode[code]}")
        host.disk.fail_at(operation, code)

    def _pause_one(self) -> None:
        self._pause(self._any())

    def _pause(self, host: Host) -> None:
        host.resumes_us = max(host.resumes_us, self._world.heap.now_us + self.outage_us())
        self._say("pause", f"{host.node_id} stands still until {host.resumes_us}")

    def _kill_worker(self) -> None:
        host = self._any()
        if host.is_up and not host.is_still():
            self._say("worker dies", f"{host.node_id}: a worker dies")
            host.restart_worker()

    def new_leader(self, host: Host) -> None:
        """A node has won: what befalls it now leaves a reign half done."""
        if not self.is_over and self._random.random() < self._world.draw.ambush:
            self._world.heap.after(self._random.choice((0, self._random.randrange(30_000))), self._ambush, host)

    def _ambush(self, host: Host) -> None:
        if self.is_over:
            return
        kind = self._random.choice(("crash", "pause", "alone", "with one"))
        self._say("ambush", f"{host.node_id} is ambushed: {kind}")
        if kind == "crash":
            host.crash("in an ambush")
        elif kind == "pause":
            self._pause(host)
        else:
            self._cut_around([host.node_id] if kind == "alone" else sorted({host.node_id, self._any().node_id}))

    def _may_lose(self, host: Host) -> bool:
        """Whether a voter may lose something: never more than a minority is without what it had (the atlas)."""
        world = self._world
        voters = world.draw.voters
        lossy = {*world.lossy, host.node_id}
        return host.node_id <= voters and 2 * len(lossy) < voters and world.leader() is not None

    def _wipe(self) -> None:
        host = self._any()
        if not self._may_lose(host):
            return
        self._world.lossy.add(host.node_id)
        host.crash("and loses its disk")
        self._say("wipe", f"{host.node_id}: its disk is lost")
        host.wipe()

    def _flip(self) -> None:
        host = self._any()
        if not self._may_lose(host):
            return
        host.crash("and its disk rots")
        paths = [path for path in host.disk.paths() if host.disk.content(path)]
        if not paths:
            return
        self._world.lossy.add(host.node_id)
        path = paths[self._random.randrange(len(paths))]
        offset = self._random.randrange(len(host.disk.content(path)))
        self._say("bit flip", f"{host.node_id}: byte {offset} of {path} changes")
        host.disk.flip(path, offset, 1 << self._random.randrange(8))

    def _leave(self) -> None:
        """A rolling restart's step."""
        host = self._any()
        core = host.core
        if core is None or host.is_still():
            return
        hands_over = core.is_leader and core.hand_over()
        self._say("leave", f"{host.node_id} is to end{', and hands over' if hands_over else ''}")
        if hands_over:
            self._world.count("hand-over")
            host.plan_turn()
        self._world.heap.after(300_000 if hands_over else 0, host.leave)

    # --- links

    def _partition(self) -> None:
        hosts = self._world.hosts
        kind = self._random.choice(("halves", "one", "bridge"))
        if kind == "one":
            side = [self._any().node_id]
        else:
            side = [node_id for node_id in hosts if self._random.random() < 0.5]
        bridge = self._any().node_id if kind == "bridge" else 0
        self._cut_around([node_id for node_id in side if node_id != bridge], bridge)

    def _cut_around(self, side: list[int], bridge: int = 0) -> None:
        ways = self._random.choice(("both", "both", "out", "in"))
        self._say(f"partition {ways}", f"cut {ways} around {side}, but for {bridge}")
        network = self._world.network
        for inner in side:
            for outer in self._world.hosts:
                if outer not in side and outer != bridge:
                    if ways != "in":
                        network.cut(inner, outer)
                    if ways != "out":
                        network.cut(outer, inner)
        self._world.heap.after(self.outage_us(), network.mend)

    def _clog(self) -> None:
        """Links fall still one after the other, and wake in another order."""
        network, hosts = self._world.network, list(self._world.hosts)
        links = [(one, other) for one in hosts for other in hosts if one != other and self._random.random() < 0.5]
        self._say("clog", f"clogged one after the other: {links}")
        for link in links:
            begin_us = self._random.randrange(100_000)
            self._world.heap.after(begin_us, network.hold, *link, begin_us + self.outage_us())

    def _hole(self) -> None:
        first, second = self._any().node_id, self._any().node_id
        self._say("hole", f"hole from {first} to {second}")
        self._disturb(1_000_000)
        self._world.network.break_link(first, second)

    def _reset(self) -> None:
        first, second = self._any(), self._any()
        if first is second:
            return
        self._say("reset", f"link {first.node_id} - {second.node_id} is closed")
        self._disturb(1_000_000)
        for one, other in ((first, second), (second, first)):
            self._world.network.break_link(one.node_id, other.node_id)
            one.link_closed(other.node_id)

    def _cut_clients(self) -> None:
        host = self._any()
        self._say("clients cut off", f"{host.node_id}: its clients are cut off")
        self._world.cut_clients(host, self.outage_us())

    # --- clocks

    def _step_wall(self) -> None:
        host = self._any()
        step_us = self._random.choice((-3600, -60, 1, 3600)) * 1_000_000
        self._say("wall clock step", f"{host.node_id}: its wall clock jumps by {step_us} us")
        host.step_wall(step_us)

    def _drift(self) -> None:
        host = self._any()
        rate = 1 + self._random.uniform(-1, 1) * self._world.draw.drift
        self._say("drift", f"{host.node_id}: its clock runs at {rate:.3f}")
        host.set_clock(rate)
