"""Goal: the rest of what kazoo's client offers works on fastzk: transactions, ACLs and who speaks, chroots, retries,
sessions handed on, reads with the stat, the words it asks for.

Method: each call judged by what kazoo and ZooKeeper document of it; `--hosts` puts the same to any ZooKeeper."""

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import ForceRetryError, KazooRetry, RetryFailedError
from kazoo.security import (
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Permissions,
    make_acl,
    make_digest_acl,
    make_digest_acl_credential,
)

from fastzk.testing.ensemble import wait_for

pytestmark = pytest.mark.process
WAIT_S = 20.0
Connect = Callable[..., KazooClient]


# Transactions


def test_a_transaction_does_all(connect: Connect, place: str) -> None:
    client = connect()
    client.create(f"{place}/old", b"1")
    with client.transaction() as transaction:
        transaction.check(f"{place}/old", version=0)
        transaction.create(f"{place}/a", b"a")
        transaction.create(f"{place}/a/b-", b"b", sequence=True)
        transaction.set_data(f"{place}/a", b"new", version=0)
        transaction.create(f"{place}/e", ephemeral=True)
        transaction.delete(f"{place}/old", version=0)
    data, stat = client.get(f"{place}/a")
    assert (data, stat.version, stat.numChildren) == (b"new", 1, 1)
    assert client.exists(f"{place}/e").ephemeralOwner == client.client_id[0]
    assert client.exists(f"{place}/old") is None
    zxids = {client.exists(f"{place}/{name}").czxid for name in ("a", "a/b-0000000000", "e")}
    assert zxids == {stat.mzxid}, "one transaction is one zxid"


def test_the_results_of_a_transaction(connect: Connect, place: str) -> None:
    client = connect()
    transaction = client.transaction()
    transaction.create(f"{place}/a", b"a")
    transaction.check(f"{place}/a", version=0)
    transaction.set_data(f"{place}/a", b"longer")
    transaction.delete(f"{place}/a")
    created, checked, changed, deleted = transaction.commit()
    assert created == f"{place}/a"
    assert (checked, deleted) == (True, True)
    assert (changed.version, changed.dataLength) == (1, 6)


def test_a_transaction_does_nothing_when_one_part_fails(connect: Connect, place: str) -> None:
    client = connect()
    transaction = client.transaction()
    transaction.create(f"{place}/a")
    transaction.check(place, version=7)
    transaction.delete(f"{place}/none")
    results = transaction.commit()
    assert [type(result) for result in results] == [RolledBackError, BadVersionError, RuntimeInconsistency]
    assert client.get_children(place) == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda t, place: t.create(f"{place}/there"), NodeExistsError),
        (lambda t, place: t.create(f"{place}/none/a"), NoNodeError),
        (lambda t, place: t.delete(f"{place}/there", version=3), BadVersionError),
        (lambda t, place: t.delete(place), NotEmptyError),
        (lambda t, place: t.set_data(f"{place}/none", b""), NoNodeError),
        (lambda t, place: t.check(f"{place}/none", version=-1), NoNodeError),
    ],
)
def test_each_mistake_in_a_transaction_has_its_name(
    connect: Connect, place: str, wrong: Callable[[object, str], None], error: type[Exception]
) -> None:
    client = connect()
    client.create(f"{place}/there")
    transaction = client.transaction()
    wrong(transaction, place)
    [result] = transaction.commit()
    assert isinstance(result, error)


def test_a_transaction_fires_watches(connect: Connect, place: str) -> None:
    client = connect()
    fired = threading.Event()
    client.get_children(place, watch=lambda event: fired.set())
    transaction = client.transaction()
    transaction.create(f"{place}/a")
    transaction.check(f"{place}/none", version=0)
    transaction.commit()
    client.sync(place)
    assert not fired.is_set(), "nothing was done"
    transaction = client.transaction()
    transaction.create(f"{place}/a")
    transaction.commit()
    assert fired.wait(WAIT_S)


# Who speaks, and who may


