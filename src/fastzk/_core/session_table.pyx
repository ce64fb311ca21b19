"""The sessions: a hash table with chains, a list of all of them, and from each the list of its ephemerals.

    session buckets -> session_t -> hash_next ...
    header.first_session -> session_t -> next ...                       newest first, linked both ways
    session_t -> first_ephemeral -> znode_t -> ephemeral_next ...       newest first, linked both ways"""

from fastzk._core.acl_table cimport acl_intern, acl_release, acl_see
from fastzk._core.arena cimport (
    READ_LOOK_EVERY,
    arena_alloc,
    arena_change,
    arena_change_header,
    arena_change_session_bucket,
    arena_free,
    arena_own,
    arena_see,
    arena_t,
    arena_walk_is_over,
    peek32,
    peek64,
)
from fastzk._core.jute cimport jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.layout cimport FZ_ASSERT, arena_header_t, mix64, ref_t, session_t, znode_t
from fastzk._core.results cimport results_end
from fastzk._core.znode cimport ZNODE_HEAD, is_session_id
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef uint64_t SESSION_SEED = <uint64_t>0xc3a5c85c97cb3127
cdef uint64_t SESSION_FACTOR = <uint64_t>0x9e3779b97f4a7c15


cdef inline uint64_t session_bucket(arena_t *a, uint64_t session_id) noexcept nogil:
    return mix64(session_id ^ SESSION_SEED, SESSION_FACTOR) & (a.session_buckets - 1)


cdef ref_t session_find(arena_t *a, uint64_t session_id) noexcept nogil:
    cdef uint64_t sequence = peek64(&a.header.sequence)
    cdef uint64_t bucket = session_bucket(a, session_id)
    cdef ref_t ref = peek32(<const ref_t *>(a.base + a.session_offset) + bucket)
    cdef const session_t *session
    cdef uint32_t steps = 0
    while ref:
        session = <const session_t *>arena_see(a, ref, sizeof(session_t))
        if session == NULL:
            return 0
        if peek64(&session.session_id) == session_id:
            return ref
        ref = peek32(&session.hash_next)
        steps += 1
        if steps % READ_LOOK_EVERY == 0 and arena_walk_is_over(a, sequence, steps, sizeof(session_t)):
            return 0
    return 0


cdef ref_t session_create(arena_t *a, uint64_t session_id, uint32_t timeout_ms, const uint8_t *password, uint64_t zxid,
                          uint64_t nonce) noexcept nogil:
    cdef arena_header_t *header
    cdef session_t *session
    cdef ref_t *bucket
    cdef ref_t ref
    if not is_session_id(session_id):
        return 0
    FZ_ASSERT(session_find(a, session_id) == 0)
    ref = arena_alloc(a, sizeof(session_t))
    if ref == 0:
        return 0
    header = arena_change_header(a)
    session = <session_t *>arena_change(a, ref, sizeof(session_t))
    memset(session, 0, sizeof(session_t))
    session.session_id = session_id
    session.attach_zxid = zxid
    session.attach_nonce = nonce
    session.timeout_ms = timeout_ms
    memcpy(session.password, password, sizeof(session.password))
    bucket = arena_change_session_bucket(a, session_bucket(a, session_id))
    session.hash_next = bucket[0]
    bucket[0] = ref
    session.next = header.first_session
    if session.next:
        (<session_t *>arena_change(a, session.next, sizeof(session_t))).previous = ref
    header.first_session = ref
    header.session_count += 1
    return ref


cdef void session_remove(arena_t *a, ref_t ref) noexcept nogil:
    cdef arena_header_t *header = arena_change_header(a)
    cdef const session_t *session = <const session_t *>arena_own(a, ref)
    cdef ref_t *at = arena_change_session_bucket(a, session_bucket(a, session.session_id))
    FZ_ASSERT(session.first_ephemeral == 0 and session.ephemeral_count == 0)    # Z9
    while at[0] != ref:
        FZ_ASSERT(at[0] != 0)
        at = &(<session_t *>arena_change(a, at[0], sizeof(session_t))).hash_next
    at[0] = session.hash_next
    if session.next:
        (<session_t *>arena_change(a, session.next, sizeof(session_t))).previous = session.previous
    if session.previous:
        (<session_t *>arena_change(a, session.previous, sizeof(session_t))).next = session.next
    else:
        header.first_session = session.next
    header.session_count -= 1
    if session.identities:
        acl_release(a, session.identities)
    results_end(a, ref)
    arena_free(a, ref, sizeof(session_t))


cdef caller_t session_caller(arena_t *a, ref_t ref) noexcept nogil:
    cdef const session_t *session = <const session_t *>arena_own(a, ref)
    cdef caller_t who
    who.identities = NULL
    who.size = 0
    if session.identities:
        who.identities = acl_see(a, session.identities, &who.size)
        FZ_ASSERT(who.identities is not NULL)
    return who


cdef bint identities_are_valid(const char *vector, uint32_t size) noexcept nogil:
    cdef jute_t r = jute_over(vector, size)
    cdef int32_t part_size = 0
    cdef int32_t count = jute_int(&r)
    cdef int32_t _i
    if count < 0:
        return False
    for _i in range(count):                      # each turn takes 8 bytes or fails: it ends with the vector
        if jute_bytes(&r, &part_size) is NULL or jute_bytes(&r, &part_size) is NULL:
            return False
    return not r.failed and r.at == r.end


cdef bint session_identify(arena_t *a, ref_t ref, const char *vector, uint32_t size) noexcept nogil:
    cdef session_t *session = <session_t *>arena_change(a, ref, sizeof(session_t))
    cdef ref_t identities = 0
    if size:
        identities = acl_intern(a, vector, size)
        if identities == 0:
            return False
    if session.identities:
        acl_release(a, session.identities)
    session.identities = identities
    return True


cdef void session_own(arena_t *a, ref_t session_ref, ref_t ref, znode_t *znode) noexcept nogil:
    cdef session_t *session = <session_t *>arena_change(a, session_ref, sizeof(session_t))
    znode.ephemeral_owner = session.session_id
    znode.ephemeral_next = session.first_ephemeral
    if session.first_ephemeral:
        (<znode_t *>arena_change(a, session.first_ephemeral, ZNODE_HEAD)).ephemeral_previous = ref
    session.first_ephemeral = ref
    session.ephemeral_count += 1
    arena_change_header(a).ephemeral_count += 1


cdef void session_disown(arena_t *a, const znode_t *znode) noexcept nogil:
    cdef ref_t session_ref = session_find(a, znode.ephemeral_owner)
    cdef session_t *session
    FZ_ASSERT(session_ref != 0)                  # Z9
    session = <session_t *>arena_change(a, session_ref, sizeof(session_t))
    if znode.ephemeral_next:
        (<znode_t *>arena_change(a, znode.ephemeral_next, ZNODE_HEAD)).ephemeral_previous = znode.ephemeral_previous
    if znode.ephemeral_previous:
        (<znode_t *>arena_change(a, znode.ephemeral_previous, ZNODE_HEAD)).ephemeral_next = znode.ephemeral_next
    else:
        session.first_ephemeral = znode.ephemeral_next
    session.ephemeral_count -= 1
    arena_change_header(a).ephemeral_count -= 1
