"""Goal: what a start does with damage is what docs/internals/recovery.md says; nothing lost is ever called sound.

Method: a data directory on the simulated disk with every kind of damage, one at a time, for a node with others and for one that
decides alone; and a crash at every operation of the recovery itself, followed by another one."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from fastzk.storage.log import LogWriter
from fastzk.storage.recovery import Recovered, RecoveryRefused
from fastzk.storage.segments import HEADER_SIZE, MARK_SIZE
from fastzk.storage.snapshots import SnapshotStore
from fastzk.storage.soundness import Soundness, SoundnessFile, SoundState
from fastzk.storage.vote import SLOT_DISTANCE, VoteFile
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import same
from fastzk.testing.directory import (
    DIRECTORY,
    FOUNDING,
    LOG,
    NODE_ID,
    NONCE,
    UID,
    Made,
    make_directory,
    put_snapshot,
    with_snapshots,
)
from fastzk.testing.disk import CRASH_MODES, CrashMode, SimulatedDisk, Stopped

BATCHES = [3, 2, 4, 3, 2, 4, 3]
VOTE = f"{DIRECTORY}/vote"
SOUNDNESS = f"{DIRECTORY}/soundness"
HISTORY = f"{DIRECTORY}/history"
DAMAGED = f"{DIRECTORY}/damaged"


def segments(made: Made) -> list[str]:
    return [f"{LOG}/{name}" for name in made.disk.list(LOG)]


def files(disk: SimulatedDisk) -> dict[str, bytes]:
    """All that is on the disk."""
    names = [DIRECTORY + "/" + name for name in disk.list(DIRECTORY)]
    deeper = [f"{name}/{inner}" for name in names for inner in disk.list(name)]
    return {name: disk.content(name) for name in [*names, *deeper] if not disk.list(name) and name not in (LOG, DAMAGED)}


def flip_middle(made: Made, place: int) -> None:
    """Changes the middle of a segment."""
    path = segments(made)[place]
    made.disk.flip(path, len(made.disk.content(path)) // 2, 0xFF)


def lost(made: Made, found: Recovered, reason: str) -> None:
    """It says what it lost, and what it still has is a right beginning."""
    assert found.soundness.state is SoundState.REJOINING
    assert found.soundness.nonce == NONCE
    assert reason in found.soundness.reason
    assert found.soundness.founding == FOUNDING
    assert SoundnessFile(made.disk, DIRECTORY, NODE_ID, UID).load() == found.soundness
    assert any(reason in note for note in found.notes)
    left = list(found.log.ranges(found.log.first_index))
    assert any(same(left, made.ranges[at : at + len(left)]) for at in range(len(made.ranges) + 1))
    assert not left or left[0].first_index <= found.snapshot + 1
    again = made.recover(nonce=NONCE + 1)
    assert again.soundness == found.soundness, "nothing more was lost since"
    assert (again.epoch, again.vote, again.log.end, again.snapshot) == (found.epoch, found.vote, found.log.end, found.snapshot)


def refused_alone(made: Made, *told: str) -> None:
    """A node that decides alone names it, and touches nothing."""
    before = files(made.disk)
    operations = made.disk.operations
    with pytest.raises(RecoveryRefused) as refused:
        made.recover(has_others=False)
    assert all(text in str(refused.value) for text in told), str(refused.value)
    assert "nothing was changed" in str(refused.value)
    assert files(made.disk) == before
    assert made.disk.operations == operations


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("has_others", [True, False])
def test_what_is_right_is_taken_as_it_is(is_closed: bool, has_others: bool) -> None:
    made = make_directory(BATCHES, is_closed=is_closed)
    for _ in range(3):
        found = made.recover(has_others=has_others)
        assert made.is_whole(found)
        assert not found.notes
    assert not made.disk.exists(DAMAGED)


def test_a_torn_tail_is_cut_and_said_and_the_node_stays_sound() -> None:
    made = make_directory(BATCHES, is_closed=False)
    path = segments(made)[-1]
    end = made.recover().log.offset - MARK_SIZE
    made.disk.put(path, made.disk.content(path)[: end - 5])
    found = make_directory(BATCHES, is_closed=False)
    found.disk.put(path, found.disk.content(path)[: end - 5])
    for has_others in (True, False):
        result = found.recover(has_others=has_others)
        assert result.soundness.is_sound
        assert same(result.log.ranges(1), made.ranges[:-1]) or len(made.ranges) > len(list(result.log.ranges(1)))
        assert ("torn tail" in " ".join(result.notes)) == has_others


@pytest.mark.parametrize("place", range(4))
def test_a_damaged_segment_is_set_aside_and_what_is_right_before_it_is_kept(place: int) -> None:
    made = make_directory(BATCHES)
    assert len(segments(made)) > 4
    path = segments(made)[place]
    names = [name.rpartition("/")[2] for name in segments(made)[place:]]
    flip_middle(made, place)
    damaged = {name: made.disk.content(f"{LOG}/{name}") for name in names}
    refused_alone(made, path, "offset")
    found = made.recover()
    lost(made, found, path)
    assert {name: made.disk.content(f"{DAMAGED}/1.{name}") for name in names} == damaged
    kept = sum(1 for _ in found.log.ranges(1))
    assert made.ranges[kept].first_index == found.log.last_index + 1
    if place:
        assert kept > 0


def test_an_unreadable_beginning_leaves_an_empty_log() -> None:
    made = make_directory(BATCHES)
    made.disk.flip(segments(made)[0], 3, 0xFF)
    refused_alone(made, segments(made)[0], "offset 0", "header")
    found = made.recover()
    assert found.log.last_index == 0
    lost(made, found, "no right segment header")


def test_what_the_medium_does_not_give_back_is_damage() -> None:
    for place in (0, 2):
        made = make_directory(BATCHES)
        path = segments(made)[place]
        made.disk.spoil(path)
        refused_alone(made, path, "EIO")
        lost(made, made.recover(), "EIO")
    for path in (VOTE, SOUNDNESS):
        made = make_directory(BATCHES)
        made.disk.spoil(path)
        lost_small(made, "EIO")


def lost_small(made: Made, reason: str) -> Recovered:
    """A small file was lost, and the log is whole."""
    found = made.recover()
    assert found.soundness.state is SoundState.REJOINING
    assert reason in found.soundness.reason
    assert same(found.log.ranges(1), made.ranges)
    assert found.epoch == made.epoch
    again = made.recover(nonce=NONCE + 1)
    assert again.soundness == found.soundness
    assert (again.epoch, again.vote) == (found.epoch, found.vote)
    return found


@pytest.mark.parametrize("slot", [0, SLOT_DISTANCE])
def test_a_damaged_vote_is_made_anew_and_the_node_does_not_vote(slot: int) -> None:
    made = make_directory(BATCHES)
    made.disk.flip(VOTE, slot + 30, 0xFF)
    content = made.disk.content(VOTE)
    refused_alone(made, VOTE, f"slot at {slot}")
    found = lost_small(made, f"slot at {slot}")
    assert found.vote == 0
    assert made.disk.content(f"{DAMAGED}/1.vote") == content


def test_a_damaged_vote_does_not_take_the_epoch_back_that_it_still_tells() -> None:
    made = make_directory(BATCHES)
    vote = VoteFile(made.disk, DIRECTORY, UID)
    vote.load()
    vote.save(made.epoch + 5, 1)
    vote.save(made.epoch + 9, 1)
    newer = SLOT_DISTANCE * (vote._sequence % 2)
    made.disk.flip(VOTE, SLOT_DISTANCE - newer + 9)
    assert made.recover().epoch == made.epoch + 9


def test_a_missing_vote_is_damage() -> None:
    made = make_directory(BATCHES)
    made.disk.remove(VOTE)
    refused_alone(made, VOTE, "missing")
    assert lost_small(made, "missing").vote == 0


def test_an_old_copy_of_the_vote_is_told_by_its_epoch() -> None:
    made = make_directory(BATCHES)
    vote = VoteFile(made.disk, DIRECTORY, UID)
    vote.create()
    vote.load()
    vote.save(made.epoch - 1, 1)
    refused_alone(made, VOTE, "old copy")
    assert lost_small(made, "old copy").vote == 0


@pytest.mark.parametrize("what", ["changed", "missing", "another node's"])
def test_soundness_that_is_not_told_is_none(what: str) -> None:
    made = make_directory(BATCHES)
    if what == "changed":
        made.disk.flip(SOUNDNESS, 70, 0xFF)
    elif what == "missing":
        made.disk.remove(SOUNDNESS)
    else:
        SoundnessFile(made.disk, DIRECTORY, 3, UID).save(Soundness.sound())
    lost_small(made, {"another node's": "is of node 3"}.get(what, what))


def test_a_node_that_decides_alone_writes_its_soundness_anew() -> None:
    made = make_directory(BATCHES)
    made.disk.flip(SOUNDNESS, 70, 0xFF)
    found = made.recover(has_others=False)
    assert found.soundness == Soundness.sound({NODE_ID: UID})
    assert "written anew" in found.notes[0]
    assert not made.recover(has_others=False).notes


def test_a_log_that_ends_before_what_was_committed_here_is_damage() -> None:
    """Its last segments were deleted, or an old copy was put back: it is right in itself."""
    made = make_directory(BATCHES)
    for path in reversed(segments(made)[1:]):
        made.disk.remove(path)
    refused_alone(made, LOG, "though entry")
    lost(made, made.recover(), "was committed and stored here")


def test_a_log_that_is_gone_is_damage() -> None:
    made = make_directory(BATCHES)
    vote = VoteFile(made.disk, DIRECTORY, UID)
    vote.create()
    vote.load()
    vote.save(made.epoch, 1)
    for path in reversed(segments(made)):
        made.disk.remove(path)
    refused_alone(made, LOG, "is empty")
    lost(made, made.recover(), "is empty")


def test_an_old_copy_of_a_new_nodes_soundness_is_damage() -> None:
    made = make_directory(BATCHES)
    SoundnessFile(made.disk, DIRECTORY, NODE_ID, UID).save(Soundness.new())
    lost_small(made, "old copy")


def test_a_log_of_another_ensemble_is_damage() -> None:
    made, other = make_directory(BATCHES), make_directory(BATCHES, seed=8)
    for path in reversed(segments(made)):
        made.disk.remove(path)
    for path in segments(other):
        made.disk.put(path, other.disk.content(path))
    refused_alone(made, segments(made)[0], "of another ensemble")
    found = made.recover()
    assert found.log.last_index == 0
    lost(made, found, "of another ensemble")


def test_a_damaged_history_is_read_from_the_log() -> None:
    for has_others in (True, False):
        made = make_directory(BATCHES)
        made.disk.flip(HISTORY, 70, 0xFF)
        found = made.recover(has_others=has_others)
        assert made.is_whole(found)
        assert HISTORY in found.notes[0]
        assert not made.recover(has_others=has_others).notes


def test_new_damage_while_rejoining_asks_for_a_new_proof() -> None:
    made = make_directory(BATCHES)
    flip_middle(made, 3)
    assert made.recover(nonce=1).soundness.nonce == 1
    flip_middle(made, 0)
    found = made.recover(nonce=2)
    assert found.soundness.nonce == 2
    assert segments(made)[0] in found.soundness.reason
    proven = found.soundness.proven()
    found.soundness_file.save(proven)
    assert found.soundness_file.load() == Soundness.sound(FOUNDING)


def test_three_occasions_of_evidence_are_kept() -> None:
    made = make_directory(BATCHES)
    for nonce in range(1, 7):
        made.disk.flip(VOTE, 30, 0xFF)
        made.recover(nonce=nonce)
    assert made.disk.list(DAMAGED) == ["4.vote", "5.vote", "6.vote"]


# --- snapshots


def store(made: Made) -> SnapshotStore:
    assert made.snapshots is not None
    return made.snapshots


def drop_before(made: Made, place: int) -> None:
    """Removes segments before the one at place."""
    for path in segments(made)[:place]:
        made.disk.remove(path)


def whole_with_note(made: Made, note: str, snapshot: int) -> Recovered:
    found = made.recover()
    assert made.is_whole(found), found
    assert found.snapshot == snapshot
    assert any(note in said for said in found.notes) if note else not found.notes
    return found


def test_the_newest_snapshot_counts_and_the_log_goes_on_behind_it() -> None:
    made = with_snapshots(make_directory(BATCHES), 4, 9, 14)
    whole_with_note(made, "", made.ends[14].last_index)
    drop_before(made, 3)
    whole_with_note(made, "", made.ends[14].last_index)


def test_a_damaged_snapshot_is_set_aside_and_an_older_one_with_more_of_the_log_counts() -> None:
    made = with_snapshots(make_directory(BATCHES), 4, 14)
    newest = f"{DIRECTORY}/snapshots/snapshot.{made.ends[14].last_index:016x}"
    made.disk.flip(newest, 20)
    whole_with_note(made, newest, made.ends[4].last_index)
    assert made.disk.exists(f"{DAMAGED}/1.{newest.rpartition('/')[2]}")
    whole_with_note(made, "", made.ends[4].last_index)
    older = f"{DIRECTORY}/snapshots/snapshot.{made.ends[4].last_index:016x}"
    made.disk.flip(older, 20)
    whole_with_note(made, older, 0)


@pytest.mark.parametrize("snapshots", [(14,), (2, 14)])
def test_a_hole_between_snapshot_and_log_is_damage(snapshots: tuple[int, ...]) -> None:
    made = with_snapshots(make_directory(BATCHES), *snapshots)
    drop_before(made, 3)
    made.disk.flip(f"{DIRECTORY}/snapshots/snapshot.{made.ends[14].last_index:016x}", 20)
    refused_alone(made, segments(made)[0], "the log begins behind entry")
    found = made.recover()
    assert found.snapshot == (made.ends[2].last_index if len(snapshots) == 2 else 0)
    assert found.log.last_index == found.snapshot
    lost(made, found, "the log begins behind entry")


def test_a_log_that_ends_before_the_snapshot_begins_anew_behind_it() -> None:
    made = with_snapshots(make_directory(BATCHES), len(make_directory(BATCHES).ranges) - 1)
    for path in reversed(segments(made)[2:]):
        made.disk.remove(path)
    found = whole_with_note(made, "", made.ends[-1].last_index)
    assert found.log.first_index == found.snapshot + 1
    assert found.log.end == made.ends[-1]
    for path in reversed(segments(made)):
        made.disk.remove(path)
    whole_with_note(made, "", made.ends[-1].last_index)


def test_a_log_of_other_entries_than_the_snapshots_begins_anew_behind_it() -> None:
    """Its tail was another leader's, and never committed; the snapshot came from the one that counts."""
    made = with_snapshots(make_directory(BATCHES))
    end = replace(made.ends[-1], last_checksum=5, last_zxid=made.ends[-1].last_zxid)
    put_snapshot(store(made), end, made.history)
    found = made.recover()
    assert found.soundness.is_sound
    assert found.log.end == end
    assert "another entry" in found.notes[0]


