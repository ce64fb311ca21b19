"""Which paths may name a znode: ZooKeeper's rules (PathUtils), on UTF-8 bytes.

A path starts with a slash, ends with none (but the root), and has no empty element, no `.` and no `..`.  Forbidden are
the code points U+0000-001F, U+007F-009F, U+D800-F8FF, U+FFF0-FFFF and, as ZooKeeper counts UTF-16 units, everything
beyond U+FFFF.  Bytes that are no UTF-8 are forbidden too: ZooKeeper would read U+FFFD, which is.

    lead byte   characters        forbidden among them
    20-7e       ASCII             -
    c2-df xx    U+0080-07FF       c2 80-9f
    e0 a0-bf xx U+0800-0FFF       -
    e1-ec xx xx U+1000-CFFF       -
    ed 80-9f xx U+D000-D7FF       ed a0-bf are surrogates
    ee xx xx    U+E000-EFFF       all
    ef xx xx    U+F000-FFFF       ef 80-a3 (up to U+F8FF), ef bf b0-bf
    f0-f4       beyond U+FFFF     all"""

from libc.stdint cimport int32_t, uint8_t


cdef bint path_is_valid(const char *path, size_t size, bint is_sequential) noexcept nogil:
    cdef const uint8_t *at = <const uint8_t *>path
    cdef const uint8_t *end = at + size
    cdef const uint8_t *element
    cdef size_t wide
    if size == 0 or size > PATH_SIZE_MAX or at[0] != c'/':
        return False
    if is_sequential and size > PATH_SIZE_MAX - SUFFIX_SIZE_MAX:
        return False
    if size == 1:
        return True
    at += 1
    element = at
    while at < end:
        if at[0] == c'/':
            if not element_is_valid(element, at - element):
                return False
            at += 1
            element = at
        elif 0x20 <= at[0] < 0x7f:
            at += 1
        else:
            wide = wide_character(at, end - at)
            if wide == 0:
                return False
            at += wide
    return is_sequential or element_is_valid(element, at - element)


cdef inline bint element_is_valid(const uint8_t *at, size_t size) noexcept nogil:
    if size > 2:
        return True
    if size == 2:
        return at[0] != c'.' or at[1] != c'.'
    return size == 1 and at[0] != c'.'


cdef size_t wide_character(const uint8_t *at, size_t left) noexcept nogil:
    """Bytes of an allowed character that is not ASCII; 0 when it is forbidden or no UTF-8."""
    cdef uint8_t lead = at[0]
    if left >= 2 and 0xc2 <= lead <= 0xdf:
        if not is_continuation(at[1]) or (lead == 0xc2 and at[1] < 0xa0):
            return 0
        return 2
    if left < 3 or not 0xe0 <= lead <= 0xef or not is_continuation(at[1]) or not is_continuation(at[2]):
        return 0
    if lead == 0xe0 and at[1] < 0xa0:
        return 0                    # too long a form of a shorter character
    if lead == 0xed and at[1] >= 0xa0:
        return 0
    if lead == 0xee:
        return 0
    if lead == 0xef and (at[1] < 0xa4 or (at[1] == 0xbf and at[2] >= 0xb0)):
        return 0
    return 3


cdef inline bint is_continuation(uint8_t byte) noexcept nogil:
    return 0x80 <= byte <= 0xbf


cdef int32_t path_last_slash(const char *path, size_t size) noexcept nogil:
    cdef int32_t slash = -1
    cdef int32_t i
    if size > PATH_SIZE_MAX:
        return -1
    for i in range(<int32_t>size):
        if path[i] == c'/':
            slash = i
        elif path[i] == 0:
            return -1
    return slash


def is_valid(bytes path not None, bint is_sequential=False) -> bool:
    """Says whether a znode may have this path."""
    return path_is_valid(path, len(path), is_sequential)
