"""Histories that are right, made from the model: what the judges are fed with, before somebody lies in them.

A World is clients, servers and one log, all in one thread; a seed decides what happens next.  Servers apply the log at their own
pace and answer from what they have; connections are cut with requests on their way, some of which are done all the same, later;
clients come back with the session they had, on either wire; sessions expire; epochs change.  The clients' wires go through Taps,
so a history comes about as a recorded one does.

Rule: nothing of the judges is used here, and of what they judge by only the model."""

from __future__ import annotations

from random import Random

from right_servers import WATCHING, WRITES, Link, Log, Server

from fastzk._core.apply import Machine
from fastzk._core.arena import Arena
from fastzk._core.tree import format_tree
from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.defs import OpCode
from fastzk.testing.history import History, Tap
from fastzk.testing.model import CLOSE_SESSION, packed
from fastzk.testing.twin import KINDS_OF_EVENT, KINDS_OF_TYPE, LASTING
from fastzk.wire import records

MS = 1_000_000
TIMEOUT_MS = 4000
NO_NODE = -101
PATHS = ("/a", "/b", "/c", "/a/x", "/a/y", "/b/x")
LISTS = ("data", "exists", "child", *LASTING)


class Client:
    """A client: one session after the other, over one connection after the other."""

    def __init__(self, number: int, history: History) -> None:
        self.wire = ("zookeeper", "native")[number % 2]
        self.tap = Tap(history, f"client-{number}")
        self.link: Link | None = None
        self.is_greeted = False
        self.forget()

    def forget(self) -> None:
        """The session is over."""
        self.session_id, self.password = 0, bytes(16)
        self.seen_zxid = 0
        self.xid = 0
        # Asked and unanswered, in order.
        self.waiting: list[tuple[int, int, bytes]] = []
        self.watches: dict[tuple[str, str], None] = {}


