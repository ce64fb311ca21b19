"""ZooKeeper's error codes, and an exception class for each that a client can meet, named as in kazoo.

Rule: below the client nothing raises these; the server's code returns an ErrorCode and the client raises its class.
Rule: no code is invented.  Existing clients break on unknown ones."""

from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar, TypeVar


class ErrorCode(IntEnum):
    """The err field of a reply."""

    OK = 0
    SYSTEM_ERROR = -1
    RUNTIME_INCONSISTENCY = -2
    DATA_INCONSISTENCY = -3
    CONNECTION_LOSS = -4
    MARSHALLING_ERROR = -5
    UNIMPLEMENTED = -6
    OPERATION_TIMEOUT = -7
    BAD_ARGUMENTS = -8
    UNKNOWN_SESSION = -12
    NEW_CONFIG_NO_QUORUM = -13
    RECONFIG_IN_PROGRESS = -14
    API_ERROR = -100
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    INVALID_CALLBACK = -113
    INVALID_ACL = -114
    AUTH_FAILED = -115
    SESSION_MOVED = -118
    NOT_READ_ONLY = -119
    EPHEMERAL_ON_LOCAL_SESSION = -120
    NO_WATCHER = -121
    REQUEST_TIMEOUT = -122
    RECONFIG_DISABLED = -123
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124
    QUOTA_EXCEEDED = -125
    THROTTLED_OP = -127


class FastzkError(Exception):
    """Base of all that the client raises."""


class ZookeeperError(FastzkError):
    """A request failed; `code` says why in ZooKeeper's numbers."""

    code: ClassVar[int] = int(ErrorCode.SYSTEM_ERROR)


EXCEPTIONS: dict[int, type[ZookeeperError]] = {}  # by code

_E = TypeVar("_E", bound=type[ZookeeperError])


def _coded(code: ErrorCode) -> Callable[[_E], _E]:
    """Registers a class as the one for a code."""

    def register(cls: _E) -> _E:
        assert code not in EXCEPTIONS, f"{code!r} has {EXCEPTIONS[code]} already"
        cls.code = int(code)
        EXCEPTIONS[int(code)] = cls
        return cls

    return register


def error_for(code: int, path: str | None = None) -> ZookeeperError:
    """The exception for a reply's code, with the path that was asked for as its text."""
    cls = EXCEPTIONS.get(code)
    if cls is None:
        error = ZookeeperError(f"unknown error code {code}" + (f" at {path}" if path else ""))
        error.code = code  # type: ignore[misc]
        return error
    return cls(path) if path else cls()


@_coded(ErrorCode.OK)
class RolledBackError(ZookeeperError):
    """In a multi: this operation was undone because a later one failed."""


@_coded(ErrorCode.SYSTEM_ERROR)
class SystemZookeeperError(ZookeeperError):
    """The server failed in an unnamed way."""


@_coded(ErrorCode.RUNTIME_INCONSISTENCY)
class RuntimeInconsistency(ZookeeperError):  # noqa: N818
    """In a multi: this operation was not tried because an earlier one failed."""


@_coded(ErrorCode.DATA_INCONSISTENCY)
class DataInconsistency(ZookeeperError):  # noqa: N818
    """A data inconsistency was found."""


@_coded(ErrorCode.CONNECTION_LOSS)
class ConnectionLoss(ZookeeperError):  # noqa: N818
    """The connection was lost while the request was unanswered: a write may or may not have been done."""


@_coded(ErrorCode.MARSHALLING_ERROR)
class MarshallingError(ZookeeperError):
    """A record could not be decoded."""


@_coded(ErrorCode.UNIMPLEMENTED)
class UnimplementedError(ZookeeperError):
    """The server does not know this operation."""


@_coded(ErrorCode.OPERATION_TIMEOUT)
class OperationTimeoutError(ZookeeperError):
    """The operation took too long."""


@_coded(ErrorCode.BAD_ARGUMENTS)
class BadArgumentsError(ZookeeperError):
    """The request makes no sense."""


@_coded(ErrorCode.UNKNOWN_SESSION)
class UnknownSessionError(ZookeeperError):
    """The session is unknown (inside the server only)."""


