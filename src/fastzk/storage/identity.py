"""Whose data a directory holds, and that only one process uses it.

    DATA/lock       held with flock as long as the process lives, however it ends
    DATA/log/       storage/log.py
    DATA/vote       storage/vote.py
    DATA/soundness  storage/soundness.py
    DATA/members    who decides until the log says otherwise: made from --peers at first use, under storage/checked.py's line
    DATA/identity   one line: fastzk <format version> node <node id> uid <16 hex digits> check <16 hex digits>

The uid is random, made with the directory: two directories that call themselves the same node are told apart by it, and
so are files that were carried from one to the other.

Rule: identity is written last, and synced.  Where it stands everything else must stand; where it does not, nothing was
ever promised from this directory.  Directories are made with mode 0700, files with 0600.

Format 1 named the members in the identity and had neither soundness nor members; such a directory becomes one of format 2 when it
is opened, if --peers names the nodes that it names."""

import errno
import fcntl
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastzk.storage.checked import NEW_SUFFIX, CheckedText, TextDamaged, checksum, read_file, replace_file
from fastzk.storage.disk import DIRECTORY_MODE, FILE_MODE, Disk, RealDisk
from fastzk.storage.history import HistoryFile
from fastzk.storage.soundness import SOUNDNESS_NAME, Soundness, SoundnessFile
from fastzk.storage.vote import VOTE_NAME, VoteDamaged, VoteFile

FORMAT_VERSION = 2
LOG_NAME = "log"
IDENTITY_NAME = "identity"
LOCK_NAME = "lock"
MEMBERS_NAME = "members"
# What may be in a directory that has no identity yet: our own unfinished beginnings, and what mkfs leaves.
_WRITTEN = (VOTE_NAME, IDENTITY_NAME, SOUNDNESS_NAME, MEMBERS_NAME)
_BEGINNINGS = {LOCK_NAME, LOG_NAME, *_WRITTEN, *(name + NEW_SUFFIX for name in _WRITTEN), "lost+found"}
# What is there only after the identity was.
_LATER = {"history", "snapshots", "damaged", "diverged", "run"}
_LINE = re.compile(rb"(fastzk 2 node (\d{1,9}) uid ([0-9a-f]{16})) check ([0-9a-f]{16})\n")
_LINE_1 = re.compile(rb"fastzk 1 node (\d{1,9}) of (\d{1,3}(?:,\d{1,3})*) uid ([0-9a-f]{16})\n")
_VERSION = re.compile(rb"fastzk (\d{1,9}) ")
_LINE_SIZE_MAX = 160


class IdentityError(Exception):
    """This directory cannot be used by this node; the message is one line that says which and why."""


@dataclass(slots=True)
class Identity:
    """Whose a directory is."""

    uid: int
    # The text of DATA/members.
    members: bytes
    # Lines for people.
    notes: list[str] = field(default_factory=list)


class DataDirectory:
    """A node's data directory, claimed for this process until close()."""

    def __init__(self, path: str, node_id: int, identity: Identity, lock_fd: int) -> None:
        self.path = path
        self.node_id = node_id
        self.uid = identity.uid
        self.members = identity.members
        self.notes = identity.notes
        self._lock_fd = lock_fd

    @classmethod
    def claim(cls, path: str, node_id: int, voters: Sequence[int] = (), members: bytes = b"") -> "DataDirectory":
        """Locks the directory and sees that it is this node's; on first use makes it so.  Raises IdentityError.

        voters: the ids of --peers, none for a node that stands alone; members: what DATA/members is to hold on first use.

        Whether what it holds can be read is for storage/recovery.py to say."""
        _refuse_strangers(path)
        try:
            lock_fd = _lock(path)
        except OSError as e:
            raise IdentityError(f"{path}: {_explain(e)}") from e
        try:
            new_uid = int.from_bytes(os.urandom(8), "little") or 1
            identity = identify(RealDisk(), path, node_id, voters, members, new_uid)
            return cls(path, node_id, identity, lock_fd)
        except OSError as e:
            os.close(lock_fd)
            raise IdentityError(f"{e.filename or path}: {_explain(e)}") from e
        except BaseException:
            os.close(lock_fd)
            raise

    @property
    def log_path(self) -> str:
        return f"{self.path}/{LOG_NAME}"

    def close(self) -> None:
        """Gives the directory free."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def identify(disk: Disk, path: str, node_id: int, voters: Sequence[int], members: bytes, new_uid: int) -> Identity:
    """Sees that a directory, which exists, is this node's, on first use makes it so.  Raises IdentityError or OSError."""
    file = f"{path}/{IDENTITY_NAME}"
    try:
        line = read_file(disk, file) if disk.exists(file) else b""
    except TextDamaged as damaged:
        raise IdentityError(str(damaged)) from damaged
    is_unfinished = not line.endswith(b"\n") and len(line) < _LINE_SIZE_MAX and not line.startswith(b"fastzk 2")
    if is_unfinished and not _is_used(disk, path):
        _found(disk, path, node_id, members, new_uid)
        return Identity(new_uid, members)
    version = _VERSION.match(line)
    if version and int(version[1]) > FORMAT_VERSION:
        raise IdentityError(f"{path}: holds data of format {int(version[1])}, not of format {FORMAT_VERSION}")
    former = _LINE_1.fullmatch(line)
    match = _LINE.fullmatch(line)
    if former is None and (match is None or checksum(match[1], b"") != match[4]):
        raise IdentityError(f"{file}: is not right, though the directory has been in use: {line[:40]!r}")
    found_id, uid = (int(former[1]), former[3]) if former else (int(match[2]), match[3]) if match else (0, b"")
    if found_id != node_id:
        raise IdentityError(f"{path}: holds the data of node {found_id}, not of node {node_id}")
    identity = Identity(int(uid, 16), members)
    if former is not None:
        _upgrade(disk, path, node_id, former[2].decode(), voters, identity)
    else:
        _load_members(disk, path, node_id, identity)
    return identity