def test_a_snapshot_of_other_entries_than_were_committed_here_is_damage() -> None:
    made = with_snapshots(make_directory(BATCHES))
    end = replace(made.ends[3], last_checksum=5)
    put_snapshot(store(made), end, made.history)
    lost_reason = "though it was committed"
    refused_alone(made, "another entry", lost_reason)
    assert lost_reason in made.recover().soundness.reason


def test_a_snapshot_of_another_ensemble_is_set_aside() -> None:
    made = with_snapshots(make_directory(BATCHES))
    put_snapshot(store(made), replace(made.ends[3], last_checksum=5), made.history + 1)
    whole_with_note(made, "of another ensemble", 0)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_damaged_segment_that_a_snapshot_covers_is_no_loss(place: int, how: str) -> None:
    made = with_snapshots(make_directory(BATCHES), 14)
    path = segments(made)[place]
    if how == "changed":
        flip_middle(made, place)
    else:
        made.disk.remove(path)
        if place == 0:
            whole_with_note(made, "", made.ends[14].last_index)
            return
    whole_with_note(made, "a snapshot covers it", made.ends[14].last_index)


# --- crashes


def cut_segment(made: Made) -> None:
    flip_middle(made, 2)


def spoil_header(made: Made) -> None:
    made.disk.flip(segments(made)[0], 3)


