"""Goal: what the whole-node simulator once found, told directly; and that its shrinking keeps what it looks for.

Method: one simulated ensemble without faults and clients, brought by hand to the place where it went wrong."""

import pytest

from fastzk._core.blocks import make_entry
from fastzk.raft.messages import Append
from fastzk.testing.world import shrink
from fastzk.testing.world.draw import Draw
from fastzk.testing.world.node import Host
from fastzk.testing.world.world import Simulation
from fastzk.wire.ensemble import FORWARD, EnsembleMessage, Forward, encode

SYNC = 9


def calm(draw: Draw) -> None:
    """Three nodes, no faults, no clients."""
    fresh = Draw(clients=0)
    for name in Draw.__slots__:
        setattr(draw, name, getattr(fresh, name))


@pytest.fixture
def led() -> tuple[Simulation, Host]:
    """An ensemble, and its leader."""
    simulation = Simulation(1, change=calm)
    for host in simulation.hosts.values():
        host.start()
    simulation.heap.run_until(5_000_000)
    leader = simulation.leader()
    assert leader is not None
    return simulation, leader


def told(simulation: Simulation, host: Host, *messages: EnsembleMessage) -> list[list[bytes]]:
    """Lets a node take in messages of another in one turn; what it sends until it has thought about them."""
    other = next(other for other in simulation.hosts if other != host.node_id)
    sent: list[list[bytes]] = []
    send = simulation.network.send
    simulation.network.send = lambda sender, receiver, envelope: sent.append(envelope[4])  # type: ignore[method-assign]
    for message in messages:
        host.hear(other, encode(message))
    simulation.heap.run_until(simulation.heap.now_us + 10_000)
    simulation.network.send = send  # type: ignore[method-assign]
    return sent


def entry_of(host: Host) -> bytes:
    return make_entry(SYNC, b"\0\0\0\1/", session_id=77, attach_zxid=1, serial=1, node_id=host.node_id, worker=1)


def test_a_leader_that_is_deposed_passes_nothing_on(led: tuple[Simulation, Host]) -> None:
    """Writes come again from their nodes; an old copy of a session's create came behind the session's end, and made it anew."""
    simulation, leader = led
    assert leader.core is not None
    epoch = leader.core.peer.epoch
    other = next(other for other in simulation.hosts if other != leader.node_id)
    sent = told(simulation, leader, Forward(1, entry_of(leader), epoch), Append(other, epoch + 1, 0, 0, (), 0, 1))
    assert leader.core.peer.leader_id == other
    assert not [parts for parts in sent if parts[0][0] == FORWARD]


@pytest.mark.parametrize(("behind", "is_taken"), [(0, True), (1, False)])
def test_a_leader_takes_what_was_meant_for_its_epoch_only(led: tuple[Simulation, Host], behind: int, is_taken: bool) -> None:
    """A link may hold a message back for two elections: what it carries was asked again long ago."""
    simulation, leader = led
    assert leader.core is not None
    last_index = leader.core.peer.last_index
    told(simulation, leader, Forward(1, entry_of(leader), leader.core.peer.epoch - behind))
    assert (leader.core.peer.last_index > last_index) is is_taken


def test_a_crash_before_the_first_sync_is_no_loss() -> None:
    """The others have committed the first block, this node has applied it, and its own disk does not hold it yet.

    It once wrote the history down all the same, and took its empty log for a lost one at its next start."""

    def slow(draw: Draw) -> None:
        calm(draw)
        draw.sync_us, draw.crash_modes = 20_000, ("none",)

    simulation = Simulation(1, change=slow)
    for host in simulation.hosts.values():
        host.start()
    ahead: list[Host] = []
    while not ahead:
        assert simulation.heap.now_us < 5_000_000, "no node applied before its own disk had it"
        simulation.heap.run_until(simulation.heap.now_us + 100)
        cores = [(host, host.core) for host in simulation.hosts.values() if host.core is not None]
        ahead = [host for host, core in cores if core.history and core.peer.synced_index == 0]
    ahead[0].crash()
    ahead[0].start()
    assert ahead[0].core is not None
    assert ahead[0].core.footing.is_sound


def test_a_world_is_shrunk_to_what_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault that the failure does not need is turned off, and the run is cut short."""

    def failure_of(seed: int, events: int, settings: dict[str, object]) -> str:
        crashes = settings.get("crash") != 0.0
        return f"seed {seed}: Violation: C1: broken\n" if crashes and events >= 3_000 else ""

    monkeypatch.setattr(shrink, "failure_of", failure_of)
    seed = next(seed for seed in range(100) if Simulation(seed).draw.crash and Simulation(seed).draw.partition)
    found = shrink.shrink(seed, 20_000, lambda line: None)
    assert "partition=0.0" in found
    assert "crash=" not in found.replace("crash_", "")
    assert "--events" in found
    assert 3_000 <= int(found.split("--events ")[1].split()[0]) <= 3_600
