"""Simulated clients: they speak ZooKeeper's protocol to whichever node lets them in, and hold every answer against the judge.

A client connects (with the session it had, if it had one), names its watches again, then asks: creates of all kinds, sets with
versions, deletes, multis, reads with and without watches, syncs, pings, lasting watches; it closes its session, falls silent until
it expires, breaks off, moves to another node.  A request whose answer was lost with its connection may have been done or not.

Checked here: replies come in the order of the requests, zxids never fall, also from connection to connection (C6); a write
and a sync come after every write that anybody was told of before they were asked (C4, C7); events (C9)."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastzk.testing.checkers import ensure
from fastzk.testing.world import frames
from fastzk.testing.world.frames import (
    ADD_WATCH,
    CHECK,
    CLOSE,
    CREATE,
    CREATE2,
    DELETE,
    EPHEMERAL,
    EVENT_XID,
    EXISTS,
    GET_CHILDREN,
    GET_CHILDREN2,
    GET_DATA,
    MULTI,
    PING_FRAME,
    PING_XID,
    READS,
    SEQUENTIAL,
    SET_ACL,
    SET_DATA,
    SET_WATCHES2,
    SET_WATCHES_XID,
    SYNC,
)
from fastzk.testing.world.watching import Watching

if TYPE_CHECKING:
    from fastzk.testing.world.node import Host
    from fastzk.testing.world.worker import SimWorker
    from fastzk.testing.world.world import Simulation

TOPS = (b"/a", b"/b", b"/c")
PATHS = tuple(top + rest for top in TOPS for rest in (b"", b"/x", b"/y"))
OWN_MAX = 4
CONNECT_US = 1_500_000
_INT = struct.Struct(">i")
_KIND = {EXISTS: "data", GET_DATA: "data", GET_CHILDREN: "child", GET_CHILDREN2: "child"}


class Connection:
    """One connection of a client to a worker; bytes take their time, in order, either way."""

    __slots__ = ("client", "is_cut", "is_open", "on_way", "slot", "to_client_us", "to_server_us", "worker", "world")

    def __init__(self, client: Client, worker: SimWorker) -> None:
        self.client = client
        self.world = client.world
        self.worker = worker
        self.slot = -1
        self.is_open = True
        self.is_cut = False
        self.on_way: deque[bytes] = deque()
        self.to_client_us = self.to_server_us = 0

    def to_server(self, data: bytes) -> None:
        """The client sends."""
        heap = self.world.heap
        self.to_server_us = max(self.to_server_us, heap.now_us + self.world.client_delay_us())
        # An arrival takes the bytes that are first in line: one that a standing node takes later overtakes none.
        self.on_way.append(data)
        heap.after(self.to_server_us - heap.now_us, self.worker.take, self)

    def to_client(self, data: bytes) -> None:
        """The server sends."""
        heap = self.world.heap
        self.to_client_us = max(self.to_client_us, heap.now_us + self.world.client_delay_us())
        heap.after(self.to_client_us - heap.now_us, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.is_open:
            self.client.hear(self, data)

    def cut_by_server(self) -> None:
        """The server closes, or dies; the client hears of it behind what was sent."""
        heap = self.world.heap
        if not self.is_cut:
            self.is_cut = True
            self.to_client_us = max(self.to_client_us, heap.now_us + self.world.client_delay_us())
            heap.after(self.to_client_us - heap.now_us, self._over)

    def _over(self) -> None:
        if self.is_open:
            self.client.lost(self)

    def cut_by_client(self) -> None:
        """The client breaks off; the server hears of it at some time, behind what was sent."""
        self.is_open = False
        if not self.is_cut:
            self.is_cut = True
            late_us = self.world.half_open_us()
            heap = self.world.heap
            self.to_server_us = max(self.to_server_us, heap.now_us + late_us)
            heap.after(self.to_server_us - heap.now_us, self.worker.lose, self)


@dataclass(slots=True)
class Asked:
    """A request on its way."""

    xid: int
    op: int
    path: bytes
    is_watching: bool
    # Of all writes that anybody had been told of when it was asked.
    floor_zxid: int
    sent_us: int
    lists: list[list[bytes]] | None = None
    seen_zxid: int = 0


class Client:
    """One client, with one session after the other."""

    def __init__(self, world: Simulation, number: int) -> None:
        self.world = world
        self.number = number
        self._judge = world.judge
        self._random = world.client_chance
        self._connection: Connection | None = None
        self._is_greeted = False
        self._received = b""
        self._asked: deque[Asked] = deque()
        self._pings = 0
        self._data_count = 0
        self._watches_due: list[list[bytes]] | None = None
        self._replayed: list[tuple[int, bytes]] = []
        self._last_heard_us = 0
        self._own: list[bytes] = []
        self.is_closing = False
        self.silent_until_us = 0
        # The only node it goes to; None: any.
        self.home: Host | None = None
        self._begin_session()
        world.heap.after(self._random.randrange(1, 50_000), self._act)

    def _begin_session(self) -> None:
        self.session_id = 0
        self._password = bytes(16)
        self.timeout_ms = self._random.choice(self.world.draw.timeouts_ms)
        self.last_zxid = 0
        self._xid = 0
        self.watching = Watching(self._judge)
        self._watches_due = None
        self._own = []
        self.is_closing = False
        # When it sent the newest requests that were answered: its session was alive then.
        self.alive_us: deque[int] = deque([self.world.heap.now_us], maxlen=200)

    # --- where it stands

    @property
    def is_open(self) -> bool:
        """Whether it has a session and a connection for it."""
        return self._connection is not None and self._is_greeted

    @property
    def is_waiting(self) -> bool:
        """Whether something that it asked is unanswered."""
        return bool(self._asked) or self._pings > 0

    @property
    def host(self) -> Host | None:
        """The node it is connected to."""
        return self._connection.worker.host if self._connection else None

    # --- what it does

    def _act(self) -> None:
        world = self.world
        pause_us = world.draw.client_pause_us
        world.heap.after(self._random.randrange(pause_us // 2, 2 * pause_us), self._act)
        now_us = world.heap.now_us
        if now_us < self.silent_until_us:
            return
        if self._connection is None:
            self.connect(self.home or self.world.any_host())
        elif not self._is_greeted:
            if now_us - self._last_heard_us > CONNECT_US:
                self.break_off()
        elif now_us - self._last_heard_us > self.timeout_ms * 667:
            self.break_off()
        elif world.is_quiet:
            self._ping_if_due(now_us)
        else:
            self._do_something(now_us)

    def _do_something(self, now_us: int) -> None:
        draw, random = self.world.draw, self._random
        if self.is_closing:
            self._ping_if_due(now_us)
            return
        chance = random.random()
        if chance < draw.client_break:
            self.world.count("client breaks off")
            self.break_off()
        elif chance < draw.client_break + draw.client_silence:
            self.world.count("client falls silent")
            self.silent_until_us = now_us + self.timeout_ms * random.randrange(500, 2500)
        elif chance < draw.client_break + draw.client_silence + draw.client_close:
            self.ask(CLOSE, b"", b"")
            self.is_closing = True
        elif len(self._asked) < draw.client_window:
            for _ in range(random.randrange(1, draw.client_burst + 1)):
                self._ask_something()
        else:
            self._ping_if_due(now_us)

    def connect(self, host: Host) -> None:
        """Tries one node."""
        if not host.is_up or not host.workers or not self.world.reaches(host):
            return
        workers = list(host.workers.values())
        worker = workers[self._random.randrange(len(workers))]
        connection = Connection(self, worker)
        if not worker.open(connection):
            return
        self._connection = connection
        self._is_greeted = False
        self._received = b""
        self._last_heard_us = self.world.heap.now_us
        self.send(frames.connect(self.session_id, self._password, self.timeout_ms, self.last_zxid))

    def break_off(self) -> None:
        """Drops its connection, as a client does that hears nothing, or dies and comes back."""
        if self._connection is not None:
            self._connection.cut_by_client()
            self._gone()

    def lost(self, connection: Connection) -> None:
        """The server has closed the connection."""
        if connection is self._connection:
            connection.is_open = False
            self._gone()

    def _gone(self) -> None:
        self._connection = None
        self._asked.clear()
        self._pings = 0
        self._replayed = []
        if self._is_greeted:
            lists = self.watching.disconnected()
            if self._watches_due is None:
                self._watches_due = lists
            else:  # they were not armed again yet
                self._watches_due = [list(dict.fromkeys([*old, *new])) for old, new in zip(self._watches_due, lists, strict=True)]
        self._is_greeted = False
        if self.is_closing:
            self._begin_session()

    # --- asking

    def send(self, data: bytes) -> None:
        """Bytes to the server."""
        assert self._connection is not None
        self._connection.to_server(data)

    def ask(self, op: int, path: bytes, body: bytes, is_watching: bool = False) -> None:
        """Sends a request."""
        self._xid += 1
        judge = self._judge
        self._asked.append(Asked(self._xid, op, path, is_watching, judge.told_zxid, self.world.heap.now_us))
        if op not in READS and op != ADD_WATCH:
            judge.asked(self.session_id, self._xid, body)
        self.send(frames.request(self._xid, op, body))

    def expect_auth(self) -> None:
        """Credentials are on their way: their answer has its place among the others, but shows no zxid."""
        self._asked.append(Asked(frames.AUTH_XID, frames.AUTH, b"", False, 0, self.world.heap.now_us))

    def _ping_if_due(self, now_us: int) -> None:
        if not self._pings and now_us - self._last_heard_us > self.timeout_ms * 300:
            self._pings += 1
            self.send(PING_FRAME)

    def _data(self) -> bytes:
        self._data_count += 1
        return b"%d.%d " % (self.number, self._data_count) + bytes(self._random.choice((0, 0, 30, 300)))

    def _ask_something(self) -> None:
        random = self._random
        path = PATHS[random.randrange(len(PATHS))]
        chance = random.random()
        draw = self.world.draw
        if chance < draw.reads:
            op = READS[random.randrange(4)]
            is_watching = random.random() < 0.4
            self.ask(op, path, frames.read(path, is_watching), is_watching)
        elif chance < draw.reads + 0.02:
            mode = random.randrange(2)
            self.ask(ADD_WATCH, path, frames.packed(path) + _INT.pack(mode), bool(mode))
        else:
            self._ask_write(path, random.random())

    def _ask_write(self, path: bytes, chance: float) -> None:
        random = self._random
        if chance < 0.25:
            version = -1 if random.random() < 0.7 else random.randrange(4)
            self.ask(SET_DATA, path, frames.set_data(path, self._data(), version))
        elif chance < 0.53:
            self.ask(random.choice((CREATE, CREATE2)), path, frames.create(path, self._data(), random.choice((0, 0, EPHEMERAL))))
        elif chance < 0.60:
            self.ask(DELETE, path, frames.versioned(path, -1 if random.random() < 0.8 else 1))
        elif chance < 0.72:
            if len(self._own) > OWN_MAX:
                own = self._own.pop(0)
                self.ask(DELETE, own, frames.versioned(own, -1))
            else:
                flags = SEQUENTIAL | random.choice((0, EPHEMERAL))
                self.ask(CREATE, path + b"/s", frames.create(path + b"/s", b"", flags))
        elif chance < 0.80:
            self.ask(SYNC, path, frames.packed(path))
        elif chance < 0.84:
            self.ask(SET_ACL, path, frames.set_acl(path))
        elif chance < 0.86 and self.world.draw.big_data:
            self.ask(SET_DATA, path, frames.set_data(path, self._data() + bytes(self.world.draw.big_data), -1))
        else:
            self.ask(MULTI, path, frames.multi([self._part() for _ in range(random.randrange(1, 5))]))

    def _part(self) -> tuple[int, bytes]:
        random = self._random
        path = PATHS[random.randrange(len(PATHS))]
        op = random.choice((CREATE, SET_DATA, SET_DATA, DELETE, CHECK))
        if op == CREATE:
            return op, frames.create(path, self._data(), random.choice((0, EPHEMERAL)))
        if op == SET_DATA:
            return op, frames.set_data(path, self._data(), -1)
        return op, frames.versioned(path, -1)

    # --- hearing

    def hear(self, connection: Connection, data: bytes) -> None:
        """Bytes arrive."""
        if connection is not self._connection:
            return
        received = self._received + data if self._received else data
        self._last_heard_us = self.world.heap.now_us
        at, end = 0, len(received)
        while end - at >= 4:
            (size,) = _INT.unpack_from(received, at)
            if end - at < 4 + size:
                break
            frame = received[at + 4 : at + 4 + size]
            at += 4 + size
            self.world.events += 1
            if self._is_greeted:
                self._hear_frame(frames.reply(frame))
            else:
                self._hear_greeting(frame)
            if connection is not self._connection:
                return
        self._received = received[at:]

    def _hear_greeting(self, frame: bytes) -> None:
        timeout_ms, session_id, password = frames.greeting(frame)
        if session_id == 0:
            ensure(self.session_id != 0, "C10", f"client {self.number} is refused a new session")
            over = self.session_id in self._judge.closed
            ensure(over, "C10", f"client {self.number} is told that session {self.session_id:#x} is over, and it is not")
            self.world.count("session expired")
            self.break_off()
            self._begin_session()
            return
        if self.session_id:
            ensure(session_id == self.session_id, "C10", f"client {self.number} comes back and gets session {session_id:#x}")
            self.world.count("session moved")
        self.world.sessions[session_id] = self
        self.session_id, self._password, self.timeout_ms = session_id, password, timeout_ms
        self._is_greeted = True
        if self._watches_due is not None:
            lists = self._watches_due
            if any(lists):
                body = frames.set_watches(self.last_zxid, lists)
                asked = Asked(SET_WATCHES_XID, SET_WATCHES2, b"", False, 0, self.world.heap.now_us, lists, self.last_zxid)
                self._asked.append(asked)
                self.send(frames.request(SET_WATCHES_XID, SET_WATCHES2, body))
            else:
                self._watches_due = None

    def _hear_frame(self, frame: frames.Reply) -> None:
        if frame.xid == EVENT_XID and frame.zxid == -1:
            self._replayed.append(frames.event(frame.body))
            return
        zxid = frame.zxid
        what = f"client {self.number}, session {self.session_id:#x}"
        if frame.xid == frames.AUTH_XID:
            zxid = self.last_zxid
        ensure(zxid >= self.last_zxid, "C6", f"{what}: zxid {zxid:#x} after {self.last_zxid:#x}")
        self.last_zxid = zxid
        if frame.xid == EVENT_XID:
            self.watching.heard(zxid, *frames.event(frame.body))
            return
        due = self.watching.due(zxid)
        ensure(due is None, "C9", f"{what}: answer {frame.xid} at {zxid:#x} before the event {due}")
        if frame.xid == PING_XID:
            ensure(self._pings > 0, "C6", f"{what}: a pong to no ping")
            self._pings -= 1
            return
        ensure(bool(self._asked), "C6", f"{what}: an answer {frame.xid} to nothing")
        asked = self._asked.popleft()
        ensure(frame.xid == asked.xid, "C6", f"{what}: answer {frame.xid} when {asked.xid} was next")
        self.alive_us.append(asked.sent_us)
        self._hear_answer(asked, frame)
        ensure(not self._replayed, "C9", f"{what}: replayed {self._replayed} before answer {frame.xid}")

    def _hear_answer(self, asked: Asked, frame: frames.Reply) -> None:
        zxid, err, body = frame.zxid, frame.err, frame.body
        if asked.op in READS:
            self._judge.read_answered(asked.op, asked.path, zxid, err, frames.sorted_names(asked.op, body))
            if asked.is_watching and (err == 0 or (err == -101 and asked.op == EXISTS)):
                self.watching.arm(asked.path, _KIND[asked.op], zxid)
            return
        if asked.op == ADD_WATCH:
            ensure((err, body) == (0, bytes(4)), "C9", f"addWatch is answered {err}")
            self.watching.arm(asked.path, "recursive" if asked.is_watching else "persistent", zxid)
            return
        if asked.op == frames.AUTH:
            ensure(err == 0, "C3", f"right credentials are refused: {err}")
            return
        if asked.op == SET_WATCHES2:
            assert asked.lists is not None
            missed = self.watching.missed(asked.lists, asked.seen_zxid, zxid)
            ensure(self._replayed == missed, "C9", f"replayed {self._replayed}, missed were {missed}")
            self._replayed = []
            self._watches_due = None
            return
        what = f"client {self.number}: op {asked.op}, request {asked.xid}, answered at {zxid:#x}"
        ensure(zxid > asked.floor_zxid, "C4", f"{what}, asked when {asked.floor_zxid:#x} was told done")
        self._judge.write_answered(self.session_id, asked.xid, zxid, err, body)
        if asked.op == CREATE and err == 0 and asked.path.endswith(b"/s"):
            self._own.append(body[4:])
        elif asked.op == CLOSE:
            self.world.count("session closed")
            self.break_off()
