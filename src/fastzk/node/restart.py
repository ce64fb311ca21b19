"""A node that starts itself anew: how its engine asks for it, and the bound on how often that is done.

Theory: what an engine holds in memory was built from its disk at the start; when something else must be built (a snapshot that
came from the leader, a state that differs from the others'), the start is the one place that knows how.  The engine raises
StartAnew, its process ends with STATUS_RESTART, the supervisor ends the workers and executes itself: same process id, same
arguments, sockets and the directory's lock taken again.

Rule: RESTARTS_MAX within RESTARTS_WITHIN_S, with growing pauses; then it gives up, and says so.  When it was started is handed
on in the environment, on the monotonic clock, which goes on over an execution."""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

STATUS_RESTART = 75  # EX_TEMPFAIL of sysexits.h: a user is asked to try again, and here the supervisor does
RESTARTS_MAX = 5
RESTARTS_WITHIN_S = 60.0
PAUSE_FIRST_S = 0.1  # before the second; doubles
VARIABLE = "FASTZK_RESTARTS"  # milliseconds, oldest first


class StartAnew(Exception):  # noqa: N818
    """The engine must be built anew from its disk; the text says why."""


class Restarts:
    """When this node started itself anew."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        words = environment.get(VARIABLE, "").split(",")
        self._at_ms = [int(word) for word in words if word.isascii() and word.isdigit()]

    def ask(self, now_s: float) -> float | None:
        """Seconds to wait before the next one, which is noted; None when there have been too many."""
        self._at_ms = [at for at in self._at_ms if now_s * 1000 - RESTARTS_WITHIN_S * 1000 < at <= now_s * 1000]
        done = len(self._at_ms)
        if done >= RESTARTS_MAX:
            return None
        self._at_ms.append(int(now_s * 1000))
        return PAUSE_FIRST_S * 2.0 ** (done - 1) if done else 0.0

    def execute(self) -> NoReturn:
        """This process begins again from its first line."""
        environment = {**os.environ, VARIABLE: ",".join(map(str, self._at_ms))}
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
