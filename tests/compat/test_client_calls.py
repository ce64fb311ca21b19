"""Goal: the native client's calls beyond a single znode do what ZooKeeper's contract says: transactions, who may do what, kinds
of znodes, reads in one request, watches that stay, reads that are linearizable.
Method: a real worker under an engine that stores nothing, and a whole node; each test in a tree of its own.  kazoo, over
ZooKeeper's protocol, is the judge where it has the same call."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl as kazoo_digest_acl

from fastzk import Client
from fastzk.data import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id, WatchedEvent, make_digest_acl
from fastzk.defs import ClientState, EventType, KeeperState, WatcherType
from fastzk.errors import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NoWatcherError,
    RolledBackError,
    RuntimeInconsistency,
)
from fastzk.testing.ensemble import Ensemble, wait_for

WAIT_S = 10.0
Hosts = tuple[str, str]  # native, ZooKeeper's


@pytest.fixture
def client(native_hosts: Hosts, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client in a tree of the test's own."""
    with Client(f"{native_hosts[0]}/{request.node.originalname}") as client:
        client.delete("/", recursive=True)
        client.ensure_path("/")
        yield client


@pytest.fixture
def kazoo(native_hosts: Hosts, client: Client) -> Iterator[KazooClient]:
    """The judge, in the same tree."""
    kazoo = KazooClient(native_hosts[1] + client.chroot)
    kazoo.start()
    yield kazoo
    kazoo.stop()
    kazoo.close()


class Heard:
    """A watch function that can be waited for."""

    def __init__(self) -> None:
        self.events: list[WatchedEvent] = []

    def __call__(self, event: WatchedEvent) -> None:
        self.events.append(event)

    def wait(self, *expected: tuple[EventType, str]) -> None:
        """Waits until it has been told just this since the last time, in the order given."""
        wait_for(lambda: len(self.events) >= len(expected), WAIT_S, f"{expected}, not only {self.events}")
        assert [(event.type, event.path) for event in self.events] == list(expected)
        self.events.clear()


# ---- transactions


def test_a_transaction_is_done_together(client: Client) -> None:
    client.create("/a", b"1")
    with client.transaction() as transaction:
        transaction.check("/a", version=0)
        transaction.set_data("/a", b"2")
        transaction.create("/a/s-", b"x", sequence=True)
        transaction.create("/a/e", ephemeral=True)
        transaction.delete("/a/e")
    assert transaction.committed
    results = client.transaction()
    results.check("/a", 1)
    results.set_data("/a", b"3", 1)
    results.create("/a/s-", sequence=True)
    results.create("/a/c", container=True)
    results.delete("/a/c", 0)
    checked, stat, path, container, deleted = results.commit()
    assert (checked, path, container, deleted) == (True, "/a/s-0000000002", "/a/c", True)
    assert (stat.version, client.get("/a")[0]) == (2, b"3")
    assert sorted(client.get_children("/a")) == ["s-0000000000", "s-0000000002"]
    with pytest.raises(ValueError, match="already committed"):
        results.commit()
    with pytest.raises(ValueError, match="already committed"):
        results.delete("/a")


def test_of_a_transaction_that_fails_nothing_is_done(client: Client) -> None:
    client.create("/a")
    transaction = client.transaction()
    transaction.create("/b")
    transaction.check("/a", 7)
    transaction.delete("/a")
    first, second, third = transaction.commit_async().get()
    assert [type(error) for error in (first, second, third)] == [RolledBackError, BadVersionError, RuntimeInconsistency]
    assert str(second) == "/a"
    assert client.get_children("/") == ["a"]


def test_a_transaction_is_not_sent_when_its_block_fails(client: Client) -> None:
    with pytest.raises(RuntimeError), client.transaction() as transaction:  # noqa: PT012
        transaction.create("/a")
        raise RuntimeError("on purpose")
    assert not transaction.committed
    assert client.get_children("/") == []
    assert client.transaction().commit() == []


