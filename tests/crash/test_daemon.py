"""Goal: fastzk-node begins, ends and fails as its operator expects: one line that says what and what to do, exit status 2
for the operator's mistakes, 0 for an orderly end, and nothing left behind.

Method: the real command with real files and ports."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from fastzk.testing.ensemble import Ensemble, Node, free_ports, monitored, node_command, process_name, wait_for

pytestmark = pytest.mark.process
SECONDS = 20


def run(*options: str) -> tuple[int, str]:
    """(exit status, stderr) of a node that is expected to end by itself."""
    done = subprocess.run([*node_command(), *options], capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, done.stderr


def ports() -> list[str]:
    """Options with free ports."""
    zk, native = free_ports(2)
    return ["--zk", f"127.0.0.1:{zk}", "--native", f"127.0.0.1:{native}"]


def other_workers(node: Node, former: list[int]) -> list[int]:
    """The node's workers, when they are not the former ones."""
    workers = node.worker_pids()
    return workers if workers != former else []


def assert_one_line(status: int, text: str, *names: str) -> None:
    assert status == 2, text
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("fastzk-node: "), text
    for name in names:
        assert name in lines[0], text


@pytest.mark.parametrize("option", ["--zk", "--native"])
def test_a_port_in_use(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, text = run("--data-dir", str(tmp_path / "1"), *ports(), option, address)
    assert_one_line(status, text, option, address, "in use", "another port")


def test_an_ensemble_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, text = run("--data-dir", str(tmp_path / "1"), *ports(), "--peers", f"1={address}")
    assert_one_line(status, text, "--peers", address, "in use")


def test_an_unreadable_peers_list(tmp_path: Path) -> None:
    status, text = run("--data-dir", str(tmp_path / "1"), *ports(), "--peers", "1=127.0.0.1:2881;2=127.0.0.1:2882")
    assert_one_line(status, text, "--peers")
    assert not (tmp_path / "1").exists(), "a mistake in the options must leave nothing behind"


def test_a_host_that_is_none(tmp_path: Path) -> None:
    status, text = run("--data-dir", str(tmp_path / "1"), *ports(), "--zk", "example..com:2181", "--insecure-listen")
    assert_one_line(status, text, "--zk", "example..com")


def test_the_data_of_a_member_is_not_for_a_node_alone_nor_its_run_directory_a_file(disk: Path) -> None:
    with Ensemble(3, disk) as nodes:
        node = nodes.node(1)
        assert node.stop() == 0
        status, text = run("--id", "1", "--data-dir", str(node.data_dir), *ports())
        assert status == 2, text
        assert "belongs to an ensemble with nodes 2, 3, and was started alone" in text
        shutil.rmtree(node.data_dir / "run")
        (node.data_dir / "run").touch()
        status, text = run(*node.command[node.command.index("--id") :])
        assert_one_line(status, text, str(node.data_dir / "run"), "directory")
        (node.data_dir / "run").unlink()
        nodes.restart(node)


def test_a_node_that_stood_alone_is_no_member_by_an_option(disk: Path) -> None:
    """Somebody forgot --peers at its first start: it has an ensemble of its own, and would serve that beside the real one."""
    with Ensemble(1, disk) as nodes:
        node = nodes.node(1)
        assert node.stop() == 0
        peers = [f"{number}=127.0.0.1:{port}" for number, port in enumerate(free_ports(3), 1)]
        status, text = run("--id", "1", "--data-dir", str(node.data_dir), *ports(), "--peers", ",".join(peers))
        assert status == 2, text
        assert "node 1 stood alone here, and was started with nodes 2, 3; to join them give it an empty --data-dir" in text
        nodes.restart(node)


def test_an_address_that_others_reach(tmp_path: Path) -> None:
    status, text = run("--data-dir", str(tmp_path / "1"), "--zk", "0.0.0.0:2181")
    assert_one_line(status, text, "0.0.0.0:2181", "loopback", "encrypted", "--zk-tls", "--insecure-listen")


def test_a_data_directory_of_another_node(disk: Path) -> None:
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        in_use, in_use_text = run("--data-dir", str(node.data_dir), *ports())
        assert node.stop() == 0
        other, other_text = run("--id", "2", "--data-dir", str(node.data_dir), *ports())
        identity = node.data_dir / "identity"
        identity.write_text(identity.read_text().replace("fastzk 2", "fastzk 9"))
        version, version_text = run("--data-dir", str(node.data_dir), *ports())
    assert_one_line(in_use, in_use_text, str(node.data_dir))
    assert_one_line(other, other_text, str(node.data_dir), "1", "2")
    assert_one_line(version, version_text, str(node.data_dir), "9")


def test_a_damaged_log_is_named_and_kept(disk: Path) -> None:
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        assert node.stop() == 0
        segment = next((node.data_dir / "log").iterdir())
        whole = segment.read_bytes()
        damaged = bytearray(whole)
        damaged[150] ^= 1  # in the first block, which a seal behind it proves
        segment.write_bytes(damaged)
        status, text = run("--data-dir", str(node.data_dir), *ports())
        assert status == 2, text
        assert segment.name in text
        assert "offset" in text
        assert segment.read_bytes() == bytes(damaged), "a damaged log is evidence; it stays as it is"
        segment.write_bytes(whole)
        ensemble.restart(node)


def removed(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        shutil.rmtree(directory)
    return not directory.exists()


def test_a_data_directory_removed_under_a_node_ends_it(disk: Path) -> None:
    """It once went on acknowledging, into a file that no directory held."""
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        wait_for(lambda: removed(node.data_dir), 10.0, "the directory to be gone, though the node writes into it")
        # Within a second it looks, and says the same when it wants to write a file before that.
        assert node.wait_end() == 2
        assert "was removed while the node was running" in node.log_tail()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end(disk: Path, number: signal.Signals) -> None:
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        pids = node.pids()
        assert len(pids) >= 3, "a supervisor, an engine, a worker"
        assert node.process is not None
        node.process.send_signal(number)
        assert node.wait_end() == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        ensemble.restart(node)


def test_a_killed_worker_is_replaced_and_the_node_goes_on(disk: Path) -> None:
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        engine, workers = node.engine_pid(), node.worker_pids()
        for _ in range(3):
            node.kill_worker()
            workers = wait_for(partial(other_workers, node, workers), SECONDS, "another worker")
            wait_for(lambda: node.mode() == "standalone", SECONDS, "an answer from the new worker")
        assert node.engine_pid() == engine


def test_a_killed_engine_ends_the_node(disk: Path) -> None:
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        node.kill_engine()
        assert node.wait_end() == 1
        assert "the engine was ended by SIGKILL" in node.log_tail()
        ensemble.restart(node)


def test_a_killed_supervisor_takes_the_node_with_it(disk: Path) -> None:
    with Ensemble(1, disk) as ensemble:
        node = ensemble.node(1)
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGKILL)
        assert node.wait_end() == -signal.SIGKILL
        ensemble.restart(node)


def test_a_stopped_leader_is_replaced_and_follows_when_it_wakes(ensemble: Ensemble) -> None:
    """A paused process must not be believed when it wakes: no split brain, no stale node, equal digests."""
    leader = ensemble.leader()
    pids = leader.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        others = [node for node in ensemble.nodes if node is not leader]
        wait_for(lambda: any(node.mode() == "leader" for node in others), SECONDS, "a new leader")
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    wait_for(lambda: leader.mode() == "follower", SECONDS, "the old leader to follow")
    epochs = {monitored(node.zk)["zk_applied_zxid"] for node in ensemble.nodes}
    assert len(epochs) == 1 or ensemble.digest()
    assert [process_name(pid) for pid in pids] == [process_name(pid) for pid in leader.pids()], "no process was replaced"


def test_every_process_may_have_as_many_descriptors_as_the_system_allows(disk: Path) -> None:
    """A shell's soft limit is small, and a log that gets no descriptor ends its node."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        nodes = Ensemble(1, disk)
        nodes.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        pids = nodes.node(1).pids()
        assert len(pids) >= 3
        assert {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids} == {(hard, hard)}
    finally:
        nodes.__exit__(None, None, None)
