"""Goal: the client's session and a node's real connections understand each other whatever is lost, late or cut.
Method: sans-IO on both sides: a Session against real Servers over a real machine, in one thread.  Hypothesis decides when bytes
move, when entries are applied, which connection is cut and what is lost with it.  Held against the tree in the end:

  every call is answered once        a write is done once, in the order of asking, and does not fail while the session lives
  zxids of answers never fall        a write that failed since the session was over was done at most once
  a watch is told of the first change after it was set, whatever was cut in between, and before an answer shows the change"""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastzk.client.call import Answer, Call, Fired, StateChange
from fastzk.client.hosts import Address, HostRing
from fastzk.client.retry import Backoff
from fastzk.client.session import Phase, Session
from fastzk.client.watches import WatchKind
from fastzk.data import OPEN_ACL_UNSAFE, WatchedEvent
from fastzk.defs import EventType, KeeperState
from fastzk.errors import ConnectionLoss, SessionExpiredError
from fastzk.testing.serving import Node, connect_request
from fastzk.wire.frames import frame
from fastzk.wire.records import CloseSession, Create, Exists, GetChildren, RequestHeader, encode_request

NATIVE = 1
CLOSING = 4
WORKERS = 2

STEPS = st.lists(
    st.sampled_from(["write", "write", "read", "watch", "send", "send", "apply", "hear 0", "hear 1", "receive", "receive"])
    | st.sampled_from(["cut", "freeze", "steal", "kill"]),
    max_size=80,
)


class World:
    """A client, the wire and a node, moved step by step."""

    def __init__(self) -> None:
        self.node = Node(workers=WORKERS)
        self.now = 100.0
        hosts = HostRing([Address(f"worker{number}", 1) for number in range(WORKERS)], None)
        self.session = Session(hosts, Backoff(0.05, 1.0, Random(1)), 10.0, self.now)
        self.worker, self.slot, self.attempt = 0, -1, 0
        self.calls: list[Call] = []
        self.answers: dict[int, Answer] = {}
        self.order: list[Any] = []
        self.watches = 0
        self.numbers: dict[int, int] = {}  # of watches, by call
        self.sessions_lost = 0
        self.was_stolen = False

    # ---- the client

    def ask(self, request: Any, function: Any = None, kind: WatchKind | None = None) -> None:
        call = Call(request.op, encode_request(request), request.path, len(self.calls), kind, function)
        self.calls.append(call)
        self.session.submit(call)

    def write(self) -> None:
        self.ask(Create(f"/w{len(self.calls)}", b"", OPEN_ACL_UNSAFE, 0))

    def read(self) -> None:
        self.ask(GetChildren("/", False))

    def watch(self) -> None:
        number = self.watches
        self.watches += 1

        def fire(event: WatchedEvent) -> None:
            self.order.append((number, event))

        self.numbers[len(self.calls)] = number
        self.ask(GetChildren("/", True), fire, WatchKind.CHILD)

    def tick(self, seconds: float = 0.0) -> None:
        """Time, and what the driver does with it."""
        self.now += seconds
        self.session.tick(self.now)
        if self.session.attempt != self.attempt or self.session.phase in (Phase.IDLE, Phase.OVER):
            self.drop()
        if self.session.phase is Phase.OPENING:
            assert self.session.address is not None
            self.worker = int(self.session.address.host.removeprefix("worker"))
            self.slot = self.node.servers[self.worker].open_slot(NATIVE, self.node.now_ms)
            assert self.slot >= 0
            self.attempt = self.session.attempt
            self.session.on_open(self.now)
        self.collect()

    def collect(self) -> None:
        for outcome in self.session.take_outcomes():
            match outcome:
                case Answer():
                    assert outcome.call.token not in self.answers, "answered twice"
                    self.answers[outcome.call.token] = outcome
                    self.order.append(outcome)
                case Fired(functions, event):
                    for function in functions:
                        function(event)
                case StateChange(state):
                    self.sessions_lost += state is KeeperState.EXPIRED_SESSION

    # ---- the wire

    def drop(self) -> None:
        if self.slot >= 0:
            self.node.servers[self.worker].close_slot(self.slot)
            self.slot = -1

    def send(self) -> None:
        message = self.session.take_message(self.now)
        if message is not None and self.slot >= 0:
            self.node.servers[self.worker].take_bytes(self.slot, message, self.node.now_ms)
            self.node.collect(self.worker)

    def receive(self) -> None:
        if self.slot < 0:
            return
        server = self.node.servers[self.worker]
        output = server.output(self.slot)
        if output:
            server.output_sent(self.slot, len(output))
            self.session.on_message(output, self.now)
        if server.state(self.slot) == CLOSING:
            self.drop()
            self.session.on_message(b"", self.now)
        self.collect()

    def cut(self) -> None:
        """The connection is gone, and every byte that was on its way."""
        self.drop()
        self.session.on_lost(self.now, "cut")

    def freeze(self) -> None:
        """Silence, for longer than the client waits."""
        self.tick(self.session.timeout_s)

    def steal(self) -> None:
        """Another client takes the session over; it wants nothing remembered, and from then on nothing is."""
        if self.session.session_id:
            self.was_stolen = True
            self.other(b"")

    def kill(self) -> None:
        """Another connection ends the session."""
        if self.session.session_id:
            self.other(frame(RequestHeader(1, CloseSession.op).encode()))

    def other(self, then: bytes) -> None:
        server = self.node.servers[0]
        slot = server.open_slot(NATIVE, self.node.now_ms)
        unsigned = self.session.session_id % 2**64
        server.take_bytes(slot, connect_request(unsigned, self.session.password) + then, self.node.now_ms)
        self.settle_node()
        self.settle_node()
        server.close_slot(slot)

    # ---- the node

    def settle_node(self) -> None:
        for worker in range(WORKERS):
            self.node.collect(worker)
        self.node.apply()
        self.node.deliver_all()

    def step(self, name: str) -> None:
        match name.split():
            case ["hear", worker]:
                self.node.deliver(int(worker), 1)
            case ["apply"]:
                self.node.apply()
            case _:
                getattr(self, name)()
        self.tick()

    def settle(self) -> None:
        """Everything that can still happen happens."""
        for _ in range(100):
            self.tick(0.2)
            self.send()
            self.settle_node()
            self.receive()
            if len(self.answers) == len(self.calls) and self.session.phase is Phase.OPEN:
                return
        raise AssertionError(f"{len(self.calls) - len(self.answers)} calls were never answered; {self.session.phase}")


