"""Who is to be called when a znode changes: the client's half of its watches.

    one-shot     DATA EXIST CHILD          taken out by their event, as on the server
    persistent   PERSISTENT RECURSIVE      stay until they are removed; RECURSIVE hears of the znode and of all below it,
                                           but not of lists of children

Rule: a function waits at most once for a kind on a path, and is called once for an event whatever it waits for.
Rule: order of registration is order of calling, among functions of one kind.
Rule: the table outlives connections: rearm() says what the next server must be told."""

from collections.abc import Callable, Iterator
from enum import Enum

from fastzk import limits
from fastzk.data import WatchedEvent
from fastzk.defs import EventType, WatcherType
from fastzk.paths import parent_of
from fastzk.wire.records import SetWatches, SetWatches2

WatchFunction = Callable[[WatchedEvent], object]


class WatchKind(Enum):
    """What a watch waits for."""

    DATA = "data"  # the znode is there: its data changes, or it goes
    EXIST = "exist"  # the znode is not there: it comes
    CHILD = "child"  # its children change, or it goes
    PERSISTENT = "persistent"  # all of these, for good
    RECURSIVE = "recursive"  # it or one below it comes, changes or goes, for good


# The one-shot kinds that each event takes out.  A znode can have been made and removed between a read and its event.
_FIRED_BY = {
    EventType.CREATED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.CHANGED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.DELETED: (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD),
    EventType.CHILD: (WatchKind.CHILD,),
}
_REMOVED_AS = {
    WatchKind.DATA: EventType.DATA_WATCH_REMOVED,
    WatchKind.EXIST: EventType.DATA_WATCH_REMOVED,
    WatchKind.CHILD: EventType.CHILD_WATCH_REMOVED,
    WatchKind.PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    WatchKind.RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}
_KINDS_OF = {
    WatcherType.CHILDREN: (WatchKind.CHILD,),
    WatcherType.DATA: (WatchKind.DATA, WatchKind.EXIST),
    WatcherType.PERSISTENT: (WatchKind.PERSISTENT,),
    WatcherType.PERSISTENT_RECURSIVE: (WatchKind.RECURSIVE,),
    WatcherType.ANY: tuple(WatchKind),
}
_PERSISTENT_KINDS = (WatchKind.PERSISTENT, WatchKind.RECURSIVE)
_PATH_OVERHEAD = 4  # bytes of a path's size on the wire


def outside(path: str) -> str:
    """How the table calls a path that is not below the client's chroot: as no user's path can be called."""
    return "/" + path


def told(path: str) -> str:
    """How a path of the table is told to the user; one from outside the chroot is the server's."""
    return path[1:] if path.startswith("//") else path


class WatchTable:
    """The watches of one session."""

    def __init__(self) -> None:
        # By kind and path; a dict of functions, since a set has no order.
        self._waiting: dict[WatchKind, dict[str, dict[WatchFunction, None]]] = {kind: {} for kind in WatchKind}

    def add(self, kind: WatchKind, path: str, function: WatchFunction) -> None:
        """The server has armed the watch."""
        self._waiting[kind].setdefault(path, {})[function] = None

    def fire(self, event: EventType, path: str) -> list[WatchFunction]:
        """Those that wait for the event, each once; the one-shot ones are taken out."""
        if event not in _FIRED_BY:
            return []
        fired: dict[WatchFunction, None] = {}
        for kind in _FIRED_BY[event]:
            fired.update(self._waiting[kind].pop(path, {}))
        fired.update(self._waiting[WatchKind.PERSISTENT].get(path, {}))
        recursive = self._waiting[WatchKind.RECURSIVE]
        if recursive and event is not EventType.CHILD:
            above = path
            fired.update(recursive.get(above, {}))
            while above != "/":
                above = parent_of(above)
                fired.update(recursive.get(above, {}))
        return list(fired)

    def is_shared(self, watcher_type: WatcherType, path: str, function: WatchFunction) -> bool:
        """True when other functions wait there, too."""
        return any(self._waiting[kind].get(path, {}).keys() - {function} for kind in _KINDS_OF[watcher_type])

    def remove(
        self, watcher_type: WatcherType, path: str, function: WatchFunction | None
    ) -> list[tuple[EventType, list[WatchFunction]]]:
        """Takes out those of a type, or the one function among them: by the event that tells them, each once."""
        removed: dict[EventType, dict[WatchFunction, None]] = {}
        for kind in _KINDS_OF[watcher_type]:
            functions = self._waiting[kind].get(path, {})
            doomed = list(functions) if function is None else [function] if function in functions else []
            for each in doomed:
                del functions[each]
                removed.setdefault(_REMOVED_AS[kind], {})[each] = None
            if doomed and not functions:
                del self._waiting[kind][path]
        return [(event, list(functions)) for event, functions in removed.items()]

    def rearm(self, last_zxid: int, chroot: str) -> Iterator[SetWatches | SetWatches2]:
        """What arms all watches at the next server: requests of bounded size; what they missed is told at once."""
        batch: dict[WatchKind, list[str]] = {kind: [] for kind in WatchKind}
        size = 0
        for kind, waiting in self._waiting.items():
            for path in waiting:
                full = told(path) if path != told(path) else chroot if chroot and path == "/" else chroot + path
                batch[kind].append(full)
                size += len(full.encode()) + _PATH_OVERHEAD
                if size >= limits.SET_WATCHES_BYTES_MAX:
                    yield _set_watches(last_zxid, batch)
                    batch = {kind: [] for kind in WatchKind}
                    size = 0
        if size:
            yield _set_watches(last_zxid, batch)

    def take_all(self) -> list[tuple[str, list[WatchFunction]]]:
        """Takes all out: by path, the functions that wait there, each once."""
        by_path: dict[str, dict[WatchFunction, None]] = {}
        for waiting in self._waiting.values():
            for path, functions in waiting.items():
                by_path.setdefault(path, {}).update(functions)
            waiting.clear()
        return [(path, list(functions)) for path, functions in by_path.items()]

    def __len__(self) -> int:
        return sum(len(functions) for waiting in self._waiting.values() for functions in waiting.values())


def _set_watches(last_zxid: int, batch: dict[WatchKind, list[str]]) -> SetWatches | SetWatches2:
    one_shot = [batch[kind] for kind in (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD)]
    persistent = [batch[kind] for kind in _PERSISTENT_KINDS]
    if any(persistent):
        return SetWatches2(last_zxid, *one_shot, *persistent)
    return SetWatches(last_zxid, *one_shot)
