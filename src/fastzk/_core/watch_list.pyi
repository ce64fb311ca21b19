"""The watches of one connection, for the four-letter words."""

from fastzk._core.serve import Server

def watched_paths(server: Server, connection: int) -> list[bytes]:
    """List the paths that this slot's connection has a data watch on."""
