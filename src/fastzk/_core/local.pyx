"""What a session that is not in the log may not do: own ephemerals, which are to go when it does.

    create 1, create2 15, container 19   string path | buffer data | vector of ACL | int flags
    TTL 21                               the same | long ttl
    delete 2, check 13                   string path | int version
    setData 5                            string path | buffer data | int version
    multi 14                             (int type, bool done, int err, that record)... until done"""

from fastzk._core.codes cimport (
    CREATE_EPHEMERAL, OPCODE_CHECK, OPCODE_CREATE, OPCODE_CREATE2, OPCODE_CREATE_CONTAINER, OPCODE_CREATE_TTL,
    OPCODE_DELETE, OPCODE_MULTI, OPCODE_SET_DATA)
from fastzk._core.jute cimport jute_bool, jute_bytes, jute_int, jute_long, jute_over, jute_t
from libc.stdint cimport int32_t

cdef enum:
    EPHEMERAL = CREATE_EPHEMERAL
    EPHEMERAL_SEQUENTIAL = 3


cdef bint makes_ephemeral(int32_t op, const char *body, size_t size) noexcept nogil:
    cdef jute_t r = jute_over(body, size)
    if op == OPCODE_CREATE or op == OPCODE_CREATE2:
        return creates_ephemeral(&r)
    if op != OPCODE_MULTI:
        return False
    while not r.failed:
        op = jute_int(&r)
        if jute_bool(&r):
            return False
        jute_int(&r)
        if op == OPCODE_CREATE or op == OPCODE_CREATE2 or op == OPCODE_CREATE_CONTAINER or op == OPCODE_CREATE_TTL:
            if creates_ephemeral(&r):
                return True
            if op == OPCODE_CREATE_TTL:
                jute_long(&r)
        elif not skip(&r, op):
            return False
    return False


cdef bint skip(jute_t *r, int32_t op) noexcept nogil:
    """Passes by a record of a multi that creates nothing; False: it is none."""
    cdef int32_t unused = 0
    if op != OPCODE_DELETE and op != OPCODE_SET_DATA and op != OPCODE_CHECK:
        return False
    jute_bytes(r, &unused)
    if op == OPCODE_SET_DATA:
        jute_bytes(r, &unused)
    jute_int(r)
    return not r.failed


cdef bint creates_ephemeral(jute_t *r) noexcept nogil:
    """Passes by a create; True when its flags say ephemeral."""
    cdef int32_t unused = 0
    cdef int32_t count, flags, _
    jute_bytes(r, &unused)
    jute_bytes(r, &unused)
    count = jute_int(r)
    for _ in range(count):
        jute_int(r)
        jute_bytes(r, &unused)
        jute_bytes(r, &unused)
        if r.failed:
            return False
    flags = jute_int(r)
    return not r.failed and (flags == EPHEMERAL or flags == EPHEMERAL_SEQUENTIAL)
