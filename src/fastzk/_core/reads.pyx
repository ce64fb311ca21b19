"""The read path: one read request answered from the arena at one zxid.

Rule: nothing that a try appended to `out` stays unless the sequence says that the writer was not in between.
Rule: no permission, no znode and no data reaches a client but through a try that was valid.

    exists               3    string path, bool watch     NoNode, NoAuth (READ)            Stat
    getData              4    string path, bool watch     NoNode, NoAuth (READ)            buffer data (null stays null), Stat
    getACL               6    string path                 NoNode, NoAuth (READ or ADMIN)   vector of ACL, Stat
    getChildren          8    string path, bool watch     NoNode, NoAuth (READ)            vector of names
    getChildren2         12   string path, bool watch     NoNode, NoAuth (READ)            vector of names, Stat
    multiRead            22   getData and getChildren     (each its own)                   see multi_read
    getEphemerals        103  string prefix (or null)                                      vector of paths: the asking session's own
    getAllChildrenNumber 104  string path                 NoNode, NoAuth (READ)            int: znodes below it, at any depth
    whoAmI               107  nothing                                                      vector of ClientInfo
    setWatches, 2        101, 105                                                          verdicts: rewatch.pyx

Paths are not judged here, as in ZooKeeper: one that no znode can have finds none, and the empty one is the root.  Only exists
minds a NUL byte.  A null path is a MarshallingError, as what ZooKeeper makes of its NullPointerException.
getACL without ADMIN shows `user:x` instead of a digest's hash."""

from fastzk._core.acl cimport acl_permits
from fastzk._core.arena cimport Arena, arena_read_begin, arena_read_valid
from fastzk._core.codes cimport (
    ERR_BAD_ARGUMENTS,
    ERR_MARSHALLING,
    ERR_NO_AUTH,
    ERR_NO_NODE,
    ERR_OK,
    ERR_SYSTEM,
    OPCODE_EXISTS,
    OPCODE_GET_ACL,
    OPCODE_GET_ALL_CHILDREN_NUMBER,
    OPCODE_GET_CHILDREN,
    OPCODE_GET_CHILDREN2,
    OPCODE_GET_DATA,
    OPCODE_GET_EPHEMERALS,
    OPCODE_MULTI_READ,
    OPCODE_WHO_AM_I,
    PERM_ADMIN,
    PERM_READ,
)
from fastzk._core.identities cimport identities_tell
from fastzk._core.jute cimport jute_bool, jute_bytes, jute_int, jute_over, jute_t
from fastzk._core.layout cimport FZ_ASSERT, buffer_append, buffer_be32, buffer_free, buffer_live, ref_t, store_be32, znode_t
from fastzk._core.paths cimport PATH_SIZE_MAX
from fastzk._core.rewatch cimport rewatch_check, rewatch_judge
from fastzk._core.tree cimport (
    acl_see,
    session_find,
    tree_children,
    tree_count_below,
    tree_data,
    tree_ephemerals,
    tree_find,
    tree_see,
    tree_stat,
)
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memset


cdef enum:
    # A short read loses to the writer with a chance of perhaps one in four under the heaviest writing, so sixteen tries
    # lose once in billions; a long listing loses nearly always, and soon (at its first look), so its tries cost little.
    READ_TRIES = 16
    TORN = -1001                # within a try: what was seen makes no sense, so the writer must have been in between
    # Of one multiRead's reply.  A request of a megabyte may name a znode of a megabyte sixty thousand times.
    MULTI_BYTES_MAX = 64 << 20
    RESULT_ERROR = -1           # type of a result that is an error
    RESULT_HEAD = 9             # type, done, err


cdef int read_decode(read_t *read, int32_t op, const char *body, size_t size) noexcept nogil:
    cdef jute_t r = jute_over(body, size)
    cdef int32_t path_size = 0
    read.op = op
    read.is_watching = False
    read.is_of_znode = op <= OPCODE_GET_CHILDREN2 or op == OPCODE_GET_ALL_CHILDREN_NUMBER
    read.body = body
    read.size = <uint32_t>size
    if read.is_of_znode or op == OPCODE_GET_EPHEMERALS:
        read.path = jute_bytes(&r, &path_size)
        read.path_size = <uint32_t>max(path_size, 0)
        if read.is_of_znode and op != OPCODE_GET_ACL and op != OPCODE_GET_ALL_CHILDREN_NUMBER:
            read.is_watching = jute_bool(&r)
        return ERR_MARSHALLING if r.failed or (read.path is NULL and read.is_of_znode) else ERR_OK
    if op == OPCODE_MULTI_READ:
        return multi_check(&r)
    return ERR_OK if op == OPCODE_WHO_AM_I else rewatch_check(read)


