"""The numbers of ZooKeeper's protocol, under the names that users of kazoo know.

Rule: values are ZooKeeper's own and travel on the wire or lie in the log; none is ever renumbered.
Error codes are in errors.py."""

from enum import IntEnum, IntFlag, StrEnum


class OpCode(IntEnum):
    """What a request asks for."""

    NOTIFICATION = 0
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CREATE_SESSION = -10
    CLOSE_SESSION = -11
    ATTACH_SESSION = -12  # fastzk's own, in the log only, as those below: a session speaks through a new connection
    IDENTIFY = -13  # who a session's connection is
    CONFIG = -14  # the data of /zookeeper/config
    MEMBERS = -15  # who the ensemble is
    REJOIN = -16  # a node has all that was committed before
    RECONFIGURED = -17  # a client's reconfig was carried out, or was not
    ERROR = -1  # in a multi's reply: the result of an operation that was not done


# Requests that change nothing and are answered from the state of the node that is asked.
READ_OPS = frozenset(
    {
        OpCode.EXISTS,
        OpCode.GET_DATA,
        OpCode.GET_ACL,
        OpCode.GET_CHILDREN,
        OpCode.GET_CHILDREN2,
        OpCode.MULTI_READ,
        OpCode.GET_EPHEMERALS,
        OpCode.GET_ALL_CHILDREN_NUMBER,
        OpCode.WHO_AM_I,
    }
)


class Xid(IntEnum):
    """Request numbers with a meaning of their own.  Ordinary ones count from 1 to 0x7fffffff and begin again at 1."""

    NOTIFICATION = -1
    PING = -2
    AUTH = -4
    SET_WATCHES = -8


class CreateMode(IntEnum):
    """The flags field of a create request: what kind of znode is wanted."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6

    @property
    def is_ephemeral(self) -> bool:
        """True when the znode goes with its session."""
        return self in (CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL)

    @property
    def is_sequential(self) -> bool:
        """True when the server appends a counter to the name."""
        return self in (
            CreateMode.PERSISTENT_SEQUENTIAL,
            CreateMode.EPHEMERAL_SEQUENTIAL,
            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
        )


class EventType(IntEnum):
    """What a watch tells."""

    NONE = -1
    CREATED = 1
    DELETED = 2
    CHANGED = 3  # of the data
    CHILD = 4  # of the list of children, not of a child's data
    DATA_WATCH_REMOVED = 5
    CHILD_WATCH_REMOVED = 6
    PERSISTENT_WATCH_REMOVED = 7


class KeeperState(IntEnum):
    """State of a connection, as Client.client_state tells it; a watched event carries it too, always CONNECTED."""

    EXPIRED_SESSION = -112
    UNKNOWN = -1
    CONNECTING = 0
    CONNECTED = 3
    AUTH_FAILED = 4
    CONNECTED_RO = 5
    SASL_AUTHENTICATED = 6
    CLOSED = 7


class ClientState(StrEnum):
    """What a listener of the client is told.

    CONNECTED   all is well.
    SUSPENDED   the connection is lost; the session may live on.  Act as if locks were gone until told more.
    LOST        the session is over, and its ephemeral znodes with it; or the client has not been started."""

    SUSPENDED = "SUSPENDED"
    CONNECTED = "CONNECTED"
    LOST = "LOST"


class Perms(IntFlag):
    """What an ACL allows."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16
    ALL = 31


class WatcherType(IntEnum):
    """Which watches a check or removal of watches means."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    PERSISTENT_RECURSIVE = 5


class AddWatchMode(IntEnum):
    """Kind of a persistent watch."""

    PERSISTENT = 0
    PERSISTENT_RECURSIVE = 1


NATIVE_PORT = 2281  # where a node listens for native clients, unless told otherwise
PASSWORD_SIZE = 16  # bytes of a session's password
ANY_VERSION = -1  # a version that matches whatever the znode's is

# ZooKeeper's four-letter words, and those that are answered unless the operator says otherwise: what tells of the node and its
# numbers.  Not those that name sessions and paths (cons, dump, wchc, wchp), nor those that change something (crst, srst, stmk).
# stat names addresses only, and every tool wants it.
_WORDS = "conf cons crst dirs dump envi gtmk hash isro mntr ruok srst srvr stat stmk wchc wchp wchs"
WORDS = frozenset(_WORDS.split())
WORDS_OFFERED = frozenset(("conf", "dirs", "envi", "isro", "mntr", "ruok", "srvr", "stat", "wchs"))