def test_acls_are_kept(connect: Connect, place: str) -> None:
    client = connect()
    mine = make_digest_acl("user", "secret", read=True, write=True)
    assert mine.id.id == make_digest_acl_credential("user", "secret")
    client.create(f"{place}/a", acl=[mine, *READ_ACL_UNSAFE])
    acls, stat = client.get_acls(f"{place}/a")
    assert stat.aversion == 0
    assert [(acl.perms, acl.id.scheme) for acl in acls] == [(Permissions.READ | Permissions.WRITE, "digest"), (1, "world")]
    with pytest.raises(NoAuthError):
        client.set(f"{place}/a", b"")
    client.create(f"{place}/open", acl=OPEN_ACL_UNSAFE)
    changed = client.set_acls(f"{place}/open", READ_ACL_UNSAFE, version=0)
    assert changed.aversion == 1
    with pytest.raises(NoAuthError):
        client.set_acls(f"{place}/open", OPEN_ACL_UNSAFE)


def test_add_auth_opens_what_is_for_that_user_alone(connect: Connect, place: str) -> None:
    client, stranger = connect(), connect()
    client.create(f"{place}/a", b"data", acl=[make_digest_acl("user", "secret", all=True)])
    with pytest.raises(NoAuthError):
        client.get(f"{place}/a")
    client.add_auth("digest", "user:secret")
    assert client.get(f"{place}/a")[0] == b"data"
    client.set(f"{place}/a", b"new")
    client.create(f"{place}/a/b", acl=CREATOR_ALL_ACL)
    [owner], _ = client.get_acls(f"{place}/a/b")
    assert owner == make_digest_acl("user", "secret", all=True)
    stranger.add_auth("digest", "user:wrong")
    stranger.sync(place)
    for forbidden in (stranger.get, stranger.get_children, stranger.get_acls, stranger.exists):
        with pytest.raises(NoAuthError):
            forbidden(f"{place}/a")
    with pytest.raises(NoAuthError):
        stranger.create(f"{place}/a/c")
    with pytest.raises(NoAuthError):
        stranger.delete(f"{place}/a/b")
    transaction = stranger.transaction()
    transaction.set_data(f"{place}/a", b"")
    [refused] = transaction.commit()
    assert isinstance(refused, NoAuthError)
    client.delete(f"{place}/a", recursive=True)


def test_auth_data_is_said_again_after_a_lost_connection(connect: Connect, place: str) -> None:
    states: list[str] = []
    acl = make_digest_acl("user", "secret", all=True)
    client = connect(auth_data=[("digest", "user:secret")], default_acl=[acl])
    client.create(f"{place}/a", b"data")
    assert client.get_acls(f"{place}/a")[0] == [acl], "the default ACL"
    client.ensure_path(f"{place}/b/c")
    assert client.get_acls(f"{place}/b/c")[0] == [acl]
    client.add_listener(states.append)
    client._connection._socket.shutdown(2)
    wait_for(lambda: KazooState.CONNECTED in states, WAIT_S, "the client to be connected again")
    assert client.get(f"{place}/a")[0] == b"data"
    client.delete(f"{place}/a")
    client.delete(f"{place}/b", recursive=True)


def test_a_wrong_acl_and_an_unknown_scheme_are_refused(connect: Connect, place: str) -> None:
    client = connect()
    with pytest.raises(InvalidACLError):
        client.create(f"{place}/a", acl=[make_acl("no-such-scheme", "who", all=True)])
    with pytest.raises(InvalidACLError):
        client.create(f"{place}/a", acl=CREATOR_ALL_ACL)  # nobody has said who it is
    with pytest.raises(AuthFailedError):
        client.add_auth("no-such-scheme", "who")
    wait_for(lambda: client.state == KazooState.LOST, WAIT_S, "the client to be put out")


def test_an_acl_of_an_address(connect: Connect, place: str) -> None:
    client = connect()
    client.create(f"{place}/here", b"data", acl=[make_acl("ip", "127.0.0.0/8", read=True)])
    assert client.get(f"{place}/here")[0] == b"data"
    client.create(f"{place}/elsewhere", acl=[make_acl("ip", "10.0.0.1", read=True)])
    with pytest.raises(NoAuthError):
        client.get(f"{place}/elsewhere")
    client.delete(f"{place}/elsewhere")


# Paths, reads, sessions


