"""The servers of right_histories.py: each applies the one log at its own pace, and answers from what it has applied.

Written after docs/internals/serving.md and nothing else; naive on purpose."""

from __future__ import annotations

import struct
from collections import deque
from random import Random
from typing import TYPE_CHECKING

from fastzk._core.blocks import Entry, check, make_entry, seal
from fastzk.defs import OpCode
from fastzk.testing.model import ATTACH_SESSION, CLOSE_SESSION, CREATE_SESSION, Model, Outcome, Reader, packed
from fastzk.testing.twin import KINDS_OF_EVENT, KINDS_OF_TYPE, LASTING, is_within
from fastzk.wire import records

if TYPE_CHECKING:
    from right_histories import Client

WRITES = (
    OpCode.CREATE,
    OpCode.CREATE2,
    OpCode.DELETE,
    OpCode.SET_DATA,
    OpCode.SYNC,
    OpCode.MULTI,
    OpCode.RECONFIG,
    OpCode.CLOSE_SESSION,
)
WATCHING = {OpCode.EXISTS: "data", OpCode.GET_DATA: "data", OpCode.GET_CHILDREN: "child", OpCode.GET_CHILDREN2: "child"}
NO_NODE, NO_WATCHER, SESSION_EXPIRED, SESSION_MOVED = -101, -121, -112, -118
CONNECTED = 3


class Log:
    """The one log."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.model = Model()
        self.entries: list[tuple[int, int, Entry, Outcome]] = []  # zxid, time, entry, outcome
        self.zxid = 0
        self.time_ms = 1_700_000_000_000
        self.next_session = 0x0100000000000001
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Another leader."""
        self.zxid = (((self.zxid >> 32) + 1) << 32) - 1
        self.append(0, self.random.randbytes(16), 0, 0, 0, 0)

    def append(self, op: int, body: bytes, session_id: int, attach_zxid: int, serial: int, cxid: int) -> int:
        """An entry is decided; gives its zxid."""
        if op == OpCode.RECONFIG:
            op, body = OpCode.RECONFIGURED, struct.pack(">i", self.random.choice((0, -13)))
        self.zxid += 1
        self.time_ms += self.random.random() < 0.7
        entry = Entry(op, body, session_id, attach_zxid, serial, 1, 1, 1, cxid)
        self.entries.append((self.zxid, self.time_ms, entry, self.model.apply(entry, self.zxid, self.time_ms)))
        return self.zxid

    def blocks(self) -> list[bytes]:
        """The log as it lies on a disk."""
        found: list[bytes] = []
        start, previous, entries = 0, 0, self.entries
        while start < len(entries):
            end = start + 1
            while end < len(entries) and entries[end][1] == entries[start][1] and entries[end][0] == entries[end - 1][0] + 1:
                end += 1
            sealed = [make_entry(*entry) for _, _, entry, _ in entries[start:end]]
            found.append(seal(sealed, end - start, start + 1, entries[start][0], entries[start][1], previous))
            previous = check(found[-1]).checksum
            start = end
        return found


class Link:
    """A connection: what is on its way in both directions, and what its server knows of it."""

    def __init__(self, client: Client, server: Server) -> None:
        self.client = client
        self.server = server
        self.requests: deque[bytes] = deque()
        self.records: deque[bytes] = deque()
        self.session_id = 0
        # The entry that opens it; then the attachment.
        self.hello_zxid = 0
        self.is_open = False
        self.serial = 0
        # Writes that are in the log and not answered: zxid -> xid.
        self.writes: dict[int, int] = {}
        self.watches: list[tuple[bytes, str, int]] = []

    def reply(self, xid: int, zxid: int, err: int, body: bytes = b"") -> None:
        """A record leaves."""
        self.records.append(records.ReplyHeader(xid, zxid, err).encode() + (body if err == 0 else b""))


