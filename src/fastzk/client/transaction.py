"""Several operations in one request: writes that are all done or none of them, and reads that are answered together.

    with client.transaction() as transaction:           reads = client.multi_read()
        transaction.check("/a", version=3)              reads.get("/a")
        transaction.create("/a/b", b"value")            reads.get_children("/a")
                                                        (data, stat), names = reads.commit()

Rule: commit() gives a list with a result for each operation, in order; what failed is an exception in it, and is not raised.
Rule: a request is built by one thread, and sent once."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from fastzk.client import values
from fastzk.client.caller import Caller
from fastzk.client.results import AsyncResult
from fastzk.data import ACL
from fastzk.defs import ANY_VERSION, OpCode
from fastzk.errors import FastzkError, MarshallingError, error_for
from fastzk.wire import records

_Take = Callable[[Any], Any]  # a result from an operation's reply


class _Operations:
    """What both kinds have in common: operations, the user's path of each, and what is made of its reply."""

    def __init__(self, client: Caller, request: Callable[[list[Any]], records.Request], linearizable: bool | None) -> None:
        self.client = client
        self._request = request
        self._linearizable = linearizable
        self.operations: list[Any] = []
        # It was sent; that says nothing of what became of it.
        self.committed = False
        self._paths: list[str] = []
        self._takes: list[_Take] = []

    def commit_async(self) -> AsyncResult[list[Any]]:
        """As commit().  Raises ValueError the second time."""
        self._check_open()
        self.committed = True
        return self.client._read(self._request(self.operations), None, self._results, self._linearizable)

    def commit(self) -> list[Any]:
        """Sends the operations and gives a result for each.  Raises ValueError the second time."""
        return self.commit_async().get()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Commits, unless there was an exception."""
        if kind is None:
            self.commit()

    def _check_open(self) -> None:
        if self.committed:
            raise ValueError("Transaction already committed")

    def _add(self, operation: Any, path: str, take: _Take) -> None:
        self._check_open()
        self.operations.append(operation)
        self._paths.append(path)
        self._takes.append(take)

    def _results(self, reply: Any, error: FastzkError | None) -> list[Any]:
        results = values.value_of(reply, error)
        if len(results) != len(self.operations):
            raise MarshallingError(f"{len(results)} results of {len(self.operations)} operations")
        return [
            error_for(err, path) if op == OpCode.ERROR else take(value)
            for (op, err, value), path, take in zip(results, self._paths, self._takes, strict=True)
        ]


class TransactionRequest(_Operations):
    """Writes that are done together or not at all (kazoo: TransactionRequest).

    Of one that was not done, the results are exceptions: RolledBackError before the operation that failed, then its own,
    then RuntimeInconsistency."""

    def __init__(self, client: Caller) -> None:
        super().__init__(client, records.Multi, linearizable=False)

    def create(
        self,
        path: str,
        value: bytes | None = b"",
        acl: Sequence[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl: float | None = None,
    ) -> None:
        """Adds a create(), whose result is the path."""
        client = self.client
        path = values.checked_path(path, is_sequential=sequence)
        entries = client._acl_or_default(acl)
        full = client.chroot + path if sequence else client._full(path)
        request = values.create_request(full, value, entries, ephemeral, sequence, container, ttl)
        self._add(request, path, lambda reply: client._short(reply if isinstance(reply, str) else reply[0]))

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Adds a delete(), whose result is True."""
        path = values.checked_path(path)
        values.check_version(version)
        self._add(records.Delete(self.client._full(path), version), path, _true)

    def set_data(self, path: str, value: bytes | None, version: int = ANY_VERSION) -> None:
        """Adds a set(), whose result is the ZnodeStat."""
        path = values.checked_path(path)
        values.check_value(value)
        values.check_version(version)
        self._add(records.SetData(self.client._full(path), value, version), path, lambda stat: stat)

    def check(self, path: str, version: int) -> None:
        """Adds a condition: the znode is there and has the version.  Its result is True."""
        path = values.checked_path(path)
        values.check_version(version)
        self._add(records.Check(self.client._full(path), version), path, _true)


class MultiReadRequest(_Operations):
    """Reads that are answered together.  One that fails is an exception among the results."""

    def __init__(self, client: Caller, linearizable: bool | None) -> None:
        super().__init__(client, records.MultiRead, linearizable)

    def get(self, path: str) -> None:
        """Adds a get(), whose result is data and ZnodeStat."""
        path = values.checked_path(path)
        self._add(records.GetData(self.client._full(path), False), path, lambda reply: values.data_and_stat(reply, None))

    def get_children(self, path: str) -> None:
        """Adds a get_children(), whose result is the names."""
        path = values.checked_path(path)
        self._add(records.GetChildren(self.client._full(path), False), path, list)


def _true(reply: Any) -> bool:
    return True
