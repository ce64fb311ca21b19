"""Goal: a member whose data was damaged while it was down starts by itself, says what it found, rejoins, and is whole again; what
was acknowledged is there on every node, whoever ends next.

Method: real nodes; a file of one of them changed, removed or carried over while it is down."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.testing.ensemble import Ensemble, Node, wait_for

pytestmark = pytest.mark.process
SECONDS = 30
WRITES = 30


def write(node: Node, prefix: str) -> list[str]:
    """Acknowledged writes through a node."""
    client = KazooClient(node.zk_host, timeout=10)
    client.start(SECONDS)
    paths = [client.create(f"/{prefix}-{number}", b"x" * 300) for number in range(WRITES)]
    client.stop()
    client.close()
    return paths


def all_present(node: Node, paths: list[str]) -> None:
    client = KazooClient(node.zk_host, timeout=10)
    client.start(SECONDS)
    client.sync("/")
    missing = [path for path in paths if client.exists(path) is None]
    client.stop()
    client.close()
    assert not missing, f"{len(missing)} of {len(paths)} acknowledged writes are lost"


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def segment(node: Node) -> Path:
    return sorted((node.data_dir / "log").iterdir())[-1]


def flip_log(node: Node) -> str:
    flip(segment(node), 2000)
    return segment(node).name


def flip_beginning(node: Node) -> str:
    flip(segment(node), 0)
    return "no right segment header"


def remove_log(node: Node) -> str:
    shutil.rmtree(node.data_dir / "log")
    return "log: offset 0: missing"


def flip_vote(node: Node) -> str:
    flip(node.data_dir / "vote", 20)
    return "vote: the slot at 0 is not right"


def remove_soundness(node: Node) -> str:
    (node.data_dir / "soundness").unlink()
    return "soundness: missing"


@pytest.mark.parametrize("damage", [flip_log, flip_beginning, remove_log, flip_vote, remove_soundness])
def test_a_member_whose_data_was_damaged_mends_itself(ensemble: Ensemble, damage: Callable[[Node], str]) -> None:
    node = ensemble.followers()[0]
    others = [each for each in ensemble.nodes if each is not node]
    paths = write(node, "before")
    node.kill9()
    told = damage(node)
    paths += write(others[0], "meanwhile")
    ensemble.restart(node)
    text = node.log_path.read_text()
    assert told in text
    assert "does not vote until it is level again" in text
    wait_for(lambda: "state sound" in (node.data_dir / "soundness").read_text(), SECONDS, "the node to be sound")
    paths += write(node, "after")
    # It counts again: with it and one other there is a quorum.
    others[0].kill9()
    paths += write(node, "later")
    all_present(node, paths)
    ensemble.restart(others[0])
    for each in ensemble.nodes:
        all_present(each, paths)
    assert ensemble.digest()


def test_the_same_damage_on_all_nodes_is_a_halt_that_names_it(tmp_path: Path) -> None:
    """Nobody could say what is lost.  Rather than go on without it the ensemble serves nobody, and each node tells why."""
    with Ensemble(3, tmp_path) as ensemble:
        write(ensemble.leader(), "kept")
        for node in ensemble.nodes:
            node.kill9()
        for node in ensemble.nodes:
            flip(segment(node), 3000)
            node.start()
        for node in ensemble.nodes:
            wait_for(lambda node=node: "itself does not count" in node.log_tail(), SECONDS, "the node to say what it waits for")
            said = node.log_tail()
            assert f"{segment(node)}: offset" in said
            assert "waits for a leader: 2 of nodes 1, 2, 3" in said
            assert node.mode() == "", "it must not serve"
            assert list((node.data_dir / "damaged").iterdir()), "the evidence is kept"


def shorten(path: Path) -> None:
    """Half of it is gone: by itself that looks like what a crash takes."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def test_a_log_that_was_shortened_after_an_orderly_end_is_told(tmp_path: Path, ensemble: Ensemble) -> None:
    """It was once taken for a torn tail, and acknowledged writes were gone without a word."""
    with Ensemble(1, tmp_path) as alone:
        node = alone.node(1)
        write(node, "kept")
        assert node.stop() == 0
        shorten(segment(node))
        node.start()
        assert node.wait_end() == 2
        assert "ends at entry" in node.log_tail()
        assert "was committed and stored here" in node.log_tail()
    member = ensemble.followers()[0]
    paths = write(ensemble.leader(), "shortened")
    assert member.stop() == 0
    shorten(segment(member))
    ensemble.restart(member)
    assert "was committed and stored here" in member.log_path.read_text()
    wait_for(lambda: "state sound" in (member.data_dir / "soundness").read_text(), SECONDS, "the node to be sound")
    all_present(member, paths)
    assert ensemble.digest()
