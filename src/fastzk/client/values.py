"""Between the user's words and the records: arguments checked on their way out, replies made values on their way in.

Rule: what is wrong with an argument is said in the caller's thread, before anything is sent.
Rule: a finish function gives the value for a reply, or raises the call's error; it raises nothing else, and changes
nothing.  Those that are compiled run where the answer is taken, the others on the client's own thread."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastzk import paths
from fastzk.client._values import children_and_stat as children_and_stat
from fastzk.client._values import children_of as children_of
from fastzk.client._values import data_and_stat as data_and_stat
from fastzk.client._values import is_plain
from fastzk.client._values import none_if_missing as none_if_missing
from fastzk.client._values import path_data_version as path_data_version
from fastzk.client._values import path_flag as path_flag
from fastzk.client._values import true_of as true_of
from fastzk.client._values import value_of as value_of
from fastzk.data import ACL, Id, ZnodeStat
from fastzk.defs import CreateMode, WatcherType
from fastzk.errors import BadArgumentsError, FastzkError, NodeExistsError
from fastzk.wire import jute, records

_T = TypeVar("_T")
TTL_MS_MAX = 0xFFFFFFFFFF  # five bytes of ephemeralOwner hold it
Finish = Callable[[Any, FastzkError | None], _T]

# ---- arguments


def checked_path(path: str, is_sequential: bool = False) -> str:
    """The path that is meant.  Raises TypeError, InvalidPathError."""
    if is_plain(path):
        return path
    if not isinstance(path, str):
        raise TypeError("Invalid type for 'path' (string expected)")
    return paths.normalise(path, is_sequential)


def checked_acl(acl: Sequence[ACL]) -> Sequence[ACL]:
    """The ACL, if it can be written.  Raises TypeError."""
    if isinstance(acl, ACL) or not isinstance(acl, (tuple, list)):
        raise TypeError("Invalid type for 'acl' (acl must be a tuple/list of ACL's)")
    try:
        jute.ACLS.encode(acl)
    except (AttributeError, TypeError, ValueError, struct.error) as error:
        raise TypeError(f"Invalid type for 'acl' (entries must be ACL's): {error}") from error
    return tuple(acl)


def check_value(value: bytes | None) -> None:
    """Raises TypeError."""
    if value is not None and not isinstance(value, bytes):
        raise TypeError("Invalid type for 'value' (must be a byte string)")


def check_version(version: int) -> None:
    """Raises TypeError."""
    if not isinstance(version, int) or not -(2**31) <= version < 2**31:
        raise TypeError("Invalid type for 'version' (int expected)")


def check_credential(scheme: str, credential: str | bytes) -> None:
    """Raises TypeError."""
    if not isinstance(scheme, str):
        raise TypeError("Invalid type for 'scheme' (string expected)")
    if not isinstance(credential, (str, bytes)):
        raise TypeError("Invalid type for 'credential' (string expected)")


def check_watch(watch: object) -> None:
    """Raises TypeError."""
    if not callable(watch):
        raise TypeError("Invalid type for 'watch' (must be a callable)")


def checked_watcher_type(watcher_type: int) -> WatcherType:
    """The type.  Raises TypeError."""
    try:
        return WatcherType(watcher_type)
    except ValueError as error:
        raise TypeError("Invalid type for 'watcher_type' (must be a WatcherType)") from error


def create_request(
    path: str,
    value: bytes | None,
    acl: Sequence[ACL],
    ephemeral: bool,
    sequence: bool,
    container: bool,
    ttl: float | None,
    include_data: bool = False,
) -> Any:
    """The request that makes a znode of a kind.  Raises TypeError, BadArgumentsError."""
    check_value(value)
    if container:
        if ephemeral or sequence or ttl is not None:
            raise BadArgumentsError("a container is not ephemeral or sequential, and has no ttl")
        return records.CreateContainer(path, value, acl, CreateMode.CONTAINER)
    if ttl is not None:
        if ephemeral:
            raise BadArgumentsError("an ephemeral znode has no ttl")
        mode = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL if sequence else CreateMode.PERSISTENT_WITH_TTL
        return records.CreateTtl(path, value, acl, mode, _ttl_ms(ttl))
    flags = (CreateMode.EPHEMERAL if ephemeral else 0) | (CreateMode.PERSISTENT_SEQUENTIAL if sequence else 0)
    return (records.Create2 if include_data else records.Create)(path, value, acl, flags)


def _ttl_ms(ttl: float) -> int:
    if not isinstance(ttl, (int, float)):
        raise TypeError("Invalid type for 'ttl' (seconds expected)")
    if not 0.001 <= ttl <= TTL_MS_MAX / 1000:
        raise BadArgumentsError(f"ttl {ttl!r} is no time from 0.001 to {TTL_MS_MAX / 1000} seconds")
    return round(ttl * 1000)


# ---- from replies to values


def true_if_exists(reply: Any, error: FastzkError | None) -> bool:
    """True, also when the znode was there already."""
    return isinstance(error, NodeExistsError) or true_of(reply, error)


def acls_and_stat(reply: Any, error: FastzkError | None) -> tuple[list[ACL], ZnodeStat]:
    """The entries as a list, and Stat."""
    entries, stat = value_of(reply, error)
    return list(entries), stat


def ids_of(reply: Any, error: FastzkError | None) -> list[Id]:
    """The identities as a list."""
    return list(value_of(reply, error))
