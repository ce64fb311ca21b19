"""Goal: ZooKeeper's protocol inside TLS: who is let in, who they are then, and that nothing of it can hold the node up.

Method: a real node with real certificates, made with openssl; kazoo, and plain sockets under Python's ssl."""

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from fastzk.data import OPEN_ACL_UNSAFE
from fastzk.testing.certificates import Authority, Certificate, has_openssl
from fastzk.testing.ensemble import Ensemble, Node, free_ports, monitored, process_name, wait_for
from fastzk.wire.jute import IDS, decode_fields
from fastzk.wire.records import Create, GetData, RequestHeader, encode_request

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not has_openssl(), reason="the openssl command is not installed (apt-get install openssl): no TLS is tested"
    ),
]

SECONDS = 20.0
CLIENT_NAME = '/C=DE/O=Acme, "Inc."/OU= lead/emailAddress=a@b.c/CN=client=1'
# What ZooKeeper 3.9.5 makes of it: Java's X500Principal.getName().
CLIENT_ID = r"CN=client\=1,1.2.840.113549.1.9.1=#16056140622e63,OU=\ lead,O=Acme\, \"Inc.\",C=DE"
CONNECT = struct.pack(">iqiqi16s", 0, 0, 10_000, 0, 16, b"")


@dataclass(frozen=True, slots=True)
class Site:
    """A node behind TLS, and all the certificates around it."""

    node: Node
    port: int
    authority: Authority
    server: Certificate
    client: Certificate
    stranger: Certificate  # of another authority

    def context(self, certificate: Certificate | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.own.certificate))
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context

    @contextlib.contextmanager
    def connected(self, certificate: Certificate | None) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self.port), SECONDS) as plain,
            self.context(certificate).wrap_socket(plain, server_hostname="localhost") as stream,
        ):
            yield stream


@contextlib.contextmanager
def site(directory: Path, *options: str) -> Iterator[Site]:
    authority = Authority(directory)
    server, client = authority.issue("server", "/CN=localhost"), authority.issue("client", CLIENT_NAME)
    (directory / "other").mkdir()
    stranger = Authority(directory / "other").issue("stranger", "/CN=stranger")
    port = free_ports(1)[0]
    tls = ["--zk-tls", f"127.0.0.1:{port}", "--tls-cert", str(server.certificate), "--tls-key", str(server.key)]
    with Ensemble(1, directory, [*tls, "--tls-ca", str(authority.own.certificate), "--workers", "2", *options]) as ensemble:
        yield Site(ensemble.node(1), port, authority, server, client, stranger)


