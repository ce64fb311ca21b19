"""Who is to be called when a znode changes: the client's half of its watches.

Rule: as on the server, a watch is one-shot, and a function waits at most once for a kind on a path.
Rule: order of registration is order of calling."""

from collections.abc import Callable
from enum import Enum

from fastzk.data import WatchedEvent
from fastzk.defs import EventType

WatchFunction = Callable[[WatchedEvent], object]


class WatchKind(Enum):
    """What a watch waits for."""

    DATA = "data"  # the znode is there: its data changes, or it goes
    EXIST = "exist"  # the znode is not there: it comes
    CHILD = "child"  # its children change, or it goes


# The kinds that each event takes out.  A znode can have been made and removed between a read and its event.
_FIRED_BY = {
    EventType.CREATED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.CHANGED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.DELETED: (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD),
    EventType.CHILD: (WatchKind.CHILD,),
}


class WatchTable:
    """The watches of one session."""

    def __init__(self) -> None:
        # By kind and path; a dict of functions, since a set has no order.
        self._waiting: dict[WatchKind, dict[str, dict[WatchFunction, None]]] = {kind: {} for kind in WatchKind}

    def add(self, kind: WatchKind, path: str, function: WatchFunction) -> None:
        """The server has armed the watch."""
        self._waiting[kind].setdefault(path, {})[function] = None

    def fire(self, event: EventType, path: str) -> list[WatchFunction]:
        """Takes out those that wait for the event, each once."""
        fired: dict[WatchFunction, None] = {}
        for kind in _FIRED_BY.get(event, ()):
            fired.update(self._waiting[kind].pop(path, {}))
        return list(fired)

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
