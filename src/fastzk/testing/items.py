"""Items (item_t) as tests see them: taken apart and put together with struct, byte by byte as layout.h has them."""

import struct
from dataclasses import dataclass

RESULT, CHANGE, SESSION, READ = 1, 2, 3, 4
HEAD = struct.Struct("<IHHQQQQIiiI")


@dataclass(frozen=True)
class Item:
    kind: int
    zxid: int
    event: int = 0
    session_id: int = 0
    attach_zxid: int = 0
    serial: int = 0
    connection: int = 0
    xid: int = 0
    err: int = 0
    body: bytes = b""

    def pack(self) -> bytes:
        """The record's bytes."""
        size = HEAD.size + len(self.body)
        padding = -size % 8
        head = HEAD.pack(
            size + padding,
            self.kind,
            self.event,
            self.zxid,
            self.session_id,
            self.attach_zxid,
            self.serial,
            self.connection,
            self.xid,
            self.err,
            len(self.body),
        )
        return head + self.body + bytes(padding)


def change(zxid: int, event: int, path: bytes, vector: bytes = b"") -> Item:
    """A CHANGE item; `vector` is the ACL that a watcher needs READ in, empty when anyone may read."""
    return Item(CHANGE, zxid, event=event, connection=len(path), body=path + vector)


def parse_items(stream: bytes) -> list[Item]:
    """Takes a commit batch apart.  Raises AssertionError when its bytes are not exactly items."""
    items = []
    at = 0
    while at < len(stream):
        size, kind, event, zxid, session_id, attach_zxid, serial, connection, xid, err, body_size = HEAD.unpack_from(stream, at)
        body = stream[at + HEAD.size : at + HEAD.size + body_size]
        item = Item(kind, zxid, event, session_id, attach_zxid, serial, connection, xid, err, body)
        assert item.pack() == stream[at : at + size], f"item at {at} of {size} bytes"
        items.append(item)
        at += size
    return items