cdef int read_answer(arena_t *a, const read_t *read, buffer_t *out, uint64_t *zxid) noexcept nogil:
    cdef size_t kept = buffer_live(out)
    cdef uint64_t sequence
    cdef uint64_t seen_zxid
    cdef int err
    cdef int _i
    for _i in range(READ_TRIES):
        sequence = arena_read_begin(a)
        if sequence & 1:
            continue                                # still inside: a try now would be worth nothing
        err = answer_once(a, read, sequence, out)
        seen_zxid = a.header.applied_zxid
        if arena_read_valid(a, sequence):
            FZ_ASSERT(err != TORN)                  # nobody was in between: the arena itself is damaged
            zxid[0] = seen_zxid
            return err
        out.size = out.start + kept
    return READ_LOST


cdef inline int answer_once(arena_t *a, const read_t *read, uint64_t sequence, buffer_t *out) noexcept nogil:
    """One try, worth nothing unless the sequence is still the same afterwards.  An error is found before an append."""
    if read.is_of_znode:
        return answer_znode(a, read.op, read.path, read.path_size, &read.who, sequence, out)
    if read.op == OPCODE_MULTI_READ:
        return multi_read(a, read, sequence, out)
    if read.op == OPCODE_WHO_AM_I:
        identities_tell(read.who.identities, read.who.size, out)
        return ERR_OK
    if read.op == OPCODE_GET_EPHEMERALS:
        return own_ephemerals(a, read, sequence, out)
    return ERR_OK if rewatch_judge(a, read, sequence, out) else TORN


cdef int own_ephemerals(arena_t *a, const read_t *read, uint64_t sequence, buffer_t *out) noexcept nogil:
    """A prefix of nothing but blanks, or `/` between blanks, is none, as in ZooKeeper."""
    cdef const char *prefix = read.path
    cdef uint32_t size = read.path_size
    cdef ref_t session = session_find(a, read.session_id)
    while size and <uint8_t>prefix[size - 1] <= c' ':
        size -= 1
    while size and <uint8_t>prefix[0] <= c' ':
        prefix += 1
        size -= 1
    if size == 0 or (size == 1 and prefix[0] == c'/'):
        size = 0
    else:
        prefix = read.path
        size = read.path_size
    if session == 0:
        buffer_be32(out, 0)
        return ERR_OK
    return TORN if tree_ephemerals(a, session, prefix, size, sequence, out) else ERR_OK


cdef inline int answer_znode(arena_t *a, int32_t op, const char *path, uint32_t path_size, const caller_t *who,
                             uint64_t sequence, buffer_t *out) noexcept nogil:
    """What one znode answers."""
    cdef ref_t ref
    cdef const znode_t *znode
    cdef uint32_t count = 0
    if path_size > PATH_SIZE_MAX:
        return ERR_NO_NODE
    if op == OPCODE_EXISTS and memchr(path, 0, path_size) is not NULL:
        return ERR_BAD_ARGUMENTS
    ref = tree_find(a, path, path_size) if path_size else a.header.root
    if ref == 0:
        return ERR_NO_NODE
    znode = tree_see(a, ref)
    if znode is NULL:
        return TORN
    if not acl_permits(a, znode.acl, PERM_READ, who) and (op != OPCODE_GET_ACL or not acl_permits(a, znode.acl, PERM_ADMIN, who)):
        return ERR_NO_AUTH
    if op == OPCODE_GET_DATA:
        if tree_data(a, znode, out):
            return TORN
    elif op == OPCODE_GET_CHILDREN or op == OPCODE_GET_CHILDREN2:
        if tree_children(a, znode, sequence, out):
            return TORN
    elif op == OPCODE_GET_ACL:
        if tell_acl(a, znode, acl_permits(a, znode.acl, PERM_ADMIN, who), out):
            return TORN
    elif op == OPCODE_GET_ALL_CHILDREN_NUMBER:
        if tree_count_below(a, znode, sequence, &count):
            return TORN
        buffer_be32(out, count)
        return ERR_OK
    if op != OPCODE_GET_CHILDREN:
        tree_stat(znode, out)
    return ERR_OK


