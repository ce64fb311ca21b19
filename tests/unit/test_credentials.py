"""Goal: credentials are judged as ZooKeeper 3.9 judges them, and secrets stay secret.

Method: requests as ZooKeeper's clients encode them; digests made with sha1 and base64 by hand; an exchange of SASL as Java's
server has had it (its tokens are below), and pure-sasl, which kazoo uses, as the foreign client."""

import base64
import hashlib
import itertools
import os
import struct
from pathlib import Path

import pytest

from fastzk.config import ConfigError
from fastzk.data import Id
from fastzk.node.credentials import Credentials, digest_of
from fastzk.node.sasl import DigestServer, SaslFailed, parse_directives
from fastzk.node.secret_files import read_super_digest, read_users

AUTH, SASL = 100, 102
AUTH_FAILED = -115
SUPER = "super:" + base64.b64encode(hashlib.sha1(b"super:adm:in").digest()).decode()
USERS = {"bob": "bobsecret", "jürgen": "pässword", "李": "密"}


def packed(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def auth(scheme: bytes, secret: bytes | None) -> bytes:
    return struct.pack(">i", 0) + packed(scheme) + packed(secret)


def judge(**options: str) -> Credentials:
    counter = itertools.count()
    return Credentials(options.get("digest", SUPER), USERS, lambda size: next(counter).to_bytes(size, "big"))


def test_a_digest_is_the_sha1_of_user_and_password() -> None:
    verdict = judge().judge(1, AUTH, auth(b"digest", b"bob:secret"))
    expected = "bob:" + base64.b64encode(hashlib.sha1(b"bob:secret").digest()).decode()
    assert (verdict.err, verdict.identities, verdict.token) == (0, (Id("digest", expected),), None)


@pytest.mark.parametrize("secret", [b"", b"nobody", b"bob:", b":", b"bob:se:cr:et", "bób:密".encode()])
def test_any_secret_is_a_digest_of_what_stands_before_its_colon(secret: bytes) -> None:
    (identity,) = judge().judge(1, AUTH, auth(b"digest", secret)).identities
    assert identity == Id(
        "digest", f"{secret.decode().partition(':')[0]}:{base64.b64encode(hashlib.sha1(secret).digest()).decode()}"
    )


def test_bytes_that_are_no_text_are_replaced_as_java_does() -> None:
    (identity,) = judge().judge(1, AUTH, auth(b"digest", b"\xff\xfe:x")).identities
    assert identity.id == digest_of("\ufffd\ufffd:x")


@pytest.mark.parametrize("scheme", [None, b"\xff"])
def test_a_scheme_that_is_no_text_is_one_that_nobody_knows(scheme: bytes | None) -> None:
    body = struct.pack(">i", 0) + packed(scheme) + packed(b"bob:secret")
    assert judge().judge(1, AUTH, body).err == AUTH_FAILED


def test_the_operators_digest_makes_super_as_well() -> None:
    assert judge().judge(1, AUTH, auth(b"digest", b"super:adm:in")).identities == (Id("digest", SUPER), Id("super", ""))
    assert len(judge().judge(1, AUTH, auth(b"digest", b"super:other")).identities) == 1
    assert len(judge(digest="").judge(1, AUTH, auth(b"digest", b"")).identities) == 1, "no digest of the operator matches nobody"


def test_an_address_is_granted_already_and_gains_nothing() -> None:
    for claimed in (b"1.2.3.4", None):
        verdict = judge().judge(1, AUTH, auth(b"ip", claimed))
        assert (verdict.err, verdict.identities) == (0, ())


@pytest.mark.parametrize("scheme", [b"world", b"auth", b"x509", b"sasl", b"super", b"", b"nope"])
def test_other_schemes_fail(scheme: bytes) -> None:
    credentials = judge()
    assert credentials.judge(1, AUTH, auth(scheme, b"super:adm:in")).err == AUTH_FAILED
    assert credentials.judge(1, AUTH, auth(b"digest", None)).err == AUTH_FAILED
    assert credentials.failed_count == 2


@pytest.mark.parametrize(("op", "body"), [(AUTH, b""), (AUTH, auth(b"digest", b"a:b")[:-1]), (SASL, b"\0\0\0\5a"), (SASL, b"")])
def test_what_is_cut_short_is_not_read(op: int, body: bytes) -> None:
    verdict = judge().judge(1, op, body)
    assert (verdict.err, verdict.identities) == (-5, ())


# ---- SASL


def exchange(user: str, password: str, **changes: str) -> tuple[int, tuple[Id, ...], bytes | None]:
    """One exchange with pure-sasl as the client, whose response is changed before it is sent."""
    client_module = pytest.importorskip("puresasl.client", reason="pip install pure-sasl")
    credentials = judge()
    challenge = credentials.judge(7, SASL, packed(b""))
    assert (challenge.err, challenge.identities) == (0, ())
    client = client_module.SASLClient(
        host="zk-sasl-md5", service="zookeeper", mechanism="DIGEST-MD5", username=user, password=password
    )
    response = client.process(challenge.token)
    for old, new in changes.items():
        assert old.encode() in response
        response = response.replace(old.encode(), new.encode())
    verdict = credentials.judge(7, SASL, packed(response))
    if not verdict.err:
        again = credentials.judge(7, SASL, packed(response))
        assert (again.identities, b"nonce=" in (again.token or b"")) == ((), True), "a response that was heard is worth nothing"
        client.process(verdict.token)
        assert client.complete, "the client believes the server"
    return verdict.err, verdict.identities, verdict.token


def test_a_user_of_sasl_is_known_by_name() -> None:
    assert exchange("bob", "bobsecret")[:2] == (0, (Id("sasl", "bob"),))


@pytest.mark.parametrize(("user", "password"), [("bob", "wrong"), ("bob", ""), ("eve", "bobsecret"), ("eve", "\0")])
def test_a_wrong_password_and_a_stranger_fail_alike(user: str, password: str) -> None:
    assert exchange(user, password) == (AUTH_FAILED, (), None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("zookeeper/zk-sasl-md5", "zookeeper/elsewhere"),
        ("zookeeper/zk-sasl-md5", "ldap/zk-sasl-md5"),
        ("nc=00000001", "nc=00000002"),
        ("nonce=", "once="),
        ("qop=auth", "qop=auth-conf"),
        ("username=", 'realm="zk-sasl-md5",username='),
    ],
)
def test_a_response_to_something_else_fails(old: str, new: str) -> None:
    assert exchange("bob", "bobsecret", **{old: new})[0] == AUTH_FAILED


