"""Quotas as the model knows them: the text of limits and statistics, and which quota a path lies in.

Rule: no code is shared with fastzk._core (see model.py)."""

import re
from collections.abc import Container, Mapping
from typing import Protocol

from fastzk.testing.model_rules import MARSHALLING_ERROR, WriteError

QUOTA_EXCEEDED = -125
HOME = b"/zookeeper/quota"
LIMITS, STATS = b"/zookeeper_limits", b"/zookeeper_stats"
LONG_MAX = (1 << 63) - 1


class Track:
    """ZooKeeper's StatsTrack.  Raises WriteError(MarshallingError) for bytes that are none."""

    def __init__(self, text: bytes | None) -> None:
        self.values: dict[bytes, int] = {}
        if text is None:
            raise WriteError(MARSHALLING_ERROR)
        for pair in java_split(rb"[,;]+", text) if text else []:
            parts = java_split(b"=", pair)
            if len(parts) < 2 or not re.fullmatch(rb"[+-]?[0-9]+|", parts[1]):
                raise WriteError(MARSHALLING_ERROR)
            value = int(parts[1] or b"-1")
            if not -LONG_MAX - 1 <= value <= LONG_MAX:
                raise WriteError(MARSHALLING_ERROR)
            self.values[parts[0]] = value

    def get(self, key: bytes) -> int:
        return self.values.get(key, -1)

    def text(self) -> bytes:
        others = sorted(self.values.keys() - {b"count", b"bytes"})
        more = b"=" + b"".join(b";%s=%d" % (key, self.values[key]) for key in others) if others else b""
        return b"count=%d,bytes=%d" % (self.get(b"count"), self.get(b"bytes")) + more


def java_split(separator: bytes, text: bytes) -> list[bytes]:
    """Java's split: no empty parts at the end."""
    parts = re.split(separator, text)
    while parts and not parts[-1]:
        parts.pop()
    return parts


def quota_of(paths: Container[bytes], path: bytes) -> bytes | None:
    """The longest prefix of a path that has a quota."""
    elements = path.split(b"/")[1:]
    for count in range(len(elements), 0, -1):
        prefix = b"".join(b"/" + element for element in elements[:count])
        if prefix != b"/" and HOME + prefix + LIMITS in paths:
            return prefix
    return None


class HasData(Protocol):
    """A znode, as far as it is looked at here."""

    data: bytes | None


def judge(znodes: Mapping[bytes, HasData], path: bytes, count: int, size: int) -> None:
    """Whether so many znodes and bytes more may be.  Raises WriteError(QuotaExceeded)."""
    prefix = quota_of(znodes, path)
    if prefix is None:
        return
    limits = Track(znodes[HOME + prefix + LIMITS].data)
    asked = [
        (more, key, limits.get(hard), limits.get(key))
        for more, key, hard in ((count, b"count", b"countHardLimit"), (size, b"bytes", b"byteHardLimit"))
        if more and max(limits.get(hard), limits.get(key)) > -1
    ]
    if not asked or HOME + prefix + STATS not in znodes:
        return
    stats = Track(znodes[HOME + prefix + STATS].data)
    for more, key, hard, _ in asked:
        if hard > -1 and stats.get(key) + more > hard:
            raise WriteError(QUOTA_EXCEEDED)


def moved(stats: bytes | None, count: int, size: int) -> bytes | None:
    """The statistics after a change; what is none stays."""
    try:
        track = Track(stats)
    except WriteError:
        return stats
    track.values |= {b"count": track.get(b"count") + count, b"bytes": track.get(b"bytes") + size}
    return track.text()
