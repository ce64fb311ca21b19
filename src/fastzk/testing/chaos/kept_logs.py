"""The whole log of a run, though the nodes remove what their snapshots make needless, and lose what is damaged.

    keep(node)                       every second or so
    blocks = whole_log(node, Pool(nodes))

Rules: nothing is copied while nodes run: a kept segment is a second name of the same file.  Only what a node holds at the end says
what the log is; what stands before that is taken from any node's kept segments, as the checksum of the block before it demands.

How it works: each block bears the checksum of the one before it, so that the way back to the first is certain."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fastzk._core.blocks import BlockDamaged, check
from fastzk.storage.log import LogDamaged
from fastzk.testing.chaos.site import ChaosNode
from fastzk.testing.history import read_log


def keep(node: ChaosNode) -> None:
    """Gives every segment that the node has now a second name; on a file system of its own it has none."""
    kept = node.home / "kept"
    kept.mkdir(exist_ok=True)
    for path in (node.data_dir / "log").glob("log.*"):
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # it may go meanwhile, or be kept already
            if path.stat().st_dev != kept.stat().st_dev:
                return
            os.link(path, kept / f"{path.name}.{path.stat().st_ino}")


class Pool:
    """Every whole block that was kept, by its checksum."""

    def __init__(self, nodes: Iterable[ChaosNode]) -> None:
        self._blocks: dict[int, bytes] = {}
        for node in nodes:
            for path in sorted((node.home / "kept").glob("log.*")):
                self._take(path)

    def _take(self, path: Path) -> None:
        """The blocks of one segment, if it is one that can be read: some were damaged on purpose."""
        with tempfile.TemporaryDirectory(prefix="fastzk-kept-") as directory:
            alone = Path(directory, "log")
            alone.mkdir()
            shutil.copyfile(path, alone / path.stem)
            with contextlib.suppress(LogDamaged, BlockDamaged):
                for block in read_log(Path(directory)):
                    self._blocks[check(block).checksum] = block

    def before(self, block: bytes) -> bytes | None:
        """The block before another, if it was kept."""
        return self._blocks.get(check(block).previous)


def whole_log(node: ChaosNode, pool: Pool) -> list[bytes]:
    """What the node holds, and what stood before it as far as that was kept."""
    blocks = read_log(node.data_dir)
    found = []
    at = blocks[0] if blocks else None
    while at is not None and (at := pool.before(at)) is not None:
        found.append(at)
    return found[::-1] + blocks