cdef int tell_acl(arena_t *a, const znode_t *znode, bint is_whole, buffer_t *out) noexcept nogil:
    """Appends the ACL's vector; not whole, each digest without its hash.  -1: what was seen makes no sense."""
    cdef uint32_t size = 0
    cdef const char *vector = acl_see(a, znode.acl, &size)
    cdef jute_t r
    cdef const char *scheme
    cdef const char *id
    cdef const char *colon
    cdef int32_t scheme_size = 0
    cdef int32_t id_size = 0
    cdef uint32_t count = 0
    cdef size_t place = buffer_live(out)
    if vector is NULL:
        return -1
    if is_whole:
        buffer_append(out, vector, size)
        return 0
    r = jute_over(vector, size)
    jute_int(&r)
    buffer_be32(out, 0)
    while r.at < r.end and not r.failed:
        buffer_be32(out, <uint32_t>jute_int(&r))
        scheme = jute_bytes(&r, &scheme_size)
        id = jute_bytes(&r, &id_size)
        if scheme is NULL or id is NULL:
            return -1
        buffer_be32(out, <uint32_t>scheme_size)
        buffer_append(out, scheme, scheme_size)
        colon = <const char *>memchr(id, c':', id_size) if scheme_size == 6 and memcmp(scheme, b"digest", 6) == 0 else NULL
        if colon is NULL:
            buffer_be32(out, <uint32_t>id_size)
            buffer_append(out, id, id_size)
        else:
            buffer_be32(out, <uint32_t>(colon - id) + 2)
            buffer_append(out, id, <size_t>(colon - id))
            buffer_append(out, b":x", 2)
        count += 1
    store_be32(out.data + out.start + place, count)
    return 0


cdef int multi_check(jute_t *r) noexcept nogil:
    """The body of a multiRead: (int type, bool done, int err, and of getData 4 and getChildren 8: string path, bool watch)...
    until done.  Anything else is a MarshallingError, as in ZooKeeper."""
    cdef int32_t op, size
    while True:
        op = jute_int(r)
        if jute_bool(r):
            jute_int(r)
            return ERR_MARSHALLING if r.failed else ERR_OK
        jute_int(r)
        if r.failed or (op != OPCODE_GET_DATA and op != OPCODE_GET_CHILDREN):
            return ERR_MARSHALLING
        size = 0
        if jute_bytes(r, &size) is NULL:
            return ERR_MARSHALLING
        jute_bool(r)


cdef void put_result(buffer_t *out, int32_t kind, uint8_t is_done, int32_t err) noexcept nogil:
    buffer_be32(out, <uint32_t>kind)
    buffer_append(out, &is_done, 1)
    buffer_be32(out, <uint32_t>err)


cdef int multi_read(arena_t *a, const read_t *read, uint64_t sequence, buffer_t *out) noexcept nogil:
    """(int type, bool 0, int err, then the reply's body; or type -1, err, int err)... then int -1, bool 1, int -1.

    All are answered at one zxid.  None of them sets a watch, whatever its body says."""
    cdef jute_t r = jute_over(read.body, read.size)
    cdef size_t place = buffer_live(out)
    cdef const char *path
    cdef int32_t op, size, err
    while True:
        op = jute_int(&r)
        if jute_bool(&r):
            put_result(out, RESULT_ERROR, 1, -1)
            return ERR_OK
        FZ_ASSERT(not r.failed)                     # read_decode has seen its end
        jute_int(&r)
        size = 0
        path = jute_bytes(&r, &size)
        jute_bool(&r)
        if buffer_live(out) - place > MULTI_BYTES_MAX:
            out.size = out.start + place
            return ERR_SYSTEM
        put_result(out, op, 0, ERR_OK)
        err = answer_znode(a, op, path, <uint32_t>size, &read.who, sequence, out)
        if err == TORN or not arena_read_valid(a, sequence):
            return TORN
        if err:
            out.size -= RESULT_HEAD
            put_result(out, RESULT_ERROR, 0, err)
            buffer_be32(out, <uint32_t>err)


def answer(Arena arena not None, int32_t op, bytes path not None, bytes identities=b"") -> tuple[int, int, bytes]:
    """Answers one read of a path: (error code, zxid, reply body).  Raises BlockingIOError when the writer won every try."""
    return answer_body(arena, op, len(path).to_bytes(4, "big") + path + b"\0", identities)


def answer_body(Arena arena not None, int32_t op, bytes body not None, bytes identities=b"",
                uint64_t session_id=0) -> tuple[int, int, bytes]:
    """The same of any read, with the request's body and who asks."""
    cdef buffer_t out
    cdef read_t read
    cdef uint64_t zxid = 0
    memset(&out, 0, sizeof(out))
    memset(&read, 0, sizeof(read))
    read.who.identities = identities
    read.who.size = len(identities)
    read.session_id = session_id
    try:
        err = read_decode(&read, op, body, len(body))
        if err == ERR_OK:
            err = read_answer(&arena.arena, &read, &out, &zxid)
        if err == READ_LOST:
            raise BlockingIOError("the writer won every try")
        return err, zxid, out.data[:out.size] if out.size else b""
    finally:
        buffer_free(&out)
