"""Goal: kazoo proves who it is to fastzk in every way it knows: SASL DIGEST-MD5, TLS with and without a certificate of its
own, and as the client that may do everything.

Method: one node with users, certificates made for the test and a super user.  SASL can be judged at other servers too:
`--hosts` names those that know the user judge with the password judge-secret."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError, NoAuthError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.security import CREATOR_ALL_ACL, make_acl, make_digest_acl, make_digest_acl_credential

from fastzk.testing.certificates import Authority, Certificate, has_openssl
from fastzk.testing.ensemble import Ensemble, free_ports, wait_for

pytestmark = pytest.mark.process
START_S_MAX = 20.0
REFUSED_S = 1.0
USER, PASSWORD = "judge", "judge-secret"
SASL = {"mechanism": "DIGEST-MD5", "username": USER, "password": PASSWORD}
CAN_DO_ALL = "super:super-secret"
Connect = Callable[..., KazooClient]


class Secured:
    """One node, where it listens inside TLS, the certificate of its authority and one that this has signed."""

    def __init__(self, hosts: str, tls_hosts: str, authority: Certificate, mine: Certificate) -> None:
        self.hosts = hosts
        self.tls_hosts = tls_hosts
        self.authority = str(authority.certificate)
        self.mine = {"certfile": str(mine.certificate), "keyfile": str(mine.key)}


@pytest.fixture(scope="module")
def secured(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A node that knows a SASL user, a super user, and those whom its authority has signed."""
    if not has_openssl():
        pytest.skip("there is no openssl to make certificates with: `apt-get install openssl` brings it")
    home = tmp_path_factory.mktemp("secured")
    authority = Authority(home)
    own = authority.issue("node", "/CN=node")
    for name, text in {"users": f"{USER}:{PASSWORD}", "super": make_digest_acl_credential(*CAN_DO_ALL.split(":"))}.items():
        (home / name).touch(mode=0o600)
        (home / name).write_text(f"{text}\n")
    tls = f"127.0.0.1:{free_ports(1)[0]}"
    options = ["--sasl-users", str(home / "users"), "--super-digest-file", str(home / "super"), "--zk-tls", tls]
    options += ["--tls-cert", str(own.certificate), "--tls-key", str(own.key)]
    options += ["--tls-ca", str(authority.own.certificate), "--tls-client-auth", "want"]
    with Ensemble(1, disk, options) as node:
        yield Secured(node.zk_hosts, tls, authority.own, authority.issue("client", "/CN=client"))


@pytest.fixture
def hosts(request: pytest.FixtureRequest) -> str:
    """Where SASL is known: given, or the node of this module."""
    given: str | None = request.config.getoption("--hosts")
    return given or request.getfixturevalue("secured").hosts


@pytest.fixture
def connect_tls(secured: Secured) -> Iterator[Connect]:
    """Gives clients that are connected inside TLS."""
    clients: list[KazooClient] = []

    def started(**options: object) -> KazooClient:
        client = KazooClient(secured.tls_hosts, use_ssl=True, **options)
        clients.append(client)
        client.start(timeout=START_S_MAX)
        return client

    yield started
    for client in clients:
        client.stop()
        client.close()


def test_sasl_tells_who_speaks(connect: Connect, place: str) -> None:
    client, stranger = connect(sasl_options=SASL), connect()
    acl = make_acl("sasl", USER, all=True)
    client.create(f"{place}/a", b"data", acl=[acl])
    assert client.get(f"{place}/a")[0] == b"data"
    stranger.sync(place)
    with pytest.raises(NoAuthError):
        stranger.get(f"{place}/a")
    client.create(f"{place}/mine", acl=CREATOR_ALL_ACL)
    assert client.get_acls(f"{place}/mine")[0] == [acl]
    client._connection._socket.shutdown(2)
    assert client.retry(client.get, f"{place}/a")[0] == b"data", "it says so again on a new connection"
    client.delete(f"{place}/a")
    client.delete(f"{place}/mine")


def test_a_wrong_password_of_sasl_is_refused(hosts: str) -> None:
    for wrong in ({"password": "wrong"}, {"username": "nobody"}):
        client = KazooClient(hosts, sasl_options={**SASL, **wrong})
        states: list[str] = []
        client.add_listener(states.append)
        # Its connection is there first and is lost then, so it may seem to have started.
        with contextlib.suppress(KazooTimeoutError):
            client.start(timeout=START_S_MAX)
        wait_for(lambda states=states: KazooState.LOST in states, START_S_MAX, "the client to be put out")
        with pytest.raises((AuthFailedError, ConnectionClosedError)):
            client.get("/")
        client.stop()
        client.close()


def test_the_super_user_may_do_everything(secured: Secured, connect: Connect, place: str) -> None:
    owner, above, pretender = connect(), connect(auth_data=[("digest", CAN_DO_ALL)]), connect()
    owner.create(f"{place}/a", b"data", acl=[make_digest_acl("user", "secret", all=True)])
    above.sync(place)
    assert above.get(f"{place}/a")[0] == b"data"
    pretender.add_auth("digest", "super:guessed")
    pretender.sync(place)
    with pytest.raises(NoAuthError):
        pretender.get(f"{place}/a")
    above.delete(f"{place}/a")


def test_tls_without_a_certificate_of_ones_own(secured: Secured, connect_tls: Connect) -> None:
    client = connect_tls(ca=secured.authority)
    path = client.create("/tls-", b"x" * 100_000, sequence=True)
    assert client.get(path)[0] == b"x" * 100_000
    client.delete(path)


def test_tls_with_a_certificate_tells_who_speaks(secured: Secured, connect_tls: Connect) -> None:
    client, stranger = connect_tls(ca=secured.authority, **secured.mine), connect_tls(ca=secured.authority)
    client.create("/signed", b"data", acl=[make_acl("x509", "CN=client", all=True)])
    assert client.get("/signed")[0] == b"data"
    stranger.sync("/")
    with pytest.raises(NoAuthError):
        stranger.get("/signed")
    client.delete("/signed")


def test_who_does_not_speak_tls_does_not_come_in(secured: Secured) -> None:
    client = KazooClient(secured.tls_hosts, timeout=REFUSED_S)
    with pytest.raises(KazooTimeoutError):
        client.start(timeout=REFUSED_S)
    client.stop()
    client.close()
