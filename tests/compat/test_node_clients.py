"""Goal: Node's two clients of ZooKeeper, as npm has them, work with fastzk: the one written in JavaScript and the addon.

Method: their scripts in tests/compat/node, whose cases Node's own test runner reports; `npm ci` brings the versions of the
lock file below build/ on first use.  The addon compiles ZooKeeper's C client then, which takes half a minute once.
Without Node, or where npm or the compiler cannot, the tests are skipped and say why."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "node"
BUILD = Path(__file__).parents[2] / "build" / "judges"
INSTALL_S_MAX = 300.0
RUN_S_MAX = 60.0
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(INSTALL_S_MAX + RUN_S_MAX),
    pytest.mark.skipif(not shutil.which("npm"), reason="there is no npm: `apt-get install nodejs npm` brings Node and npm"),
]


@pytest.fixture(scope="module")
def scripts() -> Path:
    """The scripts beside the clients they use, installed once for each lock file."""
    lock = (SCRIPTS / "package-lock.json").read_bytes()
    home = BUILD / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (home / "installed").exists():
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, home)
        # Headers that Node came with, so that none have to be fetched.
        prefix = Path(shutil.which("node") or "/usr/bin/node").resolve().parents[1]
        headers = {"npm_config_nodedir": str(prefix)} if (prefix / "include" / "node" / "node.h").exists() else {}
        command = ["npm", "ci", "--no-audit", "--no-fund", "--foreground-scripts"]
        environment = {**os.environ, **headers}
        done = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False
        )
        (home / "npm.log").write_text(done.stdout + done.stderr)
        if done.returncode:
            pytest.skip(f"`npm ci` in {SCRIPTS} failed, is a registry of npm reachable? {done.stderr[-1000:]}")
        (home / "installed").touch()
    for script in SCRIPTS.glob("*.js"):
        shutil.copy(script, home)
    return home


def run(scripts: Path, script: str, hosts: str) -> None:
    """Runs one script; fails with what it printed."""
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", script],
        cwd=scripts,
        env={**os.environ, "ZOOKEEPER_HOSTS": hosts},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_node_zookeeper_client(scripts: Path, hosts: str) -> None:
    run(scripts, "pure.test.js", hosts)


def test_the_addon_zookeeper(scripts: Path, hosts: str) -> None:
    if not (scripts / "node_modules" / "zookeeper").exists():
        pytest.skip(
            "the addon `zookeeper` could not be compiled: it wants a C++ compiler, make, Python and Node's headers"
            f" (apt-get install build-essential python3 libnode-dev); {scripts / 'npm.log'} tells what was missing"
        )
    run(scripts, "native.test.js", hosts)
