"""Goal: clients prove who they are to a real node as to ZooKeeper: digest, the operator's super, SASL; secrets stay where they are.

Method: kazoo with add_auth and with pure-sasl, Java's own client with a JAAS file, and a search for the secrets in whatever the
node shows of itself."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError
from kazoo.security import make_acl, make_digest_acl

from fastzk.node.credentials import digest_of
from fastzk.testing import maven
from fastzk.testing.ensemble import Ensemble, Node, monitored, wait_for

pytestmark = pytest.mark.process

SECONDS = 20.0
SECRETS = ("adm-in-secret", "bob-secret")
SUPER = digest_of("super:adm-in-secret")
POM = Path(__file__).parents[1] / "compat" / "java" / "zookeeper-3.9" / "pom.xml"
WHO = """
import org.apache.zookeeper.*;
public class Who {
    public static void main(String[] arguments) throws Exception {
        java.util.concurrent.CountDownLatch done = new java.util.concurrent.CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(arguments[0], 10000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SaslAuthenticated
                || event.getState() == Watcher.Event.KeeperState.AuthFailed) {
                System.out.println(event.getState());
                done.countDown();
            }
        });
        if (done.await(20, java.util.concurrent.TimeUnit.SECONDS)) {
            System.out.println(client.whoAmI());
        }
        client.close(500);
    }
}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("who")
    for name, text in (("super", SUPER), ("users", "bob:bob-secret\n")):
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)
    options = ["--super-digest-file", str(directory / "super"), "--sasl-users", str(directory / "users"), "--workers", "2"]
    with Ensemble(1, directory, options) as ensemble:
        yield ensemble.node(1)


@contextlib.contextmanager
def client(node: Node, **options: object) -> Iterator[KazooClient]:
    found = KazooClient(node.zk_host, **options)
    found.start(timeout=SECONDS)
    try:
        yield found
    finally:
        found.stop()
        found.close()


def test_a_digest_opens_what_it_closed(node: Node) -> None:
    with client(node) as ann, client(node) as eve:
        ann.add_auth("digest", "ann:ann-secret")
        ann.create("/ann", b"mine", acl=[make_digest_acl("ann", "ann-secret", all=True)])
        assert ann.get("/ann")[0] == b"mine"
        with pytest.raises(NoAuthError):
            eve.get("/ann")
        eve.add_auth("digest", "ann:wrong")
        with pytest.raises(NoAuthError):
            eve.get("/ann")


def test_the_operators_super_may_do_everything(node: Node) -> None:
    with client(node) as ann, client(node) as operator:
        ann.create("/nobodys", b"", acl=[make_digest_acl("ann", "ann-secret", all=True)])
        operator.add_auth("digest", "super:adm-in-secret")
        assert operator.get("/nobodys")[0] == b""
        operator.delete("/nobodys")


def test_an_unknown_scheme_ends_the_connection(node: Node) -> None:
    before = int(monitored(node.zk)["zk_auth_failed_count"])
    with client(node) as ann, pytest.raises(AuthFailedError):
        ann.add_auth("nope", "ann:ann-secret")
    wait_for(lambda: int(monitored(node.zk)["zk_auth_failed_count"]) > before, SECONDS, "the failure to be counted")


def test_kazoo_comes_in_over_sasl(node: Node) -> None:
    pytest.importorskip("puresasl", reason="pip install pure-sasl")
    options = {"mechanism": "DIGEST-MD5", "username": "bob", "password": "bob-secret"}
    with client(node, sasl_options=options) as bob, client(node) as eve:
        bob.create("/bob", b"", acl=[make_acl("sasl", "bob", all=True)])
        assert bob.get("/bob")[0] == b""
        with pytest.raises(NoAuthError):
            eve.get("/bob")
    before = int(monitored(node.zk)["zk_auth_failed_count"])
    wrong = KazooClient(node.zk_host, sasl_options=options | {"password": "wrong"})
    wrong.start_async()
    try:
        wait_for(lambda: int(monitored(node.zk)["zk_auth_failed_count"]) > before, SECONDS, "the password to be refused")
        with pytest.raises(KazooException):
            wrong.get_async("/bob").get(timeout=SECONDS)
    finally:
        wrong.stop()
        wrong.close()


def test_java_comes_in_over_sasl(node: Node, tmp_path: Path) -> None:
    try:
        jars = maven.classpath(POM)
        source = tmp_path / "Who.java"
        source.write_text(WHO)
        classes = maven.compiled([source], jars)
    except maven.Unavailable as missing:
        pytest.skip(f"Java's client is not judged: {missing}")
    for password, expected in (("bob-secret", "SaslAuthenticated"), ("wrong", "AuthFailed")):
        jaas = tmp_path / "jaas.conf"
        module = "org.apache.zookeeper.server.auth.DigestLoginModule"
        jaas.write_text(f'Client {{ {module} required username="bob" password="{password}"; }};\n')
        command = ["java", "-Xmx256m", f"-Djava.security.auth.login.config={jaas}", "-Dzookeeper.fips-mode=false"]
        done = subprocess.run(
            [*command, "-cp", f"{jars}{os.pathsep}{classes}", "Who", node.zk_host],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert expected in done.stdout, done.stdout + done.stderr
        assert ("'sasl,'bob" in done.stdout) is (password == "bob-secret"), done.stdout


def test_secrets_are_neither_in_the_list_of_processes_nor_in_the_log(node: Node) -> None:
    shown = node.log_path.read_text(errors="replace")
    for pid in node.pids():
        shown += Path(f"/proc/{pid}/cmdline").read_text()
    for secret in (*SECRETS, SUPER.partition(":")[2], "ann-secret"):
        assert secret not in shown
