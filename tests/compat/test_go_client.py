"""Goal: the Go client github.com/go-zookeeper/zk works with fastzk.

Method: the Go tests in tests/compat/go, with the version their go.mod names; it has no persistent watches yet, so these are
judged elsewhere.  Without Go, or where its module cannot be had, the tests are skipped and say why."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).parent / "go"
INSTALL_S_MAX = 120.0
RUN_S_MAX = 200.0
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(INSTALL_S_MAX + RUN_S_MAX),
    pytest.mark.skipif(not shutil.which("go"), reason="there is no Go: `apt-get install golang-go` brings it"),
]


def go(*arguments: str, limit_s: float, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs the go command in the module; nothing may change its go.mod."""
    return subprocess.run(
        ["go", *arguments],
        cwd=MODULE,
        env={**os.environ, "GOFLAGS": "-mod=readonly", **environment},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def test_go_zookeeper(hosts: str) -> None:
    had = go("mod", "download", limit_s=INSTALL_S_MAX)
    if had.returncode:
        pytest.skip(f"`go mod download` in {MODULE} failed, is a module proxy reachable? {had.stderr}")
    done = go("test", "-count=1", "-v", "./...", limit_s=RUN_S_MAX, ZOOKEEPER_HOSTS=hosts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--- SKIP" not in done.stdout
