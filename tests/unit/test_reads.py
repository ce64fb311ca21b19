"""Goal: the zxid in an answer is exactly the state it was read at, while the writer goes on in another thread.

Method: Machine.apply runs without the GIL, so a reader with an Arena of its own over the same region races it for real.
The workload is such that the state at every zxid is known by arithmetic: each answer is compared with that.
"""

import mmap
import struct
import threading

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.blocks import make_entry, seal
from fastzk._core.reads import answer
from fastzk._core.tree import format_tree
from fastzk.testing.model import packed

SESSION_ID = 1 << 56
ATTACH_ZXID = 1 << 32
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_CHILDREN2, CREATE_SESSION = 1, 2, 3, 4, 5, 12, -10
OPEN = struct.pack(">ii", 1, 31) + packed(b"world") + packed(b"anyone")
BEGINNING = 3  # entries before step 0: the session, /data, /list
STEPS = 60_000
KEPT = 12  # children in /list at a time
BLOCK_ENTRIES = 256
ROUNDS_MAX = 10  # on a busy machine the two threads seldom run at once: then once more
ZXIDS_WANTED = 200


def data_at(version: int) -> bytes:
    return b"%d" % version + b"." * (version * 37 % 700)


def body_of(step: int) -> tuple[int, bytes]:
    """Each third step writes /data, adds a child to /list, or takes away the child added KEPT turns ago."""
    turn, kind = divmod(step, 3)
    if kind == 0:
        return SET_DATA, packed(b"/data") + packed(data_at(turn + 1)) + struct.pack(">i", -1)
    if kind == 1:
        return CREATE, create_body(b"/list/n%d" % turn)
    return DELETE, packed(b"/list/n%d" % (turn - KEPT)) + struct.pack(">i", -1)


def create_body(path: bytes) -> bytes:
    return packed(path) + packed(b"") + OPEN + bytes(4)


def children_at(step: int) -> set[bytes]:
    added = (step - 1) // 3 + 1
    taken = max((step - 2) // 3 + 1 - KEPT, 0)
    return {b"n%d" % turn for turn in range(taken, added)}


def blocks() -> list[bytes]:
    entries = [
        make_entry(CREATE_SESSION, struct.pack(">i", 4000) + bytes(16), SESSION_ID),
        make_entry(CREATE, create_body(b"/data"), SESSION_ID, ATTACH_ZXID, 1),
        make_entry(CREATE, create_body(b"/list"), SESSION_ID, ATTACH_ZXID, 2),
    ]
    entries += [make_entry(*body_of(step), SESSION_ID, ATTACH_ZXID, 3 + step) for step in range(STEPS)]
    return [
        seal(entries[at : at + BLOCK_ENTRIES], len(entries[at : at + BLOCK_ENTRIES]), at + 1, ATTACH_ZXID + at, 0, 0)
        for at in range(0, len(entries), BLOCK_ENTRIES)
    ]


def check_answer(op: int, step: int, err: int, body: bytes) -> None:
    assert err == 0
    stat = struct.unpack(">qqqqiiiqiiq", body[-68:])
    mzxid, version, data_size, child_count = stat[1], stat[4], stat[8], stat[9]
    if op == GET_CHILDREN2:
        expected = children_at(step)
        names, at = set(), 4
        while at < len(body) - 68:
            (size,) = struct.unpack_from(">i", body, at)
            names.add(body[at + 4 : at + 4 + size])
            at += 4 + size
        assert names == expected
        assert child_count == len(expected) == struct.unpack_from(">i", body)[0]
        return
    turn = step // 3
    assert version == turn + 1
    assert mzxid == ATTACH_ZXID + BEGINNING + 3 * turn
    assert data_size == len(data_at(turn + 1))
    if op == GET_DATA:
        assert body[:-68] == packed(data_at(turn + 1))


def race(written: list[bytes]) -> list[tuple[int, int, int, bytes]]:
    """Writes the blocks in another thread, and meanwhile collects answers: (op, err, zxid, body)."""
    region = mmap.mmap(-1, 64 << 20)
    machine_arena = Arena.create(region)
    format_tree(machine_arena)
    machine = Machine(machine_arena, 1)
    arena = Arena.open(region)
    machine.apply(written[0])

    def write() -> None:
        for block in written[1:]:
            machine.apply(block)

    writer = threading.Thread(target=write)
    answers = []
    writer.start()
    while writer.is_alive():
        for op, path in ((EXISTS, b"/data"), (GET_DATA, b"/data"), (GET_CHILDREN2, b"/list")):
            try:
                answers.append((op, *answer(arena, op, path)))
            except BlockingIOError:  # the writer won every try: a worker would hand the read over
                continue
    writer.join()
    answers.append((GET_CHILDREN2, *answer(arena, GET_CHILDREN2, b"/list")))
    return answers


def test_every_answer_is_the_state_at_its_zxid() -> None:
    written = blocks()
    seen = 0
    for _ in range(ROUNDS_MAX):
        answers = race(written)
        zxids = [zxid for _, _, zxid, _ in answers]
        assert zxids == sorted(zxids)
        assert zxids[-1] == ATTACH_ZXID + BEGINNING + STEPS - 1
        for op, err, zxid, body in answers:
            check_answer(op, zxid - ATTACH_ZXID - BEGINNING, err, body)
        seen += len(set(zxids))
        if seen >= ZXIDS_WANTED:
            break
