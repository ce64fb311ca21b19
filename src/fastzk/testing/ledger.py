"""Who was promised what: writers that note each acknowledgement, and the check of the tree against their notes.

Rules: a write whose answer was lost is uncertain: it may be there, once.  An acknowledged write is there, exactly once.

How it works: a writer is a thread with a client of its own, native or kazoo (their names are the same).  It keeps a few
writes under way: sequential znodes below its own parent, each holding a token that no other write holds, and every
fourth a set of one counter znode, whose version tells how often it was set."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

ANSWER_S_MAX = 60.0
WINDOW = 8  # writes under way
SET_EVERY = 4
READ_WINDOW = 500


class Writer(threading.Thread):
    """One client that writes until it is told to stop.  `lost` are the exceptions that leave a write uncertain."""

    def __init__(self, name: str, client: Any, parent: str, lost: tuple[type[Exception], ...]) -> None:
        super().__init__(name=name, daemon=True)
        self.client = client
        self.parent = f"{parent}/{name}"
        self.lost = lost
        # (token, path) of each acknowledged create, in the order of the requests.
        self.created: list[tuple[str, str]] = []
        # Versions that acknowledged sets gave the counter, in the order of the requests.
        self.versions: list[int] = []
        self.uncertain_creates: set[str] = set()
        self.uncertain_sets = 0
        self.failure: BaseException | None = None
        self._turn = threading.Condition()
        # Submitted so far, and how many may be; both move under `_turn`.
        self._submitted = 0
        self._allowed = 0
        self._is_stopping = False

    @property
    def acknowledged(self) -> int:
        """How many writes were acknowledged so far."""
        return len(self.created) + len(self.versions)

    def prepare(self) -> None:
        """Makes the parent and the counter; before start()."""
        self.client.create(self.parent, b"")
        self.client.create(f"{self.parent}/counter", b"")

    def allow(self, more: int) -> None:
        """So many more writes than were submitted so far; what is left of an earlier allowance is gone."""
        with self._turn:
            self._allowed = self._submitted + more
            self._turn.notify()

    def run(self) -> None:
        pending: deque[tuple[str, Any]] = deque()
        try:
            while pending or self._may_go_on():
                while len(pending) < WINDOW and self._submitted < self._allowed and not self._is_stopping:
                    self._submitted += 1
                    pending.append(self._submit(self._submitted))
                if pending:
                    self._settle(*pending.popleft())
        except BaseException as failure:
            self.failure = failure

    def _may_go_on(self) -> bool:
        """Waits for an allowance; False when it is time to end."""
        with self._turn:
            self._turn.wait_for(lambda: self._is_stopping or self._submitted < self._allowed)
            return not self._is_stopping

    def stop(self) -> None:
        """Lets the writes under way be answered, and ends.  Raises what made the writer fail, if anything did."""
        with self._turn:
            self._is_stopping = True
            self._turn.notify()
        self.join()
        if self.failure is not None:
            raise RuntimeError(f"writer {self.name} failed") from self.failure

    def _submit(self, number: int) -> tuple[str, Any]:
        if number % SET_EVERY == 0:
            return "", self.client.set_async(f"{self.parent}/counter", b"%d" % number)
        token = f"{self.name}-{number}"
        return token, self.client.create_async(f"{self.parent}/s-", token.encode(), sequence=True)

    def _settle(self, token: str, answer: Any) -> None:
        """Notes what came of a write; the token is empty for a set."""
        try:
            given = answer.get(timeout=ANSWER_S_MAX)
        except self.lost:
            if token:
                self.uncertain_creates.add(token)
            else:
                self.uncertain_sets += 1
        else:
            if token:
                self.created.append((token, given))
            else:
                self.versions.append(given.version)

    def complaints(self, reader: Any) -> list[str]:
        """What is wrong with the tree, as another client reads it; empty when all is as promised."""
        tree = read_children(reader, self.parent)
        counter_version = reader.exists(f"{self.parent}/counter").version
        tree.pop("counter")
        found = []
        for token, path in self.created:
            data = tree.get(path.rpartition("/")[2])
            if data != token.encode():
                found.append(f"lost: {path} was acknowledged for {token} and holds {data!r}")
        counts = Counter(data.decode() for data in tree.values())
        known = {token for token, _ in self.created} | self.uncertain_creates
        found += [f"doubled: {token}" for token, count in counts.items() if count > 1]
        found += [f"never asked for: {token}" for token in sorted(counts.keys() - known)]
        names = [path for _, path in self.created]
        if names != sorted(names):
            found.append(f"{self.name}: acknowledged names do not follow the order of the requests")
        if any(later <= earlier for earlier, later in zip(self.versions, self.versions[1:], strict=False)):
            found.append(f"{self.name}: the counter's versions do not rise: {self.versions}")
        if not len(self.versions) <= counter_version <= len(self.versions) + self.uncertain_sets:
            found.append(
                f"{self.name}: the counter is at version {counter_version}, "
                f"with {len(self.versions)} sets acknowledged and {self.uncertain_sets} uncertain"
            )
        return found


def read_children(client: Any, parent: str) -> dict[str, bytes]:
    """Every child's name and data, read with many requests under way."""
    names = sorted(client.get_children(parent))
    found: dict[str, bytes] = {}
    for start in range(0, len(names), READ_WINDOW):
        part = names[start : start + READ_WINDOW]
        answers = [client.get_async(f"{parent}/{name}") for name in part]
        found.update((name, answer.get(timeout=ANSWER_S_MAX)[0]) for name, answer in zip(part, answers, strict=True))
    return found


def progress(writers: Iterable[Writer], more: int) -> Callable[[], bool]:
    """A condition: every writer has been promised so many more writes than now.  Raises when a writer has failed."""
    marks = [(writer, writer.acknowledged + more) for writer in writers]

    def is_reached() -> bool:
        for writer, _ in marks:
            if writer.failure is not None:
                raise RuntimeError(f"writer {writer.name} failed") from writer.failure
        return all(writer.acknowledged >= mark for writer, mark in marks)

    return is_reached
