"""All clients of a run together: made, watched, paused, and at last heard out.

Rule: whoever writes to the ensemble is recorded, the maker of the first znodes too: what nobody asked for must not be in the log.

How it works: half of the clients speak ZooKeeper's protocol, half the native one.  Each writes a history of its own into the
run's directory, so that they share no lock."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from fastzk.testing.chaos.caller import Caller
from fastzk.testing.chaos.native_caller import NativeCaller, TappedClient
from fastzk.testing.chaos.operations import PARENTS
from fastzk.testing.chaos.tcp_caller import TcpCaller
from fastzk.testing.ensemble import Node, wait_for
from fastzk.testing.history import Recording, Tap

CLIENTS = 10
SESSION_S = 6.0
WINDOW = 4
QUIET_S_MAX = 60.0
_START_S_MAX = 30.0


class Crowd:
    """The clients of a run."""

    def __init__(self, nodes: Sequence[Node], history: Path, random: Random, rate: float, count: int = CLIENTS) -> None:
        """rate: requests per second, of all together."""
        self._nodes = list(nodes)
        self._history = history
        self.callers: list[Caller] = []
        for number in range(1, count + 1):
            name = f"client-{number}"
            window = 1 if number % 3 == 0 else WINDOW
            recording = Recording.create(history, None, name=name)
            kind, places = (
                (TcpCaller, [node.zk for node in nodes]) if number % 2 else (NativeCaller, [node.native for node in nodes])
            )
            self.callers.append(kind(name, recording, Random(random.random()), rate / count, window, SESSION_S, places))

    def start(self) -> None:
        """Makes the first znodes, and begins."""
        names = {node.native_host: f"node-{node.number}" for node in self._nodes}
        recording = Recording.create(self._history, None, name="maker")
        client = TappedClient(",".join(names), SESSION_S, Random(0), Tap(recording, "maker"), names)
        client.start(_START_S_MAX)
        for parent in PARENTS:
            client.create(parent)
        client.stop()
        recording.close()
        for caller in self.callers:
            caller.start()

    # ---- what they have seen

    @property
    def answered(self) -> int:
        """Answers so far."""
        return sum(caller.tally.answered for caller in self.callers)

    @property
    def asked(self) -> int:
        """Requests so far."""
        return sum(caller.tally.asked for caller in self.callers)

    @property
    def unknown(self) -> int:
        """Writes without an answer so far."""
        return sum(caller.tally.unknown for caller in self.callers)

    @property
    def writes(self) -> int:
        """Writes that were acknowledged so far."""
        return sum(caller.tally.writes for caller in self.callers)

    @property
    def written_s(self) -> float:
        """When the last write was acknowledged."""
        return max(caller.tally.written_s for caller in self.callers)

    def check(self) -> None:
        """Raises what a client failed with."""
        for caller in self.callers:
            caller.check()

    # ---- what they are told

    def pause(self) -> None:
        """Asks them to stop asking, and returns when everything was answered or given up."""
        for caller in self.callers:
            caller.pause()
        self._await([caller.is_quiet for caller in self.callers], "to be quiet")

    def resume(self) -> None:
        """They go on."""
        for caller in self.callers:
            caller.resume()

    def finish(self) -> None:
        """Everybody has one last sync and read, so that everybody has heard what was due."""
        self.pause()
        for caller in self.callers:
            caller.finish()
        self._await([caller.is_finished for caller in self.callers], "to hear the last")

    def end(self) -> None:
        """Ends all."""
        enders = [threading.Thread(target=caller.end) for caller in self.callers]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        self.check()

    def _await(self, flags: Sequence[threading.Event], what: str) -> None:
        def are_set() -> bool:
            self.check()
            return all(flag.is_set() for flag in flags)

        try:
            wait_for(are_set, QUIET_S_MAX, f"the clients {what}")
        except TimeoutError as late:
            missing = [caller.name for caller, flag in zip(self.callers, flags, strict=True) if not flag.is_set()]
            raise TimeoutError(f"{late}: {', '.join(missing)}") from late


class Gap:
    """The longest time without an acknowledged write, as whoever looks at it often sees it."""

    def __init__(self, crowd: Crowd) -> None:
        self.longest_s = 0.0
        # The same, counted from the moment in which everything was healed.
        self.longest_healed_s = 0.0
        self._crowd = crowd
        self._began_s = time.monotonic()
        self._healed_s = self._began_s
        self._is_counting = False

    def begin(self) -> None:
        """Writes are expected from now on."""
        self._began_s = self._healed_s = time.monotonic()
        self._is_counting = True

    def disturbed(self) -> None:
        """A fault begins."""
        self._healed_s = float("inf")

    def healed(self) -> None:
        """All faults are over, and all nodes started."""
        self._healed_s = time.monotonic()

    def end(self) -> None:
        """No writes are expected for a while."""
        self.look()
        self._is_counting = False

    def look(self) -> float:
        """How long there was no write; to be called often."""
        if not self._is_counting:
            return 0.0
        now_s, written_s = time.monotonic(), self._crowd.written_s
        gap_s = now_s - max(self._began_s, written_s)
        self.longest_s = max(self.longest_s, gap_s)
        self.longest_healed_s = max(self.longest_healed_s, now_s - max(self._healed_s, self._began_s, written_s))
        return gap_s
