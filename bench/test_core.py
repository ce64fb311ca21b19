"""Goal: what the core costs per operation, without processes, sockets and (but for the log) disk: part of `make bench`.

Method: a round is a thousand operations, so a microsecond in the table is a nanosecond for one, and a thousand OPS are a
million per second.  100,000 znodes of 100 bytes are there."""

import itertools
import select
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cores import (
    ANY_VERSION,
    CREATE,
    DELETE,
    EXISTS,
    GET_DATA,
    REPLY_HEAD_BYTES,
    SET_DATA,
    STAT_BYTES,
    VALUE,
    Core,
    change,
    creation,
    text,
)
from fastzk._core import _testing_tree as tree
from fastzk._core.watches import Watches
from fastzk.data import ZnodeStat
from fastzk.defs import OpCode
from fastzk.storage.disk import RealDisk
from fastzk.storage.log import LogWriter, SegmentLog
from fastzk.storage.segments import End
from fastzk.testing.blocks import next_range
from fastzk.wire import records
from loaded import DIRECTORY

ROUNDS = 30
THOUSAND = 1000
ZNODES = 100_000


@pytest.fixture(scope="module")
def core() -> Core:
    """Shared: a test leaves the znodes as they were."""
    return Core(ZNODES)


@pytest.fixture
def measure(benchmark: BenchmarkFixture) -> Callable[[str, Callable[..., object], Callable[[], tuple[object, ...]]], None]:
    """measure(group, work, made): `made` gives the arguments of each round, untimed."""

    def measured(group: str, work: Callable[..., object], made: Callable[[], tuple[object, ...]]) -> None:
        benchmark.group = f"{group}: a thousand (us of a round = ns each)"
        benchmark.pedantic(work, setup=lambda: (made(), {}), rounds=ROUNDS, warmup_rounds=2)

    return measured


Measure = Callable[[str, Callable[..., object], Callable[[], tuple[object, ...]]], None]


def some(core: Core) -> list[bytes]:
    """A thousand of the znodes, in an order that no cache likes."""
    return Random(1).sample(core.znodes, THOUSAND)


# ---- the tree


def test_find_in_the_arena(core: Core, measure: Measure) -> None:
    paths = some(core)
    assert all(tree.find(core.arena, path) for path in paths)

    def find() -> None:
        deque(map(tree.find, itertools.repeat(core.arena), paths), maxlen=0)

    measure("tree", find, lambda: ())


# ---- a worker: jute in, jute out


@pytest.mark.parametrize(("name", "op", "more"), [("getData", GET_DATA, 4 + len(VALUE)), ("exists", EXISTS, 0)])
def test_reads_from_request_to_reply(core: Core, measure: Measure, name: str, op: int, more: int) -> None:
    bodies = [text(path) + b"\0" for path in some(core)]

    def made() -> tuple[bytes]:
        core.taken()
        return (core.frames(op, bodies),)

    measure("worker", core.serve, made)
    assert core.taken() == THOUSAND * (REPLY_HEAD_BYTES + STAT_BYTES + more), name


def test_writes_from_request_to_entry(core: Core, measure: Measure) -> None:
    bodies = [change(path) for path in some(core)]
    core.taken()
    replied: list[int] = []

    def finish() -> None:
        core.apply_passed_on()
        replied.append(core.taken())

    def made() -> tuple[bytes]:
        if core.xid > xid:
            finish()
        return (core.frames(SET_DATA, bodies),)

    xid = core.xid
    measure("worker", core.serve, made)
    finish()
    assert set(replied) == {THOUSAND * (REPLY_HEAD_BYTES + STAT_BYTES)}


# ---- the client: jute in Python


def test_encode_requests_in_python(measure: Measure) -> None:
    request = records.GetData("/znode-000000042", False)

    def encode() -> None:
        for _ in range(THOUSAND):
            records.encode_request(request)

    measure("records", encode, lambda: ())


