"""Goal: a node whose tree is not the others' notices soon after writes, makes its tree anew and agrees again; the others go on.

Method: three real nodes; in one follower's memory a byte of a znode's data is changed, as a broken memory would, through the
file descriptor of its arena.  The next write to that znode takes the changed data's hash out of the digest, and so the digests
part.  What a node does that differs a second time is told by the file that it remembers the first by."""

import mmap
import os
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.node.divergence import Diverged, DivergenceFile
from fastzk.storage.disk import RealDisk
from fastzk.testing.ensemble import Ensemble, Node, wait_for

PATTERN = b"a pattern that stands in no other place"
SECONDS = 30


def change_a_byte(node: Node) -> None:
    """In the znode's data, in the memory that the node's processes share."""
    pid = node.engine_pid()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:fastzk-arena" in os.readlink(fd):
            break
    else:
        raise AssertionError("the engine has no arena")
    with open(fd, "r+b") as file, mmap.mmap(file.fileno(), 4 << 30) as memory:
        place = memory.find(PATTERN)
        assert place > 0, "the data is not in the arena"
        memory[place] ^= 1


@pytest.mark.process
def test_a_node_with_another_tree_makes_it_anew_and_agrees_again(tmp_path: Path) -> None:
    with Ensemble(3, tmp_path) as ensemble:
        odd = ensemble.followers()[0]
        others = [node for node in ensemble.nodes if node is not odd]
        client = KazooClient(hosts=",".join(node.zk_host for node in others))
        client.start()
        client.create("/x", PATTERN)
        client.sync("/x")
        assert ensemble.digest()
        change_a_byte(odd)
        for number in range(300):
            client.set("/x", b"%d" % number)
        wait_for(lambda: "its tree at entry" in odd.log_tail(), SECONDS, "the node to notice")
        wait_for(lambda: "starts itself anew" in odd.log_tail(), SECONDS, "the node to begin again")
        ensemble.wait_serving([odd])
        for number in range(300):
            client.set("/x", b"%d" % number)
        assert ensemble.digest(), "all three agree again"
        assert not (odd.data_dir / "diverged").exists(), "it has agreed beyond where it differed"
        for node in others:
            assert "its tree at entry" not in node.log_tail()
        client.stop()
        client.close()


def test_the_same_again_ends_the_node_and_agreeing_ends_the_memory_of_it(tmp_path: Path) -> None:
    def begun() -> DivergenceFile:
        return DivergenceFile(RealDisk(), str(tmp_path), 1, 77)

    begun().note(128, 256)
    again = begun()
    again.agreed(128)
    with pytest.raises(Diverged, match=r"at entry 384.*at 256.*diverged to try again"):
        again.note(256, 384)
    again.agreed(256)
    begun().note(512, 640)
    (tmp_path / "diverged").write_bytes(b"what somebody wrote there")
    with pytest.raises(Diverged):
        begun().note(768, 896)
