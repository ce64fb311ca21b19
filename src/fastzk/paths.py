"""Paths of znodes: which are valid, and how parts become one.

    /  /a  /a/b            valid
    a  /a/  //a  /a/../b   not; normalise() repairs all but the last

Rule: a valid path begins with a slash, does not end with one (but the root), and has no empty element and none that is
"." or "..".  Forbidden characters are control characters, surrogates and private use, and everything beyond the basic
plane: ZooKeeper looks at UTF-16 units, so a pair of surrogates is two forbidden ones."""

import re

from fastzk.errors import InvalidPathError
from fastzk.limits import PATH_BYTES_MAX

_UTF8_BYTES_MAX = 3  # of one character that is allowed
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]")
# What makes a path other than plain; a path without it is valid as it is when it begins with a slash.
_SUSPICIOUS = re.compile("//|/\\.{1,2}(?:/|$)|/$|" + _FORBIDDEN.pattern)


def validate(path: str, is_sequential: bool = False) -> None:
    """Checks a path; with is_sequential it may end with a slash, since a counter will follow.

    Raises InvalidPathError, which names the rule."""
    fault = path_fault(path + "0" if is_sequential else path)
    if fault:
        raise InvalidPathError(f"{fault}: {path!r}")


def path_fault(path: str) -> str | None:
    """The rule that a path breaks, or None."""
    if not path.startswith("/"):
        return "a path must begin with a slash"
    if len(path) * _UTF8_BYTES_MAX > PATH_BYTES_MAX and len(path.encode(errors="surrogatepass")) > PATH_BYTES_MAX:
        return f"a path has at most {PATH_BYTES_MAX} bytes"
    if path == "/" or not _SUSPICIOUS.search(path):
        return None
    if path.endswith("/"):
        return "a path must not end with a slash"
    elements = path[1:].split("/")
    if "" in elements:
        return "a path has no empty elements"
    if "." in elements or ".." in elements:
        return "a path has no relative elements"
    found = _FORBIDDEN.search(path)
    assert found, f"suspicious for no reason: {path!r}"
    return f"character U+{ord(found[0]):04X} is forbidden"


def normalise(path: str, is_sequential: bool = False) -> str:
    """The valid path that is meant: slashes doubled, trailing (but for is_sequential) or missing in front put right.

    Raises InvalidPathError when no valid path can be meant."""
    if path[:1] == "/" and not _SUSPICIOUS.search(path):
        if len(path) * _UTF8_BYTES_MAX <= PATH_BYTES_MAX:
            return path  # as nearly all are, so this comes first
    else:
        plain = "/" + "/".join(element for element in path.split("/") if element)
        if is_sequential and path.endswith("/") and plain != "/":
            plain += "/"
        path = plain
    validate(path, is_sequential)
    return path


def join(parent: str, *names: str) -> str:
    """The path of a descendant: parent and names with single slashes between.  Neither is checked."""
    path = parent.rstrip("/")
    for name in names:
        path += "/" + name.strip("/")
    return path or "/"


def split(path: str) -> tuple[str, str]:
    """A valid path's parent and name; the root's are "/" and ""."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def parent_of(path: str) -> str:
    """The parent of a valid path; the root's is the root."""
    return split(path)[0]
