"""Goal: kazoo's own test suite, as PyPI has it and unchanged, passes on fastzk.

Method: it starts, stops and configures a cluster of ZooKeeper by itself; kazoo_suite/fastzk_cluster.py stands where it
looks for one.  What it needs beside kazoo comes below build/ on first use.  It skips its tests of Kerberos, gevent and
eventlet, which are not installed."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Figures

from fastzk.testing.certificates import has_openssl

SUITE = Path(__file__).parent / "kazoo_suite"
SOURCES = Path(__file__).parents[2] / "src"
BUILD = Path(__file__).parents[2] / "build" / "judges"
INSTALL_S_MAX = 120.0
RUN_S_MAX = 600.0
TESTS_MIN = 300
pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(INSTALL_S_MAX + RUN_S_MAX),
    pytest.mark.skipif(not has_openssl(), reason="there is no openssl to make certificates with: `apt-get install openssl`"),
]


@pytest.fixture
def library() -> Path:
    """The directory with what kazoo's suite wants beside kazoo."""
    requirements = SUITE / "requirements.txt"
    home = BUILD / f"kazoo-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if not (home / "installed").exists():
        shutil.rmtree(home, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        command += ["--target", home, "-r", requirements]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
        if done.returncode:
            pytest.skip(f"`pip install -r {requirements}` failed, is a package index reachable? {done.stderr}")
        (home / "installed").touch()
    return home


def test_kazoo_suite(library: Path, home: Path, figures: Figures, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--hosts"):
        pytest.skip("kazoo's suite wants a cluster that it may stop and start, and not the servers of --hosts")
    (home / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "fastzk_cluster", "--timeout=100"]
    command += ["--tb=short", "--pyargs", "kazoo.tests"]
    path = [str(SUITE), str(library), str(SOURCES)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "ZOOKEEPER_VERSION": "3.9.5"}
    environment.pop("CI", None)  # it would then believe the version and not ask for it
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= TESTS_MIN, done.stdout
    figures.done(f"{passed[1]} tests of kazoo's own passed")
