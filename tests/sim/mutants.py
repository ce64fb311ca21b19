"""Faulty versions of the consensus, each with one rule broken, to prove that the simulator sees it.

A mutant is a source line of the real code, replaced; so it goes stale loudly: a line that is no longer there, or is
there twice, is an error.  The mutated modules are built apart and never replace the real ones.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import fastzk.raft

RAFT = Path(next(iter(fastzk.raft.__path__)))


@dataclass(frozen=True)
class Mutant:
    """One broken rule: in this file, this text becomes that, and this seed finds it."""

    seed: int
    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        0,
        "acknowledges what is not synced",
        "peer.py",
        "index = min(self._matched_index, self._log.synced_index)",
        "index = self._matched_index",
    ),
    Mutant(
        0,
        "the leader counts its own log before its disk has it",
        "leader.py",
        "matched[self._node_id] = self._log.synced_index",
        "matched[self._node_id] = self._log.last_index",
    ),
    Mutant(
        13,
        "votes twice in an epoch",
        "peer.py",
        "is_free = self.vote is None or self.vote == vote.sender",
        "is_free = True",
    ),
    Mutant(
        0,
        "forgets its vote in a crash",
        "peer.py",
        "hard_state = (self.epoch, self.vote)\n        soft",
        "hard_state = (self.epoch, None)\n        soft",
    ),
    Mutant(
        0,
        "forgets its epoch in a crash",
        "peer.py",
        "hard_state=None if hard_state == self._hard_state else hard_state,",
        "hard_state=None,",
    ),
    Mutant(
        0,
        "votes for a log that is behind",
        "peer.py",
        "return (vote.last_epoch, vote.last_index) >= (self._log.last_epoch, self._log.last_index)",
        "return True",
    ),
    Mutant(
        0,
        "compares logs by length alone",
        "peer.py",
        "return (vote.last_epoch, vote.last_index) >= (self._log.last_epoch, self._log.last_index)",
        "return vote.last_index >= self._log.last_index",
    ),
    Mutant(
        0,
        "commits an older epoch's range by counting",
        "leader.py",
        "if index <= self._log.committed_index or self._log.epoch_at(index) != self.epoch:",
        "if index <= self._log.committed_index:",
    ),
    Mutant(
        10,
        "truncates whenever it takes something",
        "peer.py",
        "if self._log.epoch_at(entries.last_index) == entries.epoch:",
        "if False:",
    ),
    Mutant(
        40,
        "accepts the report of a write that was truncated",
        "log.py",
        "if generation < self.generation or last_index <= self.synced_index:",
        "if last_index <= self.synced_index:",
    ),
    Mutant(
        0,
        "counts as synced what it has truncated",
        "log.py",
        "self.synced_index = min(self.synced_index, index)",
        "pass",
    ),
    Mutant(
        39,
        "commits beyond what is known to match",
        "peer.py",
        "self._log.commit(min(message.committed_index, matched_index))",
        "self._log.commit(min(message.committed_index, self._log.last_index))",
    ),
    Mutant(
        15,
        "carries a match into the next epoch",
        "peer.py",
        "self._matched_index = 0\n            self._heard_probe",
        "self._heard_probe",
    ),
    Mutant(
        0,
        "takes ranges without looking at what precedes them",
        "peer.py",
        "return found == epoch\n",
        "return found is not None\n",
    ),
    Mutant(
        8,
        "takes half for a majority",
        "quorum.py",
        "self.size = len(voters) // 2 + 1",
        "self.size = (len(voters) + 1) // 2",
    ),
    Mutant(
        0,
        "opens an epoch that it has already voted in",
        "peer.py",
        "self._follow(self.epoch + 1, None)\n        self.role = Role.CANDIDATE",
        "self._follow(max(self.epoch, 1), None)\n        self.role = Role.CANDIDATE",
    ),
    Mutant(
        0,
        "follows the leader of an epoch that is over",
        "peer.py",
        "if message.epoch < self.epoch:",
        "if message.epoch < self.epoch and self.leader_id is not None:",
    ),
    Mutant(
        0,
        "hands the log thread nothing again after a truncation",
        "log.py",
        "self._handed_index = index\n            self._truncate_after",
        "self._truncate_after",
    ),
    Mutant(
        30,
        "lets a batch in before the entry that opens the epoch",
        "peer.py",
        "if self._leader is None or self._is_new_leader:",
        "if self._leader is None:",
    ),
    Mutant(
        5,
        "forgets unsynced ranges when its window is full",
        "log.py",
        "while self._window_bytes > target and self._window[count].last_index <= self.synced_index:",
        "while self._window_bytes > target:",
    ),
    Mutant(
        0,
        "gives out a committed range twice",
        "log.py",
        "self.delivered_index = ranges[-1].last_index",
        "self.delivered_index = ranges[0].last_index",
    ),
    Mutant(
        5,
        "lets a heartbeat say nothing about a hole",
        "leader.py",
        "previous_index = progress.next_index - 1\n        previous_epoch",
        "previous_index = progress.next_index - 1 if ranges else progress.match_index\n        previous_epoch",
    ),
    Mutant(
        0,
        "waits for what was lost on its way",
        "progress.py",
        "self._inflight.clear()\n        self.inflight_bytes = 0",
        "pass",
    ),
)


@contextmanager
def planted(mutant: Mutant) -> Iterator[ModuleType]:
    """The simulation module over a mutated consensus; the real modules are back afterwards."""
    names = [name for name in sys.modules if name.startswith(("fastzk.raft.", "fastzk.testing."))]
    saved = {name: sys.modules.pop(name) for name in names}
    try:
        for file in ("messages.py", "settings.py", "quorum.py", "progress.py", "log.py", "leader.py", "peer.py"):
            _build(file, mutant)
        yield importlib.import_module("fastzk.testing.simulation")
    finally:
        for name in [name for name in sys.modules if name.startswith(("fastzk.raft.", "fastzk.testing."))]:
            del sys.modules[name]
        sys.modules.update(saved)
        for name, module in saved.items():
            package, _, child = name.rpartition(".")
            setattr(sys.modules[package], child, module)


def _build(file: str, mutant: Mutant) -> None:
    """Imports one file of the consensus, mutated if it is the one meant."""
    source = (RAFT / file).read_text()
    if file == mutant.file:
        found = source.count(mutant.old)
        assert found == 1, f"mutant {mutant.name!r}: its line is {found} times in {file}"
        source = source.replace(mutant.old, mutant.new)
    name = f"fastzk.raft.{file.removesuffix('.py')}"
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None, f"no module can be called {name}"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(source, f"{file} ({mutant.name})", "exec"), module.__dict__)


def first_seed(mutant: Mutant, seed_count: int = 300) -> tuple[int, str] | None:
    """The first seed that finds a mutant, and what it says; None if none does."""
    with planted(mutant) as simulation:
        for seed in range(seed_count):
            try:
                simulation.Simulation(seed).run()
            except simulation.SimulationFailed as failure:
                return seed, str(failure).splitlines()[0]
    return None


if __name__ == "__main__":
    for mutant in MUTANTS:
        print(mutant.name, "|", first_seed(mutant) or "is found by no seed", flush=True)
