"""Trying again: the pauses between attempts, and the helper that repeats a call.

Rule: every pause is jittered, or a thousand clients of a server that died come back in one instant."""

import time
from collections.abc import Callable
from random import Random
from typing import ParamSpec, TypeVar

from fastzk.errors import (
    ConnectionClosedError,
    ConnectionLoss,
    OperationTimeoutError,
    RetryFailedError,
    SessionExpiredError,
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Backoff:
    """Pauses that double from the first to the longest, each cut by a random part of up to a half."""

    def __init__(self, first_s: float, max_s: float, random: Random) -> None:
        assert 0 < first_s <= max_s
        self._first_s = first_s
        self._max_s = max_s
        self._random = random
        self._next_s = first_s

    def next_s(self) -> float:
        """The pause before the next attempt, in seconds."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._max_s)
        return pause_s * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """An attempt succeeded."""
        self._next_s = self._first_s


class Retry:
    """Repeats a call for as long as it fails for want of a connection (kazoo: KazooRetry).

    A write that failed with ConnectionLoss may have been done: repeat only what may be done twice.  An instance keeps
    nothing between calls and serves any number of threads."""

    def __init__(
        self,
        max_tries: int = 1,
        delay: float = 0.1,
        max_delay: float = 60.0,
        ignore_expire: bool = True,
        deadline: float | None = None,
        random: Random | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """max_tries -1: no limit.  ignore_expire: try again after the session expired, too.  Times in seconds."""
        self._max_tries = max_tries
        self._delay = delay
        self._max_delay = max_delay
        self._deadline = deadline
        self._random = random or Random()
        self._sleep = sleep
        always = (ConnectionLoss, OperationTimeoutError)
        self._causes = (*always, SessionExpiredError) if ignore_expire else always

    def __call__(self, func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What func gives.  Raises RetryFailedError, or what func raises that is no reason to try again."""
        backoff = Backoff(self._delay, max(self._delay, self._max_delay), self._random)
        end = None if self._deadline is None else time.monotonic() + self._deadline
        tries = 0
        while True:
            try:
                return func(*args, **kwargs)
            except ConnectionClosedError:
                raise
            except self._causes as error:
                tries += 1
                if tries == self._max_tries:
                    raise RetryFailedError(f"failed {tries} times") from error
                pause_s = backoff.next_s()
                if end is not None and time.monotonic() + pause_s >= end:
                    raise RetryFailedError(f"failed for {self._deadline} seconds") from error
                self._sleep(pause_s)
