"""Goal: a node with many znodes and a long log answers soon after its start.

Method: a real node whose directory holds 200,000 znodes in a snapshot, 50,000 blocks of log and 10,000 of them still to be
applied; killed and started three times.  The bound is for a machine that does much else, so it finds what grows with the square
of something, or a wait for a timeout; `bench/scenarios/restart.py` measures."""

from pathlib import Path

import pytest

from fastzk.testing.aged import first_read, grow
from fastzk.testing.ensemble import Ensemble

pytestmark = pytest.mark.process

ZNODES, BLOCKS, BEHIND = 200_000, 50_000, 10_000
SECONDS = 15  # 0.6 when nothing else runs


def test_a_node_with_many_znodes_and_a_long_log_answers_soon(tmp_path: Path) -> None:
    with Ensemble(1, tmp_path, ["--workers", "1"]) as ensemble:
        node = ensemble.nodes[0]
        assert node.stop() == 0
        grow(node.data_dir, ZNODES, BLOCKS, BEHIND)
        for _ in range(3):
            took_s = first_read(node)
            assert took_s < SECONDS
            node.kill9()
