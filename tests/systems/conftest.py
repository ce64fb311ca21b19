"""What the tests of whole systems share: the servers they run on, a directory, and the table of figures at the end.

Method: three nodes of fastzk, one of which may be killed while the system runs; `--hosts` puts any ZooKeeper in their
place, which is left alone."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import FIGURES, Figures, Servers

from fastzk.testing import maven
from fastzk.testing.ensemble import Ensemble

JAVA = Path(__file__).parents[1] / "compat" / "java"


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Servers:
    """Three nodes of fastzk, or what `--hosts` gives."""
    given: str | None = request.config.getoption("--hosts")
    if given:
        return Servers(given, None)
    ensemble: Ensemble = request.getfixturevalue("ensemble")
    return Servers(ensemble.zk_hosts, ensemble)


@pytest.fixture
def home(disk: Path) -> Iterator[Path]:
    """A directory for the system's own data."""
    directory = Path(tempfile.mkdtemp(prefix="system-", dir=disk)).resolve()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def with_driver(java_jars: Callable[[str], str]) -> Callable[[str], str]:
    """Gives the class path of a system's jars and of the program that drives it, from tests/compat/java/NAME."""

    def found(name: str) -> str:
        jars = java_jars(name)
        try:
            return f"{maven.compiled(sorted((JAVA / name).glob('*.java')), jars)}:{jars}"
        except maven.Unavailable as missing:
            pytest.skip(f"{name}: {missing}")

    return found


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """The figures of this test's system."""
    name: str = request.node.name
    return Figures(name.removeprefix("test_"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        width = max(len(what) for _, what, _ in FIGURES)
        for system, what, seconds in FIGURES:
            terminalreporter.write_line(f"{system:10} {what:{width}} {seconds}")
