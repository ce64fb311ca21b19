"""What one server's answers say, in words that are the same for every server that does the same.

    zxid         -> the step whose write has it: ("at", 7), "old" (before the conversation), ("after", 7)
    time         -> only whether it is the time of the transaction that the zxid beside it names
    session id   -> the session's number in the conversation
    password     -> whether it has its size, and whether it is the session's

So a wrong czxid, mzxid or pzxid, a zxid that falls, a ctime that moves: all become differences, though no two servers
give the same numbers.  A reply's own zxid is held to the last write that it shows: ("after", 7) whatever the server counts
besides (fastzk gives zxids to syncs, ZooKeeper to some requests that fail).

Rule: what ZooKeeper keeps in hash tables has no order and is sorted: names of children, getEphemerals' paths, whoAmI's
identities, neighbours of an ACL with the same perms (`auth` was expanded to them), ephemerals that go with a session.  All
other order counts."""

import struct
from bisect import bisect_right
from typing import Any

from fastzk.data import ZnodeStat
from fastzk.defs import OpCode, Xid
from fastzk.testing.differential.player import Answer, Player
from fastzk.testing.differential.steps import Burst, Connect, Request, Resume, Step
from fastzk.wire import jute, records

_HEAD = struct.Struct("!iqi")
_INT = struct.Struct("!i")
_EVENT = struct.Struct("!ii")
_STAT_SIZE = 68
_WRITES = frozenset(
    {
        OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.DELETE, OpCode.SET_DATA,
        OpCode.SET_ACL, OpCode.MULTI, OpCode.CLOSE_SESSION,
    }
)  # fmt: skip


def is_done_write(op: int, err: int, body: bytes) -> bool:
    """True when the reply says that something was changed (an empty or failed multi begins with type -1)."""
    return err == 0 and op in _WRITES and (op != OpCode.MULTI or body[:4] != b"\xff\xff\xff\xff")


