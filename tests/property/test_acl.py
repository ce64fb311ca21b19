"""Goal: an ACL permits exactly what it says to exactly those it names, and only those that can be judged are stored.

Method: hypothesis draws entries and identities from pieces that meet often; fastzk.testing.acls, which judges addresses by
Python's ipaddress, says what must come out.  Vectors that are cut or garbled must be refused, never misread."""

import ipaddress
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastzk._core.acl import cleaned, masked, permits
from fastzk._core.address import is_in_network, is_network
from fastzk.testing import acls
from fastzk.testing.acls import ACL_COUNT_MAX, Entry, Identity, pack_acl, pack_identities
from fastzk.testing.model import Reader, WriteError

SCHEMES = [b"world", b"digest", b"ip", b"auth", b"sasl", b"x509", b"super", b"other", b"", None]
NETWORKS = [
    *["10.0.0.1", "10.0.0.0/8", "10.0.0.0/32", "10.0.0.0/33", "10.0.0/8", "10.0.0.256", "1.2.3.4/", "1.2.3.4/x"],
    *["1.2.3.4/0008", "01.2.3.4", "1.2.3.4/8/8", "1.2.3.4/-1", "/8", "0.0.0.0/0", "10.1.2.3/9", "10.128.0.0/9", "10.0.0.1/31"],
    *["::", ":::", "1::", ":1", "1:", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8::", "1::2::3", "12345::", "g::"],
    *["::1.2.3.4", "::1.2.3", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::FFff", "1:2:3:4:5:6:7", "..."],
    *["::1", "fe80::/128", "fe80::/129", "::1\x00", "fe80::1%lo", "::/0", "fe80::/10", "::ffff:10.0.0.1", "::ffff:a00:0/104"],
    *["1::8", "0001:0::0:8", "febf::1", "fec0::1", "1.2.3.4.5", "0:0:0:0:0:0:0::1", "1:2:3:4:5:6:7:8:9", ""],
]
NAMES = [b"anyone", b"user:hash", b"a:b:", b":b", b"a:", b"::", b"a::b", b"super", b"CN=a", None, *map(str.encode, NETWORKS)]
PEERS = st.one_of(
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address).map(str),
    st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address).map(str),
    st.integers(0, 2**32 - 1).map(lambda value: f"::ffff:{ipaddress.IPv4Address(value)}"),
    st.sampled_from([text for text in NETWORKS if "/" not in text]),
)
ANY_NAME = st.one_of(st.sampled_from(NAMES), st.text("0123456789abcdef.:/%", max_size=20).map(str.encode))
PIECES = st.sampled_from([":", ":", ":", "::", "1:", "ff:", "abcd:", "12345", ".", "1.2.3.4", "0", "00", "255", "256", "g"])
ENTRIES = st.tuples(st.integers(-1, 32), st.sampled_from(SCHEMES), ANY_NAME)
LIKELY_ENTRIES = st.sampled_from(
    [
        *[(31, b"world", b"anyone"), (1, b"world", b"anyone"), (2, b"digest", b"a:b"), (3, b"auth", b""), (3, b"auth", None)],
        *[(3, b"digest", b"a:b"), (4, b"ip", b"10.0.0.0/8"), (1, b"sasl", b"bob"), (16, b"x509", b"CN=a")],
    ]
)
ACLS = st.lists(st.one_of(LIKELY_ENTRIES, ENTRIES), max_size=5)
IDENTITIES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *[(b"digest", b"a:b"), (b"digest", b"c:d"), (b"ip", b"10.0.0.1"), (b"ip", b"::ffff:10.2.3.4"), (b"ip", b"1::8")],
                *[(b"sasl", b"bob"), (b"sasl", b"super"), (b"x509", b"CN=a"), (b"super", b""), (b"other", b"anyone")],
            ]
        ),
        st.tuples(st.just(b"ip"), PEERS.map(str.encode)),
    ),
    max_size=4,
)


@settings(max_examples=400)
@given(ACLS, IDENTITIES)
@example([(31, b"world", b"anyone")] * ACL_COUNT_MAX, [])
@example([(31, b"world", b"anyone")] * (ACL_COUNT_MAX + 1), [])
@example([(perms, b"auth", b"") for perms in range(129)], [(b"digest", b"a:b"), (b"sasl", b"bob")])
@example([(perms, b"auth", b"") for perms in range(128)], [(b"digest", b"a:b"), (b"sasl", b"bob")])
@example([(1, b"auth", b""), (1, b"digest", b"a:b")], [(b"digest", b"a:b")])
def test_what_is_stored(acl: list[Entry], identities: list[Identity]) -> None:
    wanted = acls.judged(acl, identities)
    stored = cleaned(pack_acl(acl), pack_identities(identities))
    assert stored == (None if wanted is None else pack_acl(wanted))


