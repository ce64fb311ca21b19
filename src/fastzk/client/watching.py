"""What a session's calls and the server's events mean for its watches.

Rule: a watch is entered when its read's answer is taken, before the next record is: no event can overtake it.
Rule: functions are the client's business, the server knows paths and kinds: it is told when the last function goes.
Rule: here alone paths get the chroot, and lose it."""

from collections.abc import Iterable

from fastzk.client.call import Call, Fired
from fastzk.client.watches import WatchKind, WatchTable, outside, told
from fastzk.data import WatchedEvent
from fastzk.defs import EventType, KeeperState, OpCode
from fastzk.errors import FastzkError, NoNodeError, NoWatcherError
from fastzk.wire.records import WatcherEvent, encode_request


class SessionWatches(WatchTable):
    """The watches of one session, by the paths of its user."""

    def __init__(self, chroot: str) -> None:
        super().__init__()
        self._chroot = chroot

    def on_event(self, event: WatcherEvent) -> list[Fired]:
        """The server tells of a change."""
        kind = EventType(event.type)
        is_inside = event.path == self._chroot or event.path.startswith(self._chroot + "/")
        path = (event.path.removeprefix(self._chroot) or "/") if is_inside else outside(event.path)
        functions = self.fire(kind, path)
        return [Fired(functions, WatchedEvent(kind, KeeperState(event.state), told(path)))] if functions else []

    def enter(self, call: Call, error: FastzkError | None) -> None:
        """A call with a function was answered."""
        assert call.watch is not None
        assert call.path is not None
        assert call.function is not None
        if error is None:
            self.add(call.watch, call.path, call.function)
        elif isinstance(error, NoNodeError) and call.op == OpCode.EXISTS:
            self.add(WatchKind.EXIST, call.path, call.function)

    def choose_removal(self, call: Call, pending: Iterable[Call]) -> None:
        """Before a removal is sent: one function among several is taken off here alone, and the server only asked."""
        if call.function is not None:
            assert call.removes is not None
            assert call.path is not None
            is_shared = self.is_shared(call.removes, call.path, call.function) or any(
                other.path == call.path and other.function not in (None, call.function) and other.removes is None
                for other in pending
            )
            call.op = OpCode.CHECK_WATCHES if is_shared else OpCode.REMOVE_WATCHES

    def on_removed(self, call: Call, error: FastzkError | None) -> tuple[list[Fired], FastzkError | None]:
        """A removal was answered: who is told, and the error that the caller shall see."""
        assert call.removes is not None
        assert call.path is not None
        removed = self.remove(call.removes, call.path, call.function)
        fired = [Fired(functions, WatchedEvent(kind, KeeperState.CONNECTED, call.path)) for kind, functions in removed]
        if call.function is not None:
            return fired, None if removed else NoWatcherError(call.path)
        # The server may have sent their event just before.
        return fired, None if removed and isinstance(error, NoWatcherError) else error

    def arming_calls(self, last_zxid: int) -> list[Call]:
        """What tells the next server of all watches."""
        # All batches tell the same zxid: answers to the first ones say nothing of what the others have missed.
        return [Call(request.op, encode_request(request), is_own=True) for request in self.rearm(last_zxid, self._chroot)]

    def end(self, state: KeeperState) -> list[Fired]:
        """The session is over."""
        return [Fired(functions, WatchedEvent(EventType.NONE, state, told(path))) for path, functions in self.take_all()]
