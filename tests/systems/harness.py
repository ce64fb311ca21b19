"""What a test of a whole system is given: the servers that it runs on, and the figures it notes for the table at the end."""

import time

from fastzk.testing.ensemble import Ensemble

# System, what was done, how long it took.
FIGURES: list[tuple[str, str, str]] = []


class Figures:
    """Keeps what was done and how long it took, for the table at the end of the run."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.began = time.monotonic()

    def begin(self) -> None:
        """Time runs from here."""
        self.began = time.monotonic()

    def done(self, what: str) -> None:
        """Notes what was done since the last one."""
        FIGURES.append((self.system, what, f"{time.monotonic() - self.began:8.2f} s"))
        self.begin()


class Servers:
    """The servers of ZooKeeper's protocol that a system runs on."""

    def __init__(self, hosts: str, ensemble: Ensemble | None) -> None:
        self.hosts = hosts
        self.ensemble = ensemble

    def replace_leader(self) -> bool:
        """Kills the leader, waits for another, starts the killed one again; False for servers that are not ours."""
        if self.ensemble is None:
            return False
        victim = self.ensemble.leader()
        victim.kill9()
        self.ensemble.leader()
        self.ensemble.restart(victim)
        return True
