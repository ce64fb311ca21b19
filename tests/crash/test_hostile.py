"""Goal: bytes that no client means harm nobody: their connection is closed, and that is all.

Method: three real nodes.  Each of a node's ports gets some thousand inputs, one connection each, several at a time,
while a control session at that node and one at another keep reading and writing.  Afterwards: no control request
failed, no process of the node was replaced, its memory has not grown, its address space never grew by what a length
announced, and all nodes agree.  `make fuzz` does the same with a hundred thousand inputs for each port."""

import itertools
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from kazoo.client import KazooClient, KazooState

from fastzk.testing.ensemble import Address, Ensemble, Node
from fastzk.testing.hostile import (
    VALID_SESSION,
    Input,
    attack,
    ensemble_inputs,
    message,
    native_inputs,
    shake_hands,
    zk_inputs,
)

pytestmark = pytest.mark.process

COUNT = 4000
COUNT_LONG = 100_000
AT_ONCE = 8
SEED = 20260714
GROWTH_BYTES_MAX = 48 << 20  # of resident memory; a leak of 500 bytes for each long input would be seen
PEAK_BYTES_MAX = 1 << 30  # of address space: less than what a length of 2^31-1 announces

Inputs = Callable[[random.Random], Iterator[Input]]


@dataclass
class Control:
    """A client that does no harm, and notices when any is done to it."""

    client: KazooClient
    path: str
    states: list[str] = field(default_factory=list)
    requests: int = 0
    failure: BaseException | None = None

    def run(self, is_over: threading.Event) -> None:
        try:
            while not is_over.is_set():
                self.requests += 1
                self.client.set(self.path, b"%d" % self.requests)
                assert self.client.get(self.path)[0] == b"%d" % self.requests
        except BaseException as failure:
            self.failure = failure


@pytest.fixture
def controls(shared_ensemble: Ensemble) -> Iterator[list[Control]]:
    """One control at node 1, which is attacked, and one at node 2; they must see nothing of the attack."""
    found = []
    for node in shared_ensemble.nodes[:2]:
        client = KazooClient(node.zk_host, timeout=20.0)
        client.start(timeout=20.0)
        path = f"/control-{node.number}"
        client.ensure_path(path)
        found.append(Control(client, path))
        client.add_listener(found[-1].states.append)
    is_over = threading.Event()
    threads = [threading.Thread(target=control.run, args=(is_over,)) for control in found]
    for thread in threads:
        thread.start()
    yield found
    is_over.set()
    for thread in threads:
        thread.join()
    for control in found:
        control.client.stop()
        control.client.close()


def throw(address: Address, inputs: Iterator[Input], count: int) -> None:
    """So many inputs, several at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda each: attack(address, each), itertools.islice(inputs, count)):
            pass


def port_of(node: Node, ensemble: Ensemble, port: str) -> Address:
    return {"zk": node.zk, "native": node.native, "ensemble": ensemble.peers[node.number - 1]}[port]


def withstand(ensemble: Ensemble, controls: list[Control], port: str, inputs: Inputs, count: int) -> None:
    node, generator = ensemble.node(1), random.Random(SEED)
    address, stream = port_of(node, ensemble, port), inputs(generator)
    throw(address, stream, count // 4)  # what is allocated once and kept is allocated now
    pids, rss_bytes, peak_bytes = node.pids(), node.rss_bytes(), node.peak_bytes()
    before = [control.requests for control in controls]
    throw(address, stream, count - count // 4)
    throw(address, inputs(generator), count // 4)  # the first ones again: they announce the lengths
    for control, requests in zip(controls, before, strict=True):
        assert control.failure is None, f"{control.path}: {control.failure!r}"
        assert KazooState.SUSPENDED not in control.states
        assert control.requests > requests
    assert node.pids() == pids, "a process did not survive"
    assert node.rss_bytes() - rss_bytes < GROWTH_BYTES_MAX
    assert node.peak_bytes() - peak_bytes < PEAK_BYTES_MAX
    assert ensemble.node(2).is_running


def test_what_is_cut_short_is_right_when_whole(shared_ensemble: Ensemble) -> None:
    """Else its truncations would be refused at the first byte, and would show nothing."""
    node = shared_ensemble.node(1)
    for address in (node.zk, node.native):
        with socket.create_connection(address, timeout=20.0) as stream:
            if address == node.native:
                shake_hands(stream)
            stream.sendall(VALID_SESSION if address == node.zk else message(VALID_SESSION))
            found = b""
            while b"\0\0\0\x10\0\0\0\x0a" not in found:  # a goodbye has 16 bytes, and this one xid 10
                more = stream.recv(65536)
                assert more, f"closed after {found!r}"
                found += more
        assert found.count(b"/hostile0") == 1, "no answer to the sequential create"
        assert found.count(b"data") == 1, "no answer to getData"


PORTS = [("zk", zk_inputs), ("native", native_inputs), ("ensemble", ensemble_inputs)]


@pytest.mark.parametrize(("port", "inputs"), PORTS, ids=[port for port, _ in PORTS])
def test_hostile_bytes(shared_ensemble: Ensemble, controls: list[Control], port: str, inputs: Inputs) -> None:
    withstand(shared_ensemble, controls, port, inputs, COUNT)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("port", "inputs"), PORTS, ids=[port for port, _ in PORTS])
def test_many_hostile_bytes(shared_ensemble: Ensemble, controls: list[Control], port: str, inputs: Inputs) -> None:
    withstand(shared_ensemble, controls, port, inputs, COUNT_LONG)


def test_all_nodes_agree_afterwards(shared_ensemble: Ensemble) -> None:
    shared_ensemble.wait_all_serving()
    assert shared_ensemble.digest()
