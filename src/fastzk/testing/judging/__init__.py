"""The judges of a recorded run: did it keep every promise?

    verdict = judge(read_history(directory));  verdict.is_passed;  print(verdict)

Each module holds one kind of promise, and says it at its top; docs/internals/testing.md has them all in a table.  Most trust the
zxids and the logs of the nodes as certificates, which makes them exact and fast; wgl.py trusts neither."""

import time
from collections import Counter

from fastzk.defs import OpCode
from fastzk.testing.history import History
from fastzk.testing.judging.agreement import agreed_blocks
from fastzk.testing.judging.case import Case
from fastzk.testing.judging.order import judge_order
from fastzk.testing.judging.replay import Replay
from fastzk.testing.judging.sessions import judge_sessions
from fastzk.testing.judging.trees import judge_trees
from fastzk.testing.judging.verdict import Verdict, Violation
from fastzk.testing.judging.watches import judge_watches
from fastzk.testing.judging.wgl import judge_znodes
from fastzk.testing.judging.writes import judge_writes

__all__ = ["Verdict", "Violation", "judge"]

UNKNOWN_SHARE_MAX = 0.2


def judge(history: History, *, has_wgl: bool = True) -> Verdict:
    """Judges a run.  Without nodes' logs there is nothing to hold it against, and it is invalid."""
    begin = time.perf_counter()
    verdict = Verdict()
    judge_validity(history, verdict)
    blocks = agreed_blocks(history.nodes, verdict)
    case = Case(history, verdict)
    model = Replay(case).run(blocks)
    done = judge_writes(case)
    judge_order(case, done)
    judge_watches(case)
    judge_sessions(case, done)
    judge_trees(case, blocks, model)
    if has_wgl:
        judge_znodes(history, verdict)
    verdict.counts |= {
        "requests": len(history.requests),
        "answered": sum(request.returned_ns is not None for request in history.requests),
        "entries": len(case.log),
        "events": len(history.events),
        "connections": len(history.connections),
        "sessions": len(case.lives),
        "faults": len(history.nemesis),
        "ms: judged in": int((time.perf_counter() - begin) * 1000),
    }
    return verdict


def judge_validity(history: History, verdict: Verdict) -> None:
    """Whether the run proves anything at all."""
    run = history.run
    counted: Counter[bool] = Counter(
        request.returned_ns is None for request in history.requests if request.op != OpCode.PING and request is request.first
    )
    answered, unknown = counted[False], counted[True]
    if not history.nodes:
        verdict.invalid.append("no node's log was recorded")
    if history.end_ns is None:
        verdict.invalid.append("the recording does not come to an end")
    if answered < max(1, int(run.get("operations_min", 1))):
        verdict.invalid.append(f"{answered} requests were answered, {run.get('operations_min', 1)} are too few")
    share_max = float(run.get("unknown_share_max", UNKNOWN_SHARE_MAX))
    if unknown > share_max * (answered + unknown):
        verdict.invalid.append(f"of {answered + unknown} requests {unknown} are unknown, more than {share_max:.0%}")
    for what in run.get("planned", ()):
        if not any(name == what for _, name, _ in history.nemesis):
            verdict.invalid.append(f"the fault {what!r} was planned and never came")
