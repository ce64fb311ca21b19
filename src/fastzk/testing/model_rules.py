"""What the model takes ZooKeeper's words to mean: jute, ACLs, paths, numbers.

Rule: no code is shared with fastzk._core (see model.py)."""

import ipaddress
import struct

MARSHALLING_ERROR, INVALID_ACL = -5, -114
PATH_SIZE_MAX = 4096
SUFFIX_SIZE_MAX = 11
ACL_COUNT_MAX = 256

Acl = tuple[int, bytes, bytes]
Id = tuple[bytes, bytes]
GivenAcl = list[tuple[int, bytes | None, bytes | None]]


class WriteError(Exception):
    """A write that fails with this error code."""

    def __init__(self, err: int) -> None:
        super().__init__(err)
        self.err = err


class Reader:
    """Reads jute; whatever is not there is a MarshallingError."""

    def __init__(self, body: bytes) -> None:
        self.rest = body

    def number(self) -> int:
        if len(self.rest) < 4:
            raise WriteError(MARSHALLING_ERROR)
        taken, self.rest = self.rest[:4], self.rest[4:]
        return int.from_bytes(taken, "big", signed=True)

    def string(self) -> bytes | None:
        size = self.number()
        if size == -1:
            return None
        if size < 0 or size > len(self.rest):
            raise WriteError(MARSHALLING_ERROR)
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def long(self) -> int:
        return (self.number() << 32) + (self.number() & 0xFFFFFFFF)

    def boolean(self) -> bool:
        if not self.rest:
            raise WriteError(MARSHALLING_ERROR)
        taken, self.rest = self.rest[0], self.rest[1:]
        return taken != 0

    def acl(self) -> GivenAcl | None:
        count = self.number()
        return [(self.number(), self.string(), self.string()) for _ in range(count)] if count >= 0 else None

    def identities(self) -> tuple[Id, ...]:
        """A vector of ids without nulls, and nothing behind it."""
        count = self.number()
        found = [(self.string(), self.string()) for _ in range(count)]
        whole = tuple((scheme, name) for scheme, name in found if scheme is not None and name is not None)
        if count < 0 or len(whole) < count or self.rest:
            raise WriteError(MARSHALLING_ERROR)
        return whole


def judged_acl(acl: GivenAcl | None, who: tuple[Id, ...] = ()) -> tuple[Acl, ...]:
    """The ACL as it is stored: `auth` replaced by the writer's ids, no duplicates.  Raises WriteError(InvalidACL)."""
    stored: list[Acl] = []
    for perms, scheme, name in acl or []:
        if scheme == b"auth":
            own = [(perms, *each) for each in who if each[0] in (b"digest", b"sasl", b"x509")]
            if not own:
                raise WriteError(INVALID_ACL)
        elif scheme is None or name is None or not is_valid_id(scheme, name):
            raise WriteError(INVALID_ACL)
        else:
            own = [(perms, scheme, name)]
        stored += [each for each in own if each not in stored]
    if not stored or len(acl or []) > ACL_COUNT_MAX or len(stored) > ACL_COUNT_MAX:
        raise WriteError(INVALID_ACL)
    return tuple(stored)


def is_valid_id(scheme: bytes, name: bytes) -> bool:
    if scheme == b"digest":
        return name.rstrip(b":").count(b":") == 1
    if scheme in (b"sasl", b"x509"):
        return bool(name)
    if scheme == b"ip":
        address, slash, bits = name.partition(b"/")
        try:
            text = address.decode("ascii")
            known = ipaddress.ip_address(text)
        except ValueError:
            return False
        if "%" in text:
            return False
        return not slash or (bits.isdigit() and len(bits) <= 3 and int(bits) <= known.max_prefixlen)
    return (scheme, name) == (b"world", b"anyone")


def permits(acl: tuple[Acl, ...], perm: int, who: tuple[Id, ...]) -> bool:
    """Whether one with these ids may: anyone, a super, or an id that an entry names."""
    if any(scheme == b"super" for scheme, _ in who):
        return True
    return any(perms & perm and is_meant(scheme, name, who) for perms, scheme, name in acl)


def is_meant(scheme: bytes, name: bytes, who: tuple[Id, ...]) -> bool:
    if (scheme, name) == (b"world", b"anyone"):
        return True
    if scheme == b"ip":
        network = ipaddress.ip_network(name.decode(), strict=False)
        return any(ipaddress.ip_address(peer.decode()) in network for kind, peer in who if kind == b"ip")
    return (scheme, name) in who or (scheme == b"sasl" and (b"sasl", b"super") in who)


def packed_acl(acl: tuple[Acl, ...]) -> bytes:
    return struct.pack(">i", len(acl)) + b"".join(struct.pack(">i", perms) + packed(s) + packed(n) for perms, s, n in acl)


def may_be_looked_up(path: bytes) -> bool:
    return b"/" in path and 0 not in path and len(path) <= PATH_SIZE_MAX


def is_valid_path(path: bytes) -> bool:
    """The rules for a znode's path, on characters."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if len(path) > PATH_SIZE_MAX or not text.startswith("/"):
        return False
    if any(is_forbidden(ord(character)) for character in text):
        return False
    return text == "/" or all(element not in ("", ".", "..") for element in text[1:].split("/"))


def is_forbidden(point: int) -> bool:
    return point <= 0x1F or 0x7F <= point <= 0x9F or 0xD800 <= point <= 0xF8FF or point >= 0xFFF0


def parent_of(path: bytes) -> bytes:
    return path[: path.rindex(b"/")] or b"/"


def name_of(path: bytes) -> bytes:
    return path[path.rindex(b"/") + 1 :]


def packed(data: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if data is None else struct.pack(">i", len(data)) + data


def wrapped(value: int, bits: int = 32) -> int:
    """The value as a signed integer of so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
