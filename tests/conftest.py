"""What all tests share: where real nodes keep their files, and how a test that cannot run says so.

Rule: real processes are tested on a real file system.  On tmpfs a sync costs nothing and a kill loses nothing, so that
a pass there would mean nothing: such a test is skipped, and the summary says why."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastzk.testing import maven
from fastzk.testing.ensemble import Ensemble, file_system_of

BUILD = Path(__file__).parents[1] / "build"
UNREAL = ("tmpfs", "ramfs", "overlay on tmpfs")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hosts", help="judge these servers of ZooKeeper's protocol in tests/compat, and not fastzk")


@pytest.fixture(scope="session")
def disk() -> Path:
    """A directory on a real file system, for nodes to keep their data below."""
    directory = BUILD / "nodes"
    directory.mkdir(parents=True, exist_ok=True)
    kind = file_system_of(directory)
    if kind in UNREAL:
        pytest.skip(f"{directory} is on {kind}: nothing can be shown there of what survives a kill")
    return directory


@pytest.fixture(scope="session")
def java_jars() -> Callable[[str], str]:
    """Gives the class path of tests/compat/java/NAME/pom.xml, or skips, saying what is missing."""

    def found(name: str) -> str:
        try:
            return maven.classpath(Path(__file__).parent / "compat" / "java" / name / "pom.xml")
        except maven.Unavailable as missing:
            pytest.skip(f"{name}: {missing}")

    return found


@pytest.fixture
def ensemble(disk: Path) -> Iterator[Ensemble]:
    """Three nodes of the test's own, serving."""
    with Ensemble(3, disk) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def shared_ensemble(disk: Path) -> Iterator[Ensemble]:
    """Three nodes, serving, for all tests of a module; to be left as they were found."""
    with Ensemble(3, disk) as nodes:
        yield nodes
