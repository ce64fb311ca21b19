"""Goal: aiozk, as PyPI has it, works with fastzk.

Method: its own test suite, which it installs beside itself, unchanged, against nodes that stand alone; each part of the
suite has a node of its own, for its tests all work below one path.  Its parts mostly wait, so they run beside each other.
The versions are those of tests/compat/aiozk/requirements.txt, installed below build/ on first use, for the plugin of the
test runner that it wants is not for our tests.  Where no package index can be reached the test is skipped and says so."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastzk.testing.ensemble import Ensemble

REQUIREMENTS = Path(__file__).parent / "aiozk" / "requirements.txt"
BUILD = Path(__file__).parents[2] / "build" / "judges"
INSTALL_S_MAX = 120.0
RUN_S_MAX = 100.0
PARTS = (
    ("test_watchers", "test_client", "test_connection"),
    ("test_lock", "test_session", "test_transaction"),
    ("test_barrier", "test_election", "test_shared_lock", "test_counter", "test_recipe", "test_treecache"),
)
# One test that sleeps for 25 seconds, and tells no more than the others of its file.
LONG = "test_multi_watcher"
pytestmark = [pytest.mark.process, pytest.mark.timeout(INSTALL_S_MAX + RUN_S_MAX)]


@pytest.fixture(scope="module")
def library() -> Path:
    """The directory that has aiozk, its suite and what that runs with beside our own pytest."""
    home = BUILD / f"aiozk-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]}"
    if not (home / "installed").exists():
        shutil.rmtree(home, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        command += ["--target", home, "-r", REQUIREMENTS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
        if done.returncode:
            pytest.skip(f"`pip install -r {REQUIREMENTS}` failed, is a package index reachable? {done.stderr}")
        (home / "installed").touch()
    return home


def suite(library: Path, parts: tuple[str, ...], host: str, report: Path) -> "subprocess.Popen[bytes]":
    """Starts a part of aiozk's suite against one server."""
    address, port = host.split(":")
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "pytest_asyncio",
        "--timeout=60",
        "-k",
        f"not {LONG}",
        "--tb=short",
    ]
    command += [item for option in options for item in ("-o", option)]
    command += ["--pyargs", *(f"aiozk.test.{part}" for part in parts)]
    with report.open("wb") as log:
        environment = {**os.environ, "ZK_HOST": address, "ZK_PORT": port, "PYTHONPATH": str(library)}
        return subprocess.Popen(command, cwd=report.parent, stdout=log, stderr=log, env=environment)


def test_its_own_suite(library: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    given: str | None = request.config.getoption("--hosts")
    with contextlib.ExitStack() as started:
        if given:
            parts = [tuple(part for group in PARTS for part in group)]
            hosts = [given.split(",")[0]]
        else:
            disk = request.getfixturevalue("disk")
            parts = list(PARTS)
            hosts = [started.enter_context(Ensemble(1, disk)).zk_hosts for _ in parts]
        reports = [tmp_path / f"part-{number}" for number in range(len(parts))]
        runs = [suite(library, *each) for each in zip(parts, hosts, reports, strict=True)]
        try:
            failed = [report.read_text() for run, report in zip(runs, reports, strict=True) if run.wait(RUN_S_MAX)]
        finally:
            for run in runs:
                run.kill()
                run.wait()
    assert not failed, "\n".join(failed)
