"""Goal: the differential test finds a server that is wrong in one place only.

Method: the candidate is a second ZooKeeper whose answers are changed on their way, each time by one LIE: a field of a Stat, an
error code, the order of events, a name, a zxid.  Each must be found within so many conversations.  Without a lie the same
conversations find nothing (test_differential.py).  The faults of fastzk itself that were planted for the same purpose, by
hand, are listed in docs/compatibility.md."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastzk.defs import OpCode, Xid
from fastzk.testing import maven
from fastzk.testing.differential.bodies import SUPER
from fastzk.testing.differential.duel import Duel
from fastzk.testing.differential.generator import conversation
from fastzk.testing.differential.player import Answer, Player
from fastzk.testing.differential.servers import duellists
from fastzk.testing.differential.steps import Request, Step

pytestmark = pytest.mark.process

SEQUENCES_MAX = 150
OPERATIONS = 50
HEAD = struct.Struct("!iqi")
STAT_SIZE = 68
# Where the fields of a Stat begin, counted from its end.
CZXID, MZXID, CTIME, MTIME, VERSION, CVERSION, AVERSION, OWNER, LENGTH, CHILDREN, PZXID = (
    68, 60, 52, 44, 36, 32, 28, 24, 16, 12, 8,
)  # fmt: skip

Records = list[bytes]
Lie = Callable[[Step | None, Records], Records]


class Liar(Player):
    """A player whose server seems to answer something else."""

    lie: Lie

    def finish(self, step: Step) -> Answer:
        """The answer to a step, changed."""
        got = super().finish(step)
        return Answer(self.lie(step, got.records), got.end)

    def hear(self, slot: int) -> Answer:
        """What came on a connection, changed."""
        got = super().hear(slot)
        return Answer(self.lie(None, got.records), got.end)


# ---- lies


def in_reply(ops: tuple[int, ...], change: Callable[[bytes], bytes]) -> Lie:
    """Changes the successful replies to some operations; change() gets a record whole."""

    def lie(step: Step | None, got: Records) -> Records:
        if not isinstance(step, Request) or step.op not in ops or not got:
            return got
        xid, _, err = HEAD.unpack_from(got[-1])
        return got if xid == Xid.NOTIFICATION or err else [*got[:-1], change(got[-1])]

    return lie


def plus(ops: tuple[int, ...], from_end: int, layout: str, by: int = 1) -> Lie:
    """Adds to a number so many bytes before the end of a reply, unless it is 0: what a server never wrote is 0 everywhere."""
    field = struct.Struct(layout)

    def change(record: bytes) -> bytes:
        if len(record) < HEAD.size + from_end:
            return record
        at = len(record) - from_end
        value = field.unpack_from(record, at)[0]
        return record[:at] + field.pack(value + by) + record[at + field.size :]

    return in_reply(ops, change)


def is_event(record: bytes) -> bool:
    return HEAD.unpack_from(record)[0] == Xid.NOTIFICATION


def of_events(change: Callable[[Records], Records]) -> Lie:
    """Changes the events of an answer."""

    def lie(step: Step | None, got: Records) -> Records:
        events = [record for record in got if len(record) >= HEAD.size and is_event(record)]
        return change(events) + got[len(events) :] if events and got[: len(events)] == events else got

    return lie


def other_error(step: Step | None, got: Records) -> Records:
    """NoNode becomes NodeExists."""
    return [record.replace(b"\xff\xff\xff\x9b", b"\xff\xff\xff\x92") for record in got]


def stale_zxid(step: Step | None, got: Records) -> Records:
    """The zxid of the state before, in the reply to a write."""
    if isinstance(step, Request) and step.op in (OpCode.CREATE, OpCode.SET_DATA) and got and HEAD.unpack_from(got[-1])[2] == 0:
        xid, zxid, err = HEAD.unpack_from(got[-1])
        return [*got[:-1], HEAD.pack(xid, zxid - 1, err) + got[-1][HEAD.size :]]
    return got


def event_zxid(events: Records) -> Records:
    return [HEAD.pack(Xid.NOTIFICATION, HEAD.unpack_from(one)[1] - 1, 0) + one[HEAD.size :] for one in events]


def created_for_changed(events: Records) -> Records:
    return [one.replace(b"\0\0\0\x03\0\0\0\x03", b"\0\0\0\x01\0\0\0\x03") for one in events]


def behind_the_reply(step: Step | None, got: Records) -> Records:
    """Events of a connection's own write come after its reply."""
    if isinstance(step, Request) and len(got) > 1 and is_event(got[0]) and not is_event(got[-1]):
        return [got[-1], *got[:-1]]
    return got


