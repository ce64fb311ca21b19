"""What a measurement ran on: processors, memory, kernel, file system, versions, the sources' commit, how busy it was.

Rule: nothing here names the machine or a place on it; the description is published with the figures.  It is one figure more in
the book (`of_machine`): its value is what a sync of this disk takes, the rest stands in the conditions."""

import hashlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zmq

import etcd
import zookeeper
from fastzk.testing.ensemble import file_system_of
from fastzk.testing.maven import Unavailable
from figures import Condition, Figure

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src", "bench", "setup.py", "pyproject.toml", "requirements")  # what a figure depends on
SYNCS = 100
SYNC_BYTES = 4096
BUSY_WATCH_S = 0.5
BUSY_PERCENT_MAX = 5.0  # of all processors; what else runs then shows in the figures


def commit(root: Path = ROOT) -> str:
    """The commit that is measured, with a digest of what the sources have besides; empty where git does not know."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    try:
        head, changes = git("rev-parse", "--short=12", "HEAD"), git("diff", "HEAD", "--", *SOURCES)
        return head + (f"+{hashlib.sha256(changes.encode()).hexdigest()[:6]}" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def fdatasync_p50_us(directory: Path) -> float:
    """The median time of appending 4 KiB to a file of the directory and having it on the disk."""
    took_us = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(SYNC_BYTES))
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            took_us.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(took_us)


def busy_percent() -> float:
    """How busy all processors were while we slept, what the hypervisor gave to others included."""

    def ticks() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # user nice system IDLE IOWAIT irq softirq steal

    all_before, idle_before = ticks()
    time.sleep(BUSY_WATCH_S)
    all_after, idle_after = ticks()
    return 100.0 * (1 - (idle_after - idle_before) / max(1, all_after - all_before))


def java_version() -> str:
    """`17.0.15` or alike; `none` without a Java."""
    try:
        told = subprocess.run(["java", "-version"], check=True, capture_output=True, text=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return "none"
    found = re.search(r'version "([^"]+)"', told)
    return found[1] if found else "unknown"


def cpu_model() -> str:
    """As the kernel calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def of_machine(directory: Path) -> Figure:
    """The machine in one figure.  Raises OSError when the directory cannot be written."""
    directory.mkdir(parents=True, exist_ok=True)
    about: dict[str, Condition] = {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "file_system": file_system_of(directory),
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        "java": java_version(),
        "commit": commit(),
        "busy_percent": round(busy_percent(), 1),
        "load_average": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    return Figure("run", "machine", "fdatasync_p50_us", fdatasync_p50_us(directory), "us", about)


def of_others() -> Figure:
    """Which other systems there are to compare with, by what they say of themselves.  Says why one is missing."""
    told: dict[str, Condition] = {}
    for name, describe in (("ZooKeeper", zookeeper.describe), ("etcd", etcd.describe)):
        try:
            told[name] = describe()
        except Unavailable as why:
            print(f"{name} cannot be compared with: {why}", file=sys.stderr, flush=True)
            told[name] = "not on this machine"
    return Figure("run", "others", "systems", len(told), "", told)


def warn_if_busy(machine: Figure) -> None:
    """Says it, when the figures will be those of a machine that does something else as well."""
    busy = float(machine.conditions["busy_percent"])
    if busy > BUSY_PERCENT_MAX:
        load = machine.conditions["load_average"]
        print(
            f"WARNING: this machine is not idle: {busy:.0f} % busy with other things, load average {load}."
            "  The figures will show that as well.",
            file=sys.stderr,
            flush=True,
        )
