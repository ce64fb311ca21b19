"""Goal: a data directory is used by the node it belongs to, by one process at a time; otherwise the error says why.

Method: real directories in every wrong state; the first use and the change of format also on the simulated disk, with a
crash at every operation."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fastzk.storage.disk import RealDisk
from fastzk.storage.history import HistoryFile
from fastzk.storage.identity import DataDirectory, Identity, IdentityError, identify
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.segments import End
from fastzk.storage.soundness import SoundnessFile, SoundState
from fastzk.storage.vote import VoteFile
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import next_range
from fastzk.testing.disk import CRASH_MODES, CrashMode, SimulatedDisk, Stopped

UID = 0x0123456789ABCDEF
FORMER = "fastzk 1 node 3 of 1,2,3 uid 0123456789abcdef\n"


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
    uid = uids.pop()
    assert (path / "identity").read_text().startswith(f"fastzk 2 node 3 uid {uid:016x} check ")
    soundness = SoundnessFile(RealDisk(), str(path), 3, uid).load()
    assert soundness is not None
    assert soundness.state is SoundState.NEW
    assert {entry.name: entry.stat().st_mode & 0o777 for entry in path.iterdir()} == {
        "identity": 0o600,
        "lock": 0o600,
        "vote": 0o600,
        "soundness": 0o600,
        "members": 0o600,
        "log": 0o700,
    }
    assert path.stat().st_mode & 0o777 == 0o700


def test_another_node_or_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    claim(path)
    refused(path, "data of node 3, not of node 4", 4)
    line = (path / "identity").read_bytes()
    (path / "identity").write_text("fastzk 3 node 3 uid 0123456789abcdef\n")
    refused(path, "format 3")
    for at in range(len(line)):
        (path / "identity").write_bytes(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])
        refused(path, "not right|holds data of format 3")
    for text in (
        "",
        "fastzk 1 node 3",
        "fastzk 1 node 3\n",
        "fastzk 1 node x of 3 uid 0123456789abcdef\n",
        "fastzk 1 node 3 of 3, uid 0123456789abcdef\n",
        "\0" * 16,
        "\xff\n",
    ):
        (path / "identity").write_text(text)
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


def test_other_peers_than_at_the_first_use_are_passed_over_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data"
    DataDirectory.claim(str(path), 3, [1, 2, 3], b"one\ntwo\n").close()
    for members, notes in ((b"one\ntwo\n", 0), (b"", 1), (b"three", 1)):
        directory = DataDirectory.claim(str(path), 3, [3, 4], members)
        directory.close()
        assert directory.members == b"one\ntwo\n"
        assert len(directory.notes) == notes
        assert all("--peers, which counts only at the first use" in note for note in directory.notes)


def test_members_that_were_changed_or_taken_away_are_said(tmp_path: Path) -> None:
    path = tmp_path / "data"
    DataDirectory.claim(str(path), 3, [1, 2, 3], b"one\ntwo\n").close()
    content = (path / "members").read_bytes()
    for at in range(len(content)):
        (path / "members").write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        refused(path, "members: was changed since it was written")
        (path / "members").write_bytes(content[:at])
        refused(path, "members: was changed since it was written")
    other = tmp_path / "other"
    DataDirectory.claim(str(other), 3, [1, 2, 3], b"one\ntwo\n").close()
    (path / "members").write_bytes((other / "members").read_bytes())
    refused(path, "members: is of another data directory of node 3")
    DataDirectory.claim(str(tmp_path / "two"), 2, [1, 2, 3], b"one\ntwo\n").close()
    (path / "members").write_bytes((tmp_path / "two" / "members").read_bytes())
    refused(path, "members: is of node 2")
    (path / "members").unlink()
    refused(path, "members: missing")


def former(disk: SimulatedDisk, *, is_used: bool) -> None:
    """A directory of format 1."""
    disk.make_dir("data/log")
    vote = VoteFile(disk, "data")
    vote.load(is_new=True)
    disk.put("data/identity", FORMER.encode())
    if is_used:
        vote.save(1, 2)
        disk.put("data/history", b"00000000000000aa\n")
        log = SegmentLog.open(disk, "data/log")
        writer = LogWriter(log, appender=SimulatedAppender.after(log))
        writer.append([next_range(End())])
        writer.close()


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("mode", CRASH_MODES)
def test_a_directory_of_the_former_format_goes_on(is_used: bool, mode: CrashMode) -> None:
    """It is whole: what was lost before could not be known, and it did not lose anything by the change."""
    for operation in range(1, 40):
        disk = SimulatedDisk()
        former(disk, is_used=is_used)
        disk.stop_at(operation)
        try:
            identify(disk, "data", 3, [3, 1, 2], b"members", UID + 1)
        except Stopped:
            disk.crash(Random(operation), mode)
            identify(disk, "data", 3, [3, 1, 2], b"members", UID + 1)
        assert identify(disk, "data", 3, [], b"members", UID + 1) == Identity(UID, b"members")
        soundness = SoundnessFile(disk, "data", 3, UID).load()
        assert soundness is not None
        assert soundness.state is (SoundState.SOUND if is_used else SoundState.NEW)
        assert HistoryFile(disk, "data", 3, UID).load() == (0xAA if is_used else 0)
        assert VoteFile(disk, "data", UID).load() == ((1, 2) if is_used else (0, 0))


def test_a_directory_of_the_former_format_is_refused_to_other_members() -> None:
    """A member that was started alone by mistake agreed with itself on other entries under its ensemble's epochs."""
    disk = SimulatedDisk()
    former(disk, is_used=True)
    with pytest.raises(IdentityError, match="nodes 1,2,3 agreed on, and the node was started as node 3 alone; give the --peers"):
        identify(disk, "data", 3, [], b"", UID)
    with pytest.raises(IdentityError, match="nodes 1,2,3 agreed on, and the node was started as nodes 1,2,3,4;"):
        identify(disk, "data", 3, [1, 2, 3, 4], b"", UID)
    with pytest.raises(IdentityError, match="data of node 3, not of node 2"):
        identify(disk, "data", 2, [1, 2, 3], b"", UID)
    assert disk.content("data/identity") == FORMER.encode()


