"""Goal: the compiled rules for paths and ACLs judge as the plain ones do.

Method: hypothesis draws from the characters and pieces that the rules speak of; the model judges each a second time."""

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastzk._core.acl import cleaned
from fastzk._core.paths import is_valid
from fastzk.testing.model import PATH_SIZE_MAX, SUFFIX_SIZE_MAX, Reader, WriteError, is_valid_path, judged_acl, packed

EDGES = "\x1f\x20\x7e\x7f\x9f\xa0\u07ff\u0800\u0fff\ucfff\ud7ff\ue000\uf8ff\uf900\uffef\ufff0\uffff\U00010000\U0010ffff"
PIECES = st.one_of(
    st.sampled_from(["/", "/", "/", ".", "..", "a", "bc", *EDGES]).map(str.encode),
    st.binary(min_size=1, max_size=3),
)
ANY_PATH = st.lists(PIECES, max_size=8).map(b"".join)


@given(ANY_PATH)
@example(b"")
@example(b"/" + b"x" * (PATH_SIZE_MAX - 1))
@example(b"/" + b"x" * PATH_SIZE_MAX)
def test_paths(path: bytes) -> None:
    for candidate in (path, b"/" + path):
        assert is_valid(candidate) == is_valid_path(candidate)


@given(ANY_PATH)
@example(b"/")
@example(b"/a/")
@example(b"/.")
@example(b"/" + b"x" * (PATH_SIZE_MAX - SUFFIX_SIZE_MAX - 1))
@example(b"/" + b"x" * (PATH_SIZE_MAX - SUFFIX_SIZE_MAX))
def test_sequential_paths(path: bytes) -> None:
    for candidate in (path, b"/" + path):
        fits = len(candidate) + SUFFIX_SIZE_MAX <= PATH_SIZE_MAX
        assert is_valid(candidate, True) == (fits and is_valid_path(candidate + b"0"))


def test_every_character() -> None:
    for point in [*range(0x10000), 0x10000, 0x1F600, 0x10FFFF]:
        if not 0xD800 <= point <= 0xDFFF:
            path = b"/a" + chr(point).encode() + b"b"
            assert is_valid(path) == is_valid_path(path), hex(point)
    for point in (0xD800, 0xDFFF):
        assert not is_valid(b"/" + chr(point).encode("utf-8", "surrogatepass"))


def test_every_beginning_of_a_wide_character() -> None:
    for lead in range(0x80, 0x100):
        for second in range(0x100):
            for rest in (b"", b"\x80", b"\xbf", b"\x80\x80", b"a"):
                path = bytes([0x2F, lead, second]) + rest
                assert is_valid(path) == is_valid_path(path), path


SCHEMES = [b"world", b"digest", b"ip", b"auth", b"x509", b"", None]
ADDRESSES = [
    *["10.0.0.1", "10.0.0.0/8", "10.0.0.0/32", "10.0.0.0/33", "10.0.0/8", "10.0.0.256", "1.2.3.4/", "1.2.3.4/x"],
    *["1.2.3.4/0008", "01.2.3.4", "1.2.3.4/8/8", "1.2.3.4/-1", "/8"],
    *["::", ":::", "1::", ":1", "1:", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8::", "1::2::3", "12345::", "g::"],
    *["::1.2.3.4", "::1.2.3", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::FFff", "1:2:3:4:5:6:7", "..."],
    *["::1", "fe80::/128", "fe80::/129", "::1\x00", "fe80::1%lo"],
]
NAMES = [b"anyone", b"user:hash", b"a:b:", b":b", b"a:", b"::", b"a::b", b"", None, *map(str.encode, ADDRESSES)]
ANY_NAME = st.one_of(st.sampled_from(NAMES), st.text("0123456789abcdef.:/%", max_size=20).map(str.encode))
ADDRESS_PIECES = st.sampled_from([":", ":", ":", "::", "1:", "ff:", "abcd:", "12345", ".", "1.2.3.4", "0", "00", "255", "256", "g"])
ENTRIES = st.tuples(st.integers(-1, 32), st.sampled_from(SCHEMES), ANY_NAME)
LIKELY_ENTRIES = st.sampled_from([(31, b"world", b"anyone"), (1, b"world", b"anyone"), (2, b"digest", b"a:b")])


@given(st.lists(st.one_of(LIKELY_ENTRIES, ENTRIES), max_size=5))
@example([(31, b"world", b"anyone")] * 256)
@example([(31, b"world", b"anyone")] * 257)
def test_acls(acl: list[tuple[int, bytes | None, bytes | None]]) -> None:
    assert cleaned(pack_acl(acl)) == expected(acl)


@settings(max_examples=1000)
@given(st.lists(ADDRESS_PIECES, max_size=10).map("".join))
def test_addresses(address: str) -> None:
    acl = [(1, b"ip", address.encode())]
    assert cleaned(pack_acl(acl)) == expected(acl)


def test_every_id() -> None:
    for scheme in SCHEMES:
        for name in NAMES:
            assert cleaned(pack_acl([(1, scheme, name)])) == expected([(1, scheme, name)]), (scheme, name)


@given(st.binary(max_size=60), st.integers(-2, 3))
def test_random_acls(tail: bytes, count: int) -> None:
    vector = struct.pack(">i", count) + tail
    reader = Reader(vector)
    try:
        wanted: bytes | str | None = expected(reader.acl())
        if reader.rest:
            wanted = "not a vector"
    except WriteError:
        wanted = "not a vector"
    try:
        seen: bytes | str | None = cleaned(vector)
    except ValueError:
        seen = "not a vector"
    assert seen == wanted


def expected(acl: list[tuple[int, bytes | None, bytes | None]]) -> bytes | None:
    try:
        return pack_acl(judged_acl(acl))
    except WriteError:
        return None


def pack_acl(acl: object) -> bytes:
    assert isinstance(acl, list | tuple)
    return struct.pack(">i", len(acl)) + b"".join(struct.pack(">i", p) + packed(s) + packed(i) for p, s, i in acl)
