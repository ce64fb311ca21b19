"""Goal: the ledger finds every way in which a promise can be broken.

Method: an honest tree, kept in a dict behind the few client calls a writer makes, then one lie at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fastzk.testing.ensemble import wait_for
from fastzk.testing.ledger import Writer, progress


class LostError(Exception):
    """The answer did not come."""


@dataclass
class Stat:
    version: int


@dataclass
class Answer:
    value: object

    def get(self, timeout: float) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@dataclass
class Tree:
    """A client and its server in one: every seventh answer is lost, of those every second write is lost too."""

    data: dict[str, bytes] = field(default_factory=dict)
    version: int = 0
    made: int = 0
    asked: int = 0

    def create(self, path: str, value: bytes) -> str:
        self.data[path] = value
        return path

    def _answered(self, write: Callable[[], object]) -> Answer:
        self.asked += 1
        if self.asked % 14 == 0:
            return Answer(LostError())
        value = write()
        return Answer(LostError() if self.asked % 7 == 0 else value)

    def create_async(self, path: str, value: bytes, sequence: bool) -> Answer:
        assert sequence
        self.made += 1
        return self._answered(lambda: self.create(f"{path}{self.made:010d}", value))

    def _set(self) -> Stat:
        self.version += 1
        return Stat(self.version)

    def set_async(self, path: str, value: bytes) -> Answer:
        return self._answered(self._set)

    def get_children(self, path: str) -> list[str]:
        return [name.rpartition("/")[2] for name in self.data if name.startswith(f"{path}/")]

    def get_async(self, path: str) -> Answer:
        return Answer((self.data[path], None))

    def exists(self, path: str) -> Stat:
        return Stat(self.version)


@pytest.fixture
def writer() -> Writer:
    """A writer that has written a while, and has stopped."""
    found = Writer("w", Tree(), "/l", (LostError,))
    found.prepare()
    reached = progress([found], 200)
    found.allow(300)
    found.start()
    wait_for(reached, 10, "200 writes")
    found.stop()
    return found


def test_an_honest_server_gives_no_complaint(writer: Writer) -> None:
    assert writer.complaints(writer.client) == []
    assert writer.uncertain_creates
    assert writer.uncertain_sets


@pytest.mark.parametrize("lie", ["lost", "changed", "doubled", "invented", "unordered", "set lost", "set twice"])
def test_each_lie_is_found(writer: Writer, lie: str) -> None:
    tree: Tree = writer.client
    token, path = writer.created[20]
    if lie == "lost":
        del tree.data[path]
    elif lie == "changed":
        tree.data[path] = b"other"
    elif lie == "doubled":
        tree.data["/l/w/s-9999999999"] = token.encode()
    elif lie == "invented":
        tree.data["/l/w/s-9999999999"] = b"w-99999999"
    elif lie == "unordered":
        writer.created[20], writer.created[21] = writer.created[21], writer.created[20]
    elif lie == "set lost":
        tree.version = len(writer.versions) - 1
    else:
        tree.version += writer.uncertain_sets + 1
    assert writer.complaints(tree)


def test_a_writer_that_fails_says_why() -> None:
    class Broken(Tree):
        def set_async(self, path: str, value: bytes) -> Answer:
            return Answer(ValueError("no"))

    failing = Writer("w", Broken(), "/l", (LostError,))
    failing.prepare()
    failing.allow(100)
    failing.start()
    wait_for(lambda: failing.failure, 10, "the failure")
    with pytest.raises(RuntimeError, match="writer w failed"):
        failing.stop()
