"""The operator's secrets, read once when a node starts: the digest of `super`, and the users of SASL.

Rules: a secret is never an option's value, which every user of the machine sees in the list of processes; it stands in a file
that its owner alone may read, or (the digest) in the environment.  No error and no log line repeats what the file holds."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from fastzk.config import ConfigError

SUPER_DIGEST_VARIABLE = "FASTZK_SUPER_DIGEST"
FILE_BYTES_MAX = 1 << 20

_DIGEST = re.compile(r"[^:\s]+:[A-Za-z0-9+/]{27}=")
_HOW_TO = "`printf %s super:PASSWORD | openssl sha1 -binary | base64` gives what stands behind `super:`"


def read_super_digest(path: str, environment: Mapping[str, str]) -> str:
    """The operator's `user:base64(sha1(user:password))`, from the file or from the environment; empty when neither is given.

    Raises ConfigError."""
    if path:
        where, text = f"--super-digest-file {path}", _read(path, "--super-digest-file")
    else:
        where, text = SUPER_DIGEST_VARIABLE, environment.get(SUPER_DIGEST_VARIABLE, "")
    digest = text.strip()
    if (path or digest) and not _DIGEST.fullmatch(digest):
        raise ConfigError(f"{where}: expected one line such as super:xQJmxLMiHGwaqBvst5y6rkB6HQs=; {_HOW_TO}")
    return digest


def read_users(path: str) -> dict[str, str]:
    """Passwords by name, from a file of `user:password` lines; empty without a file.  Raises ConfigError."""
    if not path:
        return {}
    users: dict[str, str] = {}
    for number, line in enumerate(_read(path, "--sasl-users").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.partition(":")
        where = f"--sasl-users {path}, line {number}"
        if not colon or not user or not password or not line.isprintable() or "@" in user or '"' in user:
            raise ConfigError(f'{where}: expected USER:PASSWORD, printable, without @ or " in the name')
        if user in users:
            raise ConfigError(f"{where}: the user stands there twice")
        users[user] = password
    if not users:
        raise ConfigError(f"--sasl-users {path}: no users in it; each line is USER:PASSWORD")
    return users


def _read(path: str, option: str) -> str:
    """The text of a file that nobody else may read.  Raises ConfigError."""
    try:
        # A pipe that nobody writes into must not make the node wait without a word.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{option} {path}: is no file")
            if mode & 0o077:
                raise ConfigError(f"{option} {path}: others may read or write it (mode {mode & 0o777:o}); run chmod 600 {path}")
            return file.read(FILE_BYTES_MAX).decode()
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {path}: it is not UTF-8") from error
