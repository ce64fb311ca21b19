"""The client that changes the members: it proves itself the operator, then takes nodes out of the ensemble and lets them in again.

Its requests fail as often as not (the ensemble would be too small, another change is under way, a node is not level in time): the
model has the same answers, from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastzk.node.credentials import digest_of
from fastzk.testing.world import frames
from fastzk.testing.world.clients import Client
from fastzk.testing.world.frames import RECONFIG

if TYPE_CHECKING:
    from fastzk.testing.world.world import Simulation

SECRET = "super:simulated"
SUPER_DIGEST = digest_of(SECRET)


class Admin(Client):
    """One operator."""

    def __init__(self, world: Simulation, number: int) -> None:
        self._is_proven = False
        super().__init__(world, number)

    def _gone(self) -> None:
        self._is_proven = False
        super()._gone()

    def _do_something(self, now_us: int) -> None:
        if self.is_waiting:
            return
        if not self._is_proven:
            self._is_proven = True
            self._prove()
            return
        if self._random.random() > self.world.draw.reconfig:
            self._ping_if_due(now_us)
            return
        node_ids = list(self.world.hosts)
        node_id = node_ids[self._random.randrange(len(node_ids))]
        if self._random.random() < 0.5:
            body = frames.reconfig(None, b"%d" % node_id, -1)
        else:
            role = self._random.choice((b"participant", b"participant", b"observer"))
            address = self.world.hosts[node_id].address
            joining = f"server.{node_id}={address.host}:{address.port}:0:".encode() + role + f";127.0.0.1:{2180 + node_id}".encode()
            body = frames.reconfig(joining, None, -1)
        self.world.count("reconfig asked")
        self.ask(RECONFIG, b"", body)

    def _prove(self) -> None:
        self.expect_auth()
        self.send(frames.auth(SECRET.encode()))