def test_a_chroot_hides_itself(connect: Connect, place: str) -> None:
    outside = connect()
    outside.create(f"{place}/base")
    inside = connect(chroot=f"{place}/base")
    inside.sync("/")
    seen: list[str] = []
    inside.exists("/a", watch=lambda event: seen.append(event.path))
    assert inside.create("/a", b"in") == "/a"
    assert inside.create("/s-", sequence=True) == "/s-0000000001"
    wait_for(lambda: seen == ["/a"], WAIT_S, "an event with the path inside")
    inside.ensure_path("/deep/er/still")
    assert sorted(inside.get_children("/")) == ["a", "deep", "s-0000000001"]
    transaction = inside.transaction()
    transaction.create("/t")
    assert transaction.commit() == ["/t"]
    outside.sync(place)
    assert outside.get(f"{place}/base/a")[0] == b"in"
    with inside.Lock("/lock", "inside"):
        outside.sync(place)
        assert outside.Lock(f"{place}/base/lock").contenders() == ["inside"]


def test_ensure_path_makes_all_that_is_missing(connect: Connect, place: str) -> None:
    client = connect()
    assert client.ensure_path(f"{place}/a/b/c")
    assert client.ensure_path(f"{place}/a/b/c")
    assert client.create(f"{place}/x/y/z", b"deep", makepath=True) == f"{place}/x/y/z"
    assert client.get(f"{place}/x/y/z")[0] == b"deep"
    assert client.get(f"{place}/x/y")[0] == b""


def test_children_with_the_stat_of_their_parent(connect: Connect, place: str) -> None:
    client = connect()
    client.create(f"{place}/a")
    names, stat = client.get_children(place, include_data=True)
    assert names == ["a"]
    assert stat == client.exists(place)
    path, created = client.create(f"{place}/b", b"12", ephemeral=True, include_data=True)
    assert path == f"{place}/b"
    assert (created.dataLength, created.ephemeralOwner) == (2, client.client_id[0])


def test_retry_repeats_what_may_be_repeated(connect: Connect, place: str) -> None:
    client = connect(command_retry=KazooRetry(max_tries=3, delay=0.01))
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionLoss
        return client.create(f"{place}/a")

    assert client.retry(flaky) == f"{place}/a"

    def never() -> None:
        raise ForceRetryError

    with pytest.raises(RetryFailedError):
        client.retry(never)
    with pytest.raises(NodeExistsError):
        client.retry(client.create, f"{place}/a")


def test_a_request_under_way_is_repeated_over_a_lost_connection(connect: Connect, place: str) -> None:
    client = connect()
    client.create(f"{place}/a", b"data")
    client._connection._socket.shutdown(2)
    assert client.retry(client.get, f"{place}/a")[0] == b"data"


def test_a_session_can_be_handed_on(connect: Connect, place: str, hosts: str) -> None:
    script = (
        "import os, sys; from kazoo.client import KazooClient; c = KazooClient(sys.argv[1], timeout=10.0); c.start();"
        "c.create(sys.argv[2], ephemeral=True); print(c.client_id[0], c.client_id[1].hex(), flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", script, hosts, f"{place}/mine"]
    number, password = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=WAIT_S, check=False).stdout.split()
    identity = int(number), bytes.fromhex(password)
    heir = connect(client_id=identity)
    assert heir.client_id == identity
    heir.create(f"{place}/other", ephemeral=True)
    assert heir.exists(f"{place}/mine").ephemeralOwner == heir.exists(f"{place}/other").ephemeralOwner == identity[0]
    thief = connect(client_id=(identity[0], b"\1" * 16))
    assert thief.client_id[0] != identity[0], "with a wrong password one gets a session of one's own"
    thief.sync(place)
    assert thief.exists(f"{place}/mine") is not None


def test_a_client_can_be_started_again(connect: Connect, place: str) -> None:
    client = connect()
    client.create(f"{place}/e", ephemeral=True)
    client.restart()
    client.sync(place)
    assert client.exists(f"{place}/e") is None
    assert client.create(f"{place}/e", ephemeral=True)


def test_a_client_that_would_be_content_with_reading(connect: Connect, place: str) -> None:
    client = connect(read_only=True)
    assert client.create(f"{place}/a") == f"{place}/a"


def test_nobody_there(place: str) -> None:
    client = KazooClient("127.0.0.1:1", timeout=1.0)
    with pytest.raises(KazooTimeoutError):
        client.start(timeout=0.5)
    client.close()


def test_the_words(connect: Connect) -> None:
    client = connect()
    assert client.server_version() >= (3, 8)
    assert client.command(b"ruok") == "imok"
    assert "Mode: " in client.command(b"srvr")
    assert "zk_version\t" in client.command(b"mntr")
    assert client.command(b"isro") == "rw"
