"""Faulty versions of the consensus, each with one rule broken, to prove that the simulator sees it.

A mutant is a source line of the real code, replaced; so it goes stale loudly: a line that is no longer there, or is
there twice, is an error.  The mutated modules are built apart and never replace the real ones.  A few break what a node does
around the consensus, which the simulator does in its place (upheaval.py, range_disk.py, simulation.py).
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
TESTING = RAFT.parent / "testing"

# In the order in which they import each other.
RAFT_FILES = (
    "membership.py",
    "messages.py",
    "settings.py",
    "quorum.py",
    "progress.py",
    "log.py",
    "ready.py",
    "leader.py",
    "peer.py",
)


@dataclass(frozen=True)
class Mutant:
    """One broken rule: in this file, this text becomes that, and this seed finds it.

    row: which bugs of other systems it stands for, numbered as in docs/internals/consensus.md."""

    seed: int
    name: str
    file: str
    old: str
    new: str
    row: str = ""


MUTANTS = (
    Mutant(
        0,
        "acknowledges what is not synced",
        "peer.py",
        "index = min(max(self._matched_index, self._log.committed_index), self._log.synced_index)",
        "index = max(self._matched_index, self._log.committed_index)",
        row="1, 2",
    ),
    Mutant(
        0,
        "the leader counts its own log before its disk has it",
        "leader.py",
        "matched[self._node_id] = self._log.synced_index",
        "matched[self._node_id] = self._log.last_index",
    ),
    Mutant(
        14,
        "votes twice in an epoch",
        "peer.py",
        "is_free = self.vote is None or self.vote == vote.sender",
        "is_free = True",
        row="10",
    ),
    Mutant(
        0,
        "forgets its vote in a crash",
        "peer.py",
        "hard_state = (self.epoch, self.vote)\n        soft",
        "hard_state = (self.epoch, None)\n        soft",
        row="10",
    ),
    Mutant(
        0,
        "forgets its epoch in a crash",
        "peer.py",
        "hard_state=None if hard_state == self._hard_state else hard_state,",
        "hard_state=None,",
        row="10",
    ),
    Mutant(
        0,
        "votes for a log that is behind",
        "peer.py",
        "return (vote.last_epoch, vote.last_index) >= (self._log.last_epoch, self._log.last_index)",
        "return True",
        row="3, 11",
    ),
    Mutant(
        0,
        "compares logs by length alone",
        "peer.py",
        "return (vote.last_epoch, vote.last_index) >= (self._log.last_epoch, self._log.last_index)",
        "return vote.last_index >= self._log.last_index",
        row="11",
    ),
    Mutant(
        0,
        "commits an older epoch's range by counting",
        "leader.py",
        "if index <= self._log.committed_index or self._log.epoch_at(index) != self.epoch:",
        "if index <= self._log.committed_index:",
    ),
    Mutant(
        3,
        "truncates whenever it takes something",
        "peer.py",
        "if self._log.epoch_at(entries.last_index) == entries.epoch:",
        "if False:",
        row="8",
    ),
    Mutant(
        15,
        "accepts the report of a write that was truncated",
        "log.py",
        "if generation < self.generation or last_index <= self.synced_index:",
        "if last_index <= self.synced_index:",
        row="16",
    ),
    Mutant(
        0,
        "counts as synced what it has truncated",
        "log.py",
        "self.synced_index = min(self.synced_index, index)",
        "pass",
        row="16",
    ),
    Mutant(
        0,
        "commits beyond what is known to match",
        "peer.py",
        "self._log.commit(min(message.committed_index, matched_index))",
        "self._log.commit(min(message.committed_index, self._log.last_index))",
        row="4, 14",
    ),
    Mutant(
        76,
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
        row="5",
    ),
    Mutant(
        3,
        "takes half for a majority",
        "quorum.py",
        "(group, len(group) // 2 + 1)",
        "(group, (len(group) + 1) // 2)",
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
        row="12",
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
        6,
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
    Mutant(
        0,
        "keeps its own range where the leader has another",
        "peer.py",
        "if self._log.epoch_at(entries.last_index) == entries.epoch:",
        "if self._log.epoch_at(entries.last_index) is not None:",
        row="7",
    ),
    Mutant(
        113,
        "sends the log to a follower that needs a snapshot",
        "leader.py",
        "if refusal.index < self._log.first_index:",
        "if False:",
        row="9",
    ),
    Mutant(
        0,
        "takes what follows a hole",
        "peer.py",
        "        if index > self._log.committed_index:\n            return found == epoch\n",
        "        if index > self._log.committed_index:\n            return found in (epoch, None)\n",
        row="5, 9",
    ),
    Mutant(
        0,
        "would vote for any log",
        "peer.py",
        "is_granted = self.is_sound and vote.epoch > self.epoch and not is_leader_alive and self._is_up_to_date(vote)",
        "is_granted = self.is_sound and vote.epoch > self.epoch and not is_leader_alive",
        row="13",
    ),
    Mutant(
        13,
        "drops its tail behind a snapshot that agrees with it",
        "range_disk.py",
        "        if self.epoch_at(snapshot.index) != snapshot.epoch:\n",
        "        if True:\n",
        row="8",
    ),
    Mutant(
        5,
        "counts a node that is not sound",
        "progress.py",
        "is_news = is_sound and index > self.counted_index",
        "is_news = index > self.counted_index",
    ),
    Mutant(
        2,
        "votes while it is not sound",
        "peer.py",
        "is_granted = self.is_sound and vote.epoch == self.epoch and is_free",
        "is_granted = vote.epoch == self.epoch and (is_free or not self.is_sound)",
    ),
    Mutant(
        1,
        "asks for votes while it is not sound",
        "peer.py",
        "return self.is_sound and self._log.may_decide(self.node_id)",
        "return self._log.may_decide(self.node_id)",
    ),
    Mutant(
        3,
        "is sound before its disk holds why",
        "simulation.py",
        "if node.rejoined is None or peer.synced_index < node.rejoined[0]:",
        "if node.rejoined is None:",
    ),
    Mutant(
        13,
        "takes an entry of an earlier life for its rejoining",
        "simulation.py",
        "if not peer.is_sound and entries.payload == self.rejoining(node):",
        'if not peer.is_sound and entries.payload.startswith(b"rejoin %d " % node.node_id):',
    ),
    Mutant(
        1,
        "forgets that its disk is new",
        "range_disk.py",
        "disk.incarnation, disk.is_sound = self.incarnation + 1, False",
        "disk.incarnation, disk.is_sound = self.incarnation + 1, True",
    ),
    Mutant(
        3,
        "asks only the new majority while it is joint",
        "quorum.py",
        "groups = [group for group in (membership.voters, membership.old_voters) if group]",
        "groups = [membership.voters]",
    ),
    Mutant(
        3,
        "asks only the old majority while it is joint",
        "quorum.py",
        "groups = [group for group in (membership.voters, membership.old_voters) if group]",
        "groups = [membership.old_voters or membership.voters]",
    ),
    Mutant(
        25,
        "takes both groups for one while it is joint",
        "quorum.py",
        "groups = [group for group in (membership.voters, membership.old_voters) if group]",
        "groups = [self.voters]",
    ),
    Mutant(
        3,
        "puts a membership in force only when it is committed",
        "log.py",
        "return self._memberships[-1] if self._memberships else self._base\n",
        "return self.committed_membership\n",
    ),
    Mutant(
        58,
        "keeps a membership that was truncated",
        "log.py",
        "while self._memberships and self._memberships[-1][0] > index:",
        "while False:",
    ),
    Mutant(
        3,
        "begins a change before the last one is committed",
        "peer.py",
        "if self.membership_index > self.committed_index:\n            raise",
        "if False:\n            raise",
    ),
    Mutant(
        25,
        "a removed leader counts itself",
        "leader.py",
        "self._quorum = Quorum(membership)\n",
        "self._quorum = Quorum(Membership(tuple({*membership.voters, self._node_id}), (), membership.old_voters))\n",
    ),
    Mutant(
        21,
        "a removed leader goes on leading",
        "peer.py",
        "if not self.membership.has_voter(self.node_id) and self.membership_index <= self.committed_index:",
        "if False:",
    ),
    Mutant(
        3,
        "a removed node never asks for votes, though it may have to",
        "log.py",
        "            if index <= self.committed_index:\n                return False\n        return",
        "            return False\n        return",
    ),
    Mutant(
        12,
        "forgets the membership that a snapshot covers",
        "log.py",
        "            self._base = self._memberships.pop(0)\n",
        "            self._memberships.pop(0)\n",
    ),
    Mutant(
        12,
        "takes over when an earlier leader wanted it",
        "peer.py",
        "is_mine = message.epoch == self.epoch and message.sender == self.leader_id",
        "is_mine = message.epoch <= self.epoch",
    ),
    Mutant(
        20,
        "never sees that a follower has its snapshot",
        "progress.py",
        "        self.is_behind = False\n        if self.is_probing:",
        "        if self.is_probing:",
    ),
    Mutant(
        0,
        "does not let a new member catch up",
        "leader.py",
        "                self.progress[other] = Progress(self._log.last_index + 1, self._tick)\n",
        "                pass\n",
    ),
)


@contextmanager
def planted(mutant: Mutant) -> Iterator[ModuleType]:
    """The simulation module over a mutated consensus; the real modules are back afterwards."""
    names = [name for name in sys.modules if name.startswith(("fastzk.raft.", "fastzk.testing."))]
    saved = {name: sys.modules.pop(name) for name in names}
    try:
        for file in RAFT_FILES:
            _build("raft", file, mutant)
        if (TESTING / mutant.file).exists():
            _build("testing", mutant.file, mutant)
        yield importlib.import_module("fastzk.testing.simulation")
    finally:
        for name in [name for name in sys.modules if name.startswith(("fastzk.raft.", "fastzk.testing."))]:
            del sys.modules[name]
        sys.modules.update(saved)
        for name, module in saved.items():
            package, _, child = name.rpartition(".")
            setattr(sys.modules[package], child, module)


def _build(package: str, file: str, mutant: Mutant) -> None:
    """Imports one file, mutated if it is the one meant."""
    source = (RAFT.parent / package / file).read_text()
    if file == mutant.file:
        found = source.count(mutant.old)
        assert found == 1, f"mutant {mutant.name!r}: its line is {found} times in {file}"
        source = source.replace(mutant.old, mutant.new)
    name = f"fastzk.{package}.{file.removesuffix('.py')}"
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
