"""C9: the watches of one client, and the events it must hear.

Each change of the canonical history that one of its watches waits for is told once, in the order of zxids, before any answer at
or above its zxid; nothing else is told.  A watch waits for changes above the zxid it was armed at.  After a reconnect the client
names its watches; what it missed is replayed before the answer, the rest is armed as of the answer's zxid."""

from fastzk.testing.checkers import ensure
from fastzk.testing.world.judge import Judge

CREATED, DELETED, DATA_CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
KINDS_OF_EVENT = {
    1: ("data", "persistent"),
    2: ("data", "child", "persistent"),
    3: ("data", "persistent"),
    4: ("child", "persistent"),
}
LASTING = ("persistent", "recursive")


class Watching:
    """Of one client."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        # (path, kind) -> the zxids at which they were armed.
        self.armed: dict[tuple[bytes, str], set[int]] = {}
        self._seen = 0  # of the judge's changes
        # Places of changes behind `_seen` that were told already: what one entry changes has no order.
        self._told: set[int] = set()
        self._has_recursive = False

    def arm(self, path: bytes, kind: str, zxid: int) -> None:
        """From now on changes above zxid are told; a lasting watch that is there already stays as it is."""
        held = self.armed.setdefault((path, kind), set())
        if kind not in LASTING or not held:
            held.add(zxid)
        self._has_recursive |= kind == "recursive"

    def disconnected(self) -> list[list[bytes]]:
        """The server forgets them; what to name at the next connection: data, exists, child, persistent, recursive."""
        lists: list[list[bytes]] = [[], [], [], [], []]
        for (path, kind), held in self.armed.items():
            if held:
                at = max(held)
                place = {"child": 2, "persistent": 3, "recursive": 4}.get(kind)
                if place is None:
                    place = 0 if self._judge.state(path, at) is not None else 1
                lists[place].append(path)
        self.armed.clear()
        self._has_recursive = False
        return lists

    def missed(self, lists: list[list[bytes]], seen_zxid: int, zxid: int) -> list[tuple[int, bytes]]:
        """The answer to setWatches was given at zxid: the events that must have come before it; the rest is armed."""
        events = []
        for place, paths in enumerate(lists):
            for path in paths:
                state = self._judge.state(path, zxid)
                event = 0
                if place == 0:
                    event = DELETED if state is None else DATA_CHANGED if state.mzxid > seen_zxid else 0
                elif place == 1:
                    event = CREATED if state is not None else 0
                elif place == 2:
                    event = DELETED if state is None else CHILDREN_CHANGED if state.pzxid > seen_zxid else 0
                if event:
                    events.append((event, path))
                else:
                    self.arm(path, ("data", "data", "child", *LASTING)[place], zxid)
        return events

    def due(self, zxid: int) -> tuple[int, int, bytes] | None:
        """The next event that must be heard before anything at zxid."""
        changes, armed = self._judge.changes, self.armed
        while self._seen < len(changes) and changes[self._seen][0] <= zxid:
            if self._seen in self._told:
                self._told.discard(self._seen)
            elif armed and self._waits_for(*changes[self._seen]):
                return changes[self._seen]
            self._seen += 1
        return None

    def heard(self, zxid: int, event: int, path: bytes) -> None:
        """An event has come: one of those that are due next, of one entry."""
        due = self.due(zxid)
        place, changes = self._seen, self._judge.changes
        while place < len(changes) and changes[place][0] == zxid and (changes[place] != (zxid, event, path) or place in self._told):
            place += 1
        is_due = due is not None and due[0] == zxid and place < len(changes) and changes[place] == (zxid, event, path)
        ensure(
            is_due and self._waits_for(zxid, event, path), "C9", f"event {event} of {path!r} at {zxid:#x} was told; due is {due}"
        )
        for kind in KINDS_OF_EVENT[event]:
            held = self.armed.get((path, kind)) if kind not in LASTING else None
            if held:
                self.armed[path, kind] = {at for at in held if at >= zxid}
        self._told.add(place)
        self._judge.counts["watch events"] += 1

    def _waits_for(self, zxid: int, event: int, path: bytes) -> bool:
        for kind in KINDS_OF_EVENT[event]:
            held = self.armed.get((path, kind))
            if held and min(held) < zxid:
                return True
        if event == CHILDREN_CHANGED or not self._has_recursive:
            return False
        return any(
            kind == "recursive" and held and min(held) < zxid and (path == above or path.startswith(above.rstrip(b"/") + b"/"))
            for (above, kind), held in self.armed.items()
        )