def spoil_vote(made: Made) -> None:
    made.disk.flip(VOTE, 30, 0xFF)


def spoil_soundness(made: Made) -> None:
    made.disk.flip(SOUNDNESS, 30, 0xFF)


def spoil_all(made: Made) -> None:
    for spoil in (cut_segment, spoil_vote, spoil_soundness):
        spoil(made)


def make_hole(made: Made) -> None:
    with_snapshots(made, 2)
    drop_before(made, 3)
    made.disk.sync_dir(LOG)


def damage_tail(made: Made) -> None:
    """What is damage only as long as a later segment stands behind it."""
    path = segments(made)[-2]
    content = made.disk.content(path)
    made.disk.put(path, content[: HEADER_SIZE + MARK_SIZE + 100])


@pytest.mark.parametrize("mode", CRASH_MODES)
@pytest.mark.parametrize("spoil", [cut_segment, spoil_header, spoil_vote, spoil_soundness, spoil_all, make_hole, damage_tail])
def test_a_crash_at_any_operation_never_ends_in_sound(spoil: Callable[[Made], None], mode: CrashMode) -> None:
    operation, is_stopped = 0, True
    while is_stopped:
        operation, is_stopped = operation + 1, False
        made = make_directory(BATCHES)
        spoil(made)
        made.disk.stop_at(operation)
        try:
            made.recover(nonce=1)
        except Stopped:
            is_stopped = True
        made.disk.crash(Random(operation), mode if is_stopped else "all")
        found = made.recover(nonce=2)
        assert found.soundness.state is SoundState.REJOINING, f"after a crash at operation {operation}"
        assert found.soundness.nonce in (1, 2)
        assert found.epoch >= found.log.last_epoch
        left = list(found.log.ranges(found.log.first_index))
        assert same(left, made.ranges[: len(left)]) or found.snapshot
        assert made.recover(nonce=3).soundness == found.soundness
    assert operation > 5


