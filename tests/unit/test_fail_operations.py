"""Goal: whichever operation of the disk fails, the node's storage says so, acknowledges nothing after it, and does not try again;
what was acknowledged before is there at the next start.  Only a snapshot that cannot be written is given up, and the node goes on.

Method: one workload of a node's storage on the simulated disk (first use, start, appends over several segments, cuts, votes,
snapshots, an orderly end and another start), once for each of its operations, with that operation failing."""

import errno
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from fastzk._core.arena import Arena
from fastzk._core.snapshot_write import SnapshotEncoder
from fastzk._core.tree import format_tree
from fastzk.storage.identity import identify
from fastzk.storage.log import LogFailed, LogWriter
from fastzk.storage.recovery import Recovered, recover
from fastzk.storage.segments import End
from fastzk.storage.snapshots import SnapshotStore, meta_of
from fastzk.storage.soundness import Soundness
from fastzk.testing.appender import SimulatedAppender
from fastzk.testing.blocks import random_ranges, same
from fastzk.testing.disk import CRASH_MODES, SimulatedDisk

DIRECTORY = "node/data"
UID = 5
ROUNDS = 20
OPERATIONS = 220


@dataclass
class Life:
    """A node's storage at work, and what it acknowledged."""

    disk: SimulatedDisk
    random: Random = field(default_factory=lambda: Random(3))
    epoch: int = 0
    vote: int = 0
    # Bytes of the ranges that were reported to be on the disk, and those that were asked for.
    acknowledged: list[bytes] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    snapshots_given_up: int = 0
    is_over: bool = False

    def start(self) -> Recovered:
        identify(self.disk, DIRECTORY, 1, [1, 2, 3], b"members", UID)
        found = recover(self.disk, DIRECTORY, node_id=1, uid=UID, nonce=7, has_others=True)
        if not found.soundness.is_sound:
            found.soundness_file.save(Soundness.sound({1: UID}))
        return found

    def run(self) -> None:
        """Raises OSError or LogFailed."""
        found = self.start()
        self.store = SnapshotStore(self.disk, f"{DIRECTORY}/snapshots")
        log, vote = found.log, found.vote_file
        appender = SimulatedAppender.after(log, 3000)
        appender.zeros_ahead = 8192
        writer = LogWriter(log, appender=appender)
        end = End()
        for number in range(ROUNDS):
            if number % 5 == 4:
                self.cut(writer)
            end = replace(writer._queued_end)
            ranges = [replace(r, payload=bytes(r.payload)) for r in random_ranges(self.random, end, 2)]
            if ranges[-1].epoch > self.epoch or number % 4 == 0:
                vote.save(ranges[-1].epoch, number % 3, log.last_index)
                self.epoch, self.vote = ranges[-1].epoch, number % 3
            writer.append(ranges)
            self.asked += [bytes(r.payload) for r in ranges]
            while appender.step():
                pass
            if writer.take_done() is not None:
                self.acknowledged = list(self.asked)
            if number % 3 == 2:
                self.write_snapshot()
        writer.close()
        self.is_over = True

    def cut(self, writer: LogWriter) -> None:
        """The last range goes; from here on it may be there or not."""
        last = writer.log.blocks.first_index[len(writer.log.blocks) - 1]
        del self.asked[-1:], self.acknowledged[-1:]
        writer.truncate_after(last - 1)

    def write_snapshot(self) -> None:
        """One that fails is given up, and the node goes on."""
        arena = Arena.create(bytearray(1 << 20))
        format_tree(arena)
        arena.pin()
        encoder = SnapshotEncoder(arena, 1000)
        job = self.store.begin(meta_of(encoder, End()), encoder)
        try:
            while job.step():
                pass
        except OSError:
            self.snapshots_given_up += 1
        finally:
            job.release()


def operations() -> int:
    life = Life(SimulatedDisk())
    life.run()
    assert life.is_over
    return life.disk.operations


def how_it_ended(life: Life) -> OSError | LogFailed | None:
    """What the storage raised; None when it went on to its end."""
    try:
        life.run()
    except (OSError, LogFailed) as failure:
        return failure
    return None


def test_the_workload_has_enough_operations() -> None:
    assert operations() >= OPERATIONS


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("is_crashed", [False, True])
def test_whichever_operation_fails_it_is_said_and_nothing_is_acknowledged_after_it(code: int, is_crashed: bool) -> None:
    ended = given_up = 0
    for operation in range(1, operations() + 1):
        disk = SimulatedDisk()
        disk.fail_at(operation, code)
        life = Life(disk)
        failure = how_it_ended(life)
        if failure is None:
            assert life.snapshots_given_up == 1, f"operation {operation} failed, and nobody heard of it"
            given_up += 1
        else:
            ended += 1
            file = failure.file if isinstance(failure, LogFailed) else failure.filename
            assert file.startswith("node"), f"operation {operation}: {failure} names no file"
            assert disk.operations == operation, f"operation {operation} failed, and {disk.operations} were done"
        if is_crashed:
            disk.crash(Random(operation), CRASH_MODES[operation % len(CRASH_MODES)])
        again = life.start()
        left = [bytes(entries.payload) for entries in again.log.ranges(1)]
        assert left[: len(life.acknowledged)] == life.acknowledged, f"operation {operation}: something acknowledged is lost"
        assert again.soundness.is_sound or not life.acknowledged
        assert again.epoch >= life.epoch
        assert same(again.log.ranges(1), again.log.ranges(1))
    assert ended > 150
    assert given_up > 10
