"""C5: the model applies the committed log, and answers each read as of exactly the zxid that its reply shows.

One pass over the log fills the Case: what each entry must have led to, every change, the life of each session.  Between two
entries the reads of that zxid are held against the model; what a setWatches must be told is noted for the judge of watches."""

import struct
from collections.abc import Iterator

from fastzk.defs import OpCode
from fastzk.testing.history import LogEntry, Request, entries_of
from fastzk.testing.judging.case import READS, REWATCHES, Case, Change, Life, Rewatched, has_effect
from fastzk.testing.model import ATTACH_SESSION, CLOSE_SESSION, CREATE_SESSION, IDENTIFY, Model, Outcome, Reader, packed
from fastzk.testing.model_rules import Id, permits
from fastzk.testing.twin import KINDS_OF_EVENT, LASTING, parsed_strings, sorted_names

OK, MARSHALLING_ERROR, UNIMPLEMENTED, NO_NODE, NO_AUTH = 0, -5, -6, -101, -102
PERM_READ, PERM_ADMIN = 1, 16
STAT_SIZE = 68
CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = KINDS_OF_EVENT


class Replay:
    """The one pass."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.model = Model()
        # Where a write of a session was done first: (session, xid) -> zxid.
        self._done: dict[tuple[int, int], int] = {}

    def run(self, blocks: list[bytes]) -> Model:
        """Replays the log, fills the case, judges the reads; gives the model at the end of the log."""
        case = self.case
        questions = [request for request in case.answered if request.op in READS or request.op in REWATCHES]
        at, count = 0, len(questions)
        for entry in (each for block in blocks for each in entries_of(block)):
            while at < count and questions[at].zxid < entry.zxid:
                self._ask(questions[at])
                at += 1
            self._apply(entry)
        for request in questions[at:]:
            if request.zxid > case.last_zxid:
                case.flag("C5", f"an answer at {request.zxid:#x}; the committed log ends at {case.last_zxid:#x}", request)
            else:
                self._ask(request)
        return self.model

    # ---- the log

    def _apply(self, at: LogEntry) -> None:
        case, entry = self.case, at.entry
        outcome = self.model.apply(entry, at.zxid, at.time_ms)
        case.log[at.zxid] = (at, outcome)
        case.last_zxid = at.zxid
        for event, path, guard in outcome.changes:
            case.changes.append(Change(at.zxid, event, path, guard))
        if entry.op in (CREATE_SESSION, CLOSE_SESSION, ATTACH_SESSION, IDENTIFY):
            self._follow_session(at, outcome)
        elif outcome.is_repeat:
            case.done_zxid[at.zxid] = self._done[entry.session_id, entry.cxid]
        elif has_effect(outcome):
            self._done[entry.session_id, entry.cxid] = at.zxid

    def _follow_session(self, at: LogEntry, outcome: Outcome) -> None:
        case, entry = self.case, at.entry
        if outcome.err != OK:
            return
        if entry.op == CREATE_SESSION:
            if entry.session_id in case.lives:
                case.flag("E5", f"session {entry.session_id:#x} is created again", case.lives[entry.session_id].closed, at)
            case.lives[entry.session_id] = Life(at.zxid)
        life = case.lives[entry.session_id]
        if entry.op == CLOSE_SESSION:
            life.closed_zxid, life.closed, life.is_expired = at.zxid, at, entry.serial == 0
            return
        life.attached += entry.op == ATTACH_SESSION
        life.identity_zxids.append(at.zxid)
        life.identities.append(self.model.sessions[entry.session_id].identities)

    # ---- reads

    def _ask(self, request: Request) -> None:
        if request.op in REWATCHES:
            self.case.rewatched[request] = rewatched(self.model, request)
            return
        if request.err in (MARSHALLING_ERROR, UNIMPLEMENTED):
            return
        session = self.model.sessions.get(request.session_id)
        expected = answer(self.model, request, session.identities if session else ())
        given = (request.err, in_order(request))
        if given != expected:
            what = f"the answer is not the state at {request.zxid:#x}, where it is {expected}"
            self.case.flag("C5", what, request, *self._neighbours(request.zxid))

    def _neighbours(self, zxid: int) -> Iterator[LogEntry]:
        found = self.case.log.get(zxid)
        return iter([found[0]] if found else [])


def in_order(request: Request) -> bytes:
    """The answer's body with names, which have no order, in that of their bytes; of an ACL only the Stat."""
    op, reply = request.op, request.reply
    if request.err != OK:
        return reply
    if op == OpCode.GET_ACL:
        return reply[-STAT_SIZE:]
    if op == OpCode.GET_EPHEMERALS:
        return strings(parsed_strings(reply))
    if op == OpCode.MULTI_READ:
        return b"".join(multi_read_parts(reply))
    return sorted_names(op, reply)