WITH_STAT = (
    OpCode.EXISTS, OpCode.GET_DATA, OpCode.SET_DATA, OpCode.GET_CHILDREN2, OpCode.CREATE2, OpCode.CREATE_TTL, OpCode.SET_ACL,
    OpCode.GET_ACL,
)  # fmt: skip
LIES: dict[str, Lie] = {
    "czxid": plus(WITH_STAT, CZXID, "!q", -1),
    "mzxid of setData": plus((OpCode.SET_DATA,), MZXID, "!q", -1),
    "pzxid of exists": plus((OpCode.EXISTS,), PZXID, "!q", -1),
    "ctime": plus(WITH_STAT, CTIME, "!q"),
    "mtime of getData": plus((OpCode.GET_DATA,), MTIME, "!q"),
    "version": plus(WITH_STAT, VERSION, "!i"),
    "cversion of getChildren2": plus((OpCode.GET_CHILDREN2,), CVERSION, "!i"),
    "aversion of setACL": plus((OpCode.SET_ACL,), AVERSION, "!i"),
    "owner": plus(WITH_STAT, OWNER, "!q"),
    "data length": plus(WITH_STAT, LENGTH, "!i"),
    "number of children": plus((OpCode.EXISTS,), CHILDREN, "!i"),
    "sequence number": plus((OpCode.CREATE,), 1, "!B"),
    "error code": other_error,
    "stale zxid": stale_zxid,
    "number of descendants": plus((OpCode.GET_ALL_CHILDREN_NUMBER,), 4, "!i"),
    "a byte of an ACL": plus((OpCode.GET_ACL,), STAT_SIZE + 1, "!b"),
    "a byte of a multi": plus((OpCode.MULTI,), 10, "!B"),
    "identities": in_reply((OpCode.WHO_AM_I,), lambda record: record[: HEAD.size] + b"\0\0\0\0"),
    "null for empty data": in_reply(
        (OpCode.GET_DATA,),
        lambda record: record.replace(b"\0\0\0\0", b"\xff\xff\xff\xff", 1) if record[16:20] == b"\0\0\0\0" else record,
    ),
    "order of events": of_events(lambda events: events[::-1]),
    "lost event": of_events(lambda events: events[:-1]),
    "event twice": of_events(lambda events: [*events, events[-1]]),
    "zxid of events": of_events(event_zxid),
    "type of events": of_events(created_for_changed),
    "event after the reply": behind_the_reply,
}


@pytest.fixture(scope="module")
def twins(disk: Path) -> Iterator[tuple[Duel, Liar]]:
    """Two ZooKeepers, one of which can be made to lie."""
    try:
        with duellists(disk, is_self_check=True) as addresses, Duel(*addresses, SUPER, is_self_check=True) as duel:
            liar = Liar(addresses[1])
            duel.replace_candidate(liar)
            yield duel, liar
    except maven.Unavailable as missing:
        pytest.skip(f"no Apache ZooKeeper to make a liar of: {missing}")


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(twins: tuple[Duel, Liar], name: str) -> None:
    duel, liar = twins
    liar.lie = LIES[name]  # type: ignore[method-assign]
    for seed in range(SEQUENCES_MAX):
        if duel.play(conversation(seed, OPERATIONS)) is not None:
            return
    pytest.fail(f"{SEQUENCES_MAX} conversations did not show: {name}")
