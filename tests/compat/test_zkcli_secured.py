"""Goal: Java's client library proves who it is to fastzk as it does to ZooKeeper: over SASL (DIGEST-MD5), inside TLS with
a certificate of its own and without one, and with the super user's password.

Method: zkCli 3.9 with the options that ZooKeeper documents for each, at a ZooKeeper and at a node of fastzk that know the
same users and certificates; each step is a shell of its own, and the transcripts of all steps must be the same."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from zkshell import transcript

from fastzk.testing.certificates import Authority, Certificate, has_openssl
from fastzk.testing.ensemble import Ensemble, free_ports
from fastzk.testing.zookeeper import ZooKeeper

# The first time, Maven fetches the jars.
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not has_openssl(), reason="openssl is not installed (`apt-get install openssl`): no TLS is tested"),
]

USER, PASSWORD = "judge", "judge-secret"
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # of super:test, as ZooKeeper's documentation has it
JAAS = "org.apache.zookeeper.server.auth.DigestLoginModule required"
JAAS_SERVER = f'Server {{ {JAAS} user_{USER}="{PASSWORD}"; }};\n'
JAAS_CLIENT = f'Client {{ {JAAS} username="{USER}" password="{PASSWORD}"; }};\n'
NO_FIPS = "-Dzookeeper.fips-mode=false"  # without it, 3.9 does not use DIGEST-MD5

# What is done, over which port and as whom, in this order: each finds what those before it left.
SASL = """
whoami # 1
create /sasl mine sasl:judge:cdrwa
getAcl /sasl
set /sasl more
create /auth mine auth::cdrwa
getAcl /auth
"""
NOBODY = """
whoami
get /sasl
get /auth
create /wrong mine auth::cdrwa
addauth digest super:wrong
get /sasl
"""
SUPERUSER = """
addauth digest super:test
whoami
get /sasl
setAcl /auth world:anyone:r
"""
CERTIFIED = """
whoami
get /sasl
create /x509 mine x509:CN=client:cdrwa
create /x509/auth mine auth::cdrwa
getAcl /x509/auth
set /x509 more
get /auth
"""
UNCERTIFIED = """
whoami
get /x509
create /open open
"""


@dataclass(frozen=True, slots=True)
class Secured:
    """A server: where it listens in the open, and inside TLS."""

    plain: str
    tls: str


@dataclass(frozen=True, slots=True)
class Files:
    """What both servers and their clients are given."""

    home: Path
    authority: Authority
    server: Certificate
    client: Certificate

    def jaas(self, name: str) -> str:
        """The option that names a file with a JAAS section."""
        return f"-Djava.security.auth.login.config={self.home / name}"

    def store(self, certificate: Certificate) -> list[str]:
        """ZooKeeper's options for a certificate with its key, and for whom to believe."""
        both = certificate.certificate.with_suffix(".both.pem")
        both.write_text(certificate.key.read_text() + certificate.certificate.read_text())
        stores = {"trustStore": self.authority.own.certificate, "keyStore": both}
        return [
            option
            for kind, path in stores.items()
            for option in (f"-Dzookeeper.ssl.{kind}.location={path}", f"-Dzookeeper.ssl.{kind}.type=PEM")
        ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    home = tmp_path_factory.mktemp("secured")
    authority = Authority(home)
    for name, text in {
        "server.jaas": JAAS_SERVER,
        "client.jaas": JAAS_CLIENT,
        "users": f"{USER}:{PASSWORD}\n",
        "super": SUPER,
    }.items():
        (home / name).touch(mode=0o600)
        (home / name).write_text(text)
    return Files(home, authority, authority.issue("server", "/CN=localhost"), authority.issue("client", "/CN=client"))


@pytest.fixture(scope="module")
def jars(java_jars: Callable[[str], str]) -> str:
    return java_jars("zookeeper-3.9")


@pytest.fixture(scope="module")
def reference(jars: str, files: Files, disk: Path) -> Iterator[Secured]:
    """A ZooKeeper that knows these users."""
    port = free_ports(1)[0]
    options = [files.jaas("server.jaas"), NO_FIPS, f"-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER}"]
    options += [*files.store(files.server), "-Dzookeeper.ssl.clientAuth=want"]
    options += ["-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory"]
    options += ["-Dzookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider"]
    options += ["-Dzookeeper.authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider"]
    with ZooKeeper(jars, disk, options, f"secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n") as server:
        yield Secured(server.zk_host, f"127.0.0.1:{port}")


@pytest.fixture(scope="module")
def judged(files: Files, disk: Path) -> Iterator[Secured]:
    """A node of fastzk that knows the same."""
    tls = f"127.0.0.1:{free_ports(1)[0]}"
    options = ["--sasl-users", str(files.home / "users"), "--super-digest-file", str(files.home / "super")]
    options += ["--zk-tls", tls, "--tls-cert", str(files.server.certificate), "--tls-key", str(files.server.key)]
    options += ["--tls-ca", str(files.authority.own.certificate), "--tls-client-auth", "want"]
    with Ensemble(1, disk, options) as node:
        yield Secured(node.zk_hosts, tls)


def steps(jars: str, files: Files, server: Secured) -> list[str]:
    """The transcripts of all steps."""
    secure = ["-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty", "-Dzookeeper.client.secure=true"]
    without = [option for option in files.store(files.client) if "trustStore" in option]
    plan: list[tuple[str, str, Sequence[str]]] = [
        (SASL, server.plain, [files.jaas("client.jaas"), NO_FIPS]),
        (NOBODY, server.plain, []),
        (SUPERUSER, server.plain, []),
        (CERTIFIED, server.tls, [*secure, *files.store(files.client)]),
        (UNCERTIFIED, server.tls, [*secure, *without]),
    ]
    found: list[str] = []
    for script, host, options in plan:
        found += transcript(jars, host, script, options)
    return found


def test_who_a_client_is_and_what_it_may_do(jars: str, files: Files, reference: Secured, judged: Secured) -> None:
    expected = steps(jars, files, reference)
    for proof in ("sasl: judge", "x509: CN=client", "super:"):
        assert proof in expected, f"the reference does not know {proof}: {expected}"
    differences = list(
        difflib.unified_diff(expected, steps(jars, files, judged), "with ZooKeeper", "with fastzk", n=4, lineterm="")
    )
    assert not differences, "\n".join(differences)