class Server:
    """A node: how much of the log it has applied, and the connections that it serves."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log
        self.model = Model()
        self.applied = 0
        self.zxid = 0
        self.links: list[Link] = []

    def apply(self, count: int) -> None:
        """The next entries, with what the clients are told of them."""
        for zxid, time_ms, entry, _ in self.log.entries[self.applied : self.applied + count]:
            outcome = self.model.apply(entry, zxid, time_ms)
            self.applied += 1
            self.zxid = zxid
            for link in list(self.links):
                for event, path, _ in outcome.changes:
                    if fires(link, zxid, event, path):
                        told = struct.pack(">ii", event, CONNECTED) + packed(path)
                        link.records.append(records.ReplyHeader(-1, zxid, 0).encode() + told)
                if link.hello_zxid == zxid:
                    self.greet(link, entry, outcome)
                if zxid in link.writes:
                    assert outcome.err is not None
                    assert outcome.err not in (SESSION_EXPIRED, SESSION_MOVED), "whoever is served speaks for its session"
                    link.reply(link.writes.pop(zxid), zxid, outcome.err, outcome.body)

    def greet(self, link: Link, entry: Entry, outcome: Outcome) -> None:
        """The answer to a ConnectRequest."""
        if outcome.err != 0:
            link.records.append(records.ConnectResponse(0, 0, bytes(16)).encode())
            return
        link.is_open, link.session_id = True, entry.session_id
        session = self.model.sessions[entry.session_id]
        version = int(session.results is not None)
        link.records.append(
            records.ConnectResponse(session.timeout_ms, entry.session_id, session.password, protocol_version=version).encode()
        )

    def serve(self, link: Link) -> bool:
        """Takes one request, if it can be taken yet."""
        if not link.requests or (link.hello_zxid and not link.is_open):
            return False
        if not link.hello_zxid:
            return self.welcome(link)
        record = link.requests[0]
        xid, op = records.decode_request_header(record)
        body = record[records.REQUEST_HEADER_SIZE :]
        if op == OpCode.PING:
            link.reply(xid, self.zxid, 0)
        elif op in WRITES:
            link.serial += 1
            zxid = self.log.append(op, body, link.session_id, link.hello_zxid, link.serial, xid)
            link.writes[zxid] = xid
        elif link.writes:
            return False
        else:
            self.answer(link, xid, op, body)
        link.requests.popleft()
        return True

    def welcome(self, link: Link) -> bool:
        """A ConnectRequest; not of a client that has seen more than this server has."""
        hello = records.ConnectRequest.decode(link.requests[0])
        if hello.last_zxid_seen > self.zxid:
            return False
        link.requests.popleft()
        remember = int(hello.protocol_version == 1)
        body = struct.pack(">i", hello.timeout_ms)
        if hello.session_id == 0:
            self.log.next_session += 1
            link.session_id, op = self.log.next_session, CREATE_SESSION
            body += self.log.random.randbytes(16)
        else:
            link.session_id, op = hello.session_id, ATTACH_SESSION
            body += hello.password or b""
        link.hello_zxid = self.log.append(op, body, link.session_id, 0, self.log.random.getrandbits(60), remember)
        return True

    def answer(self, link: Link, xid: int, op: int, body: bytes) -> None:
        """Whatever is not a write."""
        if op == OpCode.SET_WATCHES2:
            self.rewatch(link, xid, body)
            return
        reader = Reader(body)
        if op in (OpCode.ADD_WATCH, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES):
            path, number = reader.string() or b"", reader.number()
            if op == OpCode.ADD_WATCH:
                if not any((path, LASTING[number]) == watch[:2] for watch in link.watches):
                    link.watches.append((path, LASTING[number], self.zxid))
                link.reply(xid, self.zxid, 0, bytes(4))
                return
            there = [watch for watch in link.watches if watch[0] == path and watch[1] in KINDS_OF_TYPE[number]]
            if op == OpCode.REMOVE_WATCHES:
                link.watches = [watch for watch in link.watches if watch not in there]
            link.reply(xid, self.zxid, 0 if there else NO_WATCHER)
            return
        err, found = self.read(link, op, reader)
        link.reply(xid, self.zxid, err, found)
        if op in WATCHING and body[-1] and (err == 0 or (err == NO_NODE and op == OpCode.EXISTS)):
            link.watches.append((Reader(body).string() or b"", WATCHING[OpCode(op)], self.zxid))

    def read(self, link: Link, op: int, reader: Reader) -> tuple[int, bytes]:
        """A read's error and body, from what is applied."""
        znodes = self.model.znodes
        if op in WATCHING:
            return self.model.read(op, reader.string() or b"")
        if op == OpCode.MULTI_READ:
            found = b""
            while True:
                kind, is_done, _ = reader.number(), reader.boolean(), reader.number()
                if is_done:
                    return 0, found + struct.pack(">i?i", -1, True, -1)
                err, body = self.model.read(kind, reader.string() or b"")
                reader.boolean()
                found += struct.pack(">i?i", -1 if err else kind, False, err) + (struct.pack(">i", err) if err else body)
        if op == OpCode.GET_EPHEMERALS:
            own = [path for path, znode in znodes.items() if znode.owner == link.session_id]
            return 0, struct.pack(">i", len(own)) + b"".join(map(packed, own))
        path = reader.string() or b""
        znode = znodes.get(path)
        if znode is None:
            return NO_NODE, b""
        if op == OpCode.GET_ACL:
            acl = b"".join(struct.pack(">i", perms) + packed(scheme) + packed(name) for perms, scheme, name in znode.acl)
            return 0, struct.pack(">i", len(znode.acl)) + acl + znode.stat()
        assert op == OpCode.GET_ALL_CHILDREN_NUMBER
        return 0, struct.pack(">i", sum(is_within(other, path) for other in znodes) - 1)

    def rewatch(self, link: Link, xid: int, body: bytes) -> None:
        """setWatches: what was missed is told at once."""
        reader = Reader(body)
        seen = reader.long()
        for place in range(5):
            for path in [reader.string() or b"" for _ in range(reader.number())]:
                znode, event = self.model.znodes.get(path), 0
                if place in (0, 2) and znode is None:
                    event = 2
                elif (place == 0 and znode is not None and znode.mzxid > seen) or (place == 1 and znode is not None):
                    event = (3, 1)[place]
                elif place == 2 and znode is not None and znode.pzxid > seen:
                    event = 4
                if event:
                    told = struct.pack(">ii", event, CONNECTED) + packed(path)
                    link.records.append(records.ReplyHeader(-1, -1, 0).encode() + told)
                else:
                    link.watches.append((path, ("data", "data", "child", *LASTING)[place], self.zxid))
        link.reply(xid, self.zxid, 0)


def fires(link: Link, zxid: int, event: int, path: bytes) -> bool:
    """Whether a change is told on a connection; uses up its one-shot watches."""
    hit = []
    for watch in link.watches:
        where, kind, armed = watch
        is_meant = event != 4 and is_within(path, where) if kind == "recursive" else where == path and kind in KINDS_OF_EVENT[event]
        if is_meant and armed < zxid:
            hit.append(watch)
    link.watches = [watch for watch in link.watches if watch not in hit or watch[1] in LASTING]
    return bool(hit)


__all__ = ["CLOSE_SESSION", "Link", "Log", "Server"]
