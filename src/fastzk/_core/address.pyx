"""IP addresses of ACLs, in text.

    network:  address, or address/bits with 0 to 32 (IPv4) or 128 (IPv6) bits
    IPv4:     four numbers of 0 to 255 without leading zeros (some systems take those for octal)
    IPv6:     eight groups of 1 to 4 hex digits; `::` stands for one or more groups of zeros; the last two may be an IPv4

Rule: read here and not by libc: what one node accepts every node must, and so must a node of another system.
A peer that comes as an IPv4-mapped IPv6 address (::ffff:a.b.c.d) is the IPv4 address; a network of one family has no
peer of the other."""

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcmp, memset


cdef enum:
    SIZE_V4 = 4
    SIZE_V6 = 16
    BITS_DIGITS_MAX = 3
    MAPPED_PREFIX = 12          # bytes of ::ffff:0:0/96


cdef const char *MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


cdef bint network_is_valid(const char *at, int32_t size) noexcept nogil:
    cdef uint8_t address[16]
    cdef int32_t bits = 0
    return network_parse(at, size, address, &bits) != 0


cdef bint network_has(const char *network, int32_t network_size, const char *peer, int32_t peer_size) noexcept nogil:
    cdef uint8_t wanted[16]
    cdef uint8_t given[16]
    cdef const uint8_t *seen = given
    cdef int32_t bits = 0
    cdef int32_t size = network_parse(network, network_size, wanted, &bits)
    cdef int32_t given_size = address_parse(peer, peer_size, given)
    cdef uint8_t mask
    if given_size == SIZE_V6 and memcmp(given, MAPPED, MAPPED_PREFIX) == 0:
        given_size = SIZE_V4
        seen = given + MAPPED_PREFIX
    if size == 0 or size != given_size or memcmp(wanted, seen, bits // 8) != 0:
        return False
    if bits % 8 == 0:
        return True
    mask = <uint8_t>(0xff << (8 - bits % 8))
    return ((wanted[bits // 8] ^ seen[bits // 8]) & mask) == 0


cdef int32_t network_parse(const char *at, int32_t size, uint8_t *address, int32_t *bits) noexcept nogil:
    """The bytes of the address, of which the first `bits` bits count; gives 4 or 16, or 0 when it is no network."""
    cdef int32_t address_size = 0
    cdef int32_t found, i
    while address_size < size and at[address_size] != c'/':
        address_size += 1
    found = address_parse(at, address_size, address)
    bits[0] = found * 8
    if found == 0 or address_size == size:
        return found
    if size - address_size < 2 or size - address_size > BITS_DIGITS_MAX + 1:
        return 0
    bits[0] = 0
    for i in range(address_size + 1, size):
        if not c'0' <= at[i] <= c'9':
            return 0
        bits[0] = 10 * bits[0] + (at[i] - c'0')
    return found if bits[0] <= found * 8 else 0


cdef int32_t address_parse(const char *at, int32_t size, uint8_t *address) noexcept nogil:
    """The bytes of an address; gives their number, 4 or 16, or 0 when it is none."""
    cdef int32_t i
    for i in range(size):
        if at[i] == c':':
            return SIZE_V6 if parse_v6(at, size, address) else 0
    return SIZE_V4 if parse_v4(at, size, address) else 0


cdef bint parse_v4(const char *at, int32_t size, uint8_t *address) noexcept nogil:
    cdef int32_t numbers = 0
    cdef int32_t digits = 0
    cdef int32_t value = 0
    cdef int32_t i
    for i in range(size):
        if at[i] == c'.':
            if digits == 0 or numbers == SIZE_V4 - 1:
                return False
            address[numbers] = <uint8_t>value
            numbers += 1
            digits = value = 0
        elif c'0' <= at[i] <= c'9':
            if digits and value == 0:
                return False
            digits += 1
            value = 10 * value + (at[i] - c'0')
            if value > 255:
                return False
        else:
            return False
    if numbers != SIZE_V4 - 1 or digits == 0:
        return False
    address[numbers] = <uint8_t>value
    return True


cdef bint parse_v6(const char *at, int32_t size, uint8_t *address) noexcept nogil:
    cdef uint8_t found[16]              # the groups in the order they are written
    cdef int32_t count = 0              # bytes of it
    cdef int32_t gap = -1               # where in it `::` stands
    cdef int32_t i = 0
    cdef int32_t begin, value, after
    if size >= 2 and at[0] == c':' and at[1] == c':':
        gap = 0
        i = 2
    while i < size:
        begin = i
        value = 0
        while i < size and i - begin < 4 and hex_value(at[i]) >= 0:
            value = 16 * value + hex_value(at[i])
            i += 1
        if i < size and at[i] == c'.':
            if count + SIZE_V4 > SIZE_V6 or not parse_v4(at + begin, size - begin, found + count):
                return False
            count += SIZE_V4
            break
        if i == begin or count == SIZE_V6:
            return False
        found[count] = <uint8_t>(value >> 8)
        found[count + 1] = <uint8_t>(value & 0xff)
        count += 2
        if i == size:
            break
        if at[i] != c':' or i + 1 == size:
            return False
        i += 1
        if at[i] == c':':
            if gap >= 0:
                return False
            gap = count
            i += 1
    if (count != SIZE_V6) if gap < 0 else (count == SIZE_V6):
        return False
    after = count - gap if gap >= 0 else 0
    memset(address, 0, SIZE_V6)
    for i in range(count - after):
        address[i] = found[i]
    for i in range(after):
        address[SIZE_V6 - after + i] = found[count - after + i]
    return True


cdef inline int32_t hex_value(char character) noexcept nogil:
    """-1 when it is no hex digit."""
    if c'0' <= character <= c'9':
        return character - c'0'
    if c'a' <= character <= c'f':
        return character - c'a' + 10
    if c'A' <= character <= c'F':
        return character - c'A' + 10
    return -1


def is_network(bytes text not None) -> bool:
    return network_is_valid(text, <int32_t>len(text))


def is_in_network(bytes network not None, bytes peer not None) -> bool:
    return network_has(network, <int32_t>len(network), peer, <int32_t>len(peer))
