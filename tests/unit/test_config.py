"""Goal: bad words on the command line get one clear line.  Method: each wrong form, and what its message must name."""

from pathlib import Path

import pytest

from fastzk import defs
from fastzk.config import (
    Address,
    ConfigError,
    check_timeouts,
    check_tls,
    parse_cpus,
    parse_listen,
    parse_peers,
    parse_words,
)
from fastzk.node.main import parse_arguments
from fastzk.node.process import share_cores

PEERS = "1=127.0.0.1:2881,2=127.0.0.1:2882,3=localhost:2883"


def test_peers_lists_every_node() -> None:
    peers = {1: Address("127.0.0.1", 2881), 2: Address("127.0.0.1", 2882), 3: Address("localhost", 2883)}
    assert parse_peers(PEERS, 2) == (peers, frozenset())
    assert parse_peers("", 7) == ({}, frozenset())


def test_a_peer_may_be_an_observer() -> None:
    peers, observers = parse_peers("1=127.0.0.1:2881:participant,2=[::1]:2882:observer", 2)
    assert (peers, observers) == ({1: Address("127.0.0.1", 2881), 2: Address("::1", 2882)}, {2})
    config = parse_arguments(["--peers", "1=127.0.0.1:2881,2=127.0.0.1:2882:observer"])
    assert (config.voters, config.observers) == ([1], {2})
    most = ",".join(f"{n}=127.0.0.1:{2880 + n}" + (":observer" if n > 15 else "") for n in range(1, 65))
    assert len(parse_peers(most, 1)[0]) == 64


