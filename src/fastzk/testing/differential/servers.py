"""The two servers of a duel, started for it: Apache ZooKeeper, and a fastzk node (or a second ZooKeeper, to check the test itself).

Rules: both know the same super user, keep TTL znodes, enforce quotas and refuse reconfiguration, so that what they answer
can be compared.  Neither waits for a disk here: what is compared are answers, and tests/crash is about disks."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fastzk.data import make_digest_acl_credential
from fastzk.testing import maven
from fastzk.testing.differential.bodies import SUPER
from fastzk.testing.ensemble import Address, Ensemble
from fastzk.testing.zookeeper import ZooKeeper

POM = Path(__file__).parents[4] / "tests" / "compat" / "java" / "zookeeper-3.9" / "pom.xml"
MEMORY = Path("/dev/shm")
SUPER_DIGEST = make_digest_acl_credential(*SUPER.decode().split(":"))
ORACLE_OPTIONS = (
    "-XX:TieredStopAtLevel=4",
    "-XX:+UseSerialGC",
    "-Dzookeeper.forceSync=no",
    "-Dzookeeper.enforceQuota=true",
    # It would look for empty containers each minute; one server that does is enough (rules.UPKEEP).
    "-Dznode.container.checkIntervalMs=86400000",
    # What is written about each refused request would fill the disk.
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
    f"-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}",
)


@contextlib.contextmanager
def duellists(directory: Path, is_self_check: bool = False) -> Iterator[tuple[Address, Address]]:
    """Addresses of an oracle and a candidate, which live as long as the `with`.  Raises maven.Unavailable."""
    jars = maven.classpath(POM)
    home = MEMORY if os.access(MEMORY, os.W_OK) else directory
    with ZooKeeper(jars, home, ORACLE_OPTIONS, "reconfigEnabled=false\n") as oracle:
        if is_self_check:
            with ZooKeeper(jars, home, ORACLE_OPTIONS, "reconfigEnabled=false\n") as twin:
                yield oracle.address, twin.address
        else:
            with candidate(home) as address:
                yield oracle.address, address


@contextlib.contextmanager
def candidate(home: Path) -> Iterator[Address]:
    """A fastzk node that stands alone, with one worker: several are to each other as the servers of an ensemble are."""
    before = os.environ.get("FASTZK_SUPER_DIGEST")
    os.environ["FASTZK_SUPER_DIGEST"] = SUPER_DIGEST
    try:
        with Ensemble(1, home, ["--log-level", "warning", "--workers", "1", "--no-reconfig"]) as ensemble:
            yield ensemble.node(1).zk
    finally:
        if before is None:
            del os.environ["FASTZK_SUPER_DIGEST"]
        else:
            os.environ["FASTZK_SUPER_DIGEST"] = before