@_coded(ErrorCode.NEW_CONFIG_NO_QUORUM)
class NewConfigNoQuorumError(ZookeeperError):
    """No quorum of the new configuration is connected and up to date."""


@_coded(ErrorCode.RECONFIG_IN_PROGRESS)
class ReconfigInProcessError(ZookeeperError):
    """Another reconfiguration is in progress."""


@_coded(ErrorCode.API_ERROR)
class APIError(ZookeeperError):
    """The start of the range of the errors that requests can have; not sent by itself."""


@_coded(ErrorCode.NO_NODE)
class NoNodeError(ZookeeperError):
    """The znode does not exist."""


@_coded(ErrorCode.NO_AUTH)
class NoAuthError(ZookeeperError):
    """The ACL does not allow it."""


@_coded(ErrorCode.BAD_VERSION)
class BadVersionError(ZookeeperError):
    """The znode's version is another one than asked for."""


@_coded(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
class NoChildrenForEphemeralsError(ZookeeperError):
    """Ephemeral znodes may not have children."""


@_coded(ErrorCode.NODE_EXISTS)
class NodeExistsError(ZookeeperError):
    """The znode exists already."""


@_coded(ErrorCode.NOT_EMPTY)
class NotEmptyError(ZookeeperError):
    """The znode has children."""


@_coded(ErrorCode.SESSION_EXPIRED)
class SessionExpiredError(ZookeeperError):
    """The session has expired: its ephemeral znodes are gone."""


@_coded(ErrorCode.INVALID_CALLBACK)
class InvalidCallbackError(ZookeeperError):
    """The watch function is not one."""


@_coded(ErrorCode.INVALID_ACL)
class InvalidACLError(ZookeeperError):
    """The ACL is empty, malformed or of an unknown scheme."""


@_coded(ErrorCode.AUTH_FAILED)
class AuthFailedError(ZookeeperError):
    """The client could not prove who it is."""


@_coded(ErrorCode.SESSION_MOVED)
class SessionMovedError(ZookeeperError):
    """The session speaks through another connection by now; the request was ignored."""


@_coded(ErrorCode.NOT_READ_ONLY)
class NotReadOnlyCallError(ZookeeperError):
    """A write was sent to a server that only reads."""


@_coded(ErrorCode.EPHEMERAL_ON_LOCAL_SESSION)
class EphemeralOnLocalSessionError(ZookeeperError):
    """An ephemeral znode was asked for by a local session."""


@_coded(ErrorCode.NO_WATCHER)
class NoWatcherError(ZookeeperError):
    """There is no such watch to remove."""


@_coded(ErrorCode.REQUEST_TIMEOUT)
class RequestTimeoutError(ZookeeperError):
    """The request was not answered within the time allowed."""


@_coded(ErrorCode.RECONFIG_DISABLED)
class ReconfigDisabledError(ZookeeperError):
    """Reconfiguration is not enabled."""


@_coded(ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH)
class SessionClosedRequireSaslError(ZookeeperError):
    """The server wants SASL authentication and closed the session."""


@_coded(ErrorCode.QUOTA_EXCEEDED)
class QuotaExceededError(ZookeeperError):
    """The path's quota is used up."""


@_coded(ErrorCode.THROTTLED_OP)
class ThrottledOpError(ZookeeperError):
    """The server is too busy and did not try; come back later."""


# The client's own, which no server sends.


class ConnectionClosedError(SessionExpiredError):
    """The client is not started, or was stopped."""


class ClientTimeoutError(FastzkError, TimeoutError):
    """A call of the client waited for as long as it was allowed to (kazoo: KazooTimeoutError)."""


class ConfigurationError(FastzkError):
    """An argument to the client makes no sense."""


class ForkedError(FastzkError, RuntimeError):
    """The process was forked after the client was made: a client belongs to the process that made it."""


class ProtocolError(FastzkError):
    """The server sent what the protocol does not allow.  The client drops such a connection and tries again."""


class RetryFailedError(FastzkError):
    """Every try failed; the last failure is the cause."""


class InvalidPathError(BadArgumentsError, ValueError):
    """The path breaks a rule that is named in the text."""
