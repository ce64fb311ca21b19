"""What the engine tells of itself, for the four-letter words: numbers in the page that the node's processes share, and the roll
of the sessions to a worker that asks.

Rule: it only looks, and costs nothing that grows while nobody asks."""

from __future__ import annotations

import time
from typing import Any

from fastzk._core.arena import Arena
from fastzk._core.roll import call_roll
from fastzk.node import words
from fastzk.node.asks import Asks, Question
from fastzk.node.setup import EngineSetup
from fastzk.node.stats import ENGINE_NAMES, StatsPage
from fastzk.node.word_desk import ENGINE
from fastzk.raft.peer import Peer
from fastzk.state.expiry import ExpiryTable


class EngineTells:
    """The engine's side of the words.  Raises OSError when its socket cannot be made."""

    def __init__(self, setup: EngineSetup, arena: Arena) -> None:
        self._arena = arena
        self._asks = Asks(setup.run_fd, ENGINE)
        self._page = StatsPage(setup.stats_fd)
        self._values = dict.fromkeys(ENGINE_NAMES, 0)

    @property
    def fd(self) -> int:
        """What to poll for input."""
        return self._asks.fileno()

    def began_to_lead(self, now_ms: int) -> None:
        """This node leads from now on."""
        self._values["leader_since_ms"] = now_ms

    def proposed(self, size: int) -> None:
        """A block of so many bytes was proposed."""
        values = self._values
        values["proposal_bytes_min"] = min(size, values["proposal_bytes_min"]) if values["proposals"] else size
        values["proposal_bytes_max"] = max(size, values["proposal_bytes_max"])
        values["proposal_bytes_last"] = size
        values["proposals"] += 1

    def publish(self, peer: Peer, heard: list[int], now_ms: int) -> None:
        """Brings the page up to date, once per tick; `heard` are the other nodes that were heard of of late."""
        values = self._values
        values["ticks"] += 1
        values["uncommitted"] = max(0, peer.last_index - peer.committed_index)
        values["learners"] = len(heard)
        close = set(heard) & set(peer.streaming())
        values["synced_followers"] = sum(map(peer.membership.has_voter, close))
        values["synced_observers"] = len(close) - values["synced_followers"]
        self._page.tell(values)

    def hear(self, is_leader: bool, expiry: ExpiryTable, session_ms: int) -> None:
        """Answers what workers ask."""
        for message in self._asks.take():
            if not isinstance(message, Question):
                continue
            if message.what == words.SESSIONS:
                self._asks.answer(message, self._sessions(expiry if is_leader else None, session_ms))
            elif message.what == words.RESET:
                for name in ("proposals", "proposal_bytes_last", "proposal_bytes_min", "proposal_bytes_max"):
                    self._values[name] = 0
                self._asks.answer(message, None)

    def close(self) -> None:
        """Closes the socket."""
        self._asks.close()

    def _sessions(self, expiry: ExpiryTable | None, session_ms: int) -> dict[str, Any]:
        roll = [(number, timeout_ms, [path.decode() for path in paths]) for number, timeout_ms, paths in call_roll(self._arena)]
        expiring = None
        if expiry is not None:
            wall_ms = time.time_ns() // 1_000_000
            expiring = {wall_ms + deadline_ms - session_ms: ids for deadline_ms, ids in expiry.deadlines().items()}
        return {"sessions": roll, "expiring": expiring}
