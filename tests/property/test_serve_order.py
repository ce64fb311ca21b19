"""Goal: whatever the timing, a client is told the truth in order: Z5, Z6, every read exact at its zxid, no reply lost or
doubled, under lost leaders, repeats, slots used again, sessions that move between workers, expiry, local sessions that come into
the log late, credentials, watches that are set again.
Method: two Servers over one real Machine in one process (testing/serving.py); hypothesis decides when entries leave, get
lost and are applied, how much each worker is told, in what pieces bytes move.  Each client is a twin that holds every
frame against the plain model's history; at the end all is let through, and nothing may be left unanswered."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fastzk._core.blocks import make_entry
from fastzk.testing.model import packed
from fastzk.testing.serving import Node, connect_request, make_create, make_delete, make_set
from fastzk.testing.twin import (
    ADD_WATCH,
    CHECK_WATCHES,
    CLOSE,
    GET_CHILDREN,
    GET_DATA,
    GET_EPHEMERALS,
    GOOD,
    PATH_READS,
    READS,
    REFUSED,
    REMOVE_WATCHES,
    UNKNOWN_OP,
    WHO_AM_I,
    ClientTwin,
)

PATHS = (b"/", b"/a", b"/a/b", b"/c", b"/zookeeper")
FREE, NEW, WAITING, OPEN, CLOSING = range(5)
ACTIONS = ["create", "create2", "ephemeral", "set", "delete", "sync", "read", "read", "read", "watch", "watch", "ping", "auth",
           "many", "ephemerals", "who", "add", "check", "remove", "rewatch", "rewatch2"]  # fmt: skip


class ServeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clients: list[ClientTwin] = []  # connected
        self.known: list[tuple[int, bytes]] = []  # sessions: id, password
        self.is_inside = False

    @initialize(are_local=st.booleans())
    def begin(self, are_local: bool) -> None:
        self.node = Node(PATHS, connections_max=4, local_sessions=are_local)
        for worker in (0, 0, 1):
            self.begin_connection(worker, 0, bytes(16), True, False, 1000)
        self.let_through()

    @rule()
    def let_through(self) -> None:
        """Everything moves one step further, so that what is drawn next happens in a living place."""
        self.let_reads_win()
        for worker in (0, 1):
            self.judge(worker)
            self.node.collect(worker)
        self.node.apply()
        self.node.deliver_all()
        for worker in (0, 1):
            self.flush(worker, 1 << 20)

    @rule(
        which=st.integers(0, 50), other=st.integers(0, 50), path=st.sampled_from(PATHS), op=st.sampled_from(READS),
        change=st.sampled_from(["create", "set", "delete"]), told=st.integers(0, 4),
        again=st.sampled_from(["read", "watch", "rewatch2", "remove"]),
    )  # fmt: skip
    def read_ahead(self, which: int, other: int, path: bytes, op: int, change: str, told: int, again: str) -> None:
        """One client changes what another watches, which looks again between the change and its commit batch."""
        if self.clients:
            self.ask(which, [("watch", path, op)], 1000)
            self.ask(other, [(change, path, op)], 1000)
            self.collect(self.clients[other % len(self.clients)].worker)
            self.node.apply()
            self.ask(which, [("read", path, op), (again, path, op), ("ping", path, op)], 1000)
            if told:
                self.node.deliver(self.clients[which % len(self.clients)].worker, told)

    # --- clients

    def put(self, client: ClientTwin, data: bytes, cut: int) -> None:
        for at in range(0, len(data), cut):
            client.send(data[at : at + cut])

    @rule(worker=st.integers(0, 1), has_read_only=st.booleans(), early=st.booleans(), cut=st.integers(1, 100))
    def connect(self, worker: int, has_read_only: bool, early: bool, cut: int) -> None:
        self.begin_connection(worker, 0, bytes(16), has_read_only, early, cut)

    @precondition(lambda self: self.known)
    @rule(worker=st.integers(0, 1), which=st.integers(0, 50), is_wrong=st.sampled_from([False] * 5 + [True]), early=st.booleans())
    def reconnect(self, worker: int, which: int, is_wrong: bool, early: bool) -> None:
        session_id, password = self.known[which % len(self.known)]
        self.begin_connection(worker, session_id, b"wrong password!!" if is_wrong else password, True, early, 1000)

    def begin_connection(self, worker: int, session_id: int, password: bytes, has_read_only: bool, early: bool, cut: int) -> None:
        slot = self.node.servers[worker].open_slot(0, self.node.now_ms)
        if slot < 0:
            return
        client = ClientTwin(self.node, worker, slot, session_id=session_id, has_read_only=has_read_only)
        self.clients.append(client)
        data = connect_request(session_id, password, read_only=False if has_read_only else None)
        if early:  # requests that do not wait for the response
            data += client.read(3, b"/a", True) + client.request(1, make_create(b"/c")) + client.read(4, b"/c", False)
        self.put(client, data, cut)

    @precondition(lambda self: self.clients)
    @rule(
        which=st.integers(0, 50),
        actions=st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(PATHS), st.sampled_from(PATH_READS)), max_size=6),
        cut=st.integers(1, 300),
    )
    def ask(self, which: int, actions: list[tuple[str, bytes, int]], cut: int) -> None:
        client = self.clients[which % len(self.clients)]
        if client.is_over or not client.is_greeted or client.is_refused:
            return
        data = b""
        for action, path, op in actions:
            if action in ("create", "create2", "ephemeral"):
                body = make_create(path, b"new", 1 if action == "ephemeral" else 0)
                data += client.request(15 if action == "create2" else 1, body)
            elif action == "set":
                data += client.request(5, make_set(path, b"%d" % client.next_xid))
            elif action == "delete":
                data += client.request(2, make_delete(path))
            elif action == "sync":
                data += client.request(9, make_delete(path)[:-4])
            elif action == "ping":
                data += client.ping()
            elif action in ("read", "watch"):
                data += client.read(op, path, action == "watch")
            else:
                data += self.seldom(client, action, path, op)
        self.put(client, data, cut)

    def seldom(self, client: ClientTwin, action: str, path: bytes, op: int) -> bytes:
        """The frame of what few clients ask; `op` only stands for a number."""
        if action == "auth":
            return client.auth(GOOD + b"%d" % (op % 3))
        if action == "many":
            return client.multi_read(((GET_DATA, path), (GET_CHILDREN, path), (GET_DATA, b"/a")))
        if action == "ephemerals":
            return client.request(GET_EPHEMERALS, packed(None))
        if action == "who":
            return client.request(WHO_AM_I, b"")
        if action == "add":
            return client.watch(ADD_WATCH, path, op % 2)
        if action in ("check", "remove"):
            return client.watch(CHECK_WATCHES if action == "check" else REMOVE_WATCHES, path, 1 + op % 5)
        lists: tuple[tuple[bytes, ...], ...] = ((path, b"/a"), (b"/c", path), (b"/a", path))
        if action == "rewatch2":
            lists += ((path,), (b"/",))
        seen_zxid = self.node.machine.applied_zxid if op % 4 == 0 else client.last_zxid  # perhaps through another node
        return client.rewatch(max(seen_zxid - op % 3, 0), lists)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 50), op=st.sampled_from([CLOSE, CLOSE, UNKNOWN_OP, None]))
    def say_goodbye(self, which: int, op: int | None) -> None:
        client = self.clients[which % len(self.clients)]
        if client.is_greeted and not client.is_refused:
            client.send(client.auth(REFUSED) if op is None else client.request(op, b""))

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 50))
    def cut_off(self, which: int) -> None:
        """The transport loses a connection; its slot is soon another's."""
        client = self.clients.pop(which % len(self.clients))
        client.is_over = True
        self.node.servers[client.worker].close_slot(client.slot)

    @rule(which=st.integers(0, 50))
    def expire(self, which: int) -> None:
        sessions = self.node.machine.sessions()
        if sessions:
            session_id, attach_zxid, _ = sessions[which % len(sessions)]
            self.node.propose(make_entry(CLOSE, session_id=session_id, attach_zxid=attach_zxid))

    # --- the worker's Python

    @rule(worker=st.integers(0, 1))
    def judge(self, worker: int) -> None:
        """Credentials are what they say of themselves."""
        server = self.node.servers[worker]
        for slot, _, _, body in server.asked():
            secret = body[body.index(b"digest") + 10 :]
            if secret.startswith(REFUSED):
                server.admit(slot, -115)
            else:
                server.admit(slot, 0, [("digest", secret.decode() + ":x")])

    # --- the engine

    @rule(worker=st.integers(0, 1))
    def collect(self, worker: int) -> None:
        self.let_reads_win()
        self.node.collect(worker)

    @rule(batches=st.integers(1, 3))
    def apply(self, batches: int) -> None:
        self.let_reads_win()
        self.node.apply(batches)

    @rule(worker=st.integers(0, 1), count=st.integers(0, 4))
    def deliver(self, worker: int, count: int) -> None:
        self.node.deliver(worker, count)

    @rule()
    def lose_the_leader(self) -> None:
        self.node.lose()

    @rule(worker=st.integers(0, 1))
    def resend(self, worker: int) -> None:
        self.node.servers[worker].resend_all()

    @rule()
    def let_reads_lose(self) -> None:
        """The writer wins every try, so reads are handed over."""
        if not self.is_inside:
            self.is_inside = True
            self.node.writer_is_inside(True)

    def let_reads_win(self) -> None:
        if self.is_inside:
            self.is_inside = False
            self.node.writer_is_inside(False)

    # --- the transport

    @rule(worker=st.integers(0, 1), piece=st.integers(1, 200))
    def flush(self, worker: int, piece: int) -> None:
        """Sends of each dirty slot one piece, and closes what is to be closed."""
        server = self.node.servers[worker]
        slots = []
        while (slot := server.take_dirty()) >= 0:
            slots.append(slot)
        for slot in slots:
            self.send_piece(worker, slot, piece)

    def send_piece(self, worker: int, slot: int, piece: int) -> None:
        server = self.node.servers[worker]
        (client,) = (c for c in self.clients if (c.worker, c.slot) == (worker, slot))
        data = server.output(slot)[:piece]
        server.output_sent(slot, len(data))
        client.hear(data)
        if client.is_greeted and not client.is_refused and (client.session_id, client.password) not in self.known:
            self.known.append((client.session_id, client.password))
        if server.state(slot) == CLOSING and not server.output(slot):
            self.clients.remove(client)
            client.is_over = True
            server.close_slot(slot)

    def teardown(self) -> None:
        """All is let through; then every connection that is open has every answer and every event."""
        if not hasattr(self, "node"):
            return
        self.let_reads_win()
        self.node.lose()
        for _ in range(1000):
            for worker in (0, 1):
                self.judge(worker)
                self.node.collect(worker)
            is_idle = not self.node.proposed and not any(self.node.streams)
            self.node.apply()
            self.node.deliver_all()
            for client in list(self.clients):
                while not client.is_over and self.node.servers[client.worker].output(client.slot):
                    is_idle = False
                    self.send_piece(client.worker, client.slot, 1 << 20)
                if not client.is_over and self.node.servers[client.worker].state(client.slot) == CLOSING:
                    self.send_piece(client.worker, client.slot, 1)
            if is_idle:
                break
        else:
            pytest.fail("it never came to rest")
        for client in self.clients:
            assert client.is_greeted or not client.asked
            assert not client.asked, f"{len(client.asked)} requests were never answered"
            assert not client.pings
            assert client.due_event(self.node.machine.applied_zxid) is None
            if client.is_greeted:
                sessions = {session_id for session_id, _, _ in self.node.machine.sessions()}
                facts = {facts["slot"]: facts for facts in client.server.describe()}
                assert (client.session_id in sessions) != facts[client.slot]["is_local"]
        for server in self.node.servers:
            counters = server.counters()
            assert counters["outstanding"] == 0
            assert counters["unanswered_bytes"] == 0
            assert server.take_writes() == (0, b"")


TestServe = ServeMachine.TestCase
TestServe.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