@pytest.fixture(scope="module")
def needing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node that wants to see a certificate of everybody, as by default."""
    with site(tmp_path_factory.mktemp("tls")) as found:
        yield found


def exactly(stream: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def received(stream: ssl.SSLSocket) -> bytes:
    return exactly(stream, struct.unpack(">i", exactly(stream, 4))[0])


def framed(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def identities(stream: ssl.SSLSocket) -> set[tuple[str, str]]:
    """Connects a session and asks whoAmI."""
    stream.sendall(framed(CONNECT))
    received(stream)
    stream.sendall(framed(struct.pack(">ii", 1, 107)))
    (found,), _ = decode_fields([IDS], received(stream)[16:])
    return {(each.scheme, each.id) for each in found}


def test_kazoo_comes_in_with_a_certificate(needing: Site) -> None:
    client = KazooClient(
        f"localhost:{needing.port}",
        use_ssl=True,
        ca=str(needing.authority.own.certificate),
        certfile=str(needing.client.certificate),
        keyfile=str(needing.client.key),
    )
    client.start(timeout=SECONDS)
    try:
        client.create("/kazoo", b"over TLS", ephemeral=True)
        assert client.get("/kazoo")[0] == b"over TLS"
    finally:
        client.stop()
        client.close()


def test_a_certificate_makes_an_identity_as_zookeeper_writes_it(needing: Site) -> None:
    with needing.connected(needing.client) as stream:
        assert identities(stream) == {("x509", CLIENT_ID), ("ip", "127.0.0.1")}


def test_who_has_no_certificate_or_another_authoritys_is_not_let_in(needing: Site) -> None:
    for certificate in (None, needing.stranger):
        with pytest.raises((ssl.SSLError, OSError, EOFError)), needing.connected(certificate) as stream:
            identities(stream)
    assert "no TLS with a client at 127.0.0.1" in needing.node.log_tail()


def s_client(found: Site, *options: str, says: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """openssl as the client."""
    where = ("-connect", f"127.0.0.1:{found.port}", "-CAfile", str(found.authority.own.certificate))
    who = ("-cert", str(found.client.certificate), "-key", str(found.client.key))
    return subprocess.run(
        ["openssl", "s_client", *where, *who, *options],
        input=says,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def test_old_versions_of_tls_are_refused(needing: Site) -> None:
    weakest = ("-cipher", "DEFAULT@SECLEVEL=0")
    assert s_client(needing, "-tls1_1", *weakest).returncode != 0
    for newer in ("-tls1_2", "-tls1_3"):
        assert s_client(needing, newer, *weakest).returncode == 0


def test_a_client_that_wants_no_tls_is_let_go_of(needing: Site) -> None:
    with socket.create_connection(("127.0.0.1", needing.port), SECONDS) as plain:
        plain.sendall(framed(CONNECT))
        with contextlib.suppress(ConnectionResetError):
            while plain.recv(4096):
                pass  # the alert, if it comes


def test_four_letter_words_come_over_tls_as_well(needing: Site) -> None:
    for word, expected in ((b"ruok", "imok"), (b"srvr", "Mode: standalone")):
        with needing.connected(needing.client) as stream:
            stream.sendall(word)
            answer = b""
            with contextlib.suppress(ssl.SSLEOFError):
                while part := stream.recv(65536):
                    answer += part
            assert expected in answer.decode()


def test_openssl_s_client_sees_the_chain(needing: Site) -> None:
    done = s_client(needing, "-verify_return_error", "-quiet", says=b"ruok")
    assert b"imok" in done.stdout, done.stderr.decode()


def test_megabytes_go_both_ways_and_who_does_not_read_is_waited_for(needing: Site) -> None:
    """Backpressure: the client sends requests for 200 MB of answers before it reads any; the gate must not keep them."""
    data = os.urandom(900_000)
    count = 200
    with needing.connected(needing.client) as stream:
        stream.sendall(framed(CONNECT))
        received(stream)
        stream.sendall(framed(RequestHeader(1, 1).encode() + encode_request(Create("/large", data, list(OPEN_ACL_UNSAFE), 1))))
        received(stream)
        for xid in range(2, count + 2):
            stream.sendall(framed(RequestHeader(xid, 4).encode() + encode_request(GetData("/large", False))))
        gate = next(pid for pid in needing.node.pids() if process_name(pid).endswith("-gate"))
        sizes: list[int] = []

        def is_steady() -> bool:
            """True when the gate has not grown over many looks, each of which is a question to the node."""
            assert monitored(needing.node.zk)
            sizes.append(int(Path(f"/proc/{gate}/statm").read_text().split()[1]) * 4096)
            return len(sizes) > 50 and max(sizes[-50:]) == sizes[-50]

        wait_for(is_steady, SECONDS, "the gate to take no more")
        assert sizes[-1] < 120 << 20, f"the gate holds {sizes[-1] >> 20} MB"
        for xid in range(2, count + 2):
            answer = received(stream)
            assert struct.unpack(">i", answer[:4])[0] == xid
            assert answer[20 : 20 + len(data)] == data


def test_many_at_once_are_spread_over_the_workers(needing: Site) -> None:
    with contextlib.ExitStack() as open_streams:
        for _ in range(12):
            identities(open_streams.enter_context(needing.connected(needing.client)))
        assert int(monitored(needing.node.zk)["zk_tls_connections"]) == 12
    wait_for(lambda: monitored(needing.node.zk)["zk_tls_connections"] == "0", SECONDS, "the gate to see that they have gone")


def test_hanging_handshakes_hold_nobody_up(needing: Site) -> None:
    with contextlib.ExitStack() as hanging:
        for _ in range(40):
            hanging.enter_context(socket.create_connection(("127.0.0.1", needing.port), SECONDS))
        wait_for(lambda: int(monitored(needing.node.zk)["zk_outstanding_tls_handshake"]) >= 40, SECONDS, "the handshakes to hang")
        with needing.connected(needing.client) as stream:
            assert identities(stream)


def test_new_certificates_are_used_and_broken_ones_are_not(tmp_path: Path) -> None:
    def shown(found: Site) -> bytes | None:
        with found.connected(found.client) as stream:
            return stream.getpeercert(binary_form=True)

    with site(tmp_path) as found, found.connected(found.client) as early:
        before, good = shown(found), found.server.certificate.read_bytes()
        found.server.certificate.write_text("this is no certificate\n")
        wait_for(lambda: "cannot be used" in found.node.log_tail(), SECONDS, "the gate to notice the broken file")
        assert shown(found) == before
        found.server.certificate.write_bytes(good)
        new = found.authority.issue("new", "/CN=localhost/O=new")
        shutil.copy(new.key, found.server.key)
        shutil.copy(new.certificate, found.server.certificate)
        wait_for(lambda: shown(found) != before, SECONDS, "the new certificate to be in use")
        assert identities(early), "who was there before is still served"


def test_a_certificate_may_be_wanted_only_or_not_asked_for(tmp_path: Path) -> None:
    for choice, has_name in (("want", True), ("none", False)):
        (tmp_path / choice).mkdir()
        with site(tmp_path / choice, "--tls-client-auth", choice) as found:
            with found.connected(None) as stream:
                assert identities(stream) == {("ip", "127.0.0.1")}
            with found.connected(found.client) as stream:
                assert (("x509", CLIENT_ID) in identities(stream)) is has_name


def test_a_killed_gate_is_replaced(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        gates = [pid for pid in found.node.pids() if process_name(pid).endswith("-gate")]
        os.kill(gates[0], 9)

        def is_back() -> bool:
            with contextlib.suppress(OSError, EOFError), found.connected(found.client) as stream:
                return bool(identities(stream))
            return False

        wait_for(is_back, SECONDS, "the gate to be started anew")
        assert found.node.stop() == 0
