"""The results of a session's last writes; see results.pxd.

    session_t.results -> results_t: count | ring of RESULTS_MAX result_t -> body, a block of its own

Rules: the writer's alone, inside a write.  A look costs one comparison for the usual case, a request newer than the last."""

from fastzk._core.arena cimport arena_alloc, arena_change, arena_free, arena_own
from fastzk._core.codes cimport ERR_CONNECTION_LOSS
from fastzk._core.layout cimport RESULTS_MAX, results_t, session_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset


cdef bint results_begin(arena_t *a, ref_t session) noexcept nogil:
    cdef ref_t ref = arena_alloc(a, sizeof(results_t))
    if ref == 0:
        return False
    memset(arena_change(a, ref, sizeof(results_t)), 0, sizeof(results_t))
    (<session_t *>arena_change(a, session, sizeof(session_t))).results = ref
    return True


cdef void results_end(arena_t *a, ref_t session) noexcept nogil:
    cdef ref_t ref = (<const session_t *>arena_own(a, session)).results
    cdef const results_t *kept
    cdef uint32_t i
    if ref == 0:
        return
    kept = <const results_t *>arena_own(a, ref)
    for i in range(<uint32_t>min(kept.count, <uint64_t>RESULTS_MAX)):
        if kept.results[i].body:
            arena_free(a, kept.results[i].body, kept.results[i].body_size)
    arena_free(a, ref, sizeof(results_t))
    (<session_t *>arena_change(a, session, sizeof(session_t))).results = 0


cdef void results_keep(arena_t *a, ref_t session, int32_t cxid, int32_t err, const char *body, uint32_t size) noexcept nogil:
    cdef ref_t ref = (<const session_t *>arena_own(a, session)).results
    cdef results_t *kept
    cdef result_t *slot
    cdef ref_t copy = 0
    if ref == 0:
        return
    kept = <results_t *>arena_change(a, ref, sizeof(results_t))
    slot = &kept.results[kept.count % RESULTS_MAX]
    kept.count += 1
    if slot.body:
        arena_free(a, slot.body, slot.body_size)
    if size:
        copy = arena_alloc(a, size) if size <= RESULT_BODY_MAX else 0
        if copy:
            memcpy(arena_change(a, copy, size), body, size)
        else:
            err = ERR_CONNECTION_LOSS
            size = 0
    slot.cxid = cxid
    slot.err = err
    slot.body = copy
    slot.body_size = size


cdef const result_t *results_find(arena_t *a, ref_t session, int32_t cxid) noexcept nogil:
    cdef ref_t ref = (<const session_t *>arena_own(a, session)).results
    cdef const results_t *kept
    cdef uint32_t ahead
    cdef uint32_t i
    if ref == 0:
        return NULL
    kept = <const results_t *>arena_own(a, ref)
    if kept.count == 0:
        return NULL
    ahead = (<uint32_t>cxid - <uint32_t>kept.results[(kept.count - 1) % RESULTS_MAX].cxid) & 0x7fffffff
    if 0 < ahead < 1 << 30:                         # xids begin again at 1 after 2^31 - 1
        return NULL
    for i in range(<uint32_t>min(kept.count, <uint64_t>RESULTS_MAX)):
        if kept.results[i].cxid == cxid:
            return &kept.results[i]
    return NULL


cdef const char *results_body(arena_t *a, const result_t *result) noexcept nogil:
    return <const char *>arena_own(a, result.body) if result.body else NULL