def _load_members(disk: Disk, path: str, node_id: int, identity: Identity) -> None:
    """The members that count, in the place of those given."""
    file = CheckedText(disk, path, MEMBERS_NAME, node_id, identity.uid)
    try:
        stored = file.load()
    except TextDamaged as damaged:
        raise IdentityError(f"{damaged}; {_MEMBERS_ADVICE}") from damaged
    if stored is None:
        raise IdentityError(f"{file.path}: missing, though node {node_id} has been in use; {_MEMBERS_ADVICE}")
    if stored != identity.members:
        identity.members = stored
        identity.notes.append(
            f"{path}: has been in use, so --peers, which counts only at the first use, is passed over where it differs from "
            f"{file.path}; members change by reconfig"
        )


_MEMBERS_ADVICE = (
    "a member of an ensemble may be given a new --data-dir, and takes everything from the other nodes; for a node that stands "
    "alone put back a copy of the file"
)


def _upgrade(disk: Disk, path: str, node_id: int, of: str, voters: Sequence[int], identity: Identity) -> None:
    """From format 1 to format 2.  The identity is written last: after a crash it is done again."""
    given = ",".join(map(str, sorted(voters) or [node_id]))
    if of != given:
        raise IdentityError(
            f"{path}: holds what {_told(of)} agreed on, and the node was started as {_told(given)}; "
            "give the --peers that it was made with, or another --data-dir"
        )
    history = HistoryFile(disk, path, node_id, identity.uid)
    try:
        is_begun = _is_used(disk, path) or VoteFile(disk, path).load() != (0, 0)
        if known := history.load():
            history.save(known)
    except (VoteDamaged, TextDamaged):
        is_begun = True  # recovery says what it is
    soundness = Soundness.sound() if is_begun else Soundness.new()
    SoundnessFile(disk, path, node_id, identity.uid).save(soundness)
    CheckedText(disk, path, MEMBERS_NAME, node_id, identity.uid).save(identity.members)
    _write_identity(disk, path, node_id, identity.uid)
    identity.notes.append(f"{path}: was of format 1 and is of format {FORMAT_VERSION} now")


def _is_used(disk: Disk, path: str) -> bool:
    """Whether a log has been begun here."""
    return disk.exists(f"{path}/{LOG_NAME}") and bool(disk.list(f"{path}/{LOG_NAME}"))


def _found(disk: Disk, path: str, node_id: int, members: bytes, uid: int) -> None:
    """First use.  Before the identity stands, all that it vouches for must."""
    if not disk.exists(f"{path}/{LOG_NAME}"):
        disk.make_dir(f"{path}/{LOG_NAME}")
    VoteFile(disk, path, uid).create()
    SoundnessFile(disk, path, node_id, uid).save(Soundness.new())
    CheckedText(disk, path, MEMBERS_NAME, node_id, uid).save(members)
    _write_identity(disk, path, node_id, uid)
    disk.sync_dir(path.rpartition("/")[0] or ("/" if path.startswith("/") else "."))


def _write_identity(disk: Disk, path: str, node_id: int, uid: int) -> None:
    head = f"fastzk {FORMAT_VERSION} node {node_id} uid {uid:016x}".encode()
    replace_file(disk, path, IDENTITY_NAME, head + b" check " + checksum(head, b"") + b"\n")


def check_still_there(path: str) -> None:
    """Raises IdentityError when the directory was removed under a running node: what it wrote on would be in no file."""
    if not os.path.lexists(f"{path}/{IDENTITY_NAME}"):
        raise IdentityError(f"{path}: was removed while the node was running; the node ends, since it can store nothing")


def _told(voters: str) -> str:
    return f"nodes {voters}" if "," in voters else f"node {voters} alone"


def _refuse_strangers(path: str) -> None:
    """Somebody else's directory is left as it is, without even a lock."""
    if not os.path.isdir(path) or os.path.lexists(f"{path}/{IDENTITY_NAME}"):
        return
    try:
        strange = sorted(set(os.listdir(path)) - _BEGINNINGS)
    except OSError as e:
        raise IdentityError(f"{path}: {_explain(e)}") from e
    if strange and set(strange) <= _LATER:
        raise IdentityError(f"{path}/{IDENTITY_NAME}: missing, though the directory has been in use; {_MEMBERS_ADVICE}")
    if strange:
        raise IdentityError(f"{path}: is neither empty nor a data directory of fastzk: it holds {strange[0]!r}")


def _lock(path: str) -> int:
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        os.mkdir(path, DIRECTORY_MODE)
    fd = os.open(f"{path}/{LOCK_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _explain(error: OSError) -> str:
    if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
        return "in use by another process"
    if error.errno == errno.ENOTDIR:
        return "not a directory"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "not writable"
    return (error.strerror or str(error)).lower()
