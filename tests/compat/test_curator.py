"""Goal: Apache Curator's recipes, unmodified, do with fastzk what they do with ZooKeeper.

Method: one Java program (tests/compat/java/curator) runs every recipe with two or more clients, the end of a session
among what happens to them, and prints a verdict for each; here each verdict is a test.  It runs once against three
nodes.  `--hosts` puts any ZooKeeper in their place; TTL znodes must be on there."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fastzk.testing import maven

# The first time, Maven fetches the jars.
pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

SOURCES = Path(__file__).parent / "java" / "curator"
RUN_S_MAX = 100.0
RECIPES = (
    "LeaderLatch", "LeaderSelector",
    "InterProcessMutex", "InterProcessSemaphoreMutex", "InterProcessReadWriteLock", "InterProcessSemaphoreV2",
    "InterProcessMultiLock", "DistributedBarrier", "DistributedDoubleBarrier",
    "SharedCount", "DistributedAtomicLong",
    "DistributedQueue", "DistributedPriorityQueue", "DistributedDelayQueue", "SimpleDistributedQueue",
    "CuratorCache", "NodeCache", "PathChildrenCache", "TreeCache", "PersistentWatcher", "Watchers",
    "PersistentNode", "PersistentTtlNode", "GroupMember", "ServiceDiscovery",
    "Transactions", "CreateModes", "Acls", "Background", "Namespace", "EnsembleTracker",
)  # fmt: skip


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, java_jars: Callable[[str], str]) -> dict[str, str]:
    """What the program printed of each recipe, by name."""
    jars = java_jars("curator")
    try:
        classes = maven.compiled(sorted(SOURCES.glob("*.java")), jars)
    except maven.Unavailable as missing:
        pytest.skip(f"Curator's recipes: {missing}")
    given: str | None = request.config.getoption("--hosts")
    hosts = given or request.getfixturevalue("shared_ensemble").zk_hosts
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"]
    done = subprocess.run([*command, "-cp", f"{classes}:{jars}", "Judge", hosts], capture_output=True, text=True, timeout=RUN_S_MAX)
    found = {match[1]: match[0] for match in re.finditer(r"^(?:PASS|FAIL) (\w+).*", done.stdout, re.MULTILINE)}
    assert found, f"no verdict: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    print(done.stderr[-20000:])
    return found


def test_every_recipe_of_the_program_is_judged_here(verdicts: dict[str, str]) -> None:
    assert set(verdicts) == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(verdicts: dict[str, str], recipe: str) -> None:
    assert verdicts[recipe].startswith("PASS"), verdicts[recipe]