def test_a_transactions_results_are_kazoos(client: Client, kazoo: KazooClient) -> None:
    def plain(result: Any) -> Any:
        if isinstance(result, Exception):
            return type(result).__name__
        return (result.version, result.numChildren) if isinstance(result, tuple) else result

    def run(transaction: Any, base: str, version: int) -> list[Any]:
        transaction.create(base, b"x")
        transaction.create(f"{base}/s-", sequence=True)
        transaction.set_data(base, b"y", version)
        transaction.check(base, 1)
        transaction.delete(f"{base}/s-0000000000")
        return [plain(result) for result in transaction.commit()]

    for version in (0, 5):
        theirs = run(kazoo.transaction(), f"/kazoo{version}", version)
        ours = run(client.transaction(), f"/fastzk{version}", version)
        assert [str(result).replace("kazoo", "fastzk") for result in theirs] == [str(result) for result in ours]


def test_wrong_arguments_of_a_transaction_are_named_at_once(client: Client) -> None:
    transaction = client.transaction()
    wrong: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (transaction.create, (7,)),
        (transaction.create, ("/a", "text")),
        (transaction.create, ("/a", b"", OPEN_ACL_UNSAFE[0])),
        (transaction.set_data, ("/a", "text")),
        (transaction.delete, ("/a", "1")),
        (transaction.check, ("/a", "1")),
    ]
    for call, arguments in wrong:
        with pytest.raises(TypeError):
            call(*arguments)
    assert transaction.operations == []


# ---- who may do what


def test_acls_are_read_and_changed(client: Client, kazoo: KazooClient) -> None:
    client.create("/a")
    acl, stat = client.get_acls("/a")
    assert (acl, stat.aversion) == (list(OPEN_ACL_UNSAFE), 0)
    assert client.set_acls("/a", READ_ACL_UNSAFE).aversion == 1
    assert client.get_acls("/a")[0] == list(READ_ACL_UNSAFE)
    theirs, their_stat = kazoo.get_acls("/a")
    assert [tuple(entry) for entry in theirs] == [tuple(entry) for entry in client.get_acls("/a")[0]]
    assert tuple(their_stat) == tuple(client.get_acls("/a")[1])
    client.create("/b", acl=[make_digest_acl("me", "secret", all=True), *OPEN_ACL_UNSAFE])
    with pytest.raises(BadVersionError):
        client.set_acls("/b", OPEN_ACL_UNSAFE, version=3)
    with pytest.raises(InvalidACLError):
        client.set_acls("/b", [])
    with pytest.raises(NoNodeError):
        client.get_acls("/none")
    with pytest.raises(TypeError):
        client.set_acls("/b", OPEN_ACL_UNSAFE[0])  # type: ignore[arg-type]


def test_who_has_shown_a_password_may(client: Client, kazoo: KazooClient, native_hosts: Hosts) -> None:
    assert client.add_auth("digest", "me:secret") is True
    assert Id("digest", "me") in [Id(who.scheme, who.id.partition(":")[0]) for who in client.whoami()]
    client.create("/mine", b"x", acl=CREATOR_ALL_ACL)
    assert client.get_acls("/mine")[0] == [make_digest_acl("me", "secret", all=True)]
    assert [tuple(entry) for entry in client.get_acls("/mine")[0]] == [tuple(kazoo_digest_acl("me", "secret", all=True))]
    with Client(native_hosts[0] + client.chroot) as other:
        for call in (other.get, other.get_children, lambda path: other.set(path, b"")):
            with pytest.raises(NoAuthError):
                call("/mine")
        other.add_auth("digest", b"me:secret")
        assert other.get("/mine")[0] == b"x"
    with Client(native_hosts[0] + client.chroot, auth_data=[("digest", "me:secret")]) as other:
        assert other.get("/mine")[0] == b"x"
    kazoo.add_auth("digest", "me:secret")
    assert kazoo.get("/mine")[0] == b"x"
    client.delete("/mine")