def answer(model: Model, request: Request, who: tuple[Id, ...]) -> tuple[int, bytes]:
    """What the read is answered by the model, as in_order has it."""
    op, reader = request.op, Reader(request.body)
    if op in (OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2):
        return model.read(op, reader.string() or b"", who)
    if op == OpCode.GET_EPHEMERALS:
        prefix = reader.string() or b""
        owned = model.znodes.items()
        return OK, strings([path for path, znode in owned if znode.owner == request.session_id and path.startswith(prefix)])
    if op == OpCode.MULTI_READ:
        return OK, multi_read(model, reader, who)
    path = reader.string() or b"/"
    znode = model.znodes.get(path)
    if znode is None:
        return NO_NODE, b""
    if op == OpCode.GET_ACL:
        is_allowed = permits(znode.acl, PERM_READ, who) or permits(znode.acl, PERM_ADMIN, who)
        return (OK, znode.stat()) if is_allowed else (NO_AUTH, b"")
    below = path.rstrip(b"/") + b"/"
    if not permits(znode.acl, PERM_READ, who):
        return NO_AUTH, b""
    return OK, struct.pack(">i", sum(other.startswith(below) and other != path for other in model.znodes))


def strings(texts: list[bytes]) -> bytes:
    """A vector of strings, in the order of their bytes."""
    return struct.pack(">i", len(texts)) + b"".join(packed(text) for text in sorted(texts))


def multi_read(model: Model, reader: Reader, who: tuple[Id, ...]) -> bytes:
    """The results of a multiRead."""
    found = b""
    while True:
        op, is_done, _ = reader.number(), reader.boolean(), reader.number()
        if is_done:
            return found
        path = reader.string() or b""
        reader.boolean()
        err, body = model.read(op, path, who)
        found += struct.pack(">i?i", op if err == OK else -1, False, err) + (body if err == OK else struct.pack(">i", err))


def multi_read_parts(reply: bytes) -> Iterator[bytes]:
    """The results in a multiRead's reply, names in order."""
    reader = Reader(reply)
    while True:
        op, is_done, err = reader.number(), reader.boolean(), reader.number()
        if is_done:
            return
        head = struct.pack(">i?i", op, False, err)
        if op == OpCode.GET_CHILDREN:
            names = [reader.string() or b"" for _ in range(reader.number())]
            yield head + strings(names)
        elif op == OpCode.GET_DATA:
            yield head + packed(reader.string()) + reader.rest[:STAT_SIZE]
            reader.rest = reader.rest[STAT_SIZE:]
        else:
            yield head + struct.pack(">i", reader.number())


def rewatched(model: Model, request: Request) -> Rewatched:
    """What a setWatches must be told, and what it arms, with the tree as it is."""
    reader = Reader(request.body)
    seen_zxid = reader.long()
    missed: list[tuple[int, bytes]] = []
    armed: list[tuple[bytes, str]] = []
    kinds = ("data", "exists", "child") if request.op == OpCode.SET_WATCHES else ("data", "exists", "child", *LASTING)
    for kind in kinds:
        for path in [reader.string() or b"" for _ in range(reader.number())]:
            znode = model.znodes.get(path)
            event = 0
            if kind == "data":
                event = DELETED if znode is None else DATA_CHANGED if znode.mzxid > seen_zxid else 0
            elif kind == "exists":
                event = CREATED if znode is not None else 0
            elif kind == "child":
                event = DELETED if znode is None else CHILDREN_CHANGED if znode.pzxid > seen_zxid else 0
            if event:
                missed.append((event, path))
            else:
                armed.append((path, "data" if kind == "exists" else kind))
    return Rewatched(missed, armed)