def test_reconfig_is_allowed_unless_it_is_switched_off() -> None:
    assert parse_arguments([]).is_reconfig_enabled
    assert not parse_arguments(["--no-reconfig"]).is_reconfig_enabled


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1=127.0.0.1:2881,1=127.0.0.1:2882", "listed twice"),
        ("1=127.0.0.1:2881,2=127.0.0.1:2881", "127.0.0.1:2881 is listed twice"),
        ("2=127.0.0.1:2882", "not this one"),
        ("127.0.0.1:2881", "ID=HOST:PORT"),
        ("1=127.0.0.1", "HOST:PORT"),
        ("1=127.0.0.1:0", "1 to 65535"),
        ("1=127.0.0.1:x", "1 to 65535"),
        ("1=127.0.0.1:\u0664", "1 to 65535"),
        ("0=127.0.0.1:2881", "1 to 254"),
        ("255=127.0.0.1:2881", "1 to 254"),
        ("1=127.0.0.1:2881,", "ID=HOST:PORT"),
        ("1=10.0.0.1:2881", "loopback"),
        (",".join(f"{n}=127.0.0.1:{2880 + n}" for n in range(1, 18)), "17 voters; at most"),
        (",".join(f"{n}=127.0.0.1:{2880 + n}" + (":observer" if n > 1 else "") for n in range(1, 67)), "66 nodes; at most"),
        ("1=127.0.0.1:2881:observer", "observers only"),
        ("1=127.0.0.1:2881:learner", "1 to 65535"),
    ],
)
def test_unreadable_peers_are_named(text: str, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        parse_peers(text, 1)


@pytest.mark.parametrize("text", ["0.0.0.0:2181", "192.168.1.1:2181", "example.org:2181", "[::]:2181"])
def test_only_loopback_is_listened_on(text: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        parse_listen(text, "--zk")


def test_loopback_forms() -> None:
    assert parse_listen("[::1]:2181", "--zk") == Address("::1", 2181)
    assert parse_listen("127.1.2.3:2181", "--zk").is_loopback
    assert parse_listen("localhost:2181", "--zk").is_loopback


def test_cpus() -> None:
    assert parse_cpus("0,2,4-6,2") == (0, 2, 4, 5, 6)
    for text in ("", "a", "1-", "-1", "3-1", "0-99999999"):
        with pytest.raises(ConfigError):
            parse_cpus(text)


def test_processes_have_cores_of_their_own_where_there_are_enough() -> None:
    assert share_cores([0, 1, 5], 3, is_pinned=True) == [[0], [1], [5]]
    assert share_cores([0, 1], 3, is_pinned=True) == [[0, 1]] * 3
    assert share_cores([0, 1, 5], 2, is_pinned=False) == [[0, 1, 5]] * 2


def test_an_operator_may_consent_to_listen_beyond_loopback() -> None:
    with pytest.raises(ConfigError, match="--insecure-listen"):
        parse_arguments(["--zk", "0.0.0.0:2181"])
    config = parse_arguments(["--zk", "0.0.0.0:2181", "--native", "[::]:2281", "--insecure-listen"])
    assert (config.zk, config.native) == (Address("0.0.0.0", 2181), Address("::", 2281))
    with pytest.raises(ConfigError, match=r"--peers: node 2.*loopback"):
        parse_arguments(["--peers", "1=127.0.0.1:2881,2=10.0.0.2:2881"])


def test_words_that_are_answered() -> None:
    assert parse_words("*") == parse_words("ruok, *") == defs.WORDS
    assert parse_words("ruok, mntr,") == {"ruok", "mntr", "srvr"}
    assert parse_words("") == {"srvr"}
    assert parse_arguments([]).words == defs.WORDS_OFFERED < defs.WORDS
    with pytest.raises(ConfigError, match="'mtnr' is none of conf,cons"):
        parse_words("mtnr")


def test_session_timeouts_follow_the_tick_unless_they_are_given() -> None:
    config = parse_arguments(["--tick-time", "500"])
    assert (config.session_timeout_ms_min, config.session_timeout_ms_max, config.leaderless_ms_max) == (1000, 10_000, 2000)
    config = parse_arguments(["--min-session-timeout", "6000", "--max-session-timeout", "7000"])
    assert (config.session_timeout_ms_min, config.session_timeout_ms_max, config.leaderless_ms_max) == (6000, 7000, 3000)
    config = parse_arguments(["--min-session-timeout", "60000"])
    assert config.session_timeout_ms_max == 60_000, "never below the smallest"


@pytest.mark.parametrize(
    ("tick_ms", "low_ms", "high_ms", "names"),
    [
        (50, None, None, "--tick-time 50"),
        (2000, 0, None, "--min-session-timeout 0"),
        (2000, None, 2**31, "--max-session-timeout"),
        (2000, None, 3000, "below the smallest session timeout, 4000"),
        (2000, 9000, 8000, "below the smallest session timeout, 9000"),
    ],
)
def test_timeouts_that_cannot_be(tick_ms: int, low_ms: int | None, high_ms: int | None, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        check_timeouts(tick_ms, low_ms, high_ms)


def test_tls_needs_a_certificate_and_whom_to_believe() -> None:
    assert check_tls("", "", "", "", "need") is None
    tls = check_tls("0.0.0.0:2182", "cert.pem", "", "ca.pem", "need")
    assert tls is not None
    assert (tls.address, tls.key, tls.authorities) == (Address("0.0.0.0", 2182), Path("cert.pem"), Path("ca.pem"))
    assert check_tls("0.0.0.0:2182", "cert.pem", "key.pem", "", "none") is not None
    for arguments, names in [
        (("", "cert.pem", "", "", "need"), "--tls-cert: is for --zk-tls"),
        (("localhost:2182", "", "", "ca.pem", "need"), "needs --tls-cert"),
        (("localhost:2182", "cert.pem", "", "", "need"), "needs --tls-ca"),
        (("localhost:2182", "cert.pem", "", "", "want"), "needs --tls-ca"),
    ]:
        with pytest.raises(ConfigError, match=names):
            check_tls(*arguments)
    with pytest.raises(ConfigError, match=r"--zk-tls 127\.0\.0\.1:2181: the same address"):
        parse_arguments(["--zk-tls", "127.0.0.1:2181", "--tls-cert", "c", "--tls-ca", "a"])


def test_other_options_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="--max-client-cnxns -1"):
        parse_arguments(["--max-client-cnxns", "-1"])
    assert parse_arguments(["--max-client-cnxns", "0"]).connections_per_address_max == 0


def test_secrets_are_not_told(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("bob:top-secret\n")
    users.chmod(0o600)
    config = parse_arguments(["--sasl-users", str(users)])
    assert config.sasl_users == {"bob": "top-secret"}
    assert "top-secret" not in repr(config)
