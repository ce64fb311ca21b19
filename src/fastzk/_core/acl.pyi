def cleaned(vector: bytes, identities: bytes = b"") -> bytes | None:
    """The vector as it would be stored when a caller of these identities (a jute vector of Id) writes it; None: not valid.

    Raises ValueError when the bytes are no vector.
    """

def permits(vector: bytes, perm: int, identities: bytes = b"") -> bool:
    """True if the vector permits one of the bits of `perm` to a caller of these identities; False when it is none."""

def masked(vector: bytes) -> bytes:
    """The vector as it is shown to who may not ADMIN.  Raises ValueError when the bytes are no vector."""
