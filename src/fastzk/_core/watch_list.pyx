"""The watches of one connection as Python values, for the four-letter words wchs, wchc and wchp.

As in ZooKeeper these tell of data watches only (getData, exists); mntr's watch_count counts all."""

from fastzk._core.serve cimport Server
from fastzk._core.watches cimport watch_t, watches_t
from libc.stdint cimport uint32_t

cdef enum:
    CHUNK_BITS = 10             # of a watch's number: its place in a chunk; see watches_t.chunks


def watched_paths(Server server not None, connection: int) -> list[bytes]:
    cdef watches_t *w = server.watches
    cdef const watch_t *watch
    cdef uint32_t number
    found = []
    if not 0 <= connection < w.owner_room:
        return found
    number = w.owners[<uint32_t>connection].first
    while number:
        watch = &w.chunks[number >> CHUNK_BITS][number & ((1 << CHUNK_BITS) - 1)]
        if not watch.owner & 1:
            found.append(watch.path.text[:watch.path.size])
        number = watch.connection_next
    return found
