"""The bug zoo: nodes with one thing broken that was broken in a system of this kind once, and how soon the simulator sees it.

The rows are those of docs/internals/simulation.md.  An animal of Python is a piece of a file, replaced as it is imported; one of
compiled code is built apart (zoo_build.py).  Each hunt runs in a process of its own.

python tests/sim/zoo.py                          every animal, five ranges of seeds each; writes the table of simulation.md
python tests/sim/zoo.py --only "acks at once"    one
python tests/sim/zoo.py --hunt "acks at once" --seeds 0:200     prints each seed, and the one that finds it
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from zoo_build import NAME, Piece, build  # noqa: E402

TABLE = ROOT / "docs" / "internals" / "simulation.md"
BEGIN, END = "<!-- zoo -->", "<!-- end of zoo -->"
# Five ranges of seeds that have nothing in common, and how many of each are tried.
RANGES = (0, 10_000, 20_000, 30_000, 40_000)
SEEDS_MAX = 200
EVENTS = 5_000


@dataclass(frozen=True)
class Animal:
    """One thing broken: in this file this text becomes that."""

    row: int  # of the catalogue of bugs that systems of this kind had
    name: str
    what: str  # happens then
    file: str
    old: str
    new: str
    seed: int = 0  # that finds it, for the fast ones of make test
    is_fast: bool = False

    @property
    def is_compiled(self) -> bool:
        return self.file.endswith(".pyx")


ANIMALS = (
    Animal(
        1,
        "acks what is not synced",
        "a follower vouches for what its log thread still writes",
        "fastzk/raft/peer.py",
        "index = min(max(self._matched_index, self._log.committed_index), self._log.synced_index)",
        "index = max(self._matched_index, self._log.committed_index)",
    ),
    Animal(
        2,
        "takes handed over for synced",
        "a node counts as synced what it has given to the log thread",
        "fastzk/node/core.py",
        "        self.writer.append(ready.append)\n",
        "        self.writer.append(ready.append)\n"
        "        if ready.append:\n"
        "            self.peer.synced(ready.append[-1].last_index, ready.append[-1].epoch, ready.generation)\n",
    ),
    Animal(
        3,
        "votes for a shorter log",
        "a node of a high epoch and a short log is elected",
        "fastzk/raft/peer.py",
        "return (vote.last_epoch, vote.last_index) >= (self._log.last_epoch, self._log.last_index)",
        "return True",
    ),
    Animal(
        4,
        "commits what is only proposed",
        "what came behind what is known to match counts as committed",
        "fastzk/raft/peer.py",
        "self._log.commit(min(message.committed_index, matched_index))",
        "self._log.commit(min(message.committed_index, self._log.last_index))",
    ),
    Animal(
        5,
        "does not see a hole",
        "ranges are taken without a look at what precedes them",
        "fastzk/raft/peer.py",
        "return found == epoch\n",
        "return found is not None\n",
    ),
    Animal(
        7,
        "keeps what it matched across epochs",
        "what matched the last leader's log is vouched for to the next",
        "fastzk/raft/peer.py",
        "self._matched_index = 0\n            self._heard_probe",
        "self._heard_probe",
    ),
    Animal(
        8,
        "leaves superseded segments",
        "a cut of the log leaves the files behind it",
        "fastzk/storage/log.py",
        "removed = [s for s in reversed(log.segments) if s > segment]",
        "removed = []",
    ),
    Animal(
        10,
        "does not sync its vote",
        "a vote is written and may be lost in a crash",
        "fastzk/storage/vote.py",
        "_pack((sequence, epoch, vote, committed_index, self._uid)))\n            file.sync()",
        "_pack((sequence, epoch, vote, committed_index, self._uid)))",
    ),
    Animal(
        11,
        "votes twice",
        "a node votes for whoever asks",
        "fastzk/raft/peer.py",
        "is_free = self.vote is None or self.vote == vote.sender",
        "is_free = True",
    ),
    Animal(
        12,
        "answers a sync by itself",
        "a worker answers sync as of what it has handled",
        "fastzk/_core/requests.pyx",
        "        elif is_write(op):\n",
        "        elif op == OPCODE_SYNC and fz_zoo() == 12:\n"
        "            self.put_answer(c, slot, self.handled_zxid, xid, self.present_zxid(c), 0, body, size)\n"
        "        elif is_write(op):\n",
    ),
    Animal(
        14,
        "lets a batch in before its epoch begins",
        "a leader proposes before the entry that opens its epoch",
        "fastzk/raft/peer.py",
        "if self._leader is None or self._is_new_leader:",
        "if self._leader is None:",
    ),
    Animal(
        15,
        "keeps its own tail behind a fetched snapshot",
        "a log that does not hold the snapshot's last block is gone on with",
        "fastzk/storage/recovery.py",
        "    index = end.last_index\n    try:\n        if index == log.start.last_index:\n",
        "    return True\n    index = end.last_index\n    try:\n        if index == log.start.last_index:\n",
    ),
    Animal(
        16,
        "counts as synced what it has cut",
        "the synced index stays above the end of a cut log",
        "fastzk/raft/log.py",
        "self.synced_index = min(self.synced_index, index)",
        "pass",
    ),
    Animal(
        17,
        "takes a torn tail for damage",
        "the end of a write that a crash cut short is not cut off",
        "fastzk/storage/segments.py",
        "        self.found.cut = Cut(self.file.path, offset, self.size - offset, reason)\n",
        "        raise self.damaged(offset, reason)\n",
    ),
    Animal(
        18,
        "takes damage for a torn tail",
        "whatever is not right in the last segment is cut off with all behind it",
        "fastzk/storage/segments.py",
        "        behind = self._find_mark(offset + 8)\n",
        "        self.found.cut = Cut(self.file.path, offset, self.size - offset, 'torn')\n"
        "        return\n"
        "        behind = self._find_mark(offset + 8)\n",
    ),
    Animal(
        19,
        "begins with an empty tree",
        "a snapshot that is there is not loaded, and the log behind it goes on from nothing",
        "fastzk/storage/recovery.py",
        "            snapshot=self.snapshot.index if self.snapshot else 0,\n",
        "            snapshot=0,\n",
    ),
    Animal(
        20,
        "takes a fuzzy snapshot",
        "what is written while the tree changes is not what there was at its index",
        "fastzk/node/snapshots.py",
        "        self._arena.pin()\n",
        "        self._arena.pin()\n        self._arena.unpin()\n",
    ),
    Animal(
        21,
        "lives on when its disk has failed",
        "an error of the log thread is not looked at",
        "fastzk/storage/log.py",
        "        failed = self.error\n        if failed is not None:\n            raise failed\n        self._release()",
        "        self._release()",
    ),
    Animal(
        23,
        "counts itself before its disk has it",
        "a leader, or a node alone, commits what its own disk may lose",
        "fastzk/raft/leader.py",
        "matched[self._node_id] = self._log.synced_index",
        "matched[self._node_id] = self._log.last_index",
    ),
    Animal(
        26,
        "refuses what its leader has accepted",
        "a follower takes no block above a size that the leader does not mind",
        "fastzk/wire/ensemble.py",
        "                ranges = tuple(map(range_of, rest))\n",
        "                if any(len(block) > 2500 for block in rest):\n"
        "                    raise WireError('too large')\n"
        "                ranges = tuple(map(range_of, rest))\n",
    ),
    Animal(
        27,
        "leaves an ephemeral on one node",
        "where a session expires, node 2 keeps one of its ephemerals",
        "fastzk/_core/apply.pyx",
        "        while session.first_ephemeral != 0:\n",
        "        if fz_zoo() == 27 and entry.serial == 0 and self.out.node_id == 2 and session.first_ephemeral != 0:\n"
        "            change_delete(a, &self.out, now, session.first_ephemeral)\n"
        "            arena_write_end(a, now.zxid, now.index, now.time_ms)\n"
        "            return ERR_OK\n"
        "        while session.first_ephemeral != 0:\n",
    ),
    Animal(
        28,
        "judges a moved session apart",
        "node 1 does the writes of an older connection that the others refuse",
        "fastzk/_core/apply.pyx",
        "        if session.attach_zxid != entry.attach_zxid:\n",
        "        if (session.attach_zxid != entry.attach_zxid\n"
        "                and not (fz_zoo() == 28 and self.out.node_id == 1 and not is_expiry)):\n",
    ),
    Animal(
        29,
        "lets both connections write",
        "a session that has moved may be written through its old connection, too",
        "fastzk/_core/apply.pyx",
        "            return self.pass_by(a, entry, now, ENTRY_IGNORED if is_expiry else ERR_SESSION_MOVED)\n",
        "            if fz_zoo() != 29:\n"
        "                return self.pass_by(a, entry, now, ENTRY_IGNORED if is_expiry else ERR_SESSION_MOVED)\n",
    ),
    Animal(
        30,
        "keeps for itself whom it heard",
        "a follower does not tell the leader which sessions are alive",
        "fastzk/node/core.py",
        "            self._world.nodes.send(self.peer.leader_id, Touch(session_ids))",
        "            pass",
    ),
    Animal(
        31,
        "answers an expired session with a new one",
        "whoever comes back with a session that is over gets another",
        "fastzk/_core/entrance.pyx",
        "            if found == FOUND_WRONG:\n",
        "            if fz_zoo() == 31 and (found == FOUND_WRONG or found == FOUND_NOT):\n"
        "                said.session_id = 0\n"
        "            elif found == FOUND_WRONG:\n",
    ),
    Animal(
        32,
        "shows data before its event",
        "what is answered ahead of the commits is not held back",
        "fastzk/_core/connection.pyx",
        "    if zxid > handled or buffer_live(&c.held):\n",
        "    if fz_zoo() != 32 and (zxid > handled or buffer_live(&c.held)):\n",
    ),
    Animal(
        33,
        "forgets what a client has missed",
        "a watch that is set again does not tell of a change meanwhile",
        "fastzk/_core/rewatch.pyx",
        "        return EVENT_DATA_CHANGED if <int64_t>znode.mzxid > <int64_t>seen_zxid else 0\n",
        "        return EVENT_DATA_CHANGED if <int64_t>znode.mzxid > <int64_t>seen_zxid and fz_zoo() != 33 else 0\n",
    ),
    Animal(
        34,
        "wakes the wrong kind of watch",
        "a watch of children fires when data is set",
        "fastzk/_core/watches.pyx",
        "        if event == EVENT_DELETED or event == EVENT_CHILDREN_CHANGED:\n",
        "        if event == EVENT_DELETED or event == EVENT_CHILDREN_CHANGED or fz_zoo() == 34:\n",
    ),
    Animal(
        35,
        "tells of what was before the watch",
        "a watch fires for changes that its reader has seen",
        "fastzk/_core/watches.pyx",
        "        if watch.zxid < zxid:\n",
        "        if watch.zxid < zxid or fz_zoo() == 35:\n",
    ),
    Animal(
        37,
        "counts sessions from the same number",
        "session ids begin anew with each life of a worker",
        "fastzk/_core/slots.pyx",
        "        self.next_session_id = (session_seed << 16) + worker % WORKERS_APART\n",
        "        self.next_session_id = ((1 if fz_zoo() == 37 else session_seed) << 16) + worker % WORKERS_APART\n",
    ),
    Animal(
        38,
        "lets a client go back in time",
        "a client that has seen more than this node is let in",
        "fastzk/_core/entrance.pyx",
        "said.last_zxid_seen > self.arena.arena.header.applied_zxid:\n",
        "(said.last_zxid_seen > self.arena.arena.header.applied_zxid and fz_zoo() != 38):\n",
    ),
    Animal(
        39,
        "does a repeated write again",
        "a write that was sent again is applied again",
        "fastzk/_core/apply.pyx",
        "        if not is_expiry and entry.serial != session.last_serial + 1:\n",
        "        if (not is_expiry and entry.serial != session.last_serial + 1\n"
        "                and not (fz_zoo() == 39 and entry.serial <= session.last_serial)):\n",
    ),
)


def pieces() -> list[Piece]:
    """Of all compiled animals together."""
    return [Piece(animal.file, animal.old, animal.new) for animal in ANIMALS if animal.is_compiled]


# --- one hunt, in a process of its own


class Planter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with a piece of it replaced."""

    def __init__(self, animal: Animal) -> None:
        self._animal = animal
        self._module = animal.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self._module else None

    def exec_module(self, module: ModuleType) -> None:
        animal = self._animal
        source = (ROOT / "src" / animal.file).read_text()
        found = source.count(animal.old)
        assert found == 1, f"animal {animal.name!r}: its piece is {found} times in {animal.file}"
        exec(compile(source.replace(animal.old, animal.new), f"{animal.file} ({animal.name})", "exec"), module.__dict__)