def made_in_order(world: World) -> list[tuple[int, str]]:
    """What was made, oldest first, as a new client sees it: zxids and names."""
    node = world.node
    twin: list[tuple[int, str]] = []
    session = Session(HostRing([Address("x", 1)], None), Backoff(0.05, 1.0, Random(1)), 10.0, 0.0)
    slot = node.servers[1].open_slot(NATIVE, node.now_ms)
    session.tick(0.0)
    session.on_open(0.0)
    session.submit(Call(GetChildren.op, encode_request(GetChildren("/", False)), "/"))
    found: list[str] | None = None
    for _ in range(20):
        message = session.take_message(0.0)
        if message:
            node.servers[1].take_bytes(slot, message, node.now_ms)
        world.settle_node()
        output = node.servers[1].output(slot)
        if output:
            node.servers[1].output_sent(slot, len(output))
            session.on_message(output, 0.0)
        for outcome in session.take_outcomes():
            if not isinstance(outcome, Answer):
                continue
            assert outcome.error is None
            if found is None:
                found = [name for name in outcome.value if name.startswith("w")]
                for name in found:
                    session.submit(Call(Exists.op, encode_request(Exists(f"/{name}", False)), name))
            else:
                assert outcome.call.path is not None
                twin.append((outcome.value.czxid, outcome.call.path))
        if found is not None and len(twin) == len(found):
            break
    assert found is not None
    assert len(twin) == len(found)
    node.servers[1].close_slot(slot)
    return sorted(twin)


def check(world: World) -> None:
    made_at = made_in_order(world)
    made = [name for _, name in made_at]
    assert made == sorted(made, key=lambda name: int(name[1:])), "writes were done in another order than asked for"
    done: set[str] = set()
    last_zxid = 0
    armed: dict[int, int] = {}  # the zxid at which each watch was set
    for outcome in world.order:
        if not isinstance(outcome, Answer):
            number, event = outcome
            assert number in armed, "a watch fires once, and not before it is set"
            assert event.type in (EventType.CHILD, EventType.NONE)
            del armed[number]
            continue
        call, error = outcome.call, outcome.error
        if error is not None:
            may_be_lost = call.op != Create.op or world.was_stolen or "no server could be reached" in str(error)
            is_given_up = isinstance(error, ConnectionLoss) and may_be_lost
            assert is_given_up or isinstance(error, SessionExpiredError), (call.path, error)
            continue
        assert outcome.zxid >= last_zxid, "Z5"
        last_zxid = outcome.zxid
        for since in armed.values():
            assert not any(since < zxid <= last_zxid for zxid, _ in made_at), "Z6: an answer shows what a watch has not told"
        if call.op == Create.op:
            name = call.path[1:]
            assert name in made
            done.add(name)
        else:
            assert done <= set(outcome.value), "a read misses what was done before it"
            if call.function is not None:
                armed[world.numbers[call.token]] = outcome.zxid
    assert len(world.session.watches) == len(armed), "an armed watch has fired, or is armed still"


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_client_and_server_whatever_happens(steps: list[str]) -> None:
    world = World()
    world.tick()
    for step in steps:
        world.step(step)
    world.settle()
    check(world)


def test_the_story_reaches_what_it_is_about() -> None:
    """The steps above do lead to repeats, changes that are missed at first, and expiry, or the test would show nothing."""
    world = World()
    world.tick()
    world.settle()
    for step in ["watch", "send", "receive", "write", "send", "apply", "cut"]:
        world.step(step)
    assert world.order[-1].call.op == GetChildren.op, "done, and its answer lost, and the event too"
    world.settle()
    (number, event), write = world.order[-2:]
    assert (number, event.type) == (0, EventType.CHILD)
    assert (write.call.op, write.call.tries, write.error) == (Create.op, 2, None)
    for step in ["watch", "send", "receive", "write", "read", "kill"]:
        world.step(step)
    world.settle()
    check(world)
    assert world.sessions_lost == 1
    assert [outcome[1].type for outcome in world.order if not isinstance(outcome, Answer)] == [EventType.CHILD, EventType.NONE]


def test_a_write_that_may_have_been_done_is_not_done_again_for_a_session_that_was_stolen() -> None:
    world = World()
    world.tick()
    world.settle()
    for step in ["write", "send", "apply", "cut", "steal"]:
        world.step(step)
    world.settle()
    check(world)
    assert isinstance(world.order[-1].error, ConnectionLoss), "nobody knows any more"
