"""Java programs of others, by their names in a pinned pom.xml: Maven fetches the jars, once, and gives their class path.

Rules: a pom pins every version it names, so that a judge is the same program everywhere.  What cannot be had is told by
one clear `Unavailable`, for a test to skip with; it is never passed over.

How it works: `mvn dependency:build-classpath` puts the jars into Maven's own repository (~/.m2, shared by all clones and
by every later run) and prints the class path, which is kept below build/jars by the digest of the pom.  As long as the
jars are there, Maven is not started again and no network is needed.  Classes compiled from sources are kept likewise."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

JARS = Path(__file__).parents[3] / "build" / "jars"
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
FETCH_S_MAX = 500.0  # the first time, every jar and Maven's own plugin come over the network
COMPILE_S_MAX = 120.0
INSTALL = "`apt-get install default-jdk-headless maven` brings it"


class Unavailable(Exception):  # noqa: N818  (it is a state of the machine, not a mistake)
    """A Java, a Maven or a jar that is not there; says which, and how to get it."""


def classpath(pom: Path) -> str:
    """The class path of a pom's dependencies, all jars present.  Raises Unavailable when they cannot be had."""
    need("java")
    kept = JARS / f"{pom.parent.name}-{_digest([pom])}.classpath"
    if kept.exists() and all(map(os.path.exists, kept.read_text().split(os.pathsep))):
        return kept.read_text()
    need("mvn")
    with _alone(), tempfile.TemporaryDirectory(dir=JARS) as scratch:
        found = Path(scratch) / "classpath"
        _run(["mvn", "-B", "-q", "-f", str(pom), GOAL, f"-Dmdep.outputFile={found}"], FETCH_S_MAX, f"Maven on {pom}")
        found.rename(kept)
    return kept.read_text()


def compiled(sources: Sequence[Path], jars: str) -> str:
    """The directory of the classes that javac makes of these files.  Raises Unavailable when there is no javac, and
    RuntimeError when it refuses them."""
    need("javac")
    classes = JARS / f"classes-{_digest(sources, jars)}"
    with _alone():
        if classes.exists():
            return str(classes)
        with tempfile.TemporaryDirectory(dir=JARS) as scratch:
            fresh = Path(scratch) / "classes"
            command = ["javac", "-nowarn", "-proc:none", "-encoding", "UTF-8", "-cp", jars, "-d", str(fresh)]
            done = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, timeout=COMPILE_S_MAX)
            if done.returncode:
                raise RuntimeError(f"javac refuses {[path.name for path in sources]}:\n{done.stdout}{done.stderr}")
            fresh.rename(classes)
    return str(classes)


def need(command: str) -> str:
    """The path of a command.  Raises Unavailable when it is not installed."""
    found = shutil.which(command)
    if found is None:
        raise Unavailable(f"{command} is not installed: {INSTALL}")
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While no other process of ours fetches or compiles: two that fetch the same jar at once spoil it."""
    JARS.mkdir(parents=True, exist_ok=True)
    with (JARS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(paths: Sequence[Path], *texts: str) -> str:
    whole = hashlib.sha256()
    for part in [*(path.read_bytes() for path in paths), *(text.encode() for text in texts)]:
        whole.update(part + b"\0")
    return whole.hexdigest()[:16]


def _run(command: Sequence[str], seconds: float, what: str) -> None:
    """Runs a command that may need the network.  Raises Unavailable with the end of what it printed."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{what} did not end within {seconds:g} s; is the registry reached?") from late
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR] ") and len(line) > 20][:2]
        raise Unavailable(f"{what} failed: {' '.join(errors) or done.stdout[-500:] + done.stderr[-500:]}")