class World:
    """Everything, and what happens next."""

    def __init__(self, seed: int, steps: int = 400, clients: int = 4, servers: int = 3, history: History | None = None) -> None:
        """history: where to note it all; else it is kept in memory."""
        self.random = Random(seed)
        self.history = history or History({"title": f"made with seed {seed}", "unknown_share_max": 1.0})
        self.now_ns = 1_000_000_000
        self.log = Log(self.random)
        self.servers = [Server(f"node-{number}", self.log) for number in range(1, servers + 1)]
        self.clients = [Client(number, self.history) for number in range(clients)]
        # Requests that were on their way when their connection was lost: session, attachment, serial, xid, operation, body.
        self.ghosts: list[tuple[int, int, int, int, int, bytes]] = []
        for _ in range(steps):
            self.step()
        self.finish()

    def step(self) -> None:
        """One thing happens."""
        self.now_ns += self.random.randint(1, 5 * MS)
        client, chance = self.random.choice(self.clients), self.random.random()
        if client.link is None:
            self.dial(client)
        elif chance < 0.35:
            self.ask(client)
        elif chance < 0.55:
            client.link.server.serve(client.link)
        elif chance < 0.75:
            self.random.choice(self.servers).apply(self.random.randint(1, 4))
        elif chance < 0.96:
            for _ in range(self.random.randint(1, 6)):
                self.deliver(client)
        elif chance < 0.975:
            self.cut(client)
        elif chance < 0.985:
            self.haunt()
        elif chance < 0.99:
            self.log.begin_epoch()
        elif chance < 0.993:
            self.sleep(client)

    def finish(self) -> None:
        """Everybody is heard, answered, told; then what the nodes were left with."""
        self.settle()
        for client in self.clients:
            if client.is_greeted:
                self.send(client, OpCode.SYNC, records.encode_request(records.Sync("/")))
        self.settle()
        self.history.ends(self.now_ns + 1)
        blocks = self.log.blocks()
        digest = digest_of(blocks)
        for server in self.servers:
            self.history.node(server.name, self.log.zxid, digest, blocks)
            for node in self.history.nodes[-1:]:
                node.znodes = {path: packed(znode.data) + znode.stat() for path, znode in server.model.znodes.items()}

    def settle(self) -> None:
        """All that is on its way arrives."""
        is_moving = True
        while is_moving:
            is_moving = False
            for server in self.servers:
                is_moving |= server.applied < len(self.log.entries)
                server.apply(len(self.log.entries))
            for client in self.clients:
                while client.link is not None and client.link.server.serve(client.link):
                    is_moving = True
                while client.link is not None and client.link.records:
                    is_moving = True
                    self.deliver(client)

    # ---- faults

    def cut(self, client: Client) -> None:
        """The connection is lost, with what is on its way; some of that is done all the same, now or later."""
        link = client.link
        assert link is not None
        for _ in range(self.random.randint(0, 3)):
            link.server.serve(link)
        while link.is_open and link.requests and self.random.random() < 0.7:
            record = link.requests.popleft()
            xid, op = records.decode_request_header(record)
            if op in WRITES:
                link.serial += 1
                self.ghosts.append((link.session_id, link.hello_zxid, link.serial, xid, op, record[records.REQUEST_HEADER_SIZE :]))
        self.drop(client, "cut")

    def haunt(self) -> None:
        """What was on its way is heard of; or an entry comes a second time."""
        if self.ghosts and self.random.random() < 0.8:
            session_id, attach_zxid, serial, xid, op, body = self.ghosts.pop(0)
            self.log.append(op, body, session_id, attach_zxid, serial, xid)
            return
        *_, entry, _ = self.random.choice(self.log.entries)
        if entry.op in WRITES:
            self.log.append(entry.op, entry.body, entry.session_id, entry.attach_zxid, entry.serial, entry.cxid)

    def sleep(self, client: Client) -> None:
        """A client is silent for longer than its session may be, and the session ends; everybody else goes on."""
        self.settle()
        if client.link is not None:
            self.cut(client)
        for _ in range(2):
            self.now_ns += (TIMEOUT_MS // 2 + 1) * MS
            for other in self.clients:
                if other.is_greeted:
                    self.send(other, OpCode.PING, b"", -2)
            self.settle()
        session = self.log.model.sessions.get(client.session_id)
        if session is not None:
            self.log.append(CLOSE_SESSION, b"", client.session_id, session.attach_zxid, 0, 0)

    # ---- a client's side

    def dial(self, client: Client) -> None:
        """A connection is made."""
        link = client.link = Link(client, self.random.choice(self.servers))
        client.is_greeted = False
        client.tap.dial(link.server.name, client.wire)
        version = int(client.wire == "native")
        hello = records.ConnectRequest(
            client.seen_zxid, TIMEOUT_MS, client.session_id, client.password, protocol_version=version
        ).encode()
        client.tap.sent(hello, self.now_ns)
        link.requests.append(hello)
        link.server.links.append(link)

    def drop(self, client: Client, why: str) -> None:
        """No connection any more."""
        assert client.link is not None
        client.link.server.links.remove(client.link)
        client.tap.lost(why, self.now_ns)
        client.link, client.is_greeted = None, False
        if client.wire == "zookeeper":
            client.waiting.clear()

    def ask(self, client: Client) -> None:
        """A request, or some."""
        if not client.is_greeted or any(op == OpCode.CLOSE_SESSION for _, op, _ in client.waiting):
            return
        for _ in range(self.random.randint(1, 3)):
            request = self.request()
            self.send(client, request.op, records.encode_request(request))
            if request.op == OpCode.CLOSE_SESSION:
                return
            if request.op == OpCode.SYNC:
                self.send(client, OpCode.GET_DATA, records.encode_request(records.GetData(request[0], False)))
        if self.random.random() < 0.1:
            self.send(client, OpCode.PING, b"", -2)
        if self.random.random() < 0.03:
            self.send(client, OpCode.RECONFIG, packed(None) * 2 + packed(b"server.1=h:1:1:participant;h:1") + b"\xff" * 8)

    def send(self, client: Client, op: int, body: bytes, xid: int = 0) -> None:
        """One request leaves."""
        assert client.link is not None
        if xid == 0:
            client.xid += 1
            xid = client.xid
            client.waiting.append((xid, op, body))
        record = records.RequestHeader(xid, op).encode() + body
        client.tap.sent(record, self.now_ns)
        client.link.requests.append(record)

    def request(self) -> records.Request:
        """Any request."""
        choose, path, kind = self.random.choice, self.random.choice(PATHS), self.random.randrange(100)
        data, version = b"%d" % self.random.randrange(1 << 30), choose((-1, -1, 0, 1, 2))
        acl = list(OPEN_ACL_UNSAFE)
        watch = self.random.random() < 0.4
        if kind < 18:
            # These are only ever changed by what concerns them alone.
            plain = choose(("/p", "/q"))
            create, delete = records.Create(plain, data, acl, 0), records.Delete(plain, version)
            return choose(
                (create, records.SetData(plain, data, version), records.SetData(plain, data, -1), records.Sync(plain), delete)
            )
        if kind < 30:
            return records.Create(path, data, acl, choose((0, 0, 0, 1)))
        if kind < 36:
            return records.Create2(f"{path}/s-", data, acl, choose((2, 3)))
        if kind < 44:
            return records.SetData(path, data, version)
        if kind < 50:
            return records.Delete(path, version)
        if kind < 53:
            return records.Sync(path)
        if kind < 59:
            parts = [records.SetData(path, data, -1), choose((records.Check(path, version), records.Create("/m", b"", acl, 0)))]
            return records.Multi([*parts, records.Delete("/m", -1)])
        if kind < 80:
            return choose((records.GetData, records.Exists, records.GetChildren, records.GetChildren2))(path, watch)
        if kind < 85:
            return records.AddWatch(choose((path, "/")), choose((0, 1)))
        if kind < 88:
            return choose((records.RemoveWatches, records.CheckWatches))(path, choose((1, 2, 3, 4, 5)))
        if kind < 99:
            both = records.MultiRead([records.GetData(path, False), records.GetChildren("/", False)])
            return choose((records.GetAcl(path), records.GetAllChildrenNumber(path), records.GetEphemerals("/"), both))
        return records.CloseSession()

    def deliver(self, client: Client) -> None:
        """One record comes in."""
        link = client.link
        if link is None or not link.records:
            return
        record = link.records.popleft()
        self.now_ns += 1000
        client.tap.received(record, self.now_ns)
        if not client.is_greeted:
            self.greet(client, records.ConnectResponse.decode(record))
            return
        xid, zxid, err = records.decode_reply_header(record)
        if xid == -1:
            event = records.WatcherEvent.decode(record, records.REPLY_HEADER_SIZE)
            for kind in (*KINDS_OF_EVENT[event.type], "exists"):
                if kind not in LASTING:
                    client.watches.pop((event.path, kind), None)
            return
        if xid < 0:
            return
        client.seen_zxid = max(client.seen_zxid, zxid)
        asked_xid, op, body = client.waiting.pop(0)
        assert xid == asked_xid
        if op == OpCode.CLOSE_SESSION:
            self.drop(client, "closed")
            client.forget()
            return
        if op in records.REQUESTS:
            self.note_watch(client, op, records.decode_request(op, body), err)

    def note_watch(self, client: Client, op: int, request: records.Request, err: int) -> None:
        """What the client must ask for again after a reconnect."""
        if op in WATCHING and request[1] and (err == 0 or (err == NO_NODE and op == OpCode.EXISTS)):
            client.watches[request[0], WATCHING[OpCode(op)] if err == 0 else "exists"] = None
        elif op == OpCode.ADD_WATCH:
            client.watches[request[0], LASTING[request[1]]] = None
        elif op == OpCode.REMOVE_WATCHES and err == 0:
            for kind in (*KINDS_OF_TYPE[request[1]], *(("exists",) if "data" in KINDS_OF_TYPE[request[1]] else ())):
                client.watches.pop((request[0], kind), None)

    def greet(self, client: Client, response: records.ConnectResponse) -> None:
        """The server has answered."""
        assert client.link is not None
        if response.timeout_ms == 0:
            self.drop(client, "expired")
            client.forget()
            return
        client.is_greeted = True
        if client.session_id == 0:
            client.session_id, client.password = response.session_id, response.password or b""
        if client.watches:
            lists = [[path for path, kind in client.watches if kind == each] for each in LISTS]
            self.send(client, OpCode.SET_WATCHES2, records.encode_request(records.SetWatches2(client.seen_zxid, *lists)), -8)
        for xid, op, body in client.waiting if response.protocol_version == 1 else ():
            self.send(client, op, body, xid)


def digest_of(blocks: list[bytes]) -> str:
    """What a node that applies them comes to."""
    arena = Arena.create(bytearray(1 << 22))
    format_tree(arena)
    machine = Machine(arena, 1)
    for block in blocks:
        machine.apply(block)
    return f"{machine.digest:032x}"
