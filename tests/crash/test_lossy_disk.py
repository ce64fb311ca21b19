"""Goal: the disk that forgets what was not synced forgets exactly that.

Method: small programs are preloaded with the shim, do things to files, and kill themselves with SIGKILL.  What lose() leaves
is held against what had been synced; long random programs against a model of a disk."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fastzk.testing.chaos.lossy import LossyDisk, ShimUnavailable

pytestmark = pytest.mark.process

PRELUDE = """
import errno, os, signal, sys, time
from pathlib import Path
from random import Random

def put(path, data, offset=0):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, data, offset)
    return fd

def sync(path):
    fd = os.open(os.path.realpath(path), os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def disk(tmp_path: Path) -> LossyDisk:
    try:
        return LossyDisk(tmp_path / "data", tmp_path / "notes")
    except ShimUnavailable as why:
        pytest.skip(str(why))


def run(disk: LossyDisk, tmp_path: Path, program: str, status: int = -signal.SIGKILL) -> str:
    """Runs it in the data directory's parent; gives what it printed."""
    command = [sys.executable, "-c", PRELUDE + program]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | disk.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def found(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "data"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_is_not_synced_is_lost(disk: LossyDisk, tmp_path: Path) -> None:
    program = """
os.mkdir("data"); sync(".")
a = put("data/a", b"first"); os.fdatasync(a); sync("data")
os.pwrite(a, b"second!", 0)
b = put("data/b", b"synced, but its name is not"); os.fsync(b)
die()
"""
    run(disk, tmp_path, program)
    assert found(tmp_path) == {"a": b"second!", "b": b"synced, but its name is not"}, "as the page cache has it"
    lost = disk.lose()
    assert found(tmp_path) == {"a": b"first"}
    assert (lost.writes, lost.names) == (1, 1)


def test_names_come_back(disk: LossyDisk, tmp_path: Path) -> None:
    program = """
os.mkdir("data"); sync(".")
for name in "abcd":
    os.fsync(put(f"data/{name}", name.encode()))
sync("data")
os.unlink("data/a")
os.replace("data/b", "data/c")
os.rename("data/d", "data/e")
os.fsync(put("data/e", b"EE"))
fd = os.open("data/e", os.O_RDWR); os.ftruncate(fd, 1)
die()
"""
    run(disk, tmp_path, program)
    assert found(tmp_path) == {"c": b"b", "e": b"E"}
    disk.lose()
    assert found(tmp_path) == {"a": b"a", "b": b"b", "c": b"c", "d": b"EE"}, "bytes that were synced, names that were not"


def test_a_data_directory_whose_name_is_not_synced_is_lost(disk: LossyDisk, tmp_path: Path) -> None:
    run(disk, tmp_path, 'os.mkdir("data"); os.fsync(put("data/a", b"a")); sync("data"); die()')
    disk.lose()
    assert not (tmp_path / "data").exists()


def test_a_failed_sync_loses_for_good(disk: LossyDisk, tmp_path: Path) -> None:
    program = """
os.mkdir("data"); sync(".")
a = put("data/a", b"kept"); os.fsync(a); sync("data")
os.pwrite(a, b"LOST", 0)
print("armed", flush=True); sys.stdin.readline()
try:
    os.fdatasync(a)
except OSError as error:
    print(error.errno)
os.fdatasync(a)
die()
"""
    command = [sys.executable, "-c", PRELUDE + program]
    environment = os.environ | disk.environment
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "armed\n"
        disk.control.fail_sync(errno.EIO)
        out, _ = process.communicate("go\n", timeout=30)
    assert out == f"{errno.EIO}\n"
    assert disk.control.get("failures") == 1
    disk.lose()
    assert found(tmp_path) == {"a": b"kept"}


def test_a_lying_disk_keeps_nothing(disk: LossyDisk, tmp_path: Path) -> None:
    disk.control.set("is_lying", 1)
    run(disk, tmp_path, 'os.mkdir("data"); sync("."); os.fsync(put("data/a", b"a")); sync("data"); die()')
    disk.lose()
    assert not (tmp_path / "data").exists()


def test_only_the_clock_on_the_wall_is_moved(disk: LossyDisk, tmp_path: Path) -> None:
    disk.control.set("clock_offset_ns", -3600 * 10**9 - 999_999_999)
    moved = run(disk, tmp_path, "print(time.time(), time.monotonic())", status=0).split()
    disk.control.set("clock_offset_ns", 0)
    true = run(disk, tmp_path, "print(time.time(), time.monotonic())", status=0).split()
    assert 3600 < float(true[0]) - float(moved[0]) < 3631
    assert 0 < float(true[1]) - float(moved[1]) < 30


PROGRAM = """
random = Random({seed})
names = list("abc")
synced = {{}}                       # what must be there: name -> bytes
now = {{}}                          # what the process sees
os.mkdir("data"); sync(".")
for _ in range({steps}):
    name, what = random.choice(names), random.randrange(5)
    path = "data/" + name
    if what == 0 and name not in now:
        fd = put(path, b""); os.close(fd); sync("data")
        now[name] = b""; synced[name] = b""
    elif name in now and what == 1:
        at, data = random.randrange(3000), random.randbytes(random.randrange(1, 2000))
        os.close(put(path, data, at))
        now[name] = (now[name].ljust(at, b"\\0")[:at] + data + now[name][at + len(data):])
    elif name in now and what == 2:
        size = random.randrange(4000)
        fd = os.open(path, os.O_RDWR); os.ftruncate(fd, size); os.close(fd)
        now[name] = now[name][:size].ljust(size, b"\\0")
    elif name in now and what == 3:
        sync(path); synced[name] = now[name]
    elif name in now and what == 4 and random.random() < 0.2:
        os.unlink(path); sync("data")
        del now[name], synced[name]
print(repr((synced, now)), flush=True)
die()
"""


@pytest.mark.parametrize("seed", range(8))
def test_a_random_program_keeps_what_it_synced(disk: LossyDisk, tmp_path: Path, seed: int) -> None:
    synced, now = eval(run(disk, tmp_path, PROGRAM.format(seed=seed, steps=300)))
    assert found(tmp_path) == now
    disk.lose()
    assert found(tmp_path) == synced


@pytest.mark.parametrize("seed", range(8))
def test_a_part_that_is_lost_leaves_old_or_new_bytes(disk: LossyDisk, tmp_path: Path, seed: int) -> None:
    program = """
os.mkdir("data"); sync(".")
a = put("data/a", b"o" * 8192); os.fsync(a); sync("data")
os.pwrite(a, b"n" * 6000, 700)
os.pwrite(a, b"N" * 2000, 8192)
die()
"""
    run(disk, tmp_path, program)
    disk.lose(Random(seed))
    data = found(tmp_path)["a"]
    assert len(data) >= 8192
    assert data[:700] == b"o" * 700
    assert data[6700:8192] == b"o" * (8192 - 6700)
    for at in range(1024, 6144, 512):
        assert data[at : at + 512] in (b"o" * 512, b"n" * 512), "a sector is old or new"
    assert set(data[8192:]) <= set(b"N\0")
