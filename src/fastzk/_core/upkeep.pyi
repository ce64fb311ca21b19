from fastzk._core.arena import Arena

def find_reapable(
    arena: Arena, cursor: int, buckets: int, now_ms: int, has_containers: bool, count_max: int
) -> tuple[int, list[bytes]]: ...
