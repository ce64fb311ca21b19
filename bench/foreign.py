"""Servers of others on loopback, started, awaited and ended alike, so that their modules say only what is particular to them.

Rules: each server is a process group of its own and logs into a file; all are gone when the `with` ends, and what they wrote
with them.  One that ends by itself, or does not serve in time, is told with the end of every log."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fastzk.testing.ensemble import wait_for

START_S_MAX = 60.0
LOG_TAIL_CHARACTERS = 2000


@contextlib.contextmanager
def home_below(directory: Path, name: str) -> Iterator[Path]:
    """A fresh directory for the data of all servers of a kind; removed with all that is in it."""
    directory.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=directory)).resolve()
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextlib.contextmanager
def serving(commands: Sequence[Sequence[str]], home: Path, are_serving: Callable[[], bool], what: str) -> Iterator[None]:
    """Runs the commands until the `with` ends.  Raises RuntimeError, with the logs, when they do not come to serve."""
    logs = [home / f"log-{number}" for number in range(1, len(commands) + 1)]
    servers: list[subprocess.Popen[bytes]] = []

    def have_ended() -> bool:
        return any(server.poll() is not None for server in servers)

    try:
        for command, path in zip(commands, logs, strict=True):
            with path.open("wb") as log:
                servers.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=home)
                )
        try:
            wait_for(lambda: have_ended() or are_serving(), START_S_MAX, f"{what} to serve")
            if have_ended():
                raise TimeoutError(f"{what}: a server ended with {[server.returncode for server in servers]}")
        except TimeoutError as late:
            tails = "\n".join(f"---- {path.name}\n{path.read_text(errors='replace')[-LOG_TAIL_CHARACTERS:]}" for path in logs)
            raise RuntimeError(f"{late}\n{tails}") from late
        yield
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
