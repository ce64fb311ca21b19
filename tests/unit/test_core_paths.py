"""Goal: the compiled rules for paths judge as the plain ones do.

Method: hypothesis draws from the characters and pieces that the rules speak of; the model judges each a second time."""

from hypothesis import example, given
from hypothesis import strategies as st

from fastzk._core.paths import is_valid
from fastzk.testing.model import PATH_SIZE_MAX, SUFFIX_SIZE_MAX, is_valid_path

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
