"""The calls about watches that stay: add_watch, and how watches of every kind are taken off.

Rule: functions are the client's business, the server knows a path and a kind; it is told when the last function goes."""

from fastzk.client import values
from fastzk.client.caller import Caller
from fastzk.client.results import AsyncResult
from fastzk.client.watches import WatchFunction, WatchKind
from fastzk.defs import AddWatchMode, WatcherType
from fastzk.wire import records


class PersistentWatches(Caller):
    """Of a Client."""

    def add_watch(self, path: str, watch: WatchFunction, recursive: bool = False) -> bool:
        """Has a function called whenever a znode comes, changes, goes, or its children do, until it is removed.

        recursive: also when one below it comes, changes or goes; lists of children are not told of then.  Gives True.
        The function lives as long as the session, and is called with an event of type NONE when that ends."""
        return self.add_watch_async(path, watch, recursive).get()

    def add_watch_async(self, path: str, watch: WatchFunction, recursive: bool = False) -> AsyncResult[bool]:
        """As add_watch()."""
        path = values.checked_path(path)
        values.check_watch(watch)
        mode = AddWatchMode.PERSISTENT_RECURSIVE if recursive else AddWatchMode.PERSISTENT
        kind = WatchKind.RECURSIVE if recursive else WatchKind.PERSISTENT
        return self._call(records.AddWatch(self._full(path), mode), path, values.true_of, kind, watch)

    def remove_watch(self, path: str, watch: WatchFunction, watcher_type: WatcherType = WatcherType.ANY) -> bool:
        """Takes a function off a path; it is called once more, with an event that says so.  Gives True.

        Raises NoWatcherError when it does not wait there."""
        return self.remove_watch_async(path, watch, watcher_type).get()

    def remove_watch_async(self, path: str, watch: WatchFunction, watcher_type: WatcherType = WatcherType.ANY) -> AsyncResult[bool]:
        """As remove_watch()."""
        values.check_watch(watch)
        return self._remove(path, watch, watcher_type)

    def remove_all_watches(self, path: str, watcher_type: WatcherType = WatcherType.ANY) -> bool:
        """Takes all functions of a type off a path; each is called once more, with an event that says so.  Gives True.

        Raises NoWatcherError when there is none."""
        return self.remove_all_watches_async(path, watcher_type).get()

    def remove_all_watches_async(self, path: str, watcher_type: WatcherType = WatcherType.ANY) -> AsyncResult[bool]:
        """As remove_all_watches()."""
        return self._remove(path, None, watcher_type)

    def _remove(self, path: str, watch: WatchFunction | None, watcher_type: WatcherType) -> AsyncResult[bool]:
        path = values.checked_path(path)
        removes = values.checked_watcher_type(watcher_type)
        request = records.RemoveWatches(self._full(path), removes)
        return self._call(request, path, values.true_of, None, watch, removes)
