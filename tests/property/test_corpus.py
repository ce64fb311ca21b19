"""Goal: no byte of what a node stores can change, be cut off, come from elsewhere or from an older day without being told: the node
says what is damaged, or what it begins with is what it had.

Method: directories with something in every file, closed in order and left as a kill leaves them.  All bits of one byte flipped, and
the directory recovered as a node that decides alone does it: that raises where something is lost and changes nothing.  `make test`
takes every byte of every header, mark and block head, and some of the others; `make corpus` takes every byte of more than a
megabyte.  What log-format.md says cannot be told is counted: nothing here may be more than that."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from fastzk.storage.identity import IdentityError, identify
from fastzk.storage.log import LogWriter
from fastzk.storage.recovery import RecoveryRefused
from fastzk.storage.segments import BLOCK_HEAD, HEADER_SIZE, MARK_SIZE, scan
from fastzk.storage.soundness import SoundnessFile, SoundState
from fastzk.storage.vote import SLOT_DISTANCE, VoteFile
from fastzk.testing.blocks import same
from fastzk.testing.directory import DIRECTORY, LOG, MEMBERS, NODE_ID, UID, Made, make_directory, put_snapshot, with_snapshots
from fastzk.testing.disk import SimulatedDisk

SEEDS = range(15)
LAST_BATCH = 2  # ranges in it
SNAPSHOTS = f"{DIRECTORY}/snapshots"


def make(seed: int) -> Made:
    """A directory of some 50 KB."""
    random = Random(seed)
    made = make_directory(
        [1, 2, 3, 2, 1, 3, LAST_BATCH], segment_bytes_max=12_000, body_max=4000, seed=seed, is_closed=seed % 2 == 0
    )
    with_snapshots(made, 2)
    assert made.snapshots is not None
    put_snapshot(made.snapshots, made.ends[6], made.history, [random.randbytes(3000), random.randbytes(5000)])
    before = contents_of(made)
    assert made.is_whole(made.recover(has_others=False))
    restore(made, before)  # without the seal that this has put behind what a kill left
    return made


def contents_of(made: Made) -> dict[str, bytes]:
    return {path: made.disk.content(path) for path in files(made) if made.disk.exists(path)}


def restore(made: Made, contents: dict[str, bytes]) -> None:
    for name in made.disk.list(f"{DIRECTORY}/damaged"):
        made.disk.remove(f"{DIRECTORY}/damaged/{name}")
    for path, content in contents.items():
        made.disk.put(path, content)


def files(made: Made) -> list[str]:
    """All files of a directory."""
    names = [f"{DIRECTORY}/{name}" for name in ("identity", "members", "vote", "soundness", "history")]
    return [*names, *(f"{folder}/{name}" for folder in (LOG, SNAPSHOTS) for name in made.disk.list(folder))]


def files_read(made: Made) -> list[str]:
    """Those that a start reads: of the snapshots, the newest that is right."""
    older = made.disk.list(SNAPSHOTS)[:-1]
    return [path for path in files(made) if path.rpartition("/")[2] not in older]


def structure(made: Made) -> Iterator[tuple[str, int]]:
    """Every byte that is not a block's body, a snapshot's chunk or zeros."""
    found = scan(made.disk, LOG)
    bodies: dict[str, set[int]] = {}
    for place in range(len(found.blocks)):
        path = f"{LOG}/log.{found.blocks.segment[place]:016x}"
        begin = found.blocks.offset[place]
        bodies.setdefault(path, set()).update(range(begin + BLOCK_HEAD, begin + found.blocks.size[place]))
    for path in files_read(made):
        size = len(made.disk.content(path))
        for offset in range(min(size, 300) if path.startswith(SNAPSHOTS) else size):
            if offset not in bodies.get(path, ()) and (not path.endswith("/vote") or offset % SLOT_DISTANCE < 64):
                yield path, offset


def flip(made: Made, path: str, offset: int) -> str:
    """What becomes of a directory one byte of which is another: told, or same.  Leaves it as it was."""
    before = contents_of(made)
    made.disk.flip(path, offset, 0xFF)
    try:
        told = judge(made)
    except (RecoveryRefused, IdentityError) as refused:
        if path not in str(refused):
            raise AssertionError(f"a byte of {path} at {offset} changed, and something else is said") from refused
        made.disk.flip(path, offset, 0xFF)
        return "refused"
    restore(made, before)
    assert told != "lost", f"{path}: a byte at {offset} changed, and nothing was said"
    return told


def judge(made: Made) -> str:
    """told: something was said; cut: the last batch is taken for a torn tail, and that was said; same: it is as it was; lost: none
    of these.  Raises what refuses."""
    identity = identify(made.disk, DIRECTORY, NODE_ID, [1, 2, 3], MEMBERS, 1)
    assert (identity.uid, identity.members) == (UID, MEMBERS)
    found = made.recover(has_others=False)
    if found.log.cut is not None:
        kept = sum(1 for _ in found.log.ranges(1))
        assert kept >= len(made.ranges) - LAST_BATCH, "more than the last batch was taken for a torn tail"
        return "cut"
    if found.notes:
        return "told"
    return "same" if made.is_whole(found) else "lost"


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_every_byte_of_the_structure_and_some_of_the_rest(seed: int) -> None:
    made, random, results = make(seed), Random(seed), Counter[str]()
    places = dict.fromkeys(structure(made))
    for path in files_read(made):
        size = len(made.disk.content(path))
        places.update(dict.fromkeys((path, random.randrange(size)) for _ in range(min(size, 400))))
    for path, offset in places:
        results[flip(made, path, offset)] += 1
    assert sum(results.values()) > 3000
    assert not results["same"], "every byte counts"
    assert min(results["refused"], results["told"]) > 1000
    assert results["cut"] == 0 or seed % 2 == 1, "an orderly end leaves nothing that could be a torn tail"
    assert made.is_whole(made.recover(has_others=False))


def test_the_corpus_has_a_megabyte() -> None:
    sizes = [sum(len(made.disk.content(path)) for path in files_read(made)) for made in map(make, SEEDS)]
    assert sum(sizes) > 1 << 20


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_byte_of_the_corpus(seed: int) -> None:
    made, results = make(seed), Counter[str]()
    for path in files_read(made):
        for offset in range(len(made.disk.content(path))):
            results[flip(made, path, offset)] += 1
    assert not results["same"], "every byte counts"
    print(f"seed {seed}: {dict(results)}")


def test_a_changed_byte_makes_a_node_of_an_ensemble_rejoin_with_what_is_right() -> None:
    random = Random(5)
    states = Counter[SoundState]()
    for seed in (2, 3):
        original = make(seed)
        contents = {name: original.disk.content(name) for name in files(original)}
        for _ in range(250):
            path = random.choice([path for path in files_read(original) if not path.endswith(("identity", "members"))])
            made = Made(SimulatedDisk(), original.ranges, original.ends, original.epoch, original.vote, original.history)
            for name, content in contents.items():
                made.disk.put(name, content)
            with_snapshots(made)
            offset = random.randrange(len(contents[path]))
            made.disk.flip(path, offset, 0xFF)
            found = made.recover()
            states[found.soundness.state] += 1
            assert found.notes, f"{path}: {offset}"
            assert any(path in note for note in found.notes)
            if found.soundness.is_sound and found.log.cut is None:
                assert made.is_whole(found)
            left = list(found.log.ranges(found.log.first_index))
            first = next(
                (place for place, entries in enumerate(made.ranges) if left and entries.first_index == left[0].first_index), 0
            )
            assert same(left, made.ranges[first : first + len(left)])
            assert found.log.first_index <= found.snapshot + 1
    assert states[SoundState.SOUND] > 20
    assert states[SoundState.REJOINING] > 100


def test_every_cut_of_the_last_three_records_leaves_exactly_what_is_before_it() -> None:
    """A file that ends early: what its last whole block ends with is what the node begins with.

    That a mark once stood behind is not to be seen any more, so the node takes it for a torn tail, unless it knows that more was
    committed; log-format.md says so."""
    made = make_directory([4, 3, 1, 1, 1], segment_bytes_max=1 << 20, is_closed=False, body_max=300)
    path = f"{LOG}/{made.disk.list(LOG)[-1]}"
    content, found = made.disk.content(path), scan(made.disk, LOG)
    begin = found.blocks.offset[len(made.ranges) - 3] - MARK_SIZE
    floor = VoteFile(made.disk, DIRECTORY, UID)
    floor.load()
    cuts = 0
    for size in range(begin, found.offset):
        made.disk.put(path, content[:size])
        result = made.recover(has_others=False)
        whole = sum(found.blocks.offset[at] + found.blocks.size[at] <= size for at in range(len(made.ranges)))
        assert same(result.log.ranges(1), made.ranges[:whole]), f"cut at {size}"
        assert result.log.last_index >= floor.committed_index
        cuts += bool(result.notes)
    assert cuts > (found.offset - begin) * 0.9


# --- files from elsewhere, and from an older day


def told(made: Made, *words: str) -> None:
    """Refused, naming it; or said, and then a member does not call itself sound, or has lost nothing."""
    contents = contents_of(made)
    try:
        identify(made.disk, DIRECTORY, NODE_ID, [1, 2, 3], MEMBERS, 1)
        found = made.recover()
        said = " ".join(found.notes)
        assert not found.soundness.is_sound or made.is_whole(found)
    except IdentityError as refused:
        said = str(refused)
    assert all(word in said for word in words), said
    restore(made, contents)


@pytest.mark.parametrize("name", ["identity", "vote", "soundness", "members", "history"])
def test_a_file_of_another_directory_is_named(name: str) -> None:
    made, other = make(0), make_directory([2, 3], uid=UID + 1)
    made.disk.put(f"{DIRECTORY}/{name}", other.disk.content(f"{DIRECTORY}/{name}"))
    if name == "history":
        found = made.recover()
        assert made.is_whole(found), "the log says it"
        assert "is of another data directory" in found.notes[0]
    elif name == "identity":
        told(made, "members", "is of another data directory")
    else:
        told(made, name, "is of another data directory")


@pytest.mark.parametrize("name", ["identity", "soundness", "members"])
def test_a_file_of_another_node_is_named(name: str) -> None:
    made = make(0)
    disk = SimulatedDisk()
    identify(disk, DIRECTORY, 3, [1, 2, 3], MEMBERS, UID)
    made.disk.put(f"{DIRECTORY}/{name}", disk.content(f"{DIRECTORY}/{name}"))
    told(made, "node 3, not of node 2")


def test_files_that_changed_places_are_named() -> None:
    original = make(0)
    for folder in (LOG, SNAPSHOTS):
        names = [f"{folder}/{name}" for name in original.disk.list(folder)]
        assert len(names) > 1
        for left, right in pairwise(names):
            made = make(0)
            contents = made.disk.content(left), made.disk.content(right)
            made.disk.put(left, contents[1])
            made.disk.put(right, contents[0])
            if folder == SNAPSHOTS:
                found = made.recover()
                assert "its name says" in " ".join(found.notes)
                assert made.is_whole(found)
            else:
                told(made, left, "its name says otherwise")
    made = make(0)
    soundness = made.disk.content(f"{DIRECTORY}/soundness")
    made.disk.put(f"{DIRECTORY}/soundness", made.disk.content(f"{DIRECTORY}/members"))
    told(made, "holds what belongs into the file 'members'")
    made.disk.put(f"{DIRECTORY}/members", soundness)
    told(made, "holds what belongs into the file 'soundness'")


def test_an_older_copy_of_the_log_is_told_by_what_was_committed() -> None:
    copies: list[dict[str, bytes]] = []

    def copy(made: Made, writer: LogWriter) -> None:
        copies.append({path: made.disk.content(path) for path in files(made) if made.disk.exists(path)})

    made = make_directory([3, 2, 4], before=copy)
    found = made.recover()
    vote = found.vote_file
    vote.save(made.epoch, made.vote, made.ranges[-1].last_index)
    paths = [path for path in made.disk.list(LOG) if path.startswith("log.")]
    last = f"{LOG}/{paths[-1]}"
    size = HEADER_SIZE + MARK_SIZE
    made.disk.put(last, copies[0][last][:size])
    told(made, "was committed and stored here")


def test_an_older_copy_of_soundness_is_told_by_what_was_committed() -> None:
    made = make(0)
    sound = made.disk.content(f"{DIRECTORY}/soundness")
    first = f"{LOG}/{made.disk.list(LOG)[0]}"
    for name in made.disk.list(SNAPSHOTS):
        made.disk.remove(f"{SNAPSHOTS}/{name}")
    made.disk.flip(first, HEADER_SIZE + 5, 0xFF)
    assert not made.recover().soundness.is_sound
    made.disk.put(f"{DIRECTORY}/soundness", sound)
    told(made, "was committed and stored here")


def test_the_log_of_another_node_of_the_ensemble_is_the_same_log() -> None:
    """Blocks are the same on every node: a longer log of another one is as good, a shorter one is told by what was committed."""
    made, other = make_directory([3, 2, 4, 2]), make_directory([3, 2, 4, 2, 3])
    for name in other.disk.list(LOG):
        made.disk.put(f"{LOG}/{name}", other.disk.content(f"{LOG}/{name}"))
    found = made.recover()
    assert found.soundness.is_sound
    assert same(list(found.log.ranges(1))[: len(made.ranges)], made.ranges)
    shorter = make_directory([1])
    for name in made.disk.list(LOG):
        made.disk.remove(f"{LOG}/{name}")
    for name in shorter.disk.list(LOG):
        made.disk.put(f"{LOG}/{name}", shorter.disk.content(f"{LOG}/{name}"))
    with pytest.raises(RecoveryRefused, match="was committed and stored here"):
        made.recover(has_others=False)


def test_soundness_is_read_back_as_it_was_written() -> None:
    made = make(0)
    file = SoundnessFile(made.disk, DIRECTORY, NODE_ID, UID)
    was = file.load()
    assert was is not None
    for soundness in (was, was.rejoining("a reason:  with\nlines", 1 << 63), was.rejoining("", 1).proven()):
        file.save(soundness)
        assert file.load() == soundness