def test_a_response_counts_once() -> None:
    """Whoever hears a response and says it again is challenged anew."""
    server = DigestServer(USERS, "fixed")
    said = parse_directives(RECORDED_RESPONSE)
    assert said["username"] == "bob"
    with pytest.raises(SaslFailed, match="nonce"):
        server.answer(RECORDED_RESPONSE)
    credentials = judge()
    first = credentials.judge(1, SASL, packed(b""))
    assert credentials.judge(1, SASL, packed(b"nonsense")).err == AUTH_FAILED
    assert credentials.judge(1, SASL, packed(RECORDED_RESPONSE)).token != first.token
    challenge = credentials.judge(2, SASL, packed(RECORDED_RESPONSE)).token
    assert challenge is not None
    assert challenge.startswith(b'realm="zk-sasl-md5",nonce="')


# What Java's client (JDK 17) and a ZooKeeper 3.9.5 said to each other, for user bob with password bobsecret.
RECORDED_NONCE = "ZbsZmtVKMeT69b8/mD8mg422SkR4Jr4aCMBoNpVV"
RECORDED_RESPONSE = (
    b'charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="ZbsZmtVKMeT69b8/mD8mg422SkR4Jr4aCMBoNpVV",nc=00000001,'
    b'cnonce="yM55OLq62solyFTx9/6vafbtoqNyeY6QScpD7ppV",digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response=0e6'
    b'729436764d9a96f7c529fbfd676b3,qop=auth,authzid="bob"'
)
RECORDED_ANSWER = b"rspauth=458b80c0f347fb979efdcc3d9278ea7f"


