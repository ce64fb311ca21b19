"""Listening sockets, opened once by the supervisor and shared by the processes it starts.

So a port that is taken is found before anything is started, and a worker that is restarted finds its queue of connections."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from fastzk.config import Address, ConfigError

BACKLOG = 1024


def listen(address: Address, option: str, *, is_shared: bool = False) -> socket.socket:
    """A non-blocking listening socket.  Raises ConfigError that says what is wrong and what to do."""
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the second is of a name that is none
        raise ConfigError(f"{option} {address}: {getattr(error, 'strerror', None) or 'no such host'}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setblocking(False)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            what = "the port is in use; stop the process that has it or choose another port"
            raise ConfigError(f"{option} {address}: {what}") from error
        raise ConfigError(f"{option} {address}: cannot listen there: {error.strerror}") from error
    return listener


def listen_group(address: Address, option: str, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port, for as many processes; the kernel spreads new connections over them by chance.

    For libzmq, which accepts by itself: of processes that share one socket nearly always the same one would be first."""
    # Sockets that share a port would join those of another node on it; this one finds out whether the port is free.
    listen(address, option).close()
    group = [listen(address, option, is_shared=True)]
    bound = Address(address.host, group[0].getsockname()[1])
    for _ in range(count - 1):
        group.append(listen(bound, option, is_shared=True))
    return group


def listen_unix(path: str) -> socket.socket:
    """A non-blocking listening Unix socket in a directory of the node's own; one that stood there is replaced.

    Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(path)
    listener.listen(BACKLOG)
    return listener
