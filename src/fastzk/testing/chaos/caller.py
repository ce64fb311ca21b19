"""What both kinds of clients of the workload share: their life as a thread, their pace, and what the harness reads of them.

Rules: a client paces itself; what it could not ask in time it does not make up for, so that a fault is no burst afterwards.
While paused it asks nothing, keeps its session, and says when all that it had asked was answered.

How it works: the harness calls; the thread looks at the flags at each turn."""

import threading
import time
from abc import ABC, abstractmethod
from random import Random

from fastzk.testing.chaos.operations import Chooser
from fastzk.testing.history import Recording


class Tally:
    """What came of a client's requests.  Only its thread writes."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.unknown = 0
        # Successful writes, and when the last of them was acknowledged (CLOCK_MONOTONIC, seconds).
        self.writes = 0
        self.written_s = 0.0
        self.sessions = 0


class Caller(threading.Thread, ABC):
    """A client with a thread of its own.  Subclasses have turn()."""

    def __init__(self, name: str, recording: Recording, random: Random, rate: float, window: int, session_s: float) -> None:
        """rate: requests per second.  window: how many may be under way."""
        super().__init__(name=name, daemon=True)
        self.recording = recording
        self.random = random
        self.chooser = Chooser(Random(random.random()), name)
        self.window = window
        self.session_s = session_s
        # Without a connection for so long, it begins as if it were new.
        self.alone_s_max = 2 * session_s
        self.tally = Tally()
        self.failure: BaseException | None = None
        self._step_s = 1 / rate
        self._due_s = time.monotonic()
        self._is_paused = threading.Event()
        self._is_finishing = threading.Event()
        self._is_ending = threading.Event()
        # Set by the thread when it is paused and nothing is under way, and when its last sync and read were answered.
        self.is_quiet = threading.Event()
        self.is_finished = threading.Event()

    # ---- the harness

    def pause(self) -> None:
        """Asks nothing more, until resume()."""
        self.is_quiet.clear()
        self._is_paused.set()

    def resume(self) -> None:
        """Goes on."""
        self._is_paused.clear()

    def finish(self) -> None:
        """After pause(): one sync and one read, so that every event that is due has come; is_finished tells when."""
        self._is_finishing.set()

    def end(self) -> None:
        """Ends the thread and the connection, and leaves the session to itself.  Raises what the thread failed with."""
        self._is_ending.set()
        self.join(30)
        self.recording.close()
        if self.is_alive():
            raise RuntimeError(f"{self.name} does not end")
        self.check()

    def check(self) -> None:
        """Raises what the thread failed with."""
        if self.failure is not None:
            raise RuntimeError(f"{self.name} failed") from self.failure

    # ---- the thread

    def run(self) -> None:
        try:
            while not self._is_ending.is_set():
                self.turn()
        except BaseException as failure:
            self.failure = failure
        finally:
            self.leave()

    @abstractmethod
    def turn(self) -> None:
        """Asks what is due and takes what has come; waits a little when there is nothing."""

    @abstractmethod
    def leave(self) -> None:
        """Gives the connection up."""

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for the next request; counts it as asked."""
        if self._is_paused.is_set() or now_s < self._due_s:
            return False
        self._due_s = max(self._due_s + self._step_s, now_s - 4 * self._step_s)
        return True

    def wait_s(self, now_s: float) -> float:
        """How long there is nothing to ask."""
        return 0.05 if self._is_paused.is_set() else min(0.05, max(0.0, self._due_s - now_s))