def test_java_s_client_is_believed_and_gets_the_answer_that_java_s_server_gave() -> None:
    server = DigestServer(USERS, RECORDED_NONCE)
    assert server.answer(RECORDED_RESPONSE) == ("bob", RECORDED_ANSWER)


def test_names_and_passwords_of_any_script() -> None:
    for user, password in USERS.items():
        assert exchange(user, password)[:2] == (0, (Id("sasl", user),))


def test_without_users_every_token_is_answered_with_none() -> None:
    """As ZooKeeper without SASL: the client's library then goes on without it."""
    verdict = Credentials("", {}, bytes).judge(1, SASL, packed(b""))
    assert (verdict.err, verdict.identities, verdict.token) == (0, (), None)


@pytest.mark.parametrize("token", [b"a", b'a="', b'a="b', b"a=b,a=c", b"=b", b'a="\\', b"x" * 5000, b"\xff=\xff"])
def test_tokens_of_no_form_fail(token: bytes) -> None:
    with pytest.raises(SaslFailed):
        DigestServer(USERS, "n").answer(token)


def test_hanging_exchanges_cost_nothing() -> None:
    credentials = judge()
    for slot in range(5000):
        assert credentials.judge(slot, SASL, packed(b"")).err == 0
    assert len(credentials._exchanges) <= 4096


# ---- the operator's files


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_logins_that_fail_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    credentials = judge()
    for connection in range(100):
        credentials.judge(connection, SASL, packed(b""))
        nonsense = b'nonce="' + "\x85".encode() * 2000 + b'"'
        assert credentials.judge(connection, SASL, packed(nonsense)).err == AUTH_FAILED
    assert len(caplog.messages) == 10
    assert max(map(len, caplog.messages)) < 400


def test_users_come_from_a_private_file(tmp_path: Path) -> None:
    path = private(tmp_path / "users", "# people\nbob:bobsecret\n\njürgen:a:b\n")
    assert read_users(path) == {"bob": "bobsecret", "jürgen": "a:b"}
    assert read_users("") == {}


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("bob:top-secret\n", 0o644, "chmod 600"),
        ("bob:top-secret\n", 0o620, "chmod 600"),
        ("bob:top-secret\nbob:top-secret\n", 0o600, "line 2: the user stands there twice"),
        ("top-secret\n", 0o600, "line 1: expected USER:PASSWORD"),
        (":top-secret\n", 0o600, "line 1"),
        ("top-secret:\n", 0o600, "line 1"),
        ("bob@REALM:top-secret\n", 0o600, "line 1"),
        ("# nobody\n", 0o600, "no users"),
    ],
)
def test_a_file_of_users_that_will_not_do_is_named_and_not_quoted(tmp_path: Path, text: str, mode: int, says: str) -> None:
    path = private(tmp_path / "users", text, mode)
    with pytest.raises(ConfigError, match=says) as caught:
        read_users(path)
    assert "top-secret" not in str(caught.value)
    assert path in str(caught.value)


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_users(str(tmp_path / "none"))
    path = tmp_path / "binary"
    path.write_bytes(b"bob:\xff\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="UTF-8"):
        read_users(str(path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConfigError, match="is no file"):
        read_users(str(pipe))


def test_the_digest_of_super_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    path = private(tmp_path / "digest", SUPER + "\n")
    assert read_super_digest(path, {}) == read_super_digest("", {"FASTZK_SUPER_DIGEST": SUPER}) == SUPER
    assert read_super_digest("", {}) == ""
    for wrong in ("super:adm:in", "super", SUPER[:-1], "super:" + "A" * 28, ""):
        with pytest.raises(ConfigError, match="--super-digest-file") as caught:
            read_super_digest(private(tmp_path / "digest", wrong), {})
        assert "adm:in" not in str(caught.value)
    with pytest.raises(ConfigError, match="FASTZK_SUPER_DIGEST"):
        read_super_digest("", {"FASTZK_SUPER_DIGEST": "super:adm:in"})
    with pytest.raises(ConfigError, match="chmod 600"):
        read_super_digest(private(tmp_path / "digest", SUPER, 0o640), {})
