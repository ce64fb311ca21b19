"""Goal: real nodes, whose leader is killed under clients that write, read and watch, keep every promise that the judges know.

Method: three nodes on a real disk.  Clients on plain sockets keep some requests under way and record their wire; again and again
the leader is killed with SIGKILL and started again.  Then all is let come to rest, the nodes are stopped, and the judges get what
was recorded and the logs that the nodes have left."""

import threading
import time
from pathlib import Path
from random import Random

import pytest

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.defs import OpCode
from fastzk.testing.ensemble import Ensemble, monitored, wait_for
from fastzk.testing.history import Recording, Tap, read_history, read_log
from fastzk.testing.judging import judge
from fastzk.testing.rawclient import RawClient
from fastzk.wire import records

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

CLIENTS = 4
KILLS = 2
ANSWERS = 400  # of each client from one kill to the next
WINDOW = 8
SESSION_MS = 10_000
PATHS = ("/a", "/a/b", "/c", "/p", "/q")
LOST = (EOFError, OSError)


class Tapped(RawClient):
    """A connection whose records are noted."""

    def __init__(self, tap: Tap, name: str, address: tuple[str, int]) -> None:
        super().__init__(address, timeout_s=5.0)
        self._tap = tap
        tap.dial(name, "zookeeper")

    def send_record(self, record: bytes) -> None:
        self._tap.sent(record, time.monotonic_ns())
        super().send_record(record)

    def receive_record(self) -> bytes:
        record = super().receive_record()
        self._tap.received(record, time.monotonic_ns())
        return record


class Worker(threading.Thread):
    """One client: any requests, over one connection after the other."""

    def __init__(self, number: int, nodes: Ensemble, directory: Path) -> None:
        super().__init__(daemon=True)
        self.recording = Recording.create(directory, None, f"client-{number}")
        self.answers = 0
        self.failure: BaseException | None = None
        self._tap = Tap(self.recording, f"client-{number}")
        self._random = Random(number)
        self._nodes = nodes
        self._session, self._password, self._seen, self._xid = 0, bytes(16), 0, 0
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """What is under way is answered, then it is over.  Raises what it failed with."""
        self._is_stopping.set()
        self.join(60)
        self.recording.close()
        if self.failure is not None:
            raise AssertionError("a client failed") from self.failure

    def run(self) -> None:
        try:
            while not self._is_stopping.is_set():
                node = self._random.choice(self._nodes.nodes)
                try:
                    with Tapped(self._tap, f"node-{node.number}", node.zk) as connection:
                        self._talk(connection)
                except LOST:
                    self._is_stopping.wait(0.02)
                self._tap.lost("cut", time.monotonic_ns())
        except BaseException as failure:
            self.failure = failure

    def _talk(self, connection: Tapped) -> None:
        """One connection, until it is lost or it is time to end."""
        connection.connect(SESSION_MS, self._session, self._password, self._seen)
        if connection.session_id == 0:
            self._session, self._password, self._seen = 0, bytes(16), 0
            return
        self._session, self._password = connection.session_id, connection.password
        waiting = 0
        while not self._is_stopping.is_set():
            while waiting < WINDOW:
                waiting += self._ask(connection, self._request())
            waiting -= self._hear(connection)
        waiting += self._ask(connection, records.Sync("/"))
        waiting += self._ask(connection, records.GetData("/p", False))
        while waiting:
            waiting -= self._hear(connection)

    def _ask(self, connection: Tapped, request: records.Request) -> int:
        self._xid += 1
        connection.send_raw(self._xid, request.op, records.encode_request(request))
        return 1

    def _hear(self, connection: Tapped) -> int:
        reply = connection.receive()
        if reply.xid < 0:
            return 0
        self._seen = max(self._seen, reply.zxid)
        self.answers += 1
        return 1

    def _request(self) -> records.Request:
        choose, path, acl = self._random.choice, self._random.choice(PATHS), list(OPEN_ACL_UNSAFE)
        data = b"%d" % self._random.randrange(1 << 40)
        if path in PATHS[-2:]:
            plain = (records.Create(path, data, acl, 0), records.SetData(path, data, choose((-1, 1))), records.Delete(path, -1))
            return choose((*plain, records.GetData(path, True), records.Exists(path, True)))
        both = records.Multi([records.SetData("/c", data, -1), records.Create("/c/m", b"", acl, 0), records.Delete("/c/m", -1)])
        kinds = (
            records.Create(path, data, acl, choose((0, 1))), records.Create2(f"{path}/s-", data, acl, choose((2, 3))),
            records.SetData(path, data, -1), records.Delete(path, choose((-1, 0))), both, records.Sync(path),
            records.GetData(path, True), records.GetChildren2(path, True), records.Exists(path, True), records.AddWatch(path, 1),
        )  # fmt: skip
        return choose(kinds)


def wait_answers(workers: list[Worker]) -> None:
    """Until each has so many more answers, or has failed."""
    marks = [worker.answers + ANSWERS for worker in workers]

    def are_there() -> bool:
        return all(worker.failure or worker.answers >= mark for worker, mark in zip(workers, marks, strict=True))

    wait_for(are_there, 60, "answers")


def test_a_run_with_kills_is_judged_right(disk: Path, tmp_path: Path) -> None:
    recording = Recording.create(tmp_path, {"title": "kills", "planned": ["kill"], "operations_min": CLIENTS * ANSWERS})
    with Ensemble(3, disk) as nodes:
        workers = [Worker(number, nodes, tmp_path) for number in range(CLIENTS)]
        for worker in workers:
            worker.start()
        for _ in range(KILLS):
            wait_answers(workers)
            leader = nodes.leader()
            recording.fault("kill", time.monotonic_ns(), target=f"node-{leader.number}")
            leader.kill9()
            wait_answers(workers)
            nodes.restart(leader)
        for worker in workers:
            worker.stop()
        nodes.wait_all_serving()
        nodes.digest()
        recording.ends(time.monotonic_ns())
        told = [monitored(node.zk) for node in nodes.nodes]
        for node in nodes.nodes:
            node.stop()
        for node, said in zip(nodes.nodes, told, strict=True):
            applied_zxid, digest = int(said["zk_applied_zxid"], 0), said["zk_tree_digest"]
            recording.node(f"node-{node.number}", applied_zxid, digest, read_log(node.data_dir))
    recording.close()
    verdict = judge(read_history(tmp_path))
    print(verdict)
    assert verdict.is_passed, str(verdict)
    assert verdict.counts["events"] > 0
    assert OpCode.SYNC in {request.op for request in read_history(tmp_path).requests}
