"""The engine's side of the links to its workers: one ROUTER over ipc.  Formats: link_t and status_t in _core/layout.h.

Rule: a worker counts what it is sent; a message that cannot be delivered is a hole to it, so that worker is given up here, and
ends and is started anew.  Messages from workers are counted here: a hole means that writes may be lost, and begins a new round."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

from fastzk import limits

LINK = struct.Struct("<HHIQQQQ")
STATUS = struct.Struct("<QIHH")
HELLO, WELCOME, WRITES, TOUCH, READ, STATUS_KIND, COMMIT = range(1, 8)
LOOKING, FOLLOWER, LEADER, STANDALONE, OBSERVER = range(5)
# In ZooKeeper's words.
MODES = {LEADER: "leader", FOLLOWER: "follower", STANDALONE: "standalone", OBSERVER: "observer"}

logger = logging.getLogger("fastzk.engine")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What workers must know of the ensemble."""

    epoch: int
    leader_id: int  # 0 = none known
    role: int
    is_serving: bool
    is_read_only: bool = False  # it does not serve but those who only want to read


@dataclass(slots=True)
class _Worker:
    routing_id: bytes
    incarnation: int
    heard: int  # sequence of the last message from it
    said: int  # sequence of the last message to it


class WorkerLinks:
    """All workers of this node, as the engine sees them."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, incarnation: int) -> None:
        self._incarnation = incarnation
        self._workers: dict[int, _Worker] = {}
        # Workers that came and went since the last take_changes(): (number, is_here).
        self._changes: list[tuple[int, bool]] = []
        self.has_hole = False
        self.router = context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.LINGER, 500)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.router.setsockopt(zmq.SNDHWM, 100_000)
        self.router.setsockopt(zmq.RCVHWM, 10_000)
        self.router.bind(address)

    @property
    def numbers(self) -> list[int]:
        """The workers attached now."""
        return list(self._workers)

    def receive(self) -> Iterator[tuple[int, int, int, int, memoryview]]:
        """(kind, worker, count, round, payload) of what has arrived, at most a turn's worth."""
        for _ in range(limits.MESSAGES_PER_TURN_MAX):
            try:
                routing_id, message = self.router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            kind, number, count, incarnation, sequence, _, round_ = LINK.unpack_from(message)
            worker = self._workers.get(number)
            if kind == HELLO:
                if worker is None:
                    self._workers[number] = _Worker(routing_id, incarnation, sequence, 0)
                    self._changes.append((number, True))
                continue
            if worker is None or worker.incarnation != incarnation:
                continue  # it was given up and will see that by itself
            if sequence != worker.heard + 1:
                self.has_hole = True
            worker.heard = sequence
            yield kind, number, count, round_, memoryview(message)[LINK.size :]

    def take_changes(self) -> list[tuple[int, bool]]:
        """Workers that came (True) and went (False) since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def welcome(self, number: int, zxid: int) -> None:
        """Tells a worker that came at which zxid its stream of commits begins."""
        self._send(number, WELCOME, zxid=zxid)

    def tell_status(self, number: int, status: NodeStatus, round_: int) -> None:
        """Tells a worker the state of the ensemble and the round that holds."""
        payload = STATUS.pack(status.epoch, status.leader_id, status.role, 2 if status.is_read_only else status.is_serving)
        self._send(number, STATUS_KIND, payload, round_=round_)

    def commit(self, number: int, items: bytes, zxid: int) -> None:
        """Tells a worker what has been applied up to zxid."""
        self._send(number, COMMIT, items, zxid=zxid)

    def close(self) -> None:
        """Closes the socket."""
        self.router.close()

    def _send(self, number: int, kind: int, payload: bytes = b"", *, zxid: int = 0, round_: int = 0) -> None:
        worker = self._workers.get(number)
        if worker is None:
            return
        worker.said += 1
        head = LINK.pack(kind, number, 0, self._incarnation, worker.said, zxid, round_)
        try:
            self.router.send_multipart([worker.routing_id, head + payload], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            reason = "is gone" if error.errno == zmq.EHOSTUNREACH else "does not keep up and is given up"
            logger.info("worker %d %s", number, reason)
            del self._workers[number]
            self._changes.append((number, False))