@pytest.mark.parametrize("mode", CRASH_MODES)
def test_a_first_use_that_is_cut_short_is_begun_again(mode: CrashMode) -> None:
    for operation in range(1, 40):
        disk = SimulatedDisk()
        disk.stop_at(operation)
        uids = {UID}
        try:
            identify(disk, "data", 3, [1, 2, 3], b"members", UID)
        except Stopped:
            disk.crash(Random(operation), mode)
            uids.add(UID + 1)
        found = identify(disk, "data", 3, [1, 2, 3], b"members", UID + 1)
        assert found.uid in uids
        assert not found.notes
        assert VoteFile(disk, "data", found.uid).load() == (0, 0)
        soundness = SoundnessFile(disk, "data", 3, found.uid).load()
        assert soundness is not None
        assert soundness.state is SoundState.NEW


def test_a_directory_that_is_not_writable_is_refused() -> None:
    """Sysfs lets nobody, not even root, make a directory."""
    refused(Path("/sys/fastzk"), "not writable")


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
        assert VoteFile(RealDisk(), str(path)).load() == (0, 0)
    for number, line in enumerate(["", "fastzk 1 no"]):
        path = tmp_path / f"line{number}"
        claim(path)
        (path / "identity").write_text(line)
        claim(path)
        assert (path / "identity").read_text().startswith("fastzk 2 node 3 uid ")


def test_a_log_without_identity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    claim(path)
    (path / "log" / "log.0000000000000001").write_bytes(b"x" * 100)
    (path / "identity").unlink()
    refused(path, "though the directory has been in use")


def test_a_lost_identity_is_named(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "history").write_text("")
    (tmp_path / "identity").unlink()
    with pytest.raises(IdentityError, match="identity: missing, though the directory has been in use"):
        claim(tmp_path)