def test_a_server_that_refuses_a_credential_ends_the_client_until_it_is_started_again(client: Client) -> None:
    states: list[ClientState] = []
    client.add_listener(states.append)
    client.create("/a")
    with pytest.raises(AuthFailedError):
        client.add_auth("nonsense", "x")
    wait_for(lambda: states, WAIT_S, "the listener")
    assert (states, client.client_state) == ([ClientState.LOST], KeeperState.AUTH_FAILED)
    with pytest.raises(AuthFailedError):
        client.get("/a")
    client.auth_data.remove(("nonsense", "x"))
    client.start()
    assert client.get("/a")[0] == b""


def test_wrong_types_of_a_credential_are_named(client: Client) -> None:
    with pytest.raises(TypeError, match="scheme"):
        client.add_auth(7, "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="credential"):
        client.add_auth("digest", 7)  # type: ignore[arg-type]


# ---- kinds of znodes


def test_containers_and_znodes_with_a_time_to_live(client: Client) -> None:
    assert client.create("/c", b"x", container=True) == "/c"
    path, stat = client.create("/t", b"x", ttl=60.0, include_data=True)
    assert (path, stat.dataLength, stat.ephemeralOwner) == ("/t", 1, 0)
    assert client.create("/s-", sequence=True, ttl=60) == "/s-0000000002"
    assert client.create("/deep/c", container=True, makepath=True) == "/deep/c"
    with pytest.raises(NodeExistsError):
        client.create("/c", container=True)
    for kinds in ({"ephemeral": True}, {"sequence": True}, {"ttl": 1.0}):
        with pytest.raises(BadArgumentsError):
            client.create("/d", container=True, **kinds)  # type: ignore[call-overload]
    for ttl in (0, -1.0, 1e10):
        with pytest.raises(BadArgumentsError):
            client.create("/d", ttl=ttl)
    with pytest.raises(BadArgumentsError):
        client.create("/d", ttl=1.0, ephemeral=True)
    with pytest.raises(TypeError):
        client.create("/d", ttl="1")  # type: ignore[call-overload]


def test_own_ephemerals_and_the_number_of_descendants(client: Client, native_hosts: Hosts) -> None:
    for path in ("/a", "/a/b", "/ab"):
        client.create(path)
    for path in ("/a/e1", "/a/b/e2", "/ab/e3"):
        client.create(path, ephemeral=True)
    assert sorted(client.get_ephemerals()) == ["/a/b/e2", "/a/e1", "/ab/e3"]
    assert sorted(client.get_ephemerals("/a/b")) == ["/a/b/e2"]
    with Client(native_hosts[0] + client.chroot) as other:
        assert other.get_ephemerals() == [], "only its own"
        assert other.get_all_children_number("/") == 6
        assert other.get_all_children_number("/a") == 3
    with pytest.raises(NoNodeError):
        client.get_all_children_number("/none")


def test_several_reads_in_one_request(client: Client) -> None:
    client.create("/a", b"x")
    client.create("/a/b")
    client.create("/null", None)
    reads = client.multi_read()
    reads.get("/a")
    reads.get("/none")
    reads.get_children("/a")
    reads.get_children("/none")
    reads.get("/null")
    one, none, names, no_names, null = reads.commit()
    assert one == client.get("/a")
    assert (type(none), str(none)) == (NoNodeError, "/none")
    assert (names, type(no_names), null[0]) == (["b"], NoNodeError, b"")
    with pytest.raises(ValueError, match="already committed"):
        reads.commit()


# ---- watches that stay


def test_a_persistent_watch_hears_of_its_znode_for_good(client: Client) -> None:
    heard, once = Heard(), Heard()
    assert client.add_watch("/a", heard) is True
    for _ in range(2):
        client.create("/a")
        client.exists("/a", watch=once)
        client.set("/a", b"1")
        client.create("/a/b")
        client.set("/a/b", b"1")
        client.delete("/a/b")
        client.delete("/a")
        heard.wait(
            (EventType.CREATED, "/a"),
            (EventType.CHANGED, "/a"),
            (EventType.CHILD, "/a"),
            (EventType.CHILD, "/a"),
            (EventType.DELETED, "/a"),
        )
        once.wait((EventType.CHANGED, "/a"))


def test_a_recursive_watch_hears_of_all_below(client: Client) -> None:
    heard = Heard()
    client.create("/a")
    client.add_watch("/a", heard, recursive=True)
    for path in ("/a/b", "/a/b/c", "/ab"):
        client.create(path)
    client.set("/a/b/c", b"1")
    client.delete("/a", recursive=True)
    heard.wait(
        (EventType.CREATED, "/a/b"),
        (EventType.CREATED, "/a/b/c"),
        (EventType.CHANGED, "/a/b/c"),
        (EventType.DELETED, "/a/b/c"),
        (EventType.DELETED, "/a/b"),
        (EventType.DELETED, "/a"),
    )


def test_watches_are_taken_off(client: Client) -> None:
    first, second, data, child = Heard(), Heard(), Heard(), Heard()
    client.create("/a")
    client.add_watch("/a", first)
    client.add_watch("/a", second)
    client.get("/a", watch=data)
    client.get_children("/a", watch=child)
    assert client.remove_watch("/a", first) is True
    first.wait((EventType.PERSISTENT_WATCH_REMOVED, "/a"))
    with pytest.raises(NoWatcherError):
        client.remove_watch("/a", first)
    assert client.remove_all_watches("/a", WatcherType.CHILDREN) is True
    child.wait((EventType.CHILD_WATCH_REMOVED, "/a"))
    client.set("/a", b"1")
    client.create("/a/b")
    second.wait((EventType.CHANGED, "/a"), (EventType.CHILD, "/a"))
    data.wait((EventType.CHANGED, "/a"))
    assert client.remove_all_watches("/a") is True
    second.wait((EventType.PERSISTENT_WATCH_REMOVED, "/a"))
    with pytest.raises(NoWatcherError):
        client.remove_all_watches("/a")
    client.set("/a", b"2")
    client.sync("/")
    for each in (first, second, data, child):
        assert each.events == []
    with pytest.raises(TypeError):
        client.remove_all_watches("/a", 9)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.add_watch("/a", 7)  # type: ignore[arg-type]


# ---- linearizable reads


def test_linearizable_reads_are_the_same_reads(client: Client, native_hosts: Hosts) -> None:
    client.create("/a", b"x")
    heard = Heard()
    assert client.get("/a", watch=heard, linearizable=True) == client.get("/a")
    assert client.exists("/a", linearizable=True) == client.exists("/a")
    assert client.get_children("/", linearizable=True) == ["a"]
    assert client.exists("/none", linearizable=True) is None
    with pytest.raises(NoNodeError):
        client.get("/none", linearizable=True)
    client.set("/a", b"y")
    heard.wait((EventType.CHANGED, "/a"))
    with Client(native_hosts[0] + client.chroot, linearizable=True) as strict:
        zxid = strict.last_zxid
        result = strict.get_async("/a")
        assert result.get()[0] == b"y"
        assert result.zxid > zxid, "a sync went before it"
        plain = strict.get_async("/a", linearizable=False)
        plain.get()
        assert plain.zxid == result.zxid


@pytest.mark.process
def test_a_plain_read_may_be_stale_and_a_linearizable_one_is_not(shared_ensemble: Ensemble) -> None:
    """A follower whose engine is held up serves what it has; the others go on without it."""
    leader, behind = shared_ensemble.leader(), shared_ensemble.followers()[0]
    with Client(leader.native_host) as writer, Client(behind.native_host, timeout=20.0) as reader:
        writer.create("/fresh", b"old")
        reader.sync("/")
        assert reader.get("/fresh")[0] == b"old"
        engine = behind.engine_pid()
        os.kill(engine, signal.SIGSTOP)
        try:
            writer.set("/fresh", b"new")
            assert reader.get("/fresh")[0] == b"old", "what everybody could know for some time"
            fresh = reader.get_async("/fresh", linearizable=True)
            assert not fresh.wait(0.3), "it waits for a quorum's word"
        finally:
            os.kill(engine, signal.SIGCONT)
        assert fresh.get(timeout=WAIT_S)[0] == b"new"
        writer.delete("/fresh")
