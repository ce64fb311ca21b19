"""C2, C3, C12: every write that was answered stands in the log once, with the result that it must have; nothing else does.

A request is done by the entry that has an effect: a repeat has none, and what comes from a session that has moved or expired has
none.  An answered request is done by the entry at the zxid of its answer, or by the one of which that entry is a repeat.  What is
left in the log must have been asked for by somebody who was not answered: each unanswered request may be done once."""

from collections import defaultdict

from fastzk.defs import OpCode
from fastzk.testing.history import LogEntry, Request
from fastzk.testing.judging.case import WRITES, Case, has_effect
from fastzk.testing.model import DELETED, Reader, WriteError

CREATES = (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL)
WRITTEN = (WRITES - {OpCode.RECONFIG}) | {OpCode.RECONFIGURED}  # as the log has them
SEQUENTIAL = (2, 3, 6)
# What a server says of a write that it does not take: it must then not be in the log.
REFUSALS = (-5, -6, -119, -120, -124, -127)
CONNECTION_LOSS = -4
DIGITS = 10

Key = tuple[int, int, int, bytes]


class Done:
    """Which request each entry with an effect is: request (as it was first sent) by zxid."""

    def __init__(self) -> None:
        self.by_zxid: dict[int, Request] = {}
        # When the first answer to each of them came.
        self.answers: dict[Request, Request] = {}


def judge_writes(case: Case) -> Done:
    """Judges every write; gives which request is which entry."""
    done = Done()
    unknown: dict[Key, list[Request]] = defaultdict(list)
    refused: dict[Request, Key] = {}
    writes = [request for request in case.history.requests if request.op in WRITES]
    for request in writes:
        if request.returned_ns is not None and not judge_answer(case, request, done):
            refused[request.first] = key_of(request)
    for request in writes:
        if request is request.first and request not in done.answers and request not in refused:
            unknown[key_of(request)].append(request)
    claimed = {key_of(request): request for request in done.by_zxid.values()}
    for zxid, (at, outcome) in case.log.items():
        if at.entry.op not in WRITTEN or not has_effect(outcome) or zxid in done.by_zxid:
            continue
        if at.entry.op == OpCode.CLOSE_SESSION and at.entry.serial == 0:
            continue
        key = key_of_entry(at)
        if unknown.get(key):
            done.by_zxid[zxid] = unknown[key].pop(0)
        elif key in claimed:
            case.flag("C2", "a write is done twice", claimed[key], at)
        elif key in refused.values():
            case.flag("C2", "a write that was refused is done", at)
        else:
            case.flag("C2", "the log has a write that nobody asked for", at)
    judge_sequences(case, done)
    return done


def key_of(request: Request) -> Key:
    """By what an entry is known to be a request's; of a reconfiguration the log has only the verdict."""
    return request.session_id, request.xid, request.op, b"" if request.op == OpCode.RECONFIG else request.body


def key_of_entry(at: LogEntry) -> Key:
    """The same of an entry."""
    entry = at.entry
    if entry.op == OpCode.RECONFIGURED:
        return entry.session_id, entry.cxid, OpCode.RECONFIG, b""
    return entry.session_id, entry.cxid, entry.op, entry.body


def judge_answer(case: Case, request: Request, done: Done) -> bool:
    """An answered write.  False when it was refused, and so must not be in the log."""
    found = case.log.get(request.zxid)
    if found is None or key_of_entry(found[0]) != key_of(request):
        is_local = request.session_id not in case.lives
        if request.err in REFUSALS or (is_local and request.op in (OpCode.CLOSE_SESSION, OpCode.SYNC)):
            return False
        stands = found[0] if found else "nothing"
        case.flag("C2", f"an acknowledged write is not in the log; at {request.zxid:#x} stands", request, stands)
        return True
    at, outcome = found
    if outcome.err is None:
        case.flag("C2", "an acknowledged write has no effect where it stands", request, at)
        return True
    body = outcome.body if outcome.err == 0 else b""
    if (request.err, request.reply) != (outcome.err, body):
        case.flag("C3", f"the answer is not what the write must lead to: err {outcome.err}, {body!r}", request, at)
    zxid = case.done_zxid.get(at.zxid, at.zxid)
    other = done.by_zxid.setdefault(zxid, request.first)
    if other is not request.first:
        case.flag("C2", "two writes are answered by one entry", other, request, at)
    before = done.answers.setdefault(request.first, request)
    if before is not request:
        case.flag("C2", "a write is answered twice", before, request)
    return True


def judge_sequences(case: Case, done: Done) -> None:
    """C12: numbers of one parent are ten digits, and rise with the zxid."""
    last: dict[bytes, tuple[int, Request]] = {}
    deletions = iter([change for change in case.changes if change.event == DELETED])
    deletion = next(deletions, None)
    for zxid in sorted(done.by_zxid):
        while deletion is not None and deletion.zxid < zxid:
            # What is made anew begins to count anew.
            last.pop(deletion.path, None)
            deletion = next(deletions, None)
        request = done.answers.get(done.by_zxid[zxid])
        if request is None or request.err != 0 or request.op not in CREATES:
            continue
        try:
            reader = Reader(request.body)
            asked, _, _, flags = reader.string() or b"", reader.string(), reader.acl(), reader.number()
            path = Reader(request.reply).string() or b""
        except WriteError:
            continue
        if flags not in SEQUENTIAL:
            continue
        digits = path[len(asked) :]
        if not path.startswith(asked) or len(digits) != DIGITS or not digits.isdigit():
            case.flag("C12", f"{path!r} is no sequential name of {asked!r}", request)
            continue
        parent = path.rpartition(b"/")[0]
        if parent in last and int(digits) <= last[parent][0]:
            case.flag("C12", f"{path!r} does not follow {last[parent][0]}", last[parent][1], request)
        last[parent] = (int(digits), request)
