"""Goal: a data directory is used by the node it belongs to, by one process at a time; otherwise the error says why.

Method: real directories in every wrong state."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastzk.storage.disk import RealDisk
from fastzk.storage.identity import DataDirectory, IdentityError
from fastzk.storage.vote import VoteDamaged, VoteFile


def claim(path: Path, node_id: int = 3) -> None:
    DataDirectory.claim(str(path), node_id).close()


def refused(path: Path, reason: str, node_id: int = 3) -> None:
    with pytest.raises(IdentityError, match=reason) as found:
        claim(path, node_id)
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)


@pytest.mark.parametrize("is_there", [False, True])
def test_the_first_use_makes_everything_and_the_second_finds_it(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "data"
    if is_there:
        path.mkdir(0o700)
    uids = set()
    for _ in range(2):
        directory = DataDirectory.claim(str(path), 3)
        assert directory.log_path == str(path / "log")
        assert VoteFile(RealDisk(), directory.path).load() == (0, 0)
        uids.add(directory.uid)
        directory.close()
    assert len(uids) == 1
    assert (path / "identity").read_text() == f"fastzk 1 node 3 of 3 uid {uids.pop():016x}\n"
    assert {entry.name: entry.stat().st_mode & 0o777 for entry in path.iterdir()} == {
        "identity": 0o600,
        "lock": 0o600,
        "vote": 0o600,
        "log": 0o700,
    }
    assert path.stat().st_mode & 0o777 == 0o700


def test_another_node_or_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    claim(path)
    refused(path, "data of node 3, not of node 4", 4)
    (path / "identity").write_text("fastzk 2 node 3 of 3 uid 0123456789abcdef\n")
    refused(path, "format 2")
    for line in (
        "",
        "fastzk 1 node 3",
        "fastzk 1 node 3\n",
        "fastzk 1 node x of 3 uid 0123456789abcdef\n",
        "fastzk 1 node 3 of 3, uid 0123456789abcdef\n",
        "\0" * 16,
        "\xff\n",
    ):
        (path / "identity").write_text(line)
        (path / "log" / "log.0000000000000001").write_bytes(b"")
        refused(path, "not right")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "data"
    directory = DataDirectory.claim(str(path), 3)
    refused(path, "in use by another process")
    directory.close()
    claim(path)
    script = (
        "import sys; from fastzk.storage.identity import DataDirectory; "
        "d = DataDirectory.claim(sys.argv[1], 3); print('claimed', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"claimed\n"
    refused(path, "in use by another process")
    child.kill()
    child.communicate()
    claim(path)


def test_what_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused(file, "not a directory")
    claim(tmp_path / "no" / "parent")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").write_text("")
    refused(tmp_path / "home", "it holds 'letters'")
    assert [entry.name for entry in (tmp_path / "home").iterdir()] == ["letters"], "it is left as it was"


def test_the_data_of_an_ensemble_is_refused_to_another_and_to_a_node_alone(tmp_path: Path) -> None:
    """A member that was started alone by mistake agreed with itself on other entries under its ensemble's epochs."""
    path = tmp_path / "data"
    DataDirectory.claim(str(path), 3, [2, 3, 1]).close()
    DataDirectory.claim(str(path), 3, [1, 2, 3]).close()
    with pytest.raises(IdentityError, match="nodes 1,2,3 agreed on, and the node was started as node 3 alone; give the --peers"):
        DataDirectory.claim(str(path), 3)
    with pytest.raises(IdentityError, match="nodes 1,2,3 agreed on, and the node was started as nodes 1,2,3,4;"):
        DataDirectory.claim(str(path), 3, [1, 2, 3, 4])
    alone = tmp_path / "alone"
    claim(alone)
    with pytest.raises(IdentityError, match="node 3 alone agreed on, and the node was started as nodes 1,2,3;"):
        DataDirectory.claim(str(alone), 3, [1, 2, 3])


def test_a_directory_that_is_not_writable_is_refused() -> None:
    """Sysfs lets nobody, not even root, make a directory."""
    refused(Path("/sys/fastzk"), "not writable")


@pytest.mark.parametrize("name", ["vote", "log"])
def test_what_is_missing_is_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data"
    claim(path)
    if name == "log":
        (path / name).rmdir()
    else:
        (path / name).unlink()
    refused(path, f"{name}: missing")
    with pytest.raises(VoteDamaged) if name == "vote" else pytest.raises(FileNotFoundError):
        VoteFile(RealDisk(), str(path)).load()
        RealDisk().list(str(path / "log"))


def test_a_beginning_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    for number, leave in enumerate([["lock"], ["lock", "log"], ["lock", "log", "vote"]]):
        path = tmp_path / str(number)
        claim(path)
        for name in {"identity", "vote", "log"} - set(leave):
            if name == "log":
                (path / name).rmdir()
            else:
                (path / name).unlink()
        claim(path)
    for number, line in enumerate(["", "fastzk 1 no"]):
        path = tmp_path / f"line{number}"
        claim(path)
        (path / "identity").write_text(line)
        claim(path)
        assert (path / "identity").read_text().startswith("fastzk 1 node 3 of 3 uid ")


def test_a_log_without_identity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    claim(path)
    (path / "log" / "log.0000000000000001").write_bytes(b"x" * 100)
    (path / "identity").unlink()
    refused(path, "though the directory has been in use")
