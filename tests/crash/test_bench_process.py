"""Goal: fastzk-bench measures a real node over both of its protocols, in every operation, and leaves nothing behind when told so.

Method: one node; short runs, each of which must be clean, and the number of znodes afterwards."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastzk.bench.command import main
from fastzk.bench.load import OPERATIONS, Workload, run
from fastzk.testing.ensemble import Ensemble, monitored

pytestmark = pytest.mark.process

BRIEF = ["--connections", "4", "--window", "20", "--keys", "50", "--warm-up-s", "0", "--operations", "2000", "--json", "-"]


@pytest.fixture(scope="module")
def node(disk: Path) -> Iterator[Ensemble]:
    with Ensemble(1, disk) as alone:
        yield alone


def arguments_of(node: Ensemble, protocol: str) -> list[str]:
    return [node.native_hosts if protocol == "native" else node.zk_hosts, "--protocol", protocol, *BRIEF]


@pytest.mark.parametrize("protocol", ["zookeeper", "native"])
def test_every_operation_is_measured_over_both_protocols(node: Ensemble, protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    for operation in OPERATIONS:
        assert main([*arguments_of(node, protocol), "--op", operation]) == 0, capsys.readouterr()
        told = json.loads(capsys.readouterr().out)
        assert told["operations"] == 2000
        assert told["is_clean"]


@pytest.mark.parametrize("options", [[], ["--protocol", "native"], ["--protocol", "native", "--batch", "10", "--threads", "2"]])
def test_cleaning_leaves_the_tree_as_it_was(node: Ensemble, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    address = node.native_hosts if options else node.zk_hosts
    before = monitored(node.nodes[0].zk)["zk_znode_count"]
    assert main([address, *BRIEF, *options, "--mix", "get=1,create=5,delete=1", "--prefix", "/cleaned", "--clean"]) == 0
    assert json.loads(capsys.readouterr().out)["writes"]["count"] > 1000
    assert monitored(node.nodes[0].zk)["zk_znode_count"] == before


@pytest.mark.parametrize("protocol", ["zookeeper", "native"])
def test_an_open_loop_holds_its_rate(node: Ensemble, protocol: str) -> None:
    address = node.nodes[0].native if protocol == "native" else node.nodes[0].zk
    workload = Workload(connections=3, keys=10, rate=3000.0, duration_s=0.3, warm_up_s=0.0, protocol=protocol)
    result = run([address], workload)
    assert result.is_clean
    assert sum(result.reads) + result.unsent == pytest.approx(result.elapsed_s * 3000, abs=2)


def test_the_other_port_is_told_from_the_right_one(node: Ensemble, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([node.native_hosts, *BRIEF]) == 2
    assert re.search("does not speak ZooKeeper's protocol|speaks another protocol", capsys.readouterr().err)
    assert main([node.zk_hosts, *BRIEF, "--protocol", "native"]) == 2
    assert "is it the port of the native protocol?" in capsys.readouterr().err
