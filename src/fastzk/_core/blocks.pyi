from typing import NamedTuple

from typing_extensions import Buffer

class BlockInfo(NamedTuple):
    first_index: int
    last_index: int
    first_zxid: int
    last_zxid: int
    time_ms: int
    previous: int
    checksum: int
    count: int  # type: ignore[assignment]
    size: int
    kind: int  # 0 entries, 1 a membership

class Entry(NamedTuple):
    op: int
    body: bytes
    session_id: int
    attach_zxid: int
    serial: int
    node_id: int
    worker: int
    connection: int
    cxid: int

class BlockDamaged(ValueError):  # noqa: N818
    reason: str
    def __init__(self, reason: str) -> None: ...

def seal(
    entries: list[Buffer] | list[bytes],
    count: int,
    first_index: int,
    first_zxid: int,
    time_ms: int,
    previous: int,
    kind: int = 0,
) -> bytes: ...
def check(block: Buffer) -> BlockInfo: ...
def block_checksum(block: Buffer) -> int: ...
def count_entries(entries: Buffer, *, node_id: int | None = None, worker: int | None = None, reads: bool = False) -> int: ...
def take_reconfigs(entries: bytes, count: int) -> tuple[bytes, int, list[Entry]]: ...
def make_entry(
    op: int,
    body: bytes = b"",
    session_id: int = 0,
    attach_zxid: int = 0,
    serial: int = 0,
    node_id: int = 0,
    worker: int = 0,
    connection: int = 0,
    cxid: int = 0,
) -> bytes: ...
def entries(block: Buffer) -> list[Entry]: ...
