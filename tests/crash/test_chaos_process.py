"""Goal: real nodes keep every promise through kills that lose what was not synced, cut networks, failing and full disks and
wrong clocks; and the harness that says so would see it if they did not.

Method: minutes of `make chaos` in seconds: recorded clients on both wires, one or two faults each, and the judges of
fastzk.testing.judging over the whole history and the nodes' logs.  The last test plants a defect under the nodes' feet: disks that
say that a sync is done and do nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fastzk.testing.chaos.cycles import WRITES_BETWEEN, await_writes, run_cycles, run_lie
from fastzk.testing.chaos.disk_faults import SyncError, WriteError
from fastzk.testing.chaos.lossy import ShimUnavailable, shim_path
from fastzk.testing.chaos.nemesis import Clock, Fault, heal
from fastzk.testing.chaos.run import Run
from fastzk.testing.ensemble import wait_for

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

IMAGE_BYTES = 16 << 20
END_S_MAX = 15.0
CUT_S = 7.0  # TCP tries again after 6.2 s, and then after 12.6 s
HEALED_S_MAX = 4.0


@pytest.fixture(scope="module")
def chaos(disk: Path) -> Path:
    """Where runs keep their files."""
    try:
        shim_path()
    except ShimUnavailable as why:
        pytest.skip(str(why))
    return disk / "chaos"


def assert_kept(run: Run) -> None:
    """The run kept every promise, and was one."""
    verdict = run.judge()
    assert verdict.is_passed, f"{run.home}\n{verdict}"
    assert run.crowd.writes > WRITES_BETWEEN


def test_twenty_kills_on_lossy_disks(chaos: Path) -> None:
    with Run(chaos, 11, "twenty kills", ["kill", "kill-leader", "kill-lossy", "kill-all"]) as run:
        run_cycles(run, {"kill": 7, "leader": 5, "lossy": 7, "all": 1})
        assert sum(node.kills for node in run.site.nodes) == 22
        assert_kept(run)


def test_failing_syncs_and_writes_and_wrong_clocks(chaos: Path) -> None:
    kinds: list[type[Fault]] = [SyncError, Clock, WriteError, SyncError]
    with Run(chaos, 12, "failing disks, wrong clocks", [kind.name for kind in kinds]) as run:
        random = Random(12)
        for kind in kinds:
            fault = kind(run, random)
            fault.begin()
            await_writes(run, 3 * WRITES_BETWEEN)
            heal(run, [fault])
            run.site.wait_all_serving()
        assert sum(node.disk.control.get("failures") for node in run.site.nodes) >= 2, "a disk that was to fail did not"
        assert_kept(run)


@pytest.fixture
def small_disk(chaos: Path) -> Iterator[Path]:
    """A device for a file system of a few MiB."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("a full disk needs a file system of its own: root and mkfs.ext4 (e2fsprogs)")
    chaos.mkdir(parents=True, exist_ok=True)
    image = chaos / f"image-{os.getpid()}"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    yield image
    image.unlink()


def test_a_full_disk(chaos: Path, small_disk: Path) -> None:
    run = Run(chaos, 13, "a full disk", ["disk-full"])
    node = run.site.nodes[2]
    node.environment.clear()  # what the lossy disk keeps aside must be on the same file system
    node.data_dir.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(small_disk), str(node.data_dir)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        shutil.rmtree(run.home)
        pytest.skip(f"no file system of its own can be mounted here: {mounted.stderr.strip()}")
    with run:
        try:
            run.fault("disk-full", target=node.name)
            ballast = node.data_dir / "lost+found" / "ballast"
            fill(ballast)
            assert node.process is not None
            wait_for(lambda: node.process.poll() is not None, END_S_MAX, "the node to end, since its disk is full")  # type: ignore[union-attr]
            assert node.process.returncode != 0
            assert "fastzk-node: " in node.log_tail()
            assert "ENOSPC" in node.log_tail()
            await_writes(run, WRITES_BETWEEN)  # the others go on
            ballast.unlink()
            run.site.start_all()
            run.site.wait_all_serving()
            await_writes(run, WRITES_BETWEEN)
            assert_kept(run)
        finally:
            subprocess.run(["umount", "-l", str(node.data_dir)], check=True)


def fill(path: Path) -> None:
    """Takes every byte of a file system."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_cut_networks(chaos: Path) -> None:
    command = [sys.executable, "-m", "fastzk.testing.chaos", "--minutes", "0.25", "--seed", "14", "--directory", str(chaos)]
    command += ["--only", "isolate-leader,mute,deaf,bridge"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    for line in done.stdout.splitlines():
        if "SKIPPED: all faults of the network" in line:
            pytest.skip(line.partition("SKIPPED: ")[2])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    assert "phase 1: " in done.stdout


HEALED = """
import sys
from pathlib import Path
from random import Random
from fastzk.testing.chaos.cycles import await_writes
from fastzk.testing.chaos.namespaces import Network, enter_own_network
from fastzk.testing.chaos.nemesis import Split
from fastzk.testing.chaos.phases import let_pass
from fastzk.testing.chaos.run import Run

enter_own_network()
with Network(3) as network, Run(Path(sys.argv[1]), 17, "a cut that is healed", ["split"], network=network) as run:
    await_writes(run, 20)
    split = Split(run, Random(17))
    split.begin()
    let_pass(run, float(sys.argv[2]))
    split.heal()
    run.gap.healed()
    await_writes(run, 20)
    print(run.gap.longest_healed_s)
    verdict = run.judge()
    assert verdict.is_passed, verdict
"""


def test_an_ensemble_is_whole_soon_after_a_cut_is_healed(chaos: Path) -> None:
    """Once it stayed without a leader for as long again as it had been cut: TCP tries a silent connection ever more rarely."""
    command = [sys.executable, "-c", HEALED, str(chaos), str(CUT_S)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if "NoNamespaces: " in done.stderr:
        pytest.skip(done.stderr.rpartition("NoNamespaces: ")[2])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    assert float(done.stdout) < HEALED_S_MAX


def test_disks_that_lie_are_found_out(chaos: Path) -> None:
    with Run(chaos, 15, "lying disks", ["lying-disk", "kill-all"]) as run:
        run_lie(run)
        verdict = run.judge()
        assert not verdict.is_passed, "acknowledged writes were lost, and no judge has seen it"
        assert verdict.found["C2"] > 0, verdict
        run.is_kept = False
