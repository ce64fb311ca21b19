"""The roll of the sessions, for the four-letter word dump."""

from fastzk._core.arena import Arena

def call_roll(arena: Arena) -> list[tuple[int, int, list[bytes]]]:
    """List the sessions, the oldest first: (session_id, timeout_ms, paths of its ephemerals).  For the writer's process only."""
