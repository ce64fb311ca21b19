"""Goal: a Java judge that cannot be had says which program or jar is missing, and one that was had once needs no Maven.

Method: a path with shell scripts in the place of java, mvn and javac, which do what the real ones do when things go wrong."""

from pathlib import Path

import pytest

from fastzk.testing import maven

POM = "<project/>"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the whole path; the jars are kept below it."""
    found = tmp_path / "bin"
    found.mkdir()
    monkeypatch.setenv("PATH", str(found))
    monkeypatch.setattr(maven, "JARS", tmp_path / "jars")
    return found


def program(directory: Path, name: str, text: str = "exit 0") -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def pom(tmp_path: Path) -> Path:
    path = tmp_path / "judge" / "pom.xml"
    path.parent.mkdir()
    path.write_text(POM)
    return path


def test_no_java(programs: Path, pom: Path) -> None:
    with pytest.raises(maven.Unavailable, match="java is not installed: `apt-get install"):
        maven.classpath(pom)


def test_no_maven(programs: Path, pom: Path) -> None:
    program(programs, "java")
    with pytest.raises(maven.Unavailable, match="mvn is not installed: `apt-get install"):
        maven.classpath(pom)


def test_a_registry_that_is_not_reached(programs: Path, pom: Path) -> None:
    program(programs, "java")
    program(programs, "mvn", "echo '[ERROR] '; echo '[ERROR] Could not transfer a.b:c:1 from central'; exit 1")
    with pytest.raises(maven.Unavailable, match=r"judge/pom\.xml failed: \[ERROR\] Could not transfer a\.b:c:1"):
        maven.classpath(pom)
    assert [path.name for path in maven.JARS.iterdir()] == ["lock"]


def test_maven_is_asked_once_while_the_jars_are_there(programs: Path, pom: Path, tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.touch()
    program(programs, "java")
    program(programs, "mvn", f'for word; do case "$word" in *outputFile=*) echo -n {jar} > "${{word#*=}}";; esac; done')
    assert maven.classpath(pom) == str(jar)
    program(programs, "mvn", "echo '[ERROR] Maven was started again'; exit 1")
    assert maven.classpath(pom) == str(jar)
    jar.unlink()
    with pytest.raises(maven.Unavailable, match="Maven was started again"):
        maven.classpath(pom)
    jar.touch()
    pom.write_text(POM + "\n")
    with pytest.raises(maven.Unavailable, match="Maven was started again"):
        maven.classpath(pom)


def test_what_javac_refuses_is_told_and_not_kept(programs: Path, tmp_path: Path) -> None:
    source = tmp_path / "A.java"
    source.touch()
    with pytest.raises(maven.Unavailable, match="javac is not installed"):
        maven.compiled([source], "")
    program(programs, "javac", "echo 'A.java:1: error' >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"A\.java.*\n.*A\.java:1: error"):
        maven.compiled([source], "")
    program(programs, "javac", 'while [ "$1" != -d ]; do shift; done; /bin/mkdir "$2"')
    assert Path(maven.compiled([source], "")).is_dir()
