"""The client of a Node's connection that believes nothing: it holds every frame it gets against the model's history."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastzk.testing.model import packed

if TYPE_CHECKING:
    from fastzk._core.serve import Server
    from fastzk.testing.serving import Node

TIMEOUT_MS_MIN, TIMEOUT_MS_MAX = 4000, 40000
EXISTS, GET_DATA, GET_ACL, GET_CHILDREN, GET_CHILDREN2, GET_ALL_CHILDREN_NUMBER = 3, 4, 6, 8, 12, 104
READS = (EXISTS, GET_DATA, GET_CHILDREN, GET_CHILDREN2)
PATH_READS = (*READS, GET_ACL, GET_ALL_CHILDREN_NUMBER)
MULTI_READ, GET_EPHEMERALS, WHO_AM_I = 22, 103, 107
WRITES = (1, 2, 5, 7, 9, 14, 15, 16, 19, 21)
CHECK_WATCHES, REMOVE_WATCHES, ADD_WATCH, SET_WATCHES, SET_WATCHES2 = 17, 18, 106, 101, 105
PING, CLOSE, AUTH = 11, -11, 100
UNKNOWN_OP = 999
KNOWN_OPS = {*PATH_READS, *WRITES, MULTI_READ, GET_EPHEMERALS, WHO_AM_I, CLOSE, AUTH}
KNOWN_OPS |= {CHECK_WATCHES, REMOVE_WATCHES, ADD_WATCH, SET_WATCHES, SET_WATCHES2}
KINDS_OF_EVENT = {
    1: ("data", "persistent"),
    2: ("data", "child", "persistent"),
    3: ("data", "persistent"),
    4: ("child", "persistent"),
}
LASTING = ("persistent", "recursive")
# What checkWatches and removeWatches ask for, by its number.
KINDS_OF_TYPE = {
    1: ("child",),
    2: ("data",),
    3: ("child", "data", "persistent", "recursive"),
    4: ("persistent",),
    5: ("recursive",),
}
GOOD, REFUSED = b"good", b"refused"  # how a secret begins that is accepted, or not
MULTI_END = struct.pack(">i?i", -1, True, -1)


def framed(payload: bytes) -> bytes:
    """The payload as one frame."""
    return struct.pack(">i", len(payload)) + payload


def strings(texts: Sequence[bytes]) -> bytes:
    """A vector of strings."""
    return struct.pack(">i", len(texts)) + b"".join(packed(text) for text in texts)


def parsed_strings(body: bytes) -> list[bytes]:
    """A vector of strings, taken apart."""
    (count,) = struct.unpack_from(">i", body)
    found, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from(">i", body, at)
        found.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    assert at == len(body)
    return found


def sorted_names(op: int, body: bytes) -> bytes:
    """A read's names in the order of their bytes; the rest as it is."""
    if op not in (GET_CHILDREN, GET_CHILDREN2) or not body:
        return body
    (count,) = struct.unpack_from(">i", body)
    names, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from(">i", body, at)
        names.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return body[:4] + b"".join(packed(name) for name in sorted(names)) + body[at:]


def is_within(path: bytes, above: bytes) -> bool:
    """Whether a recursive watch on `above` is for `path`."""
    return path == above or path.startswith(above.rstrip(b"/") + b"/")


@dataclass
class Asked:
    """A request on its way."""

    xid: int
    op: int
    path: bytes | None = None
    is_watching: bool = False
    number: int = 0  # the mode or type of a watch; relativeZxid
    lists: tuple[tuple[bytes, ...], ...] = ()  # of setWatches; the reads of multiRead
    secret: bytes = b""


@dataclass
class Frame:
    """One frame as a client gets it after its ConnectResponse."""

    xid: int
    zxid: int
    err: int
    body: bytes


