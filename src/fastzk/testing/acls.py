"""ACLs, told plainly: who may write which, and what they permit.  The judge of the compiled rules.

Rule: no code is shared with fastzk._core; addresses are judged by Python's ipaddress."""

import ipaddress
import struct
from collections.abc import Iterable, Sequence

ACL_COUNT_MAX = 256
PROVED = (b"digest", b"sasl", b"x509")  # schemes whose identities stand on a secret: what `auth` means

Entry = tuple[int, bytes | None, bytes | None]
Acl = tuple[int, bytes, bytes]
Identity = tuple[bytes, bytes]


def judged(acl: Sequence[Entry], identities: Sequence[Identity] = ()) -> tuple[Acl, ...] | None:
    """The ACL as it is stored when a caller of these identities writes it; None when that is InvalidACL."""
    if len(acl) > ACL_COUNT_MAX:
        return None
    stored: list[Acl] = []
    for perms, scheme, name in acl:
        if scheme == b"auth":
            meant = [identity for identity in identities if identity[0] in PROVED]
        elif scheme is not None and name is not None and is_valid_id(scheme, name):
            meant = [(scheme, name)]
        else:
            meant = []
        if not meant:
            return None
        for identity in meant:
            if (perms, *identity) not in stored:
                stored.append((perms, *identity))
    return tuple(stored) if 0 < len(stored) <= ACL_COUNT_MAX else None


def is_valid_id(scheme: bytes, name: bytes) -> bool:
    """True for what may stand in an ACL, `auth` apart."""
    if scheme == b"digest":
        return name.rstrip(b":").count(b":") == 1
    if scheme == b"ip":
        return network_of(name) is not None
    if scheme in (b"sasl", b"x509"):
        return name != b""
    return (scheme, name) == (b"world", b"anyone")


def permits(acl: Iterable[Acl], perm: int, identities: Sequence[Identity] = ()) -> bool:
    """True if the ACL permits one of the bits of `perm` to a caller of these identities."""
    if any(scheme == b"super" for scheme, _ in identities):
        return True
    for perms, scheme, name in acl:
        if not perms & perm:
            continue
        if (scheme, name) == (b"world", b"anyone") or any(is_meant(scheme, name, identity) for identity in identities):
            return True
    return False


def is_meant(scheme: bytes, name: bytes, identity: Identity) -> bool:
    """True if an entry with this scheme and id means the identity."""
    if identity[0] != scheme:
        return False
    if scheme == b"ip":
        network, peer = network_of(name), address_of(identity[1])
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        return network is not None and peer is not None and peer.version == network.version and peer in network
    return identity[1] == name or (scheme == b"sasl" and identity[1] == b"super")


def masked(acl: Iterable[Acl]) -> tuple[Acl, ...]:
    """The ACL as it is shown to who may not ADMIN."""
    return tuple(
        (perms, scheme, name.split(b":")[0] + b":x" if scheme == b"digest" and b":" in name else name)
        for perms, scheme, name in acl
    )


def address_of(text: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, None when the text is none."""
    try:
        decoded = text.decode("ascii")
        return None if "%" in decoded else ipaddress.ip_address(decoded)
    except ValueError:
        return None


def network_of(text: bytes) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that an ACL's `address` or `address/bits` means, None when the text is none."""
    address, slash, bits = text.partition(b"/")
    known = address_of(address)
    if known is None:
        return None
    if not slash:
        return ipaddress.ip_network(known)
    if not bits.isdigit() or len(bits) > 3 or int(bits) > known.max_prefixlen:
        return None
    return ipaddress.ip_network((known, int(bits)), strict=False)


def pack_acl(acl: Sequence[Entry]) -> bytes:
    """The jute vector of an ACL."""
    return struct.pack(">i", len(acl)) + b"".join(struct.pack(">i", p) + packed(s) + packed(i) for p, s, i in acl)


def pack_identities(identities: Sequence[Identity]) -> bytes:
    """The jute vector of a connection's identities."""
    return struct.pack(">i", len(identities)) + b"".join(packed(s) + packed(i) for s, i in identities)


def packed(text: bytes | None) -> bytes:
    """A jute string."""
    return struct.pack(">i", -1) if text is None else struct.pack(">i", len(text)) + text