@pytest.mark.parametrize("mode", CRASH_MODES)
def test_a_crash_while_the_log_begins_anew_behind_a_snapshot_loses_nothing(mode: CrashMode) -> None:
    operation, is_stopped = 0, True
    while is_stopped:
        operation, is_stopped = operation + 1, False
        made = with_snapshots(make_directory(BATCHES), len(make_directory(BATCHES).ranges) - 1)
        for path in reversed(segments(made)[2:]):
            made.disk.remove(path)
            made.disk.sync_dir(LOG)
        made.disk.stop_at(operation)
        try:
            made.recover()
        except Stopped:
            is_stopped = True
        made.disk.crash(Random(operation), mode if is_stopped else "all")
        assert made.is_whole(made.recover())
    assert operation > 3


def test_a_failed_operation_of_the_recovery_ends_it() -> None:
    """A full disk, or one that fails: the next start goes on where this one ended."""
    operation, is_failed = 0, True
    while is_failed:
        operation, is_failed = operation + 1, False
        made = make_directory(BATCHES)
        spoil_all(made)
        made.disk.fail_at(operation)
        try:
            made.recover(nonce=1)
        except OSError:
            is_failed = True
        made.disk.fail_at(10**6)
        assert made.recover(nonce=2).soundness.state is SoundState.REJOINING
    assert operation > 10


def test_the_log_of_a_node_that_rejoins_is_written_on() -> None:
    made = make_directory(BATCHES)
    flip_middle(made, 2)
    found = made.recover()
    place = next(place for place, entries in enumerate(made.ranges) if entries.first_index > found.log.last_index)
    appender = SimulatedAppender.after(found.log)
    writer = LogWriter(found.log, appender=appender)
    writer.append(made.ranges[place:])
    writer.close()
    again = made.recover(nonce=NONCE + 1)
    assert same(again.log.ranges(1), made.ranges)
    assert again.soundness == found.soundness, "that it is level is for the consensus to say"
