"""The values that requests carry and replies give: Stat, ACLs, watched events.

Rule: all are immutable, compare by value, and unpack like kazoo's of the same name."""

from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

from fastzk.defs import EventType, KeeperState, Perms


class ZnodeStat(NamedTuple):
    """A znode's Stat.  Fields as on the wire; the properties give them readable names and times in seconds."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeralOwner: int  # noqa: N815  (ZooKeeper's and kazoo's name)
    dataLength: int  # noqa: N815
    numChildren: int  # noqa: N815
    pzxid: int

    @property
    def acl_version(self) -> int:
        """Changes of the ACL."""
        return self.aversion

    @property
    def children_version(self) -> int:
        """Changes of the list of children."""
        return self.cversion

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return self.ctime / 1000.0

    @property
    def last_modified(self) -> float:
        """Seconds since 1970."""
        return self.mtime / 1000.0

    @property
    def owner_session_id(self) -> int | None:
        """Session of an ephemeral znode, else None."""
        return self.ephemeralOwner or None

    @property
    def creation_transaction_id(self) -> int:
        """The zxid that created the znode."""
        return self.czxid

    @property
    def last_modified_transaction_id(self) -> int:
        """The zxid that last set its data."""
        return self.mzxid

    @property
    def data_length(self) -> int:
        """Bytes of data."""
        return self.dataLength

    @property
    def children_count(self) -> int:
        """Number of children."""
        return self.numChildren


class WatchedEvent(NamedTuple):
    """What a watch function is called with."""

    type: EventType
    state: KeeperState
    path: str


class Id(NamedTuple):
    """Who: a scheme and a name in it."""

    scheme: str
    id: str


class ACL(NamedTuple):
    """One entry of an access control list: what is allowed to whom."""

    perms: int
    id: Id

    @property
    def acl_list(self) -> list[str]:
        """Names of what is allowed; just ALL when it is everything."""
        if self.perms & Perms.ALL == Perms.ALL:
            return ["ALL"]
        single = (Perms.READ, Perms.WRITE, Perms.CREATE, Perms.DELETE, Perms.ADMIN)
        return [str(perm.name) for perm in single if self.perms & perm]


ANYONE_ID_UNSAFE = Id("world", "anyone")
AUTH_IDS = Id("auth", "")

# Tuples, unlike kazoo's lists: a shared list that someone appends to would open every later znode.
OPEN_ACL_UNSAFE: tuple[ACL, ...] = (ACL(int(Perms.ALL), ANYONE_ID_UNSAFE),)
CREATOR_ALL_ACL: tuple[ACL, ...] = (ACL(int(Perms.ALL), AUTH_IDS),)
READ_ACL_UNSAFE: tuple[ACL, ...] = (ACL(int(Perms.READ), ANYONE_ID_UNSAFE),)


def make_digest_acl_credential(username: str, password: str) -> str:
    """The id of scheme `digest` for a user: name, colon, hash."""
    digest = sha1(f"{username}:{password}".encode()).digest()
    return f"{username}:{b64encode(digest).decode('ascii')}"


def make_acl(
    scheme: str,
    credential: str,
    read: bool = False,
    write: bool = False,
    create: bool = False,
    delete: bool = False,
    admin: bool = False,
    all: bool = False,
) -> ACL:
    """An ACL entry that allows to one id what is asked for."""
    perms = Perms(0)
    wanted = ((read, Perms.READ), (write, Perms.WRITE), (create, Perms.CREATE), (delete, Perms.DELETE))
    for is_wanted, perm in (*wanted, (admin, Perms.ADMIN), (all, Perms.ALL)):
        if is_wanted:
            perms |= perm
    return ACL(int(perms), Id(scheme, credential))


def make_digest_acl(
    username: str,
    password: str,
    read: bool = False,
    write: bool = False,
    create: bool = False,
    delete: bool = False,
    admin: bool = False,
    all: bool = False,
) -> ACL:
    """An ACL entry for a user of scheme `digest`, from the plain password."""
    credential = make_digest_acl_credential(username, password)
    return make_acl("digest", credential, read, write, create, delete, admin, all)