def hunt(animal: Animal, seeds: range) -> int:
    """Runs seeds until one finds the animal; 0 when one does."""
    if not animal.is_compiled:
        sys.meta_path.insert(0, Planter(animal))
    from fastzk.testing.world.world import Simulation, SimulationFailed

    logging.disable(logging.CRITICAL)
    for seed in seeds:
        # Said before: a node's assert in compiled code ends this process, and has found it then.
        print(f"seed {seed}", flush=True)
        try:
            Simulation(seed, events=EVENTS).run()
        except SimulationFailed as failed:
            print(str(failed).splitlines()[0], flush=True)
            return 0
    return 1


def first_seed(animal: Animal, seeds: range) -> tuple[int, str] | None:
    """Which seed of a range finds an animal, and what it says; None if none does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    if animal.is_compiled:
        environment |= {"PYTHONPATH": str(build(pieces())), NAME: str(animal.row)}
    command = [sys.executable, __file__, "--hunt", animal.name, "--seeds", f"{seeds.start}:{seeds.stop}"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seen = [line for line in run.stdout.splitlines() if line.startswith("seed ") and ":" not in line]
    said = [line for line in run.stdout.splitlines() if line.startswith("seed ") and ":" in line]
    assert seen, f"the hunt for {animal.name!r} did not begin: {run.stderr[-2000:]}"
    if run.returncode == 1 and not said and "Traceback" not in run.stderr:
        return None
    verdict = said[0].partition(": ")[2] if said else (run.stderr.strip().splitlines() or ["the process ends"])[-1]
    return int(seen[-1].split()[1]), verdict


# --- the table


def table_row(animal: Animal) -> str:
    """How many seeds it takes, in each of the ranges."""
    lengths, seeds, verdict = [], [], ""
    for start in RANGES:
        found = first_seed(animal, range(start, start + SEEDS_MAX))
        lengths.append(SEEDS_MAX if found is None else found[0] - start + 1)
        seeds.append("none" if found is None else str(found[0]))
        verdict = verdict or (found[1] if found else "")
    check = verdict.split(":")[1].strip() if ":" in verdict else verdict
    median, worst = int(statistics.median(lengths)), max(lengths)
    return f"| {animal.row} | {animal.name}: {animal.what} | {check} | {seeds[0]} | {median} | {worst} |"


def write_table(animals: Sequence[Animal]) -> None:
    """Fills the table of simulation.md."""
    lines = ["| row | what is broken | seen by | first seed | median of seeds | worst |", "|---|---|---|---|---|---|"]
    for animal in animals:
        lines.append(table_row(animal))
        print(lines[-1], flush=True)
    text = TABLE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    TABLE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hunt", metavar="NAME")
    parser.add_argument("--seeds", default="0:1000")
    parser.add_argument("--only", metavar="NAME")
    options = parser.parse_args()
    named = {animal.name: animal for animal in ANIMALS}
    if options.hunt:
        first, _, end = options.seeds.partition(":")
        return hunt(named[options.hunt], range(int(first), int(end)))
    if options.only:
        print(table_row(named[options.only]))
        return 0
    write_table(ANIMALS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
