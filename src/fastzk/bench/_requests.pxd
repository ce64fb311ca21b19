"""Which request comes next, and its bytes: see _requests.pyx."""

cimport cython
from fastzk._core.layout cimport buffer_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

# What a request is, in the order of OPERATIONS; the last two only prepare and clean up.
cdef enum:
    KIND_GET
    KIND_SET
    KIND_CREATE
    KIND_EXISTS
    KIND_CHILDREN
    KIND_DELETE
    KIND_MULTI
    MIX_KINDS  # so many can be mixed
    KIND_MAKE_KEY = MIX_KINDS
    KIND_REMOVE_KEY
    KINDS
    KIND_NOTHING = -1  # there is nothing to ask for any more


# The znodes that one connection has created and not deleted: those numbered [deleted, created).
ctypedef struct own_t:
    uint32_t lane
    uint32_t created
    uint32_t deleted


# A whole request, of which only the xid and the names change.
ctypedef struct frame_t:
    buffer_t bytes
    uint32_t name_at     # of the first name's digits
    uint32_t name_step   # from one name to the next
    uint32_t names


@cython.final
cdef class Requests:
    cdef frame_t frames[KINDS]
    cdef uint32_t upto[MIX_KINDS]   # the weights, summed up
    cdef uint32_t weight
    cdef uint32_t keys
    cdef uint32_t number            # tells the znodes of this run and thread from others
    cdef uint64_t chance
    cdef int mode
    cdef uint32_t swept             # keys that making or removing has gone through
    cdef bytes table                # a key for each draw, where they are not all as likely
    cdef const uint32_t *drawn      # its content
    cdef int drawn_shift            # of 64 random bits, to a place in it

    cdef int _make_frame(self, int kind, uint32_t op, bytes fields, uint32_t name_at, uint32_t names=*,
                         uint32_t name_step=*) except -1
    cdef int _use_table(self, bytes table) except -1
    cdef uint64_t _random(self) noexcept nogil
    cdef uint32_t _key(self) noexcept nogil
    cdef int _choose(self, own_t *own) noexcept nogil
    # Appends the next request of a connection; gives its kind, or KIND_NOTHING.
    cdef int append(self, own_t *own, buffer_t *output, uint32_t xid) noexcept nogil


# True for what changes the tree.
cdef inline bint is_write(uint8_t kind) noexcept nogil:
    return kind != KIND_GET and kind != KIND_EXISTS and kind != KIND_CHILDREN
