"""C9: each watch tells of the first change that it is for, once, before anything newer; a lasting one of every change, in order.

W1  a one-shot watch fires once              W5  at the end everything that was due has been told
W2  no reply shows a change before its event W6  no event without a change and a watch for it
W3  the zxids of events do not fall          W7  what a lasting watch tells is every change, once, in order
W4  setWatches tells what was missed, and arms the rest

How it works: each connection is played through in the order in which things came in.  A watch that is armed as of a zxid looks
up the first change behind it that it is for, and waits in a heap by that change's place in the log.  An event must be the
change at the top; a reply must find nothing at the top that is not newer than itself.  One change is one event, however many
watches wait for it."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import defaultdict

from fastzk.defs import OpCode
from fastzk.testing.history import Connection, Event, Request
from fastzk.testing.judging.case import REWATCHES, Case, Change
from fastzk.testing.model import Reader
from fastzk.testing.model_rules import permits
from fastzk.testing.twin import KINDS_OF_EVENT, KINDS_OF_TYPE, LASTING, is_within

EVENTS_OF_KIND = {
    kind: tuple(event for event, kinds in KINDS_OF_EVENT.items() if kind in kinds) for kind in ("data", "child", "persistent")
}
RECURSIVE_EVENTS = (1, 2, 3)
PERM_READ = 1
NO_NODE, NO_WATCHER = -101, -121
MISSED = -1  # the zxid of an event that setWatches has found


Key = tuple[int, int, bytes]  # zxid, event, path


class Watch:
    """One watch of a connection."""

    __slots__ = ("is_armed", "kind", "path", "place", "request")

    def __init__(self, path: bytes, kind: str, place: int | None, request: Request) -> None:
        self.path = path
        # Of the change that it waits for, when it was armed; None: there is none.
        self.place = place
        self.kind = kind
        self.request = request
        self.is_armed = True

    def __repr__(self) -> str:
        return f"{self.kind} watch of {self.path!r} by {self.request!r}"


class Changes:
    """The changes of the log, found by what a watch is for."""

    def __init__(self, case: Case) -> None:
        self.all = case.changes
        self._zxids: dict[tuple[bytes, str], list[int]] = {}
        self._places: dict[tuple[bytes, str], list[int]] = {}
        self._of_path: dict[bytes, list[int]] = defaultdict(list)
        for place, change in enumerate(self.all):
            self._of_path[change.path].append(place)

    def next(self, path: bytes, kind: str, zxid: int) -> int | None:
        """The place of the first change above a zxid that a watch of the kind is for."""
        key = (path, kind)
        if key not in self._zxids:
            self._places[key] = self._of(path, kind)
            self._zxids[key] = [self.all[place].zxid for place in self._places[key]]
        at = bisect_right(self._zxids[key], zxid)
        return self._places[key][at] if at < len(self._places[key]) else None

    def after(self, path: bytes, kind: str, place: int) -> int | None:
        """The place of the first one behind a place."""
        places = self._places[path, kind]
        at = bisect_right(places, place)
        return places[at] if at < len(places) else None

    def _of(self, path: bytes, kind: str) -> list[int]:
        if kind == "recursive":
            is_for = [place for place, each in enumerate(self.all) if each.event in RECURSIVE_EVENTS and is_within(each.path, path)]
            return is_for
        return [place for place in self._of_path.get(path, ()) if self.all[place].event in EVENTS_OF_KIND[kind]]


class Player:
    """Plays one connection through."""

    def __init__(self, case: Case, changes: Changes, connection: Connection) -> None:
        self._case = case
        self._changes = changes
        self._connection = connection
        self._waiting: list[tuple[int, int, Watch]] = []
        self._armed: dict[tuple[bytes, str], list[Watch]] = defaultdict(list)
        self._sequence = 0
        self._missed: list[Event] = []
        self._last_event: Event | None = None
        # What was told, and by which watches; and what should have been and was not: it may come late.
        self._told: dict[Key, list[Watch]] = {}
        self._late: set[Key] = set()

    def play(self) -> None:
        """All that came in."""
        for came in self._case.received.get(self._connection, ()):
            if isinstance(came, Event):
                self._on_event(came)
            else:
                self._on_reply(came)
        if self._connection.end_ns is None and self._case.history.end_ns is not None:
            due = self._due(self._case.last_zxid)
            if due is not None:
                self._case.flag("W5", f"{due!r} is not told at the end on {self._connection}", *self._fire())

    # ---- what comes in

    def _on_event(self, event: Event) -> None:
        if event.zxid == MISSED:
            self._missed.append(event)
            return
        if self._last_event is not None and event.zxid < self._last_event.zxid:
            self._case.flag("W3", "the zxids of events fall", self._last_event, event)
        self._last_event = event
        told = (event.zxid, event.type, event.path)
        if told in self._late:
            self._late.remove(told)
            return
        while (due := self._due(event.zxid)) is not None:
            if due.key == told:
                self._told[told] = self._fire()
                return
            if not any(self._changes.all[place].key == told for place, _, _ in self._waiting):
                break
            self._miss(due, event)
        if told in self._told:
            self._case.flag(self._check(self._told[told], "W1"), "an event is told twice", event, *self._told[told])
        else:
            self._case.flag("W6", "an event that no watch waits for", event)

    def _miss(self, due: Change, shown: Request | Event) -> None:
        """Something is shown before the event that is due."""
        watches = self._fire()
        self._late.add(due.key)
        self._case.flag(self._check(watches, "W2"), f"{due!r} is not told before", shown, *watches)

    def _check(self, watches: list[Watch], of_one_shots: str) -> str:
        return "W7" if any(watch.kind in LASTING for watch in watches) else of_one_shots

    def _on_reply(self, reply: Request) -> None:
        while reply.zxid > 0 and (due := self._due(reply.zxid)) is not None:
            self._miss(due, reply)
        if reply.op in REWATCHES:
            self._rewatch(reply)
        elif self._missed:
            self._case.flag("W4", "events that were missed stand before a reply that is not setWatches'", *self._missed, reply)
            self._missed = []
        elif reply.op in (OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2):
            if reply.body[-1:] > b"\0" and (reply.err == 0 or (reply.err == NO_NODE and reply.op == OpCode.EXISTS)):
                path = Reader(reply.body).string() or b""
                self._arm(path, "data" if reply.op in (OpCode.EXISTS, OpCode.GET_DATA) else "child", reply)
        elif reply.op in (OpCode.ADD_WATCH, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES):
            self._on_watches(reply)

    def _on_watches(self, reply: Request) -> None:
        reader = Reader(reply.body)
        path, number = reader.string() or b"", reader.number()
        if reply.op == OpCode.ADD_WATCH:
            if reply.err == 0:
                self._arm(path, LASTING[number], reply)
            return
        if number not in KINDS_OF_TYPE or reply.err not in (0, NO_WATCHER):
            return
        found = [watch for kind in KINDS_OF_TYPE[number] for watch in self._armed.get((path, kind), ()) if watch.is_armed]
        if reply.err != (0 if found else NO_WATCHER):
            self._case.flag("W6", f"the server says {'none' if reply.err else 'some'} of the watches {found}", reply)
        if reply.op == OpCode.REMOVE_WATCHES:
            for watch in found:
                watch.is_armed = False

    def _rewatch(self, reply: Request) -> None:
        told, self._missed = self._missed, []
        expected = self._case.rewatched.get(reply)
        if reply.err != 0 or expected is None:
            return
        if [(event.type, event.path) for event in told] != expected.missed:
            self._case.flag("W4", f"setWatches must tell {expected.missed}", *told, reply)
        for path, kind in expected.armed:
            self._arm(path, kind, reply)

    # ---- watches

    def _arm(self, path: bytes, kind: str, reply: Request) -> None:
        armed = [watch for watch in self._armed.get((path, kind), ()) if watch.is_armed]
        place = self._changes.next(path, kind, reply.zxid)
        # Two that wait for the same change cannot be told apart.
        if not any(kind in LASTING or watch.place == place for watch in armed):
            armed.append(Watch(path, kind, place, reply))
            self._wait(armed[-1], place)
        self._armed[path, kind] = armed

    def _wait(self, watch: Watch, place: int | None) -> None:
        if place is not None:
            self._sequence += 1
            heapq.heappush(self._waiting, (place, self._sequence, watch))

    def _due(self, zxid: int) -> Change | None:
        """The next change that must have been told before anything at a zxid."""
        while self._waiting:
            place, _, watch = self._waiting[0]
            if not watch.is_armed:
                heapq.heappop(self._waiting)
                continue
            change = self._changes.all[place]
            if change.zxid > zxid:
                return None
            if self._may_know(change):
                return change
            self._fire()
        return None

    def _fire(self) -> list[Watch]:
        """The change at the top is told: every watch that waits for it has fired; gives them."""
        place, fired = self._waiting[0][0], []
        while self._waiting and self._waiting[0][0] == place:
            _, _, watch = heapq.heappop(self._waiting)
            if not watch.is_armed:
                continue
            fired.append(watch)
            watch.is_armed = watch.kind in LASTING
        for watch in fired:
            if watch.is_armed:
                self._wait(watch, self._changes.after(watch.path, watch.kind, place))
        return fired

    def _may_know(self, change: Change) -> bool:
        if not change.guard:
            return True
        life = self._case.lives.get(self._connection.session_id)
        acl = tuple((perms, scheme or b"", name or b"") for perms, scheme, name in Reader(change.guard).acl() or ())
        return permits(acl, PERM_READ, life.identities_at(change.zxid) if life else ())


def judge_watches(case: Case) -> None:
    """All connections."""
    changes = Changes(case)
    for connection in case.history.connections:
        if connection in case.received:
            Player(case, changes, connection).play()
