"""The network between nodes, simulated: it delays, loses, repeats and reorders, and breaks as networks do.

Rule: all its chances come from one generator of its own, so that another concern's faults do not move them.

A link goes one way.  Messages keep their order on it unless reordering is drawn.  A hole loses what is on its way and
nobody is told, as when ZeroMQ reconnects; a closed link loses it too, and the caller tells both ends.  A cut link loses
what arrives, or holds it back until it is mended, as TCP does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from fastzk.testing.events import EventHeap

# Whatever is sent is carried as it is.
Message = Any
Deliver = Callable[[int, int, Message], None]
Link = tuple[int, int]


@dataclass(slots=True)
class NetworkFaults:
    """How bad the network is.  Rates are chances per message."""

    delay_us: int = 300
    jitter_us: int = 300
    loss: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0
    # A message that is reordered or repeated may come this late.
    late_us: int = 50_000
    is_cut_holding: bool = False


class SimNetwork:
    """Carries messages between numbered nodes."""

    POLL_US = 5_000

    def __init__(self, heap: EventHeap, random: Random, faults: NetworkFaults, deliver: Deliver) -> None:
        self._heap = heap
        self._random = random
        self.faults = faults
        self._deliver = deliver
        self._cut: dict[Link, bool] = {}
        # Arrival of the last message in order; and the number of times the link has broken.
        self._last_arrival_us: dict[Link, int] = {}
        self._breaks: dict[Link, int] = {}

    def send(self, sender: int, receiver: int, message: Message) -> None:
        """Takes a message; it arrives once, never, or several times."""
        if self._random.random() < self.faults.loss:
            return
        self._plan((sender, receiver), message)
        if self._random.random() < self.faults.repeat:
            self._plan((sender, receiver), message)

    def cut(self, sender: int, receiver: int) -> None:
        """Nothing passes this way until mend()."""
        self._cut[sender, receiver] = True

    def mend(self) -> None:
        """Every cut is over."""
        self._cut.clear()

    def hold(self, sender: int, receiver: int, time_us: int) -> None:
        """Nothing that is sent this way arrives before so long; its order is kept."""
        link = (sender, receiver)
        self._last_arrival_us[link] = max(self._last_arrival_us.get(link, 0), self._heap.now_us + time_us)

    def break_link(self, sender: int, receiver: int) -> None:
        """What is on its way is lost."""
        link = (sender, receiver)
        self._breaks[link] = self._breaks.get(link, 0) + 1

    def heal(self) -> None:
        """From now on the network is as good as networks are."""
        self.faults = NetworkFaults()
        self._last_arrival_us.clear()
        self.mend()

    def _plan(self, link: Link, message: Message) -> None:
        faults, now_us = self.faults, self._heap.now_us
        arrival_us = now_us + faults.delay_us + self._random.randint(0, faults.jitter_us)
        if self._random.random() < faults.reorder:
            arrival_us += self._random.randint(0, faults.late_us)
        else:
            arrival_us = max(arrival_us, self._last_arrival_us.get(link, 0))
            self._last_arrival_us[link] = arrival_us
        self._heap.after(arrival_us - now_us, self._arrive, link, self._breaks.get(link, 0), message)

    def _arrive(self, link: Link, breaks: int, message: Message) -> None:
        if breaks != self._breaks.get(link, 0):
            return
        if link not in self._cut:
            self._deliver(*link, message)
        elif self.faults.is_cut_holding:
            self._heap.after(self.POLL_US, self._arrive, link, breaks, message)
