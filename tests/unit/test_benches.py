"""Goal: the measurements of bench/ still work, so that `make bench` does not fail when somebody wants to know something.

Method: those of the core are run once each, without being timed; those of real nodes are only collected."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pytest_in_bench(*arguments: str) -> str:
    """What a pytest of its own says, which must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--benchmark-disable", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_measurements_of_the_core_work() -> None:
    assert "15 passed" in pytest_in_bench("bench/test_core.py")


def test_every_operation_is_measured_over_both_protocols_on_one_node_and_on_three() -> None:
    found = pytest_in_bench("--collect-only", "bench/test_latency.py", "bench/test_throughput.py")
    for name in ("test_latency", "test_throughput"):
        assert found.count(f"::{name}[") == 2 * 2 * 7