class View:
    """One server's answers of one conversation, made comparable.  The player's zxids are kept here, too."""

    def __init__(self, player: Player) -> None:
        self._player = player
        # Zxid of each successful write -> its step; the keys, as written, ascend.
        self._step_of: dict[int, float] = {}
        # Zxid -> the time that the first Stat with it told.
        self._time_of: dict[int, int] = {}
        self._session_of: dict[int, int] = {}
        # Steps that closed a session.
        self._closings: set[float] = set()
        # The highest zxid seen, and what it was before the answers that are looked at now: those of a barrier come at once.
        self._top_zxid = self._floor_zxid = player.base_zxid

    # ---- answers

    def see(self, number: int, step: Step, answer: Answer) -> tuple[Any, ...]:
        """The answer to a step."""
        self._floor_zxid = self._top_zxid
        seen = self._see(number, step, answer)
        self._floor_zxid = self._top_zxid
        return seen

    def _see(self, number: int, step: Step, answer: Answer) -> tuple[Any, ...]:
        if isinstance(step, Connect | Resume):
            return (*(self._connected(step, record) for record in answer.records), answer.end)
        if isinstance(step, Request):
            self._learn(number, step, answer.records)
            return self._sorted([self._record(step.op, record) for record in answer.records], answer.end)
        if isinstance(step, Burst):
            return (*self._see_burst(number, step, answer.records), answer.end)
        return (*(self._record(-1, record) for record in answer.records), answer.end)

    def see_barrier(self, answer: Answer) -> tuple[Any, ...]:
        """What came on one of the connections that were asked at the same time, after a step."""
        return self._sorted([self._record(OpCode.EXISTS, record) for record in answer.records], answer.end)

    def see_plain(self, op: int, err: int, body: bytes) -> tuple[Any, ...]:
        """A reply without its header's zxid, as a look at the whole tree brings it."""
        return (err, self._value(op, body))

    def _see_burst(self, number: int, step: Burst, got: list[bytes]) -> list[tuple[Any, ...]]:
        """Answers in the order of the requests, with events between them; the events of a write come before its reply."""
        replies = [record for record in got if _HEAD.unpack_from(record)[0] != Xid.NOTIFICATION]
        for place, (request, reply) in enumerate(zip(step.requests, replies, strict=False)):
            # Steps have whole numbers; what is inside of one has hundredths.
            self._learn(number + (place + 1) / 100, request, [reply])
        ops = iter([request.op for request in step.requests])
        seen = []
        for record in got:
            is_event = _HEAD.unpack_from(record)[0] == Xid.NOTIFICATION
            seen.append(self._record(-1 if is_event else next(ops, -1), record))
        return seen

    def _learn(self, number: float, step: Request, got: list[bytes]) -> None:
        """Takes note of a successful write's zxid before anything that shows it is looked at."""
        for record in got:
            xid, zxid, err = _HEAD.unpack_from(record)
            if (
                xid == step.xid
                and is_done_write(step.op, err, record[_HEAD.size :])
                and zxid > max(self._top_zxid, *self._player.written[-1:], 0)
            ):
                self._step_of[zxid] = number
                self._player.written.append(zxid)
                if step.op == OpCode.CLOSE_SESSION:
                    self._closings.add(number)

    def _connected(self, step: Connect | Resume, record: bytes) -> tuple[Any, ...]:
        response = records.ConnectResponse.decode(record)
        number = 0
        if response.session_id:
            number = self._session_of.setdefault(response.session_id, step.session)
        # Refused sessions get zeros.
        kept = self._player.sessions.get(step.session, (0, b""))[1] if response.session_id else bytes(16)
        password = (len(response.password or b""), response.password == kept)
        return (response.protocol_version, response.timeout_ms, ("session", number), password, response.is_read_only)

    # ---- records

    def _record(self, op: int, record: bytes) -> tuple[Any, ...]:
        xid, zxid, err = _HEAD.unpack_from(record)
        body = record[_HEAD.size :]
        if xid == Xid.NOTIFICATION:
            return ("event", self._at(zxid), err, *_event(body))
        return ("reply", xid, self._reached(zxid), err, self._value(op, body) if body else None)

    def _reached(self, zxid: int) -> Any:
        """A reply's own zxid: which write it has seen; and whether it fell."""
        if zxid <= 0:
            return zxid
        if zxid < self._floor_zxid:
            return f"fell from {self._floor_zxid:#x} to {zxid:#x}"
        self._top_zxid = max(self._top_zxid, zxid)
        written = self._player.written
        found = bisect_right(written, zxid)
        return ("after", self._step_of[written[found - 1]]) if found else "old"

    def _at(self, zxid: int) -> Any:
        """The zxid of a transaction."""
        step = self._step_of.get(zxid)
        if step is not None:
            return ("at", step)
        if zxid <= self._player.base_zxid:
            return "old" if zxid > 0 else zxid
        written = self._player.written
        found = bisect_right(written, zxid)
        return ("no write's, after", self._step_of[written[found - 1]] if found else 0)

    def _stat(self, stat: ZnodeStat) -> tuple[Any, ...]:
        owner = stat.ephemeralOwner
        return (
            "stat",
            self._at(stat.czxid),
            self._at(stat.mzxid),
            self._time(stat.czxid, stat.ctime),
            self._time(stat.mzxid, stat.mtime),
            *stat[4:7],
            ("session", self._session_of.get(owner, owner)) if owner else 0,
            *stat[8:10],
            self._at(stat.pzxid),
        )

    def _time(self, zxid: int, time_ms: int) -> str:
        if zxid <= self._player.base_zxid:
            return "0" if time_ms == 0 else "some"
        kept = self._time_of.setdefault(zxid, time_ms)
        return "its" if kept == time_ms else f"{time_ms - kept} ms off"

    def _value(self, op: int, body: bytes) -> Any:
        if op == OpCode.SYNC:
            return text(body[4:]) if body[:4] != b"\xff\xff\xff\xff" else None
        if op == OpCode.GET_ACL and len(body) > _STAT_SIZE:
            stat, _ = jute.STAT.decode(body, len(body) - _STAT_SIZE)
            return (_acl(body[:-_STAT_SIZE]), self._stat(stat))
        try:
            value = records.decode_reply(op, body)
        except (jute.RecordError, KeyError, ValueError, struct.error):
            return body
        return self._comparable(op, value)

    def _comparable(self, op: int, value: Any) -> Any:
        if op in (OpCode.GET_CHILDREN, OpCode.GET_EPHEMERALS, OpCode.WHO_AM_I):
            return sorted(value)
        if op == OpCode.GET_CHILDREN2:
            return (sorted(value[0]), self._stat(value[1]))
        if op in (OpCode.MULTI, OpCode.MULTI_READ):
            return [(part.op, part.err, self._comparable(part.op, part.value)) for part in value]
        if isinstance(value, ZnodeStat):
            return self._stat(value)
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], ZnodeStat):
            return (value[0], self._stat(value[1]))
        return value

    def _sorted(self, seen: list[tuple[Any, ...]], end: str) -> tuple[Any, ...]:
        """Puts the events of a session's end in an order of their own: its ephemerals go in any."""
        if self._closings and any(is_closing := [self._is_closing(one) for one in seen]):
            events = [one for one, closing in zip(seen, is_closing, strict=True) if closing]
            others = [one for one, closing in zip(seen, is_closing, strict=True) if not closing]
            return (*sorted(events, key=repr), *others, end)
        return (*seen, end)

    def _is_closing(self, one: tuple[Any, ...]) -> bool:
        return one[0] == "event" and isinstance(one[1], tuple) and one[1][1] in self._closings


def _acl(body: bytes) -> list[tuple[int, str, str]]:
    """An ACL in its order, but for neighbours with the same perms."""
    listed: list[tuple[int, str, str]] = []
    run: list[tuple[int, str, str]] = []
    at = 4
    while at < len(body):
        perms = _INT.unpack_from(body, at)[0]
        scheme, at = jute.BUFFER.decode(body, at + 4)
        name, at = jute.BUFFER.decode(body, at)
        if run and run[-1][0] != perms:
            listed += sorted(run)
            run = []
        run.append((perms, text(scheme), text(name)))
    return listed + sorted(run)


def text(raw: bytes) -> str:
    """A string that is only echoed: as it is, unless Java would change it (rules: "text that is not UTF-8")."""
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        return "(odd text)"
    return "(odd text)" if any(letter == "\ufffd" or letter > "\uffff" for letter in decoded) else decoded


def _event(body: bytes) -> tuple[Any, ...]:
    kind, state = _EVENT.unpack_from(body)
    size = _INT.unpack_from(body, 8)[0]
    return (kind, state, text(body[12 : 12 + size]), body[12 + size :])
