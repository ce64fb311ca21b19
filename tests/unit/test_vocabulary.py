"""Goal: the words of floor 0 are ZooKeeper's and kazoo's: error codes and classes, Stat, ACLs, paths.
Method: kazoo's own tables as the judge; for paths a plain twin that looks at UTF-16 units one by one."""

from typing import Any

import kazoo.exceptions
import kazoo.protocol.paths
import kazoo.protocol.states
import kazoo.security
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastzk import data, defs, errors, limits, paths

# ---- errors


def test_every_code_of_kazoo_has_its_class_here_under_the_same_name() -> None:
    theirs = {code: cls.__name__ for code, cls in kazoo.exceptions.EXCEPTIONS.items()}
    ours = {code: cls.__name__ for code, cls in errors.EXCEPTIONS.items()}
    assert ours == theirs
    assert sorted(ours) == sorted(errors.ErrorCode)
    assert all(cls.code == code for code, cls in errors.EXCEPTIONS.items())


def test_an_error_tells_its_path() -> None:
    error = errors.error_for(-101, "/a")
    assert isinstance(error, errors.NoNodeError)
    assert (str(error), error.code) == ("/a", -101)
    assert str(errors.error_for(-4)) == ""


def test_an_unknown_code_is_an_error_all_the_same() -> None:
    error = errors.error_for(-999, "/a")
    assert type(error) is errors.ZookeeperError
    assert (error.code, str(error)) == (-999, "unknown error code -999 at /a")
    assert errors.ZookeeperError.code == -1, "the class keeps its own"


def test_a_code_has_one_class() -> None:
    with pytest.raises(AssertionError, match="NO_NODE"):
        errors._coded(errors.ErrorCode.NO_NODE)(errors.ZookeeperError)


# ---- values


def test_stat_is_kazoos() -> None:
    fields = list(range(100, 111))
    ours, theirs = data.ZnodeStat._make(fields), kazoo.protocol.states.ZnodeStat._make(fields)
    names = [name for name in dir(theirs) if not name.startswith("_") and name not in ("count", "index")]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert ours._replace(ephemeralOwner=0).owner_session_id is None


@pytest.mark.parametrize("perms", range(32))
def test_acl_names_are_kazoos(perms: int) -> None:
    ours = data.ACL(perms, data.Id("world", "anyone"))
    assert ours.acl_list == kazoo.security.ACL(perms, kazoo.security.Id("world", "anyone")).acl_list


@given(st.text(max_size=8), st.text(max_size=8), st.lists(st.booleans(), min_size=6, max_size=6))
def test_made_acls_are_kazoos(user: str, password: str, wanted: list[bool]) -> None:
    try:
        theirs: Any = kazoo.security.make_digest_acl(user, password, *wanted)
    except UnicodeEncodeError:
        return
    assert tuple(data.make_digest_acl(user, password, *wanted)) == tuple(theirs)


def test_known_acls_are_kazoos_and_cannot_be_changed() -> None:
    for name in ("OPEN_ACL_UNSAFE", "CREATOR_ALL_ACL", "READ_ACL_UNSAFE"):
        ours, theirs = getattr(data, name), getattr(kazoo.security, name)
        assert [tuple(entry) for entry in ours] == [tuple(entry) for entry in theirs]
        assert isinstance(ours, tuple)


def test_modes_know_what_they_are() -> None:
    modes = {mode: (mode.is_ephemeral, mode.is_sequential) for mode in defs.CreateMode}
    assert [modes[mode] for mode in sorted(modes)] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
        (False, False),
        (False, False),
        (False, True),
    ]


# ---- paths


def is_valid(path: str) -> bool:
    """The rules of ZooKeeper, read out slowly."""
    if not path or path[0] != "/":
        return False
    if path == "/":
        return True
    if path[-1] == "/" or len(path.encode("utf-8", "surrogatepass")) > limits.PATH_BYTES_MAX:
        return False
    if any(element in ("", ".", "..") for element in path.split("/")[1:]):
        return False
    units = path.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        unit = units[at] << 8 | units[at + 1]
        if unit <= 0x1F or 0x7F <= unit <= 0x9F or 0xD800 <= unit <= 0xF8FF or unit >= 0xFFF0:
            return False
    return True


elements = st.sampled_from(["", ".", "..", "a", "...", ".a", "b.", "ü"]) | st.text(max_size=3)
texts = st.lists(elements, max_size=4).map("/".join) | st.lists(elements, max_size=4).map(lambda parts: "/" + "/".join(parts))
edges = [0x1F, 0x20, 0x7E, 0x7F, 0x9F, 0xA0, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xF8FF, 0xF900, 0xFFEF, 0xFFF0, 0xFFFF, 0x10000]


@given(texts | st.sampled_from(edges).map(lambda point: f"/a{chr(point)}"))
@example("/")
@example("")
@example("//")
@example("/a/")
@example("/a/./b")
@example("/" + "a" * (limits.PATH_BYTES_MAX - 1))
@example("/" + "a" * limits.PATH_BYTES_MAX)
@example("/" + "ü" * (limits.PATH_BYTES_MAX // 2))
def test_paths_are_judged_as_zookeeper_does(path: str) -> None:
    assert (paths.path_fault(path) is None) == is_valid(path)
    assert (paths.path_fault(path + "0") is None) == is_valid(path + "0")
    for is_sequential in (False, True):
        try:
            paths.validate(path, is_sequential)
            was_valid = True
        except errors.InvalidPathError:
            was_valid = False
        assert was_valid == is_valid(path + "0" * is_sequential)


@given(texts)
def test_paths_are_put_right_as_kazoo_does(path: str) -> None:
    for is_sequential in (False, True):
        try:
            ours = paths.normalise(path, is_sequential)
        except errors.InvalidPathError:
            ours = None
        try:
            theirs = kazoo.protocol.paths._prefix_root("", path, trailing=is_sequential)
        except ValueError:
            theirs = None
        theirs = theirs or "/" if theirs is not None else None
        if theirs is not None and is_valid(theirs + "0" * is_sequential):
            assert ours == theirs
        else:
            # "/." is fine with a counter behind it, which kazoo refuses.
            assert ours is None or (is_sequential and path.endswith("."))


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("a", "begin with a slash"),
        ("", "begin with a slash"),
        ("/a/", "end with a slash"),
        ("/a//b", "empty elements"),
        ("/a/..", "relative elements"),
        ("/a\0", "U\\+0000"),
        ("/\U0001f600", "U\\+1F600"),
        ("/" + "a" * limits.PATH_BYTES_MAX, "bytes"),
    ],
)
def test_a_wrong_path_is_told_which_rule_it_breaks(path: str, rule: str) -> None:
    with pytest.raises(errors.InvalidPathError, match=rule) as raised:
        paths.validate(path)
    assert raised.value.code == errors.ErrorCode.BAD_ARGUMENTS
    assert isinstance(raised.value, ValueError)


def test_join_and_split() -> None:
    assert paths.join("/", "a") == "/a"
    assert paths.join("/a", "b", "c/d") == "/a/b/c/d"
    assert paths.join("/a/", "/b/") == "/a/b"
    assert paths.join("/") == "/"
    assert [paths.split(path) for path in ("/", "/a", "/a/b")] == [("/", ""), ("/", "a"), ("/a", "b")]
    assert [paths.parent_of(path) for path in ("/", "/a", "/a/b")] == ["/", "/", "/a"]