@dataclass
class ClientTwin:
    """One connection's client: asks, and holds every frame it gets against the history.

    Raises AssertionError when Z5, Z6 or a value is broken: replies in request order, zxids that never fall, reads equal to
    the model's at exactly their zxid, each write's own result, and of events: each one that is due, once, before any reply at
    or above its zxid and after the reply that armed its watch; and who it is: as of its last accepted credentials."""

    node: Node
    worker: int
    slot: int
    received: bytes = b""
    is_greeted: bool = False
    is_refused: bool = False
    is_over: bool = False
    session_id: int = 0
    password: bytes = b""
    has_read_only: bool = True
    last_zxid: int = 0
    next_xid: int = 1
    asked: deque[Asked] = field(default_factory=deque)
    pings: int = 0
    armed: dict[tuple[bytes, str], set[int]] = field(default_factory=dict)
    changes_seen: int = 0  # of history.changes
    events: int = 0
    replayed: list[bytes] = field(default_factory=list)  # events that came with zxid -1, since the last reply
    identities: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def server(self) -> Server:
        """The worker it is connected to."""
        return self.node.servers[self.worker]

    # --- asking

    def request(self, op: int, body: bytes, path: bytes | None = None, is_watching: bool = False) -> bytes:
        """Notes a request and gives its frame."""
        return self.note(Asked(self.next_xid, op, path, is_watching), body)

    def note(self, asked: Asked, body: bytes) -> bytes:
        """The same with more to remember of it."""
        self.asked.append(asked)
        self.next_xid += asked.xid == self.next_xid
        return framed(struct.pack(">ii", asked.xid, asked.op) + body)

    def read(self, op: int, path: bytes, is_watching: bool) -> bytes:
        """A read's frame."""
        return self.request(op, packed(path) + (bytes([is_watching]) if op in READS else b""), path, is_watching and op in READS)

    def multi_read(self, reads: tuple[tuple[int, bytes], ...]) -> bytes:
        """A multiRead's frame; each of the reads is getData or getChildren."""
        body = b"".join(struct.pack(">i?i", op, False, -1) + packed(path) + b"\x01" for op, path in reads) + MULTI_END
        lists = tuple((b"%d" % op, path) for op, path in reads)
        return self.note(Asked(self.next_xid, MULTI_READ, lists=lists), body)

    def watch(self, op: int, path: bytes, number: int) -> bytes:
        """The frame of addWatch, checkWatches or removeWatches, with the mode or type."""
        return self.note(Asked(self.next_xid, op, path, number=number), packed(path) + struct.pack(">i", number))

    def rewatch(self, seen_zxid: int, lists: tuple[tuple[bytes, ...], ...]) -> bytes:
        """The frame of setWatches (three lists) or setWatches2 (five)."""
        asked = Asked(self.next_xid, SET_WATCHES if len(lists) == 3 else SET_WATCHES2, number=seen_zxid, lists=lists)
        return self.note(asked, struct.pack(">q", seen_zxid) + b"".join(strings(paths) for paths in lists))

    def auth(self, secret: bytes) -> bytes:
        """The frame of credentials."""
        return self.note(Asked(-4, AUTH, secret=secret), struct.pack(">i", 0) + packed(b"digest") + packed(secret))

    def ping(self) -> bytes:
        """A ping's frame."""
        self.pings += 1
        return framed(struct.pack(">ii", -2, PING))

    def send(self, data: bytes) -> None:
        """Bytes to the server."""
        if not self.is_over:
            self.server.take_bytes(self.slot, data, self.node.now_ms)

    # --- hearing

    def hear(self, data: bytes) -> None:
        """Bytes from the server."""
        self.received += data
        while len(self.received) >= 4:
            (size,) = struct.unpack_from(">i", self.received)
            if len(self.received) < 4 + size:
                return
            frame, self.received = self.received[4 : 4 + size], self.received[4 + size :]
            if self.is_greeted:
                xid, zxid, err = struct.unpack_from(">iqi", frame)
                self.hear_frame(Frame(xid, zxid, err, frame[16:]))
            else:
                self.hear_greeting(frame)

    def hear_greeting(self, frame: bytes) -> None:
        """The ConnectResponse."""
        assert len(frame) == (37 if self.has_read_only else 36)
        version, timeout_ms, session_id = struct.unpack_from(">iiQ", frame)
        assert version == 0
        assert frame[16:20] == struct.pack(">i", 16)
        self.is_greeted = True
        if session_id == 0:
            assert timeout_ms == 0
            assert frame[20:36] == bytes(16)
            self.is_refused = True
            return
        assert TIMEOUT_MS_MIN <= timeout_ms <= TIMEOUT_MS_MAX
        assert self.session_id in (0, session_id)
        self.session_id, self.password = session_id, frame[20:36]

    def hear_frame(self, frame: Frame) -> None:
        """A reply or an event."""
        assert not self.is_refused
        if frame.xid == -1 and frame.zxid == -1:
            self.replayed.append(frame.body)
            return
        if frame.err == -6 and frame.zxid == -1:
            asked = self.asked.popleft()
            assert (frame.xid, frame.body) == (asked.xid, b"")
            assert asked.op not in KNOWN_OPS
            return
        if frame.zxid or frame.xid != -4:
            assert frame.zxid >= self.last_zxid, f"Z5: zxid {frame.zxid:#x} after {self.last_zxid:#x}"
            self.last_zxid = frame.zxid
        if frame.xid == -1:
            self.hear_event(frame)
            return
        due = self.due_event(frame.zxid)
        assert due is None, f"Z6: reply {frame.xid} at {frame.zxid:#x} before the event {due}"
        if frame.xid == -2:
            assert self.pings > 0
            self.pings -= 1
            assert (frame.err, frame.body) == (0, b"")
            return
        assert self.asked, f"reply {frame.xid} to nothing"
        asked = self.asked.popleft()
        assert frame.xid == asked.xid, f"Z5: reply {frame.xid} when {asked.xid} was next"
        self.hear_reply(asked, frame)
        assert not self.replayed, f"{self.replayed} before reply {frame.xid}"

    def hear_reply(self, asked: Asked, frame: Frame) -> None:
        """The reply to a request."""
        if asked.op in PATH_READS:
            self.hear_read(asked, frame)
        elif asked.op in (*WRITES, CLOSE):
            self.hear_write(asked, frame)
        elif asked.op == MULTI_READ:
            self.hear_multi_read(asked, frame)
        elif asked.op == GET_EPHEMERALS:
            owners = self.node.history.states[frame.zxid]
            own = {path for path, state in owners.items() if state.owner == self.session_id}
            assert (frame.err, sorted(parsed_strings(frame.body))) == (0, sorted(own))
        elif asked.op == WHO_AM_I:
            told = [(scheme, name.split(b":")[0]) for scheme, name in self.identities]
            expected = struct.pack(">i", len(told)) + b"".join(packed(scheme) + packed(name) for scheme, name in told)
            assert (frame.err, frame.body) == (0, expected)
        elif asked.op == AUTH:
            self.hear_auth(asked, frame)
        elif asked.op in (ADD_WATCH, CHECK_WATCHES, REMOVE_WATCHES):
            self.hear_watch(asked, frame)
        else:
            assert asked.op in (SET_WATCHES, SET_WATCHES2)
            self.hear_rewatch(asked, frame)

    def hear_write(self, asked: Asked, frame: Frame) -> None:
        """A write's reply, or a close's: its own result; of a session that only the worker knows a close is not in the log."""
        session_id, cxid, outcome = self.node.history.results.get(frame.zxid, (0, 0, None))
        if asked.op == CLOSE and (session_id, cxid) != (self.session_id, asked.xid):
            assert (frame.err, frame.body) == (0, b"")
            assert self.session_id not in self.node.history.model.sessions
            return
        assert outcome is not None
        assert (session_id, cxid) == (self.session_id, asked.xid)
        assert (frame.err, frame.body) == (outcome.err, outcome.body if outcome.err == 0 else b"")

    def hear_read(self, asked: Asked, frame: Frame) -> None:
        """A read's reply: exactly what there was at its zxid."""
        assert asked.path is not None
        expected = self.node.history.reads[frame.zxid][asked.op, asked.path]
        assert (frame.err, sorted_names(asked.op, frame.body)) == expected
        if asked.is_watching and (frame.err == 0 or (frame.err == -101 and asked.op == EXISTS)):
            self.arm(asked.path, "data" if asked.op in (EXISTS, GET_DATA) else "child", frame.zxid)

    def hear_multi_read(self, asked: Asked, frame: Frame) -> None:
        """All of them at one zxid.  Names have no order, so only their bytes are counted."""
        assert frame.err == 0
        body = frame.body
        for number, path in asked.lists:
            err, expected = self.node.history.reads[frame.zxid][int(number), path]
            assert body[:9] == struct.pack(">i?i", int(number) if err == 0 else -1, False, err)
            size = len(expected) if err == 0 else 4
            assert sorted_names(int(number), body[9 : 9 + size]) == (expected if err == 0 else struct.pack(">i", err))
            body = body[9 + size :]
        assert body == MULTI_END

    def hear_auth(self, asked: Asked, frame: Frame) -> None:
        """Credentials are accepted as they say themselves; their reply shows no zxid."""
        assert (frame.zxid, frame.body) == (0, b"")
        assert frame.err == (-115 if asked.secret.startswith(REFUSED) else 0)
        if frame.err == 0 and (b"digest", asked.secret + b":x") not in self.identities:
            self.identities.append((b"digest", asked.secret + b":x"))

    def hear_watch(self, asked: Asked, frame: Frame) -> None:
        """Watches of the present: everything up to the reply's zxid has been heard."""
        assert asked.path is not None
        if asked.op == ADD_WATCH:
            assert (frame.err, frame.body) == (0, bytes(4))
            self.arm(asked.path, LASTING[asked.number], frame.zxid)
            return
        kinds = [kind for kind in KINDS_OF_TYPE[asked.number] if self.armed.get((asked.path, kind))]
        assert (frame.err, frame.body) == (0 if kinds else -121, b"")
        if asked.op == REMOVE_WATCHES:
            for kind in kinds:
                del self.armed[asked.path, kind]

    def hear_rewatch(self, asked: Asked, frame: Frame) -> None:
        """What was missed stands before it, in the order of the request; the rest is armed as of its zxid."""
        assert (frame.err, frame.body) == (0, b"")
        states = self.node.history.states[frame.zxid]
        missed = []
        for which, paths in enumerate(asked.lists):
            for path in paths:
                state = states.get(path)
                event = 0
                if which == 0:
                    event = 2 if state is None else 3 if state.mzxid > asked.number else 0
                elif which == 1:
                    event = 1 if state is not None else 0
                elif which == 2:
                    event = 2 if state is None else 4 if state.pzxid > asked.number else 0
                if event:
                    missed.append(struct.pack(">ii", event, 3) + packed(path))
                else:
                    self.arm(path, ("data", "data", "child", *LASTING)[which], frame.zxid)
        assert self.replayed == missed
        self.replayed = []

    # --- events

    def arm(self, path: bytes, kind: str, zxid: int) -> None:
        """From now on changes above `zxid` are told; a lasting watch that is there already stays as it is."""
        held = self.armed.setdefault((path, kind), set())
        if kind not in LASTING or not held:
            held.add(zxid)

    def waits_for(self, change_zxid: int, event: int, path: bytes) -> bool:
        """Whether one of its watches is for that change."""
        for kind in KINDS_OF_EVENT[event]:
            if any(armed < change_zxid for armed in self.armed.get((path, kind), ())):
                return True
        if event == 4:
            return False
        return any(
            kind == "recursive" and is_within(path, above) and any(zxid < change_zxid for zxid in armed)
            for (above, kind), armed in self.armed.items()
        )

    def due_event(self, zxid: int) -> tuple[int, int, bytes] | None:
        """The next event that must have been heard before anything at `zxid`."""
        changes = self.node.history.changes
        while self.changes_seen < len(changes) and changes[self.changes_seen][0] <= zxid:
            if self.waits_for(*changes[self.changes_seen]):
                return changes[self.changes_seen]
            self.changes_seen += 1
        return None

    def hear_event(self, frame: Frame) -> None:
        """An event: exactly the next one that is due."""
        event, state, size = struct.unpack_from(">iii", frame.body)
        heard = (frame.zxid, event, frame.body[12:])
        assert (frame.err, state, size) == (0, 3, len(frame.body) - 12)
        assert heard == self.due_event(frame.zxid), f"Z6: {heard} when {self.due_event(frame.zxid)} is due"
        for kind in KINDS_OF_EVENT[event]:
            if kind not in LASTING:
                armed = self.armed.get((heard[2], kind), set())
                self.armed[heard[2], kind] = {zxid for zxid in armed if zxid >= frame.zxid}
        self.changes_seen += 1
        self.events += 1
