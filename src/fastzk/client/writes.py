"""The calls that change something: create, set, delete, and what is made of them.

Rule: each has a twin _async, which gives an AsyncResult at once; the plain one is the twin and a wait.
Rule: steps of one call that do not wait for each other leave together in one message."""

from collections.abc import Sequence
from typing import Any, Literal, overload

from fastzk import paths
from fastzk.client import values
from fastzk.client.caller import Caller
from fastzk.client.results import AsyncResult, when_all
from fastzk.client.transaction import TransactionRequest
from fastzk.data import ACL, ZnodeStat
from fastzk.defs import ANY_VERSION, OpCode
from fastzk.errors import FastzkError, NoNodeError
from fastzk.wire import records

_SET_DATA = int(OpCode.SET_DATA)


class Writes(Caller):
    """Of a Client."""

    @overload
    def create(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        include_data: Literal[False] = ...,
        *,
        container: bool = ...,
        ttl: float | None = ...,
    ) -> str: ...
    @overload
    def create(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        *,
        include_data: Literal[True],
        container: bool = ...,
        ttl: float | None = ...,
    ) -> tuple[str, ZnodeStat]: ...
    def create(
        self,
        path: str,
        value: bytes | None = b"",
        acl: Sequence[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
        include_data: bool = False,
        *,
        container: bool = False,
        ttl: float | None = None,
    ) -> Any:
        """Makes a znode and gives its path, with include_data its path and ZnodeStat.

        ephemeral: it goes with the session.  sequence: a counter is appended.  makepath: missing parents are made.
        container: it goes some time after its last child has.  ttl: it goes when it was without child and change for so
        many seconds, or some time later.
        Raises NodeExistsError, NoNodeError (no parent), NoChildrenForEphemeralsError, InvalidACLError,
        BadArgumentsError (kinds that exclude each other), QuotaExceededError."""
        result: AsyncResult[Any] = self.create_async(
            path,
            value,
            acl,
            ephemeral,
            sequence,
            makepath,
            include_data=include_data,  # type: ignore[call-overload]
            container=container,
            ttl=ttl,
        )
        return result.get()

    @overload
    def create_async(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        include_data: Literal[False] = ...,
        *,
        container: bool = ...,
        ttl: float | None = ...,
    ) -> AsyncResult[str]: ...
    @overload
    def create_async(
        self,
        path: str,
        value: bytes | None = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        *,
        include_data: Literal[True],
        container: bool = ...,
        ttl: float | None = ...,
    ) -> AsyncResult[tuple[str, ZnodeStat]]: ...
    def create_async(
        self,
        path: str,
        value: bytes | None = b"",
        acl: Sequence[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
        include_data: bool = False,
        *,
        container: bool = False,
        ttl: float | None = None,
    ) -> AsyncResult[Any]:
        """As create()."""
        path = values.checked_path(path, is_sequential=sequence)
        entries = self._acl_or_default(acl)
        full = self.chroot + path if sequence else self._full(path)
        request = values.create_request(full, value, entries, ephemeral, sequence, container, ttl, include_data)

        def attempt() -> AsyncResult[Any]:
            return self._call(request, path, finish)

        def finish(reply: Any, error: FastzkError | None) -> Any:
            made, stat = (values.value_of(reply, error), None) if error or isinstance(reply, str) else reply
            return (self._short(made), stat) if include_data else self._short(made)

        first = attempt()
        if not makepath:
            return first
        result: AsyncResult[Any] = self._result()

        def pass_on(done: AsyncResult[Any]) -> None:
            result.complete(done.value, done.exception, done.zxid)

        def on_parent(parent: AsyncResult[bool]) -> None:
            if parent.exception is not None:
                result.complete(None, parent.exception)
            else:
                attempt().on_ready(pass_on)

        def on_first(done: AsyncResult[Any]) -> None:
            if isinstance(done.exception, NoNodeError):
                self.ensure_path_async(paths.parent_of(path), acl).on_ready(on_parent)
            else:
                pass_on(done)

        first.on_ready(on_first)
        return result

    def ensure_path(self, path: str, acl: Sequence[ACL] | None = None) -> bool:
        """Makes a znode and its missing parents, the chroot too, if it is not there.  Gives True."""
        return self.ensure_path_async(path, acl).get()

    def ensure_path_async(self, path: str, acl: Sequence[ACL] | None = None) -> AsyncResult[bool]:
        """As ensure_path().  All are asked for in one message, and those that are missing are made in one more."""
        path = values.checked_path(path)
        entries = self._acl_or_default(acl)
        result: AsyncResult[bool] = self._result()
        names = self._full(path)[1:].split("/")
        wanted = ["/" + "/".join(names[: count + 1]) for count in range(len(names)) if names[count]]
        found: list[AsyncResult[ZnodeStat | None]] = [
            self._call(records.Exists(full, False), path, values.none_if_missing) for full in wanted
        ]

        def on_found() -> None:
            missing = []
            for full, answer in zip(wanted, found, strict=True):
                if answer.exception is not None:
                    result.complete(None, answer.exception)
                    return
                if answer.value is None:
                    missing.append(full)
            made: list[AsyncResult[bool]] = [
                self._call(records.Create(full, b"", entries, 0), path, values.true_if_exists) for full in missing
            ]
            when_all(made, lambda: on_made(made))

        def on_made(made: list[AsyncResult[bool]]) -> None:
            # A parent that could not be made matters only if the last one could not be made either.
            errors = [answer.exception for answer in made if answer.exception is not None]
            is_made = not made or made[-1].exception is None
            result.complete(True if is_made else None, None if is_made else errors[0])

        when_all(found, on_found)
        return result

    def set(self, path: str, value: bytes | None, version: int = ANY_VERSION) -> ZnodeStat:
        """Changes a znode's data, if it has the version.  Raises NoNodeError, BadVersionError."""
        return self.set_async(path, value, version).get()

    def set_async(self, path: str, value: bytes | None, version: int = ANY_VERSION) -> AsyncResult[ZnodeStat]:
        """As set()."""
        path = values.checked_path(path)
        values.check_value(value)
        values.check_version(version)
        return self._ask(_SET_DATA, values.path_data_version(self._full(path), value, version), path)

    def delete(self, path: str, version: int = ANY_VERSION, recursive: bool = False) -> bool:
        """Removes a znode, if it has the version; with recursive all below it first, of any version.  Gives True.

        Raises NoNodeError (not with recursive), BadVersionError, NotEmptyError."""
        if recursive:
            return self._delete_recursive(values.checked_path(path))
        return self.delete_async(path, version).get()

    def delete_async(self, path: str, version: int = ANY_VERSION) -> AsyncResult[bool]:
        """As delete(), of a single znode."""
        path = values.checked_path(path)
        values.check_version(version)
        return self._call(records.Delete(self._full(path), version), path, values.true_of)

    def _delete_recursive(self, path: str) -> bool:
        """Level by level down, then all in one go, the deepest first."""
        doomed: list[str] = []
        level = [path]
        while level:
            listings = [(parent, self._list(parent)) for parent in level]
            doomed += level
            level = []
            for parent, listing in listings:
                try:
                    names = listing.get()
                except NoNodeError:
                    continue
                level += [paths.join(parent, name) for name in names]
        for removal in [self.delete_async(path) for path in reversed(doomed)]:
            try:
                removal.get()
            except NoNodeError:
                pass  # somebody else was faster
        return True

    def _list(self, path: str) -> AsyncResult[list[str]]:
        return self._call(records.GetChildren(self._full(path), False), path, values.children_of)

    def transaction(self) -> TransactionRequest:
        """Writes that are done together or not at all; see TransactionRequest."""
        return TransactionRequest(self)
