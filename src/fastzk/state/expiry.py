"""The leader's opinion of which sessions are still alive.

Rule: only the leader expires, and only after its own epoch's first entry is applied, with every timer begun anew: a new
leader cannot know when the sessions were last heard of (ZooKeeper does the same).
Rule: time is the caller's monotonic milliseconds.  Sessions wait in buckets of `bucket_ms`: a touch moves one dict entry, and
a session expires in (timeout, timeout + grace_ms + bucket_ms] after it was last heard of, never earlier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class _Lease:
    attach_zxid: int
    timeout_ms: int
    bucket: int


class ExpiryTable:
    """Deadlines of sessions, in buckets."""

    def __init__(self, bucket_ms: int, grace_ms: int = 0) -> None:
        """grace_ms: how old the news may be, when it comes, that a session was heard of."""
        self._grace_ms = grace_ms
        self._bucket_ms = bucket_ms
        self._leases: dict[int, _Lease] = {}
        self._buckets: dict[int, dict[int, None]] = {}
        # The next bucket to expire; moves only forward.  No lease lies in a bucket before it.
        self._next_bucket = 0

    def __len__(self) -> int:
        return len(self._leases)

    def begin(self, sessions: Iterable[tuple[int, int, int]], now_ms: int) -> None:
        """Forgets everything and begins with these (session_id, attach_zxid, timeout_ms), all heard of just now."""
        self._leases.clear()
        self._buckets.clear()
        self._next_bucket = now_ms // self._bucket_ms
        for session_id, attach_zxid, timeout_ms in sessions:
            self.put(session_id, attach_zxid, timeout_ms, now_ms)

    def put(self, session_id: int, attach_zxid: int, timeout_ms: int, now_ms: int) -> None:
        """A session was created or attached anew."""
        self.remove(session_id)
        lease = _Lease(attach_zxid, timeout_ms, self._bucket_after(now_ms + timeout_ms + self._grace_ms))
        self._leases[session_id] = lease
        self._buckets.setdefault(lease.bucket, {})[session_id] = None

    def remove(self, session_id: int) -> None:
        """A session is over."""
        lease = self._leases.pop(session_id, None)
        if lease is not None:
            self._leave_bucket(session_id, lease)

    def touch(self, session_ids: Iterable[int], now_ms: int) -> None:
        """These sessions were heard of just now; ids that are not known are ignored."""
        for session_id in session_ids:
            lease = self._leases.get(session_id)
            if lease is None:
                continue
            bucket = self._bucket_after(now_ms + lease.timeout_ms + self._grace_ms)
            if bucket > lease.bucket:
                self._leave_bucket(session_id, lease)
                lease.bucket = bucket
                self._buckets.setdefault(bucket, {})[session_id] = None

    def due(self, now_ms: int) -> list[tuple[int, int]]:
        """(session_id, attach_zxid) of the sessions whose time is over.

        They begin another timeout, so that an expiry whose proposal is lost is proposed again."""
        now_bucket = now_ms // self._bucket_ms
        expired: list[tuple[int, int]] = []
        while self._next_bucket <= now_bucket:
            for session_id in self._buckets.pop(self._next_bucket, {}):
                lease = self._leases[session_id]
                assert lease.bucket == self._next_bucket, f"session {session_id:#x}: {lease.bucket} in {self._next_bucket}"
                expired.append((session_id, lease.attach_zxid))
                lease.bucket = self._bucket_after(now_ms + lease.timeout_ms + self._grace_ms)
                self._buckets.setdefault(lease.bucket, {})[session_id] = None
            self._next_bucket += 1
        return expired

    def deadlines(self) -> dict[int, list[int]]:
        """The sessions by the time in which they expire if nothing more is heard of them."""
        return {bucket * self._bucket_ms: list(ids) for bucket, ids in sorted(self._buckets.items())}

    def _bucket_after(self, deadline_ms: int) -> int:
        return deadline_ms // self._bucket_ms + 1

    def _leave_bucket(self, session_id: int, lease: _Lease) -> None:
        bucket = self._buckets[lease.bucket]
        del bucket[session_id]
        if not bucket:
            del self._buckets[lease.bucket]
