"""Whose data a directory holds, and that only one process uses it.

    DATA/lock       held with flock as long as the process lives, however it ends
    DATA/vote       storage/vote.py
    DATA/log/       storage/log.py
    DATA/identity   one line: fastzk <format version> node <node id> of <all nodes' ids> uid <16 hex digits>

The uid is random, made with the directory: two directories that call themselves the same node are told apart by it.
The ids say who decided what the log holds: a member that was once started alone, by mistake, would agree with itself on
something else under numbers that its ensemble gives, too.

Rule: identity is written last, and synced.  Where it stands everything else must stand; where it does not, nothing was
ever promised from this directory.  Directories are made with mode 0700, files with 0600."""

import errno
import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fastzk.storage.disk import DIRECTORY_MODE, FILE_MODE, RealDisk
from fastzk.storage.vote import VOTE_NAME, VoteFile

FORMAT_VERSION = 1
LOG_NAME = "log"
IDENTITY_NAME = "identity"
LOCK_NAME = "lock"
# What may be in a directory that has no identity yet: our own unfinished beginnings, and what mkfs leaves.
_BEGINNINGS = {LOCK_NAME, VOTE_NAME, LOG_NAME, IDENTITY_NAME, "lost+found"}
_LINE = re.compile(r"fastzk (\d{1,9}) node (\d{1,9}) of (\d{1,3}(?:,\d{1,3})*) uid ([0-9a-f]{16})\n")
_LINE_SIZE_MAX = 160


class IdentityError(Exception):
    """This directory cannot be used by this node; the message is one line that says which and why."""


class DataDirectory:
    """A node's data directory, claimed for this process until close()."""

    def __init__(self, path: str, node_id: int, voters: Sequence[int], lock_fd: int) -> None:
        self.path = path
        self.node_id = node_id
        self.voters = sorted(voters) or [node_id]
        # Of this directory; known once it is claimed.
        self.uid = 0
        self._lock_fd = lock_fd

    @classmethod
    def claim(cls, path: str, node_id: int, voters: Sequence[int] = ()) -> "DataDirectory":
        """Locks the directory and sees that it is this node's; on first use makes it so.  Raises IdentityError.

        voters: the ids of all nodes that decide, this one's included; none for a node that stands alone.

        Whether vote and log can be read is for VoteFile.load() and SegmentLog.open() to say."""
        _refuse_strangers(path)
        try:
            lock_fd = _lock(path)
        except OSError as e:
            raise IdentityError(f"{path}: {_explain(e)}") from e
        claimed = cls(path, node_id, voters, lock_fd)
        try:
            claimed._identify()
        except OSError as e:
            claimed.close()
            raise IdentityError(f"{e.filename or path}: {_explain(e)}") from e
        except BaseException:
            claimed.close()
            raise
        return claimed

    @property
    def log_path(self) -> str:
        return f"{self.path}/{LOG_NAME}"

    @property
    def _of(self) -> str:
        return ",".join(map(str, self.voters))

    def close(self) -> None:
        """Gives the directory free."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _identify(self) -> None:
        file = Path(self.path, IDENTITY_NAME)
        line = file.read_text("ascii", "replace") if file.exists() else ""
        if not line.endswith("\n") and len(line) < _LINE_SIZE_MAX and not self._is_used():
            self._found()
            return
        match = _LINE.fullmatch(line)
        if match is None:
            raise IdentityError(f"{file}: is not right, though the directory has been in use: {line[:40]!r}")
        version, node_id = int(match[1]), int(match[2])
        if version != FORMAT_VERSION:
            raise IdentityError(f"{self.path}: holds data of format {version}, not of format {FORMAT_VERSION}")
        if node_id != self.node_id:
            raise IdentityError(f"{self.path}: holds the data of node {node_id}, not of node {self.node_id}")
        if match[3] != self._of:
            raise IdentityError(
                f"{self.path}: holds what {_told(match[3])} agreed on, and the node was started as {_told(self._of)}; "
                "give the --peers that it was made with, or another --data-dir"
            )
        self.uid = int(match[4], 16)
        for name in (VOTE_NAME, LOG_NAME):
            if not os.path.lexists(f"{self.path}/{name}"):
                raise IdentityError(f"{self.path}/{name}: missing, though node {node_id} has been in use")

    def _is_used(self) -> bool:
        """Whether a log has been begun here."""
        return os.path.isdir(self.log_path) and bool(os.listdir(self.log_path))

    def _found(self) -> None:
        """First use."""
        self.uid = int.from_bytes(os.urandom(8), "little") or 1
        disk = RealDisk()
        if not os.path.lexists(self.log_path):
            disk.make_dir(self.log_path)
        VoteFile(disk, self.path).load(is_new=True)
        line = f"fastzk {FORMAT_VERSION} node {self.node_id} of {self._of} uid {self.uid:016x}\n".encode()
        fd = os.open(f"{self.path}/{IDENTITY_NAME}", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            # Before the identity stands, all that it vouches for must.
            disk.sync_dir(self.path)
            os.write(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)
        disk.sync_dir(self.path)
        disk.sync_dir(str(Path(self.path).absolute().parent))


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