def test_decode_replies_in_python(measure: Measure) -> None:
    stat = ZnodeStat(1, 1, 1, 1, 1, 1, 1, 0, len(VALUE), 0, 1)
    reply = records.encode_reply(OpCode.GET_DATA, (VALUE, stat))
    assert records.decode_reply(OpCode.GET_DATA, reply) == (VALUE, stat)

    def decode() -> None:
        for _ in range(THOUSAND):
            records.decode_reply(OpCode.GET_DATA, reply)

    measure("records", decode, lambda: ())


# ---- the engine: blocks applied


def new_paths() -> Iterator[list[bytes]]:
    """A thousand names that were never used, again and again."""
    for number in itertools.count():
        yield [b"/new-%06d-%03d" % (number, each) for each in range(THOUSAND)]


NAMES = new_paths()


@pytest.mark.parametrize("name", ["create", "setData", "setData repeated", "create of what is there", "delete"])
def test_apply(core: Core, measure: Measure, name: str) -> None:
    znodes = core.machine.counts["znodes"]
    created: list[bytes] = []

    def made() -> tuple[Sequence[bytes]]:
        if name == "setData":
            return (core.blocks(SET_DATA, [change(path) for path in some(core)]),)
        if name == "setData repeated":
            return (core.blocks(SET_DATA, [change(path) for path in some(core)], step=0),)
        if name == "create of what is there":
            return (core.blocks(CREATE, [creation(path) for path in some(core)]),)
        paths = next(NAMES)
        if name == "create":
            created.extend(paths)
            return (core.blocks(CREATE, [creation(path) for path in paths]),)
        core.apply_all(core.blocks(CREATE, [creation(path) for path in paths]))
        return (core.blocks(DELETE, [text(path) + ANY_VERSION for path in paths]),)

    measure("engine", core.apply_all, made)
    core.apply_all(core.blocks(DELETE, [text(path) + ANY_VERSION for path in created]))
    assert core.machine.counts["znodes"] == znodes


# ---- watches


def test_fire_a_watch_each_of_a_thousand_paths(core: Core, measure: Measure) -> None:
    watches, zxids, paths = Watches(1), itertools.count(1), some(core)

    def made() -> tuple[int]:
        zxid = next(zxids)
        for number, path in enumerate(paths):
            watches.arm(path, 1, number, zxid - 1, zxid - 1)
        return (zxid,)

    def fire(zxid: int) -> None:
        for path in paths:
            watches.fire(path, 3, zxid)

    measure("watches", fire, made)
    assert len(watches) == 0


def test_fire_a_thousand_watches_of_one_path(measure: Measure) -> None:
    watches, zxids, told = Watches(1), itertools.count(1), []

    def made() -> tuple[int]:
        zxid = next(zxids)
        for connection in range(THOUSAND):
            watches.arm(b"/one", 1, connection, zxid - 1, zxid - 1)
        return (zxid,)

    measure("watches", lambda zxid: told.append(watches.fire(b"/one", 3, zxid)), made)
    assert {len(each) for each in told} == {THOUSAND}


# ---- the log, on the disk below build/


@pytest.mark.parametrize("in_flight", [1, 64])
def test_append_to_the_log_and_sync(benchmark: BenchmarkFixture, in_flight: int) -> None:
    benchmark.group = "log: blocks of 4,000 bytes appended together, until they are synced"
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DIRECTORY) as directory:
        log, end = SegmentLog.open(RealDisk(), directory), End()
        writer = LogWriter(log)
        try:

            def append(ranges: list[object]) -> None:
                last = writer.queued_index + in_flight
                writer.append(ranges)  # type: ignore[arg-type]
                while log.last_index < last:
                    select.select([writer.fd], [], [])
                    writer.take_done()

            def made() -> tuple[tuple[object, ...], dict[str, object]]:
                return ([next_range(end, bytes(4000)) for _ in range(in_flight)],), {}

            benchmark.pedantic(append, setup=made, rounds=ROUNDS, warmup_rounds=2)
        finally:
            writer.close()
            log.close()
