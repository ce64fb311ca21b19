"""Writes that are in no block yet: on the leader until they are sealed, on a follower until the end of the turn.

Rule: they may be dropped at any time; their workers keep them, and send all that are unanswered again in a new round."""

from __future__ import annotations

import struct

from fastzk import limits

_OP, _OP_AT = struct.Struct("<i"), 8  # of entry_t


class Pending:
    """Batches of entries, in the order in which they came."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, bytes]] = []  # (count, entries)
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, entries: bytes, count: int, *, is_own: bool = False) -> bool:
        """Takes a batch; False when there is no room for it.  For a leader's own entries there is: nobody would send them again."""
        if not is_own and self._bytes + len(entries) > limits.PENDING_BYTES_MAX:
            return False
        self._batches.append((count, entries))
        self._bytes += len(entries)
        return True

    def take_block(self) -> list[tuple[int, bytes]]:
        """Takes what one block holds: as many of the batches that wait as fit, in order, at least one."""
        number, size = 1, len(self._batches[0][1])
        while number < len(self._batches) and size + len(self._batches[number][1]) <= limits.BLOCK_BYTES_MAX:
            size += len(self._batches[number][1])
            number += 1
        taken, self._batches = self._batches[:number], self._batches[number:]
        self._bytes -= size
        return taken

    def put_back(self, taken: list[tuple[int, bytes]]) -> None:
        """Gives back what could not be proposed; it is first in line again."""
        self._batches[:0] = taken
        self._bytes += sum(len(entries) for _, entries in taken)

    def drop(self, op: int) -> None:
        """Drops what the leader itself added of an operation, each a batch of its own."""
        kept = [batch for batch in self._batches if batch[0] > 1 or _OP.unpack_from(batch[1], _OP_AT)[0] != op]
        self._bytes -= sum(len(entries) for _, entries in self._batches) - sum(len(entries) for _, entries in kept)
        self._batches = kept

    def take_all(self) -> list[tuple[int, bytes]]:
        """Takes everything."""
        taken, self._batches, self._bytes = self._batches, [], 0
        return taken
