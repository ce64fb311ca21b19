"""Goal: a vote that was saved is what is read back, or the node does not vote; nothing in between.

Method: the simulated disk, with crashes in the middle of every operation and every byte changed."""

from random import Random

import pytest

from fastzk.storage.vote import FILE_SIZE, SLOT_DISTANCE, VoteDamaged, VoteFile
from fastzk.testing.disk import SimulatedDisk, Stopped

DIRECTORY = "data"
SLOT_SIZE = 64


def make(disk: SimulatedDisk) -> VoteFile:
    vote = VoteFile(disk, DIRECTORY)
    vote.load(is_new=True)
    return vote


def test_what_was_saved_is_loaded() -> None:
    disk = SimulatedDisk()
    vote = make(disk)
    assert VoteFile(disk, DIRECTORY).load() == (0, 0)
    for epoch, candidate in [(1, 2), (1, 2), (5, 0), (5, 3), (2**31 - 1, 1)]:
        vote.save(epoch, candidate)
        assert VoteFile(disk, DIRECTORY).load() == (epoch, candidate)
        assert VoteFile(disk, DIRECTORY).load(is_new=True) == (epoch, candidate)
    assert len(disk.content(vote.path)) == FILE_SIZE


def test_the_epoch_never_falls() -> None:
    vote = make(SimulatedDisk())
    vote.save(4, 1)
    with pytest.raises(AssertionError, match="Z1"):
        vote.save(3, 1)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(VoteDamaged, match="missing"):
        VoteFile(SimulatedDisk(), DIRECTORY).load()


@pytest.mark.parametrize("saves", [0, 1, 2, 5])
def test_every_changed_byte_is_found(saves: int) -> None:
    disk = SimulatedDisk()
    vote = make(disk)
    for epoch in range(1, saves + 1):
        vote.save(epoch, 2)
    for slot in (0, SLOT_DISTANCE):
        for offset in range(slot, slot + SLOT_SIZE):
            for bit in range(8):
                disk.flip(vote.path, offset, 1 << bit)
                for is_new in (False, True):
                    with pytest.raises(VoteDamaged, match=f"slot at {slot}"):
                        VoteFile(disk, DIRECTORY).load(is_new=is_new)
                disk.flip(vote.path, offset, 1 << bit)
    assert VoteFile(disk, DIRECTORY).load() == (saves, 2 if saves else 0)


def test_an_older_slot_never_stands_in() -> None:
    """The slot saved last is put back to what it was before, or becomes zeros: the sequences no longer fit."""
    disk = SimulatedDisk()
    vote = make(disk)
    vote.save(1, 1)
    vote.save(2, 2)
    before = disk.content(vote.path)
    vote.save(3, 3)
    vote.save(4, 1)
    after = disk.content(vote.path)
    assert before[:SLOT_SIZE] != after[:SLOT_SIZE]
    disk.put(vote.path, before[:SLOT_DISTANCE] + after[SLOT_DISTANCE:])
    with pytest.raises(VoteDamaged, match="belong together"):
        VoteFile(disk, DIRECTORY).load()
    disk.put(vote.path, bytes(SLOT_DISTANCE) + after[SLOT_DISTANCE:])
    with pytest.raises(VoteDamaged, match="slot at 0"):
        VoteFile(disk, DIRECTORY).load()


@pytest.mark.parametrize("size", [0, 1, SLOT_SIZE, FILE_SIZE - 1, FILE_SIZE + 1])
def test_another_size_is_refused(size: int) -> None:
    disk = SimulatedDisk()
    vote = make(disk)
    vote.save(1, 1)
    disk.put(vote.path, disk.content(vote.path).ljust(size, b"\0")[:size])
    with pytest.raises(VoteDamaged, match="bytes, not"):
        VoteFile(disk, DIRECTORY).load()


@pytest.mark.parametrize("seed", range(200))
def test_a_crash_leaves_the_old_vote_or_the_new_one(seed: int) -> None:
    random, disk = Random(seed), SimulatedDisk()
    saved = [(0, 0)]
    is_made = False
    while len(saved) < 20:
        if random.random() < 0.5:
            disk.stop_at(random.randint(1, 4))
        try:
            vote = VoteFile(disk, DIRECTORY)
            assert vote.load(is_new=not is_made) in saved[-2:]
            saved, is_made = [vote.load()], True
            saved.append((saved[0][0] + random.randint(0, 2), random.randint(1, 5)))
            vote.save(*saved[1])
            saved = saved[1:]
        except Stopped:
            disk.crash(random)
        if random.random() < 0.1:
            break


def test_a_save_that_failed_is_never_repeated() -> None:
    for operation in (1, 2):
        disk = SimulatedDisk()
        vote = make(disk)
        disk.fail_at(operation)
        with pytest.raises(OSError, match="simulated"):
            vote.save(1, 1)
        with pytest.raises(AssertionError, match="failed"):
            vote.save(1, 1)


def test_what_was_settled_stays() -> None:
    """A process that ends between write and sync leaves a vote that the next one reads; a crash must not take it any more then."""
    disk = SimulatedDisk()
    make(disk).save(3, 1)
    former = VoteFile(disk, DIRECTORY)
    former.load()
    disk.fail_at(2)
    with pytest.raises(OSError, match="simulated"):
        former.save(4, 2)
    found = VoteFile(disk, DIRECTORY)
    assert found.load() == (4, 2)
    found.settle()
    disk.crash(Random(0), "none")
    assert VoteFile(disk, DIRECTORY).load() == (4, 2)
