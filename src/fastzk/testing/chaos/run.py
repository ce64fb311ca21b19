"""A run: a directory, an ensemble, a crowd of clients, a history; and what is found when it is over.

    with Run(directory, seed, title, planned) as run:
        run.crowd ...; run.fault("kill", target=...)
        verdict = run.judge()

Rules: every fault is in the history before it is done.  Nodes are judged by what they left on their disks, after all had the
same digest and were stopped in good order.  The directory of a run that was judged and found right is removed."""

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from fastzk.testing.chaos.crowd import Crowd, Gap
from fastzk.testing.chaos.kept_logs import Pool, keep, whole_log
from fastzk.testing.chaos.namespaces import Network
from fastzk.testing.chaos.site import Site
from fastzk.testing.ensemble import monitored
from fastzk.testing.history import Recording, read_history
from fastzk.testing.judging import judge
from fastzk.testing.judging.verdict import Verdict

EXPIRY_SLACK_MS = 2000
KEEP_S = 1.0
# Snapshots as often as a run needs them to meet every fault, and segments as small.
SNAPSHOTS = ("--snapshot-entries", "2000", "--snapshot-log-mib", "1")
STARTED_S = time.monotonic()


def say(text: str) -> None:
    """A line, with the seconds since the start."""
    print(f"{time.monotonic() - STARTED_S:7.1f} s  {text}", flush=True)


class Run:
    """See above.  Raises what the ensemble fails with."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        title: str,
        planned: Sequence[str],
        *,
        network: Network | None = None,
        rate: float = 300.0,
        options: Sequence[str] = SNAPSHOTS,
        nodes: int = 3,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.home = Path(tempfile.mkdtemp(prefix="run-", dir=directory)).resolve()
        self.random = Random(seed)
        said = {"title": title, "seed": seed, "planned": list(planned), "expiry_slack_ms": EXPIRY_SLACK_MS}
        self.recording = Recording.create(self.home / "history", said)
        self.site = Site(nodes, self.home, Random(self.random.random()), network, options)
        self.site.is_kept = True
        self.crowd = Crowd(self.site.nodes, self.home / "history", Random(self.random.random()), rate)
        self.gap = Gap(self.crowd)
        self.faults: Counter[str] = Counter()
        self.is_kept = True
        self._kept_s = 0.0
        self._is_over = False

    def __enter__(self) -> Self:
        self.site.__enter__()
        try:
            self.crowd.start()
            self.gap.begin()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._is_over:
            for caller in self.crowd.callers:
                if caller.is_alive():
                    caller.end()
            self.recording.close()
        self.site.__exit__(kind, error, trace)
        if self.is_kept:
            print(f"kept: {self.home}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(self.home)

    def look(self) -> None:
        """What is to be looked at all the time.  Raises what a client failed with."""
        self.crowd.check()
        self.gap.look()
        now_s = time.monotonic()
        if now_s - self._kept_s > KEEP_S:
            self._kept_s = now_s
            for node in self.site.nodes:
                keep(node)

    def fault(self, what: str, **details: object) -> None:
        """Notes a fault that is about to be injected."""
        self.faults[what] += 1
        self.gap.disturbed()
        self.recording.fault(what, time.monotonic_ns(), **details)
        self.recording.flush()

    def healed(self, what: str, **details: object) -> None:
        """Notes that a fault is over."""
        self.recording.fault(f"{what} healed", time.monotonic_ns(), **details)

    def quiesce(self) -> str:
        """Nothing is asked, every node runs and has the same tree; gives its digest."""
        self.gap.end()
        self.crowd.pause()
        self.site.start_all()
        self.site.wait_all_serving()
        return self.site.digest()

    def judge(self) -> Verdict:
        """Ends everything in good order, and judges what was recorded."""
        self.look()
        self.quiesce()
        self.crowd.finish()
        self.recording.ends(time.monotonic_ns())
        # Before the nodes: a client that is still there comes back to the nodes that stop last, and is told of more than they had.
        self.crowd.end()
        self.site.digest()
        said = {node.name: monitored(node.zk) for node in self.site.nodes}
        for node in self.site.nodes:
            node.process.terminate()  # type: ignore[union-attr]
        for node in self.site.nodes:
            node.wait_end()
        pool = Pool(self.site.nodes)
        for node in self.site.nodes:
            facts = said[node.name]
            self.recording.node(node.name, int(facts["zk_applied_zxid"], 0), facts["zk_tree_digest"], whole_log(node, pool))
        self.recording.close()
        self._is_over = True
        verdict = judge(read_history(self.home / "history"))
        for line in [line for node in self.site.nodes for line in node.confessions()]:
            verdict.flag("crash", line)
        self.is_kept = not verdict.is_passed
        return verdict