@settings(max_examples=1000)
@given(ACLS, st.integers(0, 31), IDENTITIES)
def test_what_is_permitted(acl: list[Entry], perm: int, identities: list[Identity]) -> None:
    known = [(perms, scheme, name) for perms, scheme, name in acl if scheme is not None and name is not None]
    assert permits(pack_acl(known), perm, pack_identities(identities)) == acls.permits(known, perm, identities)
    assert permits(pack_acl(known), perm) == acls.permits(known, perm)


@given(ACLS)
def test_what_is_shown(acl: list[Entry]) -> None:
    known = [(perms, scheme, name) for perms, scheme, name in acl if scheme is not None and name is not None]
    assert masked(pack_acl(known)) == pack_acl(acls.masked(known))


@settings(max_examples=1000)
@given(st.lists(PIECES, max_size=10).map("".join))
def test_addresses(text: str) -> None:
    assert is_network(text.encode()) == (acls.network_of(text.encode()) is not None)


@settings(max_examples=1000)
@given(PEERS, st.one_of(st.integers(0, 33), st.integers(0, 129)), st.integers(0, 2**128 - 1), PEERS)
def test_networks(base: str, bits: int, noise: int, other: str) -> None:
    """Peers near the edge of the network: its own base with the last bits changed, and any other."""
    network = f"{base}/{bits}".encode()
    peers = [other, base]
    address = acls.address_of(base.encode())
    if address is not None:
        kind = type(address)
        width = address.max_prefixlen
        peers += [str(kind(int(address) ^ (noise & ((1 << size) - 1)))) for size in (width - min(bits, width), 1, width)]
        peers += [str(kind(int(address) ^ (1 << bit))) for bit in {0, width - 1, max(width - bits, 0) % width}]
    for peer in peers:
        expected = acls.is_meant(b"ip", network, (b"ip", peer.encode()))
        assert is_in_network(network, peer.encode()) == expected, (network, peer)


def test_every_id() -> None:
    for scheme in SCHEMES:
        for name in NAMES:
            wanted = acls.judged([(1, scheme, name)])
            assert cleaned(pack_acl([(1, scheme, name)])) == (None if wanted is None else pack_acl(wanted)), (scheme, name)


def test_every_network_against_every_peer() -> None:
    for network in NETWORKS:
        for peer in NETWORKS:
            expected = acls.is_meant(b"ip", network.encode(), (b"ip", peer.encode()))
            assert is_in_network(network.encode(), peer.encode()) == expected, (network, peer)


@given(st.binary(max_size=60), st.integers(-2, 3))
def test_random_vectors(tail: bytes, count: int) -> None:
    vector = struct.pack(">i", count) + tail
    reader = Reader(vector)
    wanted: bytes | str | None = "not a vector"
    try:
        judged = acls.judged(reader.acl() or [])
        if not reader.rest:
            wanted = None if judged is None else pack_acl(judged)
    except WriteError:
        pass
    try:
        seen: bytes | str | None = cleaned(vector)
    except ValueError:
        seen = "not a vector"
    assert seen == wanted


@given(ACLS, IDENTITIES, st.data())
def test_what_is_cut_permits_no_more(acl: list[Entry], identities: list[Identity], data: st.DataObject) -> None:
    """A reader may see an ACL, and nothing else may, in the middle of a change: cut anywhere, it never permits what it
    does not when it is whole.  (A cut behind an entry that permits may still permit; the reader's check catches that.)"""
    known = [(perms, scheme, name) for perms, scheme, name in acl if scheme is not None and name is not None]
    vector, who = pack_acl(known), pack_identities(identities)
    cut = data.draw(st.integers(0, len(vector)))
    if permits(vector[:cut], 31, who):
        assert permits(vector, 31, who)
    permits(vector, 31, who[: data.draw(st.integers(0, len(who)))])
    for broken in (vector + b"\0", *([vector[:cut]] if cut < len(vector) else [])):
        with pytest.raises(ValueError, match="not an ACL vector"):
            masked(broken)


def test_a_vector_of_many_entries_ends() -> None:
    """Zeros are entries without end; a reader that met such memory would look at it until the writer is done."""
    assert not permits(bytes(64 << 20), 31)
    assert not permits(bytes(64 << 20), 31, pack_identities([(b"digest", b"a:b")]))
